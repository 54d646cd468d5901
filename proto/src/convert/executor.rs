//! Calls of executors: `executor.proto`. Events go out as the agent has them, with the help of
//! [`super::task`] and [`super::framework`].

use model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::payload::Payload;
use model::task::{Source, Status, TaskState};
use std::time::Duration;

use super::scheduler::kill_policy;
use super::{task, update_id};
use crate::mesos::v1::executor::call::Type;
use crate::mesos::v1::executor::{Call, Event, call, event};
use crate::mesos::v1::{AgentInfo, CheckStatusInfo, ExecutorInfo, FrameworkInfo};
use crate::mesos::v1::{TaskGroupInfo, TaskInfo, check_info};

/// A call as it is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutorCall {
    /// Of which framework's executor.
    pub framework: FrameworkId,
    /// Of which.
    pub executor: ExecutorId,
    /// What it wants.
    pub body: Body,
}

/// What an executor wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Events.
    Subscribe {
        /// Tasks of which no report was acknowledged.
        unacknowledged_tasks: Vec<TaskId>,
        /// Reports that were not acknowledged.
        unacknowledged_updates: Vec<Status>,
    },
    /// To report. The uuid is there.
    Update(Status),
    /// To hand bytes to its framework.
    Message(Payload),
    /// To show that it lives. Answered without asking who it is.
    Heartbeat,
}

/// Why a call is answered with an error status.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallError {
    /// 400.
    #[error("Failed to validate Executor::Call: {0}")]
    Invalid(String),
    /// 400: an id that none can have.
    #[error("Framework cannot be found")]
    UnknownFramework,
    /// 400: an id that none can have.
    #[error("Executor cannot be found")]
    UnknownExecutor,
    /// 501.
    #[error("{0} is not implemented")]
    NotImplemented(&'static str),
}

fn invalid(text: impl Into<String>) -> CallError {
    CallError::Invalid(text.into())
}

/// Reads a call.
pub fn call_from_wire(call: Call) -> Result<ExecutorCall, CallError> {
    // A type that nobody here knows reads as none.
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok());
    let kind = kind.ok_or_else(|| invalid("Expecting 'type' to be present"))?;
    if call.executor_id.value.is_empty() {
        return Err(invalid("Expecting 'executor_id' to be present"));
    }
    if call.framework_id.value.is_empty() {
        return Err(invalid("Expecting 'framework_id' to be present"));
    }
    let body = match kind {
        Type::Unknown => return Err(CallError::NotImplemented("UNKNOWN")),
        Type::Subscribe => match call.subscribe {
            Some(subscribe) => subscribe_from_wire(subscribe)?,
            None => return Err(invalid("Expecting 'subscribe' to be present")),
        },
        Type::Update => match call.update {
            Some(update) => update_from_wire(update, &call.executor_id.value)?,
            None => return Err(invalid("Expecting 'update' to be present")),
        },
        Type::Message => match call.message {
            Some(message) => Body::Message(Payload::new(&message.data[..])),
            None => return Err(invalid("Expecting 'message' to be present")),
        },
        Type::Heartbeat => Body::Heartbeat,
    };
    Ok(ExecutorCall {
        framework: (&call.framework_id).try_into().map_err(|_| CallError::UnknownFramework)?,
        executor: (&call.executor_id).try_into().map_err(|_| CallError::UnknownExecutor)?,
        body,
    })
}

fn subscribe_from_wire(subscribe: call::Subscribe) -> Result<Body, CallError> {
    // Tasks whose ids cannot be are none of ours: that they are missing is not news.
    let tasks = subscribe.unacknowledged_tasks.iter();
    let updates = subscribe.unacknowledged_updates.into_iter();
    Ok(Body::Subscribe {
        unacknowledged_tasks: tasks.filter_map(|it| (&it.task_id).try_into().ok()).collect(),
        unacknowledged_updates: updates
            .map(|update| task::status_from_wire(update.status, Source::Executor))
            .collect::<Result<_, _>>()
            .map_err(|why| invalid(format!("'unacknowledged_updates': {why}")))?,
    })
}

fn update_from_wire(update: call::Update, executor: &str) -> Result<Body, CallError> {
    let wire = update.status;
    if wire.uuid.is_none() {
        return Err(invalid("Expecting 'uuid' to be present"));
    }
    if wire.uuid.as_ref().is_none_or(|uuid| update_id(uuid).is_none()) {
        return Err(invalid("Not a valid UUID"));
    }
    if let Some(own) = &wire.executor_id
        && own.value != executor
    {
        return Err(invalid(format!(
            "ExecutorID in Call: {executor} does not match ExecutorID in TaskStatus: {}",
            own.value
        )));
    }
    if let Some(check) = &wire.check_status {
        check_status(check)?;
    }
    let given = wire.source;
    let status =
        task::status_from_wire(wire, Source::Executor).map_err(|why| invalid(why.to_string()))?;
    if given.is_none() || status.source != Source::Executor {
        return Err(invalid(format!(
            "Received Call from executor {executor} with invalid source, expecting \
             'SOURCE_EXECUTOR'"
        )));
    }
    if status.state == TaskState::Staging {
        return Err(invalid(format!(
            "Received TASK_STAGING from executor {executor} which is not allowed"
        )));
    }
    Ok(Body::Update(status))
}

fn check_status(check: &CheckStatusInfo) -> Result<(), CallError> {
    let (name, is_set) = match check.r#type() {
        check_info::Type::Command => ("command", check.command.is_some()),
        check_info::Type::Http => ("http", check.http.is_some()),
        check_info::Type::Tcp => ("tcp", check.tcp.is_some()),
        check_info::Type::Unknown => {
            return Err(invalid("CheckStatusInfo must specify 'type'"));
        }
    };
    if is_set {
        Ok(())
    } else {
        Err(invalid(format!("Expecting '{name}' to be set for its type of check status")))
    }
}

fn of(kind: event::Type) -> Event {
    Event { r#type: Some(kind.into()), ..Event::default() }
}

/// SUBSCRIBED: what the executor is and where it runs. `framework` and `agent` with their ids.
pub fn subscribed(
    executor: ExecutorInfo,
    framework: FrameworkInfo,
    mut agent: AgentInfo,
    id: &AgentId,
    container: &ContainerId,
) -> Event {
    agent.id = Some(id.into());
    Event {
        subscribed: Some(event::Subscribed {
            executor_info: executor,
            framework_info: framework,
            agent_info: agent,
            container_id: Some(container.into()),
        }),
        ..of(event::Type::Subscribed)
    }
}

/// LAUNCH.
pub fn launch(task: TaskInfo) -> Event {
    Event { launch: Some(event::Launch { task }), ..of(event::Type::Launch) }
}

/// LAUNCH_GROUP.
pub fn launch_group(tasks: Vec<TaskInfo>) -> Event {
    let launch = event::LaunchGroup { task_group: TaskGroupInfo { tasks } };
    Event { launch_group: Some(launch), ..of(event::Type::LaunchGroup) }
}

/// KILL. `grace`: how long it may take; absent: as the task says.
pub fn kill(task: &TaskId, grace: Option<Duration>) -> Event {
    let kill = event::Kill { task_id: task.into(), kill_policy: grace.map(kill_policy) };
    Event { kill: Some(kill), ..of(event::Type::Kill) }
}

/// ACKNOWLEDGED.
pub fn acknowledged(task: &TaskId, uuid: UpdateId) -> Event {
    let acknowledged = event::Acknowledged { task_id: task.into(), uuid: uuid.0.to_vec().into() };
    Event { acknowledged: Some(acknowledged), ..of(event::Type::Acknowledged) }
}

/// MESSAGE.
pub fn message(data: &Payload) -> Event {
    let message = event::Message { data: data.as_bytes().to_vec().into() };
    Event { message: Some(message), ..of(event::Type::Message) }
}

/// ERROR.
pub fn error(message: &str) -> Event {
    let error = event::Error { message: message.to_owned() };
    Event { error: Some(error), ..of(event::Type::Error) }
}

/// SHUTDOWN.
pub fn shutdown() -> Event {
    of(event::Type::Shutdown)
}

/// HEARTBEAT.
pub fn heartbeat() -> Event {
    of(event::Type::Heartbeat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    /// A call with `inner` as its members beside the ids.
    fn read(inner: &str) -> Result<ExecutorCall, String> {
        let ids = r#""executor_id":{"value":"e"},"framework_id":{"value":"f"}"#;
        let call = json::from_slice(format!("{{{ids},{inner}}}").as_bytes()).expect("a whole call");
        call_from_wire(call).map_err(|error| error.to_string())
    }

    /// An UPDATE with `inner` beside the task's id.
    fn update(inner: &str) -> Result<ExecutorCall, String> {
        read(&format!(
            r#""type":"UPDATE","update":{{"status":{{"task_id":{{"value":"t"}},{inner}}}}}"#
        ))
    }

    const UUID: &str = r#""uuid":"QEBAQEBAQEBAQEBAQEBAQA==""#;

    #[test]
    fn an_update_is_read() {
        let text = format!(
            r#"{UUID},"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","timestamp":5,"data":"eA=="}}"#
        );
        let call = update(text.trim_end_matches('}')).expect("well formed");
        let Body::Update(status) = call.body else { panic!("{call:?}") };
        assert_eq!(status.state, TaskState::Running);
        assert_eq!(status.at.as_secs_f64().to_bits(), 5_f64.to_bits());
        assert_eq!(task::status_to_wire(&status).data.as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn mistakes_are_told_in_known_words() {
        let prefix = "Failed to validate Executor::Call: ";
        let running = r#""state":"TASK_RUNNING","source":"SOURCE_EXECUTOR""#;
        for (result, why) in [
            (read(r#""message":{"data":""}"#), "Expecting 'type' to be present"),
            (read(r#""type":"SUBSCRIBE""#), "Expecting 'subscribe' to be present"),
            (update(running), "Expecting 'uuid' to be present"),
            (update(&format!(r#"{running},"uuid":"eA==""#)), "Not a valid UUID"),
            (
                update(&format!(r#"{running},{UUID},"executor_id":{{"value":"x"}}"#)),
                "ExecutorID in Call: e does not match ExecutorID in TaskStatus: x",
            ),
            (
                update(&format!(r#"{UUID},"state":"TASK_RUNNING""#)),
                "Received Call from executor e with invalid source, expecting 'SOURCE_EXECUTOR'",
            ),
            (
                update(&format!(r#"{UUID},"state":"TASK_STAGING","source":"SOURCE_EXECUTOR""#)),
                "Received TASK_STAGING from executor e which is not allowed",
            ),
        ] {
            assert_eq!(result, Err(format!("{prefix}{why}")));
        }
        assert_eq!(read(r#""type":"UNKNOWN""#), Err("UNKNOWN is not implemented".to_owned()));
    }

    #[test]
    fn a_subscription_brings_what_the_agent_may_not_know() {
        let text = format!(
            r#""type":"SUBSCRIBE","subscribe":{{"unacknowledged_tasks":[{{"name":"t",
               "task_id":{{"value":"t"}},"agent_id":{{"value":"a"}}}}],
               "unacknowledged_updates":[{{"status":{{"task_id":{{"value":"u"}},
               "state":"TASK_FINISHED",{UUID}}}}}]}}"#
        );
        let Body::Subscribe { unacknowledged_tasks, unacknowledged_updates } =
            read(&text).expect("well formed").body
        else {
            panic!("not SUBSCRIBE")
        };
        assert_eq!(unacknowledged_tasks[0].as_str(), "t");
        assert_eq!(unacknowledged_updates[0].source, Source::Executor);
    }
}
