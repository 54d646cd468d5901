//! What operators ask of the master that changes something, and the plans and rules they are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::amount::Milli;
use model::ids::{AgentId, FrameworkId};
use model::operator::OperatorCall;
use model::role::Role;
use model::rules::{Drain, Machine, Quota, Weight, Window};

use super::Malformed;
use super::offer::{unavailability_from_wire, unavailability_to_wire};
use crate::mesos::v1::maintenance::{self, Schedule};
use crate::mesos::v1::master::Call;
use crate::mesos::v1::master::call::Type;
use crate::mesos::v1::quota::{QuotaConfig, QuotaInfo, QuotaRequest, QuotaStatus};
use crate::mesos::v1::{MachineId, Resource, WeightInfo, value};

mod conversions;

pub use conversions::of_agent;

/// The most that a quota may say of memory or disk: an exabyte, in MiB.
const MEBIBYTES_MAX: f64 = 1_099_511_627_776.0;

/// The most that a quota may say of anything else.
const UNITS_MAX: f64 = 1e12;

/// Why a call is not carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CallError {
    /// It lacks the part that its type needs.
    Missing(&'static str),
    /// It names something that nobody can know.
    UnknownFramework,
    /// As before, of agents.
    UnknownAgent,
    /// It is understood and cannot be.
    Invalid(String),
}

/// Reads a call that changes something; `None` for all others.
pub fn call_from_wire(call: Call) -> Result<Option<OperatorCall>, CallError> {
    let known = |agent: &crate::mesos::v1::AgentId| {
        AgentId::try_from(agent).map_err(|_| CallError::UnknownAgent)
    };
    Ok(Some(match call.r#type() {
        Type::Teardown => {
            let id = &body(call.teardown, "teardown")?.framework_id;
            let framework = FrameworkId::try_from(id).map_err(|_| CallError::UnknownFramework)?;
            OperatorCall::TeardownFramework(framework)
        }
        Type::MarkAgentGone => {
            let call = body(call.mark_agent_gone, "mark_agent_gone")?;
            OperatorCall::MarkAgentGone(known(&call.agent_id)?)
        }
        Type::UpdateWeights => {
            let call = body(call.update_weights, "update_weights")?;
            OperatorCall::UpdateWeights(weights(&call.weight_infos)?)
        }
        Type::UpdateQuota => {
            let call = body(call.update_quota, "update_quota")?;
            let quotas = call.quota_configs.iter().map(quota).collect::<Result<_, _>>()?;
            OperatorCall::UpdateQuota { quotas, force: call.force() }
        }
        Type::SetQuota => quota_request(&body(call.set_quota, "set_quota")?.quota_request)?,
        Type::RemoveQuota => {
            let role = body(call.remove_quota, "remove_quota")?.role;
            OperatorCall::RemoveQuota(Role::new(role).map_err(|bad| invalid(bad.to_string()))?)
        }
        Type::DeactivateAgent => {
            let call = body(call.deactivate_agent, "deactivate_agent")?;
            OperatorCall::DeactivateAgent(known(&call.agent_id)?)
        }
        Type::ReactivateAgent => {
            let call = body(call.reactivate_agent, "reactivate_agent")?;
            OperatorCall::ReactivateAgent(known(&call.agent_id)?)
        }
        Type::DrainAgent => {
            let call = body(call.drain_agent, "drain_agent")?;
            let marks_gone = call.mark_gone();
            let grace_max = call.max_grace_period.map(|grace| {
                let seconds = u64::try_from(grace.seconds);
                let nanos = u32::try_from(grace.nanos);
                let (Ok(seconds), Ok(nanos @ ..1_000_000_000)) = (seconds, nanos) else {
                    return Err(invalid("'max_grace_period' must not be negative"));
                };
                // In the log it is milliseconds, and the answer waits for what comes out of the log.
                let millis = Duration::new(seconds, nanos).as_millis();
                Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
            });
            let drain = Drain { grace_max: grace_max.transpose()?, marks_gone };
            OperatorCall::DrainAgent { agent: known(&call.agent_id)?, drain }
        }
        Type::UpdateMaintenanceSchedule => {
            let call = body(call.update_maintenance_schedule, "update_maintenance_schedule")?;
            OperatorCall::UpdateSchedule(schedule_from_wire(&call.schedule)?)
        }
        Type::StartMaintenance => {
            let call = body(call.start_maintenance, "start_maintenance")?;
            OperatorCall::StartMaintenance(machines_from_wire(&call.machines)?)
        }
        Type::StopMaintenance => {
            let call = body(call.stop_maintenance, "stop_maintenance")?;
            OperatorCall::StopMaintenance(machines_from_wire(&call.machines)?)
        }
        Type::ReserveResources
        | Type::UnreserveResources
        | Type::CreateVolumes
        | Type::DestroyVolumes
        | Type::GrowVolume
        | Type::ShrinkVolume => return conversions::from_wire(call),
        Type::Unknown
        | Type::GetHealth
        | Type::GetFlags
        | Type::GetVersion
        | Type::GetMetrics
        | Type::GetLoggingLevel
        | Type::SetLoggingLevel
        | Type::ListFiles
        | Type::ReadFile
        | Type::GetState
        | Type::GetAgents
        | Type::GetFrameworks
        | Type::GetExecutors
        | Type::GetOperations
        | Type::GetTasks
        | Type::GetRoles
        | Type::GetWeights
        | Type::GetMaster
        | Type::Subscribe
        | Type::GetMaintenanceStatus
        | Type::GetMaintenanceSchedule
        | Type::GetQuota => return Ok(None),
    }))
}

fn body<T>(body: Option<T>, name: &'static str) -> Result<T, CallError> {
    body.ok_or(CallError::Missing(name))
}

fn invalid(why: impl Into<String>) -> CallError {
    CallError::Invalid(why.into())
}

/// Reads weights of roles.
pub fn weights(infos: &[WeightInfo]) -> Result<Vec<(Role, Weight)>, CallError> {
    let one = |info: &WeightInfo| {
        let role = Role::new(info.role()).map_err(|bad| invalid(bad.to_string()))?;
        let weight = Weight::from_f64(info.weight).ok_or_else(|| {
            invalid(format!(
                "Invalid weight '{}' for role '{role}': Weights must be positive",
                info.weight
            ))
        })?;
        Ok((role, weight))
    };
    infos.iter().map(one).collect()
}

fn quota(config: &QuotaConfig) -> Result<(Role, Quota), CallError> {
    let bad = |why: String| invalid(format!("Invalid QuotaConfig: {why}"));
    let role = Role::new(config.role.as_str()).map_err(|error| bad(error.to_string()))?;
    let amounts = |amounts: &BTreeMap<String, value::Scalar>| {
        let one = |(name, amount): (&String, &value::Scalar)| {
            let is_size = matches!(name.as_str(), "mem" | "disk");
            let most = if is_size { MEBIBYTES_MAX } else { UNITS_MAX };
            let value = amount.value;
            if !value.is_finite() || value.is_sign_negative() || value.is_subnormal() {
                return Err(bad(format!("'{name}' of role '{role}' must be a number from 0 on")));
            }
            if value > most {
                return Err(bad(format!("'{name}' of role '{role}' is above the maximum {most}")));
            }
            let amount = Milli::from_f64(value).unwrap_or(Milli::ZERO);
            Ok((Arc::from(name.as_str()), amount))
        };
        amounts.iter().map(one).collect::<Result<BTreeMap<_, _>, _>>()
    };
    let quota =
        Quota { guarantees: amounts(&config.guarantees)?, limits: amounts(&config.limits)? };
    Ok((role, quota))
}

/// Writes a quota.
pub fn quota_to_wire(role: &Role, quota: &Quota) -> QuotaConfig {
    let amounts = |amounts: &BTreeMap<Arc<str>, Milli>| {
        let one = |(name, amount): (&Arc<str>, &Milli)| {
            (name.to_string(), value::Scalar { value: amount.as_f64() })
        };
        amounts.iter().map(one).collect()
    };
    QuotaConfig {
        role: role.to_string(),
        guarantees: amounts(&quota.guarantees),
        limits: amounts(&quota.limits),
    }
}

/// Reads a wish for a quota in the old form, in which a guarantee is a limit as well.
pub fn quota_request(request: &QuotaRequest) -> Result<OperatorCall, CallError> {
    let bad = |why: String| invalid(format!("Invalid quota request: {why}"));
    let role = Role::new(request.role()).map_err(|error| bad(error.to_string()))?;
    let mut amounts = BTreeMap::new();
    for resource in &request.guarantee {
        let name = &resource.name;
        let Some(amount) = resource.scalar else {
            return Err(bad(format!("'{name}' must be a scalar")));
        };
        if amounts.insert(name.clone(), amount).is_some() {
            return Err(bad(format!("'{name}' is there twice")));
        }
    }
    if amounts.is_empty() {
        return Err(bad("a guarantee must name a resource".to_owned()));
    }
    let config =
        QuotaConfig { role: role.to_string(), guarantees: amounts.clone(), limits: amounts };
    let (role, quota) = quota(&config)?;
    Ok(OperatorCall::SetQuota { role, quota, force: request.force() })
}

/// Writes all quotas: as they are, and in the old form, which is without those that were reset.
pub fn quota_status(quotas: &BTreeMap<Role, Quota>) -> QuotaStatus {
    let amount = |(name, amount): (&Arc<str>, &Milli)| Resource {
        name: name.to_string(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: amount.as_f64() }),
        role: Some("*".to_owned()),
        ..Resource::default()
    };
    let info = |(role, quota): (&Role, &Quota)| QuotaInfo {
        role: Some(role.to_string()),
        guarantee: quota.guarantees.iter().map(amount).collect(),
        ..QuotaInfo::default()
    };
    QuotaStatus {
        infos: quotas.iter().filter(|(_, quota)| !quota.is_empty()).map(info).collect(),
        configs: quotas.iter().map(|(role, quota)| quota_to_wire(role, quota)).collect(),
    }
}

/// Reads planned maintenance.
pub fn schedule_from_wire(schedule: &Schedule) -> Result<Vec<Window>, CallError> {
    let one = |window: &maintenance::Window| {
        Ok(Window {
            machines: machines_from_wire(&window.machine_ids)?,
            unavailability: unavailability_from_wire(&window.unavailability),
        })
    };
    schedule.windows.iter().map(one).collect()
}

/// Writes planned maintenance.
pub fn schedule_to_wire(windows: &[Window]) -> Schedule {
    let one = |window: &Window| maintenance::Window {
        machine_ids: window.machines.iter().map(machine_to_wire).collect(),
        unavailability: unavailability_to_wire(window.unavailability),
    };
    Schedule { windows: windows.iter().map(one).collect() }
}

/// Reads machines.
pub fn machines_from_wire(machines: &[MachineId]) -> Result<Vec<Machine>, CallError> {
    let one = |machine: &MachineId| {
        // The same address has many forms; agents have the shortest.
        let ip = match machine.ip() {
            "" => String::new(),
            ip => ip
                .parse::<std::net::IpAddr>()
                .map_err(|_| invalid(format!("'{ip}' is no IP address")))?
                .to_string(),
        };
        Machine::new(machine.hostname(), &ip)
            .ok_or_else(|| invalid("Both 'hostname' and 'ip' for a machine are empty"))
    };
    let machines = machines.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let mut seen = BTreeSet::new();
    match machines.iter().find(|machine| !seen.insert(*machine)) {
        Some(twice) => Err(invalid(format!("Machine '{twice}' is there twice"))),
        None => Ok(machines),
    }
}

/// Writes a machine.
pub fn machine_to_wire(machine: &Machine) -> MachineId {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    MachineId { hostname: some(machine.hostname()), ip: some(machine.ip()) }
}

impl From<Malformed> for CallError {
    fn from(malformed: Malformed) -> Self {
        Self::Invalid(malformed.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(call: &str) -> Result<Option<OperatorCall>, CallError> {
        call_from_wire(crate::json::from_slice(call.as_bytes()).expect("well formed"))
    }

    #[test]
    fn questions_are_no_changes() {
        assert_eq!(read(r#"{"type": "GET_HEALTH"}"#), Ok(None));
        assert_eq!(read(r#"{"type": "UPDATE_QUOTA"}"#), Err(CallError::Missing("update_quota")));
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (call, why) in [
            (
                r#"{"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": [{"role": "a", "weight": 0}]}}"#,
                "Invalid weight '0' for role 'a': Weights must be positive",
            ),
            (
                r#"{"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [{"role": "a", "limits": {"cpus": {"value": -1}}}]}}"#,
                "Invalid QuotaConfig: 'cpus' of role 'a' must be a number from 0 on",
            ),
            (
                r#"{"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [{"role": "a", "limits": {"cpus": {"value": 1e13}}}]}}"#,
                "Invalid QuotaConfig: 'cpus' of role 'a' is above the maximum 1000000000000",
            ),
            (
                r#"{"type": "START_MAINTENANCE", "start_maintenance": {"machines": [{}]}}"#,
                "Both 'hostname' and 'ip' for a machine are empty",
            ),
            (
                r#"{"type": "START_MAINTENANCE", "start_maintenance": {"machines": [{"ip": "h"}]}}"#,
                "'h' is no IP address",
            ),
            (
                r#"{"type": "START_MAINTENANCE", "start_maintenance": {"machines": [{"ip": "::1"}, {"ip": "0::1"}]}}"#,
                "Machine '::1' is there twice",
            ),
            (
                r#"{"type": "DRAIN_AGENT", "drain_agent": {"agent_id": {"value": "a"}, "max_grace_period": {"seconds": -1}}}"#,
                "'max_grace_period' must not be negative",
            ),
        ] {
            assert_eq!(read(call), Err(CallError::Invalid(why.to_owned())), "{call}");
        }
    }

    #[test]
    fn a_grace_is_what_the_log_can_hold() {
        for (grace, millis) in [
            (r#"{"seconds": 1, "nanos": 500000}"#, 1_000),
            (r#"{"seconds": 9223372036854775807}"#, u64::MAX),
        ] {
            let call = format!(
                r#"{{"type": "DRAIN_AGENT", "drain_agent": {{"agent_id": {{"value": "a"}}, "max_grace_period": {grace}}}}}"#
            );
            let Ok(Some(OperatorCall::DrainAgent { drain, .. })) = read(&call) else {
                panic!("no drain")
            };
            assert_eq!(drain.grace_max, Some(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn quotas_and_plans_survive() {
        let call = r#"{"type": "UPDATE_QUOTA", "update_quota": {"force": true, "quota_configs": [
            {"role": "a", "guarantees": {"cpus": {"value": 1.5}}, "limits": {"mem": {"value": 64}}}]}}"#;
        let Ok(Some(OperatorCall::UpdateQuota { quotas, force: true })) = read(call) else {
            panic!("no quota")
        };
        let [(role, own)] = &quotas[..] else { panic!("{quotas:?}") };
        assert_eq!(quota(&quota_to_wire(role, own)), Ok((role.clone(), own.clone())));

        let call = r#"{"type": "UPDATE_MAINTENANCE_SCHEDULE", "update_maintenance_schedule": {"schedule": {
            "windows": [{"machine_ids": [{"hostname": "h", "ip": "10.0.0.1"}],
            "unavailability": {"start": {"nanoseconds": 5}}}]}}}"#;
        let Ok(Some(OperatorCall::UpdateSchedule(windows))) = read(call) else { panic!("no plan") };
        assert_eq!(schedule_from_wire(&schedule_to_wire(&windows)), Ok(windows));
    }
}
