//! Operations of ACCEPT that make resources of one kind of those of another: RESERVE, UNRESERVE, CREATE,
//! DESTROY, GROW_VOLUME, SHRINK_VOLUME.

use super::accept::{Accepted, refuse_operation};
use crate::conversions::{self, By};
use crate::state::{Books, Turn};
use model::capability::AgentCapability;
use model::ids::OperationId;
use model::operation::{Conversion, Operation};
use model::role::Role;

/// Books the operation as done and hands it to the agent, or refuses it, which holds up no other.
pub(crate) fn apply(
    books: &mut Books,
    accepted: &mut Accepted,
    id: Option<OperationId>,
    role: Option<&Role>,
    conversion: Result<Conversion, String>,
    turn: &mut Turn<'_>,
) {
    let checked = conversion.and_then(|conversion| {
        accepted
            .check_role(role)
            .and_then(|()| check(books, accepted, id.as_ref(), &conversion))
            .map_err(|why| format!("Invalid {} operation: {why}", conversion.name()))?;
        Ok(conversion)
    });
    match checked {
        Ok(conversion) => begin(books, accepted, id, conversion, turn),
        Err(why) => refuse_operation(books, &accepted.framework, id, why, turn),
    }
}

fn check(
    books: &Books,
    accepted: &Accepted,
    id: Option<&OperationId>,
    conversion: &Conversion,
) -> Result<(), String> {
    let framework = &books.frameworks[&accepted.framework];
    if let Some(id) = id
        && framework.operations.contains_key(id)
    {
        return Err(format!("Operation has duplicate ID: {id}"));
    }
    let agent = &books.agents[&accepted.agent];
    if id.is_some() {
        let what = "carry out an operation with an id";
        agent.check_can(AgentCapability::ResourceProvider, what)?;
        agent.check_can(AgentCapability::OperationFeedback, what)?;
    }
    let by = By::Framework { framework: &framework.description, role: &accepted.role };
    conversions::check(books, agent, conversion, &by)?;
    let available = &accepted.left;
    if available.contains(&conversion.consumed()) {
        return Ok(());
    }
    let wanted = conversion.consumed();
    Err(format!("{wanted} is more than available {available}"))
}

fn begin(
    books: &mut Books,
    accepted: &mut Accepted,
    id: Option<OperationId>,
    conversion: Conversion,
    turn: &mut Turn<'_>,
) {
    let (consumed, converted) = (conversion.consumed(), conversion.converted());
    conversions::rescind_shared(books, &accepted.agent, &conversion, turn);
    accepted.left.take(&consumed).expect("it was just found to fit");
    match conversion {
        // How large a volume has become is known when its agent has said so.
        Conversion::Grow { .. } | Conversion::Shrink { .. } => accepted.aside.add(&converted),
        Conversion::Reserve { .. }
        | Conversion::Unreserve(_)
        | Conversion::Create(_)
        | Conversion::Destroy(_) => accepted.left.add(&converted),
    }
    let Accepted { framework, role, agent, .. } = accepted;
    books.allocator.convert_given(framework, role, agent, &consumed, &converted);
    let uuid = books.operation_uuid();
    let framework = Some(framework.clone());
    books.begin_operation(agent, Operation { uuid, framework, id, conversion }, None, turn);
}
