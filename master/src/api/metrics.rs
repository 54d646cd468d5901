//! The master's metrics under Mesos's names.
//!
//! Counters count where things happen. Gauges are read off the view when somebody looks.

use std::collections::BTreeMap;

use model::call::Call;
use model::operation::OperationState;
use model::task::TaskState;

use super::Api;
use crate::leadership::Leadership;
use crate::view::Counts;

/// Names that dashboards expect to be there from the start.
pub(crate) const COUNTERS: [&str; 46] = [
    "master/dropped_messages",
    "master/invalid_executor_to_framework_messages",
    "master/invalid_framework_to_executor_messages",
    "master/invalid_status_update_acknowledgements",
    "master/invalid_status_updates",
    "master/messages_authenticate",
    "master/messages_deactivate_framework",
    "master/messages_decline_offers",
    "master/messages_executor_to_framework",
    "master/messages_exited_executor",
    "master/messages_framework_to_executor",
    "master/messages_kill_task",
    "master/messages_launch_tasks",
    "master/messages_reconcile_operations",
    "master/messages_reconcile_tasks",
    "master/messages_register_framework",
    "master/messages_register_slave",
    "master/messages_reregister_framework",
    "master/messages_reregister_slave",
    "master/messages_resource_request",
    "master/messages_revive_offers",
    "master/messages_status_update",
    "master/messages_status_update_acknowledgement",
    "master/messages_suppress_offers",
    "master/messages_unregister_framework",
    "master/messages_unregister_slave",
    "master/messages_update_slave",
    "master/recovery_slave_removals",
    "master/slave_registrations",
    "master/slave_removals",
    "master/slave_removals/reason_registered",
    "master/slave_removals/reason_unhealthy",
    "master/slave_removals/reason_unregistered",
    "master/slave_reregistrations",
    "master/slave_unreachable_canceled",
    "master/slave_unreachable_completed",
    "master/slave_unreachable_scheduled",
    "master/tasks_dropped",
    "master/tasks_error",
    "master/tasks_failed",
    "master/tasks_finished",
    "master/tasks_gone",
    "master/tasks_gone_by_operator",
    "master/tasks_killed",
    "master/tasks_lost",
    "master/valid_status_updates",
];

/// Makes the counters, at zero.
pub(crate) fn declare(table: &transport::metrics::Table) {
    for name in COUNTERS {
        table.counter(name);
    }
}

/// The counter of a framework's calls of one kind.
pub(super) fn call_counter(call: &Call) -> Option<&'static str> {
    match call {
        Call::Accept(_) => Some("master/messages_launch_tasks"),
        Call::Decline(_) => Some("master/messages_decline_offers"),
        Call::Revive(_) => Some("master/messages_revive_offers"),
        Call::Suppress(_) => Some("master/messages_suppress_offers"),
        Call::Kill(_) => Some("master/messages_kill_task"),
        Call::Acknowledge(_) => Some("master/messages_status_update_acknowledgement"),
        Call::AcknowledgeOperation(_) => {
            Some("master/messages_operation_status_update_acknowledgement")
        }
        Call::Reconcile(_) => Some("master/messages_reconcile_tasks"),
        Call::ReconcileOperations(_) => Some("master/messages_reconcile_operations"),
        Call::Message(_) => Some("master/messages_framework_to_executor"),
        Call::Request => Some("master/messages_resource_request"),
        Call::Shutdown(_)
        | Call::Teardown
        | Call::UpdateFramework(_)
        | Call::AnswerInverseOffers(_) => None,
    }
}

/// Everything, as it is now.
pub(super) fn snapshot(api: &Api) -> BTreeMap<String, f64> {
    let set = |name: &str, value: f64| api.metrics.gauge(name).set(value);
    let leads = matches!(&*api.leadership.borrow(), Leadership::Leading(_));
    set("master/elected", f64::from(u8::from(leads)));
    let uptime = crate::facts::wall_clock().since(api.facts.started_at);
    set("master/uptime_secs", uptime.as_secs_f64());
    set("master/operator_event_stream_subscribers", count(api.subscribers.count()));
    set("master/event_queue_messages", count(api.driver.queued()));
    let counts = api.view.counts();
    for (name, value) in of_agents(&counts) {
        set(&name, value);
    }
    for (name, value) in of_frameworks_and_tasks(&counts) {
        set(name, value);
    }
    for (name, value) in of_operations(&api.view.operation_states()) {
        set(&name, value);
    }
    for (name, value) in of_system() {
        set(name, value);
    }
    let mut all = api.metrics.snapshot();
    let principals = counts.principals.iter().map(|principal| &**principal).collect();
    all.extend(api.turns.counted(&principals));
    all
}

#[expect(clippy::cast_precision_loss, reason = "nothing here is counted beyond 2^53")]
fn count(count: usize) -> f64 {
    count as f64
}

fn of_agents(counts: &Counts) -> Vec<(String, f64)> {
    let Counts { agents, agents_connected, agents_active, .. } = *counts;
    let mut gauges = vec![
        ("master/slaves_active".to_owned(), count(agents_active)),
        ("master/slaves_connected".to_owned(), count(agents_connected)),
        ("master/slaves_disconnected".to_owned(), count(agents - agents_connected)),
        ("master/slaves_inactive".to_owned(), count(agents - agents_active)),
        ("master/slaves_unreachable".to_owned(), count(counts.agents_unreachable)),
    ];
    for name in ["cpus", "gpus", "mem", "disk"] {
        for (is_revocable, kind) in [(false, ""), (true, "revocable_")] {
            let total = counts.total.of(name, is_revocable);
            let used = counts.used.of(name, is_revocable);
            let percent = if total > 0.0 { used / total } else { 0.0 };
            gauges.push((format!("master/{name}_{kind}total"), total));
            gauges.push((format!("master/{name}_{kind}used"), used));
            gauges.push((format!("master/{name}_{kind}percent"), percent));
        }
    }
    gauges
}

fn of_frameworks_and_tasks(counts: &Counts) -> Vec<(&'static str, f64)> {
    let Counts { frameworks: all, frameworks_connected: connected, .. } = *counts;
    let tasks = |state: TaskState| count(counts.tasks.get(&state).copied().unwrap_or_default());
    vec![
        ("master/frameworks_connected", count(connected)),
        ("master/frameworks_disconnected", count(all - connected)),
        ("master/frameworks_active", count(connected)),
        ("master/frameworks_inactive", count(all - connected)),
        ("master/outstanding_offers", count(counts.offers)),
        ("master/tasks_staging", tasks(TaskState::Staging)),
        ("master/tasks_starting", tasks(TaskState::Starting)),
        ("master/tasks_running", tasks(TaskState::Running)),
        ("master/tasks_killing", tasks(TaskState::Killing)),
        ("master/tasks_unreachable", count(counts.tasks_unreachable)),
    ]
}

/// Operations that are on their way, or whose report is. How those ended that are over is counted.
fn of_operations(all: &[(&str, OperationState)]) -> Vec<(String, f64)> {
    let kinds = ["RESERVE", "UNRESERVE", "CREATE", "DESTROY", "GROW_VOLUME", "SHRINK_VOLUME"];
    let of = |prefix: String, kind: Option<&str>| {
        let of_kind = || all.iter().filter(move |(is, _)| kind.is_none_or(|kind| *is == kind));
        let pending = of_kind().filter(|(_, state)| *state == OperationState::Pending).count();
        [
            (format!("{prefix}/total"), count(of_kind().count())),
            (format!("{prefix}/pending"), count(pending)),
        ]
    };
    let each = kinds
        .into_iter()
        .map(|kind| of(format!("master/operations/{}", kind.to_lowercase()), Some(kind)));
    each.chain([of("master/operations".to_owned(), None)]).flatten().collect()
}

/// The machine's load and memory, as far as the kernel tells.
pub(super) fn of_system() -> Vec<(&'static str, f64)> {
    let mut gauges = Vec::new();
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        let names = ["system/load_1min", "system/load_5min", "system/load_15min"];
        let values = load.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        gauges.extend(names.into_iter().zip(values));
    }
    if let Ok(memory) = std::fs::read_to_string("/proc/meminfo") {
        let of = |name: &str| {
            let line = memory.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib * 1_024.0)
        };
        gauges.extend(of("MemTotal:").map(|bytes| ("system/mem_total_bytes", bytes)));
        gauges.extend(of("MemFree:").map(|bytes| ("system/mem_free_bytes", bytes)));
    }
    if let Ok(cpus) = std::thread::available_parallelism() {
        gauges.push(("system/cpus_total", count(cpus.get())));
    }
    gauges
}
