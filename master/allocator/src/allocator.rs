//! The allocator: what is where, who wants it, who has it, and whose turn it is.

use crate::agent::{Agent, AgentIx};
use crate::amounts::Amounts;
use crate::facts::AgentFacts;
use crate::filters::Decline;
use crate::framework::{Framework, FrameworkWish};
use crate::quota::{BadQuota, Quota, Quotas};
use crate::settings::Settings;
use crate::slab::{Places, Slab};
use crate::sorter::{FrameworkIx, RoleIx, Roles};
use model::amount::Milli;
use model::ids::{AgentId, FrameworkId};
use model::link::FaultDomain;
use model::resources::Resources;
use model::rng::Rng;
use model::role::Role;
use model::rules::Weight;
use model::step::Time;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What an offer is to be made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Allocation {
    /// To whom.
    pub framework: FrameworkId,
    /// For which of its roles.
    pub role: Role,
    /// Of which agent.
    pub agent: AgentId,
    /// What.
    pub resources: Resources,
}

/// Decides whom to offer what.
///
/// Invariant: on each agent, what was given to whomever is disjoint, and given and free together are
/// the agent's total; unless an agent came back smaller than what runs on it, when nothing is free.
#[derive(Debug)]
pub struct Allocator {
    pub(crate) settings: Settings,
    pub(crate) agents: Slab<Agent>,
    pub(crate) agents_by_id: BTreeMap<AgentId, AgentIx>,
    pub(crate) frameworks: Slab<Framework>,
    pub(crate) frameworks_by_id: BTreeMap<FrameworkId, FrameworkIx>,
    pub(crate) roles: Roles,
    pub(crate) quotas: Quotas,
    /// Names of machines that may be offered; absent means all.
    whitelist: Option<BTreeSet<Arc<str>>>,
    /// Whether roles with quota get nothing for now.
    pub(crate) holds_quota: bool,
    /// How many frameworks have an own idea of the least that is worth an offer.
    pub(crate) own_leasts: usize,
    /// Agents where something changed that may lead to offers.
    pub(crate) dirty: Places<Agent>,
    pub(crate) all_dirty: bool,
    /// Agents where something was left that quota may have kept back.
    pub(crate) held_back: Places<Agent>,
    /// When changes that wait are acted on; absent if none wait.
    pub(crate) due_at: Option<Time>,
    /// Since when changes wait to be acted on; absent if none do.
    pub(crate) asked_at: Option<Time>,
    /// How long they had waited when they were, until it is told.
    pub(crate) run_after: Option<Duration>,
    /// When everything is looked at again.
    pub(crate) full_at: Time,
    /// The latest moment that this was told.
    pub(crate) told_at: Time,
    pub(crate) filters_end: BTreeSet<(Time, AgentIx, FrameworkIx, RoleIx)>,
    pub(crate) rng: Rng,
    /// For the lots that are drawn between siblings.
    pub(crate) lots_rng: Rng,
}

impl Allocator {
    /// An allocator for an empty cluster.
    pub fn new(settings: Settings, now: Time) -> Self {
        let mut roles = Roles::new(&settings);
        let quotas = Quotas::new(&settings.min_allocatable, &mut roles.kinds);
        Self {
            agents: Slab::new(),
            agents_by_id: BTreeMap::new(),
            frameworks: Slab::new(),
            frameworks_by_id: BTreeMap::new(),
            roles,
            quotas,
            whitelist: None,
            holds_quota: false,
            own_leasts: 0,
            dirty: Places::new(),
            all_dirty: false,
            held_back: Places::new(),
            due_at: None,
            asked_at: None,
            run_after: None,
            full_at: now + settings.interval,
            told_at: now,
            filters_end: BTreeSet::new(),
            rng: Rng::new(settings.seed),
            // Another stream, so that drawing lots does not change the order of agents.
            lots_rng: Rng::new(!settings.seed),
            settings,
        }
    }

    /// A framework is there, or wants other things than before. It is active afterwards.
    ///
    /// Filters of roles that it is not in any more, or that it no longer suppresses, are forgotten.
    pub fn put_framework(&mut self, id: &FrameworkId, wish: &FrameworkWish, now: Time) {
        let at = self.framework_place(id);
        let framework = self.frameworks.get_mut(at);
        framework.capabilities = wish.capabilities;
        framework.constraints = wish.constraints.clone();
        let own_leasts = self.own_leasts - usize::from(!framework.min_allocatable.is_empty());
        framework.min_allocatable = wish.min_allocatable.clone();
        self.own_leasts = own_leasts + usize::from(!framework.min_allocatable.is_empty());
        framework.is_active = true;
        let suppressed = |role: &Role| wish.suppressed.contains(role);
        let roles = wish.roles.iter().map(|role| (role.clone(), suppressed(role))).collect();
        let before = std::mem::replace(&mut framework.roles, roles);
        for (role, &was_suppressed) in &before {
            if !wish.roles.contains(role) || (was_suppressed && !suppressed(role)) {
                self.clear_filters(at, Some(role));
                self.come_forward(at, role);
            }
        }
        for role in before.keys().filter(|role| !wish.roles.contains(role)) {
            self.rank(at, role);
        }
        for role in &wish.roles {
            self.rank(at, role);
        }
        self.touch_all(now);
    }

    /// A framework is not connected: no offers, and its filters are forgotten.
    pub fn deactivate_framework(&mut self, id: &FrameworkId) {
        let Some(&at) = self.frameworks_by_id.get(id) else { return };
        self.frameworks.get_mut(at).is_active = false;
        self.rank_all(at);
        self.clear_filters(at, None);
    }

    /// A framework is over. What it still had is free.
    pub fn remove_framework(&mut self, id: &FrameworkId, now: Time) {
        let Some(at) = self.frameworks_by_id.get(id).copied() else { return };
        self.clear_filters(at, None);
        let has_on: Vec<_> = self.frameworks.get(at).has_on.iter().copied().collect();
        for (agent, role) in has_on {
            let had = self.agents.get(agent).given[&(at, role)].what.clone();
            self.take_back(agent, at, role, &had);
            self.touch(agent, now);
        }
        let roles = std::mem::take(&mut self.frameworks.get_mut(at).roles);
        for role in roles.keys() {
            self.rank(at, role);
        }
        let framework = self.frameworks.remove(at);
        self.own_leasts -= usize::from(!framework.min_allocatable.is_empty());
        self.frameworks_by_id.remove(id);
        self.roles.remove_framework(id);
    }

    /// No more offers for these roles of a framework, or, if there are none, for all.
    pub fn suppress(&mut self, id: &FrameworkId, roles: &BTreeSet<Role>) {
        let Some(&at) = self.frameworks_by_id.get(id) else { return };
        self.set_suppressed(at, roles, true);
    }

    /// Offers again for these roles of a framework, or, if there are none, for all. Their filters are
    /// forgotten.
    pub fn revive(&mut self, id: &FrameworkId, roles: &BTreeSet<Role>, now: Time) {
        let Some(&at) = self.frameworks_by_id.get(id) else { return };
        self.set_suppressed(at, roles, false);
        let wanted: Vec<Role> = self.frameworks.get(at).roles.keys().cloned().collect();
        for role in wanted.iter().filter(|role| roles.is_empty() || roles.contains(role)) {
            self.come_forward(at, role);
        }
        if roles.is_empty() {
            self.clear_filters(at, None);
        }
        for role in roles {
            self.clear_filters(at, Some(role));
        }
        self.touch_all(now);
    }

    /// An agent is there, or back with another total and other things on it. It is active afterwards.
    /// What else was said of it holds on, and so do filters on it.
    pub fn put_agent(
        &mut self,
        id: &AgentId,
        total: Resources,
        used: impl IntoIterator<Item = (FrameworkId, Role, Resources)>,
        now: Time,
    ) {
        let before = self.agents_by_id.get(id).map(|&at| self.agents.get(at));
        let facts = before.map(|agent| agent.facts.clone()).unwrap_or_default();
        let filters = self.take_filters_on(id);
        self.remove_agent(id);
        let total = self.roles.kinds.interned(total);
        self.roles.grow_total(&total);
        self.count_reservations(&total, true);
        let mut agent = Agent::new(id.clone(), total);
        agent.is_listed = self.is_listed(&facts.hostname);
        agent.is_remote = self.is_remote(facts.domain.as_ref());
        agent.facts = facts;
        let at = self.agents.insert(agent);
        self.agents_by_id.insert(id.clone(), at);
        self.count_headroom(at, &Amounts::default());
        for (framework, role, resources) in used {
            if resources.is_empty() {
                continue;
            }
            let (framework, role) = (self.framework_place(&framework), self.roles.place(&role));
            self.give(at, framework, role, &resources, None);
        }
        self.put_filters_on(at, filters);
        self.touch(at, now);
    }

    /// An agent that was deactivated is offered again.
    pub fn activate_agent(&mut self, id: &AgentId, now: Time) {
        if let Some(&at) = self.agents_by_id.get(id) {
            let headroom = self.headroom_of(at);
            self.agents.get_mut(at).is_active = true;
            self.count_headroom(at, &headroom);
            self.touch(at, now);
        }
    }

    /// Says of an agent what is known beside its resources. If that is news, filters on it are
    /// forgotten.
    pub fn describe_agent(&mut self, id: &AgentId, facts: AgentFacts, now: Time) {
        let Some(&at) = self.agents_by_id.get(id) else { return };
        if self.agents.get(at).facts == facts {
            return;
        }
        self.clear_filters_on(at);
        let headroom = self.headroom_of(at);
        let is_listed = self.is_listed(&facts.hostname);
        let is_remote = self.is_remote(facts.domain.as_ref());
        let agent = self.agents.get_mut(at);
        (agent.facts, agent.is_listed, agent.is_remote) = (facts, is_listed, is_remote);
        self.count_headroom(at, &headroom);
        self.touch(at, now);
    }

    /// An agent has another total: resources that may be taken back have come or gone. What is given
    /// stays given.
    pub fn set_total(&mut self, id: &AgentId, total: &Resources, now: Time) {
        let Some(&at) = self.agents_by_id.get(id) else { return };
        self.replace_total(at, total.clone());
        self.touch(at, now);
    }

    /// An agent is not connected, or its operators do not want it used: nothing of it is offered.
    pub fn deactivate_agent(&mut self, id: &AgentId) {
        if let Some(&at) = self.agents_by_id.get(id) {
            let headroom = self.headroom_of(at);
            self.agents.get_mut(at).is_active = false;
            self.count_headroom(at, &headroom);
        }
    }

    /// An agent is not there any more, nor is what was given of it.
    pub fn remove_agent(&mut self, id: &AgentId) {
        let Some(at) = self.agents_by_id.remove(id) else { return };
        let given: Vec<_> = self.agents.get(at).given.keys().copied().collect();
        for (framework, role) in given {
            let had = self.agents.get(at).given[&(framework, role)].what.clone();
            self.take_back(at, framework, role, &had);
        }
        self.clear_filters_on(at);
        let headroom = self.headroom_of(at);
        self.quotas.shrink_headroom(&headroom);
        let agent = self.agents.remove(at);
        self.roles.shrink_total(&agent.total);
        self.count_reservations(&agent.total, false);
        self.dirty.remove(at);
        self.held_back.remove(at);
    }

    /// Books what a framework has without having been offered it here: tasks that an agent brings.
    pub fn book(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        what: &Resources,
    ) {
        if let Some(&at) = self.agents_by_id.get(agent)
            && !what.is_empty()
        {
            let (framework, role) = (self.framework_place(framework), self.roles.place(role));
            self.give(at, framework, role, what, None);
        }
    }

    /// Something given is free again.
    ///
    /// With `decline` the framework has declined it: it is offered nothing of it for a while. A decline
    /// for no time at all holds until the next full pass, so that a framework that declines everything
    /// does not go round in circles with the master.
    pub fn give_back(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        what: &Resources,
        decline: Option<Decline>,
        now: Time,
    ) {
        let found = (
            self.agents_by_id.get(agent).copied(),
            self.frameworks_by_id.get(framework).copied(),
            self.roles.find(role),
        );
        let (Some(agent), Some(framework), Some(role)) = found else { return };
        // Never more than it had, whatever is asked.
        let Some(had) = self.agents.get(agent).given.get(&(framework, role)) else { return };
        let offered_at = had.offered_at;
        let what = if had.what.contains(what) {
            Cow::Borrowed(what)
        } else {
            Cow::Owned(had.what.minus(&had.what.minus(what)))
        };
        if what.is_empty() {
            return;
        }
        let wish = self.frameworks.get(framework);
        let wants_role = wish.roles.contains_key(self.roles.role(role));
        if let Some(Decline { refuse_for, offer }) = decline
            && wish.is_active
            && wants_role
        {
            let wait = if refuse_for.is_zero() { self.settings.interval } else { refuse_for };
            let declined = what.clone().into_owned();
            self.add_filter(agent, framework, role, declined, now + wait, offer);
            if let Some(offered_at) = offered_at
                && self.settings.decliners_step_back
            {
                self.roles.step_back(role, framework, now.since(offered_at), now);
            }
        }
        self.take_back(agent, framework, role, &what);
        self.touch(agent, now);
    }

    /// A framework has used something of what it was offered of an agent. To be told before what it
    /// left is given back, which then is no decline.
    pub fn used(&mut self, framework: &FrameworkId, role: &Role, agent: &AgentId) {
        let found = (
            self.agents_by_id.get(agent).copied(),
            self.frameworks_by_id.get(framework).copied(),
            self.roles.find(role),
        );
        let (Some(agent), Some(framework), Some(role)) = found else { return };
        if let Some(given) = self.agents.get_mut(agent).given.get_mut(&(framework, role)) {
            given.offered_at = None;
            self.roles.come_forward(role, framework);
        }
    }

    /// Until when a framework that has declined stands behind all others in a role; absent if it does
    /// not.
    pub fn steps_back_until(&self, framework: &FrameworkId, role: &Role) -> Option<Time> {
        let framework = self.frameworks_by_id.get(framework)?;
        self.roles.steps_back_until(self.roles.find(role)?, *framework)
    }

    /// Gives a top-level role a quota, or none.
    pub fn set_quota(
        &mut self,
        role: Role,
        quota: Option<Quota>,
        now: Time,
    ) -> Result<(), BadQuota> {
        if role.components().nth(1).is_some() {
            return Err(BadQuota::Nested(role));
        }
        match quota {
            None => {
                self.quotas.remove(&role);
                self.roles.set_quota(&role, None);
            }
            Some(quota) => {
                if self.quotas.is_empty() {
                    let headroom = self.count_all_headroom();
                    self.quotas.begin(headroom);
                }
                let consumed = self.count_role(&role);
                let at = self.quotas.insert(&role, quota, consumed, &mut self.roles.kinds);
                self.roles.set_quota(&role, Some(at));
            }
        }
        self.touch_all(now);
        Ok(())
    }

    /// Whether roles with quota get nothing for now, since it is not known yet what they have. Others get
    /// what no guarantee keeps from them.
    pub fn hold_quota(&mut self, holds: bool, now: Time) {
        if std::mem::replace(&mut self.holds_quota, holds) != holds {
            self.touch_all(now);
        }
    }

    /// A top-level role's quota, if it has one.
    pub fn quota(&self, role: &Role) -> Option<&Quota> {
        self.quotas.get(role)
    }

    /// What a role and those below it consume of its quota: what is reserved for them, and what they
    /// have of what is not. It takes long for roles without quota, since nobody keeps count.
    pub fn consumed(&self, role: &Role) -> BTreeMap<Arc<str>, Milli> {
        let amounts = match self.quotas.consumed(role) {
            Some(consumed) => consumed.clone(),
            None => self.count_role(role),
        };
        self.named(&amounts)
    }

    /// Has only agents offered whose machines have one of these names; absent means all agents.
    pub fn set_whitelist(&mut self, hostnames: Option<BTreeSet<Arc<str>>>, now: Time) {
        self.whitelist = hostnames;
        let agents: Vec<AgentIx> = self.agents.indices().collect();
        for at in agents {
            let headroom = self.headroom_of(at);
            let is_listed = self.is_listed(&self.agents.get(at).facts.hostname);
            self.agents.get_mut(at).is_listed = is_listed;
            self.count_headroom(at, &headroom);
        }
        self.touch_all(now);
    }

    /// Gives a role another weight.
    pub fn set_weight(&mut self, role: Role, weight: Weight, now: Time) {
        self.roles.set_weight(role, weight);
        self.touch_all(now);
    }

    /// When [`Self::allocate`] has something to do, if nothing changes before.
    pub fn next_run(&self) -> Option<Time> {
        if self.agents_by_id.is_empty() || self.roles.walk_is_empty() {
            return None;
        }
        let filter = self.filters_end.first().map(|&(at, ..)| at);
        // Whatever is due soon anyway takes along what quota need not keep back any more.
        let is_alone = self.due_at.is_none() && self.waits_for_quota();
        let loosened = is_alone.then_some(self.told_at);
        [self.due_at, loosened, filter, Some(self.full_at)].into_iter().flatten().min()
    }

    /// What is free on an agent; absent if it is not known.
    pub fn free(&self, agent: &AgentId) -> Option<&Resources> {
        self.agents_by_id.get(agent).map(|&at| &self.agents.get(at).free)
    }

    fn come_forward(&mut self, at: FrameworkIx, role: &Role) {
        if let Some(role) = self.roles.find(role) {
            self.roles.come_forward(role, at);
        }
    }

    fn is_listed(&self, hostname: &Arc<str>) -> bool {
        self.whitelist.as_ref().is_none_or(|listed| listed.contains(hostname))
    }

    fn is_remote(&self, of: Option<&FaultDomain>) -> bool {
        let both = of.zip(self.settings.domain.as_ref());
        both.is_some_and(|(agent, master)| agent.region != master.region)
    }

    fn set_suppressed(&mut self, at: FrameworkIx, roles: &BTreeSet<Role>, is_suppressed: bool) {
        for (role, suppressed) in &mut self.frameworks.get_mut(at).roles {
            if roles.is_empty() || roles.contains(role) {
                *suppressed = is_suppressed;
            }
        }
        self.rank_all(at);
    }

    fn rank_all(&mut self, at: FrameworkIx) {
        let roles: Vec<Role> = self.frameworks.get(at).roles.keys().cloned().collect();
        for role in &roles {
            self.rank(at, role);
        }
    }

    /// Tells the tree whether a framework wants offers for a role.
    fn rank(&mut self, at: FrameworkIx, role: &Role) {
        let framework = self.frameworks.get(at);
        let wish = framework.roles.get(role).copied();
        let (is_subscribed, is_active) = (wish.is_some(), wish == Some(false));
        let is_active = is_active && framework.is_active;
        let id = framework.id.clone();
        let place = self.roles.place(role);
        self.roles.set_client(place, at, &id, is_subscribed, is_active);
    }

    pub(crate) fn touch(&mut self, agent: AgentIx, now: Time) {
        self.dirty.insert(agent);
        self.told_at = now;
        self.asked_at.get_or_insert(now);
        self.due_at.get_or_insert(now + self.settings.batching);
    }

    pub(crate) fn touch_all(&mut self, now: Time) {
        self.all_dirty = true;
        self.told_at = now;
        self.asked_at.get_or_insert(now);
        self.due_at.get_or_insert(now + self.settings.batching);
    }
}
