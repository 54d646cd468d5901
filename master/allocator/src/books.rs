//! Who has what: every change of it, kept alike for agents, frameworks, shares and quota.

use crate::agent::{Agent, AgentIx, is_under_quota};
use crate::allocator::Allocator;
use crate::amounts::Amounts;
use crate::framework::Framework;
use crate::sorter::{FrameworkIx, RoleIx};
use model::ids::FrameworkId;
use model::resources::{Key, Resources, Value};
use model::role::Role;
use model::step::Time;

impl Allocator {
    /// Books `what` as given, offered at `offered_at` or found in use.
    pub(crate) fn give(
        &mut self,
        at: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        what: &Resources,
        offered_at: Option<Time>,
    ) {
        if what.is_empty() {
            return;
        }
        let headroom = self.headroom_of(at);
        let agent = self.agents.get_mut(at);
        let before = agent.given.get(&(framework, role));
        let single = agent.single(what);
        let kinds = &mut self.roles.kinds;
        let amounts = kinds.amounts_where(&single, |key| !Agent::is_copy(key, before));
        let given = agent.given.entry((framework, role)).or_default();
        given.what.add(what);
        given.offered_at = offered_at.or(given.offered_at);
        agent.take(what);
        self.count_given(at, framework, role, &amounts, offered_at);
        self.count_headroom(at, &headroom);
        self.count_consumed(role, what, true);
        if offered_at.is_none() && self.roles.quota(role).is_some() {
            // It need not have been free, so what it meets of a guarantee may be kept free elsewhere.
            self.quotas.has_loosened = true;
        }
    }

    /// Books all that is free of a plain agent as given, and says what that is. It comes to `amounts`.
    pub(crate) fn give_all(
        &mut self,
        at: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        amounts: &Amounts,
        offered_at: Time,
    ) -> Resources {
        let headroom = self.headroom_of(at);
        let agent = self.agents.get_mut(at);
        let what = agent.take_all();
        let given = agent.given.entry((framework, role)).or_default();
        if given.what.is_empty() {
            given.what = what.clone();
        } else {
            given.what.add(&what);
        }
        given.offered_at = Some(offered_at);
        self.count_given(at, framework, role, amounts, Some(offered_at));
        self.count_headroom(at, &headroom);
        self.count_consumed(role, &what, true);
        what
    }

    /// Books `what` as given back. It must have been given.
    pub(crate) fn take_back(
        &mut self,
        at: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        what: &Resources,
    ) {
        self.take_back_or_keep(at, framework, role, what, false);
    }

    /// The same. With `is_kept` what the framework has there stays in the books also when nothing of it is
    /// left, for more that is given at once: a role that nobody is in any more would go with the last of it.
    pub(crate) fn take_back_or_keep(
        &mut self,
        at: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        what: &Resources,
        is_kept: bool,
    ) {
        let headroom = self.headroom_of(at);
        let agent = self.agents.get_mut(at);
        let given = agent.given.get_mut(&(framework, role)).expect("it was given");
        given.what.subtract(what);
        let is_last = given.what.is_empty() && !is_kept;
        if is_last {
            agent.given.remove(&(framework, role));
            self.frameworks.get_mut(framework).has_on.remove(&(at, role));
        }
        agent.put_back(what);
        let left = agent.given.get(&(framework, role));
        let single = agent.single(what);
        let kinds = &mut self.roles.kinds;
        let amounts = kinds.amounts_where(&single, |key| !Agent::is_copy(key, left));
        self.count_headroom(at, &headroom);
        self.count_consumed(role, what, false);
        self.roles.take_back(role, framework, &amounts, is_last);
    }

    fn count_given(
        &mut self,
        at: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        amounts: &Amounts,
        offered_at: Option<Time>,
    ) {
        let owner = self.frameworks.get_mut(framework);
        let is_first = owner.has_on.insert((at, role));
        self.roles.give(role, framework, &owner.id, amounts, is_first, offered_at);
    }

    /// What is unreserved and free on an agent, if it is connected; nothing while nobody has quota.
    pub(crate) fn headroom_of(&self, at: AgentIx) -> Amounts {
        if self.quotas.is_empty() {
            return Amounts::default();
        }
        self.free_under_quota(at)
    }

    fn free_under_quota(&self, at: AgentIx) -> Amounts {
        let agent = self.agents.get(at);
        if !agent.is_offered() {
            return Amounts::default();
        }
        self.roles.kinds.known_amounts(&agent.free, is_under_quota)
    }

    /// Counts how what is free on an agent has changed from `before`.
    pub(crate) fn count_headroom(&mut self, at: AgentIx, before: &Amounts) {
        if self.quotas.is_empty() {
            return;
        }
        let mut grown = self.free_under_quota(at);
        grown.subtract(before);
        if grown.iter().any(|(_, amount)| amount > 0) {
            self.quotas.has_loosened = true;
        }
        self.quotas.grow_headroom(&grown);
    }

    fn count_consumed(&mut self, role: RoleIx, what: &Resources, is_given: bool) {
        let Some(quota) = self.roles.quota(role) else { return };
        let amounts = self.roles.kinds.known_amounts(what, is_under_quota);
        if is_given {
            self.quotas.consume(quota, &amounts);
        } else {
            self.quotas.release(quota, &amounts);
        }
    }

    /// Counts an agent's reservations as consumed by the roles they are for, or not any more.
    pub(crate) fn count_reservations(&mut self, total: &Resources, are_there: bool) {
        if self.quotas.is_empty() {
            return;
        }
        for (key, value) in total.iter() {
            let quota = key.kind.reserved_for().and_then(|role| self.quotas.over(role));
            let (Some(quota), Value::Scalar(amount)) = (quota, value) else { continue };
            let mut amounts = Amounts::default();
            amounts.add_one(self.roles.kinds.number(&key.name), *amount);
            if are_there {
                self.quotas.consume(quota, &amounts);
                // What the reservation meets of a guarantee need not be kept free elsewhere.
                self.quotas.has_loosened = true;
            } else {
                self.quotas.release(quota, &amounts);
            }
        }
    }

    /// What a role and those below it consume, counted from what is on the agents.
    pub(crate) fn count_role(&self, role: &Role) -> Amounts {
        let is_its = |of: &Role| of == role || of.is_below(role);
        let is_reserved = |key: &Key| key.kind.reserved_for().is_some_and(is_its);
        let kinds = &self.roles.kinds;
        let mut sum = Amounts::default();
        for at in self.agents.indices() {
            let agent = self.agents.get(at);
            sum.add(&kinds.known_amounts(&agent.total, is_reserved));
            for (&(_, of), given) in &agent.given {
                if is_its(self.roles.role(of)) {
                    sum.add(&kinds.known_amounts(&given.what, is_under_quota));
                }
            }
        }
        sum
    }

    /// What is unreserved and free on all connected agents.
    pub(crate) fn count_all_headroom(&self) -> Amounts {
        let mut sum = Amounts::default();
        for at in self.agents.indices() {
            sum.add(&self.free_under_quota(at));
        }
        sum
    }

    /// The place of a framework, made if it is new.
    pub(crate) fn framework_place(&mut self, id: &FrameworkId) -> FrameworkIx {
        if let Some(&at) = self.frameworks_by_id.get(id) {
            return at;
        }
        let at = self.frameworks.insert(Framework::new(id.clone()));
        self.frameworks_by_id.insert(id.clone(), at);
        self.roles.add_framework(id);
        at
    }
}
