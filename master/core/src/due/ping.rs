//! An agent is to be pinged. One that was silent for too long is out of contact.

use crate::state::timers::Due;
use crate::state::{Books, Turn};
use model::ids::AgentId;
use model::link::ToAgent;

/// Counts the agent's silence, and pings it or has it marked.
pub(crate) fn apply(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    let Some(agent) = books.agents.get_mut(id) else { return };
    if agent.is_leaving {
        return;
    }
    if agent.pings_unanswered >= books.config.agent_ping_misses_max {
        super::agent_return::mark_unreachable(books, id, turn);
        return;
    }
    // Without a link the ping is not sent, and so is not answered.
    agent.pings_unanswered += 1;
    if let Some(connection) = agent.connection() {
        turn.tell_agent(connection, ToAgent::Ping { connected: true });
    }
    books.timers.set(Due::Ping(id.clone()), turn.now.time + books.config.agent_ping_timeout);
}
