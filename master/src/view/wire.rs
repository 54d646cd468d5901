//! Entries of the view as messages of the operator API.

use std::time::Duration;

use master_core::view::{
    AgentView, ExecutorView, FrameworkCondition, FrameworkView, OperationView, TaskView,
};
use model::capability::AgentCapability;
use model::framework::Capabilities;
use model::ids::AgentId;
use model::link::AgentDescription;
use model::offer::Offer;
use model::payload::Payload;
use model::resources::Resources;
use model::role::Role;
use model::rules::{Drain, Standing};
use model::step::Timestamp;
use proto::convert::resources::{self, Form};
use proto::convert::{self, constraints, operation, task as tasks, time_info as time};
use proto::mesos::v1;
use proto::mesos::v1::master::response::get_agents::Agent;
use proto::mesos::v1::master::response::get_executors::Executor;
use proto::mesos::v1::master::response::get_frameworks::Framework;

/// What was carried, read. It was checked when it came in, so it is never nonsense.
fn decoded<M: prost::Message + Default>(payload: &Payload) -> M {
    M::decode(payload.as_bytes()).unwrap_or_default()
}

/// An agent's description under its id.
pub(super) fn agent_info(id: &AgentId, description: &AgentDescription) -> v1::AgentInfo {
    let mut info: v1::AgentInfo = decoded(&description.info);
    info.id = Some(v1::AgentId { value: id.to_string() });
    info
}

/// An agent.
pub(crate) fn agent(agent: &AgentView) -> Agent {
    let description = &agent.description;
    Agent {
        agent_info: agent_info(&agent.id, description),
        active: agent.is_active(),
        deactivated: Some(!agent.standing.is_active()),
        drain_info: drain_info(agent.standing),
        estimated_drain_start_time: drain_start(agent.standing).map(time),
        version: description.version.to_string(),
        // Tools build the paths of sandboxes from this.
        pid: Some(format!("slave(1)@{}", description.address)),
        registered_time: Some(time(agent.registered_at)),
        reregistered_time: agent.reregistered_at.map(time),
        total_resources: resources::to_wire(&agent.total, Form::Both, None),
        allocated_resources: resources::to_wire(&agent.used, Form::Both, None),
        offered_resources: resources::to_wire(&agent.offered, Form::Both, None),
        capabilities: description.capabilities.iter().map(|it| capability(*it)).collect(),
        ..Agent::default()
    }
}

/// How far an agent is with being emptied.
fn drain_info(standing: Standing) -> Option<v1::DrainInfo> {
    let info = |drain: Drain, state: v1::DrainState| {
        let nanoseconds = |grace: Duration| i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
        let max_grace_period =
            drain.grace_max.map(|grace| v1::DurationInfo { nanoseconds: nanoseconds(grace) });
        let config = v1::DrainConfig { max_grace_period, mark_gone: Some(drain.marks_gone) };
        Some(v1::DrainInfo { state: state.into(), config })
    };
    match standing {
        Standing::Active | Standing::Deactivated => None,
        Standing::Draining { drain, .. } => info(drain, v1::DrainState::Draining),
        Standing::Drained { drain, .. } => info(drain, v1::DrainState::Drained),
    }
}

fn drain_start(standing: Standing) -> Option<Timestamp> {
    match standing {
        Standing::Active | Standing::Deactivated => None,
        Standing::Draining { since, .. } | Standing::Drained { since, .. } => Some(since),
    }
}

fn capability(capability: AgentCapability) -> v1::agent_info::Capability {
    v1::agent_info::Capability { r#type: Some(capability.number()) }
}

/// An operation.
pub(crate) fn operation(view: &OperationView) -> v1::Operation {
    operation::to_wire(&view.operation, Some(&view.agent), &view.status)
}

/// A framework's description under its id.
pub(crate) fn framework_info(framework: &FrameworkView) -> v1::FrameworkInfo {
    let mut info = convert::framework::to_wire(&framework.framework);
    info.id = Some(v1::FrameworkId { value: framework.id.to_string() });
    info
}

/// A framework, without what it has.
pub(super) fn framework(framework: &FrameworkView) -> Framework {
    let unregistered = match framework.condition {
        FrameworkCondition::Completed(at) => Some(time(at)),
        FrameworkCondition::Recovered
        | FrameworkCondition::Connected
        | FrameworkCondition::Disconnected => None,
    };
    let constraints = &framework.constraints;
    Framework {
        framework_info: framework_info(framework),
        offer_constraints: (!constraints.is_empty()).then(|| constraints::to_wire(constraints)),
        active: framework.is_connected(),
        connected: framework.is_connected(),
        recovered: framework.is_recovered(),
        registered_time: Some(time(framework.registered_at)),
        reregistered_time: framework.reregistered_at.map(time),
        unregistered_time: unregistered,
        ..Framework::default()
    }
}

/// What somebody has for a role.
pub(super) fn has(what: &Resources, role: &Role) -> Vec<v1::Resource> {
    resources::to_wire(what, Form::Both, Some(role))
}

/// A task.
pub(crate) fn task(task: &TaskView) -> v1::Task {
    let info: v1::TaskInfo = decoded(&task.spec.info);
    v1::Task {
        name: task.spec.name.to_string(),
        task_id: v1::TaskId { value: task.id().to_string() },
        framework_id: v1::FrameworkId { value: task.framework.to_string() },
        executor_id: task.executor.as_ref().map(|id| v1::ExecutorId { value: id.to_string() }),
        agent_id: v1::AgentId { value: task.agent.to_string() },
        state: task.state.number(),
        resources: resources::to_wire(&task.spec.resources, Form::Both, Some(&task.role)),
        statuses: task.statuses.iter().map(tasks::status_to_wire).collect(),
        status_update_state: task.statuses.last().map(|status| status.state.number()),
        status_update_uuid: task
            .statuses
            .last()
            .and_then(|status| status.uuid)
            .map(|uuid| uuid.0.to_vec().into()),
        labels: info.labels,
        discovery: info.discovery,
        container: info.container,
        health_check: info.health_check,
        kill_policy: info.kill_policy,
        user: task.user.as_deref().map(str::to_owned),
        limits: info.limits,
    }
}

/// An executor.
pub(crate) fn executor(executor: &ExecutorView) -> Executor {
    let mut info: v1::ExecutorInfo = decoded(&executor.spec.info);
    info.executor_id = v1::ExecutorId { value: executor.key.executor.to_string() };
    info.framework_id = Some(v1::FrameworkId { value: executor.key.framework.to_string() });
    info.resources = resources::to_wire(&executor.spec.resources, Form::Both, Some(&executor.role));
    Executor {
        executor_info: info,
        agent_id: v1::AgentId { value: executor.key.agent.to_string() },
    }
}

/// An offer, with its role, which operators want to see.
pub(crate) fn offer(offer: &Offer) -> v1::Offer {
    let capabilities = Capabilities { multi_role: true, ..Capabilities::default() };
    convert::offer::to_wire(offer, capabilities)
}
