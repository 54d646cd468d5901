//! Dense indices for things with long names, so that hot paths compare numbers.

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
