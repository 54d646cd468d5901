//! What is lost with an agent: its offers, its executors, the books of its tasks.

use crate::state::agents::Agent;
use crate::state::tasks::Task;
use crate::state::{Books, Turn};
use crate::note::Note;
use model::event::SchedulerEvent;
use model::ids::{AgentId, FrameworkId};
use model::task::{Reason, TaskState};

/// Takes an agent and all that is on it out of the books. Its tasks are returned.
pub(crate) fn take_agent(
    books: &mut Books,
    id: &AgentId,
    turn: &mut Turn<'_>,
) -> Option<(Agent, Vec<(FrameworkId, Task)>)> {
    if !books.agents.contains_key(id) {
        return None;
    }
    books.rescind_offers_on(id, turn);
    let executors: Vec<_> = books.agents[id].executors.keys().cloned().collect();
    for (framework, executor) in executors {
        books.remove_executor(id, &framework, &executor, turn);
    }
    let mut tasks = Vec::new();
    for (framework, task) in books.agents[id].tasks.clone() {
        if let Some(task) = books.take_task(&framework, &task) {
            tasks.push((framework, task));
        }
    }
    books.forget_used(id);
    let agent = books.remove_agent(id)?;
    Some((agent, tasks))
}

/// Ends a task that is lost for good, and tells its framework.
pub(crate) fn end_task(
    books: &mut Books,
    framework: &FrameworkId,
    mut task: Task,
    (state, reason, message): (TaskState, Reason, &str),
    turn: &mut Turn<'_>,
) {
    if !task.state.is_terminal() {
        task.state = state;
        let mut status = task.report(state, turn);
        status.reason = Some(reason);
        status.message = Some(message.into());
        task.keep(status.clone());
        let (framework, latest) = (framework.clone(), state);
        turn.note(Note::TaskUpdated { framework: framework.clone(), status: status.clone(), latest });
        books.tell_update(&framework, status, turn);
    }
    books.complete_task(framework, &task, turn);
}

/// Tells every framework that an agent is lost.
pub(crate) fn tell_all(books: &Books, agent: &AgentId, turn: &mut Turn<'_>) {
    for framework in books.frameworks.keys() {
        let event = SchedulerEvent::Failure { agent: agent.clone(), executor: None };
        books.tell(framework, event, turn);
    }
}
