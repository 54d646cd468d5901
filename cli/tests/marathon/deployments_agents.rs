//! Agents that are away for a while, and instances that have to be ready.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Place, sleeper};
use crate::events::Watch;
use crate::harness::{PATIENCE, until_async};

/// An agent whose tasks Marathon itself can reach.
const NEAR: Place = Place { hostname: "localhost", rack: "r3", region: "east", zone: "e4" };

/// The task of an app that is on b, and those that are not.
fn apart(tasks: &[Value]) -> (Vec<&Value>, Vec<&Value>) {
    tasks.iter().partition(|task| task["host"] == "b.test")
}

#[tokio::test]
async fn an_agent_that_is_out_of_contact_is_waited_for_as_long_as_its_apps_say() {
    let flags = ["--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=2"];
    let mut cluster = Cluster::start_by(&flags, &[]).await;
    let strategies = [
        ("at-once", json!({"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0})),
        ("soon", json!({"inactiveAfterSeconds": 1, "expungeAfterSeconds": 600})),
        ("patient", json!({"inactiveAfterSeconds": 300, "expungeAfterSeconds": 600})),
        ("never", json!("disabled")),
    ];
    let app = |(id, strategy): &(&str, Value)| {
        let mut app = sleeper(id);
        app["instances"] = 3.into();
        app["constraints"] = json!([["@zone", "GROUP_BY"]]);
        app["unreachableStrategy"] = strategy.clone();
        app
    };
    let apps: Vec<_> = strategies.iter().map(app).collect();
    cluster.change("/v2/groups/away", &json!({"apps": apps})).await;
    let mut before = Vec::new();
    for (id, _) in &strategies {
        let tasks = cluster.tasks(&format!("away/{id}")).await;
        let (on_b, others) = apart(&tasks);
        assert_eq!((on_b.len(), others.len()), (1, 2), "{id}: {tasks:?}");
        before.push(on_b[0]["id"].as_str().expect("an id").to_owned());
    }
    let mut watch = Watch::open(&cluster, "", None).await;

    cluster.agents[1].kill();
    for (at, (id, _)) in strategies.iter().enumerate() {
        until_async(&format!("b is given up by {id}"), PATIENCE, async || {
            let tasks = cluster.tasks(&format!("away/{id}")).await;
            let (on_b, others) = apart(&tasks);
            let running = others.iter().filter(|it| it["state"] == "TASK_RUNNING").count();
            let is_lost = on_b.iter().all(|it| it["state"] == "TASK_UNREACHABLE");
            let is_old = on_b.iter().all(|it| it["id"] == before[at].as_str());
            let expected = match *id {
                "at-once" => (0, 3),
                "soon" => (1, 3),
                _ => (1, 2),
            };
            (is_lost && is_old && (on_b.len(), running) == expected).then_some(())
        })
        .await;
    }

    // It comes back with all it had.
    cluster.start_agent_again(1).await;
    for (at, (id, _)) in strategies.iter().enumerate() {
        until_async(&format!("{id} is whole again"), PATIENCE, async || {
            let tasks = cluster.tasks(&format!("away/{id}")).await;
            let all_run = tasks.iter().all(|it| it["state"] == "TASK_RUNNING");
            let has_old = tasks.iter().any(|it| it["id"] == before[at].as_str());
            // Who was forgotten is nobody's; else the youngest goes, which is the one that came in its place.
            (all_run && tasks.len() == 3 && has_old == (*id != "at-once")).then_some(())
        })
        .await;
    }
    let ended = watch.next("unknown_instance_terminated_event", |_| true).await;
    assert_eq!(ended["runSpecId"], "/away/at-once", "{ended}");
    let instance = ended["instanceId"].as_str().expect("an id");
    assert!(before[0].starts_with(instance), "{ended}, not {}", before[0]);
    assert_eq!(ended["condition"], "Killed");
    let path = "/v2/groups/away?force=true";
    assert_eq!(cluster.ask(Method::DELETE, path).await.0, 200);
    until_async("nothing runs any more", PATIENCE, async || {
        cluster.world.leftovers().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn new_instances_count_once_they_are_ready_and_are_asked_no_more() {
    let mut cluster = Cluster::start().await;
    cluster.start_another(&NEAR).await;
    let site = cluster.world.path("site");
    std::fs::create_dir(&site).expect("a directory");
    let mut app = sleeper("/web");
    app["cmd"] = format!("exec busybox httpd -f -p $PORT0 -h {}", site.display()).into();
    app["constraints"] = json!([["hostname", "IS", "localhost"]]);
    app["portDefinitions"] = json!([{"port": 0, "name": "http"}]);
    app["readinessChecks"] = json!([{
        "name": "ready", "path": "/ready", "portName": "http", "intervalSeconds": 2, "timeoutSeconds": 1,
        "httpStatusCodesForReady": [200], "preserveLastResponse": true,
    }]);
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &app).await;
    let first = cluster.run("web", 1).await;
    let told = until_async("it is asked, and not ready", PATIENCE, async || {
        let told = cluster.json("/v2/deployments").await?;
        let results = told[0]["currentActions"][0]["readinessCheckResults"].as_array()?.clone();
        (results.len() == 1).then(|| results[0].clone())
    })
    .await;
    assert_eq!((&told["name"], &told["ready"]), (&json!("ready"), &json!(false)), "{told}");
    assert_eq!(told["taskId"], first[0].as_str());
    std::fs::write(site.join("ready"), "yes").expect("written");
    cluster.deployed().await;
    assert_eq!(cluster.run("web", 1).await, first);

    // An upgrade keeps the old one until the new one is ready.
    std::fs::remove_file(site.join("ready")).expect("it was there");
    cluster.put("/v2/apps/web", &json!({"env": {"ROUND": "2"}})).await;
    let both = cluster.run("web", 2).await;
    assert!(both.contains(&first[0]));
    until_async("the new one is asked", PATIENCE, async || {
        let told = cluster.json("/v2/apps/web?embed=app.readiness").await?;
        let results = told["app"]["readinessCheckResults"].as_array()?.clone();
        let of_new = |it: &Value| it["taskId"] != first[0].as_str() && it["ready"] == false;
        results.iter().any(of_new).then_some(())
    })
    .await;
    std::fs::write(site.join("ready"), "yes").expect("written");
    cluster.deployed().await;
    let second = cluster.run("web", 1).await;
    assert!(both.contains(&second[0]) && second != first);
}
