//! Quota of the role that Marathon is in.

use crate::harness::{PATIENCE, World, free_ports, until_async};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn an_app_that_waits_for_quota_says_so_until_there_is_more() {
    let world = World::new();
    let ports = free_ports(1);
    let masters = format!("127.0.0.1:{}", ports[0]);
    let master = world.start_master("master", ports[0], &masters, &[]).await;
    let _agent = world.start_agent("agent", &masters, "31000-31499").await;
    let marathon = world.start_marathon_with("marathon", &masters, &["--mesos_role=web"]).await;
    let (master, marathon) = (&master.address, &marathon.address);
    let limit = async |cpus: f64| {
        let config = json!({"role": "web", "limits": {"cpus": {"value": cpus}}});
        let call = json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [config]}});
        // More than the limit may be in an offer that Marathon has not declined yet.
        until_async("the quota is taken", PATIENCE, async || {
            let (status, _) = world.send(Method::POST, master, "/api/v1", &call).await;
            (status == 200).then_some(())
        })
        .await;
    };
    limit(0.5).await;
    let app =
        json!({"id": "/web", "cmd": "exec sleep 1000", "cpus": 0.2, "mem": 32, "instances": 3});
    world.create(marathon, "/v2/apps", &app).await;
    let why = "by its quota role 'web' may have cpus:0.5 at most, and has cpus:0.4";
    until_async("the third says what it waits for", PATIENCE, async || {
        let told = world.json(marathon, "/agora/v1/explain/app/web").await?;
        told["master"]["why"].as_str()?.starts_with(why).then_some(())
    })
    .await;
    let (code, out, err) = crate::harness::agora(&["app", "explain", "/web"], master, marathon);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(&format!("The master says: {why}")), "{out}");
    let queue = world.json(marathon, "/v2/queue?embed=master").await.expect("it waits");
    assert_eq!(queue["queue"][0]["master"]["quota"]["limit"], json!({"cpus": 0.5}), "{queue}");
    limit(1.0).await;
    world.deployed(marathon).await;
    assert_eq!(world.tasks(marathon, "web").await.len(), 3);
}
