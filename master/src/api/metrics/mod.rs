//! The master's metrics under Mesos's names.
//!
//! What is counted is in plain integers where it happens. What there is, is read off the view. For the
//! rest the core is asked, and who has no time for its answer does without.

mod allocator;
mod frameworks;

use std::sync::Arc;
use std::time::Duration;

use master_core::figures::Figures;
use model::operation::OperationState;
use model::task::{Source, TaskState};
use transport::http::Refused;
use transport::metrics::{Samples, double, of_system};

use super::Api;
use crate::leadership::Leadership;
use crate::meters::Count;
use crate::view::{Counts, Picture};

/// How long the core is waited for at most: half of what those who gather metrics mostly wait.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Operations on resources, as [`model::operation::Conversion::name`] has them.
const OPERATION_KINDS: [&str; 6] =
    ["RESERVE", "UNRESERVE", "CREATE", "DESTROY", "GROW_VOLUME", "SHRINK_VOLUME"];

/// States of operations that are not on their way.
const OPERATION_STATES: [OperationState; 6] = [
    OperationState::Finished,
    OperationState::Failed,
    OperationState::Error,
    OperationState::Dropped,
    OperationState::Unreachable,
    OperationState::GoneByOperator,
];

/// How long a reader wants to wait, as the query of `/metrics/snapshot` says it.
pub(super) fn timeout(text: Option<&String>) -> Result<Option<Duration>, Refused> {
    let read = |text: &String| {
        model::units::parse_duration(text)
            .map_err(|bad| Refused::bad_request(format!("Invalid timeout: {bad}")))
    };
    text.map(read).transpose()
}

/// What the core says, if it does so in time. Nobody asks it who has no time at all.
pub(super) async fn figures(api: &Api, timeout: Option<Duration>) -> Option<Arc<Figures>> {
    let wait = timeout.unwrap_or(WAIT_MAX).min(WAIT_MAX);
    if wait.is_zero() {
        return None;
    }
    tokio::time::timeout(wait, api.driver.figures()).await.ok()?.ok()
}

/// Everything, as it is now. Without `figures` what the core must be asked for is left out.
pub(super) fn samples(api: &Api, figures: Option<&Figures>) -> Samples {
    let mut samples = Samples::default();
    let all = &mut samples;
    of_itself(api, all);
    of_registrar(api, all);
    of_counters(api, all);
    let picture = api.view.picture();
    let counts = picture.counts();
    of_agents(&counts, all);
    of_frameworks_and_tasks(&counts, all);
    of_operations(api, &picture, all);
    let principals = counts.principals.iter().map(|principal| &**principal).collect();
    api.turns.tell(&principals, all);
    for (name, value) in of_system() {
        all.gauge(name, value);
    }
    if let Some(figures) = figures {
        allocator::tell(&figures.allocator, all);
        if api.tells_of_frameworks {
            frameworks::tell(&figures.frameworks, &counts, all);
        }
    }
    samples
}

fn of_itself(api: &Api, all: &mut Samples) {
    let leads = matches!(api.standing.heard(), Leadership::Leading(_));
    all.gauge("master/elected", f64::from(u8::from(leads)));
    let uptime = crate::facts::wall_clock().since(api.facts.started_at);
    all.gauge("master/uptime_secs", uptime.as_secs_f64());
    let subscribers = double(api.subscribers.count());
    all.gauge("master/operator_event_stream_subscribers", subscribers);
    let (requests, messages) = api.driver.queued();
    all.gauge("master/event_queue_http_requests", double(requests));
    all.gauge("master/event_queue_messages", double(messages));
    all.gauge("master/event_queue_dispatches", double(api.log.waiting()));
    all.counter("master/http_cache_hits", api.renderers.shared());
}

fn of_registrar(api: &Api, all: &mut Samples) {
    let status = api.proposer.status();
    let recovered = status.is_member && status.leader.is_some();
    all.gauge("registrar/log/ensemble_size", double(status.voters));
    all.gauge("registrar/log/recovered", f64::from(u8::from(recovered)));
    all.gauge("registrar/queued_operations", double(api.meters.proposals()));
    let bytes = api.proposer.applied().registry_bytes();
    all.gauge("registrar/registry_size_bytes", double(bytes));
    api.meters.state_fetch.tell("registrar/state_fetch_ms", all);
    api.meters.state_store.tell("registrar/state_store_ms", all);
}

fn of_counters(api: &Api, all: &mut Samples) {
    let meters = &api.meters;
    meters.counters.tell(all);
    // What these were called before: collectors of that time fail without them.
    for (name, count) in [
        ("master/slave_shutdowns_scheduled", Count::SlaveUnreachableScheduled),
        ("master/slave_shutdowns_completed", Count::SlaveUnreachableCompleted),
        ("master/slave_shutdowns_canceled", Count::SlaveUnreachableCanceled),
    ] {
        all.counter(name, meters.counters.of(count));
    }
    for ((state, source, reason), count) in meters.task_reasons.all() {
        let source = match source {
            Source::Master => "master",
            Source::Agent => "slave",
            Source::Executor => "executor",
        };
        let (state, reason) = (state.name().to_lowercase(), reason.name().to_lowercase());
        // Mesos still says "slave" where it counts.
        let reason = reason.replace("agent", "slave");
        all.counter(format!("master/{state}/source_{source}/{reason}"), count);
    }
    meters.allocation_run.tell("allocator/mesos/allocation_run_ms", all);
    meters.allocation_run_latency.tell("allocator/mesos/allocation_run_latency_ms", all);
}

fn of_agents(counts: &Counts, all: &mut Samples) {
    let Counts { agents, agents_connected, agents_active, .. } = *counts;
    all.gauge("master/slaves_active", double(agents_active));
    all.gauge("master/slaves_connected", double(agents_connected));
    all.gauge("master/slaves_disconnected", double(agents - agents_connected));
    all.gauge("master/slaves_inactive", double(agents - agents_active));
    all.gauge("master/slaves_unreachable", double(counts.agents_unreachable));
    for name in ["cpus", "gpus", "mem", "disk"] {
        for (is_revocable, kind) in [(false, ""), (true, "revocable_")] {
            let total = counts.total.of(name, is_revocable);
            let used = counts.used.of(name, is_revocable);
            let percent = if total > 0.0 { used / total } else { 0.0 };
            all.gauge(format!("master/{name}_{kind}total"), total);
            all.gauge(format!("master/{name}_{kind}used"), used);
            all.gauge(format!("master/{name}_{kind}percent"), percent);
        }
    }
}

fn of_frameworks_and_tasks(counts: &Counts, all: &mut Samples) {
    let Counts { frameworks, frameworks_connected: connected, .. } = *counts;
    all.gauge("master/frameworks_connected", double(connected));
    all.gauge("master/frameworks_disconnected", double(frameworks - connected));
    all.gauge("master/frameworks_active", double(connected));
    all.gauge("master/frameworks_inactive", double(frameworks - connected));
    all.gauge("master/outstanding_offers", double(counts.offers));
    let tasks = |state| double(counts.tasks_in(state));
    all.gauge("master/tasks_staging", tasks(TaskState::Staging));
    all.gauge("master/tasks_starting", tasks(TaskState::Starting));
    all.gauge("master/tasks_running", tasks(TaskState::Running));
    all.gauge("master/tasks_killing", tasks(TaskState::Killing));
    all.gauge("master/tasks_unreachable", tasks(TaskState::Unreachable));
}

/// How many operations are on their way, or their report is, and how those ended that are over.
fn of_operations(api: &Api, picture: &Picture, all: &mut Samples) {
    let now: Vec<_> = picture.operation_states().collect();
    let ended = api.meters.operations.all();
    let each = OPERATION_KINDS
        .map(|kind| (format!("master/operations/{}", kind.to_lowercase()), Some(kind)));
    for (prefix, kind) in each.into_iter().chain([("master/operations".to_owned(), None)]) {
        let is_it = |of: &str| kind.is_none_or(|kind| of == kind);
        let of_kind = || now.iter().filter(|(of, _)| is_it(of));
        let pending = of_kind().filter(|(_, state)| *state == OperationState::Pending).count();
        all.gauge(format!("{prefix}/total"), double(of_kind().count()));
        all.gauge(format!("{prefix}/pending"), double(pending));
        for state in OPERATION_STATES {
            let ended = ended.iter().filter(|((of, as_), _)| is_it(of) && *as_ == state);
            let name = state.name().trim_start_matches("OPERATION_").to_lowercase();
            all.counter(format!("{prefix}/{name}"), ended.map(|(_, count)| count).sum());
        }
    }
}
