//! Calls about operations on resources.

use model::call::{AcknowledgeOperation, Call, Operation, ReconcileOperation};
use model::ids::OperationId;

use super::{CallError, agent_if_any, body, uuid};
use crate::convert::{Malformed, operation};
use crate::mesos::v1::offer::Operation as WireOperation;
use crate::mesos::v1::scheduler::call;

/// Reads an operation that launches nothing.
pub(super) fn from_wire(wire: &WireOperation) -> Operation {
    let bad_id = wire.id.as_ref().and_then(|id| OperationId::try_from(id).err());
    let bad_id = bad_id.map(|bad| format!("The operation's 'id' is none: {bad}"));
    // Also one that is none is told to whoever gave it.
    let id = wire.id.as_ref().map(|id| OperationId::as_given(id.value.as_str()));
    // In the words of those that are checked later.
    let invalid = |why| format!("Invalid {} operation: {why}", wire.r#type().as_str_name());
    let conversion = match operation::conversion_from_wire(wire) {
        Ok(Some(conversion)) => bad_id.map_or(Ok(conversion), Err),
        Ok(None) => return Operation::Unsupported { kind: wire.r#type().as_str_name().into(), id },
        Err(Malformed(why)) => Err(invalid(why)),
    };
    let (role, conversion) = match operation::allocated_to(wire) {
        Ok(role) => (role, conversion),
        Err(Malformed(why)) => (None, conversion.and(Err(invalid(why)))),
    };
    Operation::Convert { id, role, conversion }
}

/// Ids that break the rules are the ids of nothing.
pub(super) fn acknowledge(wire: call::AcknowledgeOperationStatus) -> Result<Call, CallError> {
    let uuid = uuid(&wire.uuid)?;
    let agent = body(wire.agent_id, "agent_id")?;
    Ok(match ((&agent).try_into(), (&wire.operation_id).try_into()) {
        (Ok(agent), Ok(operation)) => {
            Call::AcknowledgeOperation(AcknowledgeOperation { agent, operation, uuid })
        }
        _ => Call::Request,
    })
}

/// An operation whose id breaks the rules is one that nobody knows, as is every one that is not there.
pub(super) fn reconcile(wire: &[call::reconcile_operations::Operation]) -> Call {
    let one = |it: &call::reconcile_operations::Operation| ReconcileOperation {
        operation: OperationId::as_given(it.operation_id.value.as_str()),
        agent: agent_if_any(it.agent_id.as_ref()).unwrap_or(None),
    };
    Call::ReconcileOperations(wire.iter().map(one).collect())
}

/// Writes the acknowledgement of a report.
pub(super) fn acknowledge_to_wire(it: &AcknowledgeOperation) -> call::AcknowledgeOperationStatus {
    call::AcknowledgeOperationStatus {
        agent_id: Some((&it.agent).into()),
        resource_provider_id: None,
        uuid: it.uuid.0.to_vec().into(),
        operation_id: (&it.operation).into(),
    }
}

/// Writes the question how far operations are.
pub(super) fn reconcile_to_wire(all: &[ReconcileOperation]) -> call::ReconcileOperations {
    let one = |it: &ReconcileOperation| call::reconcile_operations::Operation {
        operation_id: (&it.operation).into(),
        agent_id: it.agent.as_ref().map(Into::into),
        resource_provider_id: None,
    };
    call::ReconcileOperations { operations: all.iter().map(one).collect() }
}
