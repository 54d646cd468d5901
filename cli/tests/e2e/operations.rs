//! Reservations and volumes: made, used, remembered over crashes, and unmade.

use crate::harness::{Daemon, PATIENCE, World, free_ports, until_async};
use crate::scheduler::Scheduler;
use serde_json::{Value, json};

pub(crate) fn framework() -> Value {
    json!({
        "user": "root", "name": "stateful", "role": "db", "principal": "dba",
        "checkpoint": true, "failover_timeout": 300.0,
        "capabilities": [{"type": "RESERVATION_REFINEMENT"}, {"type": "PARTITION_AWARE"}],
    })
}

fn reserved(name: &str, amount: f64) -> Value {
    json!({
        "name": name, "type": "SCALAR", "scalar": {"value": amount},
        "reservations": [{"type": "DYNAMIC", "role": "db", "principal": "dba"}],
    })
}

fn volume(amount: f64) -> Value {
    let mut volume = reserved("disk", amount);
    volume["disk"] = json!({
        "persistence": {"id": "data", "principal": "dba"},
        "volume": {"container_path": "data", "mode": "RW"},
    });
    volume
}

pub(crate) fn of_kind(offer: &Value, is_it: impl Fn(&Value) -> bool) -> Vec<&Value> {
    offer["resources"].as_array().expect("a list").iter().filter(|it| is_it(it)).collect()
}

pub(crate) fn volumes(offer: &Value) -> Vec<&Value> {
    of_kind(offer, |it| !it["disk"]["persistence"].is_null())
}

fn reservations(offer: &Value) -> Vec<&Value> {
    of_kind(offer, |it| it["reservations"].as_array().is_some_and(|stack| !stack.is_empty()))
}

pub(crate) async fn start_agent(world: &World, masters: &str, resources: &str) -> Daemon {
    let masters = format!("--master={masters}");
    let root = format!("--cgroups_root={}", world.cgroups_root);
    let resources = format!("--resources={resources}");
    // Some come back with more.
    let more = "--reconfiguration_policy=additive";
    let args = ["agent", "--ip=127.0.0.1", "--port=0", &masters, &root, &resources, more];
    world.start("agent", &args).await
}

const RESOURCES: &str = "cpus:2;mem:512;disk:1024;ports:[31000-31010]";

#[tokio::test]
async fn what_a_framework_reserved_outlives_its_agent_and_its_master() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let mut master = world.start_master("master", ports[0], &masters, &[]).await;
    let mut agent = start_agent(&world, &masters, RESOURCES).await;
    world.leader(&[&master]).await;
    let mut scheduler = Scheduler::subscribe(&master.address, &framework()).await;

    // Reserve, make a volume, and run a task on it, in one call.
    let offer = scheduler.offer().await;
    let space = json!([reserved("cpus", 0.5), reserved("mem", 64.0), reserved("disk", 64.0)]);
    let task = json!({
        "name": "db", "task_id": {"value": "db"}, "agent_id": offer["agent_id"],
        "command": {"value": "true"},
        "resources": [reserved("cpus", 0.5), reserved("mem", 64.0), volume(64.0)],
    });
    let operations = json!([
        {"type": "RESERVE", "id": {"value": "reserve"}, "reserve": {"resources": space}},
        {"type": "CREATE", "id": {"value": "create"}, "create": {"volumes": [volume(64.0)]}},
        {"type": "LAUNCH", "launch": {"task_infos": [task]}},
    ]);
    scheduler.accept(&offer, operations).await;
    scheduler.operation("reserve", "OPERATION_FINISHED").await;
    scheduler.operation("create", "OPERATION_FINISHED").await;
    scheduler.task("db", "TASK_FINISHED").await;
    let directory = agent.work_dir.join("volumes/roles/db/data");
    std::fs::write(directory.join("precious"), "data").expect("the volume has a directory");

    // The agent and the master die, and what was made is still there.
    agent.kill();
    master.kill();
    let master = world.start_master("master", ports[0], &masters, &[]).await;
    let mut agent = start_agent(&world, &masters, RESOURCES).await;
    world.leader(&[&master]).await;
    let mut info = framework();
    info["id"] = scheduler.id.clone();
    let mut scheduler = Scheduler::subscribe(&master.address, &info).await;
    let offer = scheduler.offer().await;
    assert_eq!(volumes(&offer), [&volume(64.0)], "{offer}");
    assert_eq!(reservations(&offer).len(), 3, "{offer}");
    assert!(directory.join("precious").exists());
    let slaves = world.json(&master.address, "/slaves").await.expect("it leads");
    assert_eq!(slaves["slaves"][0]["reserved_resources"]["db"]["disk"], 64.0, "{slaves}");

    // An agent that has not got any more what was reserved does not start.
    agent.kill();
    let mut lacking = std::process::Command::new(env!("CARGO_BIN_EXE_agora"));
    lacking.args(["agent", "--ip=127.0.0.1", "--port=0", "--resources=cpus:0.1;mem:512;disk:1024"]);
    lacking.arg(format!("--master={masters}"));
    lacking.arg(format!("--cgroups_root={}", world.cgroups_root));
    lacking.arg(format!("--work_dir={}", agent.work_dir.display()));
    let lacking = lacking.output().expect("it runs");
    let said = String::from_utf8_lossy(&lacking.stderr).into_owned();
    assert!(!lacking.status.success() && said.contains("cpus:0.5 is more than"), "{said}");
    let agent = start_agent(&world, &masters, RESOURCES).await;

    // And back to what it was.
    let offer = scheduler.offer().await;
    let operations = json!([
        {"type": "DESTROY", "destroy": {"volumes": [volume(64.0)]}},
        {"type": "UNRESERVE", "id": {"value": "undo"}, "unreserve": {"resources": space}},
    ]);
    scheduler.accept(&offer, operations).await;
    scheduler.operation("undo", "OPERATION_FINISHED").await;
    let offer = scheduler.offer().await;
    assert_eq!(reservations(&offer).len(), 0, "{offer}");
    assert!(!directory.exists());
    until_async("what was in the volume is deleted", PATIENCE, async || {
        let put_aside = std::fs::read_dir(agent.work_dir.join("volumes/removed")).ok()?;
        (put_aside.count() == 0).then_some(())
    })
    .await;
}
