//! An agent's link has ended.

use crate::note::Note;
use crate::state::agents::{Link, Reach};
use crate::state::{Books, Turn};
use model::ids::{AgentId, ConnectionId, FrameworkId, TaskId};
use model::task::{Reason, TaskState};

/// The agent may come back. Until then nothing of it is offered, and frameworks that do not outlive
/// their agent lose what they have there.
pub(crate) fn apply(books: &mut Books, connection: ConnectionId, turn: &mut Turn<'_>) {
    let Some(Link::Agent(id)) = books.links.remove(&connection) else { return };
    let Some(agent) = books.agents.get_mut(&id) else { return };
    agent.reach = Reach::Disconnected;
    books.allocator.deactivate_agent(&id);
    books.unpublished.agent(&id);
    books.rescind_offers_on(&id, turn);
    books.interrupt_operations_on(&id, turn);
    turn.note(Note::AgentDisconnected(id.clone()));
    lose_uncheckpointed(books, &id, turn);
}

fn lose_uncheckpointed(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    let agent = &books.agents[id];
    let is_lost = |framework: &FrameworkId| {
        books.frameworks.get(framework).is_some_and(|owner| !owner.description.checkpoint)
    };
    let tasks: Vec<(FrameworkId, TaskId)> =
        agent.tasks.iter().filter(|(framework, _)| is_lost(framework)).cloned().collect();
    let executors: Vec<_> =
        agent.executors.keys().filter(|(framework, _)| is_lost(framework)).cloned().collect();
    for (framework, task) in tasks {
        books.end_task(&framework, &task, TaskState::Lost, turn, |status| {
            status.reason = Some(Reason::AgentDisconnected);
            status.message = Some("The agent has disconnected".into());
        });
    }
    for (framework, executor) in executors {
        books.end_executor(id, &framework, &executor, turn);
    }
}
