//! Operators: they set weights and quota, take agents out of service and put them back, plan maintenance,
//! declare agents dead, and reserve and make volumes where they like.
//!
//! What they are told is decided is remembered whatever becomes of the master that said so, and whoever
//! leads keeps to it: see [`Laws::check_rules`](crate::laws::Laws::check_rules).

use crate::agents::hostname;
use crate::residents;
use crate::world::{Event, World};
use master_core::registry::Rules;
use master_core::{Done, Input, Refusal};
use model::amount::Milli;
use model::ids::{AgentId, OperationUuid, RequestId};
use model::operation::Operation;
use model::operator::OperatorCall;
use model::resources::Key;
use model::role::Role;
use model::rules::{Drain, Machine, Quota, Standing, Unavailability, Weight, Window};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long operators wait at most before they want something else.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long they wait before they look again whether everything serves.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What the names of their volumes begin with, as if they were the tenth keeper.
const AS_KEEPER: usize = 9;

/// Roles that get quota, and with it a limit.
const WITH_QUOTA: [&str; 2] = ["batch", "keep"];

/// Roles that get weights.
const WITH_WEIGHT: [&str; 4] = ["*", "batch", "keep", "keep/below"];

/// What operators have asked for and have no answer to. It may come to pass all the same.
#[derive(Default)]
pub(crate) struct Asked {
    calls: BTreeMap<RequestId, OperatorCall>,
    /// What they are asking for right now.
    now: Option<RequestId>,
    /// The operations that agents were given for them.
    operations: BTreeMap<RequestId, OperationUuid>,
}

impl Asked {
    /// A master gives an operation to an agent.
    pub(crate) fn given(&mut self, operation: &Operation) {
        if let Some(request) = self.now.filter(|_| operation.framework.is_none()) {
            self.operations.insert(request, operation.uuid);
        }
    }
}

fn role(name: &str) -> Role {
    Role::new(name).expect("well formed")
}

/// The machine of an agent.
fn machine(at: usize) -> Machine {
    Machine::new(&hostname(at), "").expect("it has a name")
}

impl World {
    /// Operators want something, and later something else. When nothing breaks any more they put everything
    /// back into service.
    pub(crate) fn operators_act(&mut self) {
        if !self.is_chaos {
            self.puts_back();
            return self.after(LOOK_AGAIN, Event::Operators);
        }
        let wait = Duration::from_secs(1) + self.users.up_to(PAUSE_MAX);
        self.after(wait, Event::Operators);
        if let Some(call) = self.operators_want() {
            self.operate(call);
        }
    }

    /// Asks the master that leads, or one that believes so.
    pub(crate) fn operate(&mut self, call: OperatorCall) {
        let overstaying = self.masters.iter().position(|master| master.overstays);
        let Some(at) = overstaying.filter(|_| self.users.chance(50)).or(self.raft.leader) else {
            return;
        };
        let request = self.new_request();
        self.asked.calls.insert(request, call.clone());
        self.asked.now = Some(request);
        let life = self.masters[at].life;
        self.step_master(at, life, Input::Operate { request, principal: None, call });
        self.asked.now = None;
    }

    /// A master answers.
    pub(crate) fn operators_hear(&mut self, request: RequestId, result: &Result<Done, Refusal>) {
        let Some(call) = self.asked.calls.remove(&request) else { return };
        let operation = self.asked.operations.remove(&request);
        if result.is_err() {
            return;
        }
        self.summary.decisions += 1;
        if matches!(call, OperatorCall::Convert { .. }) {
            if operation.is_none_or(|uuid| !self.laws.is_kept(uuid)) {
                self.laws.broke(format!("memory: {call:?} was told to be done; its agent has not"));
            }
        } else if !self.is_agreed(&call) {
            self.laws.broke(format!("memory: {call:?} was told to be done and is not agreed on"));
        }
    }

    /// Whether the masters agree on what was asked for.
    fn is_agreed(&self, call: &OperatorCall) -> bool {
        let (members, rules) = (&self.raft.registry.members, &self.raft.registry.rules);
        match call {
            OperatorCall::UpdateQuota { quotas, .. } => quotas.iter().all(|(role, quota)| {
                rules.quotas.get(role).is_none_or(Quota::is_empty) == quota.is_empty()
                    && (quota.is_empty() || rules.quotas.get(role) == Some(quota))
            }),
            OperatorCall::UpdateWeights(weights) => {
                weights.iter().all(|(role, weight)| rules.weights.get(role) == Some(weight))
            }
            OperatorCall::DeactivateAgent(agent) | OperatorCall::DrainAgent { agent, .. } => {
                !rules.standing(agent).is_active() || !members.remember(agent)
            }
            OperatorCall::ReactivateAgent(agent) => rules.standing(agent).is_active(),
            OperatorCall::MarkAgentGone(agent) => !members.remember(agent),
            OperatorCall::UpdateSchedule(windows) => rules.schedule == *windows,
            OperatorCall::StartMaintenance(machines) => {
                machines.iter().all(|machine| rules.machines_down.contains(machine))
            }
            OperatorCall::StopMaintenance(machines) => {
                machines.iter().all(|machine| !rules.machines_down.contains(machine))
            }
            // Not asked for here, or done by an agent.
            OperatorCall::TeardownFramework(_)
            | OperatorCall::SetQuota { .. }
            | OperatorCall::RemoveQuota(_)
            | OperatorCall::Convert { .. } => true,
        }
    }

    fn operators_want(&mut self) -> Option<OperatorCall> {
        let rules = self.raft.registry.rules.clone();
        let out_of_service = rules.standings.len() + rules.machines_down.len();
        // Or else there is no room left for anything.
        let can_spare = out_of_service * 3 < self.agents.len();
        Some(match self.users.below(16) {
            0 | 1 => self.wants_quota(),
            2 => {
                let of = role(WITH_WEIGHT[self.one_of(WITH_WEIGHT.len() as u64)]);
                let weight = Weight::from_millionths((1 + self.users.below(8)) * 500_000)?;
                OperatorCall::UpdateWeights(vec![(of, weight)])
            }
            3 if can_spare => OperatorCall::DeactivateAgent(self.some_agent()?),
            4 if can_spare => {
                let grace_max = self.users.chance(50).then(|| Duration::from_secs(3));
                let drain = Drain { grace_max, marks_gone: self.users.chance(30) };
                OperatorCall::DrainAgent { agent: self.some_agent()?, drain }
            }
            5 if can_spare && self.users.chance(40) => {
                OperatorCall::MarkAgentGone(self.some_agent()?)
            }
            6 | 7 => OperatorCall::UpdateSchedule(self.wants_maintenance(&rules)),
            8 if can_spare => {
                let planned = rules.schedule.first()?.machines.first()?;
                OperatorCall::StartMaintenance(vec![planned.clone()])
            }
            3..=5 | 8 | 9 => {
                let agent = rules.standings.keys().next()?.clone();
                OperatorCall::ReactivateAgent(agent)
            }
            10 => OperatorCall::StopMaintenance(vec![rules.machines_down.first()?.clone()]),
            _ => return self.wants_conversion(),
        })
    }

    /// Of one role; what is guaranteed need not be there.
    fn wants_quota(&mut self) -> OperatorCall {
        let of = role(WITH_QUOTA[self.one_of(WITH_QUOTA.len() as u64)]);
        let amounts = |units: u64| {
            let units = i64::try_from(units).unwrap_or(0);
            [("cpus".into(), Milli::units(units)), ("mem".into(), Milli::units(units * 128))].into()
        };
        let mut quota = Quota::default();
        let guarantee = self.users.below(4);
        if self.users.chance(50) {
            quota.guarantees = amounts(guarantee);
        }
        if self.users.chance(60) {
            quota.limits = amounts(guarantee + self.users.below(6));
        }
        OperatorCall::UpdateQuota { quotas: vec![(of, quota)], force: self.users.chance(60) }
    }

    /// Of a few machines, soon; those that are away stay in the plan.
    fn wants_maintenance(&mut self, rules: &Rules) -> Vec<Window> {
        let mut machines: Vec<Machine> = rules.machines_down.iter().cloned().collect();
        for _ in 0..self.users.below(3) {
            let one = machine(self.one_of(self.agents.len() as u64));
            if !machines.contains(&one) {
                machines.push(one);
            }
        }
        let start = self.clocks().wall.plus(Duration::from_secs(self.users.below(60)));
        let start_ns = i64::try_from(start.0).unwrap_or(0).saturating_mul(1_000);
        let unavailability = Unavailability { start_ns, duration_ns: None };
        let is_empty = machines.is_empty();
        if is_empty { Vec::new() } else { vec![Window { machines, unavailability }] }
    }

    /// Something to make of what is not used on an agent.
    fn wants_conversion(&mut self) -> Option<OperatorCall> {
        let agent = self.some_agent()?;
        let shown = self.laws.agents.get(&agent)?;
        // Whoever takes a part of what Marathon keeps for an app leaves that without.
        let is_others = |key: &Key| key.kind.reserved_for() != Some(&residents::role());
        let left = shown.total.unused(&shown.used).filtered(|key, _| is_others(key));
        let conversion = self.wants_to_keep(AS_KEEPER, &role("keep"), &left)?;
        Some(OperatorCall::Convert { agent, conversion })
    }

    /// An agent that the master shows.
    fn some_agent(&mut self) -> Option<AgentId> {
        let count = self.laws.agents.len() as u64;
        let at = if count == 0 { return None } else { self.one_of(count) };
        self.laws.agents.keys().nth(at).cloned()
    }

    /// Puts everything back into service.
    fn puts_back(&mut self) {
        let rules = self.raft.registry.rules.clone();
        let none = |(of, quota): (&Role, &Quota)| {
            (!quota.is_empty()).then(|| (of.clone(), Quota::default()))
        };
        let quotas: Vec<_> = rules.quotas.iter().filter_map(none).collect();
        let mut calls = Vec::new();
        if !quotas.is_empty() {
            calls.push(OperatorCall::UpdateQuota { quotas, force: false });
        }
        let is_out = |standing: &Standing| !standing.is_active();
        let out = rules.standings.iter().filter(|(_, standing)| is_out(standing));
        calls.extend(out.map(|(agent, _)| OperatorCall::ReactivateAgent(agent.clone())));
        // Who came back under another id, and could not tell that it goes, is waited for in vain.
        let is_somebodys = |id: &AgentId| self.agents.iter().any(|agent| agent.id() == Some(id));
        let away = self.raft.registry.members.unreachable.keys();
        let lost = away.filter(|id| !is_somebodys(id));
        calls.extend(lost.map(|id| OperatorCall::MarkAgentGone(id.clone())));
        if !rules.machines_down.is_empty() {
            calls.push(OperatorCall::StopMaintenance(rules.machines_down.into_iter().collect()));
        } else if !rules.schedule.is_empty() {
            calls.push(OperatorCall::UpdateSchedule(Vec::new()));
        }
        for call in calls {
            self.operate(call);
        }
    }
}
