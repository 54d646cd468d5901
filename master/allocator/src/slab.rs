//! Dense indices for things with long names, so that hot paths compare numbers, and sets of them.

use std::fmt;
use std::marker::PhantomData;

/// A place in a [`Slab`] of `T`. Given out again after its thing is removed.
pub(crate) struct Index<T>(u32, PhantomData<fn() -> T>);

impl<T> Clone for Index<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Index<T> {}

impl<T> PartialEq for Index<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Index<T> {}

impl<T> PartialOrd for Index<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Index<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> fmt::Debug for Index<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Things by index.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, thing: T) -> Index<T> {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(thing);
            return Index(place, PhantomData);
        }
        let place = u32::try_from(self.places.len()).expect("fewer than four thousand million");
        self.places.push(Some(thing));
        Index(place, PhantomData)
    }

    pub(crate) fn remove(&mut self, at: Index<T>) -> T {
        self.free.push(at.0);
        self.places[at.0 as usize].take().expect("only what is there is removed")
    }

    pub(crate) fn get(&self, at: Index<T>) -> &T {
        self.places[at.0 as usize].as_ref().expect("indices are dropped with what they stand for")
    }

    pub(crate) fn get_mut(&mut self, at: Index<T>) -> &mut T {
        self.places[at.0 as usize].as_mut().expect("indices are dropped with what they stand for")
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = Index<T>> {
        let places = self.places.iter().enumerate();
        places
            .filter(|(_, place)| place.is_some())
            .map(|(at, _)| Index(u32::try_from(at).expect("it was made from one"), PhantomData))
    }
}

/// A set of places in a [`Slab`] of `T`, a bit for each: agents enter and leave such sets at every offer.
#[derive(Debug)]
pub(crate) struct Places<T>(Vec<u64>, PhantomData<fn() -> T>);

impl<T> Places<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new(), PhantomData)
    }

    pub(crate) fn insert(&mut self, at: Index<T>) {
        let (word, bit) = Self::bit(at);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    pub(crate) fn remove(&mut self, at: Index<T>) {
        let (word, bit) = Self::bit(at);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Moves all of `other` here.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (mine, theirs) in self.0.iter_mut().zip(&mut other.0) {
            *mine |= std::mem::take(theirs);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The places, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Index<T>> {
        (0_u32..).zip(&self.0).flat_map(|(word, &bits)| {
            let is_set = move |bit: &u32| bits >> bit & 1 == 1;
            (0..u64::BITS).filter(is_set).map(move |bit| Index(word * u64::BITS + bit, PhantomData))
        })
    }

    fn bit(at: Index<T>) -> (usize, u64) {
        ((at.0 / u64::BITS) as usize, 1 << (at.0 % u64::BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn places_are_a_set(steps in prop::collection::vec((0_u8..5, 0_u32..300), 0..60)) {
            let (mut places, mut others) = (Places::<()>::new(), Places::new());
            let (mut set, mut other_set) = (BTreeSet::new(), BTreeSet::new());
            for (what, at) in steps {
                let place = Index(at, PhantomData);
                match what {
                    0 => {
                        places.insert(place);
                        set.insert(at);
                    }
                    1 => {
                        others.insert(place);
                        other_set.insert(at);
                    }
                    2 => {
                        places.remove(place);
                        set.remove(&at);
                    }
                    3 => {
                        places.append(&mut others);
                        set.append(&mut other_set);
                    }
                    _ => {
                        places.clear();
                        set.clear();
                    }
                }
                let found: Vec<u32> = places.iter().map(|place| place.0).collect();
                prop_assert_eq!(found, set.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(places.is_empty(), set.is_empty());
                prop_assert_eq!(others.is_empty(), other_set.is_empty());
            }
        }
    }
}
