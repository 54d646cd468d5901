//! `/api/v1/executor`: codes, texts, events.

use model::task::TaskState;
use serde_json::{Value, json};

use crate::master::AGENT;
use crate::{FRAMEWORK, Site, client, executor_task, of, update, uuid};

#[tokio::test]
async fn a_custom_executor_is_told_and_tells() {
    let mut site = Site::new().await;
    site.master.launch(executor_task(AGENT, "t1", "e1"));
    site.launched("e1").await;

    assert_eq!(
        site.call(&update("e1", "t1", "TASK_RUNNING", 1)).await,
        (403.try_into().expect("a code"), "Executor is not subscribed".to_owned())
    );
    let mut events = site.subscribe("e1", json!({})).await;
    let subscribed = events.expect("SUBSCRIBED").await;
    let subscribed = &subscribed["subscribed"];
    assert_eq!(subscribed["executor_info"]["executor_id"]["value"], "e1");
    assert_eq!(subscribed["executor_info"]["framework_id"]["value"], FRAMEWORK);
    assert_eq!(subscribed["framework_info"]["id"]["value"], FRAMEWORK);
    assert_eq!(subscribed["agent_info"]["id"]["value"], AGENT);
    assert_eq!(subscribed["agent_info"]["hostname"], "here");
    let container = subscribed["container_id"]["value"].clone();
    let launch = events.expect("LAUNCH").await;
    assert_eq!(launch["launch"]["task"]["task_id"]["value"], "t1");

    assert_eq!(site.call(&update("e1", "t1", "TASK_RUNNING", 1)).await.0, 202);
    let acknowledged = events.expect("ACKNOWLEDGED").await;
    assert_eq!(acknowledged["acknowledged"]["uuid"], uuid(1));
    let status = site.master.status().await;
    assert_eq!((status.state, status.reason), (TaskState::Running, None));
    let wire = proto::convert::task::status_to_wire(&status);
    let told = wire.container_status.expect("the agent knows the container");
    assert_eq!(container, told.container_id.expect("it has an id").value);
    assert_eq!(wire.agent_id.expect("the agent says who it is").value, AGENT);

    // A repeated report and one after the end are taken and go no further.
    assert_eq!(site.call(&update("e1", "t1", "TASK_RUNNING", 1)).await.0, 202);
    assert_eq!(site.call(&update("e1", "t1", "TASK_FINISHED", 2)).await.0, 202);
    assert_eq!(site.call(&update("e1", "t1", "TASK_FAILED", 3)).await.0, 202);
    for number in [1, 2, 3] {
        assert_eq!(events.expect("ACKNOWLEDGED").await["acknowledged"]["uuid"], uuid(number));
    }
    assert_eq!(site.master.status().await.state, TaskState::Finished);

    let state = site.get_json("/slave(1)/state.json").await;
    let executor = &state["frameworks"][0]["executors"][0];
    assert_eq!(executor["completed_tasks"][0]["state"], "TASK_FINISHED");
    let environment = site.sandbox_file("e1", "environment").await;
    for line in [
        format!("MESOS_AGENT_ENDPOINT={}", site.agent.address),
        format!("MESOS_SLAVE_PID=slave(1)@{}", site.agent.address),
        format!("MESOS_FRAMEWORK_ID={FRAMEWORK}"),
        format!("MESOS_SLAVE_ID={AGENT}"),
        "MESOS_EXECUTOR_ID=e1".to_owned(),
        "MESOS_CHECKPOINT=1".to_owned(),
        "MESOS_RECOVERY_TIMEOUT=15mins".to_owned(),
        "MESOS_SUBSCRIPTION_BACKOFF_MAX=1secs".to_owned(),
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=500ms".to_owned(),
        "LIBPROCESS_PORT=0".to_owned(),
    ] {
        assert!(environment.lines().any(|it| it == line), "{line} in:\n{environment}");
    }
    site.end().await;
}

#[tokio::test]
async fn a_later_subscription_ends_the_earlier_one() {
    let mut site = Site::new().await;
    site.master.launch(executor_task(AGENT, "t1", "e1"));
    site.launched("e1").await;
    let mut first = site.subscribe("e1", json!({})).await;
    first.expect("SUBSCRIBED").await;
    first.expect("LAUNCH").await;
    let tasks = json!({"unacknowledged_tasks": [{
        "name": "t1", "task_id": {"value": "t1"}, "agent_id": {"value": AGENT}}]});
    let mut second = site.subscribe("e1", tasks).await;
    assert_eq!(first.next_or_end().await, None);
    second.expect("SUBSCRIBED").await;
    site.master.kill("t1");
    assert_eq!(second.expect("KILL").await["kill"]["task_id"]["value"], "t1");
    assert_eq!(site.call(&update("e1", "t1", "TASK_KILLED", 1)).await.0, 202);
    assert_eq!(site.master.status().await.state, TaskState::Killed);
    site.end().await;
}

#[tokio::test]
async fn wrong_calls_are_refused_in_known_words() {
    let site = Site::new().await;
    let with = |mut call: Value, name: &str, member: Value| {
        call[name] = member;
        call
    };
    let running = update("e", "t", "TASK_RUNNING", 1);
    let changed = |name: &str, value: Value| {
        let mut call = running.clone();
        call["update"]["status"][name] = value;
        call
    };
    let prefix = "Failed to validate Executor::Call: ";
    for (call, status, text) in [
        (of("e", "HEARTBEAT"), 202, String::new()),
        (of("e", "UNKNOWN"), 501, "UNKNOWN is not implemented".to_owned()),
        (
            with(of("e", "SUBSCRIBE"), "subscribe", json!({})),
            400,
            "Framework cannot be found".to_owned(),
        ),
        (running.clone(), 400, "Framework cannot be found".to_owned()),
        (of("e", "SUBSCRIBE"), 400, format!("{prefix}Expecting 'subscribe' to be present")),
        (of("e", "UPDATE"), 400, format!("{prefix}Expecting 'update' to be present")),
        (of("e", "MESSAGE"), 400, format!("{prefix}Expecting 'message' to be present")),
        (of("e", "NO_SUCH_TYPE"), 400, format!("{prefix}Expecting 'type' to be present")),
        (changed("uuid", Value::Null), 400, format!("{prefix}Expecting 'uuid' to be present")),
        (changed("uuid", json!("eA==")), 400, format!("{prefix}Not a valid UUID")),
        (
            changed("state", json!("TASK_STAGING")),
            400,
            format!("{prefix}Received TASK_STAGING from executor e which is not allowed"),
        ),
    ] {
        let (got, body) = site.call(&call).await;
        assert_eq!((got.as_u16(), body), (status, text), "{call}");
    }
    site.end().await;
}

#[tokio::test]
async fn requests_are_checked_before_calls() {
    let site = Site::new().await;
    let url = site.url("/slave(1)/api/v1/executor");
    let get = client().get(&url).send().await.expect("an answer");
    assert_eq!(get.status(), 405);
    assert_eq!(get.headers()["allow"], "POST");
    for (kind, body, status, text) in [
        (None, "{}", 400, "Expecting 'Content-Type' to be present"),
        (
            Some("text/plain"),
            "{}",
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        (Some("application/x-protobuf"), "x", 400, "Failed to parse body into Call protobuf"),
        (Some("application/json"), "{", 400, "Failed to parse body into JSON: "),
        (Some("application/json"), "{}", 400, "Failed to convert JSON into Call protobuf: "),
    ] {
        let mut request = client().post(&url).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = request.send().await.expect("an answer");
        let got = answer.status().as_u16();
        let body = answer.text().await.expect("a body");
        assert!(got == status && body.starts_with(text), "{kind:?}: {got} {body}");
    }
    let answer = client()
        .post(&url)
        .header("content-type", "application/json")
        .header("accept", "text/html")
        .body({
            let mut call = of("e", "SUBSCRIBE");
            call["subscribe"] = json!({});
            call.to_string()
        })
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 406);
    site.end().await;
}
