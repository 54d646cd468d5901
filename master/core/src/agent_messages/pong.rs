//! An agent has answered a ping.

use crate::state::Books;
use model::ids::AgentId;

/// Its silence begins anew.
pub(crate) fn apply(books: &mut Books, agent: &AgentId) {
    if let Some(agent) = books.agents.get_mut(agent) {
        agent.pings_unanswered = 0;
    }
}
