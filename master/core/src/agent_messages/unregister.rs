//! An agent goes away for good. Done when the masters have agreed on it.

use crate::state::{Books, Turn};
use model::ids::AgentId;
use model::registry::Record;

/// Has the agent removed.
pub(crate) fn apply(books: &mut Books, agent: &AgentId, turn: &mut Turn<'_>) {
    let Some(known) = books.agents.get_mut(agent) else { return };
    if !known.is_leaving {
        known.is_leaving = true;
        turn.propose(vec![Record::RemoveAgent { agent: agent.clone(), at: turn.now.wall }]);
    }
}
