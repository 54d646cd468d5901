//! Operations on resources, between master and agent.

use model::ids::{FrameworkId, OperationId, OperationUuid};
use model::link::{FromAgent, LiveOperation};
use model::operation::{Operation, OperationStatus};
use model::resources::Resources;

use super::{bytes_of, payload_of};
use crate::agora::v1 as wire;
use crate::convert::resources::{self, Form};
use crate::convert::{Malformed, operation, payload, unpack};
use crate::mesos::v1;

/// Writes an operation; agents' stores keep it so.
pub fn to_wire(it: &Operation) -> wire::Operation {
    let info = operation::conversion_to_wire(&it.conversion, it.id.as_ref(), Form::Stack);
    wire::Operation {
        uuid: it.uuid.0.to_vec().into(),
        framework_id: it.framework.as_ref().map(ToString::to_string),
        info: bytes_of(&payload(&info)),
        status: None,
    }
}

/// Reads an operation.
pub fn from_wire(it: &wire::Operation) -> Result<Operation, Malformed> {
    let info: v1::offer::Operation = unpack(&payload_of(&it.info))?;
    let conversion = operation::conversion_from_wire(&info)?
        .ok_or_else(|| Malformed::new("An operation of a kind that is not known here"))?;
    Ok(Operation {
        uuid: uuid(&it.uuid)?,
        framework: it.framework_id.as_deref().map(FrameworkId::new).transpose()?,
        id: info.id.as_ref().map(OperationId::try_from).transpose()?,
        conversion,
    })
}

/// Writes an operation and how it went; agents' stores keep it so.
pub fn live_to_wire(it: &LiveOperation) -> wire::Operation {
    let status = bytes_of(&payload(&operation::status_to_wire(&it.status, Form::Stack)));
    wire::Operation { status: Some(status), ..to_wire(&it.operation) }
}

/// Reads an operation and how it went.
pub fn live_from_wire(it: &wire::Operation) -> Result<LiveOperation, Malformed> {
    let status = it.status.as_ref().ok_or_else(|| Malformed::new("An operation without status"))?;
    Ok(LiveOperation { operation: from_wire(it)?, status: status_from_bytes(status)? })
}

pub(super) fn update_to_wire(
    uuid: OperationUuid,
    framework: Option<&FrameworkId>,
    status: &OperationStatus,
) -> wire::OperationUpdate {
    wire::OperationUpdate {
        operation: uuid.0.to_vec().into(),
        framework_id: framework.map(ToString::to_string),
        status: bytes_of(&payload(&operation::status_to_wire(status, Form::Stack))),
    }
}

pub(super) fn update_from_wire(it: &wire::OperationUpdate) -> Result<FromAgent, Malformed> {
    Ok(FromAgent::OperationUpdate {
        operation: uuid(&it.operation)?,
        framework: it.framework_id.as_deref().map(FrameworkId::new).transpose()?,
        status: status_from_bytes(&it.status)?,
    })
}

fn status_from_bytes(bytes: &bytes::Bytes) -> Result<OperationStatus, Malformed> {
    operation::status_from_wire(&unpack::<v1::OperationStatus>(&payload_of(bytes))?)
}

/// Writes resources; agents' stores keep them so.
pub fn list_to_wire(all: &Resources) -> wire::ResourceList {
    let all = resources::to_wire(all, Form::Stack, None);
    wire::ResourceList { resources: all.iter().map(|it| bytes_of(&payload(it))).collect() }
}

/// Reads resources.
pub fn list_from_wire(it: &wire::ResourceList) -> Result<Resources, Malformed> {
    let one = |bytes: &bytes::Bytes| unpack::<v1::Resource>(&payload_of(bytes));
    let all = it.resources.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    resources::from_wire(&all)
}

pub(super) fn uuid(bytes: &[u8]) -> Result<OperationUuid, Malformed> {
    let bytes = bytes.try_into().map_err(|_| Malformed::new("An operation's UUID has 16 bytes"))?;
    Ok(OperationUuid(bytes))
}
