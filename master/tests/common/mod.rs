//! What the tests of a running master share.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses its part")]

mod agent;
mod operator;
mod scheduler;

pub use agent::{FakeAgent, agent_info, cores_of, live, scalar, update_id};
pub use operator::{Operator, Watch, operators};
pub use scheduler::Scheduler;

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use master::{Leadership, Options, Running};
use proto::schema::Described;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;
use transport::client::RecordStream;
use transport::http::{Encoding, decode};

/// What each story is told in.
pub const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

/// Longer than anything here may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// A master alone, that leads.
pub struct Alone {
    pub running: Running,
    pub http: reqwest::Client,
    options: Options,
    dir: TempDir,
}

impl Alone {
    pub async fn started() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        transport::install_tls_provider();
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options { work_dir: dir.path().to_owned(), ..options };
        let running = master::start(options.clone()).await.expect("it starts");
        serving(&running).await;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Self { running, http, options, dir }
    }

    /// Stops, and begins another reign with what is in the log, on another port.
    pub async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    /// As before, with other options.
    pub async fn restarted_with(self, change: impl FnOnce(&mut Options)) -> Self {
        let Self { running, http, mut options, dir } = self;
        running.stop().await;
        change(&mut options);
        let running = master::start(options.clone()).await.expect("it starts");
        serving(&running).await;
        Self { running, http, options, dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address)
    }

    /// POSTs JSON.
    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.http.post(self.url(path)).header("content-type", "application/json");
        request.body(body.to_string()).send().await.expect("an answer")
    }

    /// GETs JSON.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(self.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }

    /// Subscribes with `call`: the stream's id and its records.
    pub async fn subscribe(&self, call: &Value) -> (String, Events) {
        let answer = self.post("/api/v1/scheduler", call).await;
        assert_eq!(answer.status(), 200);
        let stream = answer.headers()["mesos-stream-id"].to_str().expect("text").to_owned();
        (stream, Events(RecordStream::new(answer)))
    }
}

/// Waits until a master leads and serves.
pub async fn serving(running: &Running) {
    let mut leadership = running.leadership();
    let serves =
        |now: &Leadership| matches!(now, Leadership::Leading(leading) if leading.reign.is_some());
    timeout(SOON, leadership.wait_for(serves)).await.expect("in time").expect("it runs");
}

/// Events of a JSON stream.
pub struct Events(pub RecordStream);

impl Events {
    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        let record = timeout(SOON, self.0.next()).await.expect("in time")?;
        let record = record.expect("a whole record");
        assert!(record.is_ascii() && !record.contains(&b'\n'), "{record:?}");
        Some(serde_json::from_slice(&record).expect("JSON"))
    }

    /// The next event that is no heartbeat.
    pub async fn next_but_heartbeats(&mut self) -> Option<Value> {
        loop {
            let event = self.next().await?;
            if event["type"] != "HEARTBEAT" {
                return Some(event);
            }
        }
    }
}

/// A message that is given in JSON, as it is written in an encoding.
pub fn written<M: Described>(encoding: Encoding, message: &Value) -> Vec<u8> {
    let text = message.to_string().into_bytes();
    match encoding {
        Encoding::Json => text,
        Encoding::Protobuf => {
            let message: M = decode(Encoding::Json, &text, "message").expect("well formed");
            encoding.encode(&message).to_vec()
        }
    }
}

/// What is refused is offered again soon.
pub fn eager() -> Options {
    Options { allocation_interval: Duration::from_millis(20), ..Options::default() }
}

/// A SUBSCRIBE of a new framework.
pub fn subscribe_call() -> Value {
    serde_json::json!({
        "type": "SUBSCRIBE",
        "subscribe": {"framework_info": {
            "user": "nobody", "name": "test", "failover_timeout": 60.0, "role": "web"
        }}
    })
}
