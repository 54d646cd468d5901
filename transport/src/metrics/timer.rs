//! How long something took, the last time and over the latest times.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use super::Samples;

/// Times that minimum, maximum and percentiles are of.
const RECENT_MAX: usize = 1_000;

/// Name and place of each percentile.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

/// How long something took.
#[derive(Debug, Default)]
pub struct Timer(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    /// The latest in milliseconds, the last one at the end.
    recent: VecDeque<f64>,
    count: u64,
}

impl Timer {
    /// It took so long.
    pub fn record(&self, took: Duration) {
        let mut times = self.0.lock();
        if times.recent.len() >= RECENT_MAX {
            times.recent.pop_front();
        }
        times.recent.push_back(took.as_secs_f64() * 1_000.0);
        times.count += 1;
    }

    /// Adds to `samples` what Mesos tells of a time called `name`, which ends in `_ms`. All are zero
    /// before the first time.
    pub fn tell(&self, name: &'static str, samples: &mut Samples) {
        let (mut sorted, last, count) = {
            let times = self.0.lock();
            let last = times.recent.back().copied().unwrap_or_default();
            (times.recent.iter().copied().collect::<Vec<_>>(), last, times.count)
        };
        sorted.sort_unstable_by(f64::total_cmp);
        samples.gauge(name, last);
        samples.counter(format!("{name}/count"), count);
        samples.gauge(format!("{name}/min"), sorted.first().copied().unwrap_or_default());
        samples.gauge(format!("{name}/max"), sorted.last().copied().unwrap_or_default());
        for (percentile, place) in PERCENTILES {
            samples.gauge(format!("{name}/{percentile}"), at(&sorted, place));
        }
    }
}

/// The smallest of them that at least so large a part of them does not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "at most a thousand, and never below zero"
)]
fn at(sorted: &[f64], place: f64) -> f64 {
    let rank = (place * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_latest() {
        let timer = Timer::default();
        let told = || {
            let mut samples = Samples::default();
            timer.tell("test/run_ms", &mut samples);
            samples.flat()
        };
        assert_eq!(told().len(), 10);
        assert!(told().values().all(|value| *value == 0.0));
        // The first of these falls out of the window again.
        timer.record(Duration::from_secs(100));
        for millis in 1..=1_000 {
            timer.record(Duration::from_millis(millis));
        }
        let told = told();
        let expected = [
            ("", 1_000.0),
            ("/count", 1_001.0),
            ("/min", 1.0),
            ("/max", 1_000.0),
            ("/p50", 500.0),
            ("/p90", 900.0),
            ("/p95", 950.0),
            ("/p99", 990.0),
            ("/p999", 999.0),
            ("/p9999", 1_000.0),
        ];
        for (what, value) in expected {
            let name = format!("test/run_ms{what}");
            assert!((told[&name] - value).abs() < 1e-6, "{name}: {}", told[&name]);
        }
    }
}
