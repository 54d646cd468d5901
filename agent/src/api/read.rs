//! The read endpoints that tools know from before the v1 API.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use transport::http::{Refused, rendered};

use super::{Api, state as states};
use crate::containerizer::Usage;
use crate::driver::wall;

pub(super) type Parameters = Query<HashMap<String, String>>;

pub(super) async fn version(State(_): State<Api>, Query(parameters): Parameters) -> Response {
    rendered(&states::version(), &parameters)
}

pub(super) async fn flags(
    State(api): State<Api>,
    method: Method,
    Query(parameters): Parameters,
) -> Response {
    if method != Method::GET {
        let text = format!(
            "405 Method Not Allowed. Expecting one of {{ 'GET' }}, but received '{method}'."
        );
        return Refused::new(StatusCode::METHOD_NOT_ALLOWED, text).into_response();
    }
    rendered(&json!({"flags": api.shared.options.flags}), &parameters)
}

pub(super) async fn state(State(api): State<Api>, Query(parameters): Parameters) -> Response {
    if !api.shared.mirror.read().is_ready {
        let text = "Agent has not finished recovery";
        return Refused::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    rendered(&states::agent(&api), &parameters)
}

/// Executors with what they use.
pub(super) async fn containers(State(api): State<Api>, Query(parameters): Parameters) -> Response {
    let mut all = Vec::new();
    for one in live(&api) {
        let usage = api.shared.containers.usage(one.container.clone()).await;
        let networks = super::networks(&api, &one.container).await;
        let networks: Vec<Value> = networks.iter().map(proto::json::to_value).collect();
        let mut entry = json!({
            "framework_id": one.framework,
            "executor_id": one.executor,
            "executor_name": one.name,
            "source": one.source,
            "container_id": one.container.as_str(),
            "status": {
                "container_id": {"value": one.container.as_str()},
                "network_infos": networks,
            },
        });
        if let Some(usage) = usage {
            entry["statistics"] = statistics_of(&usage, &one);
        }
        all.push(entry);
    }
    rendered(&Value::Array(all), &parameters)
}

pub(super) async fn statistics(State(api): State<Api>, Query(parameters): Parameters) -> Response {
    let mut all = Vec::new();
    for one in live(&api) {
        let usage = api.shared.containers.usage(one.container.clone()).await.unwrap_or_default();
        all.push(json!({
            "framework_id": one.framework,
            "executor_id": one.executor,
            "executor_name": one.name,
            "source": one.source,
            "statistics": statistics_of(&usage, &one),
        }));
    }
    rendered(&Value::Array(all), &parameters)
}

/// An executor that is not over.
pub(super) struct LiveContainer {
    pub(super) framework: String,
    pub(super) executor: String,
    pub(super) name: String,
    pub(super) source: String,
    pub(super) container: model::ids::ContainerId,
    pub(super) cpus: f64,
    pub(super) mem_bytes: f64,
}

pub(super) fn live(api: &Api) -> Vec<LiveContainer> {
    let mirror = api.shared.mirror.read();
    let frameworks = mirror.frameworks.values();
    frameworks
        .flat_map(|framework| framework.executors.values().map(move |it| (framework, it)))
        .map(|(framework, it)| {
            let mut resources = it.spec.resources.clone();
            for task in it.tasks.values() {
                resources.add(&task.spec.resources);
            }
            LiveContainer {
                framework: framework.id.to_string(),
                executor: it.spec.id.to_string(),
                name: it.info.name().to_owned(),
                source: states::source(&it.info),
                container: it.container.clone(),
                cpus: resources.scalar("cpus").as_f64(),
                mem_bytes: resources.scalar("mem").as_f64() * 1_048_576.0,
            }
        })
        .collect()
}

fn statistics_of(usage: &Usage, one: &LiveContainer) -> Value {
    let mut all = json!({
        "timestamp": wall().as_secs_f64(),
        "cpus_limit": one.cpus,
        "mem_limit_bytes": one.mem_bytes,
        "cpus_user_time_secs": usage.cpus_user.as_secs_f64(),
        "cpus_system_time_secs": usage.cpus_system.as_secs_f64(),
        "cpus_nr_periods": usage.cpu_periods,
        "cpus_nr_throttled": usage.cpu_throttled_periods,
        "cpus_throttled_time_secs": usage.cpu_throttled.as_secs_f64(),
    });
    if let Some(bytes) = usage.mem_bytes {
        all["mem_total_bytes"] = bytes.into();
        all["mem_rss_bytes"] = bytes.into();
    }
    if let Some(bytes) = usage.disk_used_bytes {
        all["disk_used_bytes"] = bytes.into();
    }
    if let Some(bytes) = usage.disk_limit_bytes {
        all["disk_limit_bytes"] = bytes.into();
    }
    if let Some(pids) = usage.pids {
        all["processes"] = pids.into();
    }
    all
}

pub(super) async fn metrics_snapshot(
    State(api): State<Api>,
    Query(parameters): Parameters,
) -> Response {
    measure(&api);
    rendered(&json!(api.shared.metrics.snapshot()), &parameters)
}

pub(super) async fn metrics_text(State(api): State<Api>) -> Response {
    measure(&api);
    let kind = [(header::CONTENT_TYPE, transport::metrics::PROMETHEUS_MIME)];
    (kind, transport::metrics::prometheus_text()).into_response()
}

/// Brings the gauges up to date.
pub(super) fn measure(api: &Api) {
    let metrics = &api.shared.metrics;
    let total = api.shared.mirror.read().total.clone();
    let total = total.as_ref().unwrap_or(&api.shared.description.resources);
    let mut used = model::resources::Resources::none();
    let (mut executors, mut staging, mut starting, mut running, mut killing) =
        (0_u32, 0_u32, 0_u32, 0_u32, 0_u32);
    let active = {
        use model::task::TaskState;
        let mirror = api.shared.mirror.read();
        for executor in mirror.frameworks.values().flat_map(|it| it.executors.values()) {
            executors += 1;
            used.add(&executor.spec.resources);
            for task in executor.tasks.values() {
                used.add(&task.spec.resources);
                match task.state {
                    TaskState::Staging => staging += 1,
                    TaskState::Starting => starting += 1,
                    TaskState::Running => running += 1,
                    TaskState::Killing => killing += 1,
                    TaskState::Finished
                    | TaskState::Failed
                    | TaskState::Killed
                    | TaskState::Error
                    | TaskState::Lost
                    | TaskState::Dropped
                    | TaskState::Unreachable
                    | TaskState::Gone
                    | TaskState::GoneByOperator
                    | TaskState::Unknown => {}
                }
            }
        }
        metrics.gauge("slave/registered").set(f64::from(u8::from(mirror.is_connected)));
        u32::try_from(mirror.frameworks.len()).unwrap_or(u32::MAX)
    };
    for (name, value) in [
        ("executors_running", executors),
        ("tasks_staging", staging),
        ("tasks_starting", starting),
        ("tasks_running", running),
        ("tasks_killing", killing),
        ("frameworks_active", active),
    ] {
        metrics.gauge(&format!("slave/{name}")).set(f64::from(value));
    }
    for name in ["cpus", "mem", "disk", "gpus"] {
        let (all, taken) = (total.scalar(name).as_f64(), used.scalar(name).as_f64());
        metrics.gauge(&format!("slave/{name}_total")).set(all);
        metrics.gauge(&format!("slave/{name}_used")).set(taken);
        let share = if all > 0.0 { taken / all } else { 0.0 };
        metrics.gauge(&format!("slave/{name}_percent")).set(share);
    }
    let up = wall().since(api.shared.started_at).as_secs_f64();
    metrics.gauge("slave/uptime_secs").set(up);
}
