//! Between the executor API's messages and what the executor thinks in.

use std::time::Duration;

use model::ids::{TaskId, UpdateId};
use model::payload::Payload;
use prost::Message as _;
use proto::convert::task::health_checks;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::executor::{Call, Event, call, event};
use proto::mesos::v1::task_status::FailingHealthCheck;

use super::container::{self, Own};
use super::core::{Input, Report, Task};
use super::process::{Program, is_at_terminal};
use crate::containerizer::Networks;
use crate::images::{Given, Start};
use crate::launcher::Identity;
use crate::prober::{Answer, Patience, Schedule, Target};
use crate::wanted::networks;

/// Who this executor is, as every call says.
#[derive(Clone, Debug)]
pub(super) struct Identification {
    pub(super) framework: String,
    pub(super) executor: String,
}

/// What a task executes and what is looked at to check it.
#[derive(Clone, Debug)]
pub(super) struct Runnable {
    /// Or why it cannot be executed.
    pub(super) means: Result<Means, String>,
    /// In the order of the checks.
    pub(super) health: Vec<(Look, Duration)>,
    pub(super) check: Option<(Look, Duration)>,
}

/// How a task is run.
#[derive(Clone, Debug)]
pub(super) enum Means {
    /// As a process beside this one.
    Process(Program),
    /// By the agent.
    Container(Own),
}

/// What is looked at, and from where.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// From here, where networks and, for a process, files are the same.
    Here(Target),
    /// By a command in the task's own container.
    Inside(Box<mesos::CommandInfo>),
    /// Not at all: it cannot be looked at as is wanted, so it is never well.
    Never,
}

/// An event of the agent, understood.
pub(super) enum Heard {
    /// For the core; with what to execute if it is a launch.
    Input(Input, Vec<(TaskId, Runnable)>),
    /// Nothing to do.
    Nothing,
    /// The agent refuses this executor.
    Refused(String),
}

/// Reads an event. The first of a subscription says which container this executor is in, which is
/// left in `around`.
pub(super) fn hear(bytes: &[u8], around: &mut Option<mesos::ContainerId>) -> Result<Heard, String> {
    let event: Event = proto::wire::decode(bytes).map_err(|error| error.to_string())?;
    Ok(match event.r#type() {
        event::Type::Subscribed => {
            let subscribed = event.subscribed.unwrap_or_default();
            *around = subscribed.container_id;
            let framework = subscribed.framework_info;
            let wanted = i32::from(mesos::framework_info::capability::Type::TaskKillingState);
            let tells_killing =
                framework.capabilities.iter().any(|capability| capability.r#type == Some(wanted));
            Heard::Input(Input::Subscribed { tells_killing }, Vec::new())
        }
        event::Type::Launch => {
            launch(vec![event.launch.unwrap_or_default().task], Launched::Alone)?
        }
        event::Type::LaunchGroup => {
            let group = event.launch_group.unwrap_or_default().task_group;
            launch(group.tasks, Launched::InGroup(around.as_ref()))?
        }
        event::Type::Kill => {
            let kill = event.kill.unwrap_or_default();
            let grace = kill.kill_policy.and_then(grace);
            Heard::Input(Input::Kill { task: task_id(&kill.task_id)?, grace }, Vec::new())
        }
        event::Type::Acknowledged => {
            let acknowledged = event.acknowledged.unwrap_or_default();
            let uuid: [u8; 16] =
                acknowledged.uuid[..].try_into().map_err(|_| "a bad uuid".to_owned())?;
            let task = task_id(&acknowledged.task_id)?;
            Heard::Input(Input::Acknowledged { task, uuid: UpdateId(uuid) }, Vec::new())
        }
        event::Type::Shutdown => Heard::Input(Input::Shutdown, Vec::new()),
        event::Type::Error => Heard::Refused(event.error.unwrap_or_default().message),
        event::Type::Message | event::Type::Heartbeat | event::Type::Unknown => Heard::Nothing,
    })
}

/// How tasks came.
#[derive(Clone, Copy)]
enum Launched<'a> {
    /// One that its executor was started for alone.
    Alone,
    /// Together, to be in this container if some are to be in one of their own. Absent: it is not known.
    InGroup(Option<&'a mesos::ContainerId>),
}

fn launch(infos: Vec<mesos::TaskInfo>, launched: Launched<'_>) -> Result<Heard, String> {
    let mut tasks = Vec::new();
    let mut runnables = Vec::new();
    for info in infos {
        let id = task_id(&info.task_id)?;
        let runnable = runnable(&info, launched);
        let own = match &runnable.means {
            Ok(Means::Container(own)) => Some(own.id.clone()),
            Ok(Means::Process(_)) | Err(_) => None,
        };
        tasks.push(Task {
            id: id.clone(),
            payload: Payload::from(info.encode_to_vec()),
            grace: info.kill_policy.and_then(grace),
            max_completion: info.max_completion_time.map(duration),
            health: health_checks(info.health_check.as_deref())
                .map(|check| (health_schedule(check), patience(check)))
                .collect(),
            check: info.check.as_ref().and_then(|check| {
                Some((check_schedule(check), check_target(check, &[])?.unanswered()))
            }),
            is_slow: own.is_some(),
            rest: own.map_or_else(Payload::default, |own| rest(Some(own), None)),
        });
        runnables.push((id, runnable));
    }
    Ok(Heard::Input(Input::Launch(tasks), runnables))
}

/// What reports of a task in a container of its own say besides.
pub(super) fn rest(
    container_id: Option<mesos::ContainerId>,
    limitation: Option<mesos::TaskResourceLimitation>,
) -> Payload {
    let container_status = mesos::ContainerStatus { container_id, ..Default::default() };
    let rest = mesos::TaskStatus {
        container_status: Some(container_status),
        limitation,
        ..mesos::TaskStatus::default()
    };
    Payload::from(rest.encode_to_vec())
}

fn runnable(info: &mesos::TaskInfo, launched: Launched<'_>) -> Runnable {
    let mut environment = Vec::new();
    let mut add = |name: &str, value: &str| environment.push((name.to_owned(), value.to_owned()));
    add("MESOS_TASK_ID", &info.task_id.value);
    let mut allocations = info.resources.iter().filter_map(|each| each.allocation_info.as_ref());
    if let Some(role) = allocations.find_map(|allocation| allocation.role.as_deref()) {
        add("MESOS_ALLOCATION_ROLE", role);
    }
    // In a network of its own the agent has said so already.
    if let Some(ip) = std::env::var("LIBPROCESS_IP").ok().filter(|_| !has_own_address()) {
        add("MESOS_CONTAINER_IP", &ip);
    }
    if let Launched::InGroup(around) = launched
        && container::is_needed(info)
    {
        return in_container(info, around, environment);
    }
    let program = task_program(info, environment);
    // Checks see what the task sees.
    let around = program.as_ref().map_or(&[][..], |program| &program.environment);
    let health = health_looks(info, |it| health_target(it, around).map(Look::Here));
    let check = info
        .check
        .as_ref()
        .and_then(|it| Some((Look::Here(check_target(it, around)?), check_schedule(it).timeout)));
    Runnable { means: program.map(Means::Process), health, check }
}

fn in_container(
    info: &mesos::TaskInfo,
    around: Option<&mesos::ContainerId>,
    environment: Vec<(String, String)>,
) -> Runnable {
    let unknown = || "The agent has not said in which container its executor is".to_owned();
    let around = around.cloned().ok_or_else(unknown);
    let means = around.map(|around| Means::Container(container::own(info, around, environment)));
    let look = |command: Option<&mesos::CommandInfo>, target: Option<Target>| match command {
        Some(command) => Some(Look::Inside(Box::new(command.clone()))),
        None => target.map(Look::Here),
    };
    let means = if is_looked_at_elsewhere(info) { Err(ELSEWHERE.to_owned()) } else { means };
    let health = health_looks(info, |it| look(it.command.as_ref(), health_target(it, &[])));
    let check = info.check.as_ref().and_then(|it| {
        let command = it.command.as_ref().map(|it| &it.command);
        Some((look(command, check_target(it, &[]))?, check_schedule(it).timeout))
    });
    Runnable { means, health, check }
}

/// What is looked at for each health check, and how long that may take.
fn health_looks(
    info: &mesos::TaskInfo,
    look: impl Fn(&mesos::HealthCheck) -> Option<Look>,
) -> Vec<(Look, Duration)> {
    let checks = health_checks(info.health_check.as_deref());
    let one = |it| (look(it).unwrap_or(Look::Never), health_schedule(it).timeout);
    checks.map(one).collect()
}

/// Why a task is not run of which nothing could be said.
const ELSEWHERE: &str = "HTTP and TCP checks look from the network of the task's group, and this task \
    has one of its own; give the network to the executor of the group, or check by a command";

/// Whether a check of a task is by a network that this executor is not in.
fn is_looked_at_elsewhere(info: &mesos::TaskInfo) -> bool {
    let is_away = |it: &mesos::ContainerInfo| networks::read(it) != Ok(Networks::Host);
    let by_network = |target: &Target| !matches!(target, Target::Command(_));
    let health = health_checks(info.health_check.as_deref());
    let health = health.filter_map(|it| health_target(it, &[]));
    let check = info.check.as_ref().and_then(|it| check_target(it, &[]));
    info.container.as_deref().is_some_and(is_away) && health.chain(check).any(|it| by_network(&it))
}

fn has_own_address() -> bool {
    std::env::var_os("MESOS_CONTAINER_IP").is_some()
}

/// What a task executes. In a container of an image the image has a say.
fn task_program(
    info: &mesos::TaskInfo,
    mut environment: Vec<(String, String)>,
) -> Result<Program, String> {
    let none = || "The task has no command for the built-in executor to run".to_owned();
    let tty = info.container.as_ref().and_then(|container| container.tty_info);
    if tty.is_some() && !is_at_terminal() {
        return Err("The task wants a terminal, and its executor has been given none".to_owned());
    }
    let Some(start) = std::env::var(Start::VARIABLE).ok().and_then(|it| Start::from_variable(&it))
    else {
        return program(info.command.as_ref().ok_or_else(none)?, &environment);
    };
    let given = info.command.clone().unwrap_or_default();
    environment.splice(0..0, start.env.iter().cloned());
    // The executor is whom the task is to be already, and only the agent can tell who that is.
    let command = mesos::CommandInfo { user: None, ..given.clone() };
    let (shell, value) = (given.shell(), given.value());
    let (path, arguments) =
        start.command_line(Given { shell, value, arguments: &given.arguments })?;
    let command =
        mesos::CommandInfo { shell: Some(false), value: Some(path), arguments, ..command };
    program(&command, &environment)
}

fn program(command: &mesos::CommandInfo, around: &[(String, String)]) -> Result<Program, String> {
    let mut environment = around.to_vec();
    for variable in command.environment.iter().flat_map(|environment| &environment.variables) {
        environment.push((variable.name.clone(), variable_value(variable)?));
    }
    let user = command.user.as_deref().filter(|user| !user.is_empty());
    let user = user.map(Identity::of).transpose().map_err(|error| error.to_string())?;
    // Whoever this executor is already, it need not and may not become.
    let user = user.filter(|user| user.uid != nix::unistd::geteuid().as_raw());
    let value = command.value.clone().unwrap_or_default();
    if command.shell() {
        let arguments = vec!["sh".to_owned(), "-c".to_owned(), value];
        return Ok(Program { path: "/bin/sh".to_owned(), arguments, environment, user });
    }
    if value.is_empty() {
        return Err("The task's command has neither a value nor is it for the shell".to_owned());
    }
    let mut arguments = command.arguments.clone();
    if arguments.is_empty() {
        arguments.push(value.clone());
    }
    Ok(Program { path: value, arguments, environment, user })
}

fn variable_value(variable: &mesos::environment::Variable) -> Result<String, String> {
    if variable.r#type() != mesos::environment::variable::Type::Secret {
        return Ok(variable.value.clone().unwrap_or_default());
    }
    let value = variable.secret.as_ref().and_then(|secret| secret.value.as_ref());
    let value = value.and_then(|value| String::from_utf8(value.data.to_vec()).ok());
    let name = &variable.name;
    value.ok_or_else(|| format!("The secret for variable '{name}' cannot be resolved"))
}

fn health_target(check: &mesos::HealthCheck, around: &[(String, String)]) -> Option<Target> {
    use mesos::health_check::Type;
    let v6 = i32::from(mesos::network_info::Protocol::IPv6);
    match check.r#type() {
        Type::Command => Some(Target::Command(program(check.command.as_ref()?, around).ok()?)),
        Type::Http => {
            let http = check.http.as_ref()?;
            Some(Target::Http {
                tls: http.scheme.as_deref() == Some("https"),
                ipv6: http.protocol == Some(v6),
                port: u16::try_from(http.port).ok()?,
                path: path(http.path.as_deref())?,
                ignores_1xx: http.ignore_informational(),
            })
        }
        Type::Tcp => {
            let tcp = check.tcp.as_ref()?;
            Some(Target::Tcp {
                ipv6: tcp.protocol == Some(v6),
                port: u16::try_from(tcp.port).ok()?,
            })
        }
        Type::Unknown => None,
    }
}

fn check_target(check: &mesos::CheckInfo, around: &[(String, String)]) -> Option<Target> {
    use mesos::check_info::Type;
    match check.r#type() {
        Type::Command => {
            let command = &check.command.as_ref()?.command;
            Some(Target::Command(program(command, around).ok()?))
        }
        Type::Http => {
            let http = check.http.as_ref()?;
            let port = u16::try_from(http.port).ok()?;
            let path = path(http.path.as_deref())?;
            Some(Target::Http { tls: false, ipv6: false, port, path, ignores_1xx: false })
        }
        Type::Tcp => {
            let port = u16::try_from(check.tcp.as_ref()?.port).ok()?;
            Some(Target::Tcp { ipv6: false, port })
        }
        Type::Unknown => None,
    }
}

/// A path that stays one word of one line in a request.
fn path(path: Option<&str>) -> Option<String> {
    let path = path.unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    path.chars().all(|c| c.is_ascii_graphic()).then_some(path)
}

fn health_schedule(check: &mesos::HealthCheck) -> Schedule {
    Schedule {
        delay: from_seconds(check.delay_seconds()),
        interval: from_seconds(check.interval_seconds()),
        timeout: timeout(check.timeout_seconds()),
    }
}

fn patience(check: &mesos::HealthCheck) -> Patience {
    Patience {
        grace: from_seconds(check.grace_period_seconds()),
        failures_max: check.consecutive_failures().max(1),
    }
}

fn check_schedule(check: &mesos::CheckInfo) -> Schedule {
    Schedule {
        delay: from_seconds(check.delay_seconds()),
        interval: from_seconds(check.interval_seconds()),
        timeout: timeout(check.timeout_seconds()),
    }
}

/// Zero means without limit.
fn timeout(seconds: f64) -> Duration {
    let timeout = from_seconds(seconds);
    if timeout.is_zero() { Duration::from_secs(86_400) } else { timeout }
}

fn from_seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn grace(policy: mesos::KillPolicy) -> Option<Duration> {
    policy.grace_period.map(duration)
}

fn duration(info: mesos::DurationInfo) -> Duration {
    Duration::from_nanos(u64::try_from(info.nanoseconds).unwrap_or(0))
}

fn task_id(id: &mesos::TaskId) -> Result<TaskId, String> {
    TaskId::new(id.value.as_str()).map_err(|error| error.to_string())
}

impl Identification {
    /// The SUBSCRIBE call.
    pub(super) fn subscribe(&self, tasks: &[Payload], reports: &[Report]) -> Vec<u8> {
        let tasks = tasks.iter().filter_map(|task| mesos::TaskInfo::decode(task.as_bytes()).ok());
        let reports = reports.iter().map(|report| call::Update { status: self.status(report) });
        let subscribe = call::Subscribe {
            unacknowledged_tasks: tasks.collect(),
            unacknowledged_updates: reports.collect(),
        };
        Call { subscribe: Some(subscribe), ..self.call(call::Type::Subscribe) }.encode_to_vec()
    }

    /// An UPDATE call.
    pub(super) fn update(&self, report: &Report) -> Vec<u8> {
        let update = call::Update { status: self.status(report) };
        Call { update: Some(update), ..self.call(call::Type::Update) }.encode_to_vec()
    }

    /// A HEARTBEAT call.
    pub(super) fn heartbeat(&self) -> Vec<u8> {
        self.call(call::Type::Heartbeat).encode_to_vec()
    }

    fn call(&self, kind: call::Type) -> Call {
        Call {
            executor_id: mesos::ExecutorId { value: self.executor.clone() },
            framework_id: mesos::FrameworkId { value: self.framework.clone() },
            r#type: Some(kind.into()),
            ..Call::default()
        }
    }

    fn status(&self, report: &Report) -> mesos::TaskStatus {
        let status = &report.status;
        let rest: mesos::TaskStatus = proto::convert::unpack_own(&status.rest);
        mesos::TaskStatus {
            task_id: mesos::TaskId { value: status.task.as_str().to_owned() },
            state: status.state.number(),
            message: status.message.as_deref().map(str::to_owned),
            source: Some(status.source.number()),
            reason: status.reason.map(model::task::Reason::number),
            executor_id: Some(mesos::ExecutorId { value: self.executor.clone() }),
            timestamp: Some(status.at.as_secs_f64()),
            uuid: status.uuid.map(|uuid| uuid.0.to_vec().into()),
            healthy: status.healthy,
            check_status: report.check.map(check_status),
            failing_health_checks: report.failing.iter().copied().map(failing).collect(),
            ..rest
        }
    }
}

fn failing((place, failures): (u32, u32)) -> FailingHealthCheck {
    FailingHealthCheck { place, failures }
}

fn check_status(answer: Answer) -> mesos::CheckStatusInfo {
    use mesos::check_info::Type;
    use mesos::check_status_info::{Command, Http, Tcp};
    let mut info = mesos::CheckStatusInfo::default();
    match answer {
        Answer::Command(exit_code) => {
            info.r#type = Some(Type::Command.into());
            info.command = Some(Command { exit_code });
        }
        Answer::Http(status) => {
            info.r#type = Some(Type::Http.into());
            info.http = Some(Http { status_code: status.map(u32::from) });
        }
        Answer::Tcp(succeeded) => {
            info.r#type = Some(Type::Tcp.into());
            info.tcp = Some(Tcp { succeeded });
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use model::step::Timestamp;
    use model::task::{Source, Status, TaskState};

    use super::*;

    fn task(network: Option<&str>, check: &str) -> mesos::TaskInfo {
        let networks = network.map(|name| format!(r#"{{"name":"{name}"}}"#)).unwrap_or_default();
        let json = format!(
            r#"{{"name":"t","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},
                "command":{{"value":"true"}},"check":{check},
                "container":{{"type":"MESOS","hostname":"h","network_infos":[{networks}]}}}}"#
        );
        proto::json::from_slice(json.as_bytes()).expect("well formed")
    }

    #[test]
    fn what_is_said_of_a_check_before_anybody_has_looked_is_taken_by_agents() {
        use crate::prober::Answer;
        let whose = Identification { framework: "f".to_owned(), executor: "e".to_owned() };
        let mut status = Status::new(
            TaskId::new("t").expect("an id"),
            TaskState::Running,
            Source::Executor,
            Timestamp(0),
        );
        status.uuid = Some(UpdateId(model::rng::Rng::new(1).uuid()));
        for (check, answer) in [
            (r#"{"type":"TCP","tcp":{"port":80}}"#, Answer::Tcp(None)),
            (r#"{"type":"HTTP","http":{"port":80}}"#, Answer::Http(None)),
            (r#"{"type":"COMMAND","command":{"command":{"value":"true"}}}"#, Answer::Command(None)),
        ] {
            let info = task(None, check).check.expect("it has one");
            let nothing = check_target(&info, &[]).map(|target| target.unanswered());
            assert_eq!(nothing, Some(answer));
            let report =
                Report { status: status.clone(), check: nothing, failing: Vec::new(), sent: true };
            let call = Call::decode(whose.update(&report).as_slice()).expect("it is well formed");
            let taken = proto::convert::executor::call_from_wire(call);
            assert!(taken.is_ok(), "{check}: {taken:?}");
        }
    }

    #[test]
    fn a_task_in_a_network_of_its_own_is_not_checked_from_another() {
        let around = mesos::ContainerId { value: "c".to_owned(), parent: None };
        let means = |task| runnable(&task, Launched::InGroup(Some(&around))).means;
        let http = r#"{"type":"HTTP","http":{"port":80}}"#;
        let refused = means(task(Some("blue"), http)).expect_err("it would look elsewhere");
        assert!(refused.starts_with("HTTP and TCP checks look from the network of"), "{refused}");
        let refused = means(task(Some("blue"), r#"{"type":"TCP","tcp":{"port":80}}"#));
        assert!(refused.is_err(), "it would look elsewhere");
        let command = r#"{"type":"COMMAND","command":{"command":{"value":"true"}}}"#;
        for (network, check) in [(Some("blue"), command), (Some(""), http), (None, http)] {
            means(task(network, check)).expect("it looks where the task is");
        }
    }
}
