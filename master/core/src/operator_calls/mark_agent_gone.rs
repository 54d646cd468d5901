//! MARK_AGENT_GONE: an operator vouches that an agent is dead. Its id never comes back.

use crate::io::{Done, Refusal};
use crate::state::{Books, Turn};
use model::ids::{AgentId, RequestId};
use model::registry::Record;

/// Has the agent marked; answered when the masters have agreed on it.
pub(crate) fn apply(books: &mut Books, request: RequestId, agent: AgentId, turn: &mut Turn<'_>) {
    if books.members.gone.contains_key(&agent) {
        turn.answer(request, Ok(Done::Ok));
        return;
    }
    let is_here = books.agents.contains_key(&agent);
    if !is_here && !books.members.unreachable.contains_key(&agent) {
        turn.answer(request, Err(Refusal::NoSuchAgent));
        return;
    }
    let is_under_way = books.gone_requests.contains_key(&agent);
    if is_under_way || is_here && !books.begin_leaving(&agent, None, turn) {
        turn.answer(request, Err(Refusal::AgentInTransition));
        return;
    }
    books.gone_requests.insert(agent.clone(), request);
    turn.propose(vec![Record::MarkGone { agent, at: turn.now.wall }]);
}
