//! How a core is driven: time that is told, inputs, outputs, deadlines.

use std::ops::Add;
use std::time::Duration;

/// A moment, counted from when the driver started. Cores are told it and never look it up.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(pub Duration);

impl Time {
    /// The moment the driver started.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

/// A wall-clock moment, in microseconds since 1970-01-01 UTC.
///
/// For what outlives a process or is shown to people. Never for deadlines: clocks jump.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment in seconds, as the wire and the JSON endpoints write it.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit in 53 bits")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The moment `wait` later.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks, read together by the driver once per batch of inputs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// For deadlines.
    pub time: Time,
    /// For records and people.
    pub wall: Timestamp,
}

/// A deterministic core: the same inputs at the same times give the same outputs.
///
/// A core never blocks, never fails and does no IO. What it wants done it says in its
/// outputs, and the driver does them in order. Time never goes back between calls.
pub trait Core {
    /// What can happen.
    type Input;
    /// What the driver can be asked to do.
    type Output;

    /// Takes in one thing that happened at `now`.
    fn step(&mut self, input: Self::Input, now: Now, out: &mut Vec<Self::Output>);

    /// Does what has fallen due by `now`, if anything has.
    fn wake(&mut self, now: Now, out: &mut Vec<Self::Output>);

    /// When `wake` is needed next, if no input comes first.
    fn next_deadline(&self) -> Option<Time>;
}
