//! Health checks of apps, as their agents make them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, sleeper};
use crate::deployments::open;
use crate::harness::{PATIENCE, until_async};

/// What each health check of the app's only task says.
async fn alive(cluster: &Cluster, app: &str) -> Option<Vec<Value>> {
    let task = cluster.tasks(app).await.pop()?;
    let results = task["healthCheckResults"].as_array().cloned().unwrap_or_default();
    Some(results.iter().map(|result| result["alive"].clone()).collect())
}

#[tokio::test]
async fn every_health_check_of_an_app_is_made_and_one_that_fails_ends_the_task() {
    let cluster = Cluster::start().await;
    let mut app = sleeper("/web");
    app["cmd"] = "exec python3 -m http.server --bind 127.0.0.1 $PORT0".into();
    app["backoffSeconds"] = 0.into();
    let gate = cluster.world.path("gate");
    let often = json!({"intervalSeconds": 1, "delaySeconds": 0, "gracePeriodSeconds": 300});
    let check = |kind: Value| {
        let mut check = often.clone();
        check.as_object_mut().expect("an object").extend(kind.as_object().expect("one").clone());
        check
    };
    app["healthChecks"] = json!([
        check(json!({"protocol": "HTTP", "path": "/", "maxConsecutiveFailures": 100})),
        check(json!({"protocol": "TCP", "maxConsecutiveFailures": 100})),
        check(json!({
            "protocol": "COMMAND", "command": {"value": format!("test -e {}", gate.display())},
            "maxConsecutiveFailures": 2,
        })),
    ]);
    let (status, answer) = cluster.send(Method::POST, "/v2/apps", &app).await;
    assert_eq!(status, 201, "{answer}");
    let old = cluster.run("web", 1).await;
    assert_eq!(alive(&cluster, "web").await, Some(vec![]), "the third has not been well yet");
    open(&cluster, "gate");
    cluster.deployed().await;
    assert_eq!(alive(&cluster, "web").await, Some(vec![json!(true); 3]));

    std::fs::remove_file(&gate).expect("it is there");
    let told = until_async("the third fails", PATIENCE, async || {
        alive(&cluster, "web").await.filter(|all| all.contains(&json!(false)))
    })
    .await;
    assert_eq!(told, [true, true, false]);
    until_async("it is replaced", PATIENCE, async || {
        let running = cluster.running("web").await;
        (running.len() == 1 && running != old).then_some(())
    })
    .await;
}
