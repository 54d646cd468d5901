//! A cluster that things happen to: the allocator, and the books of whoever uses it, kept apart from its own.

use super::super::*;
use super::steps::{
    ROLES, Step, TOPS, agent_n, conversion, domain, framework_n, region, roles_of, total_of,
    wish_of,
};
use crate::{AgentFacts, Allocation, Quota};
use model::amount::Milli;
use model::operation::Conversion;
use model::resources::Key;
use model::rules::Weight;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How much of a kind a role consumes of its quota.
pub(super) fn consumed(allocator: &Allocator, of: &str, kind: &str) -> Milli {
    allocator.consumed(&role(of)).get(kind).copied().unwrap_or_default()
}

/// Something that a framework is not to be offered again for a while.
pub(super) struct Declined {
    what: Allocation,
    until: Time,
}

/// The allocator, and what it was told.
pub(super) struct Cluster {
    pub(super) settings: Settings,
    pub(super) allocator: Allocator,
    pub(super) now: Time,
    pub(super) totals: BTreeMap<AgentId, Resources>,
    pub(super) facts: BTreeMap<AgentId, AgentFacts>,
    pub(super) inactive: BTreeSet<AgentId>,
    /// What each framework wants, and whether it is connected.
    pub(super) wishes: BTreeMap<FrameworkId, (FrameworkWish, bool)>,
    pub(super) weights: BTreeMap<Role, Weight>,
    pub(super) quotas: BTreeMap<Role, Quota>,
    pub(super) holds_quota: bool,
    pub(super) whitelist: Option<Arc<str>>,
    pub(super) given: Vec<Allocation>,
    declined: Vec<Declined>,
}

impl Cluster {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            allocator: Allocator::new(settings.clone(), Time::ZERO),
            settings,
            now: Time::ZERO,
            totals: BTreeMap::new(),
            facts: BTreeMap::new(),
            inactive: BTreeSet::new(),
            wishes: BTreeMap::new(),
            weights: BTreeMap::new(),
            quotas: BTreeMap::new(),
            holds_quota: false,
            whitelist: None,
            given: Vec::new(),
            declined: Vec::new(),
        }
    }

    pub(super) fn play(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::PutAgent { agent, cpus, shape, runs } => {
                self.put_agent(agent_n(agent), total_of(cpus, shape), runs);
            }
            Step::Book { agent, framework, role: of } => {
                let what = Allocation {
                    framework: framework_n(framework),
                    role: role(ROLES[usize::from(of)]),
                    agent: agent_n(agent),
                    resources: some("cpus:2"),
                };
                self.allocator.book(&what.framework, &what.role, &what.agent, &what.resources);
                if self.totals.contains_key(&what.agent) {
                    self.given.push(what);
                }
            }
            Step::RemoveAgent(n) => {
                let id = agent_n(n);
                self.allocator.remove_agent(&id);
                self.totals.remove(&id);
                self.facts.remove(&id);
                self.inactive.remove(&id);
                self.given.retain(|given| given.agent != id);
                self.declined.retain(|declined| declined.what.agent != id);
            }
            Step::DeactivateAgent(n) => {
                self.allocator.deactivate_agent(&agent_n(n));
                self.inactive.insert(agent_n(n));
            }
            Step::ActivateAgent(n) => {
                self.allocator.activate_agent(&agent_n(n), now);
                self.inactive.remove(&agent_n(n));
            }
            Step::PutFramework { framework, roles, suppressed, wish } => {
                self.put_framework(&framework_n(framework), &wish_of(roles, suppressed, wish));
            }
            Step::DeactivateFramework(n) => {
                self.allocator.deactivate_framework(&framework_n(n));
                if let Some((_, is_active)) = self.wishes.get_mut(&framework_n(n)) {
                    *is_active = false;
                }
                self.forgets_declines(&framework_n(n), |_| true);
            }
            Step::RemoveFramework(n) => {
                self.allocator.remove_framework(&framework_n(n), now);
                self.wishes.remove(&framework_n(n));
                self.given.retain(|given| given.framework != framework_n(n));
                self.forgets_declines(&framework_n(n), |_| true);
            }
            Step::GiveBack(n, keep, filter) => self.give_back(n, keep, filter),
            Step::Suppress(n, roles) => {
                self.allocator.suppress(&framework_n(n), &roles_of(roles));
                self.suppresses(n, &roles_of(roles), true);
            }
            Step::Revive(n, roles) => {
                self.allocator.revive(&framework_n(n), &roles_of(roles), now);
                self.suppresses(n, &roles_of(roles), false);
                let roles = roles_of(roles);
                self.forgets_declines(&framework_n(n), |of| roles.is_empty() || roles.contains(of));
            }
            Step::SetQuota { role, guarantee, extra, has_mem } => {
                self.set_quota(TOPS[usize::from(role)], guarantee, extra, has_mem);
            }
            Step::HoldQuota(holds) => {
                self.allocator.hold_quota(holds, now);
                self.holds_quota = holds;
            }
            Step::SetWeight(n, weight) => {
                let weight = Weight::from_f64(weight.into()).expect("positive");
                let of = role(ROLES[usize::from(n)]);
                self.allocator.set_weight(of.clone(), weight, now);
                self.weights.insert(of, weight);
            }
            Step::Describe(n, bits) => self.describe(&agent_n(n), bits),
            Step::Whitelist(north) => {
                self.whitelist = north.map(region);
                let listed = self.whitelist.clone().map(|region| [region].into());
                self.allocator.set_whitelist(listed, now);
            }
            Step::SetTotal(n, cpus, more) => self.set_total(&agent_n(n), cpus, more),
            Step::ConvertGiven(n, deep, back) => self.convert_given(n, &conversion(deep, back)),
            Step::ConvertFree(n, deep, back) => {
                self.convert_free(&agent_n(n), &conversion(deep, back));
            }
            Step::Use(n) => {
                if let Some(given) = self.given.get(usize::from(n)) {
                    self.allocator.used(&given.framework, &given.role, &given.agent);
                }
            }
            Step::Wait(millis) => {
                self.now = now + Duration::from_millis(u64::from(millis));
                self.allocate();
            }
        }
    }

    fn put_agent(&mut self, agent: AgentId, total: Resources, runs: Option<(u8, u8)>) {
        self.given.retain(|given| given.agent != agent);
        let used = runs.map(|(framework, of)| {
            (framework_n(framework), role(ROLES[usize::from(of)]), some("cpus:0.5"))
        });
        self.allocator.put_agent(&agent, total.clone(), used.clone(), self.now);
        self.inactive.remove(&agent);
        self.totals.insert(agent.clone(), total);
        let used = used.map(|(framework, role, resources)| Allocation {
            framework,
            role,
            agent,
            resources,
        });
        self.given.extend(used);
    }

    fn put_framework(&mut self, id: &FrameworkId, wish: &FrameworkWish) {
        self.allocator.put_framework(id, wish, self.now);
        if let Some((before, _)) = self.wishes.insert(id.clone(), (wish.clone(), true)) {
            let is_wanted_again =
                |of: &Role| before.suppressed.contains(of) && !wish.suppressed.contains(of);
            self.forgets_declines(id, |of| !wish.roles.contains(of) || is_wanted_again(of));
        }
    }

    fn forgets_declines(&mut self, of: &FrameworkId, for_role: impl Fn(&Role) -> bool) {
        self.declined.retain(|it| it.what.framework != *of || !for_role(&it.what.role));
    }

    fn give_back(&mut self, n: u8, keep: u8, filter: Option<u8>) {
        if self.given.is_empty() {
            return;
        }
        let at = usize::from(n) % self.given.len();
        let given = &mut self.given[at];
        let kept = [some(""), some("cpus:0.5"), some("ports:[2-3]")][usize::from(keep)].clone();
        let back = given.resources.minus(&kept);
        given.resources.subtract(&back);
        let (framework, role, agent) =
            (given.framework.clone(), given.role.clone(), given.agent.clone());
        let filter = filter.map(|secs| Duration::from_secs(u64::from(secs)));
        self.allocator.give_back(&framework, &role, &agent, &back, filter.map(declined), self.now);
        self.given.retain(|given| !given.resources.is_empty());
        let wants =
            |(wish, is_active): &(FrameworkWish, bool)| *is_active && wish.roles.contains(&role);
        if let Some(wait) = filter
            && !back.is_empty()
            && self.wishes.get(&framework).is_some_and(wants)
        {
            let wait = if wait.is_zero() { self.settings.interval } else { wait };
            let what = Allocation { framework, role, agent, resources: back };
            self.declined.push(Declined { what, until: self.now + wait });
        }
    }

    fn suppresses(&mut self, n: u8, roles: &BTreeSet<Role>, is_suppressed: bool) {
        let Some((wish, _)) = self.wishes.get_mut(&framework_n(n)) else { return };
        let all = wish.roles.iter().filter(|role| roles.is_empty() || roles.contains(role));
        for role in all {
            if is_suppressed {
                wish.suppressed.insert(role.clone());
            } else {
                wish.suppressed.remove(role);
            }
        }
    }

    fn set_quota(&mut self, of: &str, guarantee: u8, extra: Option<u8>, has_mem: bool) {
        let amounts = |units: u8| {
            let cpus = ("cpus".into(), Milli::units(units.into()));
            let mem = has_mem.then(|| ("mem".into(), Milli::units(i64::from(units) * 64)));
            [cpus].into_iter().chain(mem).collect()
        };
        let limits = extra.map(|extra| amounts(guarantee + extra)).unwrap_or_default();
        let quota = (guarantee > 0 || extra.is_some())
            .then(|| Quota::new(amounts(guarantee), limits).expect("at least the guarantee"));
        let of = role(of);
        self.allocator.set_quota(of.clone(), quota.clone(), self.now).expect("a top-level role");
        match quota {
            Some(quota) => self.quotas.insert(of, quota),
            None => self.quotas.remove(&of),
        };
    }

    fn describe(&mut self, agent: &AgentId, bits: u8) {
        let has = |bit: u8| bits >> bit & 1 == 1;
        let facts = AgentFacts {
            hostname: region(has(0)),
            domain: has(1).then(|| domain(has(0))),
            lacks_multi_role: has(2) && has(3),
            lacks_hierarchical_roles: has(4) && has(5),
            ..AgentFacts::default()
        };
        self.allocator.describe_agent(agent, facts.clone(), self.now);
        if self.totals.contains_key(agent) {
            let before = self.facts.insert(agent.clone(), facts.clone()).unwrap_or_default();
            self.declined.retain(|it| it.what.agent != *agent || before == facts);
        }
    }

    fn set_total(&mut self, agent: &AgentId, cpus: u8, more: bool) {
        let Some(total) = self.totals.get_mut(agent) else { return };
        let change = some(&format!("cpus:{cpus}"));
        if more {
            total.add(&change);
        } else {
            total.subtract(&change);
        }
        self.allocator.set_total(agent, total, self.now);
    }

    fn convert_given(&mut self, n: u8, half: &Conversion) {
        if self.given.is_empty() {
            return;
        }
        let at = usize::from(n) % self.given.len();
        let Allocation { framework, role, agent, resources } = &mut self.given[at];
        let (consumed, converted) = (half.consumed(), half.converted());
        if !resources.contains(&consumed) {
            return;
        }
        self.allocator.convert_given(framework, role, agent, &consumed, &converted);
        *resources = resources.minus(&consumed).plus(&converted);
        let total = self.totals.get_mut(agent).expect("it is there");
        *total = total.minus(&consumed).plus(&converted);
    }

    fn convert_free(&mut self, agent: &AgentId, half: &Conversion) {
        let (consumed, converted) = (half.consumed(), half.converted());
        let is_free = self.allocator.free(agent).is_some_and(|free| free.contains(&consumed));
        let is_done = self.allocator.convert_free(agent, &consumed, &converted, self.now);
        assert_eq!(is_done, is_free);
        if is_free {
            let total = self.totals.get_mut(agent).expect("it is there");
            *total = total.minus(&consumed).plus(&converted);
        }
    }

    /// Gives what is to be given: only what is free, only what may be, and to no role more than its limit.
    fn allocate(&mut self) {
        const KINDS: [&str; 2] = ["cpus", "mem"];
        let pairs: Vec<_> = TOPS.iter().flat_map(|of| KINDS.map(|kind| (*of, kind))).collect();
        let consumed = |allocator: &Allocator| -> Vec<Milli> {
            pairs.iter().map(|(of, kind)| consumed(allocator, of, kind)).collect()
        };
        let before = consumed(&self.allocator);
        let mut free: BTreeMap<AgentId, Resources> =
            self.totals.keys().map(|id| (id.clone(), self.free(id))).collect();
        let given = self.allocator.allocate(self.now);
        for one in &given {
            let free = free.get_mut(&one.agent).expect("it is there");
            // What is shared is offered once in a pass.
            let taken = free.take(&one.resources);
            assert!(taken.is_ok(), "{one:?}: {taken:?}");
            self.may_be(one);
        }
        self.given.extend(given);
        let after = consumed(&self.allocator);
        for ((of, kind), (before, after)) in pairs.iter().zip(before.into_iter().zip(after)) {
            let quota = self.quotas.get(&role(of));
            let limit = quota.and_then(|quota| quota.limits().get(*kind).copied());
            let limit = limit.unwrap_or(Milli(i64::MAX));
            assert!(after <= limit.max(before), "{of} has {after} {kind} of {limit}");
        }
    }

    /// Whether an offer is one that its framework wants, for its role, and can make use of.
    fn may_be(&self, one: &Allocation) {
        let Allocation { framework, role, agent, resources } = one;
        let (wish, is_active) = &self.wishes[framework];
        let facts = self.facts.get(agent).cloned().unwrap_or_default();
        let can = wish.capabilities;
        assert!(is_active & wish.roles.contains(role) & !wish.suppressed.contains(role), "{one:?}");
        assert!(!self.inactive.contains(agent), "{one:?}");
        let is_it = |it: &Declined| {
            let Allocation { framework, role, agent, .. } = &it.what;
            (framework, role, agent) == (&one.framework, &one.role, &one.agent)
                && it.until > self.now
                && it.what.resources.contains(resources)
        };
        assert!(!self.declined.iter().any(is_it), "{one:?} was declined");
        let is_listed = self.whitelist.as_ref().is_none_or(|listed| *listed == facts.hostname);
        assert!(is_listed, "{one:?}");
        let is_far = facts.domain.zip(self.settings.domain.clone());
        let is_far = is_far.is_some_and(|(agent, master)| agent.region != master.region);
        assert!(can.region_aware || !is_far, "{one:?}");
        let gpus = self.totals[agent].scalar("gpus");
        let is_apart = self.settings.keeps_gpus_apart && gpus > Milli::ZERO;
        assert!(can.gpu_resources || !is_apart, "{one:?}");
        let is_northern = facts.hostname == region(true);
        assert!(is_northern || !wish.constraints.contains_key(role), "{one:?}");
        assert!(!(can.multi_role && facts.lacks_multi_role), "{one:?}");
        let is_nested = role.components().count() > 1;
        assert!(!(is_nested && facts.lacks_hierarchical_roles), "{one:?}");
        assert!(!(self.holds_quota && self.quota_over(role).is_some()), "{one:?}");
        let least = wish.min_allocatable.get(role).unwrap_or(&self.settings.min_allocatable);
        assert!(least.is_met_by(resources), "{one:?}");
        let is_right = |key: &Key| {
            let owner = key.kind.reserved_for();
            owner.is_none_or(|owner| owner == role || role.is_below(owner))
                && (can.revocable_resources || !key.kind.is_revocable)
                && (can.shared_resources || !key.kind.is_shared)
                && (can.reservation_refinement || key.kind.reservations.len() < 2)
        };
        assert!(resources.iter().all(|(key, _)| is_right(key)), "{one:?}");
    }

    fn quota_over(&self, of: &Role) -> Option<&Quota> {
        self.quotas.get(&role(of.components().next().expect("there is one")))
    }

    /// What is free on an agent: its total without what is given. What is shared is not used up.
    fn free(&self, agent: &AgentId) -> Resources {
        let mut given = Resources::none();
        for one in self.given.iter().filter(|given| given.agent == *agent) {
            given.add(&one.resources.exclusive());
        }
        self.totals[agent].minus(&given)
    }

    /// The allocator's books are these.
    pub(super) fn check(&self) -> Result<(), TestCaseError> {
        for agent in self.totals.keys() {
            prop_assert_eq!(self.allocator.free(agent), Some(&self.free(agent)), "{}", agent);
        }
        self.check_quota()?;
        self.check_figures()
    }

    /// What is kept count of step by step is what counting anew finds.
    fn check_quota(&self) -> Result<(), TestCaseError> {
        let allocator = &self.allocator;
        let (headroom, unmet) = allocator.quotas.books();
        prop_assert!(unmet.iter().all(|&difference| difference == 0), "{unmet:?}");
        if !allocator.quotas.is_empty() {
            let mut anew = allocator.count_all_headroom();
            anew.subtract(headroom);
            prop_assert!(anew.iter().all(|(_, difference)| difference == 0), "{anew:?}");
        }
        for of in TOPS.map(role) {
            let Some(consumed) = allocator.quotas.consumed(&of) else { continue };
            let mut anew = allocator.count_role(&of);
            anew.subtract(consumed);
            prop_assert!(anew.iter().all(|(_, difference)| difference == 0), "{of}: {anew:?}");
        }
        Ok(())
    }

    /// So are the numbers that are told.
    fn check_figures(&self) -> Result<(), TestCaseError> {
        let figures = self.allocator.figures();
        let filters: usize = figures.roles.iter().map(|of| of.filters).sum();
        prop_assert_eq!(filters, self.allocator.filters_end.len());
        for (kind, of) in &figures.resources {
            let totals = self.totals.values().map(|total| total.scalar(kind));
            prop_assert_eq!(of.total, totals.fold(Milli::ZERO, |sum, one| sum + one), "{}", kind);
            // Whoever has what is shared more than once has it once.
            let mut given = BTreeMap::new();
            for one in &self.given {
                let of = (&one.agent, &one.framework, &one.role);
                let (exclusive, shared) =
                    given.entry(of).or_insert((Resources::none(), Resources::none()));
                exclusive.add(&one.resources.exclusive());
                let total = &self.totals[&one.agent];
                *shared =
                    shared
                        .plus(&total.filtered(|key, _| {
                            one.resources.shared().has(key) && !shared.has(key)
                        }));
            }
            let given = given.values().map(|(one, more)| one.scalar(kind) + more.scalar(kind));
            prop_assert_eq!(of.given, given.fold(Milli::ZERO, |sum, one| sum + one), "{}", kind);
        }
        Ok(())
    }
}
