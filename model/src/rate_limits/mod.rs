//! How fast calls of each principal are taken in: the rules, and who waits until when.
//!
//! A limit is a line: one call after the other, a fixed time apart. A call that comes too early waits
//! for its turn; past the line's capacity it is refused. The whole line is one moment, the next free
//! turn, so that it takes the same memory however long it is.

mod file;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use file::BadLimits;

use crate::step::Time;

/// Calls that may wait in a line that does not say how many. Each is held in memory with what it
/// asks for, a few kilobytes as a rule.
pub const CAPACITY_DEFAULT: u64 = 1_000;

/// One call after the other, this far apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Time between two calls. Invariant: above zero.
    every: Duration,
    /// Calls that may wait for their turn.
    capacity: u64,
}

impl Rate {
    /// `qps` calls a second, and up to `capacity` that wait. Nothing unless both the rate and the time
    /// between two calls can be told.
    pub fn per_second(qps: f64, capacity: u64) -> Option<Self> {
        let every = (qps > 0.0).then(|| Duration::try_from_secs_f64(qps.recip()).ok())??;
        Some(Self { every: every.max(Duration::from_nanos(1)), capacity })
    }
}

/// Rules: which principals are limited, and how.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RateLimits {
    /// Principals that are named. Those without a rate may call as fast as they like.
    named: BTreeMap<Arc<str>, Option<Rate>>,
    /// All frameworks that are not named, together.
    others: Option<Rate>,
}

/// Whose turn a call takes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Line {
    /// That of one principal.
    Named(Arc<str>),
    /// That of all frameworks that are not named.
    Others,
}

/// The lines, as they stand.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    limits: RateLimits,
    /// When the next call of each may go. A line that nobody has used is not there; there are never
    /// more than there are rules.
    next: BTreeMap<Line, Time>,
}

/// A line has no room for another call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full {
    /// How many wait, which is as many as may.
    pub waiting: u64,
    /// When there is room again, if nobody else comes.
    pub after: Duration,
}

impl Limiter {
    /// Nobody waits yet.
    pub fn new(limits: RateLimits) -> Self {
        Self { limits, next: BTreeMap::new() }
    }

    /// The line of a framework's calls; absent: it may call as fast as it likes.
    pub fn line_of_framework(&self, principal: Option<&str>) -> Option<Line> {
        match principal.and_then(|name| self.limits.named.get_key_value(name)) {
            Some((name, rate)) => rate.map(|_| Line::Named(name.clone())),
            None => self.limits.others.map(|_| Line::Others),
        }
    }

    /// The line of anybody else's calls: only who is named has one.
    pub fn line_of_operator(&self, principal: &str) -> Option<Line> {
        let (name, rate) = self.limits.named.get_key_value(principal)?;
        rate.map(|_| Line::Named(name.clone()))
    }

    /// A call comes at `now`: when its turn is, `now` if it need not wait.
    pub fn enter(&mut self, line: &Line, now: Time) -> Result<Time, Full> {
        let rate = match line {
            Line::Named(name) => self.limits.named.get(name).copied().flatten(),
            Line::Others => self.limits.others,
        };
        let Some(Rate { every, capacity }) = rate else { return Ok(now) };
        let turn = self.next.get(line).map_or(now, |next| now.max(*next));
        // Turns are `every` apart, so these wait already: the last of them right before this one.
        let wait = turn.since(now);
        let waiting = u64::try_from(wait.as_nanos().div_ceil(every.as_nanos())).unwrap_or(u64::MAX);
        if waiting > capacity {
            let line = every.saturating_mul(u32::try_from(capacity).unwrap_or(u32::MAX));
            return Err(Full { waiting: waiting - 1, after: wait.saturating_sub(line) });
        }
        self.next.insert(line.clone(), turn + every);
        Ok(turn)
    }
}

#[cfg(test)]
mod tests;
