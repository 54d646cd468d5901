//! The read endpoints that tools know from before the v1 API.
//!
//! Everything here is answered from the published view; nothing asks the core.

mod changes;
mod form;
mod render;
mod reservations;
mod resources;
mod roles;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State as Extracted};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use model::acl::Action;
use proto::mesos::v1;
use serde_json::{Map, Value, json};
use transport::http::{Refused, not_allowed};
use transport::rendering::Whole;

use self::render::Belongings;
pub(super) use self::roles::role_messages;
use super::Api;
use super::access::Caller;
use super::viewer::{Reader, Viewer};
use crate::facts::Facts;
use crate::view::State;
use form::Form;

/// Tasks that `/tasks` lists unless told otherwise.
const TASKS_LISTED: usize = 100;

/// What one who may not see flags is not authorized to do.
pub(super) const FLAGS: &str = "see the flags";
const METRICS: &str = "read the metrics";

type Parameters = Query<HashMap<String, String>>;

/// Endpoints that only the leading master answers.
pub(super) fn of_leader() -> Router<Api> {
    Router::new()
        .route("/state", any(state))
        .route("/state-summary", any(state_summary))
        .route("/slaves", any(slaves))
        .route("/slaves/{*agent}", any(slaves))
        .route("/frameworks", any(frameworks))
        .route("/frameworks/{*framework}", any(frameworks))
        .route("/tasks", any(tasks))
        .route("/roles", any(roles))
        .route("/teardown", post(teardown))
        .merge(changes::of_leader())
        .merge(reservations::of_leader())
}

/// Endpoints that every master answers for itself.
pub(super) fn of_any() -> Router<Api> {
    Router::new()
        .route("/health", any(|| async { StatusCode::OK }))
        .route("/version", any(version))
        .route("/flags", any(flags))
        .route("/system/stats.json", any(system_stats))
        .route("/metrics/snapshot", any(metrics_snapshot))
        .route("/metrics", any(metrics_text))
        .merge(changes::of_any())
}

/// Renders what is known of members.
async fn rendered(
    api: Api,
    asked: Reader,
    Query(parameters): Parameters,
    render: impl FnOnce(&Seen<'_>, &HashMap<String, String>) -> Value + Send + 'static,
) -> Response {
    let (from, viewer) = (api.clone(), asked.viewer.clone());
    let work = move || {
        let all = from.view.picture().state();
        let state = viewer.seen(all.clone());
        let seen = Seen { api: &from, viewer: &viewer, state: &state, all: &all };
        let value = render(&seen, &parameters);
        transport::http::whole(&value, &parameters)
    };
    asked.answer(&api, work).await
}

/// What is rendered, and for whom.
struct Seen<'a> {
    api: &'a Api,
    viewer: &'a Viewer,
    /// Without what they may not see.
    state: &'a State,
    /// With it, to count what belongs to roles that they see.
    all: &'a State,
}

/// Renders what takes no time, however large the cluster is.
fn answered(value: &Value, Query(parameters): &Parameters) -> Response {
    transport::http::rendered(value, parameters)
}

async fn state(Extracted(api): Extracted<Api>, reader: Reader, parameters: Parameters) -> Response {
    rendered(api, reader, parameters, |seen, _| state_object(seen)).await
}

async fn state_summary(
    Extracted(api): Extracted<Api>,
    reader: Reader,
    parameters: Parameters,
) -> Response {
    rendered(api, reader, parameters, |seen, _| summary_object(seen.api, seen.state)).await
}

async fn slaves(
    Extracted(api): Extracted<Api>,
    reader: Reader,
    path: Option<axum::extract::Path<String>>,
    parameters: Parameters,
) -> Response {
    rendered(api, reader, parameters, move |seen, parameters| {
        let state = seen.state;
        let wanted = path.map(|path| path.0).or_else(|| parameters.get("slave_id").cloned());
        let is_wanted = |info: &v1::AgentInfo| {
            wanted.as_ref().is_none_or(|id| info.id.as_ref().is_some_and(|is| is.value == *id))
        };
        let agents = state.agents.iter().filter(|agent| is_wanted(&agent.agent_info));
        let recovered = state.recovered_agents.iter().filter(|info| is_wanted(info));
        json!({
            "slaves": agents.map(|agent| render::agent_in_full(agent)).collect::<Value>(),
            "recovered_slaves": recovered
                .map(|info| Value::Object(render::agent_info(info)))
                .collect::<Value>(),
        })
    })
    .await
}

async fn frameworks(
    Extracted(api): Extracted<Api>,
    reader: Reader,
    path: Option<axum::extract::Path<String>>,
    parameters: Parameters,
) -> Response {
    rendered(api, reader, parameters, move |seen, parameters| {
        let state = seen.state;
        let wanted = path.map(|path| path.0).or_else(|| parameters.get("framework_id").cloned());
        let (frameworks, completed) = framework_arrays(state, wanted.as_deref());
        json!({
            "frameworks": frameworks,
            "completed_frameworks": completed,
            "unregistered_frameworks": [],
        })
    })
    .await
}

async fn tasks(Extracted(api): Extracted<Api>, reader: Reader, parameters: Parameters) -> Response {
    for name in ["limit", "offset"] {
        if let Some(text) = parameters.get(name)
            && text.parse::<i64>().is_err()
        {
            let text = format!("Failed to parse '{name}': '{text}' is not a number");
            return Refused::bad_request(text).into_response();
        }
    }
    rendered(api, reader, parameters, |seen, parameters| tasks_object(seen.state, parameters)).await
}

async fn roles(Extracted(api): Extracted<Api>, reader: Reader, parameters: Parameters) -> Response {
    rendered(api, reader, parameters, |seen, _| roles::roles_object(seen)).await
}

async fn teardown(
    Extracted(api): Extracted<Api>,
    caller: Caller,
    form: Form,
) -> Result<Response, Refused> {
    super::operator::teardown(&api, caller, form.wanted("frameworkId")?).await
}

async fn version(parameters: Parameters) -> Response {
    answered(&Value::Object(build()), &parameters)
}

async fn flags(
    method: Method,
    Extracted(api): Extracted<Api>,
    viewer: Viewer,
    parameters: Parameters,
) -> Response {
    if method != Method::GET {
        return not_allowed(&method, "GET").into_response();
    }
    if let Err(refused) = viewer.check(Action::ViewFlags, None, FLAGS) {
        return refused.into_response();
    }
    answered(&json!({"flags": api.facts.flags}), &parameters)
}

async fn metrics_snapshot(
    Extracted(api): Extracted<Api>,
    reader: Reader,
    Query(parameters): Parameters,
) -> Response {
    let allowed = reader.viewer.check(Action::GetEndpoint, Some("/metrics/snapshot"), METRICS);
    if let Err(refused) = allowed {
        return refused.into_response();
    }
    let timeout = match super::metrics::timeout(parameters.get("timeout")) {
        Ok(timeout) => timeout,
        Err(refused) => return refused.into_response(),
    };
    let (from, figures) = (api.clone(), super::metrics::figures(&api, timeout).await);
    let work = move || {
        let samples = super::metrics::samples(&from, figures.as_deref());
        transport::http::whole(&json!(samples.flat()), &parameters)
    };
    reader.answer(&api, work).await
}

/// The machine, in the words that this endpoint has always had.
async fn system_stats(parameters: Parameters) -> Response {
    let named = |(name, value): (&str, f64)| {
        let name = match name.strip_prefix("system/").unwrap_or(name) {
            "load_1min" => "avg_load_1min",
            "load_5min" => "avg_load_5min",
            "load_15min" => "avg_load_15min",
            same => same,
        };
        (name.to_owned(), json!(value))
    };
    let all = transport::metrics::of_system().into_iter().map(named).collect::<Map<_, _>>();
    answered(&all.into(), &parameters)
}

async fn metrics_text(Extracted(api): Extracted<Api>, reader: Reader) -> Response {
    if let Err(refused) = reader.viewer.check(Action::GetEndpoint, Some("/metrics"), METRICS) {
        return refused.into_response();
    }
    let (from, figures) = (api.clone(), super::metrics::figures(&api, None).await);
    let work = move || {
        let mut text = super::metrics::samples(&from, figures.as_deref()).prometheus();
        text.push_str(&transport::metrics::prometheus_text());
        Ok(Whole::new(transport::metrics::PROMETHEUS_MIME, text))
    };
    reader.answer(&api, work).await
}

fn build() -> Map<String, Value> {
    let version = Facts::version_info();
    let mut object = Map::new();
    object.insert("version".to_owned(), json!(version.version));
    object.insert("build_date".to_owned(), json!(version.build_date));
    object.insert("build_time".to_owned(), json!(version.build_time));
    object.insert("build_user".to_owned(), json!(version.build_user));
    object.insert("git_tag".to_owned(), json!(version.git_tag));
    object
}

fn state_object(seen: &Seen<'_>) -> Value {
    let Seen { api, viewer, state, all: _ } = *seen;
    let facts = &api.facts;
    let master = api.master_info();
    let pid = master.pid.clone().unwrap_or_default();
    let active = state.agents.iter().filter(|agent| agent.active).count();
    let (frameworks, completed) = framework_arrays(state, None);
    let mut object = build();
    let more = json!({
        "start_time": facts.started_at.as_secs_f64(),
        "elected_time": api.elected_at().map(model::step::Timestamp::as_secs_f64),
        "id": master.id,
        "pid": pid,
        "hostname": facts.hostname,
        "capabilities": crate::facts::CAPABILITIES.map(|kind| kind.as_str_name()),
        "activated_slaves": active,
        "deactivated_slaves": state.agents.len() - active,
        "unreachable_slaves": state.unreachable_agents,
        "leader": pid,
        "leader_info": {
            "id": master.id,
            "pid": pid,
            "port": master.port,
            "hostname": facts.hostname,
        },
        "slaves": state
            .agents
            .iter()
            .map(|agent| Value::Object(render::agent(agent)))
            .collect::<Value>(),
        "recovered_slaves": state
            .recovered_agents
            .iter()
            .map(|info| Value::Object(render::agent_info(info)))
            .collect::<Value>(),
        "frameworks": frameworks,
        "completed_frameworks": completed,
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    });
    if let Value::Object(more) = more {
        object.extend(more);
    }
    if let Some(domain) = master.domain.as_ref().map(render::mapped) {
        object["leader_info"]["domain"] = domain.clone();
        object.insert("domain".to_owned(), domain);
    }
    if viewer.may(Action::ViewFlags, None) {
        object.insert("flags".to_owned(), json!(facts.flags));
        if let Some(cluster) = &facts.cluster {
            object.insert("cluster".to_owned(), json!(cluster));
        }
        if let Some(directory) = facts.log_file.as_ref().and_then(|file| file.parent()) {
            object.insert("log_dir".to_owned(), json!(directory.display().to_string()));
        }
    }
    Value::Object(object)
}

/// What each framework has, by its id.
fn belongings<'a>(state: &'a State) -> HashMap<&'a str, Belongings<'a>> {
    let with = |(id, resources): (&'a String, &'a Vec<v1::Resource>)| {
        (id.as_str(), Belongings { resources, ..Belongings::default() })
    };
    let mut by_framework: HashMap<&str, Belongings<'_>> = state.both.iter().map(with).collect();
    for task in &state.tasks {
        by_framework.entry(&task.framework_id.value).or_default().tasks.push(task);
    }
    for task in &state.unreachable_tasks {
        by_framework.entry(&task.framework_id.value).or_default().unreachable.push(task);
    }
    for task in &state.completed_tasks {
        by_framework.entry(&task.framework_id.value).or_default().completed.push(task);
    }
    for executor in &state.executors {
        if let Some(framework) = &executor.executor_info.framework_id {
            by_framework.entry(&framework.value).or_default().executors.push(executor);
        }
    }
    by_framework
}

/// The frameworks that are there and those that are over, both with all they have.
fn framework_arrays(state: &State, wanted: Option<&str>) -> (Value, Value) {
    let has = belongings(state);
    let nothing = Belongings::default();
    let all = |frameworks: &[Arc<v1::master::response::get_frameworks::Framework>]| {
        let id = |framework: &v1::master::response::get_frameworks::Framework| {
            framework.framework_info.id.as_ref().map_or_else(String::new, |id| id.value.clone())
        };
        let of = frameworks.iter().filter(|of| wanted.is_none_or(|wanted| id(of) == wanted));
        of.map(|of| render::framework(of, has.get(id(of).as_str()).unwrap_or(&nothing)))
            .collect::<Value>()
    };
    (all(&state.frameworks), all(&state.completed_frameworks))
}

fn summary_object(api: &Api, state: &State) -> Value {
    let all = || {
        let live = state.tasks.iter().chain(&state.unreachable_tasks);
        live.chain(&state.completed_tasks).map(|task| &**task)
    };
    let mut by_agent: HashMap<&str, Vec<&v1::Task>> = HashMap::new();
    let mut by_framework: HashMap<&str, Vec<&v1::Task>> = HashMap::new();
    for task in all() {
        by_agent.entry(&task.agent_id.value).or_default().push(task);
        by_framework.entry(&task.framework_id.value).or_default().push(task);
    }
    let agents = state.agents.iter().map(|agent| {
        let id = agent.agent_info.id.as_ref().map_or("", |id| &id.value);
        let tasks = by_agent.get(id).map_or(&[][..], Vec::as_slice);
        let mut object = render::agent(agent);
        render::put_counts(&mut object, tasks.iter().copied());
        let ids: BTreeSet<_> = tasks.iter().map(|task| &task.framework_id.value).collect();
        object.insert("framework_ids".to_owned(), json!(ids));
        Value::Object(object)
    });
    let frameworks = state.frameworks.iter().map(|framework| {
        let id = framework.framework_info.id.as_ref().map_or("", |id| &id.value);
        let tasks = by_framework.get(id).map_or(&[][..], Vec::as_slice);
        let mut object = render::framework_summary(framework);
        render::put_counts(&mut object, tasks.iter().copied());
        let ids: BTreeSet<_> = tasks.iter().map(|task| &task.agent_id.value).collect();
        object.insert("slave_ids".to_owned(), json!(ids));
        Value::Object(object)
    });
    let mut object = json!({
        "hostname": api.facts.hostname,
        "slaves": agents.collect::<Value>(),
        "frameworks": frameworks.collect::<Value>(),
    });
    if let Some(cluster) = &api.facts.cluster {
        object["cluster"] = json!(cluster);
    }
    object
}

fn tasks_object(state: &State, parameters: &HashMap<String, String>) -> Value {
    let number = |name: &str| parameters.get(name).and_then(|text| text.parse::<i64>().ok());
    let offset = usize::try_from(number("offset").unwrap_or_default()).unwrap_or_default();
    // A negative limit means none, for tools that want it all.
    let limit = number("limit").map_or(TASKS_LISTED, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut tasks: Vec<&v1::Task> = state
        .tasks
        .iter()
        .chain(&state.unreachable_tasks)
        .chain(&state.completed_tasks)
        .map(|task| &**task)
        .filter(|task| {
            parameters.get("framework_id").is_none_or(|id| task.framework_id.value == *id)
                && parameters.get("task_id").is_none_or(|id| task.task_id.value == *id)
        })
        .collect();
    let first = |task: &v1::Task| task.statuses.first().and_then(|s| s.timestamp).unwrap_or(0.0);
    tasks.sort_by(|a, b| first(a).total_cmp(&first(b)));
    if parameters.get("order").is_none_or(|order| order != "asc") {
        tasks.reverse();
    }
    let page = tasks.into_iter().skip(offset).take(limit);
    json!({"tasks": page.map(render::task).collect::<Value>()})
}
