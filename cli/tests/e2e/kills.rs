//! Tasks that are ended, as frameworks are told of it that know TASK_KILLING and that do not.

use crate::harness::{World, free_ports};
use crate::operations::start_agent;
use crate::scheduler::Scheduler;
use serde_json::{Value, json};

const RESOURCES: &str = "cpus:2;mem:512;disk:1024;ports:[31000-31010]";

fn framework(capabilities: &Value) -> Value {
    json!({"user": "root", "name": "killer", "role": "web", "capabilities": capabilities})
}

/// The states that a task goes through, to its end. All reports are kept.
async fn states(scheduler: &mut Scheduler, first: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut next = first.to_owned();
    scheduler.task("t", &next).await;
    let kill = json!({"task_id": {"value": "t"}});
    scheduler.call(json!({"type": "KILL", "kill": kill})).await;
    while next != "TASK_KILLED" {
        let status = scheduler.event("UPDATE").await["update"]["status"].take();
        next = status["state"].as_str().expect("text").to_owned();
        seen.push(next.clone());
        let keep = json!({
            "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
        });
        scheduler.call(json!({"type": "ACKNOWLEDGE", "acknowledge": keep})).await;
    }
    seen
}

#[tokio::test]
async fn that_a_task_is_being_killed_is_told_to_those_who_know_of_that_state() {
    let world = World::new();
    let port = free_ports(1)[0];
    let masters = format!("127.0.0.1:{port}");
    let master = world.start_master("master", port, &masters, &[]).await;
    let _agent = start_agent(&world, &masters, RESOURCES).await;
    world.leader(&[&master]).await;
    for (capabilities, told) in [
        (json!([]), &["TASK_KILLED"][..]),
        (json!([{"type": "TASK_KILLING_STATE"}]), &["TASK_KILLING", "TASK_KILLED"]),
    ] {
        let info = framework(&capabilities);
        let mut scheduler = Scheduler::subscribe(&master.address, &info).await;
        let offer = scheduler.offer().await;
        let amount = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
        let task = json!({
            "name": "t", "task_id": {"value": "t"}, "agent_id": offer["agent_id"],
            "command": {"value": "exec sleep 10000"},
            "resources": [amount("cpus", 0.1), amount("mem", 32.0)],
        });
        let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}]);
        scheduler.accept(&offer, launch).await;
        assert_eq!(states(&mut scheduler, "TASK_RUNNING").await, told, "{capabilities}");
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}
