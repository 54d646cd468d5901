//! REACTIVATE_AGENT: an agent that was deactivated or drained serves again.

use super::check_known;
use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::ids::{AgentId, RequestId};
use model::registry::Record;
use model::rules::Standing;

/// Has the agent serve again, unless it is still being emptied.
pub(crate) fn apply(books: &mut Books, request: RequestId, agent: AgentId, turn: &mut Turn<'_>) {
    let checked = check_known(books, &agent).and_then(|_| match books.rules.standing(&agent) {
        Standing::Active => Err(Refusal::Invalid("Agent is not deactivated".to_owned())),
        Standing::Draining { .. } => {
            Err(Refusal::Invalid("Agent is still in the DRAINING state".to_owned()))
        }
        Standing::Deactivated | Standing::Drained { .. } => Ok(()),
    });
    match checked {
        Ok(()) => {
            let standing = Standing::Active;
            books.propose_for(request, Record::SetStanding { agent, standing }, turn);
        }
        Err(refusal) => turn.answer(request, Err(refusal)),
    }
}
