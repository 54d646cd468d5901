//! Agents die and come back, or do not.

use crate::harness::{
    Daemon, PATIENCE, World, free_ports, kill, listener, until, until_async, web_app,
};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::time::Duration;

#[tokio::test]
async fn tasks_run_on_while_their_agent_is_away_and_move_if_it_stays_away() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let flags = ["--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=3"];
    let master = world.start_master("master", ports[0], &masters, &flags).await;
    let first = world.start_agent("agent-1", &masters, "31000-31499").await;
    let marathon = world.start_marathon("marathon", &masters).await;
    world.deploy(&marathon.address, &web_app("/web", 2)).await;
    let addresses = world.answering(&marathon.address, "web", 2, Duration::from_secs(20)).await;
    let pids: BTreeSet<i32> = addresses.iter().map(|address| listener(address)).collect();

    // Back again: the same processes, and they are still managed.
    let mut first = first;
    first.kill();
    for address in &addresses {
        assert_eq!(world.get(address, "/").await.map(|answer| answer.0), Some(200));
    }
    let mut first = world.start_agent("agent-1", &masters, "31000-31499").await;
    registered(&world, &master, 1).await;
    let addresses = world.answering(&marathon.address, "web", 2, Duration::from_secs(20)).await;
    let now: BTreeSet<i32> = addresses.iter().map(|address| listener(address)).collect();
    assert_eq!(now, pids, "the processes are the same");
    let ids = ids(&world, &marathon).await;
    let body = serde_json::json!({ "ids": [ids.first()] });
    let (status, answer) =
        world.send(reqwest::Method::POST, &marathon.address, "/v2/tasks/delete", &body).await;
    assert_eq!(status, 200, "{answer}");
    until_async("a killed task of the restarted agent is replaced", PATIENCE, async || {
        let tasks = self::ids(&world, &marathon).await;
        (tasks.len() == 2 && !tasks.contains(ids.first()?)).then_some(())
    })
    .await;
    world.answering(&marathon.address, "web", 2, Duration::from_secs(20)).await;

    // Gone for good: the other agent takes over.
    let _second = world.start_agent("agent-2", &masters, "31500-31999").await;
    registered(&world, &master, 2).await;
    first.kill();
    until_async("all instances run on the other agent", PATIENCE, async || {
        let tasks = world.tasks(&marathon.address, "web").await;
        let moved = tasks.iter().filter(|task| {
            task["state"] == "TASK_RUNNING"
                && task["ports"][0].as_u64().is_some_and(|port| port >= 31_500)
        });
        (moved.count() == 2).then_some(())
    })
    .await;
    let state = world.json(&master.address, "/state").await.expect("it leads");
    assert_eq!(state["unreachable_slaves"], 1.0, "{state}");
}

#[tokio::test]
async fn an_agent_that_is_told_to_leave_ends_its_tasks_and_is_forgotten() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let master = world.start_master("master", ports[0], &masters, &[]).await;
    let mut agent = world.start_agent("agent-1", &masters, "31000-31499").await;
    let marathon = world.start_marathon("marathon", &masters).await;
    world.deploy(&marathon.address, &web_app("/web", 1)).await;
    assert!(!world.container_cgroups().is_empty(), "it runs there");

    kill(agent.pid(), nix::sys::signal::Signal::SIGUSR1);
    assert_eq!(agent.ended("it leaves").await, Some(0));
    assert_eq!(world.container_cgroups(), Vec::<std::path::PathBuf>::new());
    // At once, not after so many pings that are not answered.
    registered(&world, &master, 0).await;
    let state = world.json(&master.address, "/state").await.expect("it leads");
    assert_eq!(state["unreachable_slaves"], 0.0, "{state}");
    // Who starts there again is another one.
    let _agent = world.start_agent("agent-1", &masters, "31000-31499").await;
    world.answering(&marathon.address, "web", 1, Duration::from_secs(20)).await;
}

#[tokio::test]
async fn an_agent_comes_back_as_itself_only_with_what_it_had_or_more() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let master = world.start_master("master", ports[0], &masters, &[]).await;
    let with = |more: &[&str]| {
        let root = format!("--cgroups_root={}/agent", world.cgroups_root);
        let base = ["agent", "--ip=127.0.0.1", "--port=0"].map(str::to_owned);
        let master = format!("--master={masters}");
        let more = more.iter().map(ToString::to_string);
        base.into_iter().chain([master, root]).chain(more).collect::<Vec<_>>()
    };
    let before = with(&["--resources=cpus:2;mem:512;disk:512;ports:[31000-31009]"]);
    let start = async |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        world.start("agent", &args).await
    };
    let mut agent = start(before).await;
    registered(&world, &master, 1).await;
    let slave = async || {
        let slaves = world.json(&master.address, "/slaves").await?;
        let only = slaves["slaves"].as_array().filter(|all| all.len() == 1)?.first()?.clone();
        (only["active"] == true).then_some(only)
    };
    let id = slave().await.expect("registered")["id"].clone();
    agent.kill();

    let more = "--resources=cpus:3;mem:512;disk:512;ports:[31000-31019]";
    for refused in [
        with(&[more]),
        with(&["--resources=cpus:1;mem:512;disk:512", "--reconfiguration_policy=additive"]),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_agora"))
            .args(&refused)
            .arg(format!("--work_dir={}", agent.work_dir.display()))
            .output()
            .expect("the binary is built");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("this is not the agent that ran here before: resources"), "{said}");
    }

    let mut agent = start(with(&[more, "--reconfiguration_policy=additive"])).await;
    until_async("the same agent has more", PATIENCE, async || {
        let slave = slave().await?;
        (slave["id"] == id && slave["resources"]["cpus"] == 3.0).then_some(())
    })
    .await;
    // What it became is what it is held to.
    agent.kill();
    let _agent = start(with(&[more])).await;
    until_async("it is back", PATIENCE, async || {
        slave().await.filter(|slave| slave["id"] == id).map(drop)
    })
    .await;
}

#[tokio::test]
async fn what_an_agent_left_in_run_goes_with_the_next_agent_that_starts_once_its_work_is_gone() {
    let world = World::new();
    let args = ["agent", "--ip=127.0.0.1", "--port=0", "--master=127.0.0.1:1"];
    let root = format!("--cgroups_root={}/agent", world.cgroups_root);
    let args = [&args[..], &[&root]].concat();
    // With a `/run` of their own, as most machines have one: in memory.
    let own = "exec env -u AGORA_RUNTIME_DIR \"$0\" \"$@\"";
    let script = format!("mount -t tmpfs run /run && {own}");
    let by = ["unshare", "--mount", "sh", "-c", &script];
    let mut first = world.start_by(&by, "first", &args).await;
    let mounts = File::open(format!("/proc/{}/ns/mnt", first.pid())).expect("it runs");
    let left = |daemon: &Daemon| {
        let agents = fs::read_dir(format!("/proc/{}/root/run/agora", daemon.pid()));
        let names = agents.expect("agents have a directory there").flatten();
        names.map(|entry| entry.file_name().into_string().expect("text")).collect::<Vec<_>>()
    };
    let [of_first] = &left(&first)[..] else { panic!("one for its work directory") };
    assert!(of_first.ends_with("-first"), "{of_first}");
    first.kill();
    fs::remove_dir_all(&first.work_dir).expect("it is ours");

    let mounts = format!("--mount=/proc/{}/fd/{}", std::process::id(), mounts.as_raw_fd());
    let second = world.start_by(&["nsenter", &mounts, "sh", "-c", own], "second", &args).await;
    until("only the directory of the one that runs is there", || {
        let left = left(&second);
        assert!(left.iter().any(|name| name.ends_with("-second")), "{left:?}");
        (left.len() == 1).then_some(())
    })
    .await;
}

async fn registered(world: &World, master: &Daemon, agents: u32) {
    until_async("agents are registered", PATIENCE, async || {
        let state = world.json(&master.address, "/state").await?;
        (state["activated_slaves"] == f64::from(agents)).then_some(())
    })
    .await;
}

async fn ids(world: &World, marathon: &Daemon) -> BTreeSet<String> {
    let tasks = world.tasks(&marathon.address, "web").await;
    let running = tasks.iter().filter(|task| task["state"] == "TASK_RUNNING");
    running.filter_map(|task| task["id"].as_str()).map(str::to_owned).collect()
}
