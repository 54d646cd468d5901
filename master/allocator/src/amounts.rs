//! Scalar amounts as short vectors, and the shares made of them.

use crate::settings::Weight;
use model::amount::Milli;
use model::resources::{Resources, Value};
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
        let mut amounts = Amounts::default();
        for (key, value) in resources.iter() {
            if let Value::Scalar(amount) = value {
                amounts.add_one(self.number(&key.name), *amount);
            }
        }
        amounts
    }

    fn number(&mut self, name: &Arc<str>) -> usize {
        if let Some(number) = self.names.iter().position(|have| have == name) {
            return number;
        }
        self.names.push(name.clone());
        self.counts_as_share.push(!self.excluded.contains(name));
        self.names.len() - 1
    }

    /// The largest part of `total` that `held` is in any one kind, over `weight`.
    pub(crate) fn share(&self, held: &Amounts, total: &Amounts, weight: Weight) -> Share {
        let parts = held.0.iter().zip(&total.0).zip(&self.counts_as_share);
        let parts = parts.filter(|&((_, &total), &counts)| counts && total > 0);
        let share = |((&held, &total), _)| Share::of(held, total, weight);
        parts.map(share).max().unwrap_or_default()
    }
}

/// An amount of each scalar kind, in thousandths. Missing at the end means none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Amounts(Vec<i64>);

impl Amounts {
    fn add_one(&mut self, number: usize, amount: Milli) {
        if self.0.len() <= number {
            self.0.resize(number + 1, 0);
        }
        self.0[number] += amount.0;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (number, &amount) in other.0.iter().enumerate() {
            self.add_one(number, Milli(amount));
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (number, &amount) in other.0.iter().enumerate() {
            self.add_one(number, Milli(-amount));
        }
    }
}

/// A part of a total over a weight, rounded down. Not a float: ties are common and must break the
/// same way everywhere.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Share(u128);

impl Share {
    /// Parts are told apart to a thousand-millionth of the total, at weight one.
    const FINENESS: u128 = 1_000_000_000;

    fn of(held: i64, total: i64, weight: Weight) -> Self {
        let held = u128::from(held.max(0).unsigned_abs());
        let total = u128::from(total.unsigned_abs()) * u128::from(weight.millionths());
        Self(held * Self::FINENESS * u128::from(Weight::ONE.millionths()) / total)
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
        let (total, by_memory, by_cpu) =
            (amounts(9, 18_432), amounts(3, 12_288), amounts(6, 2_048));
        let share = |held, weight| kinds.share(held, &total, weight);
        assert_eq!(share(&by_memory, Weight::ONE), share(&by_cpu, Weight::ONE));
        let two = Weight::from_f64(2.0).expect("positive");
        assert!(share(&by_memory, two) < share(&by_cpu, Weight::ONE));
    }
}
