//! The JSON of apps, tasks, deployments and queue entries, in the shape that clients of 1.8 and
//! 1.9 parse: absent fields are left out, and nothing is added that they do not know.

mod pod;
mod pod_status;

pub use pod_status::{killed, status};

use crate::app::{
    App, Artifact, Constraint, Container, Engine, HealthCheck, KillSelection, Millionths, Network,
    NetworkMode, PortDefinition, PortMapping, UnreachableStrategy,
};
use crate::clock;
use crate::health::Probed;
use crate::ids::{AppId, DeploymentId};
use crate::instance::{Instance, Task};
use crate::io::{Response, TaskFailure};
use crate::planner::{Action, Deployment, Plan, Step};
use crate::reservation::LocalVolume;
use model::amount::Milli;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Builds an object without its absent and empty members.
struct Object(Map<String, Value>);

impl Object {
    fn new() -> Self {
        Self(Map::new())
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn set_some<V: Into<Value>>(&mut self, name: &str, value: Option<V>) -> &mut Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    /// Leaves an empty list or map out.
    fn set_full(&mut self, name: &str, value: Value) -> &mut Self {
        let is_empty = match &value {
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if !is_empty {
            self.set(name, value);
        }
        self
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object.0)
    }
}

/// An amount as a JSON number: whole ones without a fraction.
pub fn amount(amount: Milli) -> Value {
    if amount.0 % 1_000 == 0 { (amount.0 / 1_000).into() } else { amount.as_f64().into() }
}

fn part(part: Millionths) -> Value {
    if part.0.is_multiple_of(1_000_000) {
        return (part.0 / 1_000_000).into();
    }
    // Through text, so that 1.15 is shown as it was given.
    let text = format!("{}.{:06}", part.0 / 1_000_000, part.0 % 1_000_000);
    text.parse::<serde_json::Number>()
        .map_or(Value::Null, |number| number.as_f64().map_or(Value::Number(number), Value::from))
}

/// An app, or a pod, without anything embedded.
pub fn app(app: &App) -> Value {
    if let Some(pod) = &app.pod {
        return pod::pod(app, pod);
    }
    let mut out = Object::new();
    out.set("id", app.id.as_str());
    out.set_full("acceptedResourceRoles", app.accepted_resource_roles.clone().into());
    out.set_full("args", app.args.clone().into());
    out.set("backoffFactor", part(app.backoff_factor));
    out.set("backoffSeconds", app.backoff.as_secs());
    out.set_some("cmd", app.cmd.clone());
    out.set_full("constraints", list(&app.constraints, constraint));
    out.set_some("container", app.container.as_ref().map(|it| container(it, app)));
    out.set("cpus", amount(app.cpus));
    out.set_full("dependencies", list(&app.dependencies, |id| id.as_str().into()));
    out.set("disk", amount(app.disk));
    out.set_full("env", json!(app.env));
    out.set("executor", app.executor.clone());
    out.set_some("executorResources", app.executor_needs.map(|it| pod::needs(it, false)));
    out.set_full("fetch", list(&app.fetch, artifact));
    out.set_full("healthChecks", list(&app.health_checks, health_check));
    out.set("instances", app.instances);
    out.set("labels", json!(app.labels));
    out.set("maxLaunchDelaySeconds", app.max_launch_delay.as_secs());
    out.set("mem", amount(app.mem));
    out.set("gpus", app.gpus);
    out.set("networks", list(&app.networks, network));
    if app.is_host_networked() {
        out.set("portDefinitions", list(&app.port_definitions, port_definition));
    }
    out.set_full("readinessChecks", app.readiness_checks.clone().into());
    out.set("requirePorts", app.require_ports);
    out.set_some("taskKillGracePeriodSeconds", app.kill_grace.map(|grace| grace.as_secs()));
    out.set(
        "upgradeStrategy",
        json!({
            "maximumOverCapacity": part(app.upgrade_strategy.maximum_over_capacity),
            "minimumHealthCapacity": part(app.upgrade_strategy.minimum_health_capacity),
        }),
    );
    out.set_some("user", app.user.clone());
    out.set("version", clock::format(app.version));
    out.set("versionInfo", version_info(app));
    out.set("killSelection", kill_selection(app.kill_selection));
    out.set("unreachableStrategy", unreachable_strategy(app.unreachable_strategy));
    out.set_some("role", app.role.clone());
    for (name, value) in &app.extra {
        out.set(name, value.clone());
    }
    out.into()
}

/// Like [`app`], with what is only ours to know.
pub(crate) fn stored(app: &App) -> Value {
    let mut out = self::app(app);
    out["versionInfo"] = version_info(app);
    out
}

fn version_info(app: &App) -> Value {
    json!({
        "lastScalingAt": clock::format(app.version_info.last_scaling_at),
        "lastConfigChangeAt": clock::format(app.version_info.last_config_change_at),
    })
}

fn list<T>(items: &[T], render: impl Fn(&T) -> Value) -> Value {
    items.iter().map(render).collect()
}

fn labels(labels: &BTreeMap<String, String>) -> Value {
    json!(labels)
}

fn constraint(constraint: &Constraint) -> Value {
    let mut parts = vec![constraint.field.clone(), constraint.operator.name().to_owned()];
    parts.extend(constraint.value.clone());
    parts.into()
}

fn artifact(artifact: &Artifact) -> Value {
    let mut out = Object::new();
    out.set("uri", artifact.uri.clone());
    out.set("extract", artifact.extract);
    out.set("executable", artifact.executable);
    out.set("cache", artifact.cache);
    out.set_some("destPath", artifact.dest_path.clone());
    out.into()
}

fn container(container: &Container, app: &App) -> Value {
    let mut out = Object::new();
    let engine = match container.engine {
        Engine::Mesos => "MESOS",
        Engine::Docker => "DOCKER",
    };
    out.set("type", engine);
    out.set_some(
        "docker",
        container.docker.as_ref().map(|docker| {
            let mut out = Object::new();
            out.set("forcePullImage", docker.force_pull);
            out.set("image", docker.image.clone());
            let parameter = |(key, value): &(String, String)| json!({"key": key, "value": value});
            out.set("parameters", list(&docker.parameters, parameter));
            out.set("privileged", docker.privileged);
            out.set_some("pullConfig", docker.pull_config.clone());
            Value::from(out)
        }),
    );
    out.set_some("linuxInfo", container.linux_info.clone());
    out.set("volumes", container.volumes.clone());
    if !app.is_host_networked() {
        out.set("portMappings", list(&container.port_mappings, port_mapping));
    }
    out.into()
}

fn network(network: &Network) -> Value {
    let mut out = Object::new();
    out.set("mode", network.mode.name());
    if network.mode == NetworkMode::Container {
        out.set_some("name", network.name.clone());
    }
    out.set_full("labels", labels(&network.labels));
    out.into()
}

fn port_definition(port: &PortDefinition) -> Value {
    let mut out = Object::new();
    out.set_full("labels", labels(&port.labels));
    out.set_some("name", port.name.clone());
    out.set("port", port.port);
    out.set("protocol", port.protocol.clone());
    out.into()
}

fn port_mapping(port: &PortMapping) -> Value {
    let mut out = Object::new();
    out.set("containerPort", port.container_port);
    out.set_some("hostPort", port.host_port);
    out.set_full("labels", labels(&port.labels));
    out.set_some("name", port.name.clone());
    out.set("protocol", port.protocol.clone());
    out.set("servicePort", port.service_port);
    out.set_full("networkNames", port.network_names.clone().into());
    out.into()
}

/// A health check of an app.
pub fn health_check(check: &HealthCheck) -> Value {
    let mut out = Object::new();
    out.set_some("command", check.command.as_ref().map(|command| json!({"value": command})));
    out.set("gracePeriodSeconds", check.grace_period.as_secs());
    out.set_some("ignoreHttp1xx", check.ignore_http_1xx);
    out.set("intervalSeconds", check.interval.as_secs());
    out.set("maxConsecutiveFailures", check.max_consecutive_failures);
    out.set_some("path", check.path.clone());
    out.set_some("port", check.port);
    out.set_some("portIndex", check.port_index);
    out.set("protocol", check.protocol.name());
    out.set("ipProtocol", check.ip_protocol.clone());
    out.set("timeoutSeconds", check.timeout.as_secs());
    out.set("delaySeconds", check.delay.as_secs());
    out.into()
}

fn kill_selection(selection: KillSelection) -> Value {
    match selection {
        KillSelection::YoungestFirst => "YOUNGEST_FIRST".into(),
        KillSelection::OldestFirst => "OLDEST_FIRST".into(),
    }
}

fn unreachable_strategy(strategy: UnreachableStrategy) -> Value {
    match strategy {
        UnreachableStrategy::Disabled => "disabled".into(),
        UnreachableStrategy::After { inactive_after, expunge_after } => json!({
            "inactiveAfterSeconds": inactive_after.as_secs(),
            "expungeAfterSeconds": expunge_after.as_secs(),
        }),
    }
}

/// Addresses of a task's container.
pub fn addresses(addresses: &[Arc<str>]) -> Value {
    let one = |address: &Arc<str>| {
        let protocol = if address.contains(':') { "IPv6" } else { "IPv4" };
        json!({"ipAddress": **address, "protocol": protocol})
    };
    list(addresses, one)
}

/// A task, as `/v2/tasks` shows it; absent for an instance that has none, and for pods. `role` is
/// Marathon's own, for apps that name none.
pub fn task(instance: &Instance, role: &str, with_service_ports: bool) -> Option<Value> {
    let task = instance.task.as_ref().filter(|_| !instance.app.is_pod())?;
    let app = &instance.app;
    let mut out = Object::new();
    out.set("appId", app.id.as_str());
    out.set("id", task.id.as_str());
    out.set("host", &*task.place.host);
    out.set("slaveId", task.place.agent.as_str());
    out.set("state", instance.condition.task_state().name());
    out.set("stagedAt", clock::format(task.staged_at));
    out.set_some("startedAt", task.started_at.map(clock::format));
    out.set("version", clock::format(app.version));
    out.set("ports", task.ports.clone());
    if with_service_ports {
        out.set("servicePorts", app.service_ports());
    }
    out.set("ipAddresses", addresses(&task.addresses));
    out.set_full("healthCheckResults", health(instance));
    out.set_some("checkResult", task.check.clone());
    out.set("localVolumes", local_volumes(task, app));
    out.set_some("region", task.place.region.as_deref());
    out.set_some("zone", task.place.zone.as_deref());
    out.set("role", app.role.as_deref().unwrap_or(role));
    Some(out.into())
}

/// Its volumes that outlive it.
fn local_volumes(task: &Task, app: &App) -> Value {
    let volume = |volume: &LocalVolume| {
        let mut out = Object::new();
        out.set("runSpecId", app.id.as_str());
        out.set("containerPath", &*volume.container_path);
        out.set("uuid", &*volume.uuid);
        out.set("persistenceId", volume.persistence_id(&app.id).as_str());
        Value::from(out)
    };
    Value::Array(task.volumes.iter().map(volume).collect())
}

/// The results of its health checks, of those that there are some of.
fn health(instance: &Instance) -> Value {
    let one = |check: &Probed| {
        let mut out = Object::new();
        out.set("alive", check.is_alive?);
        out.set("consecutiveFailures", check.consecutive_failures);
        out.set_some("firstSuccess", check.first_success.map(clock::format));
        out.set_some("lastSuccess", check.last_success.map(clock::format));
        out.set_some("lastFailure", check.last_failure.map(clock::format));
        out.set_some("lastFailureCause", check.last_failure_cause.as_deref());
        out.set("instanceId", instance.id.as_str());
        Some(Value::from(out))
    };
    let checks = instance.task.iter().flat_map(|task| &task.health.checks);
    checks.filter_map(one).collect()
}

/// What is known of the readiness of `instances`, for those who were asked.
pub fn readiness<'a>(instances: impl Iterator<Item = &'a Instance>) -> Value {
    let results = instances.filter_map(|instance| {
        let task = instance.task.as_ref()?;
        let check = instance.app.readiness_checks.first()?;
        let mut out = Object::new();
        out.set_some("name", check.get("name").cloned());
        out.set("taskId", task.id.as_str());
        out.set("ready", task.is_ready?);
        out.set_some("lastResponse", task.last_response.as_deref().map(response));
        Some(Value::from(out))
    });
    results.collect()
}

/// What a task said when it was last asked whether it is ready.
fn response(response: &Response) -> Value {
    json!({
        "body": response.body,
        "contentType": response.content_type,
        "status": response.status,
    })
}

/// The last failure of an app.
pub fn failure(failure: &TaskFailure) -> Value {
    json!({
        "appId": failure.app.as_str(),
        "host": *failure.host,
        "message": *failure.message,
        "state": failure.state,
        "taskId": failure.task.as_str(),
        "timestamp": clock::format(failure.at),
        "version": clock::format(failure.version),
        "slaveId": failure.agent.as_str(),
    })
}

/// One step of a plan.
pub fn step(plan: &Plan, step: &Step) -> Value {
    let actions: Vec<_> = step.actions().iter().map(|it| action(plan, it)).collect();
    json!({"actions": actions})
}

fn action(plan: &Plan, action: &Action) -> Value {
    let kind = if plan.pods.contains(action.app()) { "pod" } else { "app" };
    json!({"action": plan.name_of(action), kind: action.app().as_str()})
}

/// All steps of a plan.
pub fn steps(plan: &Plan) -> Value {
    plan.steps.iter().map(|it| step(plan, it)).collect()
}

/// A running deployment, as `/v2/deployments` lists it.
pub fn deployment(deployment: &Deployment) -> Value {
    let current = deployment.plan.steps.get(deployment.step);
    let current: Vec<_> = current
        .iter()
        .flat_map(|step| step.actions())
        .map(|it| {
            let mut out = action(&deployment.plan, it);
            out["readinessCheckResults"] = json!([]);
            out
        })
        .collect();
    let is_pod = |id: &&AppId| deployment.plan.pods.contains(*id);
    let pods: Vec<_> = deployment.affected().filter(is_pod).map(AppId::as_str).collect();
    let apps: Vec<_> = deployment.affected().filter(|id| !is_pod(id)).map(AppId::as_str).collect();
    json!({
        "id": deployment.id.as_str(),
        "version": clock::format(deployment.version),
        "affectedApps": apps,
        "affectedPods": pods,
        "steps": steps(&deployment.plan),
        "currentActions": current,
        "currentStep": deployment.step + 1,
        "totalSteps": deployment.plan.steps.len(),
    })
}

/// `deployments` of an app.
pub fn deployment_ids<'a>(ids: impl Iterator<Item = &'a DeploymentId>) -> Value {
    ids.map(|id| json!({"id": id.as_str()})).collect()
}

/// What a change that started a deployment answers.
pub fn result(id: &DeploymentId, version: model::step::Timestamp) -> Value {
    json!({"deploymentId": id.as_str(), "version": clock::format(version)})
}
