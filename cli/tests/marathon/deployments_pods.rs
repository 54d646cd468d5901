//! Deployments of pods on agents.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::deployments::actions;
use crate::harness::{PATIENCE, until_async};

fn pod(instances: u32, seconds: u32) -> Value {
    let container = |name: &str| {
        json!({"name": name, "resources": {"cpus": 0.1, "mem": 32},
               "exec": {"command": {"shell": format!("exec sleep {seconds}")}}})
    };
    json!({
        "id": "/pod", "containers": [container("one"), container("two")],
        "scaling": {"kind": "fixed", "instances": instances},
        "scheduling": {"upgrade": {"minimumHealthCapacity": 1, "maximumOverCapacity": 0.5},
                       "backoff": {"backoff": 0}},
    })
}

/// The ids of a pod's instances, once `count` of them are there and all are stable.
async fn stable(cluster: &Cluster, count: usize) -> Vec<String> {
    until_async(&format!("{count} instances are stable"), PATIENCE, async || {
        let status = cluster.json("/v2/pods/pod::status").await?;
        let all = status["instances"].as_array()?.clone();
        let is_stable = |it: &Value| {
            let containers = it["containers"].as_array().map_or(0, Vec::len);
            it["status"] == "STABLE" && containers == 2
        };
        let mut ids: Vec<_> =
            all.iter().filter_map(|it| it["id"].as_str().map(str::to_owned)).collect();
        ids.sort();
        let is_right =
            all.len() == count && all.iter().all(is_stable) && status["status"] == "STABLE";
        is_right.then_some(ids)
    })
    .await
}

#[tokio::test]
async fn a_pod_comes_grows_is_replaced_shrinks_and_goes() {
    let cluster = Cluster::start().await;
    let (status, answer) = cluster.send(Method::POST, "/v2/pods", &pod(1, 1_000)).await;
    assert_eq!(status, 201, "{answer}");
    cluster.deployed().await;
    let first = stable(&cluster, 1).await;
    cluster.change("/v2/pods/pod", &pod(2, 1_000)).await;
    let two = stable(&cluster, 2).await;
    assert!(two.contains(&first[0]), "scaling restarts nothing");

    // Never fewer than two, never more than three.
    cluster.put("/v2/pods/pod", &pod(2, 2_000)).await;
    let plan = cluster.under_way().await.expect("it has begun");
    assert_eq!(actions(&plan["steps"]), [["RestartPod /pod"]]);
    assert_eq!(plan["affectedPods"], json!(["/pod"]));
    let (status, answer) = cluster.send(Method::PUT, "/v2/pods/pod", &pod(3, 2_000)).await;
    assert_eq!((status, &answer["deployments"][0]["id"]), (409, &plan["id"]), "{answer}");
    let started = Instant::now();
    while cluster.json("/v2/deployments").await.expect("it leads") != json!([]) {
        let status = cluster.json("/v2/pods/pod::status").await.expect("it is there");
        let all = status["instances"].as_array().expect("a list");
        let running = all.iter().filter(|it| it["status"] == "STABLE").count();
        assert!(running >= 2 && all.len() <= 3, "{running} of {}", all.len());
        assert!(started.elapsed() < PATIENCE, "it does not end");
    }
    let new = stable(&cluster, 2).await;
    assert!(new.iter().all(|it| !two.contains(it)), "{new:?} after {two:?}");

    // One that is killed comes again as itself.
    let path = format!("/v2/pods/pod::instances/{}", new[0]);
    let (status, answer) = cluster.ask(Method::DELETE, &path).await;
    assert_eq!((status, &answer["instanceId"]), (200, &json!(new[0])), "{answer}");
    until_async("it has its second tasks", PATIENCE, async || {
        let status = cluster.json("/v2/pods/pod::status").await?;
        let all = status["instances"].as_array()?;
        let it = all.iter().find(|it| it["id"] == new[0].as_str())?;
        let container = it["containers"][0]["containerId"].as_str()?;
        (container.ends_with(".2") && it["status"] == "STABLE").then_some(())
    })
    .await;
    assert_eq!(stable(&cluster, 2).await, new);

    cluster.change("/v2/pods/pod", &pod(0, 2_000)).await;
    let status = cluster.json("/v2/pods/pod::status").await.expect("it is there");
    assert_eq!(status["instances"], json!([]));
    cluster.change("/v2/pods/pod", &pod(1, 2_000)).await;
    stable(&cluster, 1).await;
    let versions = cluster.json("/v2/pods/pod::versions").await.expect("some");
    assert_eq!(versions.as_array().map(Vec::len), Some(5), "{versions}");
    cluster.delete("/v2/pods/pod").await;
    assert_eq!(cluster.ask(Method::GET, "/v2/pods/pod").await.0, 404);
    until_async("nothing runs any more", PATIENCE, async || {
        cluster.world.leftovers().is_empty().then_some(())
    })
    .await;
    let history = cluster.json("/agora/v1/deployments").await.expect("it leads");
    let outcomes: Vec<_> =
        history["history"].as_array().expect("a list").iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["succeeded"; 6]);
}
