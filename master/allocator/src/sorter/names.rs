//! The order of names as numbers, so that ranks compare numbers.

use std::collections::BTreeMap;

/// Names, each with a number; numbers are in the order of the names.
#[derive(Debug)]
pub(super) struct Names<K>(BTreeMap<K, u64>);

/// Room left between neighbours when numbers are given out afresh.
const GAP: u64 = 1 << 32;

impl<K: Clone + Ord> Names<K> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The number of a name, if it has one.
    pub(super) fn get(&self, name: &K) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Takes a name in. Says whether there was no room at its place, so that others have other
    /// numbers now.
    pub(super) fn insert(&mut self, name: &K) -> bool {
        if self.0.contains_key(name) {
            return false;
        }
        let before = self.0.range(..name).next_back().map_or(0, |(_, &number)| number);
        let number = match self.0.range(name..).next() {
            Some((_, &after)) => Some(before + (after - before) / 2).filter(|&it| it > before),
            None => before.checked_add(GAP),
        };
        self.0.insert(name.clone(), number.unwrap_or(0));
        if number.is_some() {
            return false;
        }
        let mut next = 0;
        for number in self.0.values_mut() {
            next += GAP;
            *number = next;
        }
        true
    }

    pub(super) fn remove(&mut self, name: &K) {
        self.0.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_follow_the_names(names in prop::collection::vec(0_u8..200, 1..150)) {
            let mut order = Names::new();
            for name in names {
                let before: Vec<_> = order.0.clone().into_iter().collect();
                let moved = order.insert(&name);
                let kept = before.iter().all(|(name, number)| order.get(name) == Some(*number));
                prop_assert!(moved || kept);
                let numbers: Vec<u64> = order.0.values().copied().collect();
                prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            }
        }
    }

    #[test]
    fn room_that_is_used_up_is_made_anew() {
        let mut order = Names::new();
        let moves = (0..200_u32).rev().filter(|name| order.insert(name)).count();
        assert!((1..=10).contains(&moves), "{moves}");
        assert!(order.0.values().copied().collect::<Vec<_>>().is_sorted_by(|a, b| a < b));
    }
}
