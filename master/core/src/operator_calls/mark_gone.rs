//! An operator declares an agent dead.

use crate::io::{Done, Refusal};
use crate::state::{Books, Turn};
use model::ids::{AgentId, RequestId};
use model::registry::Record;

/// Has it declared so, if it is known; answered when all masters know.
pub(crate) fn apply(books: &mut Books, request: RequestId, id: &AgentId, turn: &mut Turn<'_>) {
    if books.members.gone.contains_key(id) {
        turn.answer(request, Ok(Done::Ok));
        return;
    }
    let is_away = books.members.unreachable.contains_key(id);
    let is_in_transition = books.gone_requests.contains_key(id)
        || books.admissions.contains_key(id)
        || books.agents.get(id).is_some_and(|agent| agent.is_leaving);
    if is_in_transition {
        turn.answer(request, Err(Refusal::AgentInTransition));
        return;
    }
    match books.agents.get_mut(id) {
        Some(agent) => agent.is_leaving = true,
        None if is_away => {}
        None => {
            turn.answer(request, Err(Refusal::NoSuchAgent));
            return;
        }
    }
    books.gone_requests.insert(id.clone(), request);
    turn.propose(vec![Record::MarkGone { agent: id.clone(), at: turn.now.wall }]);
}
