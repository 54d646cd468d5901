//! The built-in executor: runs the commands of command tasks and task groups inside their
//! container, and reports on them to the agent.
//!
//! It is this same program in another mode, with one thread, and does what [`core`] decides. It
//! talks to the agent as any executor does, over `/api/v1/executor`, so it outlives the agent and
//! finds its successor.

mod container;
pub mod core;
mod link;
pub mod process;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::ids::TaskId;
use model::step::{Core as _, Now, Time, Timestamp};
use model::task::Reason;
use model::units::parse_duration;
use nix::sys::signal::Signal;
use proto::mesos::v1 as mesos;
use std::os::unix::process::ExitStatusExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::core::{Executor, Input, Output, Report, Settings};
use self::link::{Agent, Reporter};
use crate::prober::Answer;

use self::wire::{Heard, Identification, Look, Means, Runnable};

/// Agents that do not say how long an executor is to wait for them.
const RECOVERY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15 * 60);

/// The longest wait before subscribing again, unless the agent says.
const BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(2);

/// How long the agent waits for an executor's end, unless it says.
const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// How often the executor shows the agent that it is there.
const HEARTBEAT: Duration = Duration::from_secs(30 * 60);

/// How long to sleep when there is nothing to wait for. Any long time will do.
const IDLE: Duration = Duration::from_secs(3_600);

/// How long the connection that a report went over is kept for the next one. Most tasks have two reports
/// at their start and none for long, and an agent has many executors.
const REPORTS_APART_MAX: Duration = Duration::from_secs(1);

/// What happens faster than it is dealt with waits at its source once so much is waiting.
const INPUTS_MAX: usize = 256;

/// Containers of tasks that are over and that are kept, with what their tasks have written. The agent
/// has room for some more in one executor's.
const CONTAINERS_OVER_MAX: usize = 256;

/// Where an executor finds the certificates that its agent's is to be checked by.
pub(crate) const CA_VARIABLE: &str = "MESOS_AGENT_TLS_CA_FILE";

/// What the agent tells an executor through its environment.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// `MESOS_AGENT_ENDPOINT`: host and port.
    pub agent_endpoint: String,
    /// `MESOS_DOMAIN_SOCKET`: a file to reach the agent by. Absent: by its endpoint.
    pub socket: Option<PathBuf>,
    /// `MESOS_AGENT_TLS_CA_FILE`: whose word to trust on who the agent is. Absent: its port speaks no TLS.
    pub ca: Option<PathBuf>,
    /// `MESOS_FRAMEWORK_ID`.
    pub framework_id: String,
    /// `MESOS_EXECUTOR_ID`.
    pub executor_id: String,
    /// `MESOS_EXECUTOR_AUTHENTICATION_TOKEN`. Absent: the agent asks for none.
    pub token: Option<String>,
    /// `MESOS_RECOVERY_TIMEOUT`, if `MESOS_CHECKPOINT` is 1. Absent: end with the agent.
    pub recovery_timeout: Option<Duration>,
    /// `MESOS_SUBSCRIPTION_BACKOFF_MAX`.
    pub backoff_max: Duration,
    /// `MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD`.
    pub shutdown_grace: Duration,
}

/// The environment is not that of an executor.
#[derive(Debug, thiserror::Error)]
pub enum BadEnvironment {
    /// A variable is missing.
    #[error("{0} is not set; an executor is started by an agent, which sets it")]
    Missing(&'static str),
    /// A variable is no duration.
    #[error("{name}: {reason}")]
    Duration {
        /// Which one.
        name: &'static str,
        /// Why.
        reason: model::units::BadUnit,
    },
}

impl ExecutorOptions {
    /// Reads this process's environment.
    pub fn from_env() -> Result<Self, BadEnvironment> {
        Self::from_lookup(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_lookup(
        lookup: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, BadEnvironment> {
        let required = |name| lookup(name).ok_or(BadEnvironment::Missing(name));
        let duration = |name, default| match lookup(name) {
            None => Ok(default),
            Some(text) => {
                parse_duration(&text).map_err(|reason| BadEnvironment::Duration { name, reason })
            }
        };
        let recovery_timeout = duration("MESOS_RECOVERY_TIMEOUT", RECOVERY_TIMEOUT_DEFAULT)?;
        let checkpoints = lookup("MESOS_CHECKPOINT").as_deref() == Some("1");
        Ok(Self {
            agent_endpoint: required("MESOS_AGENT_ENDPOINT")?,
            socket: lookup(crate::socket::SOCKET_VARIABLE).map(PathBuf::from),
            ca: lookup(CA_VARIABLE).map(PathBuf::from),
            framework_id: required("MESOS_FRAMEWORK_ID")?,
            executor_id: required("MESOS_EXECUTOR_ID")?,
            token: lookup("MESOS_EXECUTOR_AUTHENTICATION_TOKEN"),
            recovery_timeout: checkpoints.then_some(recovery_timeout),
            backoff_max: duration("MESOS_SUBSCRIPTION_BACKOFF_MAX", BACKOFF_MAX_DEFAULT)?,
            shutdown_grace: duration(
                "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD",
                SHUTDOWN_GRACE_DEFAULT,
            )?,
        })
    }
}

/// Runs the executor to its end and gives the exit code of the process. To be called before any
/// thread is started.
pub fn main(options: &ExecutorOptions) -> i32 {
    // What it has was marked before it was forked; what it executes is the tasks'.
    crate::launcher::memory::allow_large();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(Shell::run(options)),
        Err(error) => {
            eprintln!("the executor cannot start: {error}");
            1
        }
    }
}

/// What happened, and on which subscription if on one: what comes from an earlier one is late.
struct Happened {
    subscription: Option<u64>,
    what: What,
}

enum What {
    Input(Input),
    Heard(Box<Heard>),
}

impl From<Input> for Happened {
    fn from(input: Input) -> Self {
        Self { subscription: None, what: What::Input(input) }
    }
}

/// What the executor acts with.
struct Shell {
    start: Instant,
    agent: Agent,
    identification: Identification,
    inputs: mpsc::Sender<Happened>,
    /// Reports to be sent, one after the other.
    outbox: mpsc::UnboundedSender<(u64, Vec<u8>)>,
    subscription: u64,
    listener: Option<tokio::task::JoinHandle<()>>,
    runnables: BTreeMap<TaskId, Runnable>,
    /// The first process of each running task that is a process beside this one.
    pids: BTreeMap<TaskId, i32>,
    /// Containers of tasks that are over, the oldest first. They keep what their tasks have written.
    over: VecDeque<mesos::ContainerId>,
}

impl Shell {
    async fn run(options: &ExecutorOptions) -> i32 {
        let start = Instant::now();
        let (inputs, mut happened) = mpsc::channel(INPUTS_MAX);
        // The core bounds what waits here: it holds every report until it is acknowledged.
        let (outbox, reports) = mpsc::unbounded_channel();
        let agent = Agent {
            endpoint: options.agent_endpoint.clone(),
            socket: options.socket.clone(),
            ca: options.ca.clone(),
            token: options.token.clone(),
        };
        let identification = Identification {
            framework: options.framework_id.clone(),
            executor: options.executor_id.clone(),
        };
        tokio::spawn(send(agent.clone(), reports, inputs.clone()));
        tokio::spawn(heartbeat(agent.clone(), identification.heartbeat()));
        tokio::spawn(process::reap_orphans());
        tokio::spawn(asked_to_end(inputs.clone()));
        let settings = Settings {
            recovery_timeout: options.recovery_timeout,
            backoff_max: options.backoff_max,
            shutdown_grace: options.shutdown_grace,
        };
        let mut core = Executor::new(settings, seed(), now(start));
        let mut shell = Self {
            start,
            agent,
            identification,
            inputs,
            outbox,
            subscription: 0,
            listener: None,
            runnables: BTreeMap::new(),
            pids: BTreeMap::new(),
            over: VecDeque::new(),
        };
        loop {
            let deadline = core.next_deadline().map_or(Instant::now() + IDLE, |at| start + at.0);
            let input = tokio::select! {
                input = happened.recv() => input.expect("the shell holds a sender itself"),
                () = tokio::time::sleep_until(deadline) => {
                    let mut out = Vec::new();
                    core.wake(now(start), &mut out);
                    if let Some(code) = shell.perform(&mut core, out) {
                        return code;
                    }
                    continue;
                }
            };
            let Some(input) = shell.understand(input) else { continue };
            let mut out = Vec::new();
            core.wake(now(start), &mut out);
            core.step(input, now(start), &mut out);
            if let Some(code) = shell.perform(&mut core, out) {
                return code;
            }
        }
    }

    /// What the core is to hear of what happened.
    fn understand(&mut self, happened: Happened) -> Option<Input> {
        if happened.subscription.is_some_and(|number| number != self.subscription) {
            return None;
        }
        match happened.what {
            What::Input(input) => {
                if let Input::Exited { task, .. } | Input::StartFailed { task, .. } = &input {
                    self.pids.remove(task);
                    self.clear_away(task);
                }
                if matches!(input, Input::Disconnected) {
                    // Whatever else comes on this subscription is late.
                    self.subscription += 1;
                }
                Some(input)
            }
            What::Heard(heard) => match *heard {
                Heard::Input(input, runnables) => {
                    self.runnables.extend(runnables);
                    Some(input)
                }
                Heard::Nothing => None,
                Heard::Refused(message) => {
                    eprintln!("the agent refuses this executor: {message}");
                    Some(Input::Shutdown)
                }
            },
        }
    }

    /// Does what the core wants, and feeds it what comes of it at once. Gives the exit code at the
    /// end.
    fn perform(&mut self, core: &mut Executor, outputs: Vec<Output>) -> Option<i32> {
        let mut exit = None;
        for output in outputs {
            match output {
                Output::Subscribe { tasks, reports } => {
                    self.subscribe(self.identification.subscribe(&tasks, &reports));
                }
                Output::Send(report) => self.report(&report),
                Output::Start(task) => {
                    let Some(input) = self.start_task(task) else { continue };
                    let mut out = Vec::new();
                    core.step(input, now(self.start), &mut out);
                    exit = self.perform(core, out).or(exit);
                }
                Output::SignalTerm(task) => self.signal(&task, Signal::SIGTERM),
                Output::GiveUp(task) | Output::SignalKill(task) => {
                    self.signal(&task, Signal::SIGKILL);
                }
                Output::LookHealth(task, place) => self.look(task, Some(place)),
                Output::LookCheck(task) => self.look(task, None),
                Output::Exit(status) => exit = Some(status),
            }
        }
        exit
    }

    fn subscribe(&mut self, call: Vec<u8>) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
        self.subscription += 1;
        let listening = listen(self.agent.clone(), call, self.subscription, self.inputs.clone());
        self.listener = Some(tokio::spawn(listening));
    }

    fn report(&self, report: &Report) {
        let call = self.identification.update(report);
        // The sender ends with this process only.
        let _ = self.outbox.send((self.subscription, call));
    }

    /// Starts a task. Where it is not known at once what comes of it, that is told later.
    fn start_task(&mut self, task: TaskId) -> Option<Input> {
        let reason = Reason::CommandExecutorFailed;
        let failed = |task, message| Some(Input::StartFailed { task, reason, message });
        let program = match self.runnables.get(&task).map(|runnable| runnable.means.clone()) {
            Some(Ok(Means::Process(program))) => program,
            Some(Ok(Means::Container(own))) => {
                tokio::spawn(container::run(self.agent.clone(), own, task, self.inputs.clone()));
                return None;
            }
            Some(Err(message)) => return failed(task, message),
            None => return failed(task, "The task was launched without its command".to_owned()),
        };
        let mut child = match program.start() {
            Ok(child) => child,
            Err(error) => {
                let name = program.arguments.first().map_or("", String::as_str);
                return failed(task, format!("Cannot execute '{name}': {error}"));
            }
        };
        self.pids.insert(task.clone(), child.pid);
        let inputs = self.inputs.clone();
        let ended = task.clone();
        tokio::spawn(async move {
            // What cannot be waited for has been taken by another, and has ended.
            let status = child.wait().await.map_or(libc::SIGKILL, ExitStatusExt::into_raw);
            let exited = Input::Exited { task: ended, status, broken: None };
            let _ = inputs.send(exited.into()).await;
        });
        Some(Input::Started { task })
    }

    /// The container of a task that has one of its own.
    fn container_of(&self, task: &TaskId) -> Option<mesos::ContainerId> {
        match &self.runnables.get(task)?.means {
            Ok(Means::Container(own)) => Some(own.id.clone()),
            Ok(Means::Process(_)) | Err(_) => None,
        }
    }

    fn signal(&self, task: &TaskId, signal: Signal) {
        if let Some(&pid) = self.pids.get(task) {
            process::signal_tree(pid, signal);
        } else if let Some(container) = self.container_of(task) {
            tokio::spawn(container::signal(self.agent.clone(), container, signal));
        }
    }

    /// Forgets how a task that is over was run. Has the container removed that has been over for longest,
    /// if there are many: the agent keeps only so many in one.
    fn clear_away(&mut self, task: &TaskId) {
        self.over.extend(self.container_of(task));
        self.runnables.remove(task);
        if self.over.len() > CONTAINERS_OVER_MAX
            && let Some(oldest) = self.over.pop_front()
        {
            tokio::spawn(container::remove(self.agent.clone(), oldest));
        }
    }

    /// Looks for the health check at `place`, or else for the check.
    fn look(&self, task: TaskId, place: Option<usize>) {
        let runnable = self.runnables.get(&task);
        let target = runnable.and_then(|runnable| match place {
            Some(place) => runnable.health.get(place).cloned(),
            None => runnable.check.clone(),
        });
        let Some((target, timeout)) = target else { return };
        let inputs = self.inputs.clone();
        let around = (self.agent.clone(), self.container_of(&task));
        tokio::spawn(async move {
            let answer = match (target, around) {
                (Look::Inside(command), (agent, Some(around))) => {
                    let code = container::exit_code(&agent, &around, *command, timeout).await;
                    code.map(Answer::Command).ok()
                }
                // Of a container that is not known nothing is known.
                (Look::Inside(_), (_, None)) => None,
                (Look::Here(target), _) => {
                    let answer = target.look(timeout).await;
                    Some(answer).filter(|answer| !target.ignores(*answer))
                }
                (Look::Never, _) => Some(Answer::Command(None)),
            };
            let input = match place {
                Some(place) => {
                    Input::HealthLooked { task, place, passed: answer.map(Answer::passed) }
                }
                None => Input::CheckLooked { task, answer },
            };
            let _ = inputs.send(input.into()).await;
        });
    }
}

/// Subscribes and passes on what the agent says until the connection ends.
async fn listen(agent: Agent, call: Vec<u8>, number: u64, inputs: mpsc::Sender<Happened>) {
    let subscription = Some(number);
    let mut around = None;
    let reason = match agent.subscribe(call).await {
        Err(reason) => reason,
        Ok(mut events) => loop {
            let heard = match events.next().await {
                Ok(event) => wire::hear(&event, &mut around),
                Err(reason) => break reason,
            };
            match heard {
                Ok(heard) => {
                    let what = What::Heard(Box::new(heard));
                    let _ = inputs.send(Happened { subscription, what }).await;
                }
                Err(reason) => eprintln!("an event of the agent is not understood: {reason}"),
            }
        },
    };
    eprintln!("no connection to the agent: {reason}");
    let what = What::Input(Input::Disconnected);
    let _ = inputs.send(Happened { subscription, what }).await;
}

/// Sends reports in order. One that fails ends its subscription: the next one brings it again.
async fn send(
    agent: Agent,
    mut reports: mpsc::UnboundedReceiver<(u64, Vec<u8>)>,
    inputs: mpsc::Sender<Happened>,
) {
    let mut failed = None;
    let mut reporter = Reporter::new(agent);
    loop {
        let next = if reporter.is_connected() {
            let next = tokio::time::timeout(REPORTS_APART_MAX, reports.recv()).await;
            let Ok(next) = next else {
                reporter.disconnect();
                continue;
            };
            next
        } else {
            reports.recv().await
        };
        let Some((subscription, call)) = next else { return };
        if failed == Some(subscription) {
            continue;
        }
        if let Err(reason) = reporter.call(call).await {
            eprintln!("a status update could not be sent: {reason}");
            failed = Some(subscription);
            let what = What::Input(Input::Disconnected);
            let _ = inputs.send(Happened { subscription: failed, what }).await;
        }
    }
}

/// Ends its tasks and itself when it is told to by SIGTERM. As the first process of a PID namespace it would
/// not hear of that otherwise.
async fn asked_to_end(inputs: mpsc::Sender<Happened>) {
    let Ok(mut asked) = signal(SignalKind::terminate()) else { return };
    if asked.recv().await.is_some() {
        let _ = inputs.send(Input::Shutdown.into()).await;
    }
}

async fn heartbeat(agent: Agent, call: Vec<u8>) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        // A lost connection is noticed where events are read.
        let _ = Reporter::new(agent.clone()).call(call.clone()).await;
    }
}

fn now(start: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
    Now { time: Time(start.elapsed()), wall: Timestamp(micros) }
}

/// Report ids must differ between all executors there ever are.
fn seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<ExecutorOptions, String> {
        let found = ExecutorOptions::from_lookup(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_says_all() {
        let mut variables = vec![
            ("MESOS_AGENT_ENDPOINT", "127.0.0.1:5051"),
            ("MESOS_FRAMEWORK_ID", "f"),
            ("MESOS_EXECUTOR_ID", "e"),
        ];
        let plain = options(&variables).expect("all that is needed");
        assert_eq!(plain.recovery_timeout, None);
        assert_eq!(plain.shutdown_grace, SHUTDOWN_GRACE_DEFAULT);
        variables.extend([("MESOS_CHECKPOINT", "1"), ("MESOS_RECOVERY_TIMEOUT", "10mins")]);
        let checkpointing = options(&variables).expect("all that is needed");
        assert_eq!(checkpointing.recovery_timeout, Some(Duration::from_secs(600)));
        variables.push(("MESOS_SUBSCRIPTION_BACKOFF_MAX", "soon"));
        let error = options(&variables).expect_err("no duration");
        assert!(error.starts_with("MESOS_SUBSCRIPTION_BACKOFF_MAX: 'soon' is not"), "{error}");
        let error = options(&variables[1..]).expect_err("no endpoint");
        assert!(error.starts_with("MESOS_AGENT_ENDPOINT is not set"), "{error}");
    }
}
