//! Scalar amounts as short vectors, and the shares made of them.

use model::amount::Milli;
use model::resources::{Key, Resources, Value};
use model::rules::Weight;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The scalar kinds that exist in the cluster. A kind's place is its number in [`Amounts`].
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    names: Vec<Arc<str>>,
    counts_as_share: Vec<bool>,
    excluded: BTreeSet<Arc<str>>,
}

impl Kinds {
    pub(crate) fn new(excluded: BTreeSet<Arc<str>>) -> Self {
        Self { names: Vec::new(), counts_as_share: Vec::new(), excluded }
    }

    /// The scalar totals of `resources`, over all reservations.
    pub(crate) fn amounts(&mut self, resources: &Resources) -> Amounts {
        self.amounts_where(resources, |_| true)
    }

    /// The scalar totals of those of `resources` that `counts` says yes to.
    pub(crate) fn amounts_where(
        &mut self,
        resources: &Resources,
        mut counts: impl FnMut(&Key) -> bool,
    ) -> Amounts {
        let mut amounts = Amounts(Vec::with_capacity(self.names.len()));
        for (key, value) in resources.iter() {
            if let Value::Scalar(amount) = value
                && counts(key)
            {
                amounts.add_one(self.number(&key.name), *amount);
            }
        }
        amounts
    }

    /// The same for resources of kinds that are known: of those that somebody has or had.
    pub(crate) fn known_amounts(
        &self,
        resources: &Resources,
        counts: impl FnMut(&Key) -> bool,
    ) -> Amounts {
        let mut amounts = Amounts::default();
        self.add_known(&mut amounts, resources, counts);
        amounts
    }

    /// The same, put on top of what is in `amounts`.
    pub(crate) fn add_known(
        &self,
        amounts: &mut Amounts,
        resources: &Resources,
        mut counts: impl FnMut(&Key) -> bool,
    ) {
        for (key, value) in resources.iter() {
            if let Value::Scalar(amount) = value
                && counts(key)
                && let Some(kind) = self.find(&key.name)
            {
                amounts.add_one(kind, *amount);
            }
        }
    }

    /// The number of a kind; a new one if it is new.
    pub(crate) fn number(&mut self, name: &Arc<str>) -> usize {
        if let Some(number) = self.find(name) {
            return number;
        }
        self.names.push(name.clone());
        self.counts_as_share.push(!self.excluded.contains(name));
        self.names.len() - 1
    }

    /// The same resources under names that are the ones in memory here, so that finding their kinds
    /// compares addresses.
    pub(crate) fn interned(&mut self, resources: Resources) -> Resources {
        let is_interned = |key: &Key| self.names.iter().any(|name| Arc::ptr_eq(name, &key.name));
        let is_number = |value: &Value| matches!(value, Value::Scalar(_));
        if resources.iter().all(|(key, value)| !is_number(value) || is_interned(key)) {
            return resources;
        }
        let interned = resources.iter().map(|(key, value)| {
            let mut key = key.clone();
            if is_number(value) {
                let number = self.number(&key.name);
                key.name = self.names[number].clone();
            }
            (key, value.clone())
        });
        interned.collect()
    }

    /// The number of a kind, if it has one.
    pub(crate) fn find(&self, name: &Arc<str>) -> Option<usize> {
        // Few kinds exist, and most names are one and the same text in memory.
        let same = self.names.iter().position(|have| Arc::ptr_eq(have, name));
        same.or_else(|| self.names.iter().position(|have| have == name))
    }

    /// Each kind's name, in the order of their numbers.
    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }
}

/// An amount of each scalar kind, in thousandths. Missing at the end means none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Amounts(Vec<i64>);

impl Amounts {
    /// The amount of one kind.
    pub(crate) fn of(&self, number: usize) -> i64 {
        self.0.get(number).copied().unwrap_or(0)
    }

    /// None of any kind.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn add_one(&mut self, number: usize, amount: Milli) {
        if self.0.len() <= number {
            self.0.resize(number + 1, 0);
        }
        // Agents say what they have, and sums of nonsense must stop nobody. What is added and taken
        // away again leaves the sum as it was, however far it went round.
        self.0[number] = self.0[number].wrapping_add(amount.0);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.change(other, i64::wrapping_add);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.change(other, i64::wrapping_sub);
    }

    fn change(&mut self, by: &Self, change: impl Fn(i64, i64) -> i64) {
        if self.0.len() < by.0.len() {
            self.0.resize(by.0.len(), 0);
        }
        for (mine, &theirs) in self.0.iter_mut().zip(&by.0) {
            *mine = change(*mine, theirs);
        }
    }

    /// Each kind's number with its amount.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, i64)> {
        self.0.iter().copied().enumerate()
    }
}

/// The cluster's total of each kind, kept ready to divide by: shares are computed at every offer,
/// totals change when agents come and go.
#[derive(Debug, Default)]
pub(crate) struct Total {
    amounts: Amounts,
    /// For each kind, 2^96 over its total; zero if it does not count as a share.
    per_unit: Vec<u128>,
}

impl Total {
    pub(crate) fn add(&mut self, amounts: &Amounts) {
        self.amounts.add(amounts);
    }

    pub(crate) fn subtract(&mut self, amounts: &Amounts) {
        self.amounts.subtract(amounts);
    }

    /// The amounts themselves.
    pub(crate) fn amounts(&self) -> &Amounts {
        &self.amounts
    }

    /// What [`Self::share`] is, for people: no float decides anything.
    #[expect(clippy::cast_precision_loss, reason = "parts of amounts, to look at")]
    pub(crate) fn dominant(&self, held: &Amounts, kinds: &Kinds, weight: Weight) -> f64 {
        let counting = held.iter().filter(|(kind, _)| kinds.counts_as_share[*kind]);
        let parts = counting.map(|(kind, held)| (held, self.amounts.of(kind)));
        let parts = parts.filter(|(held, total)| *held > 0 && *total > 0);
        let largest = parts.map(|(held, total)| held as f64 / total as f64).fold(0.0, f64::max);
        largest / weight.as_f64()
    }

    /// Has [`Self::share`] know of all changes.
    pub(crate) fn settle(&mut self, kinds: &Kinds) {
        let totals = self.amounts.iter().zip(&kinds.counts_as_share);
        let per_unit = totals.map(|((_, total), &counts)| match u128::try_from(total) {
            Ok(total) if counts && total > 0 => (1 << 96) / total,
            Ok(_) | Err(_) => 0,
        });
        self.per_unit = per_unit.collect();
    }

    /// The largest part of the total that `held` is in any one kind, over `weight`.
    pub(crate) fn share(&self, held: &Amounts, weight: Weight) -> Share {
        let parts = held.0.iter().zip(&self.per_unit);
        let part = |(&held, &per_unit): (&i64, &u128)| {
            u128::from(held.max(0).unsigned_abs()).saturating_mul(per_unit)
        };
        Share::of(parts.map(part).max().unwrap_or(0), weight)
    }
}

/// A part of a total over a weight. Not a float: ties are common and must break the same way
/// everywhere.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Share(u64);

impl Share {
    /// Binary digits behind the point: parts are told apart to a million-millionth of the total.
    const FINENESS: u32 = 40;

    /// `part` is in 2^96ths, a little less than the truth: what it was divided by was rounded down.
    fn of(part: u128, weight: Weight) -> Self {
        let unit = 96 - Self::FINENESS;
        // Half a unit, and a little more, so that equal parts of different kinds become equal.
        let rounding = (1 << (unit - 1)) + (1 << (unit - 4));
        let mut share = part.saturating_add(rounding) >> unit;
        if weight != Weight::ONE {
            let (one, weight) = (Weight::ONE.millionths(), weight.millionths());
            share = share.saturating_mul(u128::from(one)) / u128::from(weight);
        }
        Self(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_kind_dominates() {
        // The fair-sharing paper's example: of 9 cores and 18 GiB, one client holds 2/3 of the memory
        // and the other 2/3 of the CPU, so neither is ahead.
        let mut kinds = Kinds::new(BTreeSet::new());
        let mut amounts = |cpus, mem| {
            let both = [("cpus", Milli::units(cpus)), ("mem", Milli::units(mem))];
            kinds.amounts(&Resources::scalars(both))
        };
        let (all, by_memory, by_cpu) = (amounts(9, 18_432), amounts(3, 12_288), amounts(6, 2_048));
        let mut total = Total::default();
        total.add(&all);
        total.settle(&kinds);
        assert_eq!(total.share(&by_memory, Weight::ONE), total.share(&by_cpu, Weight::ONE));
        let two = Weight::from_f64(2.0).expect("positive");
        assert!(total.share(&by_memory, two) < total.share(&by_cpu, Weight::ONE));
    }

    #[test]
    fn sums_of_nonsense_come_right_again() {
        let mut kinds = Kinds::new(BTreeSet::new());
        let mut amounts = |cpus| kinds.amounts(&Resources::scalars([("cpus", Milli(cpus))]));
        let (huge, one) = (amounts(i64::MAX), amounts(1_000));
        let mut sum = one.clone();
        for _ in 0..3 {
            sum.add(&huge);
        }
        for _ in 0..3 {
            sum.subtract(&huge);
        }
        assert_eq!(sum.of(0), 1_000);
    }

    #[test]
    fn equal_parts_of_different_kinds_are_equal_however_large() {
        let mut kinds = Kinds::new(BTreeSet::new());
        for total_disk in [3, 7, 3_000_000, 900_000_000_003] {
            let mut amounts = |cpus, disk| {
                let both = [("cpus", Milli::units(cpus)), ("disk", Milli::units(disk))];
                kinds.amounts(&Resources::scalars(both))
            };
            let (all, cpus, disk) =
                (amounts(3, total_disk * 3), amounts(1, 0), amounts(0, total_disk));
            let mut total = Total::default();
            total.add(&all);
            total.settle(&kinds);
            assert_eq!(total.share(&cpus, Weight::ONE), total.share(&disk, Weight::ONE));
        }
    }
}
