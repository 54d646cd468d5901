//! The link between an agent and the leading master: `agent_link.proto`.

use std::sync::Arc;
use std::time::Duration;

use model::call::Message;
use model::capability::AgentCapability;
use model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, Term, UpdateId};
use model::link::{
    AgentDescription, FaultDomain, FromAgent, Launch, LiveExecutor, LiveTask, Register, Reregister,
    ToAgent,
};
use model::payload::Payload;
use model::resources::Resources;
use model::rules::Drain;
use model::step::Timestamp;
use model::task::{ExecutorSpec, TaskState};

use super::task::Launched;
use super::{Malformed, framework, masters, millis, resources, task, unpack};
use crate::agora::v1 as wire;
use crate::agora::v1::{agent_frame, master_frame};
use crate::mesos::v1::domain_info::FaultDomain as WireFaultDomain;
use crate::mesos::v1::domain_info::fault_domain::{RegionInfo, ZoneInfo};
use crate::mesos::v1::{AgentInfo, DomainInfo};

pub mod operations;

/// Writes what an agent says. `seen`: the highest term it has seen.
pub fn agent_frame(message: &FromAgent, seen: Term) -> wire::AgentFrame {
    use agent_frame::Body;
    let body = match message {
        FromAgent::Register(it) => Body::Register(register_to_wire(it)),
        FromAgent::Reregister(it) => Body::Reregister(reregister_to_wire(it)),
        FromAgent::StatusUpdate { framework, status, latest } => {
            Body::StatusUpdate(wire::StatusUpdate {
                framework_id: framework.to_string(),
                status: bytes_of(&task::status_to_payload(status)),
                latest: latest.number(),
            })
        }
        FromAgent::ExecutorExited { framework, executor, status } => {
            Body::ExecutorExited(wire::ExecutorExited {
                framework_id: framework.to_string(),
                executor_id: executor.to_string(),
                status: *status,
            })
        }
        FromAgent::Message { framework, message } => {
            Body::Message(message_to_wire(framework, message))
        }
        FromAgent::OperationUpdate { operation, framework, status } => Body::OperationUpdate(
            operations::update_to_wire(*operation, framework.as_ref(), status),
        ),
        FromAgent::Pong => Body::Pong(wire::Pong {}),
        FromAgent::Unregister => Body::Unregister(wire::Unregister {}),
    };
    wire::AgentFrame { body: Some(body), term_seen: seen.0 }
}

/// Reads what an agent says, and the highest term it has seen.
pub fn from_agent(frame: wire::AgentFrame) -> Result<(FromAgent, Term), Malformed> {
    use agent_frame::Body;
    let message = match frame.body.ok_or_else(empty)? {
        Body::Register(it) => FromAgent::Register(Box::new(register_from_wire(it)?)),
        Body::Reregister(it) => FromAgent::Reregister(Box::new(reregister_from_wire(it)?)),
        Body::StatusUpdate(it) => FromAgent::StatusUpdate {
            framework: FrameworkId::new(it.framework_id)?,
            status: task::status_from_payload(&payload_of(&it.status))?,
            latest: state(it.latest)?,
        },
        Body::ExecutorExited(it) => FromAgent::ExecutorExited {
            framework: FrameworkId::new(it.framework_id)?,
            executor: ExecutorId::new(it.executor_id)?,
            status: it.status,
        },
        Body::Message(it) => {
            let (framework, message) = message_from_wire(it)?;
            FromAgent::Message { framework, message }
        }
        Body::OperationUpdate(it) => operations::update_from_wire(&it)?,
        Body::Pong(wire::Pong {}) => FromAgent::Pong,
        Body::Unregister(wire::Unregister {}) => FromAgent::Unregister,
    };
    Ok((message, Term(frame.term_seen)))
}

/// Writes what the leading master says, in its reign.
pub fn master_frame(message: &ToAgent, term: Term) -> wire::MasterFrame {
    use master_frame::Body;
    let body = match message {
        ToAgent::Registered { agent, ping_timeout } => Body::Registered(wire::Registered {
            agent_id: agent.to_string(),
            ping_timeout_ms: millis(*ping_timeout),
        }),
        ToAgent::Reregistered { agent, ping_timeout, expected, completed, operations } => {
            let key = |(framework, task): &(FrameworkId, TaskId)| wire::TaskKey {
                framework_id: framework.to_string(),
                task_id: task.to_string(),
            };
            Body::Reregistered(wire::Reregistered {
                agent_id: agent.to_string(),
                ping_timeout_ms: millis(*ping_timeout),
                expected: expected.iter().map(key).collect(),
                completed_framework_ids: completed.iter().map(ToString::to_string).collect(),
                operations: operations.iter().map(operations::to_wire).collect(),
            })
        }
        ToAgent::Launch(launch) => Body::Launch(launch_to_wire(launch)),
        ToAgent::Apply(operation) => Body::Apply(operations::to_wire(operation)),
        ToAgent::AcknowledgeOperation { operation, status } => {
            Body::AcknowledgeOperation(wire::AcknowledgeOperation {
                operation: operation.0.to_vec().into(),
                status: status.0.to_vec().into(),
            })
        }
        ToAgent::Kill { framework, task, grace } => Body::Kill(wire::KillTask {
            framework_id: framework.to_string(),
            task_id: task.to_string(),
            grace_ms: grace.map(millis),
        }),
        ToAgent::ShutdownExecutor { framework, executor } => {
            Body::ShutdownExecutor(wire::ShutdownExecutor {
                framework_id: framework.to_string(),
                executor_id: executor.to_string(),
            })
        }
        ToAgent::ShutdownFramework(framework) => Body::ShutdownFramework(framework.to_string()),
        ToAgent::UpdateFramework(it) => Body::UpdateFramework(framework_to_wire(it)),
        ToAgent::Acknowledge { framework, task, uuid } => {
            Body::Acknowledge(wire::AcknowledgeUpdate {
                framework_id: framework.to_string(),
                task_id: task.to_string(),
                uuid: uuid.0.to_vec().into(),
            })
        }
        ToAgent::Message { framework, message } => {
            Body::Message(message_to_wire(framework, message))
        }
        ToAgent::Ping { connected } => Body::Ping(wire::Ping { connected: *connected }),
        ToAgent::Masters(masters) => Body::Masters(masters::to_wire(masters)),
        ToAgent::Drain(drain) => Body::Drain(wire::DrainAgent {
            grace_max_ms: drain.grace_max.map(millis),
            marks_gone: drain.marks_gone,
        }),
        ToAgent::Shutdown { why } => Body::Shutdown(why.clone()),
    };
    wire::MasterFrame { body: Some(body), term: term.0 }
}

/// Reads what a master says, and in which reign.
pub fn to_agent(frame: wire::MasterFrame) -> Result<(ToAgent, Term), Malformed> {
    use master_frame::Body;
    let message = match frame.body.ok_or_else(empty)? {
        Body::Registered(it) => ToAgent::Registered {
            agent: AgentId::new(it.agent_id)?,
            ping_timeout: Duration::from_millis(it.ping_timeout_ms),
        },
        Body::Reregistered(it) => reregistered_from_wire(it)?,
        Body::Launch(launch) => ToAgent::Launch(Box::new(launch_from_wire(launch)?)),
        Body::Apply(operation) => ToAgent::Apply(Box::new(operations::from_wire(&operation)?)),
        Body::AcknowledgeOperation(it) => ToAgent::AcknowledgeOperation {
            operation: operations::uuid(&it.operation)?,
            status: uuid(&it.status)?,
        },
        Body::Kill(it) => ToAgent::Kill {
            framework: FrameworkId::new(it.framework_id)?,
            task: TaskId::new(it.task_id)?,
            grace: it.grace_ms.map(Duration::from_millis),
        },
        Body::ShutdownExecutor(it) => ToAgent::ShutdownExecutor {
            framework: FrameworkId::new(it.framework_id)?,
            executor: ExecutorId::new(it.executor_id)?,
        },
        Body::ShutdownFramework(id) => ToAgent::ShutdownFramework(FrameworkId::new(id)?),
        Body::UpdateFramework(it) => ToAgent::UpdateFramework(framework_from_wire(&it)?),
        Body::Acknowledge(it) => ToAgent::Acknowledge {
            framework: FrameworkId::new(it.framework_id)?,
            task: TaskId::new(it.task_id)?,
            uuid: uuid(&it.uuid)?,
        },
        Body::Message(it) => {
            let (framework, message) = message_from_wire(it)?;
            ToAgent::Message { framework, message }
        }
        Body::Ping(it) => ToAgent::Ping { connected: it.connected },
        Body::Masters(it) => ToAgent::Masters(masters::from_wire(it)),
        Body::Drain(it) => ToAgent::Drain(Drain {
            grace_max: it.grace_max_ms.map(Duration::from_millis),
            marks_gone: it.marks_gone,
        }),
        Body::Shutdown(why) => ToAgent::Shutdown { why },
    };
    Ok((message, Term(frame.term)))
}

fn empty() -> Malformed {
    Malformed::new("A frame of a kind that is not known here")
}

fn state(number: i32) -> Result<TaskState, Malformed> {
    TaskState::from_number(number).ok_or_else(|| Malformed(format!("Unknown task state {number}")))
}

fn uuid(bytes: &[u8]) -> Result<UpdateId, Malformed> {
    let bytes = bytes.try_into().map_err(|_| Malformed::new("An update's id has 16 bytes"))?;
    Ok(UpdateId(bytes))
}

pub(super) fn bytes_of(payload: &Payload) -> bytes::Bytes {
    payload.as_bytes().to_vec().into()
}

pub(super) fn payload_of(bytes: &bytes::Bytes) -> Payload {
    Payload::new(&bytes[..])
}

pub(super) fn framework_to_wire(framework: &model::framework::Framework) -> wire::Framework {
    wire::Framework { info: bytes_of(&framework::to_payload(framework)) }
}

pub(super) fn framework_from_wire(
    wire: &wire::Framework,
) -> Result<model::framework::Framework, Malformed> {
    framework::from_payload(&payload_of(&wire.info))
}

/// The form that goes over the wire and to disk.
pub fn description_to_wire(description: &AgentDescription) -> wire::AgentDescription {
    wire::AgentDescription {
        info: bytes_of(&description.info),
        address: description.address.to_string(),
        version: description.version.to_string(),
        capabilities: description.capabilities.iter().map(|it| it.number()).collect(),
    }
}

/// The resources and the host name are those of the `AgentInfo`.
pub fn description_from_wire(wire: wire::AgentDescription) -> Result<AgentDescription, Malformed> {
    let payload = payload_of(&wire.info);
    let info: AgentInfo = unpack(&payload)?;
    let described = describe(&info, wire.address, wire.version)?;
    let capabilities = match &wire.capabilities[..] {
        // It is of a version that does not say, and can do all that is asked of agents as yet.
        [] => described.capabilities,
        // Of what nobody here knows, nothing will be asked.
        told => told.iter().filter_map(|it| AgentCapability::from_number(*it)).collect(),
    };
    Ok(AgentDescription { info: payload, capabilities, ..described })
}

fn register_to_wire(it: &Register) -> wire::Register {
    wire::Register {
        description: Some(description_to_wire(&it.description)),
        total: total_to_wire(&it.total, &it.description),
    }
}

fn register_from_wire(it: wire::Register) -> Result<Register, Malformed> {
    let description = description_from_wire(it.description.unwrap_or_default())?;
    Ok(Register { total: total_from_wire(it.total.as_ref(), &description)?, description })
}

/// All that an agent has; nothing, if operations have made nothing of what its flags say.
fn total_to_wire(total: &Resources, of: &AgentDescription) -> Option<wire::ResourceList> {
    (*total != of.resources).then(|| operations::list_to_wire(total))
}

fn total_from_wire(
    total: Option<&wire::ResourceList>,
    of: &AgentDescription,
) -> Result<Resources, Malformed> {
    total.map_or_else(|| Ok(of.resources.clone()), operations::list_from_wire)
}

fn reregister_to_wire(it: &Reregister) -> wire::Reregister {
    wire::Reregister {
        agent_id: it.agent.to_string(),
        description: Some(description_to_wire(&it.description)),
        frameworks: it.frameworks.iter().map(framework_to_wire).collect(),
        executors: it.executors.iter().map(live_executor_to_wire).collect(),
        tasks: it.tasks.iter().map(live_task_to_wire).collect(),
        total: total_to_wire(&it.total, &it.description),
        operations: it.operations.iter().map(operations::live_to_wire).collect(),
    }
}

fn reregister_from_wire(it: wire::Reregister) -> Result<Reregister, Malformed> {
    let description = description_from_wire(it.description.unwrap_or_default())?;
    Ok(Reregister {
        agent: AgentId::new(it.agent_id)?,
        total: total_from_wire(it.total.as_ref(), &description)?,
        operations: it
            .operations
            .iter()
            .map(operations::live_from_wire)
            .collect::<Result<_, _>>()?,
        description,
        frameworks: it.frameworks.iter().map(framework_from_wire).collect::<Result<_, _>>()?,
        executors: it
            .executors
            .into_iter()
            .map(live_executor_from_wire)
            .collect::<Result<_, _>>()?,
        tasks: it.tasks.into_iter().map(live_task_from_wire).collect::<Result<_, _>>()?,
    })
}

fn reregistered_from_wire(it: wire::Reregistered) -> Result<ToAgent, Malformed> {
    let key = |key: wire::TaskKey| -> Result<_, Malformed> {
        Ok((FrameworkId::new(key.framework_id)?, TaskId::new(key.task_id)?))
    };
    let completed = it.completed_framework_ids.into_iter();
    Ok(ToAgent::Reregistered {
        agent: AgentId::new(it.agent_id)?,
        ping_timeout: Duration::from_millis(it.ping_timeout_ms),
        expected: it.expected.into_iter().map(key).collect::<Result<_, _>>()?,
        completed: completed.map(FrameworkId::new).collect::<Result<_, _>>()?,
        operations: it.operations.iter().map(operations::from_wire).collect::<Result<_, _>>()?,
    })
}

fn live_executor_to_wire(live: &LiveExecutor) -> wire::LiveExecutor {
    wire::LiveExecutor {
        framework_id: live.framework.to_string(),
        info: bytes_of(&live.executor.info),
        container_id: live.container.to_string(),
        executor_id: live.executor.id.to_string(),
    }
}

fn live_executor_from_wire(wire: wire::LiveExecutor) -> Result<LiveExecutor, Malformed> {
    let framework = FrameworkId::new(wire.framework_id)?;
    let executor = if wire.info.is_empty() {
        ExecutorSpec {
            id: ExecutorId::new(wire.executor_id)?,
            is_default: false,
            resources: Resources::none(),
            role: None,
            user: None,
            shutdown_grace: None,
            info: Payload::default(),
        }
    } else {
        executor_from_bytes(&wire.info, &framework)?
    };
    Ok(LiveExecutor { framework, executor, container: ContainerId::new(wire.container_id)? })
}

/// How it was launched need not be told: only the executors of groups are built in.
fn executor_from_bytes(
    bytes: &bytes::Bytes,
    framework: &FrameworkId,
) -> Result<ExecutorSpec, Malformed> {
    use crate::mesos::v1::executor_info::Type;
    let info: crate::mesos::v1::ExecutorInfo = unpack(&payload_of(bytes))?;
    let launched = if info.r#type() == Type::Default { Launched::InGroup } else { Launched::Alone };
    task::executor_from_wire(info, framework, launched)
}

fn live_task_to_wire(live: &LiveTask) -> wire::LiveTask {
    let (uuid, state) = live.unacknowledged.unzip();
    wire::LiveTask {
        framework_id: live.framework.to_string(),
        executor_id: live.executor.to_string(),
        info: bytes_of(&live.spec.info),
        state: live.state.number(),
        unacknowledged_uuid: uuid.map(|uuid| uuid.0.to_vec().into()).unwrap_or_default(),
        unacknowledged_state: state.map_or(0, TaskState::number),
        statuses: live.statuses.iter().map(|it| bytes_of(&task::status_to_payload(it))).collect(),
        in_group: live.spec.runs_by == model::task::RunsBy::Group,
    }
}

fn live_task_from_wire(wire: wire::LiveTask) -> Result<LiveTask, Malformed> {
    let framework = FrameworkId::new(wire.framework_id)?;
    let launched = if wire.in_group { Launched::InGroup } else { Launched::Alone };
    let unacknowledged = if wire.unacknowledged_uuid.is_empty() {
        None
    } else {
        Some((uuid(&wire.unacknowledged_uuid)?, state(wire.unacknowledged_state)?))
    };
    Ok(LiveTask {
        executor: ExecutorId::new(wire.executor_id)?,
        spec: task::from_payload(&payload_of(&wire.info), &framework, launched)?,
        state: state(wire.state)?,
        unacknowledged,
        statuses: wire
            .statuses
            .iter()
            .map(|it| task::status_from_payload(&payload_of(it)))
            .collect::<Result<_, _>>()?,
        framework,
    })
}

fn message_to_wire(framework: &FrameworkId, message: &Message) -> wire::ExecutorMessage {
    wire::ExecutorMessage {
        framework_id: framework.to_string(),
        agent_id: message.agent.to_string(),
        executor_id: message.executor.to_string(),
        data: bytes_of(&message.data),
    }
}

fn message_from_wire(wire: wire::ExecutorMessage) -> Result<(FrameworkId, Message), Malformed> {
    let message = Message {
        agent: AgentId::new(wire.agent_id)?,
        executor: ExecutorId::new(wire.executor_id)?,
        data: payload_of(&wire.data),
    };
    Ok((FrameworkId::new(wire.framework_id)?, message))
}

fn launch_to_wire(launch: &Launch) -> wire::Launch {
    wire::Launch {
        framework: Some(framework_to_wire(&launch.framework)),
        executor: launch.executor.as_ref().map(|executor| bytes_of(&executor.info)),
        starts_executor: launch.starts_executor,
        is_group: launch.is_group,
        tasks: launch.tasks.iter().map(|task| bytes_of(&task.info)).collect(),
        accepted_at_us: launch.accepted_at.0,
    }
}

fn launch_from_wire(wire: wire::Launch) -> Result<Launch, Malformed> {
    let framework = framework_from_wire(&wire.framework.unwrap_or_default())?;
    let id = framework
        .id
        .clone()
        .ok_or_else(|| Malformed::new("A launch for a framework without an id"))?;
    let launched = if wire.is_group { Launched::InGroup } else { Launched::Alone };
    let executor = wire.executor.map(|bytes| executor_from_bytes(&bytes, &id)).transpose()?;
    let tasks: Vec<_> = wire
        .tasks
        .iter()
        .map(|bytes| task::from_payload(&payload_of(bytes), &id, launched))
        .collect::<Result<_, _>>()?;
    if executor.is_none() && tasks.len() != 1 {
        return Err(Malformed(format!("A command is one task, not {}", tasks.len())));
    }
    Ok(Launch {
        framework,
        executor,
        starts_executor: wire.starts_executor,
        is_group: wire.is_group,
        tasks,
        accepted_at: Timestamp(wire.accepted_at_us),
    })
}

/// Reads where a machine stands; absent if it is not said.
pub fn fault_domain_from_wire(domain: &DomainInfo) -> Option<FaultDomain> {
    let domain = domain.fault_domain.as_ref()?;
    let (region, zone) = (domain.region.name.as_str().into(), domain.zone.name.as_str().into());
    Some(FaultDomain { region, zone })
}

/// Writes where a machine stands.
pub fn fault_domain_to_wire(domain: &FaultDomain) -> DomainInfo {
    let region = RegionInfo { name: domain.region.to_string() };
    let zone = ZoneInfo { name: domain.zone.to_string() };
    DomainInfo { fault_domain: Some(WireFaultDomain { region, zone }) }
}

/// An agent's description made of its `AgentInfo`: what it needs to say of itself only once. It is of
/// this version, and so can do all that agents can.
pub fn describe(
    info: &AgentInfo,
    address: impl Into<Arc<str>>,
    version: impl Into<Arc<str>>,
) -> Result<AgentDescription, Malformed> {
    Ok(AgentDescription {
        hostname: info.hostname.as_str().into(),
        address: address.into(),
        resources: resources::from_wire(&info.resources)?,
        attributes: resources::attributes_from_wire(&info.attributes)?,
        domain: info.domain.as_ref().and_then(fault_domain_from_wire),
        version: version.into(),
        capabilities: AgentCapability::ALL.iter().copied().collect(),
        info: super::payload(info),
    })
}

#[cfg(test)]
mod tests;
