//! Tasks in containers of their own, inside of their executor's.
//!
//! A task of a group that asks for something which a process beside the executor cannot have (files
//! of an image, a terminal, volumes, limits) is run by the agent, and this executor tells it to by
//! the calls that are there for everybody. The container outlives the agent, and so does the
//! executor: where the agent is away, it is asked again until it is back.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use hyper::StatusCode;
use model::ids::TaskId;
use model::task::Reason;
use nix::sys::signal::Signal;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::call::{self, Type};
use proto::mesos::v1::agent::response::WaitContainer;
use proto::mesos::v1::agent::{Call, Response};
use proto::mesos::v1::volume::source::{SandboxPath, Type as SourceType, sandbox_path};
use tokio::sync::mpsc;

use super::core::{Broken, Input};
use super::link::{Agent, Failed};
use super::{Happened, process, wire};
use crate::nested::scalar;

/// Between two tries to reach an agent that is away.
const PAUSE: Duration = Duration::from_millis(250);

/// Variables of the executor that say where it is, which its tasks are not.
const OWN_VARIABLES: [&str; 3] = ["MESOS_SANDBOX", "MESOS_DIRECTORY", "MESOS_DOMAIN_SOCKET"];

/// A task's container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Own {
    /// Which it is.
    pub(super) id: mesos::ContainerId,
    launch: Box<call::LaunchContainer>,
}

/// Whether a task asks for what only a container of its own can have.
pub(super) fn is_needed(info: &mesos::TaskInfo) -> bool {
    let container = info.container.as_ref().is_some_and(|it| {
        it.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some())
            || it.docker.is_some()
            || it.linux_info.is_some()
            || it.rlimit_info.is_some()
            || it.tty_info.is_some()
            || it.hostname.is_some()
            || !it.volumes.is_empty()
            || !it.network_infos.is_empty()
    });
    let command = info.command.as_ref().is_some_and(|command| !command.uris.is_empty());
    container || command || persistent(info).next().is_some()
}

/// A task's persistent volumes: where it sees each, and how.
fn persistent(info: &mesos::TaskInfo) -> impl Iterator<Item = &mesos::Volume> {
    let disks = info.resources.iter().filter_map(|resource| resource.disk.as_ref());
    disks.filter(|disk| disk.persistence.is_some()).filter_map(|disk| disk.volume.as_ref())
}

/// The container that `info` asks for, in the one that this executor is in. `variables` come before
/// the task's own.
pub(super) fn own(
    info: &mesos::TaskInfo,
    around: mesos::ContainerId,
    variables: Vec<(String, String)>,
) -> Own {
    let id = inside(around, uuid::Uuid::new_v4().to_string());
    let container = info.container.as_deref().cloned().unwrap_or_else(|| mesos::ContainerInfo {
        r#type: mesos::container_info::Type::Mesos.into(),
        ..mesos::ContainerInfo::default()
    });
    let volumes = container.volumes.clone().into_iter().chain(persistent(info).map(of_parent));
    let linux = container.linux_info.as_ref();
    let shares = linux.is_none_or(mesos::LinuxInfo::share_cgroups);
    let mut launch = call::LaunchContainer {
        container_id: id.clone(),
        command: Some(command(info, variables)),
        container: Some(mesos::ContainerInfo { volumes: volumes.collect(), ..container }),
        ..call::LaunchContainer::default()
    };
    if !shares {
        launch.resources = amounts(&info.resources);
        launch.limits = info.limits.clone().into_iter().collect();
    }
    Own { id, launch: Box::new(launch) }
}

/// A persistent volume as the agent knows it: by its place in the sandbox of the executor, whose
/// resources have it.
fn of_parent(volume: &mesos::Volume) -> mesos::Volume {
    let source = mesos::volume::Source {
        r#type: Some(SourceType::SandboxPath.into()),
        sandbox_path: Some(SandboxPath {
            r#type: Some(sandbox_path::Type::Parent.into()),
            path: volume.container_path.clone(),
        }),
        ..mesos::volume::Source::default()
    };
    mesos::Volume {
        mode: volume.mode,
        container_path: volume.container_path.clone(),
        source: Some(source),
        ..mesos::Volume::default()
    }
}

/// How much of each, whoever it is kept for: the executor has been given it already.
fn amounts(resources: &[mesos::Resource]) -> Vec<mesos::Resource> {
    let of = |name: &str| {
        let plain = resources.iter().filter(|it| it.disk.is_none()).cloned().collect::<Vec<_>>();
        let value = scalar(&plain, name)?;
        Some(mesos::Resource {
            name: name.to_owned(),
            r#type: mesos::value::Type::Scalar.into(),
            scalar: Some(mesos::value::Scalar { value }),
            ..mesos::Resource::default()
        })
    };
    ["cpus", "mem", "disk", "gpus"].into_iter().filter_map(of).collect()
}

fn command(info: &mesos::TaskInfo, variables: Vec<(String, String)>) -> mesos::CommandInfo {
    let mut command = info.command.clone().unwrap_or_default();
    let theirs = std::env::vars().filter(|(name, _)| is_for_tasks(name));
    let ours = theirs.chain(variables).map(|(name, value)| mesos::environment::Variable {
        name,
        value: Some(value),
        ..mesos::environment::Variable::default()
    });
    let own = command.environment.take().unwrap_or_default().variables;
    command.environment = Some(mesos::Environment { variables: ours.chain(own).collect() });
    command
}

/// Whether a variable of this executor is one for its tasks too.
fn is_for_tasks(name: &str) -> bool {
    name.starts_with("MESOS_") && !process::HIDDEN.contains(&name) && !OWN_VARIABLES.contains(&name)
}

fn inside(around: mesos::ContainerId, name: String) -> mesos::ContainerId {
    mesos::ContainerId { value: name, parent: Some(Box::new(around)) }
}

fn of(kind: Type) -> Call {
    Call { r#type: Some(kind.into()), ..Call::default() }
}

/// Has the agent run a task's container, and tells of its start and its end.
pub(super) async fn run(agent: Agent, own: Own, task: TaskId, inputs: mpsc::Sender<Happened>) {
    let launch = Some(*own.launch.clone());
    let launch = Call { launch_container: launch, ..of(Type::LaunchContainer) };
    // Asked again after a lost answer the agent says that it is there.
    if let Err(message) = persist(&agent, &launch).await {
        let reason = Reason::ContainerLaunchFailed;
        let failed = Input::StartFailed { task, reason, message };
        let _ = inputs.send(failed.into()).await;
        return;
    }
    let _ = inputs.send(Input::Started { task: task.clone() }.into()).await;
    let wait = call::WaitContainer { container_id: own.id.clone() };
    let wait = Call { wait_container: Some(wait), ..of(Type::WaitContainer) };
    let over = persist(&agent, &wait).await.and_then(|answer| over(&answer));
    let (status, broken) = match over {
        Ok(over) => ended(&own.id, over),
        // It has gone without a trace, with the machine's memory of it.
        Err(message) => (libc::SIGKILL, Some(Box::new(lost(&own.id, message)))),
    };
    let _ = inputs.send(Input::Exited { task, status, broken }.into()).await;
}

/// Makes a call until the agent answers it. An error says why it was refused.
async fn persist(agent: &Agent, call: &Call) -> Result<bytes::Bytes, String> {
    loop {
        match agent.operate(call).await {
            Ok(answer) => return Ok(answer),
            // It has just been started, or the container has.
            Err(failed) if is_away(&failed) => {}
            Err(Failed::Refused(StatusCode::UNAUTHORIZED, text)) => {
                return Err(format!(
                    "the agent asks for a name and this executor has none to show; start the agent \
                     with --authenticate_http_executors: {text}"
                ));
            }
            Err(Failed::Refused(_, text) | Failed::Unreached(text)) => return Err(text),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether an agent is not there, or has just been started and is not ready.
fn is_away(failed: &Failed) -> bool {
    matches!(failed, Failed::Unreached(_) | Failed::Refused(StatusCode::SERVICE_UNAVAILABLE, _))
}

/// The agent's answer to who waits for a container.
fn over(answer: &[u8]) -> Result<WaitContainer, String> {
    let answer: Response = proto::wire::decode(answer).map_err(|error| error.to_string())?;
    answer.wait_container.ok_or_else(|| "the agent does not say how the container ended".to_owned())
}

/// How a container ended, by the agent's word.
fn ended(id: &mesos::ContainerId, over: WaitContainer) -> (i32, Option<Box<Broken>>) {
    // Where there is none it is a launch that was given up.
    let status = over.exit_status.unwrap_or(libc::SIGKILL);
    let reason = over.reason.and_then(Reason::from_number);
    let broken = reason.map(|reason| {
        let rest = wire::rest(Some(id.clone()), over.limitation);
        Box::new(Broken { reason, message: over.message.unwrap_or_default(), rest })
    });
    (status, broken)
}

fn lost(id: &mesos::ContainerId, message: String) -> Broken {
    let rest = wire::rest(Some(id.clone()), None);
    Broken { reason: Reason::ExecutorTerminated, message, rest }
}

/// Sends a signal to a task's container. One that is over has no need of it.
pub(super) async fn signal(agent: Agent, id: mesos::ContainerId, signal: Signal) {
    let kill = call::KillContainer { container_id: id, signal: Some(signal as i32) };
    let call = Call { kill_container: Some(kill), ..of(Type::KillContainer) };
    let _ = persist(&agent, &call).await;
}

/// Removes what a container that is over has left behind.
pub(super) async fn remove(agent: Agent, id: mesos::ContainerId) {
    let remove = call::RemoveContainer { container_id: id };
    let call = Call { remove_container: Some(remove), ..of(Type::RemoveContainer) };
    let _ = persist(&agent, &call).await;
}

/// The agent was not there to look into a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Away;

/// Runs a check's command inside of a task's container; gives its exit code if it had one in time. An
/// agent that is not there, or that goes meanwhile and takes the command with it, is no fault of the task.
pub(super) async fn exit_code(
    agent: &Agent,
    around: &mesos::ContainerId,
    command: mesos::CommandInfo,
    timeout: Duration,
) -> Result<Option<i32>, Away> {
    let id = inside(around.clone(), format!("check-{}", uuid::Uuid::new_v4()));
    let launch = call::LaunchNestedContainerSession {
        container_id: id.clone(),
        command: Some(command),
        container: None,
    };
    let session = Call {
        launch_nested_container_session: Some(launch),
        ..of(Type::LaunchNestedContainerSession)
    };
    // It ends with its connection, so also when there is no more time for it.
    let attended = tokio::time::timeout(timeout, agent.attend(&session)).await;
    let code = match attended {
        Ok(Ok(())) => {
            let wait = call::WaitContainer { container_id: id.clone() };
            let wait = Call { wait_container: Some(wait), ..of(Type::WaitContainer) };
            match agent.operate(&wait).await {
                Ok(answer) => {
                    let status = over(&answer).ok().map(|over| ended(&id, over).0);
                    Ok(status.and_then(|status| ExitStatus::from_raw(status).code()))
                }
                Err(failed) if is_away(&failed) => Err(Away),
                Err(_) => Ok(None),
            }
        }
        Ok(Err(failed)) if is_away(&failed) => Err(Away),
        Ok(Err(_)) | Err(_) => Ok(None),
    };
    // Nobody waits for it: an agent that is away would hold up the next look.
    tokio::spawn(remove(agent.clone(), id));
    code
}
