//! How long an instance waits whose task has failed.

use crate::app::App;
use model::step::Timestamp;
use std::time::Duration;

/// What the last failure of an instance means for its next launch. Kept while the instance runs too, since the
/// next failure builds on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// How long it waits from the failure on.
    pub delay: Duration,
    /// When its next launch is due.
    pub until: Timestamp,
    /// How often the delays of its app had been reset before: once they are again, this one counts no more.
    pub resets: u64,
}

impl Backoff {
    /// The one after a task has failed that had run for `ran_for`. `before` is what was left by earlier failures.
    ///
    /// A task that ran well for as long as the longest delay has made up for what was before: it starts over
    /// with the first delay.
    pub(crate) fn after(
        before: Option<Self>,
        app: &App,
        ran_for: Duration,
        resets: u64,
        now: Timestamp,
    ) -> Self {
        let before = before.filter(|it| !it.delay.is_zero() && ran_for < app.max_launch_delay);
        let grown = before.map_or(app.backoff, |before| {
            let millis = u64::try_from(before.delay.as_millis()).unwrap_or(u64::MAX);
            let grown = u128::from(millis) * u128::from(app.backoff_factor.0) / 1_000_000;
            Duration::from_millis(u64::try_from(grown).unwrap_or(u64::MAX))
        });
        let delay = grown.min(app.max_launch_delay);
        Self { delay, until: now.plus(delay), resets }
    }

    /// How long it is still to wait. Never longer than its whole delay: the clock of the leader that noted
    /// it may have been ahead of this one's.
    pub(crate) fn left(&self, now: Timestamp) -> Duration {
        self.until.since(now).min(self.delay)
    }
}
