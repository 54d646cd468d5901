//! Containers by the hundred come and go on one agent, and it keeps nothing of them.
//!
//! `cargo xtask churn` runs this with more of them and more often, by what the environment says.

use crate::harness::{Daemon, World, free_ports, until_async, wanted};
use reqwest::Method;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Containers that are up at the same time.
fn at_once() -> usize {
    wanted("AGORA_TEST_CONTAINERS", 12)
}

/// How often they all come and go.
fn rounds() -> usize {
    wanted("AGORA_TEST_ROUNDS", 4)
}

/// For one round, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(200);

/// MiB by which memory may differ whatever happens: what the allocator of memory keeps back.
const SLACK_MIB: u64 = 8;

/// Connections that an agent may have or not have at any moment, each a descriptor.
const CONNECTIONS_MAX: usize = 8;

/// What an agent holds of the machine while it runs nothing.
#[derive(Debug)]
struct Held {
    /// Cgroups of containers, and processes in any of the agent's.
    cgroups: usize,
    processes: Vec<String>,
    /// Mounts below the test's directory, namespaces that are kept by one among them.
    mounts: Vec<String>,
    /// Processes whose parent is the agent, but for the one that launchers are forked from.
    children: usize,
    descriptors: usize,
    /// Files and directories below its work directory, but for its store, and its runtime directory.
    files: Vec<String>,
}

impl Held {
    fn by(world: &World, agent: &Daemon, runtime_dir: &Path) -> Self {
        let root = world.dir.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("Linux has it");
        let mounts = mounts.lines().filter(|line| line.contains(&root));
        let (mut files, pid) = (Vec::new(), agent.pid());
        collect(&agent.work_dir, &mut files);
        collect(runtime_dir, &mut files);
        Self {
            cgroups: world.container_cgroups().len(),
            processes: world.leftovers(),
            mounts: mounts.map(str::to_owned).collect(),
            children: children_of(pid),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
            files,
        }
    }

    fn is_no_more_than(&self, first: &Self) -> bool {
        let same = (&self.mounts, &self.files) == (&first.mounts, &first.files);
        same && self.descriptors <= first.descriptors + CONNECTIONS_MAX
    }
}

fn collect(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            collect(&entry.path(), found);
        }
    }
    found.sort();
}

fn children_of(pid: i32) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let is_fork_server = |pid: &str| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(b"agora\0launchers\0")
    };
    let children = |thread: fs::DirEntry| {
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        listed.split_whitespace().filter(|pid| !is_fork_server(pid)).count()
    };
    threads.map(children).sum()
}

/// Memory of its own, in MiB.
fn memory_of(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Linux tells it");
    let kib = pss.split_whitespace().next().and_then(|it| it.parse::<u64>().ok());
    kib.expect("a number") / 1024
}

#[tokio::test]
async fn containers_come_and_go_by_the_hundred_and_nothing_of_them_stays() {
    let world = World::new();
    let port = free_ports(1)[0];
    let masters = format!("127.0.0.1:{port}");
    let _master = world.start_master("master", port, &masters, &[]).await;
    let runtime_dir = world.path("run");
    let agent = world
        .start(
            "agent",
            &[
                "agent",
                "--ip=127.0.0.1",
                "--port=0",
                &format!("--master={masters}"),
                &format!("--cgroups_root={}/agent", world.cgroups_root),
                &format!("--runtime_dir={}", runtime_dir.display()),
                "--resources=cpus:64;mem:131072;disk:100000;ports:[31000-31999]",
                // Sandboxes are kept for a week otherwise.
                "--gc_delay=1ms",
                "--disk_watch_interval=1secs",
            ],
        )
        .await;
    let marathon = world.start_marathon("marathon", &masters).await;
    let app = json!({ "id": "/crowd", "cmd": "exec sleep 10000", "instances": 0, "cpus": 0.01, "mem": 8 });
    world.deploy(&marathon.address, &app).await;

    let (count, mut first, mut memory) = (at_once(), None, Vec::new());
    for round in 1..=rounds() {
        scale(&world, &marathon, count).await;
        assert_eq!(world.containers_under("memory"), count, "all are up");
        scale(&world, &marathon, 0).await;
        let held = until_async("all are cleared away", PATIENCE, async || {
            let held = Held::by(&world, &agent, &runtime_dir);
            let is_clear = held.cgroups == 0 && held.processes.is_empty() && held.children == 0;
            // After the first round it has what it keeps anyway, such as its own cgroups.
            let is_as_before = first.as_ref().is_none_or(|first| held.is_no_more_than(first));
            let has_sandboxes = held.files.iter().any(|path| path.contains("/runs/"));
            (is_clear && is_as_before && !has_sandboxes).then_some(held)
        })
        .await;
        first.get_or_insert(held);
        memory.push(memory_of(agent.pid()));
        println!("round {round} of {}: {} MiB", rounds(), memory[round - 1]);
    }
    let (half, last) = (memory[memory.len() / 2 - 1], memory[memory.len() - 1]);
    assert!(last <= half + half / 10 + SLACK_MIB, "the agent grows, in MiB: {memory:?}");
}

/// Has so many instances run, and waits until exactly these do.
async fn scale(world: &World, marathon: &Daemon, instances: usize) {
    let change = json!({ "instances": instances });
    let (status, body) =
        world.send(Method::PUT, &marathon.address, "/v2/apps/crowd", &change).await;
    assert_eq!(status, 200, "{body}");
    until_async("the app is as large as wanted", PATIENCE, async || {
        let answer = world.json(&marathon.address, "/v2/apps/crowd").await?;
        let running = answer["app"]["tasksRunning"].as_u64()?;
        let tasks = world.tasks(&marathon.address, "crowd").await;
        let is_idle = world.json(&marathon.address, "/v2/deployments").await? == json!([]);
        (is_idle && running == instances as u64 && tasks.len() == instances).then_some(())
    })
    .await;
}
