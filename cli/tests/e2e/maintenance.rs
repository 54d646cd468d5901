//! Machines that are to be away, and apps that leave them before.

use crate::harness::{PATIENCE, World, free_ports, until_async};
use reqwest::Method;
use serde_json::{Value, json};

/// The hosts of the tasks that serve.
async fn hosts(world: &World, marathon: &str) -> Vec<String> {
    let tasks = world.tasks(marathon, "web").await;
    let serves = |task: &&Value| {
        task["state"] == "TASK_RUNNING" && task["healthCheckResults"][0]["alive"] == true
    };
    let host = |task: &Value| task["host"].as_str().expect("it has one").to_owned();
    tasks.iter().filter(serves).map(host).collect()
}

#[tokio::test]
async fn apps_leave_machines_that_are_to_be_away_and_serve_all_the_while() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let master = world.start_master("master", ports[0], &masters, &[]).await;
    let master = &master.address;
    let _first =
        world.start_agent_with("agent-1", &masters, "31000-31499", &["--hostname=node1"]).await;
    let _second =
        world.start_agent_with("agent-2", &masters, "31500-31999", &["--hostname=node2"]).await;
    let marathon = world.start_marathon("marathon", &masters).await;
    let marathon = &marathon.address;
    let app = json!({
        "id": "/web", "cmd": "exec busybox httpd -f -p 127.0.0.1:$PORT0", "instances": 2,
        "cpus": 0.1, "mem": 32,
        "healthChecks": [{"protocol": "MESOS_TCP", "portIndex": 0, "delaySeconds": 0,
                          "intervalSeconds": 1}],
    });
    world.deploy(marathon, &app).await;
    let leaving = hosts(&world, marathon).await.remove(0);

    // From in five minutes on: that is soon.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later");
    let start = (now + std::time::Duration::from_secs(300)).as_nanos();
    let window = json!({
        "machine_ids": [{"hostname": leaving}],
        "unavailability": {"start": {"nanoseconds": u64::try_from(start).expect("in time")},
                           "duration": {"nanoseconds": 3_600_000_000_000_u64}},
    });
    let schedule = json!({"windows": [window]});
    let (status, answer) =
        world.send(Method::POST, master, "/maintenance/schedule", &schedule).await;
    assert_eq!(status, 200, "{answer}");
    until_async("both run elsewhere", PATIENCE, async || {
        let hosts = hosts(&world, marathon).await;
        assert!(hosts.len() >= 2, "only {hosts:?} serve");
        let tasks = world.tasks(marathon, "web").await;
        (tasks.len() == 2 && hosts.iter().all(|host| *host != leaving)).then_some(())
    })
    .await;
    until_async("the master knows that Marathon leaves", PATIENCE, async || {
        let status = world.json(master, "/maintenance/status").await?;
        let statuses = &status["draining_machines"][0]["statuses"];
        (statuses[0]["status"] == "ACCEPT").then_some(())
    })
    .await;
}
