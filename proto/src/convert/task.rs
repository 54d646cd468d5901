//! Tasks, executors and the reports of tasks.

use std::iter;
use std::sync::Arc;

use model::amount::Milli;
use model::ids::{AgentId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::payload::Payload;
use model::resources::Resources;
use model::task::{
    ExecutorSpec, InvalidTask, Needs, Reason, RunsBy, Source, Status, TaskSpec, TaskState,
};

use super::link::bytes_of;
use super::{
    Malformed, checks, duration, payload, resources, time_info, timestamp, timestamp_from_secs,
    unpack, unpack_own, update_id,
};
use crate::mesos::v1::executor_info::Type as ExecutorType;
use crate::mesos::v1::{CommandInfo, Parameter};
use crate::mesos::v1::{
    ContainerInfo, ExecutorInfo, HealthCheck, TaskInfo, TaskStatus, container_info, health_check,
};

/// How a task or an executor is launched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Launched {
    /// By LAUNCH, by itself.
    Alone,
    /// By LAUNCH_GROUP, with others.
    InGroup,
}

/// Least cpus of an executor of task groups.
const EXECUTOR_CPUS_MIN: Milli = Milli(10);

/// Least memory of an executor of task groups, in MiB.
const EXECUTOR_MEM_MIN: Milli = Milli::units(32);

/// Reads a task of `framework`. What is wrong with it is told by a TASK_ERROR.
pub fn from_wire(
    mut info: TaskInfo,
    framework: &FrameworkId,
    launched: Launched,
) -> Result<TaskSpec, InvalidTask> {
    spec(&mut info, framework, launched).map_err(|Malformed(why)| invalid(&info, why))
}

/// A task that is refused as it is written.
pub(super) fn invalid(info: &TaskInfo, why: String) -> InvalidTask {
    let (id, agent) = (info.task_id.value.as_str().into(), info.agent_id.value.as_str().into());
    InvalidTask { id, agent, why }
}

/// As [`from_wire`], of a task that somebody has checked before.
pub fn from_payload(
    info: &Payload,
    framework: &FrameworkId,
    launched: Launched,
) -> Result<TaskSpec, Malformed> {
    spec(&mut unpack(info)?, framework, launched)
}

/// The task as its framework wrote it.
pub fn to_wire(task: &TaskSpec) -> TaskInfo {
    unpack_own(&task.info)
}

fn spec(
    info: &mut TaskInfo,
    framework: &FrameworkId,
    launched: Launched,
) -> Result<TaskSpec, Malformed> {
    let id = TaskId::try_from(&info.task_id)?;
    let agent = AgentId::try_from(&info.agent_id)
        .map_err(|why| Malformed(format!("Task uses invalid agent: {why}")))?;
    let grace = info.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    checks::non_negative(grace, "kill_policy.grace_period")
        .and_then(|()| {
            checks::non_negative(info.max_completion_time.as_ref(), "max_completion_time")
        })
        .map_err(|Malformed(why)| Malformed(format!("Task's {why}")))?;
    if let Some(check) = &info.check {
        within("Task uses invalid check", checks::check(check))?;
    }
    if let Some(check) = &info.health_check {
        within("Task uses invalid health check", checks::health_check(check))?;
    }
    let resources = within("Task uses invalid resources", resources::from_wire(&info.resources))?;
    if resources.is_empty() {
        return Err(Malformed::new("Task uses no resources"));
    }
    let role = within("Invalid task resources", resources::allocated_to(&info.resources))?;
    check_revocable(&resources)?;
    if let Some(command) = &info.command {
        within("Task's `CommandInfo` is invalid", checks::command(command))?;
    }
    if let Some(container) = &info.container {
        within("Task's `ContainerInfo` is invalid", checks::container(container))?;
    }
    check_limits(info, &resources)?;
    check_group_member(info, launched)?;
    let kill_grace = grace.and_then(duration);
    let user = user(info.command.as_ref(), info.container.as_deref());
    let own_cgroup = share_cgroups(info.container.as_deref()) == Some(false);
    let needs = Needs { role, own_cgroup, limits: !info.limits.is_empty() };
    let runs_by = runs_by(info, framework, launched)?;
    Ok(TaskSpec {
        id,
        name: info.name.as_str().into(),
        agent,
        resources,
        runs_by,
        user,
        kill_grace,
        needs,
        info: payload(info),
    })
}

/// The user that is named: of a container of type DOCKER by a parameter, which counts before the command's.
fn user(command: Option<&CommandInfo>, container: Option<&ContainerInfo>) -> Option<Arc<str>> {
    let docker = container.filter(|it| it.r#type() == container_info::Type::Docker);
    let parameters = docker.and_then(|it| it.docker.as_ref()).map(|it| &it.parameters);
    let is_user = |it: &&Parameter| matches!(it.key.trim_start_matches('-'), "user" | "u");
    // The last one counts, as where it is carried out.
    let given = parameters.and_then(|all| all.iter().rev().find(is_user));
    let given = given.map(|it| it.value.as_str());
    given.or_else(|| command.and_then(|command| command.user.as_deref())).map(Arc::from)
}

pub(super) fn within<T>(what: &str, result: Result<T, Malformed>) -> Result<T, Malformed> {
    result.map_err(|Malformed(why)| Malformed(format!("{what}: {why}")))
}

fn runs_by(
    info: &mut TaskInfo,
    framework: &FrameworkId,
    launched: Launched,
) -> Result<RunsBy, Malformed> {
    // A task of a group may name its executor beside its command: that of the group.
    if launched == Launched::Alone && info.executor.is_some() == info.command.is_some() {
        let text = "Task should have at least one (but not both) of CommandInfo or ExecutorInfo \
                    present";
        return Err(Malformed::new(text));
    }
    match (&mut info.executor, launched) {
        (None, Launched::Alone) => Ok(RunsBy::Command),
        (Some(executor), Launched::Alone) => {
            fill_in(executor, framework, launched);
            executor_spec(executor, framework, launched).map(RunsBy::Executor)
        }
        (executor, Launched::InGroup) => {
            if let Some(executor) = executor {
                fill_in(executor, framework, launched);
            }
            Ok(RunsBy::Group)
        }
    }
}

fn check_revocable(resources: &Resources) -> Result<(), Malformed> {
    let mixed = resources.iter().find(|(key, _)| {
        let other = |other: bool| {
            resources.iter().any(|(it, _)| it.name == key.name && it.kind.is_revocable == other)
        };
        other(true) && other(false)
    });
    match mixed {
        Some((key, _)) => Err(Malformed(format!(
            "Task mixes revocable and non-revocable resources of '{}'",
            key.name
        ))),
        None => Ok(()),
    }
}

fn check_limits(info: &TaskInfo, resources: &Resources) -> Result<(), Malformed> {
    for (name, limit) in &info.limits {
        if name != "cpus" && name != "mem" {
            return Err(Malformed(format!("Setting limits of '{name}' is not supported")));
        }
        let request = resources.scalar(name);
        if request.is_nothing() {
            return Err(Malformed(format!("Task has a limit of '{name}' but does not use it")));
        }
        // Infinity is allowed: no limit.
        if limit.value.is_nan() || limit.value < request.as_f64() {
            return Err(Malformed(format!(
                "Task's limit of '{name}' ({}) is less than its request ({request})",
                limit.value
            )));
        }
    }
    Ok(())
}

fn share_cgroups(container: Option<&ContainerInfo>) -> Option<bool> {
    container?.linux_info.as_ref()?.share_cgroups
}

/// A task's health check, if any, and those that are made besides.
pub fn health_checks(first: Option<&HealthCheck>) -> impl Iterator<Item = &HealthCheck> {
    first.into_iter().flat_map(|check| iter::once(check).chain(&check.additional_checks))
}

/// Whether the task is probed from its executor's network, in which it is not.
fn is_out_of_reach(info: &TaskInfo) -> bool {
    use health_check::Type;
    let mut kinds = health_checks(info.health_check.as_deref()).map(HealthCheck::r#type);
    let has_own = info.container.as_ref().is_some_and(|it| !it.network_infos.is_empty());
    has_own && kinds.any(|kind| matches!(kind, Type::Http | Type::Tcp))
}

fn check_group_member(info: &TaskInfo, launched: Launched) -> Result<(), Malformed> {
    let share_cgroups = share_cgroups(info.container.as_deref());
    match launched {
        Launched::InGroup if is_out_of_reach(info) => Err(Malformed::new(
            "HTTP and TCP health checks are not supported for a task of a group with \
             'network_infos' of its own",
        )),
        Launched::InGroup if is_docker(info.container.as_deref()) => {
            Err(Malformed::new("Docker ContainerInfo is not supported on the task"))
        }
        Launched::Alone if share_cgroups == Some(false) => {
            Err(Malformed::new("'share_cgroups' cannot be set to false on a task that is alone"))
        }
        Launched::InGroup if !info.limits.is_empty() && share_cgroups != Some(false) => {
            Err(Malformed::new(
                "Limits can only be set on a task of a group with 'share_cgroups' false",
            ))
        }
        Launched::Alone | Launched::InGroup => Ok(()),
    }
}

fn is_docker(container: Option<&ContainerInfo>) -> bool {
    container.is_some_and(|container| container.r#type() == container_info::Type::Docker)
}

/// Reads an executor of `framework`. It learns whose it is, if it does not say so itself.
pub fn executor_from_wire(
    mut info: ExecutorInfo,
    framework: &FrameworkId,
    launched: Launched,
) -> Result<ExecutorSpec, Malformed> {
    fill_in(&mut info, framework, launched);
    executor_spec(&info, framework, launched)
}

/// As [`executor_from_wire`], of an executor that somebody has checked before.
pub fn executor_from_payload(
    info: &Payload,
    framework: &FrameworkId,
    launched: Launched,
) -> Result<ExecutorSpec, Malformed> {
    executor_from_wire(unpack(info)?, framework, launched)
}

/// The executor as its framework wrote it. Of a command task's own one there is only the id.
pub fn executor_to_wire(executor: &ExecutorSpec) -> ExecutorInfo {
    let mut info: ExecutorInfo = unpack_own(&executor.info);
    info.executor_id = (&executor.id).into();
    info
}

fn fill_in(info: &mut ExecutorInfo, framework: &FrameworkId, launched: Launched) {
    if info.framework_id.as_ref().is_none_or(|id| id.value.is_empty()) {
        info.framework_id = Some(framework.into());
    }
    if info.r#type.is_none() && launched == Launched::Alone {
        info.set_type(ExecutorType::Custom);
    }
}

fn executor_spec(
    info: &ExecutorInfo,
    framework: &FrameworkId,
    launched: Launched,
) -> Result<ExecutorSpec, Malformed> {
    let id = ExecutorId::try_from(&info.executor_id)
        .map_err(|why| Malformed(format!("Executor's ID is invalid: {why}")))?;
    let given = info.framework_id.as_ref().map_or("", |id| &id.value);
    if given != framework.as_str() {
        return Err(Malformed(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {given} vs Expected: {framework})"
        )));
    }
    let is_default = check_executor_type(info, launched)?;
    checks::non_negative(info.shutdown_grace_period.as_ref(), "shutdown_grace_period")
        .map_err(|Malformed(why)| Malformed(format!("ExecutorInfo's {why}")))?;
    if let Some(command) = &info.command {
        within("Executor's `CommandInfo` is invalid", checks::command(command))?;
    }
    if let Some(container) = &info.container {
        within("Executor's `ContainerInfo` is invalid", checks::container(container))?;
        if share_cgroups(Some(container)) == Some(true) {
            return Err(Malformed::new("The 'share_cgroups' field cannot be set on executors"));
        }
    }
    let resources =
        within("Executor uses invalid resources", resources::from_wire(&info.resources))?;
    let role = within("Invalid executor resources", resources::allocated_to(&info.resources))?;
    if resources.iter().any(|(key, _)| key.kind.is_shared) {
        return Err(Malformed::new("Executor resources must not include shared resources"));
    }
    if launched == Launched::InGroup {
        check_group_executor(info, &resources)?;
    }
    Ok(ExecutorSpec {
        id,
        is_default,
        resources,
        role,
        user: user(info.command.as_ref(), info.container.as_deref()),
        shutdown_grace: info.shutdown_grace_period.as_ref().and_then(duration),
        info: payload(info),
    })
}

/// Whether it is the built-in one.
fn check_executor_type(info: &ExecutorInfo, launched: Launched) -> Result<bool, Malformed> {
    match (info.r#type(), launched) {
        (ExecutorType::Custom, _) if info.command.is_none() => {
            Err(Malformed::new("'ExecutorInfo.command' must be set for 'CUSTOM' executor"))
        }
        (ExecutorType::Custom, _) => Ok(false),
        (ExecutorType::Default, Launched::Alone) => {
            Err(Malformed::new("'ExecutorInfo.type' must not be 'DEFAULT' for a task alone"))
        }
        (ExecutorType::Default, Launched::InGroup) => {
            let container = info.container.as_ref();
            if info.command.is_some() {
                let text = "'ExecutorInfo.command' must not be set for 'DEFAULT' executor";
                return Err(Malformed::new(text));
            }
            if container.is_some_and(|it| it.r#type() != container_info::Type::Mesos) {
                let text = "'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor";
                return Err(Malformed::new(text));
            }
            let mesos = container.and_then(|container| container.mesos.as_ref());
            if mesos.is_some_and(|mesos| mesos.image.is_some()) {
                let text = "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' \
                            executor";
                return Err(Malformed::new(text));
            }
            Ok(true)
        }
        (ExecutorType::Unknown, _) => Err(Malformed::new("'ExecutorInfo.type' must be set")),
    }
}

fn check_group_executor(info: &ExecutorInfo, resources: &Resources) -> Result<(), Malformed> {
    if is_docker(info.container.as_deref()) {
        return Err(Malformed::new("Docker ContainerInfo is not supported on the executor"));
    }
    for (name, least) in [("cpus", EXECUTOR_CPUS_MIN), ("mem", EXECUTOR_MEM_MIN)] {
        let amount = resources.scalar(name);
        if amount < least {
            return Err(Malformed(format!(
                "Executor '{}' uses less {name} ({amount}) than the minimum required ({least})",
                info.executor_id.value
            )));
        }
    }
    if resources.scalar("disk").is_nothing() {
        return Err(Malformed(format!("Executor '{}' uses no disk", info.executor_id.value)));
    }
    Ok(())
}

/// Reads a report. `from` made it, unless it says otherwise.
pub fn status_from_wire(mut wire: TaskStatus, from: Source) -> Result<Status, Malformed> {
    let state = TaskState::from_number(wire.state)
        .ok_or_else(|| Malformed(format!("Unknown task state {}", wire.state)))?;
    let uuid = match wire.uuid.take() {
        None => None,
        Some(bytes) => {
            let id = update_id(&bytes).ok_or_else(|| Malformed::new("Not a valid UUID"))?;
            Some(id)
        }
    };
    let status = Status {
        task: TaskId::try_from(&wire.task_id)?,
        state,
        source: wire.source.take().and_then(Source::from_number).unwrap_or(from),
        reason: wire.reason.take().and_then(Reason::from_number),
        message: wire.message.take().map(Arc::from),
        agent: id_if_any(wire.agent_id.take().as_ref())?,
        executor: id_if_any(wire.executor_id.take().as_ref())?,
        at: timestamp_from_secs(wire.timestamp.take().unwrap_or(0.0)),
        uuid,
        healthy: wire.healthy.take(),
        unreachable_at: wire.unreachable_time.take().as_ref().map(timestamp),
        data: wire.data.take().map(|data| Payload::new(&data[..])),
        rest: Payload::default(),
    };
    // What is told above is not carried twice.
    wire.task_id.value.clear();
    wire.state = TaskStatus::default().state;
    let rest = if wire == TaskStatus::default() { Payload::default() } else { payload(&wire) };
    Ok(Status { rest, ..status })
}

fn id_if_any<'a, W, I>(wire: Option<&'a W>) -> Result<Option<I>, Malformed>
where
    I: TryFrom<&'a W>,
    Malformed: From<I::Error>,
{
    Ok(wire.map(I::try_from).transpose()?)
}

/// As [`status_from_wire`], of an encoded report that tells its source.
pub fn status_from_payload(bytes: &Payload) -> Result<Status, Malformed> {
    status_from_wire(unpack(bytes)?, Source::Agent)
}

/// Writes a report.
pub fn status_to_wire(status: &Status) -> TaskStatus {
    let mut wire: TaskStatus = unpack_own(&status.rest);
    wire.task_id = (&status.task).into();
    wire.state = status.state.number();
    wire.source = Some(status.source.number());
    wire.reason = status.reason.map(Reason::number);
    wire.message = status.message.as_deref().map(str::to_owned);
    wire.agent_id = status.agent.as_ref().map(Into::into);
    wire.executor_id = status.executor.as_ref().map(Into::into);
    wire.timestamp = Some(status.at.as_secs_f64());
    wire.uuid = status.uuid.map(|UpdateId(bytes)| bytes.to_vec().into());
    wire.healthy = status.healthy;
    wire.unreachable_time = status.unreachable_at.map(time_info);
    wire.data = status.data.as_ref().map(bytes_of);
    wire
}

/// As [`status_to_wire`], encoded.
pub fn status_to_payload(status: &Status) -> Payload {
    payload(&status_to_wire(status))
}

#[cfg(test)]
mod tests {
    use model::step::Timestamp;

    use super::*;
    use crate::json;
    use crate::mesos::v1;

    fn framework() -> FrameworkId {
        FrameworkId::new("f").expect("an id")
    }

    fn task(text: &str) -> TaskInfo {
        let base = r#""name":"t","task_id":{"value":"t"},"agent_id":{"value":"a"},"resources":
            [{"name":"cpus","type":"SCALAR","scalar":{"value":1}},
             {"name":"mem","type":"SCALAR","scalar":{"value":32}}]"#;
        json::from_slice(format!("{{{base},{text}}}").as_bytes()).expect("a whole task")
    }

    const COMMAND: &str = r#""command":{"value":"true"}"#;
    const EXECUTOR: &str = r#""executor":{"executor_id":{"value":"e"},"command":{"value":"./e"}}"#;

    #[test]
    fn a_command_task_is_read() {
        let spec = from_wire(task(COMMAND), &framework(), Launched::Alone).expect("well formed");
        assert_eq!(spec.id.as_str(), "t");
        assert_eq!(spec.runs_by, RunsBy::Command);
        assert_eq!(spec.resources.to_string(), "cpus:1; mem:32");
        assert_eq!(to_wire(&spec), task(COMMAND));
        let back = from_payload(&spec.info, &framework(), Launched::Alone);
        assert_eq!(back, Ok(spec));
    }

    #[test]
    fn a_docker_container_runs_as_its_parameter_says() {
        let user = |kind: &str, parameters: &str| {
            let text = format!(
                r#""command":{{"value":"true","user":"web"}},"container":{{"type":"{kind}","docker":
                {{"image":"i","parameters":[{parameters}]}}}}"#
            );
            let spec = from_wire(task(&text), &framework(), Launched::Alone).expect("well formed");
            spec.user.map(|user| user.to_string())
        };
        let root = r#"{"key":"user","value":"root"}"#;
        let twice = format!(r#"{root},{{"key":"--u","value":"www:www"}}"#);
        assert_eq!(user("DOCKER", root).as_deref(), Some("root"));
        assert_eq!(user("DOCKER", &twice).as_deref(), Some("www:www"), "the last one counts");
        assert_eq!(user("DOCKER", r#"{"key":"env","value":"user=root"}"#).as_deref(), Some("web"));
        assert_eq!(user("MESOS", root).as_deref(), Some("web"));
    }

    #[test]
    fn an_executor_learns_whose_it_is() {
        let spec = from_wire(task(EXECUTOR), &framework(), Launched::Alone).expect("well formed");
        let RunsBy::Executor(executor) = &spec.runs_by else { panic!("{spec:?}") };
        let info = executor_to_wire(executor);
        assert_eq!(info.framework_id.as_ref().map(|id| id.value.as_str()), Some("f"));
        assert_eq!(info.r#type(), ExecutorType::Custom);
        assert_eq!(to_wire(&spec).executor, Some(info.into()), "both tell the same");
    }

    #[test]
    fn mistakes_are_told_in_known_words() {
        let refusal = |text: &str| {
            let task = from_wire(task(text), &framework(), Launched::Alone);
            task.expect_err(text).why
        };
        let one_of = "Task should have at least one (but not both) of CommandInfo or \
                      ExecutorInfo present";
        assert_eq!(refusal(r#""data":"""#), one_of);
        assert_eq!(refusal(&format!("{COMMAND},{EXECUTOR}")), one_of);
        assert_eq!(refusal(r#""task_id":{"value":"a/b"}"#), "'a/b' contains invalid characters");
        assert_eq!(refusal(&format!(r#"{COMMAND},"resources":[]"#)), "Task uses no resources");
        assert_eq!(
            refusal(&format!(r#"{COMMAND},"kill_policy":{{"grace_period":{{"nanoseconds":-1}}}}"#)),
            "Task's 'kill_policy.grace_period' must be non-negative"
        );
        assert_eq!(
            refusal(&format!(r#"{COMMAND},"health_check":{{"type":"HTTP"}}"#)),
            "Task uses invalid health check: Expecting 'http' to be set for HTTP health check"
        );
        let more = |each: &str| {
            refusal(&format!(
                r#"{COMMAND},"health_check":{{"type":"TCP","tcp":{{"port":1}},
                   "additional_checks":[{each}]}}"#
            ))
        };
        let tcp = r#""type":"TCP","tcp":{"port":1}"#;
        assert_eq!(
            more(&format!(r#"{{{tcp}}},{{"type":"HTTP"}}"#)),
            "Task uses invalid health check: 'additional_checks' has at 1: Expecting 'http' to be \
             set for HTTP health check"
        );
        assert_eq!(
            more(&format!(r#"{{{tcp},"additional_checks":[{{{tcp}}}]}}"#)),
            "Task uses invalid health check: 'additional_checks' must not have any themselves"
        );
        assert_eq!(
            more(&[&*format!("{{{tcp}}}"); 32].join(",")),
            "Task uses invalid health check: A task may have at most 32 health checks"
        );
        assert_eq!(
            refusal(&format!(r#"{COMMAND},"limits":{{"mem":{{"value":1}}}}"#)),
            "Task's limit of 'mem' (1) is less than its request (32)"
        );
        let cpus = |role: &str| {
            format!(
                r#"{{"name":"cpus","type":"SCALAR","scalar":{{"value":1}},
                     "allocation_info":{{"role":"{role}"}}}}"#
            )
        };
        let two = format!(r#"{COMMAND},"resources":[{},{}]"#, cpus("a"), cpus("b"));
        assert_eq!(
            refusal(&two),
            "Invalid task resources: The resources have multiple allocation roles ('a' and 'b'), \
             and only one is allowed"
        );
        assert_eq!(
            refusal(r#""executor":{"executor_id":{"value":"e"}}"#),
            "'ExecutorInfo.command' must be set for 'CUSTOM' executor"
        );
        assert_eq!(
            refusal(
                r#""executor":{"executor_id":{"value":"e"},"framework_id":{"value":"g"},
                   "command":{"value":"x"}}"#
            ),
            "ExecutorInfo has an invalid FrameworkID (Actual: g vs Expected: f)"
        );
    }

    #[test]
    fn a_task_of_a_group_is_not_probed_in_a_network_of_its_own() {
        let read = |kind: &str, networks: &str, launched| {
            let command = if launched == Launched::Alone { COMMAND } else { r#""labels":{}"# };
            let text = format!(
                r#"{command},"health_check":{{"type":"{kind}","http":{{"port":1}},
                   "tcp":{{"port":1}},"command":{{"value":"true"}}}},
                   "container":{{"type":"MESOS","network_infos":[{networks}]}}"#
            );
            from_wire(task(&text), &framework(), launched).map(|_| ()).map_err(|bad| bad.why)
        };
        let own = r#"{"name":"net"}"#;
        let why = "HTTP and TCP health checks are not supported for a task of a group with \
                   'network_infos' of its own";
        assert_eq!(read("HTTP", own, Launched::InGroup), Err(why.to_owned()));
        assert_eq!(read("TCP", own, Launched::InGroup), Err(why.to_owned()));
        assert_eq!(read("COMMAND", own, Launched::InGroup), Ok(()));
        assert_eq!(read("HTTP", "", Launched::InGroup), Ok(()));
        assert_eq!(read("HTTP", own, Launched::Alone), Ok(()));
        let text = format!(
            r#""labels":{{}},"health_check":{{"type":"COMMAND","command":{{"value":"true"}},
               "additional_checks":[{{"type":"TCP","tcp":{{"port":1}}}}]}},
               "container":{{"type":"MESOS","network_infos":[{own}]}}"#
        );
        let besides = from_wire(task(&text), &framework(), Launched::InGroup);
        assert_eq!(besides.expect_err("the second one is out of reach").why, why);
    }

    #[test]
    fn what_a_task_needs_beside_resources_is_read() {
        let linux = r#""linux_info":{"share_cgroups":false}"#;
        let text = format!(
            r#""container":{{"type":"MESOS",{linux}}},"limits":{{"mem":{{"value":64}}}},"resources":
               [{{"name":"cpus","type":"SCALAR","scalar":{{"value":1}}}},
                {{"name":"mem","type":"SCALAR","scalar":{{"value":32}},
                  "allocation_info":{{"role":"web"}}}}]"#
        );
        let spec = from_wire(task(&text), &framework(), Launched::InGroup).expect("well formed");
        let role = Some(model::role::Role::new("web").expect("a role"));
        assert_eq!(spec.needs, Needs { role, own_cgroup: true, limits: true });
        let plain = from_wire(task(COMMAND), &framework(), Launched::Alone).expect("well formed");
        assert_eq!(plain.needs, Needs::default());
    }

    #[test]
    fn a_limit_may_be_infinite() {
        let text = format!(r#"{COMMAND},"limits":{{"mem":{{"value":"Infinity"}}}}"#);
        assert!(from_wire(task(&text), &framework(), Launched::Alone).is_ok());
    }

    #[test]
    fn a_report_survives_with_what_the_model_does_not_have() {
        let status = Status {
            reason: Some(Reason::ContainerLimitationMemory),
            message: Some("too much".into()),
            agent: Some(AgentId::new("a").expect("an id")),
            executor: Some(ExecutorId::new("e").expect("an id")),
            uuid: Some(UpdateId([0x44; 16])),
            healthy: Some(false),
            unreachable_at: Some(Timestamp(7)),
            data: Some(Payload::new(&b"x"[..])),
            rest: payload(&TaskStatus {
                labels: Some(v1::Labels::default()),
                ..TaskStatus::default()
            }),
            ..Status::new(
                TaskId::new("t").expect("an id"),
                TaskState::Failed,
                Source::Executor,
                Timestamp(1_700_000_000_123_456),
            )
        };
        let wire = status_to_wire(&status);
        assert_eq!(wire.state(), v1::TaskState::TaskFailed);
        assert_eq!(wire.data.as_deref(), Some(&b"x"[..]));
        assert_eq!(wire.labels, Some(v1::Labels::default()));
        assert_eq!(status_from_wire(wire, Source::Master), Ok(status));
    }

    #[test]
    fn a_plain_report_carries_nothing() {
        let status = Status::new(
            TaskId::new("t").expect("an id"),
            TaskState::Running,
            Source::Agent,
            Timestamp(5),
        );
        let back = status_from_payload(&status_to_payload(&status)).expect("well formed");
        assert!(back.rest.is_empty());
        assert_eq!(back, status);
    }

    #[test]
    fn every_state_has_its_number() {
        for state in TaskState::ALL {
            let wire = v1::TaskState::try_from(state.number()).expect("on the wire too");
            assert_eq!(wire.as_str_name(), state.name());
        }
        for reason in Reason::ALL {
            let wire = v1::task_status::Reason::try_from(reason.number()).expect("there too");
            assert_eq!(wire.as_str_name(), reason.name());
        }
    }
}
