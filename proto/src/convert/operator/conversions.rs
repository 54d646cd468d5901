//! RESERVE_RESOURCES and its kin: what is free on an agent becomes something else.

use model::ids::AgentId;
use model::operation::Conversion;
use model::operator::OperatorCall;

use super::{CallError, body};
use crate::convert::{Malformed, operation};
use crate::mesos::v1;
use crate::mesos::v1::master::Call;
use crate::mesos::v1::master::call::Type;

/// Reads such a call; `None` for all others.
#[expect(clippy::wildcard_enum_match_arm, reason = "whoever asks knows what else there is")]
pub(super) fn from_wire(call: Call) -> Result<Option<OperatorCall>, CallError> {
    let (agent, conversion) = match call.r#type() {
        Type::ReserveResources => {
            let it = body(call.reserve_resources, "reserve_resources")?;
            (it.agent_id, operation::reserve(&it.source, &it.resources))
        }
        Type::UnreserveResources => {
            let it = body(call.unreserve_resources, "unreserve_resources")?;
            (it.agent_id, operation::unreserve(&it.resources))
        }
        Type::CreateVolumes => {
            let it = body(call.create_volumes, "create_volumes")?;
            (it.agent_id, operation::create(&it.volumes))
        }
        Type::DestroyVolumes => {
            let it = body(call.destroy_volumes, "destroy_volumes")?;
            (it.agent_id, operation::destroy(&it.volumes))
        }
        Type::GrowVolume => {
            let it = body(call.grow_volume, "grow_volume")?;
            let agent = body(it.agent_id, "grow_volume.agent_id")?;
            (agent, operation::grow(&it.volume, &it.addition))
        }
        Type::ShrinkVolume => {
            let it = body(call.shrink_volume, "shrink_volume")?;
            let agent = body(it.agent_id, "shrink_volume.agent_id")?;
            (agent, operation::shrink(&it.volume, it.subtract))
        }
        _ => return Ok(None),
    };
    of_agent(&agent, conversion).map(Some)
}

/// A change of what is free on an agent, which may be one that nobody can know.
pub fn of_agent(
    agent: &v1::AgentId,
    conversion: Result<Conversion, Malformed>,
) -> Result<OperatorCall, CallError> {
    let agent = AgentId::try_from(agent)
        .map_err(|_| CallError::Invalid("No agent found with specified ID".to_owned()))?;
    Ok(OperatorCall::Convert { agent, conversion: conversion? })
}
