//! RESERVE_RESOURCES, UNRESERVE_RESOURCES, CREATE_VOLUMES, DESTROY_VOLUMES, GROW_VOLUME, SHRINK_VOLUME: what
//! is free on an agent becomes something else.

use super::being_removed;
use crate::conversions::{self, By};
use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::call::REFUSE_FOR_DEFAULT;
use model::ids::{AgentId, OfferId, RequestId};
use model::operation::{Conversion, Operation};
use model::resources::Resources;
use std::sync::Arc;

/// Books it as done and hands it to the agent. Offers that are in the way are taken back. Answered when the
/// agent has it on disk: until then it would be lost with this leader.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    agent: &AgentId,
    conversion: Conversion,
    principal: Option<&Arc<str>>,
    turn: &mut Turn<'_>,
) {
    let checked = check(books, agent, &conversion, principal);
    let result = checked.and_then(|()| {
        conversions::rescind_shared(books, agent, &conversion, turn);
        let (consumed, converted) = (conversion.consumed(), conversion.converted());
        make_free(books, agent, &consumed, turn);
        if books.allocator.convert_free(agent, &consumed, &converted, turn.now.time) {
            Ok(())
        } else {
            Err(too_little(&conversion))
        }
    });
    match result {
        Ok(()) => {
            let uuid = books.operation_uuid();
            let operation = Operation { uuid, framework: None, id: None, conversion };
            books.begin_operation(agent, operation, Some(request), turn);
        }
        Err(refusal) => turn.answer(request, Err(refusal)),
    }
}

fn check(
    books: &Books,
    id: &AgentId,
    conversion: &Conversion,
    principal: Option<&Arc<str>>,
) -> Result<(), Refusal> {
    let Some(agent) = books.agents.get(id) else {
        return Err(Refusal::Invalid("No agent found with specified ID".to_owned()));
    };
    let by = By::Operator { principal };
    conversions::check(books, agent, conversion, &by).map_err(|why| {
        let name = conversion.name();
        Refusal::Invalid(format!("Invalid {name} operation on agent {id}: {why}"))
    })?;
    if agent.is_leaving {
        return Err(being_removed());
    }
    if agent.connection().is_none() {
        return Err(Refusal::Conflict(format!("Agent {id} is not connected; try again")));
    }
    // Offers are not taken back for what they cannot make possible.
    let free = books.allocator.free(id).cloned().unwrap_or_default();
    if free
        .exclusive()
        .plus(&agent.offered.exclusive())
        .contains(&conversion.consumed().exclusive())
    {
        Ok(())
    } else {
        Err(too_little(conversion))
    }
}

fn too_little(conversion: &Conversion) -> Refusal {
    let consumed = conversion.consumed();
    Refusal::Conflict(format!(
        "{consumed} is not free on the agent, nor in offers: tasks or executors use it, or it is \
         of another kind"
    ))
}

/// Takes back offers of the agent until `wanted` is free, those first that hold some of it.
fn make_free(books: &mut Books, agent: &AgentId, wanted: &Resources, turn: &mut Turn<'_>) {
    let offers: Vec<OfferId> = books.agents[agent].offers.iter().cloned().collect();
    for id in offers {
        let free = books.allocator.free(agent).cloned().unwrap_or_default();
        let missing = wanted.minus(&free);
        if missing.is_empty() && free.contains(wanted) {
            return;
        }
        let Some(offer) = books.offers.get(&id) else { continue };
        // Of what comes whole only the whole is of use, and then nothing of it is free.
        if missing.minus(&offer.resources) != missing {
            books.rescind_for(&id, Some(REFUSE_FOR_DEFAULT), turn);
        }
    }
}
