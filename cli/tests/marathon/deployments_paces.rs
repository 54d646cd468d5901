//! Deployments that fail by a rule, are held, or go on a part at a time.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, sleeper};
use crate::deployments::{gated, open};
use crate::harness::{PATIENCE, until_async};
use crate::seen::deployment;

fn labelled(id: &str, instances: usize, labels: &Value) -> Value {
    let mut app = sleeper(id);
    app["instances"] = instances.into();
    app["labels"] = labels.clone();
    app
}

/// What makes an app's next version another one.
fn round(number: u32) -> Value {
    json!({"env": {"ROUND": number.to_string()}})
}

/// How many tasks of an app are not among `old`.
async fn new_ones(cluster: &Cluster, app: &str, old: &[String]) -> usize {
    cluster.running(app).await.iter().filter(|task| !old.contains(task)).count()
}

#[tokio::test]
async fn a_deployment_that_does_not_get_on_fails_and_frees_its_app() {
    let cluster = Cluster::start().await;
    let mut app = labelled("/big", 1, &json!({"AGORA_DEPLOYMENT_PROGRESS_SECONDS": "1"}));
    app["cpus"] = 100.into();
    let (status, answer) = cluster.send(Method::POST, "/v2/apps", &app).await;
    assert_eq!(status, 201, "{answer}");
    let past = cluster.ended(answer["deployments"][0]["id"].as_str().expect("an id")).await;
    assert_eq!(past["outcome"], "failed");
    let why = past["reason"].as_str().expect("a reason");
    assert!(why.starts_with("no progress for 1 s: /big has 0 of 1 as wanted"), "{why}");
    assert!(why.ends_with("(InsufficientCpus on 3 agents)"), "{why}");
    assert!(past["tookMillis"].as_u64().is_some_and(|took| took >= 1_000), "{past}");
    // It is stopped where it is, not locked, and what is wanted goes on being wanted.
    cluster.change("/v2/apps/big", &json!({"cpus": 0.1})).await;
    cluster.run("big", 1).await;
}

#[tokio::test]
async fn an_upgrade_whose_tasks_fail_is_taken_back_by_itself() {
    let cluster = Cluster::start().await;
    let labels = json!({"AGORA_DEPLOYMENT_MAX_FAILURES": "1", "AGORA_DEPLOYMENT_ROLLBACK": "true"});
    let mut app = labelled("/web", 2, &labels);
    app["backoffSeconds"] = 0.into();
    app["healthChecks"] = json!([{"protocol": "COMMAND", "command": {"value": "true"},
                                  "delaySeconds": 0, "intervalSeconds": 1}]);
    cluster.deploy(&app).await;
    let old = cluster.run("web", 2).await;
    let answer = cluster.put("/v2/apps/web", &json!({"cmd": "exit 3"})).await;
    let past = cluster.ended(&deployment(&answer)).await;
    assert_eq!(past["outcome"], "rolled back");
    let why = past["reason"].as_str().expect("a reason");
    assert!(why.starts_with("2 new tasks of /web failed, the last one with: "), "{why}");
    cluster.deployed().await;
    assert_eq!(cluster.run("web", 2).await, old, "the old ones have never gone");
    let shown = cluster.json("/v2/apps/web").await.expect("it is there");
    assert_eq!(shown["app"]["cmd"], "exec sleep 1000");
    assert_eq!(shown["app"]["lastTaskFailure"]["state"], "TASK_FAILED", "{shown}");
    let history = cluster.json("/agora/v1/deployments").await.expect("it leads");
    let outcomes: Vec<&Value> =
        history["history"].as_array().expect("a list").iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["succeeded", "rolled back", "succeeded"], "newest first");
}

#[tokio::test]
async fn a_deployment_is_held_until_somebody_has_it_go_on() {
    let cluster = Cluster::start().await;
    let mut app = sleeper("/web");
    app["instances"] = 3.into();
    app["upgradeStrategy"] = json!({"minimumHealthCapacity": 0.6, "maximumOverCapacity": 0});
    cluster.deploy(&app).await;
    let old = cluster.run("web", 3).await;
    let version = cluster.tasks("web").await[0]["version"].clone();
    let next = gated(&cluster, "/web", "gate");
    let change = json!({"healthChecks": next["healthChecks"], "backoffSeconds": 0});
    let id = deployment(&cluster.put("/v2/apps/web", &change).await);
    until_async("the first is replaced", PATIENCE, async || {
        (new_ones(&cluster, "web", &old).await == 1).then_some(())
    })
    .await;
    assert_eq!(cluster.steer(&id, "pause").await.0, 200);
    let told = cluster.under_way().await.expect("it is held");
    assert_eq!(told["isPaused"], true);
    open(&cluster, "gate");
    // What was under way comes to its end; who dies is made up for as it was.
    let victim = cluster.running("web").await.into_iter().find(|it| old.contains(it));
    let victim = victim.expect("two are old");
    let body = json!({"ids": [victim]});
    let (status, answer) = cluster.send(Method::POST, "/v2/tasks/delete", &body).await;
    assert_eq!(status, 200, "{answer}");
    until_async("it is made up for", PATIENCE, async || {
        let tasks = cluster.tasks("web").await;
        let is_old = |it: &&Value| it["version"] == version;
        let is_well = |it: &&Value| it["healthCheckResults"][0]["alive"] == true;
        let is_back = cluster.running("web").await.len() == 3
            && !tasks.iter().any(|it| it["id"] == victim.as_str());
        let counts = (tasks.iter().filter(is_old).count(), tasks.iter().filter(is_well).count());
        (is_back && counts == (2, 1)).then_some(())
    })
    .await;
    assert_eq!(cluster.under_way().await.expect("it is held still")["id"], id.as_str());
    assert_eq!(cluster.steer(&id, "continue").await.0, 200);
    cluster.deployed().await;
    cluster.run("web", 3).await;
    assert_eq!(cluster.ended(&id).await["outcome"], "succeeded");
    assert_eq!(cluster.steer(&id, "pause").await.0, 404);
}

#[tokio::test]
async fn a_batch_bounds_how_many_are_replaced_at_a_time() {
    let cluster = Cluster::start().await;
    let mut app = labelled("/web", 4, &json!({"AGORA_DEPLOYMENT_BATCH": "1"}));
    app["upgradeStrategy"] = json!({"minimumHealthCapacity": 0, "maximumOverCapacity": 1});
    cluster.deploy(&app).await;
    let old = cluster.run("web", 4).await;
    cluster.put("/v2/apps/web", &round(2)).await;
    let (started, mut samples) = (Instant::now(), 0);
    while cluster.json("/v2/deployments").await.expect("it leads") != json!([]) {
        let tasks = cluster.tasks("web").await;
        let running = tasks.iter().filter(|it| it["state"] == "TASK_RUNNING").count();
        assert!(running >= 3 && tasks.len() <= 5, "{running} of {} run", tasks.len());
        assert!(started.elapsed() < PATIENCE, "it does not end");
        samples += 1;
    }
    assert!(samples > 0);
    cluster.run("web", 4).await;
    assert_eq!(new_ones(&cluster, "web", &old).await, 4);
}

#[tokio::test]
async fn a_canary_waits_at_each_stop_for_somebody() {
    let cluster = Cluster::start().await;
    let labels =
        json!({"AGORA_DEPLOYMENT_CANARY": "1,2", "AGORA_DEPLOYMENT_PROGRESS_SECONDS": "1"});
    cluster.deploy(&labelled("/web", 4, &labels)).await;
    let old = cluster.run("web", 4).await;
    let id = deployment(&cluster.put("/v2/apps/web", &round(2)).await);
    for stop in [1, 2] {
        let told = until_async("it is at its stop", PATIENCE, async || {
            let told = cluster.under_way().await?;
            (told["waitsForContinue"] == json!(["/web"])).then_some(told)
        })
        .await;
        assert_eq!(told["stage"], stop - 1, "{told}");
        let tasks = cluster.run("web", 4).await;
        assert_eq!(tasks.iter().filter(|task| !old.contains(task)).count(), stop);
        assert_eq!(cluster.steer(&id, "continue").await.0, 200);
    }
    cluster.deployed().await;
    cluster.run("web", 4).await;
    assert_eq!(new_ones(&cluster, "web", &old).await, 4);
    assert_eq!(cluster.ended(&id).await["outcome"], "succeeded");
    // At a stop it can be taken back as well.
    let old = cluster.run("web", 4).await;
    let id = deployment(&cluster.put("/v2/apps/web", &round(3)).await);
    until_async("it is at its first stop", PATIENCE, async || {
        let told = cluster.under_way().await?;
        (told["waitsForContinue"] == json!(["/web"])).then_some(())
    })
    .await;
    let (status, answer) = cluster.ask(Method::DELETE, &format!("/v2/deployments/{id}")).await;
    assert_eq!(status, 200, "{answer}");
    cluster.deployed().await;
    let back = cluster.run("web", 4).await;
    assert_eq!(back.iter().filter(|task| old.contains(task)).count(), 3, "only the canary went");
}
