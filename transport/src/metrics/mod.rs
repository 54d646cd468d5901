//! Counters and gauges, told in two ways.
//!
//! A daemon tells its own [`Samples`]: flat under the names that Mesos has on `/metrics/snapshot`, and as
//! Prometheus reads them on `/metrics`. There the process's registry follows, which the `metrics` facade
//! writes to: what is no daemon's in particular, under names of ours.

mod counters;
mod samples;
mod system;
mod timer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

pub use counters::{Counted, Counters, KeyedCounters};
pub use samples::Samples;
pub use system::of_system;
pub use timer::Timer;

static REGISTRY: OnceLock<prometheus::Registry> = OnceLock::new();

/// Joins the facade to the registry, once per process. Every daemon calls it when it starts.
pub fn install() {
    REGISTRY.get_or_init(|| {
        let registry = prometheus::Registry::new();
        // Somebody else's recorder may be there, in a program that embeds us. Then ours stays empty.
        if metrics_prometheus::Recorder::builder()
            .with_registry(&registry)
            .try_build_and_install()
            .is_err()
        {
            tracing::warn!("another metrics recorder is installed; /metrics will be empty");
        }
        registry
    });
}

/// All metrics of the process, as Prometheus reads them.
pub fn prometheus_text() -> String {
    let Some(registry) = REGISTRY.get() else { return String::new() };
    prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap_or_else(|error| format!("# cannot write the metrics: {error}\n"))
}

/// A count as metrics have it.
#[expect(clippy::cast_precision_loss, reason = "nothing here is counted beyond 2^53")]
pub fn double(count: usize) -> f64 {
    count as f64
}

/// What [`prometheus_text`] is served as.
pub const PROMETHEUS_MIME: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `mesos` as a legal Prometheus name: `master/tasks_running` becomes `agora_master_tasks_running`.
pub fn prometheus_name(mesos: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    "agora_".chars().chain(mesos.chars().map(legal)).collect()
}

/// The metrics of one daemon under Mesos's names. Clones share it.
#[derive(Clone, Default)]
pub struct Table {
    entries: Arc<RwLock<BTreeMap<String, Arc<AtomicU64>>>>,
}

/// Something that is counted.
#[derive(Clone)]
pub struct Counter {
    own: Arc<AtomicU64>,
    facade: ::metrics::Counter,
}

/// Something that is measured.
#[derive(Clone)]
pub struct Gauge {
    own: Arc<AtomicU64>,
    facade: ::metrics::Gauge,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter `name`, such as `master/task_failed`; made at the first call. Keep it.
    pub fn counter(&self, name: &str) -> Counter {
        let facade = ::metrics::counter!(prometheus_name(name));
        Counter { own: self.entry(name), facade }
    }

    /// The gauge `name`; made at the first call. Keep it.
    pub fn gauge(&self, name: &str) -> Gauge {
        let facade = ::metrics::gauge!(prometheus_name(name));
        Gauge { own: self.entry(name), facade }
    }

    /// Adds one to the counter `name`, for names that are only known when it happens.
    pub fn count(&self, name: &str) {
        self.counter(name).increment(1);
    }

    /// Every name with its value, in order.
    pub fn snapshot(&self) -> BTreeMap<String, f64> {
        let entries = self.entries.read();
        let value = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        entries.iter().map(|(name, bits)| (name.clone(), value(bits))).collect()
    }

    fn entry(&self, name: &str) -> Arc<AtomicU64> {
        if let Some(entry) = self.entries.read().get(name) {
            return entry.clone();
        }
        self.entries.write().entry(name.to_owned()).or_default().clone()
    }
}

impl Counter {
    /// Counts `by` more.
    pub fn increment(&self, by: u32) {
        self.facade.increment(u64::from(by));
        // Values are doubles, as they are on the wire: exact up to 2^53.
        let add = |bits| Some((f64::from_bits(bits) + f64::from(by)).to_bits());
        let _ = self.own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl Gauge {
    /// It measures `value` now.
    pub fn set(&self, value: f64) {
        self.facade.set(value);
        self.own.store(value.to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_daemon_has_its_own_table_and_the_process_one_registry() {
        install();
        install();
        let (one, other) = (Table::new(), Table::new());
        one.counter("master/test_counted").increment(2);
        one.count("master/test_counted");
        other.count("master/test_counted");
        other.gauge("master/test_gauge").set(0.5);
        assert_eq!(one.snapshot(), BTreeMap::from([("master/test_counted".to_owned(), 3.0)]));
        let text = prometheus_text();
        assert!(text.contains("agora_master_test_counted 4"), "{text}");
        assert!(text.contains("agora_master_test_gauge 0.5"), "{text}");
    }
}
