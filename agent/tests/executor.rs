//! The built-in executor as a process, against an agent that is played by the test.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::executor::{Call, Event, call, event};
use proto::mesos::v1::task_status::FailingHealthCheck;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// How long anything here may take. Far more than it does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

type Records = mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>;

/// An agent's side of `/api/v1/executor`.
struct Agent {
    address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    events: Arc<Mutex<Option<Records>>>,
    server: JoinHandle<()>,
    /// How many connections there have been.
    accepted: Arc<AtomicUsize>,
    /// Whether each connection is ended with the answer to what came over it.
    ends_connections: Arc<AtomicBool>,
    /// Calls seen while waiting for others.
    passed_by: VecDeque<Call>,
}

impl Agent {
    async fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (sender, calls) = mpsc::unbounded_channel();
        let events = Arc::new(Mutex::new(None));
        let (accepted, ends_connections) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let shared = Arc::clone(&events);
        let (counted, ends) = (Arc::clone(&accepted), Arc::clone(&ends_connections));
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                counted.fetch_add(1, Ordering::Relaxed);
                let (sender, shared, ends) =
                    (sender.clone(), Arc::clone(&shared), Arc::clone(&ends));
                let service = service_fn(move |request| {
                    answer(request, sender.clone(), Arc::clone(&shared), Arc::clone(&ends))
                });
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        let passed_by = VecDeque::new();
        Self { address, calls, events, server, accepted, ends_connections, passed_by }
    }

    /// Ends as with kill -9: all connections break.
    async fn die(self) -> SocketAddr {
        self.server.abort();
        let _ = self.server.await;
        self.address
    }

    async fn say(&self, event: Event) {
        let record = proto::recordio::encode(&event.encode_to_vec());
        let events = self.events.lock().await;
        let events = events.as_ref().expect("the executor is subscribed");
        events.send(Ok(Frame::data(record))).expect("the executor listens");
    }

    async fn call(&mut self) -> Call {
        let call = tokio::time::timeout(PATIENCE, self.calls.recv()).await;
        call.expect("the executor calls").expect("the server runs")
    }

    /// Accepts the next subscription; gives what it brought.
    async fn subscribed(&mut self) -> call::Subscribe {
        let mut call = self.call().await;
        while call.r#type() == call::Type::Update {
            // It has not noticed yet that there is another agent, and will bring it again.
            call = self.call().await;
        }
        assert_eq!(call.r#type(), call::Type::Subscribe);
        assert_eq!(call.framework_id.value, "f");
        let mut subscribed = event::Subscribed::default();
        let wanted = mesos::framework_info::capability::Type::TaskKillingState;
        let capability = mesos::framework_info::Capability { r#type: Some(wanted.into()) };
        subscribed.framework_info.capabilities.push(capability);
        let event = Event {
            r#type: Some(event::Type::Subscribed.into()),
            subscribed: Some(subscribed),
            ..Event::default()
        };
        self.say(event).await;
        call.subscribe.expect("it is there")
    }

    /// The next update, without acknowledging it.
    async fn unacknowledged(&mut self) -> mesos::TaskStatus {
        let call = match self.passed_by.pop_front() {
            Some(call) => call,
            None => self.call().await,
        };
        assert_eq!(call.r#type(), call::Type::Update, "{call:?}");
        call.update.expect("it is there").status
    }

    async fn acknowledge(&self, status: &mesos::TaskStatus) {
        let acknowledged = event::Acknowledged {
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().expect("every update has one"),
        };
        let event = Event {
            r#type: Some(event::Type::Acknowledged.into()),
            acknowledged: Some(acknowledged),
            ..Event::default()
        };
        self.say(event).await;
    }

    /// The next update, acknowledged.
    async fn update(&mut self) -> mesos::TaskStatus {
        let status = self.unacknowledged().await;
        self.acknowledge(&status).await;
        status
    }

    async fn expect_states(&mut self, states: &[mesos::TaskState]) {
        for state in states {
            assert_eq!(self.update().await.state(), *state);
        }
    }

    async fn launch(&self, task: mesos::TaskInfo) {
        let launch = Some(event::Launch { task });
        let kind = event::Type::Launch;
        self.say(Event { r#type: Some(kind.into()), launch, ..Event::default() }).await;
    }

    async fn kill(&self, task: &str) {
        let kill = event::Kill { task_id: task_id(task), kill_policy: None };
        let kind = Some(event::Type::Kill.into());
        self.say(Event { r#type: kind, kill: Some(kill), ..Event::default() }).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    calls: mpsc::UnboundedSender<Call>,
    events: Arc<Mutex<Option<Records>>>,
    ends_connections: Arc<AtomicBool>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, Infallible> {
    assert_eq!(request.uri().path(), "/api/v1/executor");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let call: Call = proto::wire::decode(&body).expect("a call");
    let subscribes = call.r#type() == call::Type::Subscribe;
    let (records, stream) = mpsc::unbounded_channel();
    if subscribes {
        *events.lock().await = Some(records);
    } else {
        drop(records);
    }
    calls.send(call).expect("the test runs");
    let status = if subscribes { StatusCode::OK } else { StatusCode::ACCEPTED };
    let body = StreamBody::new(UnboundedReceiverStream::new(stream));
    let mut response = Response::builder().status(status);
    if ends_connections.load(Ordering::Relaxed) {
        response = response.header("connection", "close");
    }
    Ok(response.body(BodyExt::boxed(body)).expect("plain parts"))
}

fn executor(agent: &Agent, sandbox: &std::path::Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_agent-test-helper"))
        .arg("executor")
        .env_clear()
        .envs([
            ("PATH", "/usr/bin:/bin"),
            ("MESOS_AGENT_ENDPOINT", &agent.address.to_string()),
            ("MESOS_FRAMEWORK_ID", "f"),
            ("MESOS_EXECUTOR_ID", "e"),
            ("MESOS_CHECKPOINT", "1"),
            ("MESOS_RECOVERY_TIMEOUT", "1mins"),
            ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "100ms"),
            ("MESOS_SANDBOX", &sandbox.display().to_string()),
        ])
        .current_dir(sandbox)
        .kill_on_drop(true)
        .spawn()
        .expect("the helper was built")
}

fn task_id(name: &str) -> mesos::TaskId {
    mesos::TaskId { value: name.to_owned() }
}

fn task(name: &str, command: &str) -> mesos::TaskInfo {
    let command = mesos::CommandInfo { value: Some(command.to_owned()), ..Default::default() };
    mesos::TaskInfo {
        name: name.to_owned(),
        task_id: task_id(name),
        command: Some(command),
        ..Default::default()
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn until_there(path: &std::path::Path) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(tokio::time::Instant::now() < deadline, "{} does not come", path.display());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ended(mut executor: Child) -> Option<i32> {
    let ended = tokio::time::timeout(PATIENCE, executor.wait()).await.expect("it ends");
    ended.expect("it was waited for").code()
}

use mesos::TaskState::{
    TaskFailed, TaskFinished, TaskKilled, TaskKilling, TaskRunning, TaskStarting,
};

#[tokio::test]
async fn a_command_task_runs_to_its_end() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    let mut info = task("t", "echo $MESOS_TASK_ID $COLOUR $MESOS_SANDBOX > out; exit 3");
    let variable = mesos::environment::Variable {
        name: "COLOUR".to_owned(),
        value: Some("blue".to_owned()),
        ..Default::default()
    };
    info.command.as_mut().expect("it has one").environment =
        Some(mesos::Environment { variables: vec![variable] });
    agent.launch(info).await;
    agent.expect_states(&[TaskStarting, TaskRunning]).await;
    let status = agent.update().await;
    assert_eq!(status.state(), TaskFailed);
    assert_eq!(status.message.as_deref(), Some("Command exited with status 3"));
    assert_eq!(status.source(), mesos::task_status::Source::Executor);
    assert_eq!(status.executor_id.expect("it says").value, "e");
    assert_eq!(ended(executor).await, Some(0));
    let out = std::fs::read_to_string(sandbox.path().join("out")).expect("it was written");
    assert_eq!(out, format!("t blue {}\n", sandbox.path().display()));
}

#[tokio::test]
async fn reports_come_over_one_connection_unless_the_agent_ends_it() {
    // Of each: that of the events, and those of three reports.
    for (ends_connections, expected) in [(false, 2), (true, 4)] {
        let sandbox = tempfile::tempdir().expect("a directory");
        let mut agent = Agent::start(any_port()).await;
        agent.ends_connections.store(ends_connections, Ordering::Relaxed);
        let executor = executor(&agent, sandbox.path());
        agent.subscribed().await;
        agent.launch(task("t", "true")).await;
        agent.expect_states(&[TaskStarting, TaskRunning, TaskFinished]).await;
        assert_eq!(ended(executor).await, Some(0));
        assert_eq!(agent.accepted.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn a_kill_reaches_the_whole_process_tree() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    // The one in a session of its own tells that the signal came.
    let command = "setsid sh -c 'trap \"touch asked; exit\" TERM; touch up; while :; do sleep 0.01; done' & wait; wait";
    agent.launch(task("t", command)).await;
    agent.expect_states(&[TaskStarting, TaskRunning]).await;
    until_there(&sandbox.path().join("up")).await;
    agent.kill("t").await;
    assert_eq!(agent.update().await.state(), TaskKilling);
    let status = agent.update().await;
    assert_eq!(status.state(), TaskKilled);
    assert_eq!(status.message.as_deref(), Some("Command terminated with signal Terminated"));
    assert_eq!(ended(executor).await, Some(0));
    until_there(&sandbox.path().join("asked")).await;
}

#[tokio::test]
async fn an_executor_that_is_asked_to_end_ends_its_task_first() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    let command = "trap 'touch asked; exit' TERM; touch up; while :; do sleep 0.01; done";
    agent.launch(task("t", command)).await;
    agent.expect_states(&[TaskStarting, TaskRunning]).await;
    until_there(&sandbox.path().join("up")).await;
    let pid = executor.id().expect("it runs").cast_signed();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM)
        .expect("it is there");
    agent.expect_states(&[TaskKilling, TaskKilled]).await;
    assert_eq!(ended(executor).await, Some(0));
    assert!(sandbox.path().join("asked").exists());
}

#[tokio::test]
async fn an_executor_outlives_its_agent_and_tells_the_next_one() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    agent.launch(task("t", "while ! test -e end; do sleep 0.01; done")).await;
    agent.expect_states(&[TaskStarting]).await;
    let running = agent.unacknowledged().await;
    assert_eq!(running.state(), TaskRunning);

    let address = agent.die().await;
    std::fs::write(sandbox.path().join("end"), "").expect("the sandbox is there");
    let mut next = Agent::start(address).await;
    let brought = next.subscribed().await;
    assert!(brought.unacknowledged_tasks.is_empty(), "one report was acknowledged");
    let statuses: Vec<_> =
        brought.unacknowledged_updates.into_iter().map(|update| update.status).collect();
    assert_eq!(statuses[0], running, "the very same report");
    next.acknowledge(&running).await;
    // The end came before the subscription, or after it.
    let finished = match statuses.get(1) {
        Some(status) => {
            next.acknowledge(status).await;
            status.clone()
        }
        None => next.update().await,
    };
    assert_eq!(finished.state(), TaskFinished);
    assert_eq!(ended(executor).await, Some(0));
}

/// A health check by a command, which is first made at once and fails for good after so many times in a row.
fn checked_by(command: &str, failures_max: u32, interval: f64) -> mesos::HealthCheck {
    mesos::HealthCheck {
        r#type: Some(mesos::health_check::Type::Command.into()),
        command: Some(mesos::CommandInfo { value: Some(command.to_owned()), ..Default::default() }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(interval),
        grace_period_seconds: Some(30.0),
        consecutive_failures: Some(failures_max),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_task_that_fails_its_health_check_is_killed() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    let health_check = checked_by("test $MESOS_TASK_ID = t && test -e well", 2, 0.01);
    let mut info = task("t", "sleep 1000");
    info.health_check = Some(health_check.into());
    agent.launch(info).await;
    agent.expect_states(&[TaskStarting, TaskRunning]).await;
    std::fs::write(sandbox.path().join("well"), "").expect("the sandbox is there");
    let healthy = agent.update().await;
    assert_eq!((healthy.state(), healthy.healthy), (TaskRunning, Some(true)));
    let reason = mesos::task_status::Reason::TaskHealthCheckStatusUpdated;
    assert_eq!(healthy.reason(), reason);
    std::fs::remove_file(sandbox.path().join("well")).expect("it is there");
    for state in [TaskRunning, TaskRunning, TaskKilling, TaskKilled] {
        let status = agent.update().await;
        assert_eq!((status.state(), status.healthy), (state, Some(false)));
    }
    assert_eq!(ended(executor).await, Some(0));
}

#[tokio::test]
async fn all_health_checks_are_made_and_those_that_fail_are_named() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    // The first may fail as often as it will; the second is at its end after three times.
    let check = |file: &str, failures: u32, interval: f64| {
        checked_by(&format!("test -e {file}"), failures, interval)
    };
    let mut checks = check("one", u32::MAX, 3600.0);
    checks.additional_checks = vec![check("two", 3, 0.01), check("one", 1, 3600.0)];
    let mut info = task("t", "sleep 1000");
    info.health_check = Some(checks.into());
    for file in ["one", "two"] {
        std::fs::write(sandbox.path().join(file), "").expect("the sandbox is there");
    }
    agent.launch(info).await;
    agent.expect_states(&[TaskStarting, TaskRunning]).await;
    let healthy = agent.update().await;
    assert_eq!((healthy.state(), healthy.healthy), (TaskRunning, Some(true)), "one word of all");
    assert!(healthy.failing_health_checks.is_empty());
    std::fs::remove_file(sandbox.path().join("two")).expect("it is there");
    let told = [(TaskRunning, 1), (TaskRunning, 2), (TaskRunning, 3), (TaskKilling, 3)];
    for (state, failures) in [&told[..], &[(TaskKilled, 3)]].concat() {
        let status = agent.update().await;
        assert_eq!((status.state(), status.healthy), (state, Some(false)));
        let failing = FailingHealthCheck { place: 1, failures };
        assert_eq!(status.failing_health_checks, [failing]);
    }
    assert_eq!(ended(executor).await, Some(0));
}

#[tokio::test]
async fn a_health_check_that_cannot_be_made_fails() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    let mut info = task("t", "sleep 1000");
    let mut check = checked_by("true", 1, 1.0);
    check.grace_period_seconds = Some(0.0);
    let command = check.command.as_mut().expect("one");
    command.user = Some("nobody-by-that-name".to_owned());
    info.health_check = Some(check.into());
    agent.launch(info).await;
    agent.expect_states(&[TaskStarting, TaskRunning]).await;
    for state in [TaskRunning, TaskKilling, TaskKilled] {
        let status = agent.update().await;
        assert_eq!((status.state(), status.healthy), (state, Some(false)));
    }
    assert_eq!(ended(executor).await, Some(0));
}

#[tokio::test]
async fn a_group_ends_with_its_first_failure() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    let tasks = vec![
        task("a", "sleep 1000"),
        task("b", "while ! test -e fail; do sleep 0.01; done; no-such-program"),
    ];
    let group = event::LaunchGroup { task_group: mesos::TaskGroupInfo { tasks } };
    let kind = Some(event::Type::LaunchGroup.into());
    agent.say(Event { r#type: kind, launch_group: Some(group), ..Event::default() }).await;
    agent.expect_states(&[TaskStarting, TaskStarting, TaskRunning, TaskRunning]).await;
    std::fs::write(sandbox.path().join("fail"), "").expect("the sandbox is there");
    let failed = agent.update().await;
    assert_eq!((failed.state(), failed.task_id.value.as_str()), (TaskFailed, "b"));
    assert_eq!(failed.message.as_deref(), Some("Command exited with status 127"));
    agent.expect_states(&[TaskKilling, TaskKilled]).await;
    assert_eq!(ended(executor).await, Some(0));
}

#[tokio::test]
async fn a_command_that_cannot_be_executed_fails_with_the_reason() {
    let sandbox = tempfile::tempdir().expect("a directory");
    let mut agent = Agent::start(any_port()).await;
    let executor = executor(&agent, sandbox.path());
    agent.subscribed().await;
    let mut info = task("t", "/no/such/program");
    info.command.as_mut().expect("it has one").shell = Some(false);
    agent.launch(info).await;
    agent.expect_states(&[TaskStarting]).await;
    let failed = agent.update().await;
    assert_eq!(failed.state(), TaskFailed);
    let message = failed.message.expect("it says why");
    assert!(message.starts_with("Cannot execute '/no/such/program': No such file"), "{message}");
    assert_eq!(ended(executor).await, Some(0));
}
