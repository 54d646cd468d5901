//! Quota: what a top-level role is guaranteed, and what it may have at most.
//!
//! A role's *consumed quota* is what is reserved for it and the roles below it, given to somebody or
//! not, and what is given to them of what is unreserved. Guarantees are kept by leaving enough free:
//! the *headroom* is what is unreserved and free, and of it as much must stay free for others as the
//! roles' guarantees exceed what they consume. Only unreserved amounts are ever cut: ports and sets,
//! revocable and reserved resources are not what quota is about.

use crate::agent::is_under_quota;
use crate::amounts::{Amounts, Kinds};
use crate::settings::MinAllocatable;
use crate::slab::{Index, Slab};
use model::amount::Milli;
use model::disk::Disk;
use model::resources::{Resources, Value};
use model::role::Role;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) type QuotaIx = Index<Line>;

/// What a role is guaranteed, and what it may have at most, by name of the resource.
///
/// Invariant: amounts are not negative, and no guarantee is above its limit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Quota {
    guarantees: BTreeMap<Arc<str>, Milli>,
    limits: BTreeMap<Arc<str>, Milli>,
}

/// Why something is no quota.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum BadQuota {
    /// An amount below zero.
    #[error("{name} must not be negative")]
    Negative { name: Arc<str> },
    /// More is promised than is allowed.
    #[error("the guarantee of {guarantee} {name} is above the limit of {limit}")]
    GuaranteeAboveLimit { name: Arc<str>, guarantee: Milli, limit: Milli },
    /// A role below another one.
    #[error("quota is for top-level roles only, and '{0}' is none")]
    Nested(Role),
}

impl Quota {
    /// Checks guarantees and limits against each other. What has no limit is unlimited.
    pub fn new(
        guarantees: BTreeMap<Arc<str>, Milli>,
        limits: BTreeMap<Arc<str>, Milli>,
    ) -> Result<Self, BadQuota> {
        if let Some((name, _)) = guarantees.iter().chain(&limits).find(|(_, of)| **of < Milli::ZERO)
        {
            return Err(BadQuota::Negative { name: name.clone() });
        }
        for (name, &guarantee) in &guarantees {
            if let Some(&limit) = limits.get(name)
                && guarantee > limit
            {
                return Err(BadQuota::GuaranteeAboveLimit { name: name.clone(), guarantee, limit });
            }
        }
        Ok(Self { guarantees, limits })
    }

    /// What is guaranteed.
    pub fn guarantees(&self) -> &BTreeMap<Arc<str>, Milli> {
        &self.guarantees
    }

    /// What may be had at most.
    pub fn limits(&self) -> &BTreeMap<Arc<str>, Milli> {
        &self.limits
    }
}

/// One role's quota, and what it consumes of it.
#[derive(Debug)]
pub(crate) struct Line {
    quota: Quota,
    guarantees: Amounts,
    /// By kind; absent means unlimited.
    limits: Vec<Option<i64>>,
    consumed: Amounts,
    /// Whether so little is left up to the limits that nothing unreserved is worth an offer. Asked
    /// for each role at each agent, and known as long as nothing is consumed or released.
    is_spent: bool,
}

impl Line {
    /// Finds out whether so little is left that none of the `least` sets can be reached.
    fn settle(&mut self, least: &Least) {
        self.is_spent =
            least.is_out_of_reach(|kind| Some(self.limit(kind)? - self.consumed.of(kind)));
    }

    /// What is missing to the guarantee of one kind.
    fn unmet(&self, kind: usize) -> i64 {
        (self.guarantees.of(kind) - self.consumed.of(kind)).max(0)
    }

    fn limit(&self, kind: usize) -> Option<i64> {
        self.limits.get(kind).copied().flatten()
    }
}

/// Why less is offered than is free.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// The role may have no more.
    Limit,
    /// It is kept for guarantees of others.
    Headroom,
}

/// The least that is worth an offer, by number of the kind.
#[derive(Debug)]
struct Least(Vec<Vec<(usize, i64)>>);

impl Least {
    /// Whether so much is enough for one of the sets.
    fn is_met_by(&self, amounts: &Amounts) -> bool {
        let has = |&(kind, least): &(usize, i64)| amounts.of(kind) >= least;
        self.0.is_empty() || self.0.iter().any(|set| set.iter().all(has))
    }

    /// Whether no set can be reached, given what is left of each kind; absent means enough.
    fn is_out_of_reach(&self, left: impl Fn(usize) -> Option<i64>) -> bool {
        let is_short = |&(kind, least): &(usize, i64)| left(kind).is_some_and(|left| left < least);
        !self.0.is_empty() && self.0.iter().all(|set| set.iter().any(is_short))
    }
}

/// All quota.
#[derive(Debug)]
pub(crate) struct Quotas {
    lines: Slab<Line>,
    least: Least,
    by_role: BTreeMap<Role, QuotaIx>,
    /// Guarantees that are not met by kind, all roles together. Wide, since guarantees may be forced
    /// beyond all that is there.
    unmet: Vec<i128>,
    /// What is unreserved and free on agents that are connected and may be offered.
    headroom: Amounts,
    /// Whether something may be offered now that quota kept from being offered before.
    pub(crate) has_loosened: bool,
}

impl Quotas {
    pub(crate) fn new(least: &MinAllocatable, kinds: &mut Kinds) -> Self {
        let mut numbered = |(name, least): &(Arc<str>, Milli)| (kinds.number(name), least.0);
        let sets = least.sets().iter();
        let sets = sets.map(|set| set.iter().map(&mut numbered).collect());
        Self {
            least: Least(sets.collect()),
            lines: Slab::new(),
            by_role: BTreeMap::new(),
            unmet: Vec::new(),
            headroom: Amounts::default(),
            has_loosened: false,
        }
    }

    /// Whether nobody has any, so that nothing needs to be kept count of.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_role.is_empty()
    }

    pub(crate) fn find(&self, role: &Role) -> Option<QuotaIx> {
        self.by_role.get(role).copied()
    }

    pub(crate) fn get(&self, role: &Role) -> Option<&Quota> {
        self.find(role).map(|at| &self.lines.get(at).quota)
    }

    /// Who has one, by name.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &Role> {
        self.by_role.keys()
    }

    /// The first quota begins: `headroom` is what is unreserved and free.
    pub(crate) fn begin(&mut self, headroom: Amounts) {
        self.headroom = headroom;
    }

    /// Gives `role` a quota of which it has `consumed`.
    pub(crate) fn insert(
        &mut self,
        role: &Role,
        quota: Quota,
        consumed: Amounts,
        kinds: &mut Kinds,
    ) -> QuotaIx {
        self.remove(role);
        let mut guarantees = Amounts::default();
        for (name, &amount) in &quota.guarantees {
            guarantees.add_one(kinds.number(name), amount);
        }
        let mut limits = Vec::new();
        for (name, &amount) in &quota.limits {
            let kind = kinds.number(name);
            limits.resize(limits.len().max(kind + 1), None);
            limits[kind] = Some(amount.0);
        }
        let mut line = Line { quota, guarantees, limits, consumed, is_spent: false };
        line.settle(&self.least);
        for (kind, _) in line.guarantees.iter() {
            self.count_unmet(kind, line.unmet(kind), 0);
        }
        let at = self.lines.insert(line);
        self.by_role.insert(role.clone(), at);
        self.has_loosened = true;
        at
    }

    /// Takes a role's quota away.
    pub(crate) fn remove(&mut self, role: &Role) {
        let Some(at) = self.by_role.remove(role) else { return };
        let line = self.lines.remove(at);
        for (kind, _) in line.guarantees.iter() {
            self.count_unmet(kind, 0, line.unmet(kind));
        }
        self.has_loosened = true;
    }

    /// What a role has consumed, if it has a quota.
    pub(crate) fn consumed(&self, role: &Role) -> Option<&Amounts> {
        self.find(role).map(|at| &self.lines.get(at).consumed)
    }

    /// Counts `amounts` as consumed under a quota.
    pub(crate) fn consume(&mut self, at: QuotaIx, amounts: &Amounts) {
        self.change(at, amounts, 1);
    }

    /// Counts `amounts` as not consumed any more.
    pub(crate) fn release(&mut self, at: QuotaIx, amounts: &Amounts) {
        self.change(at, amounts, -1);
        self.has_loosened = true;
    }

    fn change(&mut self, at: QuotaIx, amounts: &Amounts, sign: i64) {
        for (kind, amount) in amounts.iter() {
            let line = self.lines.get_mut(at);
            let before = line.unmet(kind);
            line.consumed.add_one(kind, Milli(sign * amount));
            let after = line.unmet(kind);
            self.count_unmet(kind, after, before);
        }
        self.lines.get_mut(at).settle(&self.least);
    }

    fn count_unmet(&mut self, kind: usize, more: i64, less: i64) {
        if self.unmet.len() <= kind {
            self.unmet.resize(kind + 1, 0);
        }
        self.unmet[kind] += i128::from(more) - i128::from(less);
    }

    /// So much more is unreserved and free.
    pub(crate) fn grow_headroom(&mut self, amounts: &Amounts) {
        self.headroom.add(amounts);
    }

    /// So much less is unreserved and free.
    pub(crate) fn shrink_headroom(&mut self, amounts: &Amounts) {
        self.headroom.subtract(amounts);
    }

    /// Whether any guarantee is not met.
    pub(crate) fn has_unmet(&self) -> bool {
        self.unmet.iter().any(|&amount| amount > 0)
    }

    /// Whether offering `what` brings a role nearer to a guarantee of its.
    pub(crate) fn is_progress(&self, at: QuotaIx, what: &Resources, kinds: &Kinds) -> bool {
        let line = self.lines.get(at);
        what.iter().any(|(key, value)| {
            let kind = kinds.find(&key.name);
            matches!(value, Value::Scalar(_))
                && is_under_quota(key)
                && kind.is_some_and(|kind| line.unmet(kind) > 0)
        })
    }

    /// Whether so much is worth an offer, by the settings.
    pub(crate) fn is_enough(&self, amounts: &Amounts) -> bool {
        self.least.is_met_by(amounts)
    }

    /// Whether a role is so near its limits that nothing unreserved is worth an offer to it.
    pub(crate) fn is_spent(&self, at: QuotaIx) -> bool {
        self.lines.get(at).is_spent
    }

    /// Whether a role lacks anything that it is guaranteed.
    pub(crate) fn is_unmet(&self, at: QuotaIx) -> bool {
        let line = self.lines.get(at);
        line.guarantees.iter().any(|(kind, _)| line.unmet(kind) > 0)
    }

    /// How much of one kind a role may be given, and what bounds it; absent if nothing does.
    fn allowance(&self, at: Option<QuotaIx>, kind: usize) -> Option<(i64, Cut)> {
        let line = at.map(|at| self.lines.get(at));
        let limit = line.and_then(|line| Some(line.limit(kind)? - line.consumed.of(kind)));
        // What a role takes of its own guarantee need not be kept free any more, so it comes on top.
        let needed = self.unmet.get(kind).copied().unwrap_or(0);
        let spare = (needed > 0).then(|| {
            let own = line.map_or(0, |line| line.unmet(kind));
            let spare = (i128::from(self.headroom.of(kind)) - needed).max(0);
            own.saturating_add(i64::try_from(spare).unwrap_or(i64::MAX))
        });
        let limit = limit.map(|limit| (limit.max(0), Cut::Limit));
        let spare = spare.map(|spare| (spare, Cut::Headroom));
        [limit, spare].into_iter().flatten().min_by_key(|(allowed, _)| *allowed)
    }

    /// What of `what` a role may be given, and what cut it; absent if it may have all of it.
    pub(crate) fn cut(
        &self,
        at: Option<QuotaIx>,
        what: &Resources,
        kinds: &Kinds,
    ) -> Option<(Resources, Cut)> {
        let mut cut = None;
        let mut lacking = Resources::none();
        // Resources of one name follow each other: this is of the name that was seen last.
        let mut last: Option<(usize, i64, Cut)> = None;
        for (key, value) in what.iter() {
            let Value::Scalar(amount) = value else { continue };
            let kind = kinds.find(&key.name).filter(|_| is_under_quota(key));
            let Some(kind) = kind else { continue };
            if last.is_none_or(|(last, ..)| last != kind) {
                last = self.allowance(at, kind).map(|(allowed, why)| (kind, allowed, why));
            }
            let Some((_, allowed, why)) = &mut last else { continue };
            // A disk with a source of its own comes as a whole or not at all.
            let is_divisible = key.kind.disk.as_ref().is_none_or(Disk::is_divisible);
            let part =
                if is_divisible || amount.0 <= *allowed { amount.0.min(*allowed) } else { 0 };
            *allowed -= part;
            if part < amount.0 {
                cut.get_or_insert(*why);
                lacking.insert(key.clone(), Value::Scalar(Milli(amount.0 - part)));
            }
        }
        Some((what.minus(&lacking), cut?))
    }

    /// The quota of the top-level role that `role` is or is below, if it has one.
    pub(crate) fn over(&self, role: &Role) -> Option<QuotaIx> {
        if self.is_empty() {
            return None;
        }
        let top = role.components().next()?;
        self.find(&Role::new(top).ok()?)
    }

    /// What is counted step by step, for tests to count anew: the headroom, and by how much what is
    /// unmet is wrong.
    #[cfg(test)]
    pub(crate) fn books(&self) -> (&Amounts, Vec<i128>) {
        let mut unmet = self.unmet.clone();
        for &at in self.by_role.values() {
            let line = self.lines.get(at);
            for (kind, _) in line.guarantees.iter() {
                unmet[kind] -= i128::from(line.unmet(kind));
            }
        }
        (&self.headroom, unmet)
    }
}
