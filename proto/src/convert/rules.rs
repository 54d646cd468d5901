//! What operators decide, as the masters' log keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::amount::Milli;
use model::ids::AgentId;
use model::role::Role;
use model::rules::{Drain, Machine, Quota, Standing, Unavailability, Weight, Window};
use model::step::Timestamp;

use super::{Malformed, millis};
use crate::agora::v1 as wire;

/// Writes weights.
pub fn weights_to_wire<'a>(
    weights: impl IntoIterator<Item = (&'a Role, &'a Weight)>,
) -> wire::RoleWeights {
    let one = |(role, weight): (&Role, &Weight)| wire::RoleWeight {
        role: role.to_string(),
        millionths: weight.millionths(),
    };
    wire::RoleWeights { weights: weights.into_iter().map(one).collect() }
}

/// Reads weights.
pub fn weights_from_wire(weights: wire::RoleWeights) -> Result<Vec<(Role, Weight)>, Malformed> {
    let one = |it: wire::RoleWeight| {
        let weight = Weight::from_millionths(it.millionths);
        let weight = weight.ok_or_else(|| Malformed::new("A weight is above zero"))?;
        Ok((role(it.role)?, weight))
    };
    weights.weights.into_iter().map(one).collect()
}

/// Writes quotas.
pub fn quotas_to_wire<'a>(
    quotas: impl IntoIterator<Item = (&'a Role, &'a Quota)>,
) -> wire::RoleQuotas {
    let amounts = |amounts: &BTreeMap<Arc<str>, Milli>| {
        let one = |(name, amount): (&Arc<str>, &Milli)| wire::ScalarAmount {
            name: name.to_string(),
            milli: amount.0,
        };
        amounts.iter().map(one).collect()
    };
    let one = |(role, quota): (&Role, &Quota)| wire::RoleQuota {
        role: role.to_string(),
        guarantees: amounts(&quota.guarantees),
        limits: amounts(&quota.limits),
    };
    wire::RoleQuotas { quotas: quotas.into_iter().map(one).collect() }
}

/// Reads quotas.
pub fn quotas_from_wire(quotas: wire::RoleQuotas) -> Result<Vec<(Role, Quota)>, Malformed> {
    let amounts = |amounts: Vec<wire::ScalarAmount>| {
        amounts.into_iter().map(|it| (it.name.into(), Milli(it.milli))).collect()
    };
    let one = |it: wire::RoleQuota| {
        let quota = Quota { guarantees: amounts(it.guarantees), limits: amounts(it.limits) };
        Ok((role(it.role)?, quota))
    };
    quotas.quotas.into_iter().map(one).collect()
}

/// Writes what operators have said of an agent.
pub fn standing_to_wire(agent: &AgentId, standing: Standing) -> wire::AgentStanding {
    let record = |drain: Drain, since: Timestamp, is_drained| wire::DrainRecord {
        grace_max_ms: drain.grace_max.map(millis),
        marks_gone: drain.marks_gone,
        since_us: since.0,
        is_drained,
    };
    let drain = match standing {
        Standing::Active | Standing::Deactivated => None,
        Standing::Draining { drain, since } => Some(record(drain, since, false)),
        Standing::Drained { drain, since } => Some(record(drain, since, true)),
    };
    let is_deactivated = !standing.is_active();
    wire::AgentStanding { agent_id: agent.to_string(), is_deactivated, drain }
}

/// Reads what operators have said of an agent.
pub fn standing_from_wire(it: wire::AgentStanding) -> Result<(AgentId, Standing), Malformed> {
    let standing = match (it.drain, it.is_deactivated) {
        (None, false) => Standing::Active,
        (None, true) => Standing::Deactivated,
        (Some(record), _) => {
            let grace_max = record.grace_max_ms.map(Duration::from_millis);
            let drain = Drain { grace_max, marks_gone: record.marks_gone };
            let since = Timestamp(record.since_us);
            if record.is_drained {
                Standing::Drained { drain, since }
            } else {
                Standing::Draining { drain, since }
            }
        }
    };
    Ok((AgentId::new(it.agent_id)?, standing))
}

/// Writes planned maintenance.
pub fn schedule_to_wire(windows: &[Window]) -> wire::MaintenanceSchedule {
    let one = |window: &Window| wire::MaintenanceWindow {
        machines: machines_to_wire(&window.machines),
        start_ns: window.unavailability.start_ns,
        duration_ns: window.unavailability.duration_ns,
    };
    wire::MaintenanceSchedule { windows: windows.iter().map(one).collect() }
}

/// Reads planned maintenance.
pub fn schedule_from_wire(schedule: wire::MaintenanceSchedule) -> Result<Vec<Window>, Malformed> {
    let one = |it: wire::MaintenanceWindow| {
        Ok(Window {
            machines: machines_from_wire(it.machines)?,
            unavailability: Unavailability { start_ns: it.start_ns, duration_ns: it.duration_ns },
        })
    };
    schedule.windows.into_iter().map(one).collect()
}

/// Writes machines.
pub fn machines_to_wire<'a>(
    machines: impl IntoIterator<Item = &'a Machine>,
) -> Vec<wire::MachineName> {
    let one = |machine: &Machine| wire::MachineName {
        hostname: machine.hostname().to_owned(),
        ip: machine.ip().to_owned(),
    };
    machines.into_iter().map(one).collect()
}

/// Reads machines.
pub fn machines_from_wire(machines: Vec<wire::MachineName>) -> Result<Vec<Machine>, Malformed> {
    let one = |it: wire::MachineName| {
        let nobody = || Malformed::new("Both 'hostname' and 'ip' for a machine are empty");
        Machine::new(&it.hostname, &it.ip).ok_or_else(nobody)
    };
    machines.into_iter().map(one).collect()
}

fn role(name: String) -> Result<Role, Malformed> {
    Role::new(name).map_err(|bad| Malformed(bad.to_string()))
}
