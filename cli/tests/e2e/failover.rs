//! The leading master dies; nobody's task does.

use crate::harness::{Daemon, PATIENCE, World, kill, until, until_async, web_app};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn task_ids(tasks: &[Value]) -> BTreeSet<String> {
    tasks.iter().filter_map(|task| task["id"].as_str()).map(str::to_owned).collect()
}

fn running(state: &Value) -> usize {
    let frameworks = state["frameworks"].as_array().map_or(&[][..], Vec::as_slice);
    let tasks = frameworks.iter().flat_map(|one| one["tasks"].as_array().into_iter().flatten());
    tasks.filter(|task| task["state"] == "TASK_RUNNING").count()
}

#[tokio::test]
async fn tasks_outlive_the_leading_master_and_it_catches_up() {
    let world = World::new();
    let mut masters = world.start_masters(&[]).await;
    let _first = world.start_agent("agent-1", &masters.peers, "31000-31499").await;
    let _second = world.start_agent("agent-2", &masters.peers, "31500-31999").await;
    let marathon = world.start_marathon("marathon", &masters.peers).await;
    let sleepers = json!({ "id": "/sleepers", "cmd": "exec sleep 10000", "instances": 20, "cpus": 0.1, "mem": 32 });
    world.deploy(&marathon.address, &sleepers).await;
    let before = task_ids(&world.tasks(&marathon.address, "sleepers").await);
    assert_eq!(before.len(), 20);

    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let leader = world.leader(&all).await;
    let mut dead = masters.daemons.remove(leader);
    dead.kill();
    let rest: Vec<&Daemon> = masters.daemons.iter().collect();
    let next = until_async("a new leader serves", Duration::from_secs(5), async || {
        for master in &rest {
            if let Some(state) = world.json(&master.address, "/state").await {
                return Some((master.address.clone(), state));
            }
        }
        None
    })
    .await;
    let known = next.1["slaves"].as_array().map_or(0, Vec::len)
        + next.1["recovered_slaves"].as_array().map_or(0, Vec::len);
    assert_eq!(known, 2, "members are listed at once: {}", next.1);
    until_async("the state is complete", Duration::from_secs(5), async || {
        let state = world.json(&next.0, "/state").await?;
        (state["activated_slaves"] == 2.0 && running(&state) == 20).then_some(())
    })
    .await;

    world.deploy(&marathon.address, &web_app("/next", 2)).await;
    world.answering(&marathon.address, "next", 2, Duration::from_secs(20)).await;
    let after = task_ids(&world.tasks(&marathon.address, "sleepers").await);
    assert_eq!(after, before, "no task was lost or restarted");

    let port = dead.address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let back = world.start_master(&dead.name, port, &masters.peers, &[]).await;
    until_async("the old leader follows", PATIENCE, async || {
        let answer =
            world.http.get(format!("http://{}/redirect", back.address)).send().await.ok()?;
        let location = answer.headers().get("location")?.to_str().ok()?.to_owned();
        (location == format!("//{}", next.0)).then_some(())
    })
    .await;
    until_async("the old leader has caught up", PATIENCE, async || {
        let metrics = |text: String| {
            text.lines()
                .find(|line| line.starts_with("agora_raft_applied_index{"))
                .and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        };
        let mine = metrics(world.get(&back.address, "/metrics").await?.1)?;
        let leading = metrics(world.get(&next.0, "/metrics").await?.1)?;
        (mine >= leading).then_some(())
    })
    .await;
}

/// The longest that a majority's word keeps others from leading.
const LEASE: Duration = Duration::from_millis(350);

/// Whether all threads of a process have stopped.
fn is_stopped(pid: i32) -> Option<()> {
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let stopped = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
    };
    threads.all(stopped).then_some(())
}

#[tokio::test]
async fn a_leader_without_the_others_says_nothing_once_another_one_could_lead() {
    let world = World::new();
    let masters = world.start_masters(&[]).await;
    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let leader = all[world.leader(&all).await];
    until_async("the leader serves", PATIENCE, async || {
        world.json(&leader.address, "/state").await.map(|_| ())
    })
    .await;
    let others = || all.iter().filter(|one| one.address != leader.address);
    for other in others() {
        kill(other.pid(), Signal::SIGSTOP);
    }
    for other in others() {
        until("it stands still", || is_stopped(other.pid())).await;
    }
    // Nobody has confirmed the leader since.
    let alone = Instant::now();
    let latest = until_async("the leader does not answer any more", PATIENCE, async || {
        let asked = alone.elapsed();
        let (status, text) = world.get(&leader.address, "/weights").await?;
        match status {
            200 => {
                assert!(asked < LEASE, "answered what was asked {asked:?} after it was left alone");
                None
            }
            503 => Some(text),
            other => panic!("{other}: {text}"),
        }
    })
    .await;
    assert_eq!(latest, "No leader elected");

    // It was not to blame: with the others it, or one of them, serves again.
    for other in others() {
        kill(other.pid(), Signal::SIGCONT);
    }
    world.leader(&all).await;
}

#[tokio::test]
async fn followers_send_clients_to_where_the_leader_says_it_is_reached() {
    let world = World::new();
    let masters = world.start_masters(&["--hostname=localhost"]).await;
    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let leader = all[world.leader(&all).await];
    let port = leader.address.rsplit(':').next().expect("a port");
    for master in &all {
        for path in ["/redirect", "/state?a=b"] {
            if master.address == leader.address && path != "/redirect" {
                continue;
            }
            let rest = if path == "/redirect" { "" } else { path };
            let expected = format!("//localhost:{port}{rest}");
            until_async("it sends clients to the leader", PATIENCE, async || {
                let url = format!("http://{}{path}", master.address);
                let answer = world.http.get(url).send().await.ok()?;
                (answer.headers().get("location")? == expected.as_str()).then_some(())
            })
            .await;
        }
    }
}
