//! Containers that operators and executors launch themselves: the calls that are answered at once, or
//! when the container is over.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as Answer};
use model::ids::ContainerId;
use model::task::TaskState;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::call::{self, GetContainers};
use proto::mesos::v1::agent::{Response, response};
use proto::mesos::v1::{CommandInfo, ContainerInfo, Resource, value};
use transport::http::{Encoding, Refused, answer};

use super::Api;
use super::allowed::by_right;
use super::caller::Caller;
use super::operator::{invalid, missing};
use super::read::{LiveContainer, live};
use crate::containerizer::{KillError, PersistentVolume, Termination};
use crate::nested::{self, StillRuns, Wish};
use crate::persistent_volumes::seen_by;
use crate::starting::NotStarted;
use crate::wire;

/// Answers LAUNCH_NESTED_CONTAINER.
pub(super) async fn launch_nested(
    api: &Api,
    caller: &Caller,
    call: Option<call::LaunchNestedContainer>,
) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("launch_nested_container"))?;
    let container = nested(&call.container_id, "launch_nested_container")?;
    launched(api, wish(api, caller, container, call.command, call.container)?).await
}

/// Answers WAIT_NESTED_CONTAINER.
pub(super) async fn wait_nested(
    api: &Api,
    call: Option<call::WaitNestedContainer>,
    encoding: Encoding,
) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("wait_nested_container"))?;
    let container = nested(&call.container_id, "wait_nested_container")?;
    let over = over(api, &container).await?;
    let wait_nested_container = Some(response::WaitNestedContainer {
        exit_status: over.exit_status,
        state: over.state,
        reason: over.reason,
        limitation: over.limitation,
        message: over.message,
    });
    let kind = Some(response::Type::WaitNestedContainer.into());
    Ok(answer(encoding, &Response { r#type: kind, wait_nested_container, ..Response::default() }))
}

/// Answers WAIT_CONTAINER.
pub(super) async fn wait(
    api: &Api,
    call: Option<call::WaitContainer>,
    encoding: Encoding,
) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("wait_container"))?;
    let container = any(&call.container_id, "wait_container")?;
    let wait_container = Some(over(api, &container).await?);
    let kind = Some(response::Type::WaitContainer.into());
    Ok(answer(encoding, &Response { r#type: kind, wait_container, ..Response::default() }))
}

/// Answers KILL_NESTED_CONTAINER.
pub(super) async fn kill_nested(
    api: &Api,
    call: Option<call::KillNestedContainer>,
) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("kill_nested_container"))?;
    killed(api, &nested(&call.container_id, "kill_nested_container")?, call.signal).await
}

/// Answers KILL_CONTAINER.
pub(super) async fn kill(api: &Api, call: Option<call::KillContainer>) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("kill_container"))?;
    killed(api, &any(&call.container_id, "kill_container")?, call.signal).await
}

/// Answers REMOVE_NESTED_CONTAINER.
pub(super) async fn remove_nested(
    api: &Api,
    call: Option<call::RemoveNestedContainer>,
) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("remove_nested_container"))?;
    removed(api, &nested(&call.container_id, "remove_nested_container")?).await
}

/// Answers REMOVE_CONTAINER.
pub(super) async fn remove(
    api: &Api,
    call: Option<call::RemoveContainer>,
) -> Result<Answer, Refused> {
    let call = call.ok_or_else(|| missing("remove_container"))?;
    removed(api, &any(&call.container_id, "remove_container")?).await
}

/// The id of a container, nested or not.
pub(super) fn any(wire: &mesos::ContainerId, field: &str) -> Result<ContainerId, Refused> {
    ContainerId::try_from(wire)
        .map_err(|bad| invalid(format!("'{field}.container_id' is invalid: {bad}")))
}

/// The id of a container, which must be a nested one.
pub(super) fn nested(wire: &mesos::ContainerId, field: &str) -> Result<ContainerId, Refused> {
    if wire.parent.is_none() {
        return Err(invalid(format!("Expecting '{field}.container_id.parent' to be present")));
    }
    any(wire, field)
}

pub(super) fn unknown(container: &ContainerId) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, format!("Container {container} cannot be found"))
}

/// Refuses to touch the container of an executor, which is its framework's.
fn not_of_executor(api: &Api, container: &ContainerId, verb: &str) -> Result<(), Refused> {
    if live(api).iter().any(|it| it.container == *container) {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            format!(
                "Container {container} is that of an executor, which only its framework may {verb}; \
                 kill its tasks, or shut the executor down"
            ),
        ));
    }
    Ok(())
}

/// What is asked for, with what follows from the container that it is to be in.
pub(super) fn wish(
    api: &Api,
    caller: &Caller,
    container: ContainerId,
    command: Option<CommandInfo>,
    info: Option<ContainerInfo>,
) -> Result<Wish, Refused> {
    if container.parent().is_some() {
        let root = container.root();
        let real = &api.shared.real;
        let is_there = real.containerizer.is_standalone(&root)
            || live(api).iter().any(|it| it.container == root);
        if !is_there {
            return Err(unknown(&root));
        }
    }
    let mesos = info.as_ref().and_then(|info| info.mesos.as_ref());
    let command = match command {
        // An image may say what to execute.
        None if mesos.is_some_and(|mesos| mesos.image.is_some()) => CommandInfo::default(),
        command => command.ok_or_else(|| missing("command"))?,
    };
    let wish = Wish {
        persistent: persistent(api, &container, &command),
        by: by_right(&api.shared, caller, &container),
        container,
        command,
        info,
        resources: Vec::new(),
        limits: BTreeMap::new(),
        is_session: false,
        environment: Vec::new(),
    };
    Ok(wish)
}

/// The persistent volumes of the executor that a container is directly in. Of two at one place that of
/// the task which `command` is for comes first.
fn persistent(api: &Api, container: &ContainerId, command: &CommandInfo) -> Vec<PersistentVolume> {
    let mirror = api.shared.mirror.read();
    let executors = mirror.frameworks.values().flat_map(|it| it.executors.values());
    let mut around = executors.filter(|it| container.parent().as_ref() == Some(&it.container));
    let Some(executor) = around.next() else { return Vec::new() };
    let variables = command.environment.iter().flat_map(|it| &it.variables);
    // The executor's word comes first; what follows is the task's own.
    let mut named =
        variables.filter(|it| it.name == "MESOS_TASK_ID").map(mesos::environment::Variable::value);
    let own = named.next().and_then(|id| executor.tasks.iter().find(|(it, _)| it.as_str() == id));
    let tasks = own.map(|(_, task)| task).into_iter().chain(executor.tasks.values());
    let all = tasks.map(|task| &task.spec.resources).chain([&executor.spec.resources]);
    seen_by(&api.shared.options.work_dir, all)
}

/// Answers LAUNCH_CONTAINER.
pub(super) async fn launch(
    api: &Api,
    caller: &Caller,
    call: Option<call::LaunchContainer>,
) -> Result<Answer, Refused> {
    let launch = call.ok_or_else(|| missing("launch_container"))?;
    let container = any(&launch.container_id, "launch_container")?;
    let linux = launch.container.as_ref().and_then(|info| info.linux_info.as_ref());
    let shares = linux.is_none_or(mesos::LinuxInfo::share_cgroups);
    if container.parent().is_some() && shares {
        if !launch.resources.is_empty() {
            return Err(invalid(
                "'launch_container.resources' must not be set for a container that shares the cgroups \
                 of its parent; set 'share_cgroups' to false to give it some of its own",
            ));
        }
        if !launch.limits.is_empty() {
            return Err(invalid(
                "'launch_container.limits' must not be set for a container that shares the cgroups of \
                 its parent; set 'share_cgroups' to false to limit it",
            ));
        }
    }
    if container.parent().is_none() {
        not_of_executor(api, &container, "have")?;
    }
    plain(&launch.resources)?;
    let limits = limits(&launch.limits, &launch.resources)?;
    let wish = wish(api, caller, container, launch.command, launch.container)?;
    launched(api, Wish { resources: launch.resources, limits, ..wish }).await
}

/// Refuses resources that are more than an amount of something.
fn plain(resources: &[Resource]) -> Result<(), Refused> {
    for resource in resources {
        let name = &resource.name;
        let why = if resource.r#type() == value::Type::Scalar
            && resource.scalar.as_ref().is_none_or(|it| !it.value.is_finite() || it.value < 0.0)
        {
            "has no amount"
        } else if !resource.reservations.is_empty()
            || resource.role.as_ref().is_some_and(|it| it != "*")
        {
            "is reserved; only unreserved resources may be used"
        } else if resource.revocable.is_some() {
            "is revocable; only what stays may be used"
        } else if resource.disk.is_some() {
            "is a volume; persistent volumes may not be used"
        } else if resource.shared.is_some() {
            "is shared; only what is nobody else's may be used"
        } else {
            continue;
        };
        return Err(invalid(format!("'launch_container.resources': '{name}' {why}")));
    }
    Ok(())
}

/// The limits of a container, by the rules that hold for those of tasks.
fn limits(
    limits: &BTreeMap<String, value::Scalar>,
    resources: &[Resource],
) -> Result<BTreeMap<String, f64>, Refused> {
    let one = |(name, limit): (&String, &value::Scalar)| {
        let bad = |why: &str| invalid(format!("'launch_container.limits': '{name}' {why}"));
        if !matches!(name.as_str(), "cpus" | "mem") {
            return Err(bad("cannot be limited; only cpus and mem can"));
        }
        let asked = nested::scalar(resources, name);
        let asked = asked.ok_or_else(|| bad("is not among the resources that are asked for"))?;
        // A limit that is no number is below it too.
        if limit.value.is_nan() || limit.value < asked {
            return Err(bad("is limited to less than is asked for"));
        }
        Ok((name.clone(), limit.value))
    };
    limits.iter().map(one).collect()
}

async fn launched(api: &Api, wish: Wish) -> Result<Answer, Refused> {
    let real = std::sync::Arc::clone(&api.shared.real);
    // Whoever asked may not wait for the answer; it is launched all the same.
    let launched = tokio::spawn(async move { real.launch_wish(wish).await });
    match launched.await.expect("a launch does not panic, and nobody aborts it") {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(why) => not_started(why),
    }
}

/// Says why a container was not launched.
pub(super) fn not_started(why: NotStarted) -> Result<Answer, Refused> {
    match why {
        NotStarted::Exists => Ok(StatusCode::ACCEPTED.into_response()),
        NotStarted::Failed(why) => {
            Err(Refused::bad_request(format!("Failed to launch container: {why}")))
        }
    }
}

/// Waits for a container's end.
async fn over(api: &Api, container: &ContainerId) -> Result<response::WaitContainer, Refused> {
    let real = &api.shared.real;
    let end = real.end_of(container).await.ok_or_else(|| unknown(container))?;
    Ok(told(api, container, &end))
}

fn told(api: &Api, container: &ContainerId, end: &Termination) -> response::WaitContainer {
    let mut told = response::WaitContainer {
        exit_status: end.status,
        message: nested::words(end).map(|words| words.to_string()),
        ..response::WaitContainer::default()
    };
    if let Some(limitation) = api.shared.real.limitation_of(container, end) {
        told.state = Some(TaskState::Failed.number());
        told.reason = Some(limitation.reason.number());
        told.message = Some(limitation.message.to_string());
        told.limitation = wire::limitation(&limitation.rest);
    }
    told
}

async fn killed(
    api: &Api,
    container: &ContainerId,
    signal: Option<i32>,
) -> Result<Answer, Refused> {
    not_of_executor(api, container, "end")?;
    let real = &api.shared.real;
    let signal = signal.unwrap_or(libc::SIGKILL);
    if signal == libc::SIGKILL && real.stop_preparing(container) {
        return Ok(StatusCode::OK.into_response());
    }
    match real.containerizer.signal(container, signal).await {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(error @ KillError::Unknown(_)) => {
            Err(Refused::new(StatusCode::NOT_FOUND, error.to_string()))
        }
        Err(error @ KillError::NoSignal(_)) => Err(invalid(error)),
        Err(error @ KillError::NotYet(_)) => {
            Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
        }
    }
}

async fn removed(api: &Api, container: &ContainerId) -> Result<Answer, Refused> {
    not_of_executor(api, container, "remove")?;
    match api.shared.real.remove(container).await {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(StillRuns) => Err(Refused::new(
            StatusCode::CONFLICT,
            format!("Container {container} is not over; kill it and wait for its end first"),
        )),
    }
}

/// Containers that are no executors', as far as the call wants to see them.
pub(super) fn more(api: &Api, call: GetContainers) -> Vec<LiveContainer> {
    let executors = live(api);
    let all = api.shared.real.containerizer.not_of_executors().into_iter();
    let wanted =
        all.filter(
            |it| {
                if it.parent().is_some() { call.show_nested() } else { call.show_standalone() }
            },
        );
    wanted
        .map(|container| {
            let root = container.root();
            let around = executors.iter().find(|it| it.container == root);
            let text =
                |of: fn(&LiveContainer) -> &String| around.map(of).cloned().unwrap_or_default();
            let limits = api.shared.real.limits_of(&container).unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "amounts for people")]
            let number = |amount: u64| amount as f64;
            LiveContainer {
                user: around.and_then(|it| it.user.clone()),
                framework: text(|it| &it.framework),
                executor: text(|it| &it.executor),
                name: text(|it| &it.name),
                source: text(|it| &it.source),
                container,
                cpus: number(limits.cpus_limit_milli.unwrap_or(limits.cpus_milli)) / 1_000.0,
                mem_bytes: number(limits.mem_limit_bytes.unwrap_or(limits.mem_bytes)),
            }
        })
        .collect()
}
