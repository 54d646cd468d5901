//! Amounts as whole numbers of thousandths, so that they add up exactly.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// A scalar amount in thousandths of its unit: cores, or mebibytes of memory and disk.
///
/// Mesos compares and sums scalars rounded to three decimals; whole thousandths do so by nature. Sums
/// end at the largest number there is: whatever somebody claims to have, adding it up stops nobody.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Milli(pub i64);

impl Milli {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many whole units.
    pub const fn units(units: i64) -> Self {
        Self(units * 1_000)
    }

    /// The nearest amount to `value`; absent when it is not finite or too large to add up.
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    pub fn from_f64(value: f64) -> Option<Self> {
        let scaled = (value * 1_000.0).round();
        (scaled.is_finite() && scaled.abs() < 4e18).then_some(Self(scaled as i64))
    }

    /// The amount in units, as the wire writes it.
    #[expect(clippy::cast_precision_loss, reason = "real amounts are far below 2^53 thousandths")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    /// Whether there is nothing, or less.
    pub fn is_nothing(self) -> bool {
        self.0 <= 0
    }
}

impl Add for Milli {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Milli {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Milli {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Milli {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (self.0.unsigned_abs() / 1_000, self.0.unsigned_abs() % 1_000);
        if part == 0 {
            write!(f, "{sign}{whole}")
        } else {
            let part = format!("{part:03}");
            write!(f, "{sign}{whole}.{}", part.trim_end_matches('0'))
        }
    }
}

/// A set of whole numbers, kept as sorted ranges that neither touch nor overlap. Both ends belong.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// One range; absent when it ends before it begins.
    pub fn one(begin: u64, end: u64) -> Option<Self> {
        (begin <= end).then(|| Self(vec![(begin, end)]))
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(begin, end)| (end - begin).saturating_add(1)).sum()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// Every number, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|&(begin, end)| begin..=end)
    }

    /// Whether every number of `other` is in this.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|&(begin, end)| {
            let at = self.0.partition_point(|&(_, mine)| mine < begin);
            self.0
                .get(at)
                .is_some_and(|&(mine_begin, mine_end)| mine_begin <= begin && end <= mine_end)
        })
    }

    /// Puts the numbers of `other` in.
    pub fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
        self.0.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(self.0.len());
        for &(begin, end) in &self.0 {
            match merged.last_mut() {
                Some((_, last)) if begin <= last.saturating_add(1) => *last = (*last).max(end),
                Some(_) | None => merged.push((begin, end)),
            }
        }
        self.0 = merged;
    }

    /// Takes the numbers of `other` out, those that are there.
    pub fn subtract(&mut self, other: &Self) {
        let mut left = Vec::with_capacity(self.0.len() + other.0.len());
        let mut cuts = other.0.iter().copied().peekable();
        for &(begin, end) in &self.0 {
            let mut begin = begin;
            let mut over = false;
            while let Some(&(cut_begin, cut_end)) = cuts.peek() {
                if cut_end < begin {
                    cuts.next();
                    continue;
                }
                if cut_begin > end {
                    break;
                }
                if cut_begin > begin {
                    left.push((begin, cut_begin - 1));
                }
                if cut_end >= end {
                    over = true;
                    break;
                }
                begin = cut_end + 1;
                cuts.next();
            }
            if !over {
                left.push((begin, end));
            }
        }
        self.0 = left;
    }

    /// The numbers that are in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mut outside = self.clone();
        outside.subtract(other);
        let mut both = self.clone();
        both.subtract(&outside);
        both
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    /// Ranges that end before they begin are left out.
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        let mut sum = Self::default();
        let given = Self(ranges.into_iter().filter(|(begin, end)| begin <= end).collect());
        sum.add(&given);
        sum
    }
}

impl fmt::Display for Ranges {
    /// The form of the JSON endpoints: `[31000-31005, 31007-31007]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, (begin, end)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{begin}-{end}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn numbers(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.numbers().collect()
    }

    fn some_ranges() -> impl Strategy<Value = Ranges> {
        prop::collection::vec((0_u64..60, 0_u64..6), 0..8)
            .prop_map(|all| all.into_iter().map(|(begin, len)| (begin, begin + len)).collect())
    }

    proptest! {
        #[test]
        fn ranges_behave_as_sets(a in some_ranges(), b in some_ranges()) {
            let (in_a, in_b) = (numbers(&a), numbers(&b));
            let mut sum = a.clone();
            sum.add(&b);
            prop_assert_eq!(numbers(&sum), in_a.union(&in_b).copied().collect::<BTreeSet<_>>());
            let mut rest = a.clone();
            rest.subtract(&b);
            prop_assert_eq!(numbers(&rest), in_a.difference(&in_b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(numbers(&a.intersect(&b)), in_a.intersection(&in_b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(a.contains(&b), in_b.is_subset(&in_a));
            prop_assert_eq!(a.count(), in_a.len() as u64);
        }
    }

    #[test]
    fn a_tenth_ten_times_is_one() {
        let tenth = Milli::from_f64(0.1).expect("finite");
        let sum = (0..10).fold(Milli::ZERO, |sum, _| sum + tenth);
        assert_eq!(sum, Milli::units(1));
        assert_eq!(Milli(1_250).to_string(), "1.25");
        assert_eq!(Milli::from_f64(f64::NAN), None);
    }
}
