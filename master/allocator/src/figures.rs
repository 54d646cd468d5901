//! What the allocator can tell of itself in numbers, for those who watch.

use crate::allocator::Allocator;
use crate::amounts::Amounts;
use crate::quota::Quotas;
use model::amount::Milli;
use model::ids::FrameworkId;
use model::role::Role;
use model::step::Time;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Roles that numbers are told of, the first by name; of the others there are none. Whoever reads waits
/// for all of it to be written down, and the core does not go on meanwhile.
pub const ROLES_TOLD_MAX: usize = 1_000;

/// How the allocator stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// What the agents have of each kind, and what of that is offered or used.
    pub resources: BTreeMap<Arc<str>, OfKind>,
    /// Each role that somebody is or has something in, or that stands above one.
    pub roles: Vec<OfRole>,
    /// Each role with a quota.
    pub quotas: Vec<OfQuota>,
}

/// One kind of resource.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OfKind {
    /// What the agents have.
    pub total: Milli,
    /// What is offered or used.
    pub given: Milli,
}

/// One role.
#[derive(Clone, Debug, PartialEq)]
pub struct OfRole {
    /// Which.
    pub role: Role,
    /// Its part of the kind of resource of which it has the largest part, over its weight: what it is
    /// ranked by.
    pub dominant_share: f64,
    /// Declines of frameworks in it that still hold.
    pub filters: usize,
}

/// One quota. What is told of no kind is zero, or, of limits, none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OfQuota {
    /// Whose.
    pub role: Role,
    /// What is guaranteed.
    pub guarantees: BTreeMap<Arc<str>, Milli>,
    /// What it may have at most.
    pub limits: BTreeMap<Arc<str>, Milli>,
    /// What is offered to the role and those below it, or used by them.
    pub given: BTreeMap<Arc<str>, Milli>,
    /// The same without what is reserved, and with all that is reserved for them.
    pub consumed: BTreeMap<Arc<str>, Milli>,
}

impl Allocator {
    /// How it stands.
    pub fn figures(&self) -> Figures {
        let (total, given) = self.roles.sums();
        let kinds = self.roles.kinds.names().iter().enumerate();
        let of_kind =
            |number| OfKind { total: Milli(total.of(number)), given: Milli(given.of(number)) };
        Figures {
            resources: kinds.map(|(number, name)| (name.clone(), of_kind(number))).collect(),
            roles: self.roles.told().take(ROLES_TOLD_MAX).collect(),
            quotas: self.of_quotas(&self.quotas),
        }
    }

    /// The roles of a framework, and whether it wants no offers for them.
    pub fn suppressed(&self, id: &FrameworkId) -> impl Iterator<Item = (&Role, bool)> {
        let known = self.frameworks_by_id.get(id).map(|&at| &self.frameworks.get(at).roles);
        known.into_iter().flatten().map(|(role, &is_suppressed)| (role, is_suppressed))
    }

    /// A pass begins: what waited for it waits no more.
    pub(crate) fn begin_run(&mut self, now: Time) {
        self.due_at = None;
        let waited = self.asked_at.take().map(|asked_at| now.since(asked_at));
        self.run_after = Some(waited.unwrap_or_default());
    }

    /// How long what led to the latest pass had waited for it; absent if there was none since this was
    /// last asked. What fell due by itself has not waited.
    pub fn take_run(&mut self) -> Option<Duration> {
        self.run_after.take()
    }

    fn of_quotas(&self, quotas: &Quotas) -> Vec<OfQuota> {
        let one = |role: &Role| {
            let quota = quotas.get(role)?;
            let given = self.roles.find(role).map(|at| self.roles.given(at));
            Some(OfQuota {
                role: role.clone(),
                guarantees: quota.guarantees().clone(),
                limits: quota.limits().clone(),
                given: given.map(|given| self.named(given)).unwrap_or_default(),
                consumed: quotas.consumed(role).map(|all| self.named(all)).unwrap_or_default(),
            })
        };
        quotas.roles().take(ROLES_TOLD_MAX).filter_map(one).collect()
    }

    /// Amounts by name, without those that are none.
    pub(crate) fn named(&self, amounts: &Amounts) -> BTreeMap<Arc<str>, Milli> {
        let named = self.roles.kinds.names().iter().cloned().zip(amounts.iter());
        let named = named.filter(|(_, (_, amount))| *amount > 0);
        named.map(|(name, (_, amount))| (name, Milli(amount))).collect()
    }
}
