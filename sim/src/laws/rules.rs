//! Laws of what operators have decided: it is agreed on before they hear of it, and whoever leads keeps to it.

use super::Laws;
use master_core::Registry;
use master_core::view::{AgentCondition, AgentView, TaskList};
use model::amount::Milli;
use model::ids::AgentId;
use model::link::ip_of;
use model::resources::{Key, Resources};
use model::role::Role;
use model::task::TaskState;

/// Whether quota is about it.
fn is_unreserved(key: &Key) -> bool {
    key.kind.reservations.is_empty() && !key.kind.is_revocable && !key.kind.is_shared
}

fn is_within(of: &Role, top: &Role) -> bool {
    of == top || of.is_below(top)
}

fn is_in_contact(agent: &AgentView) -> bool {
    matches!(agent.condition, AgentCondition::Connected | AgentCondition::Disconnected)
}

impl Laws {
    /// Memory: the leader shows the rules that the masters agree on. Truth: nothing is offered of an agent
    /// that they have taken out of service, and who is gone for good is not shown again.
    pub(crate) fn check_rules(&mut self, registry: &Registry) {
        if *self.rules != registry.rules {
            let (shown, agreed) = (&self.rules, &registry.rules);
            self.broke(format!("memory: the leader shows {shown:?}, agreed on is {agreed:?}"));
        }
        let is_out = |id: &AgentId| {
            let Some(agent) = self.agents.get(id) else { return true };
            let (hostname, address) = (&agent.description.hostname, &agent.description.address);
            agent.condition != AgentCondition::Connected
                || !registry.rules.standing(id).is_active()
                || registry.rules.is_down(hostname, ip_of(address))
        };
        if let Some(offer) = self.offers.values().find(|offer| is_out(&offer.agent)) {
            self.broke(format!("truth: {offer:?} is of an agent that is out of service"));
        }
        if let Some(id) = self.agents.keys().find(|id| registry.members.gone.contains_key(*id)) {
            self.broke(format!("truth: agent {id} is shown, and was marked gone"));
        }
    }

    /// Truth: nothing is offered of an agent while the masters agree on that it leaves.
    pub(crate) fn check_leaving<'a>(&mut self, leaving: impl Iterator<Item = &'a AgentId>) {
        for id in leaving {
            if let Some(offer) = self.offers.values().find(|offer| offer.agent == *id) {
                self.broke(format!("truth: {offer:?} is of an agent that is about to leave"));
            }
        }
    }

    /// One answer: with what it is offered now, no role has more than its quota's limit.
    pub(crate) fn check_limits(&mut self) {
        for id in std::mem::take(&mut self.offered_now) {
            let Some(offer) = self.offers.get(&id) else { continue };
            for (top, quota) in &self.rules.quotas {
                if !is_within(&offer.role, top) {
                    continue;
                }
                let unreserved = offer.resources.filtered(|key, _| is_unreserved(key));
                for (kind, limit) in &quota.limits {
                    let has = self.holdings(top, kind);
                    let sum = has.iter().fold(Milli::ZERO, |sum, (_, amount)| sum + *amount);
                    if unreserved.scalar(kind) > Milli::ZERO && sum > *limit {
                        let what =
                            format!("{top} has {sum} {kind} of {limit} with {offer:?}: {has:?}");
                        return self.broke(format!("one answer: {what}"));
                    }
                }
            }
        }
    }

    /// What a role and those below it have of a kind: what is reserved for them, what they are offered and
    /// what they use.
    fn holdings(&self, top: &Role, kind: &str) -> Vec<(String, Milli)> {
        let is_here = |id: &AgentId| self.agents.get(id).is_some_and(|agent| is_in_contact(agent));
        let unreserved = |what: &Resources| what.filtered(|key, _| is_unreserved(key)).scalar(kind);
        let is_its = |key: &Key| key.kind.reserved_for().is_some_and(|of| is_within(of, top));
        let mut all = Vec::new();
        for agent in self.agents.values().filter(|agent| is_in_contact(agent)) {
            let reserved = agent.total.filtered(|key, _| is_its(key));
            all.push((format!("reserved on {}", agent.id), reserved.scalar(kind)));
        }
        for offer in self.offers.values().filter(|offer| is_within(&offer.role, top)) {
            all.push((format!("offer {}", offer.id), unreserved(&offer.resources)));
        }
        for task in self.tasks.values() {
            // One that its agent has come back without is not there until it says otherwise.
            let is_gone = task.state.is_terminal() || task.state == TaskState::Unreachable;
            let is_live = task.list == TaskList::Live && !is_gone;
            if is_live && is_within(&task.role, top) && is_here(&task.agent) {
                let what = format!("task {} on {}, {:?}", task.id(), task.agent, task.state);
                all.push((what, unreserved(&task.spec.resources)));
            }
        }
        for one in self.executors.values() {
            if is_within(&one.role, top) && is_here(&one.key.agent) {
                all.push((format!("executor {:?}", one.key), unreserved(&one.spec.resources)));
            }
        }
        all.retain(|(_, amount)| *amount > Milli::ZERO);
        all
    }
}
