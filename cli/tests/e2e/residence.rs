//! Apps whose volumes outlive their tasks, on real agents.

use crate::harness::{Daemon, PATIENCE, World, free_ports, until_async};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Notes each start in its volume, and serves what is there.
fn app(instances: u32) -> Value {
    json!({
        "id": "/db",
        "cmd": "echo $MESOS_TASK_ID >> data/starts && \
                exec python3 -m http.server $PORT0 --bind 127.0.0.1 --directory data",
        "instances": instances, "cpus": 0.1, "mem": 64,
        "container": { "type": "MESOS", "volumes": [
            { "containerPath": "data", "mode": "RW", "persistent": { "size": 64 } },
        ] },
    })
}

/// Two containers that see one volume: one notes each start in it, and both serve what is there.
fn pod() -> Value {
    let serve = |name: &str, directory: &str, first: &str| {
        let shell = format!(
            "{first}; exec python3 -m http.server $ENDPOINT_{} --bind 127.0.0.1 --directory {directory}",
            name.to_uppercase()
        );
        json!({
            "name": name, "resources": { "cpus": 0.1, "mem": 64 },
            "exec": { "command": { "shell": shell } },
            "endpoints": [{ "name": name, "hostPort": 0 }],
        })
    };
    let mut writer = serve("writer", "there", "echo $MESOS_TASK_ID >> there/starts");
    writer["volumeMounts"] = json!([{ "name": "data", "mountPath": "there" }]);
    let mut reader = serve("reader", "seen", "! touch seen/mine");
    reader["volumeMounts"] = json!([{ "name": "data", "mountPath": "seen", "readOnly": true }]);
    json!({
        "id": "/store", "containers": [writer, reader],
        "volumes": [{ "name": "data", "persistent": { "size": 64 } }],
    })
}

/// What both containers of the pod serve, once that is the same and the volume has seen `count` starts,
/// with the id of the volume.
async fn shared(world: &World, marathon: &str, count: usize) -> String {
    until_async("both containers see what was written", PATIENCE, async || {
        let status = world.json(marathon, "/v2/pods/store::status").await?;
        let instance = &status["instances"][0];
        let volume = instance["localVolumes"][0]["persistenceId"].as_str()?.to_owned();
        let mut served = Vec::new();
        for container in instance["containers"].as_array()? {
            let port = container["endpoints"][0]["allocatedHostPort"].as_u64()?;
            served.push(world.get(&format!("127.0.0.1:{port}"), "/starts").await?);
            assert_eq!(world.get(&format!("127.0.0.1:{port}"), "/mine").await?.0, 404);
        }
        let latest = instance["containers"][0]["containerId"].as_str()?;
        let is_new = served[0].1.lines().last() == Some(latest);
        let is_shared = served.len() == 2 && served[0] == served[1] && served[0].0 == 200;
        (is_new && is_shared && served[0].1.lines().count() == count).then_some(volume)
    })
    .await
}

/// What each instance that answers has noted, by its volume, once all have as many starts as `enough` says.
async fn starts(
    world: &World,
    marathon: &str,
    count: usize,
    enough: impl Fn(&BTreeMap<String, usize>) -> bool,
) -> BTreeMap<String, usize> {
    until_async("instances have started on their volumes", PATIENCE, async || {
        let mut found = BTreeMap::new();
        for task in world.tasks(marathon, "db").await {
            let volume = task["localVolumes"][0]["persistenceId"].as_str()?.to_owned();
            let port = task["ports"][0].as_u64()?;
            let (status, text) = world.get(&format!("127.0.0.1:{port}"), "/starts").await?;
            if task["state"] == "TASK_RUNNING" && status == 200 {
                // Whoever answers is the task that is shown, and not the one before it.
                let last = text.lines().last()?;
                (task["id"] == last).then(|| found.insert(volume, text.lines().count()));
            }
        }
        (found.len() == count && enough(&found)).then_some(found)
    })
    .await
}

/// Reserved disk and volumes on all agents, in the master's eyes.
async fn reserved(world: &World, master: &str) -> Option<f64> {
    let slaves = world.json(master, "/slaves").await?;
    let slaves = slaves["slaves"].as_array()?.clone();
    let of = |slave: &Value| slave["reserved_resources"]["web"]["disk"].as_f64().unwrap_or(0.0);
    Some(slaves.iter().map(of).sum())
}

/// Waits until nothing is reserved and no volume is left on `agents`.
async fn nothing_left(world: &World, master: &str, agents: &[&Daemon]) {
    until_async("nothing is reserved any more", PATIENCE, async || {
        reserved(world, master).await.filter(|disk| *disk == 0.0)
    })
    .await;
    until_async("no data is left", Duration::from_secs(30), async || {
        let left = agents.iter().flat_map(|agent| {
            let role = agent.work_dir.join("volumes/roles/web");
            std::fs::read_dir(role).into_iter().flatten().flatten()
        });
        (left.count() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn containers_of_a_pod_share_data_that_outlives_them() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let master = world.start_master("master", ports[0], &masters, &[]).await;
    let agent = world.start_agent("agent", &masters, "31000-31499").await;
    let marathon = world.start_marathon_with("marathon", &masters, &["--mesos_role=web"]).await;
    let marathon = &marathon.address;
    world.create(marathon, "/v2/pods", &pod()).await;
    let first = shared(&world, marathon, 1).await;
    assert_eq!(reserved(&world, &master.address).await, Some(74.0));

    let status = world.json(marathon, "/v2/pods/store::status").await.expect("it is there");
    let instance = status["instances"][0]["id"].as_str().expect("an id");
    let path = format!("/v2/pods/store::instances/{instance}");
    let (status, answer) = world.send(Method::DELETE, marathon, &path, &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(shared(&world, marathon, 2).await, first);

    let path = format!("/v2/pods/store::instances/{instance}?wipe=true");
    let (status, answer) = world.send(Method::DELETE, marathon, &path, &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert_ne!(shared(&world, marathon, 1).await, first);
    until_async("what was wiped is given back", PATIENCE, async || {
        reserved(&world, &master.address).await.filter(|disk| (disk - 74.0).abs() < 0.001)
    })
    .await;

    let (status, answer) = world.send(Method::DELETE, marathon, "/v2/pods/store", &json!({})).await;
    assert_eq!(status, 202, "{answer}");
    nothing_left(&world, &master.address, &[&agent]).await;
}

#[tokio::test]
async fn data_of_an_app_outlives_its_tasks_and_goes_with_the_app() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let master = world.start_master("master", ports[0], &masters, &[]).await;
    let agents = [
        world.start_agent("agent-1", &masters, "31000-31499").await,
        world.start_agent("agent-2", &masters, "31500-31999").await,
    ];
    let flags = ["--mesos_role=web"];
    let marathon = world.start_marathon_with("marathon", &masters, &flags).await;
    let marathon = &marathon.address;
    world.deploy(marathon, &app(2)).await;
    let first = starts(&world, marathon, 2, |all| all.values().all(|count| *count == 1)).await;
    assert_eq!(reserved(&world, &master.address).await, Some(128.0));

    // Each comes back to its own: when it is killed, and as another definition.
    let tasks = world.tasks(marathon, "db").await;
    let path = format!("/v2/apps//db/tasks/{}", tasks[0]["id"].as_str().expect("an id"));
    let (status, answer) = world.send(Method::DELETE, marathon, &path, &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let again = starts(&world, marathon, 2, |all| all.values().sum::<usize>() == 3).await;
    assert!(again.keys().eq(first.keys()), "{again:?}, not {first:?}");
    let change = json!({ "env": { "OTHER": "yes" } });
    let (status, answer) = world.send(Method::PUT, marathon, "/v2/apps//db", &change).await;
    assert_eq!(status, 200, "{answer}");
    world.deployed(marathon).await;
    let upgraded = starts(&world, marathon, 2, |all| all.values().sum::<usize>() == 5).await;
    assert!(upgraded.keys().eq(first.keys()), "{upgraded:?}, not {first:?}");

    // Volumes wait for those who come after a time with fewer.
    for instances in [1, 2] {
        let change = json!({ "instances": instances });
        let (status, answer) = world.send(Method::PUT, marathon, "/v2/apps//db", &change).await;
        assert_eq!(status, 200, "{answer}");
        world.deployed(marathon).await;
        assert_eq!(reserved(&world, &master.address).await, Some(128.0));
    }
    let back = starts(&world, marathon, 2, |all| all.values().sum::<usize>() == 6).await;
    assert!(back.keys().eq(first.keys()), "{back:?}, not {first:?}");

    let (status, answer) = world.send(Method::DELETE, marathon, "/v2/apps//db", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    nothing_left(&world, &master.address, &agents.each_ref()).await;
}
