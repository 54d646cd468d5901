//! DEACTIVATE_AGENT: nothing of an agent is offered any more; what runs there goes on.

use super::check_known;
use crate::io::Done;
use crate::state::{Books, Turn};
use model::ids::{AgentId, RequestId};
use model::registry::Record;
use model::rules::Standing;

/// Has the agent deactivated. One that is being drained is deactivated already.
pub(crate) fn apply(books: &mut Books, request: RequestId, agent: AgentId, turn: &mut Turn<'_>) {
    if let Err(refusal) = check_known(books, &agent) {
        turn.answer(request, Err(refusal));
        return;
    }
    if !books.rules.standing(&agent).is_active() {
        turn.answer(request, Ok(Done::Ok));
        return;
    }
    let standing = Standing::Deactivated;
    books.propose_for(request, Record::SetStanding { agent, standing }, turn);
}
