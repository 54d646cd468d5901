//! An agent goes away for good, by its own word or because another one has its place. Done when the
//! masters have agreed on it.

use crate::note::Removal;
use crate::state::{Books, Turn};
use model::ids::AgentId;
use model::registry::Record;

/// Has the agent removed. Until that is agreed on nothing of it is offered any more.
pub(crate) fn apply(books: &mut Books, agent: &AgentId, turn: &mut Turn<'_>) {
    if books.begin_leaving(agent, Some(Removal::Unregistered), turn) {
        turn.propose(vec![Record::RemoveAgent { agent: agent.clone(), at: turn.now.wall }]);
    }
}

/// Has the agent removed that was at `address` before `successor` came there: both cannot be.
pub(crate) fn replace(books: &mut Books, address: &str, successor: &AgentId, turn: &mut Turn<'_>) {
    let former = books.agents_by_address.get(address).filter(|former| *former != successor);
    if let Some(former) = former.cloned() {
        apply(books, &former, turn);
    }
}
