//! `POST /api/v1`: what operators ask an agent.

use model::task::TaskState;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::master::{AGENT, framework_id};
use crate::{Site, client, command_task};

async fn ask(site: &Site, call: Value) -> (StatusCode, Value) {
    let answer =
        client().post(site.url("/api/v1")).json(&call).header("accept", "application/json");
    let answer = answer.send().await.expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn every_question_to_an_agent_has_its_answer() {
    let mut site = Site::new().await;
    site.master.launch(command_task(AGENT, "t1", "sleep 1000"));
    site.master.status_of(TaskState::Running).await;
    let framework = framework_id().to_string();
    for (kind, path, wanted) in [
        ("GET_HEALTH", "/get_health/healthy", json!(true)),
        ("GET_FLAGS", "", json!({"type": "GET_FLAGS", "get_flags": {}})),
        ("GET_VERSION", "/get_version/version_info/version", json!("1.11.0")),
        ("GET_AGENT", "/get_agent/agent_info/id/value", json!(AGENT)),
        ("GET_TASKS", "/get_tasks/launched_tasks/0/task_id/value", json!("t1")),
        (
            "GET_EXECUTORS",
            "/get_executors/executors/0/executor_info/executor_id/value",
            json!("t1"),
        ),
        (
            "GET_FRAMEWORKS",
            "/get_frameworks/frameworks/0/framework_info/id/value",
            json!(framework),
        ),
        ("GET_STATE", "/get_state/get_tasks/launched_tasks/0/state", json!("TASK_RUNNING")),
        ("GET_CONTAINERS", "/get_containers/containers/0/executor_id/value", json!("t1")),
        ("GET_LOGGING_LEVEL", "/get_logging_level/level", json!(0)),
    ] {
        let (status, answer) = ask(&site, json!({ "type": kind })).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["type"], kind);
        assert_eq!(answer.pointer(path), Some(&wanted), "{answer}");
    }
    let set = |level: u32, duration: i64| {
        json!({
            "type": "SET_LOGGING_LEVEL",
            "set_logging_level": {"level": level, "duration": {"nanoseconds": duration}},
        })
    };
    for (call, status) in [
        (json!({"type": "SET_LOGGING_LEVEL"}), StatusCode::BAD_REQUEST),
        (set(1, -1), StatusCode::BAD_REQUEST),
        (set(9, 1_000), StatusCode::BAD_REQUEST),
        (json!({"type": "PRUNE_IMAGES"}), StatusCode::NOT_IMPLEMENTED),
        (json!({"type": "NO_SUCH"}), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(ask(&site, call.clone()).await.0, status, "{call}");
    }
    site.end().await;
}
