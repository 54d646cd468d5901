//! The read endpoints that tools know from before the v1 API.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::acl::Action;
use model::units::parse_duration;
use serde_json::{Value, json};
use transport::http::{Refused, not_allowed, rendered};

use super::caller::{CONTAINERS, Caller, FLAGS, METRICS, user_of_executor};
use super::{Api, disks, metrics, state as states};
use crate::containerizer::Usage;
use crate::driver::wall;

pub(super) type Parameters = Query<HashMap<String, String>>;

pub(super) async fn version(State(_): State<Api>, Query(parameters): Parameters) -> Response {
    rendered(&states::version(), &parameters)
}

pub(super) async fn flags(
    State(api): State<Api>,
    caller: Caller,
    method: Method,
    Query(parameters): Parameters,
) -> Response {
    if method != Method::GET {
        return not_allowed(&method, "GET").into_response();
    }
    if let Err(refused) = caller.check(Action::ViewFlags, None, FLAGS) {
        return refused.into_response();
    }
    rendered(&json!({"flags": api.shared.options.flags}), &parameters)
}

pub(super) async fn state(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Parameters,
) -> Response {
    if !api.shared.mirror.read().is_ready {
        let text = "Agent has not finished recovery";
        return Refused::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    rendered(&states::agent(&api, &caller), &parameters)
}

/// Executors with what they use.
pub(super) async fn containers(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Parameters,
) -> Result<Response, Refused> {
    caller.check_endpoint("/containers", CONTAINERS)?;
    let mut all = Vec::new();
    for one in seen(&api, &caller) {
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
            entry["statistics"] = statistics_of(&api, &usage, &one);
        }
        all.push(entry);
    }
    Ok(rendered(&Value::Array(all), &parameters))
}

pub(super) async fn statistics(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Parameters,
) -> Result<Response, Refused> {
    caller.check_endpoint("/monitor/statistics", CONTAINERS)?;
    let mut all = Vec::new();
    for one in seen(&api, &caller) {
        let usage = api.shared.containers.usage(one.container.clone()).await.unwrap_or_default();
        all.push(json!({
            "framework_id": one.framework,
            "executor_id": one.executor,
            "executor_name": one.name,
            "source": one.source,
            "statistics": statistics_of(&api, &usage, &one),
        }));
    }
    Ok(rendered(&Value::Array(all), &parameters))
}

/// An executor that is not over.
pub(super) struct LiveContainer {
    /// As whom the executor runs; absent for a standalone container.
    pub(super) user: Option<String>,
    pub(super) framework: String,
    pub(super) executor: String,
    pub(super) name: String,
    pub(super) source: String,
    pub(super) container: model::ids::ContainerId,
    pub(super) cpus: f64,
    pub(super) mem_bytes: f64,
}

/// Those that the caller sees.
fn seen(api: &Api, caller: &Caller) -> Vec<LiveContainer> {
    let mut all = live(api);
    all.retain(|it| caller.sees_container(&api.shared, &it.container, it.user.as_deref()));
    all
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
                user: Some(user_of_executor(&api.shared, framework, it).to_owned()),
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

fn statistics_of(api: &Api, usage: &Usage, one: &LiveContainer) -> Value {
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
    let volumes = disks::statistics(api, usage);
    if !volumes.is_empty() {
        all["disk_statistics"] = volumes.iter().map(proto::json::to_value).collect();
    }
    if let Some(pids) = usage.pids {
        all["processes"] = pids.into();
    }
    all
}

/// Nothing here takes time, so whatever the timeout is, nothing is left out.
pub(super) async fn metrics_snapshot(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Parameters,
) -> Response {
    if let Err(refused) = caller.check_endpoint("/metrics/snapshot", METRICS) {
        return refused.into_response();
    }
    if let Some(Err(bad)) = parameters.get("timeout").map(|text| parse_duration(text)) {
        return Refused::bad_request(format!("Invalid timeout: {bad}")).into_response();
    }
    rendered(&json!(metrics::samples(&api).flat()), &parameters)
}

pub(super) async fn metrics_text(State(api): State<Api>, caller: Caller) -> Response {
    if let Err(refused) = caller.check_endpoint("/metrics", METRICS) {
        return refused.into_response();
    }
    let mut text = metrics::samples(&api).prometheus();
    text.push_str(&transport::metrics::prometheus_text());
    let kind = [(header::CONTENT_TYPE, transport::metrics::PROMETHEUS_MIME)];
    (kind, text).into_response()
}
