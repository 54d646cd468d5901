//! DRAIN_AGENT: what runs on an agent is ended, and nothing of it is offered.

use super::{being_removed, check_known};
use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::capability::AgentCapability;
use model::ids::{AgentId, RequestId};
use model::registry::Record;
use model::rules::{Drain, Standing};

/// Has the agent emptied. Asked again, the new way counts.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    agent: AgentId,
    drain: Drain,
    turn: &mut Turn<'_>,
) {
    let checked = check_known(books, &agent).and_then(|described| {
        let known = books.agents.get(&agent);
        if known.is_some_and(|known| known.is_leaving) || books.gone_requests.contains_key(&agent) {
            return Err(being_removed());
        }
        if books.unavailability_of(described).is_some() {
            return Err(Refusal::Invalid(
                "Agent is part of a maintenance schedule under the maintenance primitives"
                    .to_owned(),
            ));
        }
        if !described.capabilities.contains(&AgentCapability::Draining) {
            let name = AgentCapability::Draining.name();
            return Err(Refusal::Invalid(format!(
                "Agent {agent} cannot be drained: it has not the capability {name}"
            )));
        }
        Ok(())
    });
    match checked {
        Ok(()) => {
            let standing = Standing::Draining { drain, since: turn.now.wall };
            books.propose_for(request, Record::SetStanding { agent, standing }, turn);
        }
        Err(refusal) => turn.answer(request, Err(refusal)),
    }
}
