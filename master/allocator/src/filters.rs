//! Declined offers: what is not to be offered again for a while.

use crate::agent::AgentIx;
use crate::allocator::Allocator;
use crate::sorter::{FrameworkIx, RoleIx};
use model::ids::AgentId;
use model::resources::{Key, Resources, Value};
use model::role::Role;
use model::step::Time;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How many filters one framework may have for one role on one agent. Each came of a decline; past
/// this the soonest to end gives way, so that nobody fills the master's memory by declining.
const FILTERS_MAX: usize = 16;

/// One declined offer.
#[derive(Debug)]
struct Filter {
    /// Shared with others on the agent that have declined the same.
    declined: Arc<Resources>,
    until: Time,
    /// The number of the offer that was declined.
    offer: u64,
}

/// An offer that was declined, as whoever made it counts them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decline {
    /// For how long nothing of it is offered again. For no time at all: until the next full pass.
    pub refuse_for: Duration,
    /// The number of the offer, for those who ask why there is no other.
    pub offer: u64,
}

/// What one framework has declined of one agent for one role.
#[derive(Debug, Default)]
pub(crate) struct Filters(Vec<Filter>);

impl Filters {
    /// Keeps `declined` and all that is in it away until `until`. Returns when those would have ended
    /// that gave way to it.
    fn add(&mut self, declined: Arc<Resources>, until: Time, offer: u64) -> Vec<Time> {
        let mut gone = Vec::new();
        // An older one that says less is not needed any more.
        self.0.retain(|old| {
            let says_more = old.until > until || !declined.contains(&old.declined);
            if !says_more {
                gone.push(old.until);
            }
            says_more
        });
        if self.0.len() >= FILTERS_MAX {
            let soonest = (0..self.0.len()).min_by_key(|&at| self.0[at].until);
            gone.push(self.0.swap_remove(soonest.expect("there are some")).until);
        }
        self.0.push(Filter { declined, until, offer });
        gone.retain(|gone| self.0.iter().all(|filter| filter.until != *gone));
        gone
    }

    /// Until when an offer of `resources` is kept away, and by the decline of which other; absent if it may
    /// be made.
    pub(crate) fn keep_away(&self, resources: &Resources, now: Time) -> Option<(Time, u64)> {
        let matching = self.0.iter().filter(|filter| filter.until > now);
        let matching = matching.filter(|filter| holds(&filter.declined, resources));
        matching.map(|filter| (filter.until, filter.offer)).max()
    }

    /// What was declined, and until when, for tests to tell somebody else.
    #[cfg(test)]
    pub(crate) fn told(&self) -> impl Iterator<Item = (&Resources, Time)> {
        self.0.iter().map(|filter| (&*filter.declined, filter.until))
    }

    /// Forgets what is over; says whether nothing is left.
    pub(crate) fn expire(&mut self, now: Time) -> bool {
        self.0.retain(|filter| filter.until > now);
        self.0.is_empty()
    }
}

/// Whether `all` contains `part`. Both are in the same order, so both are gone through once, and
/// mostly their keys are the same in memory.
fn holds(all: &Resources, part: &Resources) -> bool {
    let mut all = all.iter();
    part.iter().all(|(key, value)| {
        let is_it = |have: &Key| {
            (Arc::ptr_eq(&have.name, &key.name) || have.name == key.name) && have.kind == key.kind
        };
        let found = all.find(|(have, _)| is_it(have));
        found.is_some_and(|(_, have)| match (have, value) {
            (Value::Scalar(have), Value::Scalar(value)) => have >= value,
            (Value::Ranges(have), Value::Ranges(value)) => have.contains(value),
            (Value::Set(have), Value::Set(value)) => have.is_superset(value),
            (Value::Scalar(_) | Value::Ranges(_) | Value::Set(_), _) => false,
        })
    })
}

impl Allocator {
    pub(crate) fn add_filter(
        &mut self,
        agent: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        declined: Resources,
        until: Time,
        offer: u64,
    ) {
        let known = self.agents.get_mut(agent);
        // Many decline the same: kept once, it is quickly looked at for all of them.
        let declined = match known.last_declined.take() {
            Some(last) if *last == declined => last,
            Some(_) | None => Arc::new(declined),
        };
        known.last_declined = Some(declined.clone());
        let filters = known.filters.entry((framework, role)).or_default();
        for gone in filters.add(declined, until, offer) {
            self.forget_end((gone, agent, framework, role));
        }
        self.frameworks.get_mut(framework).filtered_on.insert((agent, role));
        if self.filters_end.insert((until, agent, framework, role)) {
            self.roles.filter_begins(role);
        }
    }

    pub(crate) fn end_filters(&mut self, now: Time) {
        while let Some(&(until, agent, framework, role)) = self.filters_end.first()
            && until <= now
        {
            self.forget_end((until, agent, framework, role));
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

    pub(crate) fn clear_filters(&mut self, at: FrameworkIx, role: Option<&Role>) {
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
        for (agent, role) in cleared {
            let filters = self.agents.get_mut(agent).filters.remove(&(at, role));
            self.forget_ends(agent, at, role, &filters.unwrap_or_default());
        }
    }

    /// Indices are given out again, so no end may be left of a filter that is not there.
    fn forget_ends(&mut self, agent: AgentIx, framework: FrameworkIx, role: RoleIx, of: &Filters) {
        for filter in &of.0 {
            self.forget_end((filter.until, agent, framework, role));
        }
    }

    fn forget_end(&mut self, end: (Time, AgentIx, FrameworkIx, RoleIx)) {
        if self.filters_end.remove(&end) {
            self.roles.filter_ends(end.3);
        }
    }

    /// Takes the filters off an agent, for [`Self::put_filters_on`] to put them on what takes its place.
    pub(crate) fn take_filters_on(&mut self, id: &AgentId) -> Vec<(FrameworkIx, Role, Filters)> {
        let Some(&at) = self.agents_by_id.get(id) else { return Vec::new() };
        let taken = std::mem::take(&mut self.agents.get_mut(at).filters);
        let mut named = Vec::with_capacity(taken.len());
        for ((framework, role), filters) in taken {
            self.frameworks.get_mut(framework).filtered_on.remove(&(at, role));
            self.forget_ends(at, framework, role, &filters);
            // By name: the place of a role may be given up meanwhile.
            named.push((framework, self.roles.role(role).clone(), filters));
        }
        named
    }

    pub(crate) fn put_filters_on(
        &mut self,
        at: AgentIx,
        filters: Vec<(FrameworkIx, Role, Filters)>,
    ) {
        for (framework, role, filters) in filters {
            let role = self.roles.place(&role);
            for filter in &filters.0 {
                if self.filters_end.insert((filter.until, at, framework, role)) {
                    self.roles.filter_begins(role);
                }
            }
            self.frameworks.get_mut(framework).filtered_on.insert((at, role));
            self.agents.get_mut(at).filters.insert((framework, role), filters);
        }
    }

    /// Forgets all filters on one agent.
    pub(crate) fn clear_filters_on(&mut self, at: AgentIx) {
        for ((framework, role), filters) in std::mem::take(&mut self.agents.get_mut(at).filters) {
            self.frameworks.get_mut(framework).filtered_on.remove(&(at, role));
            self.forget_ends(at, framework, role, &filters);
        }
    }
}
