//! The read endpoints that tools know from before the v1 API.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::units::parse_duration;
use serde_json::{Value, json};
use transport::http::{Refused, not_allowed, rendered};

use super::{Api, metrics, state as states};
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
        return not_allowed(&method, "GET").into_response();
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

/// Nothing here takes time, so whatever the timeout is, nothing is left out.
pub(super) async fn metrics_snapshot(
    State(api): State<Api>,
    Query(parameters): Parameters,
) -> Response {
    if let Some(Err(bad)) = parameters.get("timeout").map(|text| parse_duration(text)) {
        return Refused::bad_request(format!("Invalid timeout: {bad}")).into_response();
    }
    rendered(&json!(metrics::samples(&api).flat()), &parameters)
}

pub(super) async fn metrics_text(State(api): State<Api>) -> Response {
    let mut text = metrics::samples(&api).prometheus();
    text.push_str(&transport::metrics::prometheus_text());
    let kind = [(header::CONTENT_TYPE, transport::metrics::PROMETHEUS_MIME)];
    (kind, text).into_response()
}
