//! How pods and their instances are, as `::status` shows them.

use super::pod::needs;
use super::{Object, local_volumes, pod};
use crate::app::App;
use crate::app::pod::{Pod, PodContainer};
use crate::clock;
use crate::instance::{Condition, Container, Instance, Task, Termination};
use model::step::Timestamp;
use model::task::TaskState;
use serde_json::{Value, json};
use std::sync::Arc;

/// A pod with all its instances, and those of its instances that ended last.
pub fn status<'a>(
    app: &App,
    pod: &Pod,
    instances: impl Iterator<Item = &'a Arc<Instance>>,
    ended: &[Arc<Termination>],
    role: &str,
) -> Value {
    let all: Vec<&Instance> = instances.map(|it| &**it).collect();
    let stable = all.iter().filter(|it| state(it) == "STABLE").count();
    let wanted = app.instances as usize;
    let is_going = wanted == 0 && !all.is_empty();
    let state = match () {
        () if is_going => "TERMINAL",
        () if stable >= wanted => "STABLE",
        () => "DEGRADED",
    };
    let changed = all.iter().map(|it| it.changed_at).max().unwrap_or(app.version);
    let changed = clock::format(changed.max(app.version));
    let mut out = Object::new();
    out.set("id", app.id.as_str());
    out.set("spec", pod::pod(app, pod));
    out.set("status", state);
    out.set("statusSince", changed.clone());
    if state == "DEGRADED" {
        out.set("message", format!("{stable} of {wanted} instances are stable"));
    }
    out.set("instances", all.iter().map(|it| instance(it, role)).collect::<Value>());
    out.set("terminationHistory", ended.iter().map(|it| termination(it)).collect::<Value>());
    out.set("lastUpdated", changed.clone());
    out.set("lastChanged", changed);
    out.into()
}

/// How one instance is called in the API.
fn state(instance: &Instance) -> &'static str {
    match instance.condition {
        Condition::Scheduled | Condition::Provisioned => "PENDING",
        Condition::Staging | Condition::Starting => "STAGING",
        Condition::Running if instance.is_healthy() => "STABLE",
        Condition::Running | Condition::Unreachable | Condition::UnreachableInactive => "DEGRADED",
        Condition::Killing => "TERMINAL",
    }
}

fn instance(instance: &Instance, role: &str) -> Value {
    let app = &instance.app;
    let changed = clock::format(instance.changed_at);
    let mut out = Object::new();
    out.set("id", instance.id.as_str());
    out.set("status", state(instance));
    out.set("statusSince", changed.clone());
    out.set_full("conditions", Value::Array(Vec::new()));
    if let Some(task) = &instance.task {
        let place = &task.place;
        out.set("agentHostname", &*place.host);
        out.set("agentId", place.agent.as_str());
        out.set_some("agentRegion", place.region.as_deref());
        out.set_some("agentZone", place.zone.as_deref());
        out.set_full("networks", networks(app, task));
    }
    if let Some(pod) = &app.pod {
        out.set("resources", needs(pod.needs(), true));
        if let Some(task) = &instance.task {
            out.set("containers", containers(pod, task));
        }
    }
    let version = clock::format(app.version);
    out.set("specReference", format!("/v2/pods{}::versions/{version}", app.id));
    let volumes = instance.task.as_ref().map(|task| local_volumes(task, app));
    out.set("localVolumes", volumes.unwrap_or_else(|| Value::Array(Vec::new())));
    out.set("role", app.role.as_deref().unwrap_or(role));
    out.set("lastUpdated", changed.clone());
    out.set("lastChanged", changed);
    out.into()
}

fn networks(app: &App, task: &Task) -> Value {
    if task.addresses.is_empty() {
        return Value::Array(Vec::new());
    }
    let mut out = Object::new();
    out.set_some("name", app.networks.iter().find_map(|network| network.name.clone()));
    out.set("addresses", task.addresses.iter().map(|it| Value::from(&**it)).collect::<Value>());
    Value::Array(vec![out.into()])
}

fn containers(pod: &Pod, task: &Task) -> Value {
    let all = task.containers.iter();
    all.filter_map(|it| Some(container(pod, pod.container(&it.name)?, it, task))).collect()
}

fn container(pod: &Pod, described: &PodContainer, container: &Container, task: &Task) -> Value {
    let changed = clock::format(container.changed_at);
    let mut out = Object::new();
    out.set("name", &*container.name);
    out.set("status", container.state.name());
    out.set("statusSince", changed.clone());
    out.set_some("message", container.message.as_deref());
    if let (Some(is_healthy), true) = (container.is_healthy, described.health_check.is_some()) {
        let condition = json!({
            "name": "healthy",
            "value": is_healthy.to_string(),
            "reason": "health-reported-by-mesos",
            "lastChanged": changed.clone(),
            "lastUpdated": changed.clone(),
        });
        out.set("conditions", Value::Array(vec![condition]));
    }
    out.set("containerId", container.task.as_str());
    out.set_full("endpoints", endpoints(pod, described, container, task));
    out.set("resources", needs(described.needs, true));
    if container.state.is_terminal() {
        out.set("termination", end(container.state, container.message.as_deref()));
    }
    out.set("lastUpdated", changed.clone());
    out.set("lastChanged", changed);
    out.into()
}

fn endpoints(pod: &Pod, described: &PodContainer, container: &Container, task: &Task) -> Value {
    let checked = described.health_check.as_ref().and_then(|check| check.probe.endpoint());
    pod.given_ports(&task.ports)
        .filter(|(owner, ..)| owner.name == described.name)
        .map(|(_, endpoint, port)| {
            let mut out = Object::new();
            out.set("name", endpoint.name.clone());
            out.set_some("allocatedHostPort", port);
            if checked == Some(&*endpoint.name) {
                out.set_some("healthy", container.is_healthy);
            }
            Value::from(out)
        })
        .collect()
}

fn termination(ended: &Termination) -> Value {
    let containers = ended.containers.iter().map(|container| {
        json!({
            "containerId": container.task.as_str(),
            "lastKnownState": container.state.name(),
            "termination": end(container.state, container.message.as_deref()),
        })
    });
    let mut out = json!({
        "instanceID": ended.instance.as_str(),
        "startedAt": clock::format(ended.started_at),
        "terminatedAt": clock::format(ended.ended_at),
        "containers": containers.collect::<Vec<_>>(),
    });
    if let Some(message) = ended.containers.iter().find_map(|it| it.message.as_deref()) {
        out["message"] = message.into();
    }
    out
}

/// How a container ended. The exit code is only told in the words of the executor.
fn end(state: TaskState, message: Option<&str>) -> Value {
    let mut out = Object::new();
    let words = message.and_then(|text| text.split("exited with status ").nth(1));
    let code = words.and_then(|rest| {
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|code| code.parse::<i32>().ok())
    });
    out.set_some("exitCode", code.or((state == TaskState::Finished).then_some(0)));
    out.set_some("message", message);
    out.into()
}

/// An instance, as killing it answers.
pub fn killed(instance: &Instance) -> Value {
    let mut state = Object::new();
    state.set("condition", instance.condition.name());
    state.set("since", clock::format(instance.changed_at));
    let started: Option<Timestamp> = instance.task.as_ref().and_then(|task| task.started_at);
    state.set_some("activeSince", started.map(clock::format));
    let verdict = instance.task.as_ref().and_then(|task| task.health.is_healthy);
    state.set_some("healthy", verdict);
    state.set("goal", instance.goal.name());
    let mut out = Object::new();
    out.set("instanceId", instance.id.as_str());
    out.set("state", Value::from(state));
    if let Some(task) = &instance.task {
        let place = &task.place;
        let mut agent = Object::new();
        agent.set("host", &*place.host);
        agent.set("agentId", place.agent.as_str());
        agent.set_some("region", place.region.as_deref());
        agent.set_some("zone", place.zone.as_deref());
        let attributes = place.attributes.iter();
        let attributes: Vec<_> = attributes
            .map(|(name, value)| json!({"name": **name, "text": {"value": **value}}))
            .collect();
        agent.set("attributes", attributes);
        out.set("agentInfo", Value::from(agent));
    }
    out.set("runSpecVersion", clock::format(instance.app.version));
    out.set("unreachableStrategy", super::unreachable_strategy(instance.app.unreachable_strategy));
    out.into()
}
