//! An agent of an earlier reign has not come back in time: it is out of contact.

use crate::io::Output;
use crate::state::{Books, Turn};
use model::ids::AgentId;
use model::registry::Record;

/// Has the agent marked, unless too many have stayed away.
pub(crate) fn apply(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    let limit = books.config.recovery_agent_removal_limit;
    if let Some(why) = books.recovery.too_many_lost(id, limit) {
        turn.out.push(Output::GiveUp { why });
        return;
    }
    mark_unreachable(books, id, turn);
}

/// Has an agent marked as out of contact. Frameworks hear of it when the masters have agreed on it.
pub(crate) fn mark_unreachable(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    if books.begin_leaving(id, None, turn) {
        turn.propose(vec![Record::MarkUnreachable { agent: id.clone(), at: turn.now.wall }]);
    }
}
