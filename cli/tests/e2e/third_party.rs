//! Clients that were written for Mesos and Marathon, unmodified.

use crate::harness::{PATIENCE, World, free_ports, until_async};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs a script of this directory and returns what it printed.
async fn python(script: &str, argument: &str) -> String {
    let interpreter = std::env::var("AGORA_TEST_PYTHON")
        .expect("AGORA_TEST_PYTHON names an interpreter with pymesos and marathon: cargo xtask ci");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/python").join(script);
    let argument = argument.to_owned();
    let run = move || {
        Command::new("timeout").arg("120").arg(interpreter).arg(path).arg(argument).output()
    };
    let output = tokio::task::spawn_blocking(run).await.expect("no panic").expect("it starts");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {}\n{out}\n{err}", output.status);
    out
}

#[tokio::test]
async fn a_pymesos_scheduler_and_executor_run_ten_tasks() {
    let world = World::new();
    let local = world.start_local().await;
    let out = python("mesos_scheduler.py", &local.master).await;
    for number in 0..10 {
        let running = format!("update square-{number} TASK_RUNNING");
        let finished = format!("update square-{number} TASK_FINISHED {}", number * number);
        let at = |line: &str| out.lines().position(|have| have.trim_end() == line);
        let (running, finished) = (at(&running), at(&finished));
        assert!(running.is_some() && running < finished, "task {number}: {out}");
        assert!(out.contains(&format!("message did {number}\n")), "{out}");
    }
}

#[tokio::test]
async fn the_marathon_client_manages_an_app() {
    let world = World::new();
    let local = world.start_local().await;
    until_async("Marathon has a framework id", PATIENCE, async || {
        let info = world.json(&local.marathon, "/v2/info").await?;
        info["frameworkId"].as_str().map(|_| ())
    })
    .await;
    let out = python("marathon_client.py", &format!("http://{}", local.marathon)).await;
    assert_eq!(out, "done\n");
}

/// A running Prometheus, ended with the test.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// Starts Debian's on a free port of this machine, with this configuration.
    fn start(world: &World, config: &Value) -> Self {
        let file = world.path("prometheus.yml");
        // JSON is YAML.
        fs::write(&file, config.to_string()).expect("it is written");
        let log = fs::File::create(world.path("prometheus.log")).expect("a log file");
        let address = format!("127.0.0.1:{}", free_ports(1)[0]);
        let child = Command::new("/usr/bin/prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", world.path("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("Debian's package 'prometheus' is installed");
        Self { child, address }
    }

    /// The targets of a job, once there are `count` and all of them are up.
    async fn up(&self, world: &World, job: &str, count: usize) -> Vec<Value> {
        until_async(&format!("{count} targets of {job} are up"), PATIENCE, async || {
            let answer = world.json(&self.address, "/api/v1/targets?state=active").await?;
            let mut targets = answer["data"]["activeTargets"].as_array()?.clone();
            targets.retain(|target| target["labels"]["job"] == job);
            let is_up = |target: &Value| target["health"] == "up";
            (targets.len() == count && targets.iter().all(is_up)).then_some(targets)
        })
        .await
    }

    /// Waits until the sum of a metric is `wanted`.
    async fn sums_up(&self, world: &World, metric: &str, wanted: &str) {
        until_async(&format!("{metric} is {wanted}"), PATIENCE, async || {
            let path = format!("/api/v1/query?query=sum({metric})");
            let answer = world.json(&self.address, &path).await?;
            (answer["data"]["result"][0]["value"][1] == wanted).then_some(())
        })
        .await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn prometheus_finds_the_tasks_of_an_app_and_reads_them_and_the_daemons() {
    let world = World::new();
    let masters = format!("127.0.0.1:{}", free_ports(1)[0]);
    let port = masters.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let master = world.start_master("master", port, &masters, &[]).await;
    let agent = world.start_agent("agent", &masters, "31000-31099").await;
    let marathon = world.start_marathon("marathon", &masters).await;
    let app = json!({
        "id": "/shop/pages",
        "cmd": "mkdir pages && cd pages && echo 'pages_ready 1' > metrics && \
                exec python3 -m http.server $PORT0 --bind $HOST",
        "cpus": 0.1,
        "mem": 64,
        "labels": { "team": "shop" },
        "portDefinitions": [{ "port": 0, "name": "http", "labels": { "metrics": "yes" } }],
    });
    world.deploy(&marathon.address, &app).await;

    let prometheus = Prometheus::start(
        &world,
        &json!({
            "global": { "scrape_interval": "1s" },
            "scrape_configs": [
                {
                    "job_name": "daemons",
                    "static_configs": [
                        { "targets": [master.address, agent.address] },
                        // Its /metrics is the JSON that Marathon's clients know.
                        {
                            "targets": [marathon.address],
                            "labels": { "__metrics_path__": "/metrics/prometheus" },
                        },
                    ],
                },
                {
                    "job_name": "apps",
                    "marathon_sd_configs": [{
                        "servers": [format!("http://{}", marathon.address)],
                        "refresh_interval": "1s",
                    }],
                },
            ],
        }),
    );
    prometheus.up(&world, "daemons", 3).await;
    let targets = prometheus.up(&world, "apps", 1).await;
    let tasks = world.tasks(&marathon.address, "shop/pages").await;
    let labels = &targets[0]["discoveredLabels"];
    for (label, wanted) in [
        ("__meta_marathon_app", &json!("/shop/pages")),
        ("__meta_marathon_app_label_team", &json!("shop")),
        ("__meta_marathon_port_definition_label_metrics", &json!("yes")),
        ("__meta_marathon_port_index", &json!("0")),
        ("__meta_marathon_task", &tasks[0]["id"]),
    ] {
        assert_eq!(&labels[label], wanted, "{label}: {labels}");
    }
    let address =
        format!("{}:{}", tasks[0]["host"].as_str().expect("a host"), tasks[0]["ports"][0]);
    assert_eq!(labels["__address__"], json!(address));

    let two = json!({ "instances": 2 });
    let path = "/v2/apps/shop/pages";
    let (status, body) = world.send(reqwest::Method::PUT, &marathon.address, path, &two).await;
    assert_eq!(status, 200, "{body}");
    prometheus.up(&world, "apps", 2).await;
    prometheus.sums_up(&world, "pages_ready", "2").await;
    prometheus.sums_up(&world, "agora_master_tasks_running", "2").await;

    let (status, body) =
        world.send(reqwest::Method::DELETE, &marathon.address, path, &Value::Null).await;
    assert_eq!(status, 200, "{body}");
    prometheus.up(&world, "apps", 0).await;
    until_async("nothing of the app is left", PATIENCE, async || {
        world.leftovers().is_empty().then_some(())
    })
    .await;
}
