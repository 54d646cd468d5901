//! The allocator: what is where, who wants it, who has it, and whose turn it is.

use crate::amounts::Kinds;
use crate::filters::Filters;
use crate::gates::{self, Why};
use crate::roles::{FrameworkIx, RoleIx, Roles};
use crate::settings::{Settings, Weight};
use crate::slab::{Index, Slab};
use model::framework::Capabilities;
use model::ids::{AgentId, FrameworkId};
use model::resources::Resources;
use model::rng::Rng;
use model::role::Role;
use model::step::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type AgentIx = Index<Agent>;

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

/// What a framework wants to be offered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FrameworkWish {
    /// The roles it is in.
    pub roles: BTreeSet<Role>,
    /// Those of them it wants no offers for.
    pub suppressed: BTreeSet<Role>,
    /// What it understands.
    pub capabilities: Capabilities,
}

/// An agent, as the allocator knows it.
#[derive(Debug)]
pub(crate) struct Agent {
    id: AgentId,
    total: Resources,
    given: BTreeMap<(FrameworkIx, RoleIx), Resources>,
    given_sum: Resources,
    /// `total` without `given_sum`.
    pub(crate) free: Resources,
    pub(crate) has_gpus: bool,
    is_active: bool,
    filters: BTreeMap<(FrameworkIx, RoleIx), Filters>,
}

/// A framework, as the allocator knows it.
#[derive(Debug)]
pub(crate) struct Framework {
    id: FrameworkId,
    pub(crate) capabilities: Capabilities,
    /// The roles it is in, and whether it wants no offers for them.
    roles: BTreeMap<Role, bool>,
    is_active: bool,
    /// Where it has something.
    has_on: BTreeSet<(AgentIx, RoleIx)>,
    /// Where it has declined something.
    filtered_on: BTreeSet<(AgentIx, RoleIx)>,
}

/// Decides whom to offer what.
///
/// Invariant: on each agent, what was given to whomever is disjoint, and given and free together are
/// the agent's total; unless an agent came back smaller than what runs on it, when nothing is free.
#[derive(Debug)]
pub struct Allocator {
    settings: Settings,
    agents: Slab<Agent>,
    agents_by_id: BTreeMap<AgentId, AgentIx>,
    frameworks: Slab<Framework>,
    frameworks_by_id: BTreeMap<FrameworkId, FrameworkIx>,
    roles: Roles,
    /// Agents where something changed that may lead to offers.
    dirty: BTreeSet<AgentIx>,
    all_dirty: bool,
    /// When changes that wait are acted on; absent if none wait.
    due_at: Option<Time>,
    /// When everything is looked at again.
    full_at: Time,
    filters_end: BTreeSet<(Time, AgentIx, FrameworkIx, RoleIx)>,
    rng: Rng,
}

impl Allocator {
    /// An allocator for an empty cluster.
    pub fn new(settings: Settings, now: Time) -> Self {
        let kinds = Kinds::new(settings.excluded_from_shares.clone());
        Self {
            agents: Slab::new(),
            agents_by_id: BTreeMap::new(),
            frameworks: Slab::new(),
            frameworks_by_id: BTreeMap::new(),
            roles: Roles::new(settings.weights.clone(), kinds),
            dirty: BTreeSet::new(),
            all_dirty: false,
            due_at: None,
            full_at: now + settings.interval,
            filters_end: BTreeSet::new(),
            rng: Rng::new(settings.seed),
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
        framework.is_active = true;
        let suppressed = |role: &Role| wish.suppressed.contains(role);
        let roles = wish.roles.iter().map(|role| (role.clone(), suppressed(role))).collect();
        let before = std::mem::replace(&mut framework.roles, roles);
        for (role, &was_suppressed) in &before {
            if !wish.roles.contains(role) || (was_suppressed && !suppressed(role)) {
                self.clear_filters(at, Some(role));
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
            let had = self.agents.get(agent).given[&(at, role)].clone();
            self.take_back(agent, at, role, &had);
            self.touch(agent, now);
        }
        let roles = std::mem::take(&mut self.frameworks.get_mut(at).roles);
        for role in roles.keys() {
            self.rank(at, role);
        }
        self.frameworks.remove(at);
        self.frameworks_by_id.remove(id);
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
        if roles.is_empty() {
            self.clear_filters(at, None);
        }
        for role in roles {
            self.clear_filters(at, Some(role));
        }
        self.touch_all(now);
    }

    /// An agent is there, or back with another total and other things on it. It is active afterwards;
    /// filters on it are forgotten.
    pub fn put_agent(
        &mut self,
        id: &AgentId,
        total: Resources,
        used: impl IntoIterator<Item = (FrameworkId, Role, Resources)>,
        now: Time,
    ) {
        self.remove_agent(id);
        self.roles.grow_total(&total);
        let has_gpus = gates::has_gpus(&total);
        let at = self.agents.insert(Agent {
            id: id.clone(),
            free: total.clone(),
            total,
            given: BTreeMap::new(),
            given_sum: Resources::none(),
            has_gpus,
            is_active: true,
            filters: BTreeMap::new(),
        });
        self.agents_by_id.insert(id.clone(), at);
        for (framework, role, resources) in used {
            self.give(at, &framework, &role, &resources);
        }
        self.touch(at, now);
    }

    /// An agent that was deactivated is offered again.
    pub fn activate_agent(&mut self, id: &AgentId, now: Time) {
        if let Some(&at) = self.agents_by_id.get(id) {
            self.agents.get_mut(at).is_active = true;
            self.touch(at, now);
        }
    }

    /// An agent is not connected, or its operators do not want it used: nothing of it is offered.
    pub fn deactivate_agent(&mut self, id: &AgentId) {
        if let Some(&at) = self.agents_by_id.get(id) {
            self.agents.get_mut(at).is_active = false;
        }
    }

    /// An agent is not there any more, nor is what was given of it.
    pub fn remove_agent(&mut self, id: &AgentId) {
        let Some(at) = self.agents_by_id.remove(id) else { return };
        let given: Vec<_> = self.agents.get(at).given.keys().copied().collect();
        for (framework, role) in given {
            let had = self.agents.get(at).given[&(framework, role)].clone();
            self.take_back(at, framework, role, &had);
        }
        let agent = self.agents.remove(at);
        self.roles.shrink_total(&agent.total);
        for (framework, role) in agent.filters.into_keys() {
            self.frameworks.get_mut(framework).filtered_on.remove(&(at, role));
        }
        self.filters_end.retain(|&(_, agent, _, _)| agent != at);
        self.dirty.remove(&at);
    }

    /// Books what a framework has without having been offered it here: tasks that an agent brings.
    pub fn book(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        what: &Resources,
    ) {
        if let Some(&at) = self.agents_by_id.get(agent) {
            self.give(at, framework, role, what);
        }
    }

    /// Something given is free again.
    ///
    /// With `refuse_for` the framework has declined it: it is offered nothing of it for so long. A
    /// decline for no time at all holds until the next full pass, so that a framework that declines
    /// everything does not go round in circles with the master.
    pub fn give_back(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        what: &Resources,
        refuse_for: Option<Duration>,
        now: Time,
    ) {
        let found = (
            self.agents_by_id.get(agent).copied(),
            self.frameworks_by_id.get(framework).copied(),
            self.roles.find(role),
        );
        let (Some(agent), Some(framework), Some(role)) = found else { return };
        // Never more than it had, whatever is asked.
        let had = self.agents.get(agent).given.get(&(framework, role));
        let what = had.map(|had| had.minus(&had.minus(what))).unwrap_or_default();
        if what.is_empty() {
            return;
        }
        let wish = self.frameworks.get(framework);
        let wants_role = wish.roles.contains_key(self.roles.role(role));
        if let Some(refuse_for) = refuse_for
            && wish.is_active
            && wants_role
        {
            let wait = if refuse_for.is_zero() { self.settings.interval } else { refuse_for };
            self.add_filter(agent, framework, role, what.clone(), now + wait);
        }
        self.take_back(agent, framework, role, &what);
        self.touch(agent, now);
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
        [self.due_at, filter, Some(self.full_at)].into_iter().flatten().min()
    }

    /// Gives away what can be given at the agents where something changed, or, once in an interval, at
    /// all. What is returned is booked as given.
    pub fn allocate(&mut self, now: Time) -> Vec<Allocation> {
        self.end_filters(now);
        if self.full_at <= now {
            self.full_at = now + self.settings.interval;
            self.all_dirty = true;
            self.due_at = Some(now);
        }
        if self.due_at.is_none_or(|due_at| due_at > now) {
            return Vec::new();
        }
        self.due_at = None;
        let mut agents: Vec<AgentIx> = if std::mem::take(&mut self.all_dirty) {
            self.dirty.clear();
            self.agents.indices().collect()
        } else {
            std::mem::take(&mut self.dirty).into_iter().collect()
        };
        // Shuffled, so that frameworks that take turns do not always get the same machines.
        self.rng.shuffle(&mut agents);
        self.roles.refresh();
        let mut allocations = Vec::new();
        for agent in agents {
            while let Some((role, framework, resources)) = self.pick(agent, now) {
                let role = self.roles.role(role).clone();
                let framework = self.frameworks.get(framework).id.clone();
                self.give(agent, &framework, &role, &resources);
                let agent = self.agents.get(agent).id.clone();
                allocations.push(Allocation { framework, role, agent, resources });
            }
        }
        allocations
    }

    /// Why a framework is offered nothing of an agent for one of its roles; absent if it would be now.
    pub fn why_not(
        &self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        now: Time,
    ) -> Option<Why> {
        let found = (self.frameworks_by_id.get(framework), self.agents_by_id.get(agent));
        let (Some(&framework_at), Some(&agent_at)) = found else { return Some(Why::Unknown) };
        let framework = self.frameworks.get(framework_at);
        match framework.roles.get(role) {
            _ if !framework.is_active => return Some(Why::FrameworkInactive),
            None => return Some(Why::NotInRole),
            Some(true) => return Some(Why::Suppressed),
            Some(false) => {}
        }
        if !self.agents.get(agent_at).is_active {
            return Some(Why::AgentInactive);
        }
        let role = self.roles.find(role)?;
        self.offerable(agent_at, framework_at, role, now).err()
    }

    /// What is free on an agent; absent if it is not known.
    pub fn free(&self, agent: &AgentId) -> Option<&Resources> {
        self.agents_by_id.get(agent).map(|&at| &self.agents.get(at).free)
    }

    fn pick(&self, agent: AgentIx, now: Time) -> Option<(RoleIx, FrameworkIx, Resources)> {
        let candidate = self.agents.get(agent);
        // Reservations are part of it, so what is too little as a whole is too little for any role.
        if !candidate.is_active || !self.settings.min_allocatable.is_met_by(&candidate.free) {
            return None;
        }
        self.roles.walk().find_map(|(role, framework)| {
            let resources = self.offerable(agent, framework, role, now).ok()?;
            Some((role, framework, resources))
        })
    }

    fn offerable(
        &self,
        agent: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        now: Time,
    ) -> Result<Resources, Why> {
        let agent = self.agents.get(agent);
        gates::offerable(
            agent,
            self.frameworks.get(framework),
            self.roles.role(role),
            agent.filters.get(&(framework, role)),
            &self.settings,
            now,
        )
    }

    fn framework_place(&mut self, id: &FrameworkId) -> FrameworkIx {
        if let Some(&at) = self.frameworks_by_id.get(id) {
            return at;
        }
        let at = self.frameworks.insert(Framework {
            id: id.clone(),
            capabilities: Capabilities::default(),
            roles: BTreeMap::new(),
            is_active: false,
            has_on: BTreeSet::new(),
            filtered_on: BTreeSet::new(),
        });
        self.frameworks_by_id.insert(id.clone(), at);
        at
    }

    fn give(&mut self, agent: AgentIx, framework: &FrameworkId, role: &Role, what: &Resources) {
        if what.is_empty() {
            return;
        }
        let framework_at = self.framework_place(framework);
        let role_at = self.roles.place(role);
        let is_first = self.frameworks.get_mut(framework_at).has_on.insert((agent, role_at));
        self.roles.give(role_at, framework_at, framework, what, is_first);
        let agent = self.agents.get_mut(agent);
        agent.given.entry((framework_at, role_at)).or_default().add(what);
        agent.given_sum.add(what);
        agent.free = agent.total.minus(&agent.given_sum);
    }

    fn take_back(&mut self, at: AgentIx, framework: FrameworkIx, role: RoleIx, what: &Resources) {
        let agent = self.agents.get_mut(at);
        let given = agent.given.get_mut(&(framework, role)).expect("it was given");
        given.subtract(what);
        let is_last = given.is_empty();
        if is_last {
            agent.given.remove(&(framework, role));
            self.frameworks.get_mut(framework).has_on.remove(&(at, role));
        }
        agent.given_sum.subtract(what);
        agent.free = agent.total.minus(&agent.given_sum);
        self.roles.take_back(role, framework, what, is_last);
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

    fn add_filter(
        &mut self,
        agent: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        declined: Resources,
        until: Time,
    ) {
        let filters = self.agents.get_mut(agent).filters.entry((framework, role)).or_default();
        filters.add(declined, until);
        self.frameworks.get_mut(framework).filtered_on.insert((agent, role));
        self.filters_end.insert((until, agent, framework, role));
    }

    fn end_filters(&mut self, now: Time) {
        while let Some(&(until, agent, framework, role)) = self.filters_end.first()
            && until <= now
        {
            self.filters_end.pop_first();
            let filters = &mut self.agents.get_mut(agent).filters;
            if let Some(some) = filters.get_mut(&(framework, role))
                && some.expire(now)
            {
                filters.remove(&(framework, role));
                self.frameworks.get_mut(framework).filtered_on.remove(&(agent, role));
            }
            self.dirty.insert(agent);
            self.due_at = Some(now);
        }
    }

    fn clear_filters(&mut self, at: FrameworkIx, role: Option<&Role>) {
        let role = match role {
            None => None,
            Some(role) => match self.roles.find(role) {
                None => return,
                found @ Some(_) => found,
            },
        };
        let filtered_on = &mut self.frameworks.get_mut(at).filtered_on;
        let (cleared, kept) = std::mem::take(filtered_on)
            .into_iter()
            .partition(|&(_, of)| role.is_none_or(|role| role == of));
        *filtered_on = kept;
        let cleared: BTreeSet<(AgentIx, RoleIx)> = cleared;
        if cleared.is_empty() {
            return;
        }
        for &(agent, role) in &cleared {
            self.agents.get_mut(agent).filters.remove(&(at, role));
        }
        // Indices are given out again, so no end may be left of a filter that is not there.
        self.filters_end
            .retain(|&(_, agent, of, role)| of != at || !cleared.contains(&(agent, role)));
    }

    fn touch(&mut self, agent: AgentIx, now: Time) {
        self.dirty.insert(agent);
        self.due_at.get_or_insert(now + self.settings.batching);
    }

    fn touch_all(&mut self, now: Time) {
        self.all_dirty = true;
        self.due_at.get_or_insert(now + self.settings.batching);
    }
}

#[cfg(test)]
mod tests;
