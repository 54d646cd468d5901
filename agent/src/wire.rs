//! Between the agent's core and the wire: thin calls of the conversions, and what only an agent says.

use std::net::IpAddr;

use agent_core::output::ExecutorEvent;
use model::framework::Framework;
use model::ids::{ContainerId, FrameworkId, Term};
use model::link::{FromAgent, ToAgent};
use model::payload::Payload;
use model::task::{ExecutorSpec, RunsBy, Status, TaskSpec};
use proto::agora::v1::{AgentFrame, MasterFrame};
use proto::convert::task::Launched;
use proto::convert::{self, Malformed, executor};
use proto::mesos::v1::executor::Event;
use proto::mesos::v1::{
    AgentInfo, CommandInfo, ExecutorInfo, FrameworkInfo, NetworkInfo, Resource, TaskInfo,
    TaskResourceLimitation, TaskStatus, network_info, value,
};

use crate::secrets::Secrets;

/// CPUs that a command task's own executor is shown with. They are taken out of its task's.
const COMMAND_EXECUTOR_CPUS: f64 = 0.1;

/// Memory that a command task's own executor is shown with, in MiB.
const COMMAND_EXECUTOR_MEM: f64 = 32.0;

/// Characters of a command that the name of its executor shows.
const COMMAND_SHOWN_MAX: usize = 15;

fn text(malformed: Malformed) -> String {
    malformed.0
}

pub(crate) fn framework_info(framework: &Framework) -> FrameworkInfo {
    convert::framework::to_wire(framework)
}

pub(crate) fn framework(bytes: &[u8]) -> Result<Framework, String> {
    convert::framework::from_payload(&Payload::new(bytes)).map_err(text)
}

pub(crate) fn executor_spec(bytes: &[u8], framework: &FrameworkId) -> Result<ExecutorSpec, String> {
    // Which of the two ways it was launched in was checked by the master.
    let read =
        |launched| convert::task::executor_from_payload(&Payload::new(bytes), framework, launched);
    read(Launched::Alone).or_else(|_| read(Launched::InGroup)).map_err(text)
}

pub(crate) fn task(
    bytes: &[u8],
    framework: &FrameworkId,
    in_group: bool,
) -> Result<TaskSpec, String> {
    let launched = if in_group { Launched::InGroup } else { Launched::Alone };
    convert::task::from_payload(&Payload::new(bytes), framework, launched).map_err(text)
}

pub(crate) fn task_info(task: &TaskSpec) -> TaskInfo {
    convert::task::to_wire(task)
}

pub(crate) fn status(bytes: &[u8]) -> Result<Status, String> {
    convert::task::status_from_payload(&Payload::new(bytes)).map_err(text)
}

pub(crate) fn task_status(status: &Status) -> TaskStatus {
    convert::task::status_to_wire(status)
}

pub(crate) fn from_agent(message: &FromAgent, term_seen: Term) -> AgentFrame {
    convert::link::agent_frame(message, term_seen)
}

pub(crate) fn to_agent(frame: MasterFrame) -> Result<(Term, ToAgent), String> {
    convert::link::to_agent(frame).map(|(message, term)| (term, message)).map_err(text)
}

/// An executor's description as others see it. A command task's own one is made up, in the words
/// people know from Mesos; after its `task` is over little is known of it.
pub(crate) fn executor_info(
    spec: &ExecutorSpec,
    framework: &FrameworkId,
    task: Option<&TaskSpec>,
) -> ExecutorInfo {
    let mut info = convert::task::executor_to_wire(spec);
    info.framework_id = Some(framework.into());
    if !spec.info.is_empty() {
        return info;
    }
    let id = spec.id.as_str();
    let task = task.map(task_info);
    let command = task.as_ref().and_then(|task| task.command.clone()).unwrap_or_default();
    info.name = Some(format!("Command Executor (Task: {id}) (Command: {})", shown(&command)));
    info.source = Some(id.to_owned());
    info.command =
        Some(CommandInfo { uris: command.uris, user: command.user, ..CommandInfo::default() });
    info.container = task.and_then(|task| task.container);
    info.resources =
        vec![scalar("cpus", COMMAND_EXECUTOR_CPUS), scalar("mem", COMMAND_EXECUTOR_MEM)];
    info
}

fn shown(command: &CommandInfo) -> String {
    let short = |text: String| {
        if text.chars().count() <= COMMAND_SHOWN_MAX {
            return text;
        }
        let head: String = text.chars().take(COMMAND_SHOWN_MAX - 3).collect();
        format!("{head}...")
    };
    if command.shell() {
        format!("sh -c '{}'", short(command.value().to_owned()))
    } else {
        let words: Vec<&str> = [command.value()]
            .into_iter()
            .chain(command.arguments.iter().map(String::as_str))
            .collect();
        format!("[{}]", short(words.join(", ")))
    }
}

fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value }),
        ..Resource::default()
    }
}

/// An event for an executor, in the wire's form. `agent` describes this agent.
pub(crate) fn event(event: &ExecutorEvent, agent: &AgentInfo, secrets: &Secrets) -> Event {
    let task_info = |task: &TaskSpec| {
        let mut info = task_info(task);
        if task.runs_by != RunsBy::Command && task.runs_by != RunsBy::Group {
            return info;
        }
        if let Err(why) = secrets.reveal_in_task(&mut info) {
            // It was there when the container was launched. The executor fails the task.
            tracing::error!(task = %task.id, why, "a secret has gone");
        }
        info
    };
    match event {
        ExecutorEvent::Subscribed(it) => {
            let id = it.framework.id.clone().expect("frameworks here have their id");
            let executor = executor_info(&it.executor, &id, it.command.as_ref());
            let framework = framework_info(&it.framework);
            executor::subscribed(executor, framework, agent.clone(), &it.agent, &it.container)
        }
        ExecutorEvent::Launch(task) => executor::launch(task_info(task)),
        ExecutorEvent::LaunchGroup(tasks) => {
            executor::launch_group(tasks.iter().map(task_info).collect())
        }
        ExecutorEvent::Kill { task, grace } => executor::kill(task, *grace),
        ExecutorEvent::Acknowledged { task, uuid } => executor::acknowledged(task, *uuid),
        ExecutorEvent::Message(data) => executor::message(data),
        ExecutorEvent::Shutdown => executor::shutdown(),
    }
}

/// The resources that were limited, from what is told with a limit that was broken.
pub(crate) fn limitation(rest: &Payload) -> Option<TaskResourceLimitation> {
    let rest: TaskStatus = convert::unpack_own(rest);
    rest.limitation
}

/// A sign of life.
pub(crate) fn heartbeat() -> Event {
    executor::heartbeat()
}

/// Where a container is reached.
#[derive(Clone, Debug)]
pub(crate) struct Whereabouts {
    pub(crate) container: ContainerId,
    /// The networks it is in.
    pub(crate) networks: Vec<NetworkInfo>,
}

/// The machine's network, in which this agent has the address `ip`.
pub(crate) fn of_machine(ip: IpAddr) -> Vec<NetworkInfo> {
    let address = network_info::IpAddress {
        ip_address: Some(ip.to_string()),
        ..network_info::IpAddress::default()
    };
    vec![NetworkInfo { ip_addresses: vec![address], ..NetworkInfo::default() }]
}

/// Adds to a report what only the agent knows: the container, and where it is reached.
pub(crate) fn with_container(mut status: Status, whereabouts: &Whereabouts) -> Status {
    let mut rest: TaskStatus = convert::unpack_own(&status.rest);
    let told = rest.container_status.get_or_insert_default();
    // Of a task in a container of its own the executor says in which.
    told.container_id.get_or_insert_with(|| (&whereabouts.container).into());
    if told.network_infos.is_empty() {
        told.network_infos.clone_from(&whereabouts.networks);
    }
    status.rest = convert::payload(&rest);
    status
}
