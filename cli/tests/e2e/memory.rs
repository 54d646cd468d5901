//! A task that takes more memory than it asked for.

use crate::harness::{PATIENCE, World, until_async};
use serde_json::json;

#[tokio::test]
async fn a_memory_hog_fails_with_the_reason_and_harms_nobody() {
    let world = World::new();
    let local = world.start_local().await;
    let neighbour =
        json!({ "id": "/neighbour", "cmd": "exec sleep 10000", "cpus": 0.1, "mem": 32 });
    world.deploy(&local.marathon, &neighbour).await;
    let before = world.tasks(&local.marathon, "neighbour").await;
    let hog = json!({
        "id": "/hog",
        "cmd": "exec python3 -c 'x = bytearray(1 << 30); print(len(x))'",
        "cpus": 0.1,
        "mem": 64,
        "backoffSeconds": 3600,
    });
    let (status, answer) =
        world.send(reqwest::Method::POST, &local.marathon, "/v2/apps", &hog).await;
    assert_eq!(status, 201, "{answer}");
    let failure = until_async("the hog has failed", PATIENCE, async || {
        let answer = world.json(&local.marathon, "/v2/apps/hog?embed=app.lastTaskFailure").await?;
        answer["app"].get("lastTaskFailure").cloned()
    })
    .await;
    assert_eq!(failure["state"], "TASK_FAILED", "{failure}");
    let id = failure["taskId"].as_str().expect("an id").to_owned();
    let tasks = world.json(&local.master, "/tasks?limit=-1").await.expect("answered");
    let task = tasks["tasks"].as_array().into_iter().flatten().find(|task| task["id"] == id);
    assert_eq!(task.map(|task| task["state"].clone()), Some(json!("TASK_FAILED")), "{tasks}");
    let call = json!({ "type": "GET_TASKS" });
    let (status, answer) = world.send(reqwest::Method::POST, &local.master, "/api/v1", &call).await;
    assert_eq!(status, 200);
    let reasons: Vec<_> = answer["get_tasks"]["completed_tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|task| task["task_id"]["value"] == id)
        .flat_map(|task| task["statuses"].as_array().into_iter().flatten())
        .filter_map(|status| status["reason"].as_str())
        .collect();
    assert!(reasons.contains(&"REASON_CONTAINER_LIMITATION_MEMORY"), "{answer}");
    let after = world.tasks(&local.marathon, "neighbour").await;
    assert_eq!(after[0]["id"], before[0]["id"], "the neighbour runs on");
    assert_eq!(after[0]["state"], "TASK_RUNNING");
}
