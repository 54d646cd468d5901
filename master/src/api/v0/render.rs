//! The objects of the read endpoints, made from the messages of the operator API.
//!
//! The shapes are those of old Mesos, "slave" and all: tools parse them.

use std::collections::BTreeMap;

use proto::mesos::v1;
use proto::mesos::v1::master::response::get_agents::Agent;
use proto::mesos::v1::master::response::get_executors::Executor;
use proto::mesos::v1::master::response::get_frameworks::Framework;
use proto::schema::Described;
use serde_json::{Map, Value, json};

use super::resources::{reserved, reserved_summary, summary, unreserved};

/// States that are counted in `/state-summary`, in the order Mesos has.
pub(crate) const COUNTED: [v1::TaskState; 10] = [
    v1::TaskState::TaskStaging,
    v1::TaskState::TaskStarting,
    v1::TaskState::TaskRunning,
    v1::TaskState::TaskKilling,
    v1::TaskState::TaskFinished,
    v1::TaskState::TaskKilled,
    v1::TaskState::TaskFailed,
    v1::TaskState::TaskLost,
    v1::TaskState::TaskError,
    v1::TaskState::TaskUnreachable,
];

/// `object[key] = value` for what is there.
fn put(object: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), value.into());
    }
}

/// A message in the protobuf mapping.
pub(crate) fn mapped<M: Described>(message: &M) -> Value {
    proto::json::to_value(message)
}

fn mapped_all<'a, M: Described + 'a>(all: impl IntoIterator<Item = &'a M>) -> Value {
    all.into_iter().map(mapped).collect()
}

#[expect(clippy::cast_precision_loss, reason = "times of this century keep their microseconds")]
fn seconds(time: v1::TimeInfo) -> f64 {
    (time.nanoseconds / 1_000) as f64 / 1e6
}

fn state_name(state: i32) -> &'static str {
    v1::TaskState::try_from(state).map_or("TASK_UNKNOWN", |state| state.as_str_name())
}

fn labels(labels: &v1::Labels) -> Value {
    mapped_all(&labels.labels)
}

fn attributes(all: &[v1::Attribute]) -> Value {
    let value = |attribute: &v1::Attribute| {
        if let Some(scalar) = &attribute.scalar {
            json!(scalar.value)
        } else if let Some(text) = &attribute.text {
            json!(text.value)
        } else if let Some(ranges) = &attribute.ranges {
            let ranges = ranges.range.iter().map(|range| (range.begin, range.end));
            json!(ranges.collect::<model::amount::Ranges>().to_string())
        } else if let Some(set) = &attribute.set {
            json!(format!("{{{}}}", set.item.join(", ")))
        } else {
            Value::Null
        }
    };
    all.iter().map(|attribute| (attribute.name.clone(), value(attribute))).collect()
}

/// An agent that is known only by its description.
pub(crate) fn agent_info(info: &v1::AgentInfo) -> Map<String, Value> {
    let mut object = Map::new();
    put(&mut object, "id", info.id.as_ref().map(|id| id.value.clone()));
    object.insert("hostname".to_owned(), json!(info.hostname));
    object.insert("port".to_owned(), json!(info.port.unwrap_or(5051)));
    object.insert("attributes".to_owned(), attributes(&info.attributes));
    put(&mut object, "domain", info.domain.as_ref().map(mapped));
    object
}

/// An agent as `/state` lists it.
pub(crate) fn agent(agent: &Agent) -> Map<String, Value> {
    let mut object = agent_info(&agent.agent_info);
    put(&mut object, "pid", agent.pid.clone());
    put(&mut object, "registered_time", agent.registered_time.map(seconds));
    put(&mut object, "reregistered_time", agent.reregistered_time.map(seconds));
    let total = &agent.total_resources;
    object.insert("resources".to_owned(), summary(total));
    object.insert("used_resources".to_owned(), summary(&agent.allocated_resources));
    object.insert("offered_resources".to_owned(), summary(&agent.offered_resources));
    object.insert("reserved_resources".to_owned(), reserved_summary(total));
    object.insert("unreserved_resources".to_owned(), summary(unreserved(total)));
    object.insert("active".to_owned(), json!(agent.active));
    object.insert("deactivated".to_owned(), json!(agent.deactivated.unwrap_or(false)));
    object.insert("version".to_owned(), json!(agent.version));
    let capabilities = agent.capabilities.iter().map(|capability| {
        v1::agent_info::capability::Type::try_from(capability.r#type.unwrap_or_default())
            .map_or("UNKNOWN", |kind| kind.as_str_name())
    });
    object.insert("capabilities".to_owned(), capabilities.collect());
    put(&mut object, "drain_info", agent.drain_info.as_ref().map(mapped));
    put(
        &mut object,
        "estimated_drain_start_time_seconds",
        agent.estimated_drain_start_time.map(seconds),
    );
    object
}

/// An agent as `/slaves` lists it: with its resources in full.
pub(crate) fn agent_in_full(of: &Agent) -> Value {
    let mut object = agent(of);
    let by_role = reserved(&of.total_resources).into_iter();
    let by_role: Map<String, Value> =
        by_role.map(|(role, all)| (role.to_owned(), mapped_all(all))).collect();
    object.insert("reserved_resources_full".to_owned(), Value::Object(by_role));
    object.insert(
        "unreserved_resources_full".to_owned(),
        mapped_all(unreserved(&of.total_resources)),
    );
    object.insert("used_resources_full".to_owned(), mapped_all(&of.allocated_resources));
    object.insert("offered_resources_full".to_owned(), mapped_all(&of.offered_resources));
    Value::Object(object)
}

/// A task.
pub(crate) fn task(task: &v1::Task) -> Value {
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(task.task_id.value));
    object.insert("name".to_owned(), json!(task.name));
    object.insert("framework_id".to_owned(), json!(task.framework_id.value));
    // Command tasks have no executor of the framework's.
    let executor = task.executor_id.as_ref().map_or("", |id| id.value.as_str());
    object.insert("executor_id".to_owned(), json!(executor));
    object.insert("slave_id".to_owned(), json!(task.agent_id.value));
    object.insert("state".to_owned(), json!(state_name(task.state)));
    object.insert("resources".to_owned(), summary(&task.resources));
    if !task.limits.is_empty() {
        let limits = task.limits.iter();
        let limits: Map<_, _> =
            limits.map(|(name, limit)| (name.clone(), limited(limit.value))).collect();
        object.insert("limits".to_owned(), Value::Object(limits));
    }
    let role = task.resources.iter().find_map(|resource| {
        let allocated = resource.allocation_info.as_ref()?;
        allocated.role.clone()
    });
    object.insert("role".to_owned(), json!(role.as_deref().unwrap_or("*")));
    object.insert("statuses".to_owned(), task.statuses.iter().map(status).collect());
    put(&mut object, "user", task.user.clone());
    put(&mut object, "labels", task.labels.as_ref().map(labels));
    put(&mut object, "discovery", task.discovery.as_deref().map(mapped));
    put(&mut object, "container", task.container.as_deref().map(mapped));
    put(&mut object, "health_check", task.health_check.as_deref().map(mapped));
    Value::Object(object)
}

/// The value of a limit. JSON has no number for none; texts are what clients read for it.
fn limited(value: f64) -> Value {
    if value.is_infinite() { json!("Infinity") } else { json!(value) }
}

fn status(status: &v1::TaskStatus) -> Value {
    let mut object = Map::new();
    object.insert("state".to_owned(), json!(state_name(status.state)));
    object.insert("timestamp".to_owned(), json!(status.timestamp.unwrap_or_default()));
    put(&mut object, "labels", status.labels.as_ref().map(labels));
    put(&mut object, "container_status", status.container_status.as_ref().map(mapped));
    put(&mut object, "healthy", status.healthy);
    Value::Object(object)
}

fn executor(executor: &Executor) -> Value {
    let info = &executor.executor_info;
    let mut object = Map::new();
    object.insert("executor_id".to_owned(), json!(info.executor_id.value));
    object.insert("name".to_owned(), json!(info.name.as_deref().unwrap_or_default()));
    put(&mut object, "framework_id", info.framework_id.as_ref().map(|id| id.value.clone()));
    object.insert("command".to_owned(), info.command.as_ref().map_or_else(|| json!({}), command));
    object.insert("resources".to_owned(), summary(&info.resources));
    let role = info.resources.iter().find_map(|resource| {
        let allocated = resource.allocation_info.as_ref()?;
        allocated.role.clone()
    });
    put(&mut object, "role", role);
    put(&mut object, "labels", info.labels.as_ref().map(labels));
    let kind = info.r#type.and_then(|kind| v1::executor_info::Type::try_from(kind).ok());
    put(&mut object, "type", kind.map(|kind| kind.as_str_name()));
    object.insert("slave_id".to_owned(), json!(executor.agent_id.value));
    Value::Object(object)
}

fn command(command: &v1::CommandInfo) -> Value {
    let mut object = Map::new();
    put(&mut object, "shell", command.shell);
    put(&mut object, "value", command.value.clone());
    object.insert("argv".to_owned(), json!(command.arguments));
    put(&mut object, "environment", command.environment.as_ref().map(mapped));
    let uris = command
        .uris
        .iter()
        .map(|uri| json!({"value": uri.value, "executable": uri.executable.unwrap_or(false)}));
    object.insert("uris".to_owned(), uris.collect());
    Value::Object(object)
}

fn offer(offer: &v1::Offer) -> Value {
    json!({
        "id": offer.id.value,
        "framework_id": offer.framework_id.value,
        "allocation_info": offer.allocation_info.as_ref().map(mapped).unwrap_or_default(),
        "slave_id": offer.agent_id.value,
        "resources": summary(&offer.resources),
    })
}

/// A framework without what it runs.
pub(crate) fn framework_summary(framework: &Framework) -> Map<String, Value> {
    let info = &framework.framework_info;
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(info.id.as_ref().map(|id| &id.value)));
    object.insert("name".to_owned(), json!(info.name));
    object.insert("used_resources".to_owned(), summary(&framework.allocated_resources));
    object.insert("offered_resources".to_owned(), summary(&framework.offered_resources));
    let capabilities = info.capabilities.iter().map(|capability| {
        v1::framework_info::capability::Type::try_from(capability.r#type.unwrap_or_default())
            .map_or("UNKNOWN", |kind| kind.as_str_name())
    });
    object.insert("capabilities".to_owned(), capabilities.collect());
    object.insert("hostname".to_owned(), json!(info.hostname.as_deref().unwrap_or_default()));
    object.insert("webui_url".to_owned(), json!(info.webui_url.as_deref().unwrap_or_default()));
    object.insert("active".to_owned(), json!(framework.active));
    object.insert("connected".to_owned(), json!(framework.connected));
    object.insert("recovered".to_owned(), json!(framework.recovered));
    object
}

/// What a framework has, runs and has run.
#[derive(Default)]
pub(crate) struct Belongings<'a> {
    /// What it uses and is offered, together.
    pub resources: &'a [v1::Resource],
    /// Tasks that are not over.
    pub tasks: Vec<&'a v1::Task>,
    /// Tasks whose agent is out of contact.
    pub unreachable: Vec<&'a v1::Task>,
    /// Tasks that are over, as far as they are remembered.
    pub completed: Vec<&'a v1::Task>,
    /// Executors that live.
    pub executors: Vec<&'a Executor>,
}

/// A framework with all it runs.
pub(crate) fn framework(framework: &Framework, has: &Belongings<'_>) -> Value {
    let info = &framework.framework_info;
    let mut object = framework_summary(framework);
    object.insert("user".to_owned(), json!(info.user));
    object.insert("failover_timeout".to_owned(), json!(info.failover_timeout.unwrap_or_default()));
    object.insert("checkpoint".to_owned(), json!(info.checkpoint.unwrap_or(false)));
    let registered = framework.registered_time.map_or(0.0, seconds);
    object.insert("registered_time".to_owned(), json!(registered));
    let unregistered = framework.unregistered_time.map_or(0.0, seconds);
    object.insert("unregistered_time".to_owned(), json!(unregistered));
    put(&mut object, "principal", info.principal.clone());
    object.insert("resources".to_owned(), summary(has.resources));
    put(&mut object, "reregistered_time", framework.reregistered_time.map(seconds));
    let multi_role = v1::framework_info::capability::Type::MultiRole as i32;
    if info.capabilities.iter().any(|capability| capability.r#type == Some(multi_role)) {
        object.insert("roles".to_owned(), json!(info.roles));
    } else {
        object.insert("role".to_owned(), json!(info.role.as_deref().unwrap_or("*")));
    }
    let all = |tasks: &[&v1::Task]| tasks.iter().map(|of| task(of)).collect::<Value>();
    object.insert("tasks".to_owned(), all(&has.tasks));
    object.insert("unreachable_tasks".to_owned(), all(&has.unreachable));
    object.insert("completed_tasks".to_owned(), all(&has.completed));
    object.insert("offers".to_owned(), framework.offers.iter().map(offer).collect());
    object.insert("executors".to_owned(), has.executors.iter().map(|of| executor(of)).collect());
    put(&mut object, "labels", info.labels.as_ref().map(labels));
    if let Some(constraints) = &framework.offer_constraints {
        object.insert("offer_constraints".to_owned(), mapped(constraints));
    }
    Value::Object(object)
}

/// Puts how many of `tasks` are in each state in `object`.
pub(crate) fn put_counts<'a>(
    object: &mut Map<String, Value>,
    tasks: impl Iterator<Item = &'a v1::Task>,
) {
    let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
    for task in tasks {
        *counts.entry(task.state).or_default() += 1;
    }
    for state in COUNTED {
        let count = counts.get(&(state as i32)).copied().unwrap_or_default();
        object.insert(state.as_str_name().to_owned(), json!(count));
    }
}
