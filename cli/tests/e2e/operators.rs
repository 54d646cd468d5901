//! Operators take a machine out of service while its web app goes on elsewhere.

use crate::harness::{PATIENCE, World, until_async, web_app};
use std::time::Duration;

#[tokio::test]
async fn a_drained_agents_tasks_move_and_it_serves_again_when_reactivated() {
    let world = World::new();
    let ports = crate::harness::free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let master = world.start_master("master", ports[0], &masters, &[]).await;
    let _first = world.start_agent("agent-1", &masters, "31000-31499").await;
    let marathon = world.start_marathon("marathon", &masters).await;
    world.deploy(&marathon.address, &web_app("/web", 2)).await;
    world.answering(&marathon.address, "web", 2, Duration::from_secs(20)).await;
    let agora = async |args: &[&str]| {
        let master = format!("--master={}", master.address);
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_agora"));
        let output = command.args(args).arg(master).output().await.expect("the binary is built");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let slaves = world.json(&master.address, "/slaves").await.expect("it leads");
    let id = slaves["slaves"][0]["id"].as_str().expect("an id").to_owned();

    // The other one comes when the first is going.
    let _second = world.start_agent("agent-2", &masters, "31500-31999").await;
    let (code, out, err) = agora(&["node", "drain", &id, "--grace=1secs"]).await;
    assert_eq!((code, out), (Some(0), format!("{id} drained\n")), "{err}");
    until_async("both instances run on the other agent", PATIENCE, async || {
        let tasks = world.tasks(&marathon.address, "web").await;
        let moved = tasks.iter().filter(|task| {
            task["state"] == "TASK_RUNNING"
                && task["ports"][0].as_u64().is_some_and(|port| port >= 31_500)
        });
        (moved.count() == 2 && tasks.len() == 2).then_some(())
    })
    .await;
    world.answering(&marathon.address, "web", 2, Duration::from_secs(20)).await;
    let (_, out, _) = agora(&["node", "list"]).await;
    assert!(out.contains("drained") && out.contains("active"), "{out}");
    let frameworks = world.json(&master.address, "/frameworks").await.expect("it leads");
    let framework = frameworks["frameworks"][0]["id"].as_str().expect("an id");
    let (code, out, err) = agora(&["framework", "explain", framework]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("offers are open") && out.contains("the framework has"), "{out}");
    let (code, out, err) = agora(&["framework", "explain", framework, "--agent", &id]).await;
    assert_eq!(code, Some(0), "{err}");
    let rows: Vec<&str> = out.lines().filter(|line| line.contains(&id)).collect();
    assert!(rows.len() == 1 && out.contains("the framework has"), "{out}");
    let (code, _, err) = agora(&["framework", "explain", framework, "--agent", "nobody"]).await;
    assert!(code == Some(4) && err.contains("no agent is called nobody"), "{err}");
    let (code, _, err) = agora(&["framework", "explain", "nobody"]).await;
    assert!(code == Some(4) && err.contains("no framework is called nobody"), "{err}");
    let (code, _, err) = agora(&["node", "drain", "nobody"]).await;
    assert_eq!(code, Some(4), "{err}");

    let (code, out, err) = agora(&["node", "reactivate", &id]).await;
    assert_eq!((code, out), (Some(0), format!("{id} reactivated\n")), "{err}");
    let (code, _, err) = agora(&["node", "reactivate", &id]).await;
    assert!(code == Some(1) && err.contains("Agent is not deactivated"), "{err}");
    let (code, out, err) = agora(&["node", "deactivate", &id]).await;
    assert_eq!((code, out), (Some(0), format!("{id} deactivated\n")), "{err}");
}

#[tokio::test]
async fn a_master_serves_the_log_that_it_writes_to_a_file() {
    let world = World::new();
    let ports = crate::harness::free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let logs = tempfile::tempdir().expect("a directory");
    let flag = format!("--log_dir={}", logs.path().display());
    let master = world.start_master("master", ports[0], &masters, &[&flag]).await;
    let path = "/files/read?path=/master/log&offset=0&length=60000";
    let text = until_async("the log says that it leads", PATIENCE, async || {
        let read = world.json(&master.address, path).await?;
        read["data"].as_str().filter(|text| text.contains("leading")).map(str::to_owned)
    })
    .await;
    let on_disk = std::fs::read_to_string(logs.path().join("agora-master.log")).expect("the log");
    assert!(on_disk.starts_with(&text), "{text}");
}
