//! An operator has declared an agent dead. Its id never comes back.

use super::losses;
use crate::agent_messages::hang_up;
use crate::io::{CloseReason, Done};
use crate::note::Note;
use crate::state::{Books, Turn};
use crate::view::ViewChange;
use model::ids::{AgentId, FrameworkId, TaskId};
use model::link::ToAgent;
use model::task::{Reason, TaskState};

/// Ends what was on it, also what was out of contact with it, and answers the operator.
pub(crate) fn apply(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    let why = format!("an operator has declared agent {id} gone");
    books.send(id, ToAgent::Shutdown { why }, turn);
    hang_up(books, id, CloseReason::Removed, turn);
    let mut tasks = losses::take_agent(books, id, turn).map_or_else(Vec::new, |(_, tasks)| tasks);
    for (framework, task) in unreachable_on(books, id) {
        let owner = books.frameworks.get_mut(&framework);
        let task = owner.and_then(|owner| owner.unreachable.remove(&task));
        tasks.extend(task.map(|task| (framework, task)));
    }
    let end = (
        TaskState::GoneByOperator,
        Reason::AgentRemovedByOperator,
        "Agent was declared gone by an operator",
    );
    for (framework, task) in tasks {
        losses::end_task(books, &framework, task, end, turn);
    }
    losses::tell_all(books, id, turn);
    turn.view(ViewChange::RemoveAgent(id.clone()));
    turn.note(Note::AgentRemoved(id.clone()));
    if let Some(request) = books.gone_requests.remove(id) {
        turn.answer(request, Ok(Done::Ok));
    }
}

fn unreachable_on(books: &Books, id: &AgentId) -> Vec<(FrameworkId, TaskId)> {
    let all = books.frameworks.iter().flat_map(|(framework, owner)| {
        owner.unreachable.iter().map(move |(task, it)| (framework, task, it))
    });
    let lost = all.filter(|(_, _, it)| it.agent == *id);
    lost.map(|(framework, task, _)| (framework.clone(), task.clone())).collect()
}
