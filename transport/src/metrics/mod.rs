//! Counters and gauges, told in two ways.
//!
//! A daemon tells its own [`Samples`]: flat under the names that Mesos has on `/metrics/snapshot`, and as
//! Prometheus reads them on `/metrics`. There the process's registry follows, which the `metrics` facade
//! writes to: what is no daemon's in particular, under names of ours.

mod counters;
mod samples;
mod system;
mod timer;

use std::sync::OnceLock;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_one_registry() {
        install();
        install();
        ::metrics::counter!("agora_test_counted", "what" => "this").increment(2);
        let text = prometheus_text();
        assert!(text.contains("agora_test_counted{what=\"this\"} 2"), "{text}");
    }
}
