//! What tasks, executors and frameworks say of themselves, as old tools read it; and why nothing is offered.

use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager};
use crate::words::{BOTH, amount, framework, launch, task, until, with};

/// A task that says all of itself that a task can say.
fn talkative(agent: &FakeAgent) -> Value {
    let task = task("talks", &agent.id);
    let task = with(task, "limits", json!({"cpus": {"value": 2.0}, "mem": {"value": "Infinity"}}));
    let labels = json!({"labels": [{"key": "team", "value": "sea"}]});
    let task = with(task, "labels", labels);
    let discovery = json!({
        "visibility": "CLUSTER", "name": "talks",
        "ports": {"ports": [{"number": 80, "name": "http", "protocol": "tcp"}]},
    });
    let task = with(task, "discovery", discovery);
    let task = with(task, "container", json!({"type": "MESOS", "hostname": "talks"}));
    let health_check = json!({"type": "TCP", "tcp": {"port": 80}, "interval_seconds": 3.0});
    with(task, "health_check", health_check)
}

/// A task of an executor that says all of itself.
fn executed(agent: &FakeAgent, framework: &Value) -> Value {
    let mut task = task("executed", &agent.id);
    task["command"] = Value::Null;
    let command = json!({
        "shell": false, "value": "/bin/work", "arguments": ["work", "hard"],
        "uris": [{"value": "http://127.0.0.1/work", "executable": true}],
        "environment": {"variables": [{"name": "A", "value": "1"}]},
    });
    let executor = json!({
        "type": "CUSTOM", "executor_id": {"value": "e"}, "framework_id": framework,
        "name": "worker", "command": command,
        "resources": [amount("cpus", 0.1), amount("mem", 32.0)],
    });
    with(task, "executor", executor)
}

#[tokio::test]
async fn what_is_said_of_tasks_executors_and_frameworks_is_shown_to_old_tools() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let info = with(framework(), "webui_url", json!("http://127.0.0.1:8080/"));
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let tasks = [talkative(&agent), executed(&agent, &scheduler.id)];
        scheduler.accept(&[offer], launch(&tasks)).await;
        agent.launched().await;
        agent.launched().await;

        let state = master.get("/state").await;
        let shown = &state["frameworks"][0];
        assert_eq!(shown["webui_url"], "http://127.0.0.1:8080/");
        assert_eq!(shown["unregistered_time"], 0.0, "it is there");
        let tasks = shown["tasks"].as_array().expect("a list");
        let of = |id: &str| tasks.iter().find(|task| task["id"] == id).expect("it is there");
        let talker = of("talks");
        assert_eq!(talker["limits"], json!({"cpus": 2.0, "mem": "Infinity"}));
        assert_eq!(talker["labels"], json!([{"key": "team", "value": "sea"}]));
        assert_eq!(talker["discovery"]["visibility"], "CLUSTER");
        assert_eq!(talker["discovery"]["ports"]["ports"][0]["number"], 80);
        assert_eq!(talker["container"]["hostname"], "talks");
        assert_eq!(talker["health_check"]["tcp"]["port"], 80);
        assert_eq!(
            (&talker["executor_id"], &of("executed")["executor_id"]),
            (&json!(""), &json!("e"))
        );
        let executor = &shown["executors"][0];
        let named = (&executor["executor_id"], &executor["name"]);
        assert_eq!(named, (&json!("e"), &json!("worker")));
        assert_eq!(executor["command"]["argv"], json!(["work", "hard"]));
        let uris = json!([{"value": "http://127.0.0.1/work", "executable": true}]);
        assert_eq!(executor["command"]["uris"], uris);

        let id = scheduler.id["value"].clone();
        scheduler.hang_up();
        let gone = json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": id}}});
        Operator::new(&master, encoding).done(gone).await;
        let state = master.get("/state").await;
        assert_eq!(state["frameworks"], json!([]));
        let over = state["completed_frameworks"].as_array().expect("a list");
        let over = over.iter().find(|it| it["id"] == id).expect("it is remembered");
        assert_eq!(over["active"], false);
        let time = |name: &str| over[name].as_f64().expect("a number");
        assert!(time("unregistered_time") >= time("registered_time"), "{over}");
        agent.say(&model::link::FromAgent::Unregister).await;
        while agent.hear().await.is_some() {}
    }
}

#[tokio::test]
async fn it_is_told_why_a_framework_is_offered_nothing() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    let mut scheduler = Scheduler::subscribed(&master, BOTH[0], &framework(), None).await;
    let path =
        format!("/agora/v1/explain/framework/{}", scheduler.id["value"].as_str().expect("an id"));
    let reasons = async || {
        let told = master.get(&path).await;
        let reasons = told["roles"][0]["not_offered"].as_array().cloned().unwrap_or_default();
        let of = |reason: Value| reason["reason"].as_str().unwrap_or_default().to_owned();
        reasons.into_iter().map(of).collect::<Vec<_>>()
    };
    let offer = scheduler.offer_of(&agent.id).await;
    let filters = json!({"refuse_seconds": 3_600.0});
    let decline = json!({"offer_ids": [offer["id"]], "filters": filters});
    scheduler.call(json!({"type": "DECLINE", "decline": decline})).await;
    let told = until("the filter is told", async || {
        let told = reasons().await;
        (!told.is_empty()).then_some(told)
    })
    .await;
    assert_eq!(told, ["the framework has declined it, and the filter has not ended"]);
    let id = agent.id.as_str();
    let told = master.get(&format!("{path}?agent={id}")).await;
    let reason = &told["roles"][0]["not_offered"][0];
    assert_eq!((&reason["agents"], &reason["agent_ids"]), (&json!(1), &json!([id])));
    let declined = &reason["declined"][0];
    assert_eq!((&declined["agent_id"], &declined["offer_id"]), (&json!(id), &offer["id"]["value"]));
    for left in [&declined["ends_in_seconds"], &reason["last_ends_in_seconds"]] {
        let left = left.as_f64().expect("a time");
        assert!(left > 3_000.0 && left <= 3_600.0, "{told}");
    }
    let stranger = master.http.get(master.url(&format!("{path}?agent=nobody"))).send().await;
    assert_eq!(stranger.expect("an answer").status(), 404);
    scheduler.call(json!({"type": "SUPPRESS"})).await;
    let told = reasons().await;
    assert!(told[0].contains("suppressed"), "{told:?}");
    let unknown = master.http.get(master.url("/agora/v1/explain/framework/nobody")).send().await;
    assert_eq!(unknown.expect("an answer").status(), 404);
}
