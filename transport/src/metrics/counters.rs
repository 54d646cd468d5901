//! What is counted where it happens: plain integers, whose names are looked at when somebody reads.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Samples;

/// Things that are counted, each under a name of its own. [`counted!`](crate::counted) makes one.
pub trait Counted: Copy {
    /// The names, in the order of [`Counted::index`].
    const NAMES: &'static [&'static str];

    /// Which of them it is.
    fn index(self) -> usize;
}

/// Makes an enum of things that are counted. The compiler tells of one that nothing counts.
#[macro_export]
macro_rules! counted {
    ($(#[$doc:meta])* $vis:vis enum $Name:ident { $($Variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        $vis enum $Name {
            $(#[doc = concat!("`", $name, "`")] $Variant,)+
        }

        impl $crate::metrics::Counted for $Name {
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// How often each thing of a kind was. All are there from the start, at zero.
pub struct Counters<C> {
    counts: Box<[AtomicU64]>,
    of: PhantomData<fn(C)>,
}

impl<C: Counted> Default for Counters<C> {
    fn default() -> Self {
        let counts = C::NAMES.iter().map(|_| AtomicU64::new(0)).collect();
        Self { counts, of: PhantomData }
    }
}

impl<C: Counted> fmt::Debug for Counters<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(C::NAMES.iter().zip(&self.counts)).finish()
    }
}

impl<C: Counted> Counters<C> {
    /// It was once more.
    pub fn count(&self, what: C) {
        self.add(what, 1);
    }

    /// It was so many times more.
    pub fn add(&self, what: C, times: u64) {
        self.counts[what.index()].fetch_add(times, Ordering::Relaxed);
    }

    /// How often it was.
    pub fn of(&self, what: C) -> u64 {
        self.counts[what.index()].load(Ordering::Relaxed)
    }

    /// Adds all of it to `samples`.
    pub fn tell(&self, samples: &mut Samples) {
        for (name, count) in C::NAMES.iter().zip(&self.counts) {
            samples.counter(*name, count.load(Ordering::Relaxed));
        }
    }
}

/// How often each thing was that is known by a key. For keys of which there are few: none is ever
/// forgotten.
pub struct KeyedCounters<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for KeyedCounters<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Ord> KeyedCounters<K> {
    /// It was once more.
    pub fn count(&self, what: K) {
        *self.0.lock().entry(what).or_default() += 1;
    }

    /// How often each was that was at all.
    pub fn all(&self) -> BTreeMap<K, u64> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    counted! {
        /// For the test.
        enum Count {
            Done = "test/done",
            Dropped = "test/dropped",
        }
    }

    #[test]
    fn each_is_counted_under_its_name() {
        let counters = Counters::<Count>::default();
        counters.count(Count::Dropped);
        counters.add(Count::Dropped, 2);
        assert_eq!((counters.of(Count::Done), counters.of(Count::Dropped)), (0, 3));
        let mut samples = Samples::default();
        counters.tell(&mut samples);
        let expected = [("test/done".to_owned(), 0.0), ("test/dropped".to_owned(), 3.0)];
        assert_eq!(samples.flat(), BTreeMap::from(expected));
        let keyed = KeyedCounters::default();
        keyed.count("a");
        keyed.count("a");
        assert_eq!(keyed.all(), BTreeMap::from([("a", 2)]));
    }
}
