//! Operations on resources: `Offer.Operation` without those that launch, `OperationStatus`, `Operation`.

use std::slice;

use model::amount::Milli;
use model::ids::{AgentId, OperationId, UpdateId};
use model::operation::{Conversion, Operation, OperationState, OperationStatus};
use model::resources::Resources;
use model::role::Role;

use super::resources::{self, Form};
use super::{Malformed, update_id};
use crate::mesos::v1;
use crate::mesos::v1::offer::Operation as WireOperation;
use crate::mesos::v1::offer::operation::{self, Type};
use crate::mesos::v1::{Resource, value};

/// Reads what an operation makes of what; `None` for those that do something else.
pub fn conversion_from_wire(wire: &WireOperation) -> Result<Option<Conversion>, Malformed> {
    Ok(Some(match wire.r#type() {
        Type::Reserve => {
            let it = body(wire.reserve.as_ref(), "reserve")?;
            reserve(&it.source, &it.resources)?
        }
        Type::Unreserve => unreserve(&body(wire.unreserve.as_ref(), "unreserve")?.resources)?,
        Type::Create => create(&body(wire.create.as_ref(), "create")?.volumes)?,
        Type::Destroy => destroy(&body(wire.destroy.as_ref(), "destroy")?.volumes)?,
        Type::GrowVolume => {
            let it = body(wire.grow_volume.as_ref(), "grow_volume")?;
            grow(&it.volume, &it.addition)?
        }
        Type::ShrinkVolume => {
            let it = body(wire.shrink_volume.as_ref(), "shrink_volume")?;
            shrink(&it.volume, it.subtract)?
        }
        Type::Unknown | Type::Launch | Type::LaunchGroup | Type::CreateDisk | Type::DestroyDisk => {
            return Ok(None);
        }
    }))
}

/// The role that the resources of an operation say they were offered for; absent where none says so.
pub fn allocated_to(wire: &WireOperation) -> Result<Option<Role>, Malformed> {
    let lists = [
        wire.reserve.as_ref().map(|it| &it.resources[..]),
        wire.reserve.as_ref().map(|it| &it.source[..]),
        wire.unreserve.as_ref().map(|it| &it.resources[..]),
        wire.create.as_ref().map(|it| &it.volumes[..]),
        wire.destroy.as_ref().map(|it| &it.volumes[..]),
        wire.grow_volume.as_ref().map(|it| slice::from_ref(&it.volume)),
        wire.grow_volume.as_ref().map(|it| slice::from_ref(&it.addition)),
        wire.shrink_volume.as_ref().map(|it| slice::from_ref(&it.volume)),
    ];
    resources::allocated_to(lists.into_iter().flatten().flatten())
}

fn body<'a, T>(body: Option<&'a T>, name: &str) -> Result<&'a T, Malformed> {
    body.ok_or_else(|| Malformed(format!("Expecting '{name}' to be present")))
}

/// Reads a RESERVE.
pub fn reserve(source: &[Resource], reserved: &[Resource]) -> Result<Conversion, Malformed> {
    let source = resources::from_wire(source)?;
    Ok(Conversion::Reserve { source, resources: resources::from_wire(reserved)? })
}

/// Reads an UNRESERVE.
pub fn unreserve(reserved: &[Resource]) -> Result<Conversion, Malformed> {
    Ok(Conversion::Unreserve(resources::from_wire(reserved)?))
}

/// Reads a CREATE.
pub fn create(volumes: &[Resource]) -> Result<Conversion, Malformed> {
    Ok(Conversion::Create(resources::from_wire(volumes)?))
}

/// Reads a DESTROY.
pub fn destroy(volumes: &[Resource]) -> Result<Conversion, Malformed> {
    Ok(Conversion::Destroy(resources::from_wire(volumes)?))
}

/// Reads a GROW_VOLUME.
pub fn grow(volume: &Resource, addition: &Resource) -> Result<Conversion, Malformed> {
    Ok(Conversion::Grow { volume: one(volume)?, addition: one(addition)? })
}

/// Reads a SHRINK_VOLUME.
pub fn shrink(volume: &Resource, subtract: value::Scalar) -> Result<Conversion, Malformed> {
    let subtract = Milli::from_f64(subtract.value)
        .ok_or_else(|| Malformed::new("'subtract' is out of range"))?;
    Ok(Conversion::Shrink { volume: one(volume)?, subtract })
}

fn one(resource: &Resource) -> Result<Resources, Malformed> {
    resources::from_wire(slice::from_ref(resource))
}

/// Writes what an operation makes of what.
pub fn conversion_to_wire(
    conversion: &Conversion,
    id: Option<&OperationId>,
    form: Form,
) -> WireOperation {
    let list = |all: &Resources| resources::to_wire(all, form, None);
    let single = |all: &Resources| list(all).into_iter().next().unwrap_or_default();
    let of = |kind: Type| WireOperation {
        r#type: Some(kind.into()),
        id: id.map(Into::into),
        ..WireOperation::default()
    };
    match conversion {
        Conversion::Reserve { source, resources } => {
            let reserve = operation::Reserve { source: list(source), resources: list(resources) };
            WireOperation { reserve: Some(reserve.into()), ..of(Type::Reserve) }
        }
        Conversion::Unreserve(all) => {
            let unreserve = operation::Unreserve { resources: list(all) };
            WireOperation { unreserve: Some(unreserve.into()), ..of(Type::Unreserve) }
        }
        Conversion::Create(volumes) => {
            let create = operation::Create { volumes: list(volumes) };
            WireOperation { create: Some(create.into()), ..of(Type::Create) }
        }
        Conversion::Destroy(volumes) => {
            let destroy = operation::Destroy { volumes: list(volumes) };
            WireOperation { destroy: Some(destroy.into()), ..of(Type::Destroy) }
        }
        Conversion::Grow { volume, addition } => {
            let grow = operation::GrowVolume { volume: single(volume), addition: single(addition) };
            WireOperation { grow_volume: Some(grow.into()), ..of(Type::GrowVolume) }
        }
        Conversion::Shrink { volume, subtract } => {
            let subtract = value::Scalar { value: subtract.as_f64() };
            let shrink = operation::ShrinkVolume { volume: single(volume), subtract };
            WireOperation { shrink_volume: Some(shrink.into()), ..of(Type::ShrinkVolume) }
        }
    }
}

/// Writes a report of an operation.
pub fn status_to_wire(status: &OperationStatus, form: Form) -> v1::OperationStatus {
    v1::OperationStatus {
        operation_id: status.id.as_ref().map(Into::into),
        state: status.state.number(),
        message: status.message.as_deref().map(str::to_owned),
        converted_resources: resources::to_wire(&status.converted, form, None),
        uuid: status.uuid.map(|uuid| v1::Uuid { value: uuid.0.to_vec().into() }),
        agent_id: status.agent.as_ref().map(Into::into),
        resource_provider_id: None,
    }
}

/// Writes an operation and how far it is, for endpoints.
pub fn to_wire(
    operation: &Operation,
    agent: Option<&AgentId>,
    status: &OperationStatus,
) -> v1::Operation {
    let latest = status_to_wire(status, Form::Both);
    v1::Operation {
        framework_id: operation.framework.as_ref().map(Into::into),
        agent_id: agent.map(Into::into),
        info: conversion_to_wire(&operation.conversion, operation.id.as_ref(), Form::Both),
        statuses: if status.state == OperationState::Pending {
            vec![]
        } else {
            vec![latest.clone()]
        },
        latest_status: latest,
        uuid: v1::Uuid { value: operation.uuid.0.to_vec().into() },
    }
}

/// Reads a report of an operation. A state that nobody here knows is `Unsupported`.
pub fn status_from_wire(wire: &v1::OperationStatus) -> Result<OperationStatus, Malformed> {
    let uuid = |uuid: &v1::Uuid| -> Result<UpdateId, Malformed> {
        update_id(&uuid.value).ok_or_else(|| Malformed::new("Not a valid UUID"))
    };
    let state = OperationState::from_number(wire.state).unwrap_or(OperationState::Unsupported);
    Ok(OperationStatus {
        id: wire.operation_id.as_ref().map(OperationId::try_from).transpose()?,
        state,
        message: wire.message.as_deref().map(Into::into),
        converted: resources::from_wire(&wire.converted_resources)?,
        uuid: wire.uuid.as_ref().map(uuid).transpose()?,
        agent: wire.agent_id.as_ref().map(AgentId::try_from).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Conversion>, Malformed> {
        conversion_from_wire(&crate::json::from_slice(text.as_bytes()).expect("well formed"))
    }

    const VOLUME: &str = r#"{"name": "disk", "type": "SCALAR", "scalar": {"value": 64}, "role": "a",
        "reservation": {"principal": "p"}, "disk": {"persistence": {"id": "v", "principal": "p"},
        "volume": {"container_path": "data", "mode": "RW"}}}"#;

    #[test]
    fn every_operation_survives_in_every_form() {
        let space = r#"{"name": "disk", "type": "SCALAR", "scalar": {"value": 64}, "role": "a",
            "reservation": {"principal": "p"}}"#;
        for text in [
            format!(r#"{{"type": "RESERVE", "reserve": {{"resources": [{space}]}}}}"#),
            format!(r#"{{"type": "UNRESERVE", "unreserve": {{"resources": [{space}]}}}}"#),
            format!(r#"{{"type": "CREATE", "create": {{"volumes": [{VOLUME}]}}}}"#),
            format!(r#"{{"type": "DESTROY", "destroy": {{"volumes": [{VOLUME}]}}}}"#),
            format!(
                r#"{{"type": "GROW_VOLUME", "grow_volume": {{"volume": {VOLUME}, "addition": {space}}}}}"#
            ),
            format!(
                r#"{{"type": "SHRINK_VOLUME", "shrink_volume": {{"volume": {VOLUME}, "subtract": {{"value": 1.5}}}}}}"#
            ),
        ] {
            let conversion = read(&text).expect("well formed").expect("an operation on resources");
            for form in [Form::Old, Form::Stack, Form::Both] {
                let wire = conversion_to_wire(&conversion, None, form);
                assert_eq!(conversion_from_wire(&wire), Ok(Some(conversion.clone())), "{form:?}");
            }
            let wire = conversion_to_wire(&conversion, None, Form::Old);
            assert_eq!(wire.r#type().as_str_name(), conversion.name());
        }
        assert_eq!(read(r#"{"type": "LAUNCH"}"#), Ok(None));
    }

    #[test]
    fn what_is_no_volume_is_refused() {
        let refusal = |from: &str, to: &str| {
            let volume = VOLUME.replace(from, to);
            assert_ne!(volume, VOLUME, "{from}");
            read(&format!(r#"{{"type": "CREATE", "create": {{"volumes": [{volume}]}}}}"#))
                .expect_err("not well formed")
                .0
        };
        for (from, to, why) in [
            (
                r#""id": "v""#,
                r#""id": "a/b""#,
                "Invalid persistence ID for persistent volume: 'a/b' contains invalid characters",
            ),
            (
                r#""container_path": "data", "#,
                r#""container_path": "data", "host_path": "/", "#,
                "A persistent volume must not have a 'host_path'",
            ),
            (
                r#""container_path": "data""#,
                r#""container_path": """#,
                "A persistent volume needs a 'container_path'",
            ),
            (
                r#""persistence": {"id": "v", "principal": "p"},"#,
                "",
                "A disk with 'volume' needs 'persistence' to be set",
            ),
            (
                r#""name": "disk""#,
                r#""name": "mem""#,
                "DiskInfo should not be set for mem resource",
            ),
        ] {
            assert_eq!(refusal(from, to), why);
        }
        let twice =
            format!(r#"{{"type": "CREATE", "create": {{"volumes": [{VOLUME}, {VOLUME}]}}}}"#);
        assert_eq!(read(&twice), Err(Malformed::new("Persistence ID 'v' is there twice")));
        assert_eq!(
            read(r#"{"type": "CREATE"}"#),
            Err(Malformed::new("Expecting 'create' to be present"))
        );
    }
}
