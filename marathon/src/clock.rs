//! Both clocks, read for the core and for answers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::step::{Now, Time, Timestamp};

/// Counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Now {
        Now { time: Time(self.0.elapsed()), wall: wall() }
    }

    /// When `time` of the core is, for sleeping.
    pub(crate) fn instant(self, time: Time) -> Instant {
        // Nothing is due in a century: an overflow means never.
        self.0.checked_add(time.0).unwrap_or_else(|| self.0 + Duration::from_secs(3_000_000_000))
    }
}

/// The time for people.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
