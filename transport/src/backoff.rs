//! How long to wait before another try.

use std::time::Duration;

use model::rng::Rng;

/// Waits that double up to a limit, each drawn at random up to its size.
///
/// The draw spreads those that lost the same server at the same moment. It is seeded, so a run can
/// be repeated.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    tries: u32,
    rng: Rng,
}

impl Backoff {
    /// Waits from about `first`, and never over `max`.
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, tries: 0, rng: Rng::new(seed) }
    }

    /// How long to wait before the next try: between half and all of a size that doubles each time.
    pub fn next_wait(&mut self) -> Duration {
        let size = self.first.saturating_mul(1_u32 << self.tries.min(20)).min(self.max);
        self.tries = self.tries.saturating_add(1);
        size / 2 + self.rng.up_to(size / 2)
    }

    /// It worked: the next failure starts from the first wait again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_start_over_after_success() {
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, max, 7);
        let mut size = first;
        for _ in 0..40 {
            let wait = backoff.next_wait();
            assert!(wait >= size / 2 && wait <= size, "{wait:?} of {size:?}");
            size = (size * 2).min(max);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
