//! What operators have decided about the cluster.

use super::Members;
use model::ids::AgentId;
use model::registry::Record;
use model::role::Role;
use model::rules::{Machine, Quota, Standing, Unavailability, Weight, Window};
use std::collections::{BTreeMap, BTreeSet};

/// What operators have decided.
///
/// Invariants: no standing is kept that is the same as none; each machine that is down stands in the
/// schedule.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// Weights of roles that were set.
    pub weights: BTreeMap<Role, Weight>,
    /// Quotas of roles that have or had one. Tools look for an empty one to see that it was reset.
    pub quotas: BTreeMap<Role, Quota>,
    /// Agents that do not simply serve.
    pub standings: BTreeMap<AgentId, Standing>,
    /// Planned maintenance.
    pub schedule: Vec<Window>,
    /// Machines that are away for it.
    pub machines_down: BTreeSet<Machine>,
}

impl Rules {
    /// Applies a record about rules, or about an agent that has one; says whether it changed anything.
    /// `members` are as they were before it.
    pub fn apply(&mut self, record: &Record, members: &Members) -> bool {
        match record {
            Record::SetWeights(weights) => {
                self.weights.extend(weights.iter().cloned());
                true
            }
            Record::SetQuotas(quotas) => {
                for (role, quota) in quotas {
                    if !quota.is_empty() || self.quotas.contains_key(role) {
                        self.quotas.insert(role.clone(), quota.clone());
                    }
                }
                true
            }
            // Who serves, or is gone for good, is spoken of no more.
            Record::SetStanding { agent, standing: Standing::Active }
            | Record::MarkGone { agent, .. }
            | Record::RemoveAgent { agent, .. } => self.standings.remove(agent).is_some(),
            // It has left since this was asked for, and its id may never come back: nobody would ever
            // take such a word away again.
            Record::SetStanding { agent, .. } if !members.remember(agent) => false,
            // A drain under way is ended by nothing but its end: what was asked for before it was known
            // of, or comes after its end, is void.
            Record::SetStanding { agent, standing: Standing::Deactivated }
                if !self.standing(agent).is_active() =>
            {
                false
            }
            Record::SetStanding { agent, standing: Standing::Drained { .. } }
                if !matches!(self.standing(agent), Standing::Draining { .. }) =>
            {
                false
            }
            Record::SetStanding { agent, standing } => {
                self.standings.insert(agent.clone(), *standing) != Some(*standing)
            }
            Record::SetSchedule(windows) => {
                self.schedule.clone_from(windows);
                true
            }
            Record::SetMachines { machines, are_down } => self.set_machines(machines, *are_down),

            // Those that came back meanwhile are not meant: see `forget`.
            Record::ForgetAgents(_)
            | Record::BeginReign(_)
            | Record::MarkFrameworkAway { .. }
            | Record::PutAgent(_)
            | Record::MarkUnreachable { .. }
            | Record::PutFramework(_)
            | Record::CompleteFramework { .. }
            | Record::StoreCommit(_)
            | Record::LeaseAcquire(_)
            | Record::LeaseRelease { .. } => false,
        }
    }

    /// Speaks no more of agents that are not remembered any more; says whether it did before.
    pub fn forget<'a>(&mut self, agents: impl Iterator<Item = &'a AgentId>) -> bool {
        let before = self.standings.len();
        for agent in agents {
            self.standings.remove(agent);
        }
        self.standings.len() != before
    }

    /// What operators have said of an agent.
    pub fn standing(&self, agent: &AgentId) -> Standing {
        self.standings.get(agent).copied().unwrap_or_default()
    }

    /// When a host is to be away, if that is planned.
    pub fn unavailability(&self, hostname: &str, ip: &str) -> Option<Unavailability> {
        let is_it = |window: &&Window| window.machines.iter().any(|one| one.is(hostname, ip));
        self.schedule.iter().find(is_it).map(|window| window.unavailability)
    }

    /// Whether a host is away for maintenance.
    pub fn is_down(&self, hostname: &str, ip: &str) -> bool {
        self.machines_down.iter().any(|machine| machine.is(hostname, ip))
    }

    /// Whether a machine stands in the schedule.
    pub fn is_scheduled(&self, machine: &Machine) -> bool {
        self.schedule.iter().any(|window| window.machines.contains(machine))
    }

    fn set_machines(&mut self, machines: &[Machine], are_down: bool) -> bool {
        if are_down {
            self.machines_down.extend(machines.iter().cloned());
            return true;
        }
        for machine in machines {
            self.machines_down.remove(machine);
        }
        // A machine that is back has had its maintenance.
        for window in &mut self.schedule {
            window.machines.retain(|machine| !machines.contains(machine));
        }
        self.schedule.retain(|window| !window.machines.is_empty());
        true
    }
}
