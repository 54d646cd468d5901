//! One master, one Marathon and many agents without machines, and what a client does with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::STORED_AT_ONCE;
use crate::process::{Daemon, PATIENCE, Site};
use crate::simulated_agents::{Fleet, Plan};

/// How often is looked whether what is waited for has come. A look costs little beside what it waits for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Clients that read at the same time, and how long.
const READERS: usize = 10;
const READ_FOR: Duration = Duration::from_secs(5);

/// Scale changes, one after the other.
const SCALED: u32 = 200;

/// A small app.
pub(super) fn small(number: u32, instances: u32) -> Value {
    json!({"id": format!("/app-{number}"), "instances": instances, "cmd": "sleep 1000", "cpus": 0.1, "mem": 32})
}

/// One master, one Marathon and agents without machines.
pub(super) struct Cluster {
    fleet: Fleet,
    pub(super) marathon: Daemon,
    pub(super) master: Daemon,
    http: reqwest::Client,
    _site: Site,
}

/// What readers got.
pub(super) struct Read {
    pub(super) rate: f64,
    pub(super) latencies: Vec<Duration>,
    pub(super) megabytes: f64,
}

impl Cluster {
    pub(super) async fn start(agents: u32) -> anyhow::Result<Self> {
        let site = Site::new()?;
        let master = site.master().await?;
        let marathon = site.marathon(&master).await?;
        let plan =
            Plan { count: agents, cpus: 8.0, mem_mib: 16_384.0, tasks_run_for: None, tells: None };
        let fleet = Fleet::start(&plan, std::slice::from_ref(&master.address)).await;
        let http = reqwest::Client::new();
        let cluster = Self { fleet, marathon, master, http, _site: site };
        cluster.ready(agents).await?;
        Ok(cluster)
    }

    pub(super) async fn stop(self) {
        let Self { fleet, marathon, master, .. } = self;
        drop(marathon);
        drop(master);
        fleet.stop().await;
    }

    /// Waits until Marathon leads and the master knows all agents.
    async fn ready(&self, agents: u32) -> anyhow::Result<()> {
        until("the cluster is ready", async || {
            let apps = self.get(&self.marathon, "/v2/apps").await;
            let metrics = self.get(&self.master, "/metrics/snapshot").await.unwrap_or_default();
            let counts = |name: &str, least: u32| {
                metrics[name].as_f64().is_some_and(|count| count >= f64::from(least))
            };
            apps.is_some()
                && counts("master/slaves_active", agents)
                && counts("master/frameworks_active", 1)
        })
        .await
    }

    async fn get(&self, daemon: &Daemon, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("http://{}{path}", daemon.address)).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }

    /// Waits until the master counts so many running tasks.
    pub(super) async fn running(&self, tasks: u32) -> anyhow::Result<()> {
        until("all tasks run", async || {
            let metrics = self.get(&self.master, "/metrics/snapshot").await.unwrap_or_default();
            metrics["master/tasks_running"].as_f64().is_some_and(|it| it >= f64::from(tasks))
        })
        .await?;
        // The owner's view counts, not the master's.
        self.settled().await
    }

    /// Waits until no deployment is under way.
    pub(super) async fn settled(&self) -> anyhow::Result<()> {
        until("all deployments are done", async || {
            let deployments = self.get(&self.marathon, "/v2/deployments").await;
            deployments.and_then(|it| Some(it.as_array()?.is_empty())).unwrap_or(false)
        })
        .await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<StatusCode> {
        let url = format!("http://{}{path}", self.marathon.address);
        let answer = self.http.request(method, url).json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{path} was refused with {status}: {text}");
        Ok(status)
    }

    pub(super) async fn post(&self, app: &Value) -> anyhow::Result<()> {
        self.send(Method::POST, "/v2/apps", app).await.map(drop)
    }

    /// Puts these apps into one group by one request.
    pub(super) async fn put_group(
        &self,
        id: &str,
        numbers: std::ops::Range<u32>,
        instances: u32,
    ) -> anyhow::Result<()> {
        let apps: Vec<Value> = numbers
            .map(|number| {
                let mut app = small(number, instances);
                app["id"] = format!("{id}/app-{number}").into();
                app
            })
            .collect();
        self.send(Method::PUT, &format!("/v2/groups{id}"), &json!({"apps": apps})).await.map(drop)
    }

    /// Reads every app with its tasks, from some clients at once, for a while.
    pub(super) async fn read_all(&self, gzip: bool) -> anyhow::Result<Read> {
        let url: Arc<str> =
            format!("http://{}/v2/apps?embed=apps.tasks", self.marathon.address).into();
        let bytes = Arc::new(AtomicU32::new(0));
        let begun = Instant::now();
        let readers = (0..READERS).map(|_| {
            let (url, bytes) = (url.clone(), bytes.clone());
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut latencies = Vec::new();
                while begun.elapsed() < READ_FOR {
                    let asked = Instant::now();
                    let mut request = client.get(&*url);
                    if gzip {
                        request = request.header("accept-encoding", "gzip");
                    }
                    let answer = request.send().await?.error_for_status()?.bytes().await?;
                    latencies.push(asked.elapsed());
                    bytes.store(u32::try_from(answer.len())?, Ordering::Relaxed);
                }
                anyhow::Ok(latencies)
            })
        });
        let mut latencies = Vec::new();
        for reader in readers.collect::<Vec<_>>() {
            latencies.extend(reader.await.context("a reader has panicked")??);
        }
        let count = u32::try_from(latencies.len()).context("too many reads")?;
        Ok(Read {
            rate: f64::from(count) / begun.elapsed().as_secs_f64(),
            latencies,
            megabytes: f64::from(bytes.load(Ordering::Relaxed)) / 1e6,
        })
    }

    /// Scales some of `stored` apps up to one instance, one after the other, and says how long each
    /// answer took.
    pub(super) async fn scale_each(&self, stored: u32) -> anyhow::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        for number in (0..stored).step_by((stored / SCALED).max(1) as usize) {
            let group = number / STORED_AT_ONCE * STORED_AT_ONCE;
            let asked = Instant::now();
            let path = format!("/v2/apps/g{group}/app-{number}");
            self.send(Method::PUT, &path, &json!({"instances": 1})).await?;
            latencies.push(asked.elapsed());
        }
        self.settled().await?;
        Ok(latencies)
    }
}

/// Waits until `look` says yes.
async fn until(what: &str, look: impl AsyncFn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !look().await {
        anyhow::ensure!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
