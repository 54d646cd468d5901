//! An agent has left, or another one is at its address.

use super::losses;
use crate::agent_messages::hang_up;
use crate::io::CloseReason;
use crate::note::Note;
use crate::state::{Books, Turn};
use crate::view::ViewChange;
use model::ids::AgentId;
use model::task::{Reason, TaskState};

/// Ends what was on it.
pub(crate) fn apply(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    hang_up(books, id, CloseReason::Removed, turn);
    if let Some((_, tasks)) = losses::take_agent(books, id, turn) {
        let end = (TaskState::Lost, Reason::AgentRemoved, "Agent was removed");
        for (framework, task) in tasks {
            losses::end_task(books, &framework, task, end, turn);
        }
        losses::tell_all(books, id, turn);
    }
    turn.view(ViewChange::RemoveAgent(id.clone()));
    turn.note(Note::AgentRemoved(id.clone()));
}
