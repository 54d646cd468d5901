//! A whole agent over its sockets: the test plays the master, and the executor where it is a custom
//! one. Containers are real, without isolation, so that this runs anywhere.

#![expect(clippy::wildcard_enum_match_arm, reason = "what is not expected fails the test")]

mod access;
mod acls;
mod checks;
mod container_acls;
mod container_limits;
mod containers;
mod crashes;
mod executor_api;
mod files;
#[path = "../containers/host.rs"]
#[expect(dead_code, reason = "other tests want more of it")]
mod host;
#[path = "../common/image.rs"]
#[expect(dead_code, reason = "other tests want more of it")]
mod image;
mod images;
mod life;
mod master;
mod masters;
mod metrics;
#[path = "../../../transport/tests/metrics_page/mod.rs"]
mod metrics_page;
mod networks;
mod operator;
mod pods;
mod refused_streams;
mod sessions;
mod simulated;
mod streams;
mod volumes;
mod xfs;
#[path = "../common/xfs.rs"]
#[expect(dead_code, reason = "other tests want more of it")]
mod xfs_disk;

use std::path::Path;
use std::time::Duration;

use agent::{Options, Running};
use master::Master;
use proto::mesos::v1 as mesos;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// How long anything here may take. Far more than it does on a busy machine, or on one that is emulated.
const PATIENCE: Duration = Duration::from_secs(180);

/// The framework of all tests.
const FRAMEWORK: &str = "framework-0000";

fn options(work_dir: &Path, master: &Master) -> Options {
    let helper = env!("CARGO_BIN_EXE_agent-test-helper");
    Options {
        work_dir: work_dir.to_owned(),
        masters: vec![master.address.to_string()],
        hostname: Some("here".to_owned()),
        resources: Some("cpus:4;mem:4096;disk:4096;ports:[31000-31999]".to_owned()),
        isolation: Some("posix/cpu,posix/mem".to_owned()),
        launcher: (helper.into(), vec!["launcher".into()]),
        runtime_dir: Some(work_dir.join("run")),
        registration_backoff_factor: Duration::from_millis(20),
        executor_shutdown_grace_period: Duration::from_millis(500),
        // Those of some tests never subscribe, and on a slow machine a test takes long.
        executor_registration_timeout: PATIENCE * 4,
        ..Options::default()
    }
}

/// An agent that is registered, its master, and its directory.
struct Site {
    work_dir: tempfile::TempDir,
    master: Master,
    agent: Running,
}

impl Site {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With `change`d options.
    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let work_dir = tempfile::tempdir().expect("a directory");
        let mut master = Master::start().await;
        let mut options = options(work_dir.path(), &master);
        change(&mut options);
        let agent = agent::start(options).await.expect("it starts");
        master.register().await;
        Self { work_dir, master, agent }
    }

    /// Stops the agent as a kill would, and starts it again.
    async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    /// With `change`d options.
    async fn restarted_with(self, change: impl FnOnce(&mut Options)) -> Self {
        self.agent.stop(agent::StopMode::KeepTasks).await;
        let mut options = options(self.work_dir.path(), &self.master);
        change(&mut options);
        let agent = agent::start(options).await.expect("it starts again");
        Self { agent, ..self }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.agent.address)
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = client().get(self.url(path)).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    async fn get_json(&self, path: &str) -> Value {
        let (status, text) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// A call of an executor, which is answered at once.
    async fn call(&self, call: &Value) -> (StatusCode, String) {
        let request = client()
            .post(self.url("/api/v1/executor"))
            .header("content-type", "application/json")
            .body(call.to_string());
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    /// Subscribes as an executor.
    async fn subscribe(&self, executor: &str, subscribe: Value) -> Events {
        let mut call = of(executor, "SUBSCRIBE");
        call["subscribe"] = subscribe;
        let request = client()
            .post(self.url("/api/v1/executor"))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(call.to_string());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        Events { answer, decoder: proto::recordio::Decoder::new(1 << 20), waiting: Vec::new() }
    }

    /// Ends the agent and all it runs.
    async fn end(self) {
        self.agent.stop(agent::StopMode::KillTasks).await;
    }
}

/// Looks again and again until it is so.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn client() -> reqwest::Client {
    transport::install_tls_provider();
    // Reading the machine's certificates, which nobody is asked for here, takes longer than most calls.
    let client = reqwest::Client::builder().tls_certs_only([]);
    client.build().expect("plain HTTP needs nothing")
}

/// A call of `executor`, without its own member.
fn of(executor: &str, kind: &str) -> Value {
    json!({
        "type": kind,
        "framework_id": {"value": FRAMEWORK},
        "executor_id": {"value": executor},
    })
}

/// A report by `executor`, whose id is made of `number`.
fn update(executor: &str, task: &str, state: &str, number: u8) -> Value {
    let mut call = of(executor, "UPDATE");
    call["update"] = json!({"status": {
        "task_id": {"value": task},
        "executor_id": {"value": executor},
        "state": state,
        "source": "SOURCE_EXECUTOR",
        "timestamp": 1_700_000_000,
        "uuid": uuid(number),
    }});
    call
}

/// Sixteen bytes that are a UUID, in base64.
fn uuid(number: u8) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode([0x40 + number; 16])
}

/// An executor's event stream.
struct Events {
    answer: reqwest::Response,
    decoder: proto::recordio::Decoder,
    waiting: Vec<Value>,
}

impl Events {
    async fn next(&mut self) -> Value {
        self.next_or_end().await.expect("another event")
    }

    async fn next_or_end(&mut self) -> Option<Value> {
        loop {
            if !self.waiting.is_empty() {
                return Some(self.waiting.remove(0));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("in time");
            let chunk = chunk.ok().flatten()?;
            self.decoder.push(&chunk);
            while let Some(record) = self.decoder.next().expect("records") {
                self.waiting.push(serde_json::from_slice(&record).expect("JSON"));
            }
        }
    }

    /// The next event, which is of `kind`.
    async fn expect(&mut self, kind: &str) -> Value {
        let event = self.next().await;
        assert_eq!(event["type"], kind, "{event}");
        event
    }
}

/// A command task that takes `mem` MiB.
fn command_task(agent: &str, id: &str, command: &str) -> mesos::TaskInfo {
    mesos::TaskInfo {
        name: id.to_owned(),
        task_id: mesos::TaskId { value: id.to_owned() },
        agent_id: mesos::AgentId { value: agent.to_owned() },
        resources: resources(0.5, 64.0),
        command: Some(mesos::CommandInfo {
            value: Some(command.to_owned()),
            ..mesos::CommandInfo::default()
        }),
        ..mesos::TaskInfo::default()
    }
}

/// A task for a custom executor, whose processes do nothing: its part is played by the test.
fn executor_task(agent: &str, id: &str, executor: &str) -> mesos::TaskInfo {
    mesos::TaskInfo {
        command: None,
        executor: Some(Box::new(mesos::ExecutorInfo {
            executor_id: mesos::ExecutorId { value: executor.to_owned() },
            framework_id: Some(mesos::FrameworkId { value: FRAMEWORK.to_owned() }),
            command: Some(mesos::CommandInfo {
                value: Some("env > environment; exec sleep 600".to_owned()),
                ..mesos::CommandInfo::default()
            }),
            resources: resources(0.1, 32.0),
            name: Some("custom".to_owned()),
            ..mesos::ExecutorInfo::default()
        })),
        ..command_task(agent, id, "")
    }
}

fn resources(cpus: f64, mem: f64) -> Vec<mesos::Resource> {
    let scalar = |name: &str, value| mesos::Resource {
        name: name.to_owned(),
        r#type: mesos::value::Type::Scalar.into(),
        scalar: Some(mesos::value::Scalar { value }),
        ..mesos::Resource::default()
    };
    vec![scalar("cpus", cpus), scalar("mem", mem)]
}
