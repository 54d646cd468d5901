//! An agent is out of contact. Its tasks may run on; nobody knows.

use super::losses;
use crate::agent_messages::hang_up;
use crate::io::CloseReason;
use crate::note::Note;
use crate::state::{Books, Turn};
use crate::view::{AgentCondition, ViewChange};
use model::ids::AgentId;
use model::step::Timestamp;
use model::task::{Reason, TaskState};
use std::sync::Arc;

/// Takes its offers back and tells frameworks. Tasks whose end is known keep their state.
pub(crate) fn apply(books: &mut Books, id: &AgentId, at: Timestamp, turn: &mut Turn<'_>) {
    hang_up(books, id, CloseReason::Unreachable, turn);
    let Some((mut agent, tasks)) = losses::take_agent(books, id, turn) else { return };
    for (framework, mut task) in tasks {
        if !task.state.is_terminal() {
            task.state = TaskState::Unreachable;
            let mut status = task.report(TaskState::Unreachable, turn);
            status.reason = Some(Reason::AgentRemoved);
            status.message = Some("Agent is unreachable".into());
            status.unreachable_at = Some(at);
            task.keep(status.clone());
            let latest = TaskState::Unreachable;
            let note =
                Note::TaskUpdated { framework: framework.clone(), status: status.clone(), latest };
            turn.note(note);
            books.tell_update(&framework, status, turn);
        }
        books.insert_unreachable(&framework, task, turn);
    }
    losses::tell_all(books, id, turn);
    agent.used.clear();
    let view = agent.view(AgentCondition::Unreachable(at));
    turn.view(ViewChange::PutAgent(Arc::new(view)));
    turn.note(Note::AgentUnreachable(id.clone()));
}
