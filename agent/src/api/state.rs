//! The agent's state as JSON, in the form that tools have known for long.

use std::collections::BTreeMap;

use model::acl::Action;
use model::resources::{Key, Resources, Value as Amount};
use model::task::{RunsBy, Status};
use proto::convert;
use proto::mesos::v1::{ExecutorInfo, Labels};
use serde_json::{Map, Value, json};

use super::Api;
use super::caller::Caller;
use crate::mirror::{ExecutorView, FrameworkView, TaskView};
use crate::sandbox::Run;
use crate::wire;

/// What this program is.
pub(super) fn version() -> Value {
    json!({
        "version": model::version::SPOKEN,
        "build_date": "",
        "build_time": 0.0,
        "build_user": "",
        "git_tag": concat!("agora-", env!("CARGO_PKG_VERSION")),
    })
}

/// All of the agent that the caller sees.
pub(super) fn agent(api: &Api, caller: &Caller) -> Value {
    let shared = &api.shared;
    let mirror = shared.mirror.read();
    let all = mirror.total.as_ref().unwrap_or(&shared.description.resources);
    let total = &all.filtered(|key, _| {
        let mut roles = key.kind.reservations.iter().map(|one| one.role.as_str());
        roles.all(|role| caller.sees_role(role))
    });
    let seen = |it: &&FrameworkView| caller.sees_framework(shared, it);
    let frameworks = mirror.frameworks.values().filter(seen);
    let completed = mirror.completed_frameworks.iter().filter(seen);
    let mut state = version();
    let fields = json!({
        "id": mirror.agent.as_ref().map_or("", |id| id.as_str()),
        "pid": format!("slave(1)@{}", shared.address),
        "hostname": &*shared.description.hostname,
        "start_time": shared.started_at.as_secs_f64(),
        "port": shared.address.port(),
        "capabilities": shared.description.capabilities.iter().map(|it| it.name()).collect::<Vec<_>>(),
        "resources": summary(total),
        "reserved_resources": reserved(total, summary),
        "unreserved_resources": summary(&unreserved(total)),
        "reserved_resources_full": reserved(total, full),
        "unreserved_resources_full": full(&unreserved(total)),
        "attributes": attributes(api),
        "frameworks": frameworks.map(|it| framework(api, caller, it)).collect::<Vec<_>>(),
        "completed_frameworks":
            completed.map(|it| framework(api, caller, it)).collect::<Vec<_>>(),
    });
    merge(&mut state, fields);
    if caller.may(Action::ViewFlags, None) {
        state["flags"] = json!(shared.options.flags);
    }
    state
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn attributes(api: &Api) -> Value {
    let attributes = &api.shared.options.attributes.0;
    attributes
        .iter()
        .map(|(name, value)| {
            let value = match value {
                model::resources::AttributeValue::Scalar(number) => json!(number.as_f64()),
                model::resources::AttributeValue::Ranges(ranges) => json!(ranges.to_string()),
                model::resources::AttributeValue::Text(text) => json!(&**text),
            };
            (name.to_string(), value)
        })
        .collect::<Map<_, _>>()
        .into()
}

/// Sums by name: the usual scalars always, ranges and sets as text.
pub(super) fn summary(resources: &Resources) -> Value {
    let mut all = json!({"cpus": 0.0, "gpus": 0.0, "mem": 0.0, "disk": 0.0});
    let mut plain: BTreeMap<String, Amount> = BTreeMap::new();
    let mut sums = Resources::none();
    for (key, value) in resources.iter() {
        // Only the name counts here, and whether it may be taken back.
        let revocable = if key.kind.is_revocable { "_revocable" } else { "" };
        let name = format!("{}{revocable}", key.name);
        sums.insert(Key { name: name.into(), kind: std::sync::Arc::default() }, value.clone());
    }
    for (key, value) in sums.iter() {
        plain.insert(key.name.to_string(), value.clone());
    }
    for (name, value) in plain {
        all[name] = match value {
            Amount::Scalar(number) => json!(number.as_f64()),
            other @ (Amount::Ranges(_) | Amount::Set(_)) => json!(other.to_string()),
        };
    }
    all
}

fn full(resources: &Resources) -> Value {
    let all = convert::resources::to_wire(resources, convert::resources::Form::Both, None);
    all.iter().map(message).collect()
}

/// A wire message as JSON.
fn message<M: proto::schema::Described>(message: &M) -> Value {
    serde_json::from_slice(&proto::json::to_vec(message)).unwrap_or_default()
}

fn unreserved(resources: &Resources) -> Resources {
    resources.filtered(|key, _| key.kind.reservations.is_empty())
}

fn reserved(resources: &Resources, show: fn(&Resources) -> Value) -> Value {
    let mut by_role: BTreeMap<String, Resources> = BTreeMap::new();
    for (key, value) in resources.iter() {
        if let Some(role) = key.kind.reserved_for() {
            by_role.entry(role.to_string()).or_default().insert(key.clone(), value.clone());
        }
    }
    by_role.into_iter().map(|(role, all)| (role, show(&all))).collect::<Map<_, _>>().into()
}

fn framework(api: &Api, caller: &Caller, view: &FrameworkView) -> Value {
    let framework = &view.framework;
    let seen = |it: &&ExecutorView| caller.sees_executor(&api.shared, view, it);
    let executors = view.executors.values().filter(seen);
    let completed = view.completed_executors.iter().filter(seen);
    let info = wire::framework_info(framework);
    let mut all = json!({
        "id": view.id.as_str(),
        "name": &*framework.name,
        "user": &*framework.user,
        "failover_timeout": framework.failover_timeout.as_secs_f64(),
        "checkpoint": framework.checkpoint,
        "hostname": info.hostname(),
        "executors": executors.map(|it| executor(api, caller, view, it)).collect::<Vec<_>>(),
        "completed_executors":
            completed.map(|it| executor(api, caller, view, it)).collect::<Vec<_>>(),
    });
    let roles: Vec<String> = framework.roles.iter().map(ToString::to_string).collect();
    if framework.capabilities.multi_role {
        all["roles"] = json!(roles);
    } else {
        all["role"] = json!(roles.first().map_or("*", String::as_str));
    }
    if let Some(principal) = &framework.principal {
        all["principal"] = json!(&**principal);
    }
    all
}

/// Free text of old clients, which tools show.
pub(super) fn source(info: &ExecutorInfo) -> String {
    info.source.clone().unwrap_or_default()
}

/// Where an executor's sandbox lies.
pub(super) fn directory(api: &Api, framework: &FrameworkView, it: &ExecutorView) -> String {
    let mirror_agent = it.tasks.values().chain(&it.completed_tasks).next();
    let agent = mirror_agent.map(|task| task.spec.agent.clone());
    let Some(agent) = agent else { return String::new() };
    let run = Run {
        agent,
        framework: framework.id.clone(),
        executor: it.spec.id.clone(),
        container: it.container.clone(),
    };
    run.sandbox(&api.shared.options.work_dir).display().to_string()
}

fn executor(api: &Api, caller: &Caller, framework: &FrameworkView, it: &ExecutorView) -> Value {
    let mut used = it.spec.resources.clone();
    for task in it.tasks.values() {
        used.add(&task.spec.resources);
    }
    let seen = |task: &&TaskView| caller.sees_task(&api.shared, framework, it, task);
    let (launched, queued): (Vec<_>, Vec<_>) =
        it.tasks.values().filter(seen).partition(|task| task.is_delivered);
    let show = |tasks: Vec<&TaskView>| -> Vec<Value> {
        tasks.into_iter().map(|task| self::task(framework, it, task)).collect()
    };
    let mut all = json!({
        "id": it.spec.id.as_str(),
        "name": it.info.name(),
        "source": source(&it.info),
        "container": it.container.as_str(),
        "directory": directory(api, framework, it),
        "resources": summary(&used),
        "tasks": show(launched),
        "queued_tasks": show(queued),
        "completed_tasks": show(it.completed_tasks.iter().filter(seen).collect()),
    });
    if !it.is_command {
        all["type"] = json!(if it.spec.is_default { "DEFAULT" } else { "CUSTOM" });
    }
    if let Some(labels) = &it.info.labels {
        all["labels"] = self::labels(labels);
    }
    all
}

fn labels(labels: &Labels) -> Value {
    labels.labels.iter().map(message).collect()
}

fn task(framework: &FrameworkView, executor: &ExecutorView, it: &TaskView) -> Value {
    let info = wire::task_info(&it.spec);
    let role = info.resources.iter().find_map(|it| it.allocation_info.as_ref());
    let first = framework.framework.roles.first().map(ToString::to_string);
    let mut all = json!({
        "id": it.spec.id.as_str(),
        "name": &*it.spec.name,
        "framework_id": framework.id.as_str(),
        // Of command tasks it is left out, as it always was.
        "executor_id": if it.spec.runs_by == RunsBy::Command { "" } else { executor.spec.id.as_str() },
        "slave_id": it.spec.agent.as_str(),
        "state": it.state.name(),
        "resources": summary(&it.spec.resources),
        "role": role.and_then(|it| it.role.clone()).or(first).unwrap_or_else(|| "*".to_owned()),
        "statuses": it.statuses.iter().map(status).collect::<Vec<_>>(),
    });
    if let Some(given) = &info.labels {
        all["labels"] = labels(given);
    }
    if let Some(discovery) = info.discovery.as_deref() {
        all["discovery"] = message(discovery);
    }
    if let Some(container) = info.container.as_deref() {
        all["container"] = message(container);
    }
    if let Some(check) = info.health_check.as_deref() {
        all["health_check"] = message(check);
    }
    if let Some(user) = info.command.as_ref().and_then(|command| command.user.clone()) {
        all["user"] = json!(user);
    }
    all
}

fn status(status: &Status) -> Value {
    let wire = wire::task_status(status);
    let mut all = json!({"state": status.state.name(), "timestamp": status.at.as_secs_f64()});
    if let Some(container) = &wire.container_status {
        all["container_status"] = message(container);
    }
    if let Some(given) = &wire.labels {
        all["labels"] = labels(given);
    }
    if let Some(healthy) = status.healthy {
        all["healthy"] = json!(healthy);
    }
    all
}
