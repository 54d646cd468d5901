//! What a master alone answers on its port, over real sockets.

mod common;

use common::{Alone, Events, SOON, subscribe_call};
use master::Options;
use serde_json::{Value, json};
use tokio::time::timeout;
use transport::client::RecordStream;

/// Method, path, content type, body; status, and how the answer begins.
type Case = (&'static str, &'static str, Option<&'static str>, &'static str, u16, &'static str);

const JSON: Option<&str> = Some("application/json");

const BAD_REQUESTS: [Case; 18] = [
    (
        "GET",
        "/api/v1/scheduler",
        None,
        "",
        405,
        "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
    ),
    ("POST", "/api/v1/scheduler", None, "{}", 400, "Expecting 'Content-Type' to be present"),
    (
        "POST",
        "/api/v1/scheduler",
        Some("text/plain"),
        "{}",
        415,
        "Expecting 'Content-Type' of application/json or application/x-protobuf",
    ),
    ("POST", "/api/v1/scheduler", JSON, "{", 400, "Failed to parse body into JSON: "),
    (
        "POST",
        "/api/v1/scheduler",
        Some("application/x-protobuf"),
        "\u{7f}",
        400,
        "Failed to parse body into Call protobuf",
    ),
    (
        "POST",
        "/api/v1/scheduler",
        JSON,
        r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{}}}"#,
        400,
        "Failed to convert JSON into Call protobuf: Missing required fields: \
         subscribe.framework_info.user, subscribe.framework_info.name",
    ),
    (
        "POST",
        "/api/v1/scheduler",
        JSON,
        "{}",
        400,
        "Failed to validate scheduler::Call: Expecting 'type' to be present",
    ),
    (
        "POST",
        "/master/api/v1/scheduler/",
        JSON,
        r#"{"type":"REVIVE"}"#,
        400,
        "Failed to validate scheduler::Call: Expecting 'framework_id' to be present",
    ),
    (
        "POST",
        "/api/v1/scheduler",
        JSON,
        r#"{"type":"REVIVE","framework_id":{"value":"nobody"}}"#,
        400,
        "Framework cannot be found",
    ),
    (
        "POST",
        "/api/v1/scheduler",
        JSON,
        r#"{"type":"UNKNOWN","framework_id":{"value":"nobody"}}"#,
        501,
        "",
    ),
    (
        "POST",
        "/api/v1",
        JSON,
        "{}",
        400,
        "Failed to validate master::Call: Expecting 'type' to be present",
    ),
    (
        "POST",
        "/api/v1",
        JSON,
        r#"{"type":"RESERVE_RESOURCES"}"#,
        400,
        "Failed to validate master::Call: Expecting 'reserve_resources' to be present",
    ),
    (
        "POST",
        "/reserve",
        Some("application/x-www-form-urlencoded"),
        "resources=[]",
        400,
        "Missing 'slaveId' query parameter in the request body",
    ),
    (
        "POST",
        "/destroy-volumes",
        Some("application/x-www-form-urlencoded"),
        "slaveId=nobody&volumes=[]",
        400,
        "No agent found with specified ID",
    ),
    (
        "POST",
        "/api/v1",
        JSON,
        r#"{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"x"}}}"#,
        404,
        "Agent not found",
    ),
    (
        "POST",
        "/teardown",
        Some("application/x-www-form-urlencoded"),
        "frameworkId=x",
        400,
        "No framework found with specified ID",
    ),
    ("GET", "/tasks?limit=many", None, "", 400, "Failed to parse 'limit'"),
    ("GET", "/no/such/path", None, "", 404, ""),
];

#[tokio::test]
async fn bad_requests_get_the_documented_answers() {
    let master = Alone::started().await;
    for (method, path, kind, body, status, text) in BAD_REQUESTS {
        let method = method.parse().expect("a method");
        let mut request = master.http.request(method, master.url(path)).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{path} {body}");
        assert!(answer.headers().contains_key("date"));
        let answer = answer.text().await.expect("a body");
        assert!(answer.starts_with(text), "{path} {body}: {answer}");
    }
}

#[tokio::test]
async fn what_the_client_does_not_accept_is_not_forced_on_it() {
    let master = Alone::started().await;
    let call = |path, call: Value| {
        let request = master.http.post(master.url(path)).header("content-type", "application/json");
        request.header("accept", "text/html").body(call.to_string()).send()
    };
    let framework = json!({"value": "nobody"});
    let reconcile = json!({
        "type": "RECONCILE_OPERATIONS", "framework_id": framework, "reconcile_operations": {}
    });
    for (path, body) in [
        ("/api/v1/scheduler", subscribe_call()),
        ("/api/v1/scheduler", reconcile),
        ("/api/v1", json!({"type": "GET_HEALTH"})),
    ] {
        let answer = call(path, body).await.expect("an answer");
        assert_eq!(answer.status(), 406);
        assert_eq!(
            answer.text().await.expect("a body"),
            "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"
        );
    }
    // Other calls of frameworks are never answered by more than a status.
    let revive = json!({"type": "REVIVE", "framework_id": framework});
    let answer = call("/api/v1/scheduler", revive).await.expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "Framework cannot be found");
}

#[tokio::test]
async fn a_framework_subscribes_and_its_calls_need_its_stream() {
    let master = Alone::started().await;
    let (stream, mut events) = master.subscribe(&subscribe_call()).await;
    let subscribed = events.next().await.expect("an event");
    assert_eq!(subscribed["type"], "SUBSCRIBED");
    assert_eq!(subscribed["subscribed"]["heartbeat_interval_seconds"], json!(15.0));
    let port = subscribed["subscribed"]["master_info"]["port"].as_u64();
    assert_eq!(port, Some(u64::from(master.address().port())));
    let heartbeat = events.next().await.expect("an event");
    assert_eq!(heartbeat["type"], "HEARTBEAT", "at once, for clients that read one ahead");

    let id = subscribed["subscribed"]["framework_id"]["value"].clone();
    let revive = json!({"type": "REVIVE", "framework_id": {"value": id}}).to_string();
    let call = |stream_id: Option<&str>| {
        let request = master
            .http
            .post(master.url("/api/v1/scheduler"))
            .header("content-type", "application/json")
            .body(revive.clone());
        match stream_id {
            Some(id) => request.header("mesos-stream-id", id).send(),
            None => request.send(),
        }
    };
    let answer = call(Some(&stream)).await.expect("an answer");
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.text().await.expect("a body"), "");
    let answer = call(None).await.expect("an answer");
    assert_eq!(answer.status(), 400);
    assert_eq!(
        answer.text().await.expect("a body"),
        "All non-subscribe calls should include the 'Mesos-Stream-Id' header"
    );
    let answer = call(Some("x")).await.expect("an answer");
    assert_eq!(answer.status(), 400);
    let text = answer.text().await.expect("a body");
    assert!(text.starts_with("The stream ID 'x' included in this request didn't match"), "{text}");

    let listed = master.get("/master/frameworks.json").await;
    assert_eq!(listed["frameworks"][0]["id"], id);
    assert_eq!(listed["frameworks"][0]["connected"], json!(true));
    assert_eq!(listed["frameworks"][0].get("pid"), None, "only old drivers have one");
}

#[tokio::test]
async fn a_subscription_with_a_stream_id_or_a_bad_role_is_refused_each_in_its_way() {
    let master = Alone::started().await;
    let request = master.http.post(master.url("/api/v1/scheduler"));
    let answer = request
        .header("content-type", "application/json")
        .header("mesos-stream-id", "x")
        .body(subscribe_call().to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 400);
    assert_eq!(
        answer.text().await.expect("a body"),
        "Subscribe calls should not include the 'Mesos-Stream-Id' header"
    );

    let mut call = subscribe_call();
    call["subscribe"]["framework_info"]["role"] = json!("a//b");
    let (_, mut events) = master.subscribe(&call).await;
    let event = events.next_but_heartbeats().await.expect("an event");
    assert_eq!(event["type"], "ERROR", "{event}");
    assert_eq!(events.next().await, None, "the stream ends");
}

#[tokio::test]
async fn a_second_subscription_replaces_the_first() {
    let master = Alone::started().await;
    let (_, mut first) = master.subscribe(&subscribe_call()).await;
    let subscribed = first.next().await.expect("an event");
    let id = &subscribed["subscribed"]["framework_id"];
    let mut again = subscribe_call();
    again["framework_id"] = id.clone();
    again["subscribe"]["framework_info"]["id"] = id.clone();
    let (_, mut second) = master.subscribe(&again).await;
    assert_eq!(second.next().await.expect("an event")["subscribed"]["framework_id"], *id);
    let error = loop {
        let event = first.next_but_heartbeats().await.expect("an event");
        if event["type"] == "ERROR" {
            break event;
        }
    };
    assert_eq!(error["error"]["message"], "Framework failed over");
    assert_eq!(first.next().await, None);
}

#[tokio::test]
async fn operators_see_a_snapshot_and_what_happens_after_it() {
    let master = Alone::started().await;
    let answer = master.post("/api/v1", &json!({"type": "SUBSCRIBE"})).await;
    assert_eq!(answer.status(), 200);
    let mut watched = Events(RecordStream::new(answer));
    let first = watched.next().await.expect("an event");
    assert_eq!(first["type"], "SUBSCRIBED");
    assert_eq!(first["subscribed"]["heartbeat_interval_seconds"], json!(15.0));
    assert_eq!(watched.next().await.expect("an event")["type"], "HEARTBEAT");

    let (_, mut events) = master.subscribe(&subscribe_call()).await;
    let subscribed = events.next().await.expect("an event");
    let id = subscribed["subscribed"]["framework_id"].clone();
    let added = watched.next_but_heartbeats().await.expect("an event");
    assert_eq!(added["type"], "FRAMEWORK_ADDED");
    assert_eq!(added["framework_added"]["framework"]["framework_info"]["id"], id);

    let teardown = json!({"type": "TEARDOWN", "teardown": {"framework_id": id}});
    assert_eq!(master.post("/api/v1", &teardown).await.status(), 200);
    loop {
        let event = watched.next_but_heartbeats().await.expect("an event");
        if event["type"] == "FRAMEWORK_REMOVED" {
            assert_eq!(event["framework_removed"]["framework_info"]["id"], id);
            break;
        }
    }
    while events.next().await.is_some() {}
    let state = master.get("/state").await;
    assert_eq!(state["frameworks"], json!([]));
    assert_eq!(state["completed_frameworks"][0]["id"], id["value"]);
}

#[tokio::test]
async fn every_question_has_its_answer() {
    let flags = [("cluster".to_owned(), "test".to_owned())].into();
    let cluster = Some("test".to_owned());
    let master = Alone::with(Options { cluster, flags, ..Options::default() }).await;
    for (call, member) in [
        ("GET_HEALTH", "get_health"),
        ("GET_VERSION", "get_version"),
        ("GET_FLAGS", "get_flags"),
        ("GET_STATE", "get_state"),
        ("GET_AGENTS", "get_agents"),
        ("GET_FRAMEWORKS", "get_frameworks"),
        ("GET_TASKS", "get_tasks"),
        ("GET_EXECUTORS", "get_executors"),
        ("GET_ROLES", "get_roles"),
        ("GET_WEIGHTS", "get_weights"),
        ("GET_MASTER", "get_master"),
    ] {
        let answer = master.post("/api/v1", &json!({"type": call})).await;
        assert_eq!(answer.status(), 200, "{call}");
        let answer = answer.bytes().await.expect("a body");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["type"], call);
        assert!(answer[member].is_object(), "{answer}");
    }
    let metrics = master.post("/api/v1", &json!({"type": "GET_METRICS", "get_metrics": {}})).await;
    assert_eq!(metrics.status(), 200);
}

#[tokio::test]
async fn the_read_endpoints_have_the_shapes_that_tools_parse() {
    let flags = [("quorum".to_owned(), "1".to_owned())].into();
    let master = Alone::with(Options { flags, ..Options::default() }).await;
    let health = master.http.get(master.url("/health")).send().await.expect("an answer");
    assert_eq!(health.status(), 200);
    assert_eq!(health.text().await.expect("a body"), "");

    let version = master.get("/version").await;
    let dotted = version["version"].as_str().expect("text");
    assert!(dotted.split('.').all(|part| part.parse::<u32>().is_ok()), "{dotted}");
    assert_eq!(master.get("/flags").await, json!({"flags": {"quorum": "1"}}));

    let state = master.get("/master/state.json").await;
    assert_eq!(state["pid"], format!("master@{}", master.address()));
    assert_eq!(state["leader"], state["pid"]);
    for array in ["slaves", "recovered_slaves", "frameworks", "completed_frameworks"] {
        assert_eq!(state[array], json!([]), "{array}");
    }
    assert!(state["elected_time"].is_f64() && state["start_time"].is_f64());
    assert_eq!(master.get("/slaves").await["slaves"], json!([]));
    assert_eq!(master.get("/tasks/?limit=-1").await, json!({"tasks": []}));
    assert!(master.get("/state-summary").await["slaves"].is_array());
    assert!(master.get("/roles").await["roles"].is_array());

    let snapshot = master.get("/metrics/snapshot").await;
    assert_eq!(snapshot["master/elected"], json!(1.0));
    assert_eq!(snapshot["master/slaves_active"], json!(0.0));
    assert_eq!(snapshot["master/tasks_failed"], json!(0.0));
    let machine = master.get("/system/stats.json").await;
    for name in ["avg_load_1min", "cpus_total", "mem_total_bytes", "mem_free_bytes"] {
        assert!(machine[name].is_f64(), "{name}: {machine}");
    }
    let text = master.http.get(master.url("/metrics")).send().await.expect("an answer");
    assert!(text.headers()["content-type"].to_str().expect("text").starts_with("text/plain"));
    assert!(text.text().await.expect("a body").contains("agora_master_elected"));

    let wrapped = master.http.get(master.url("/flags?jsonp=f")).send().await.expect("an answer");
    assert_eq!(wrapped.headers()["content-type"], "text/javascript");
    let answer = master.http.post(master.url("/flags")).send().await.expect("an answer");
    assert_eq!(answer.status(), 405);
    let leader = master.http.get(master.url("/redirect")).send().await.expect("an answer");
    assert_eq!(leader.status(), 307);
    assert_eq!(leader.headers()["location"], format!("//{}", master.address()));
    let looped = master.http.get(master.url("/redirect/x")).send().await.expect("an answer");
    assert_eq!(looped.status(), 404);
}

#[tokio::test]
async fn a_stop_ends_streams_and_frees_the_port() {
    let master = Alone::started().await;
    let (_, mut events) = master.subscribe(&subscribe_call()).await;
    events.next().await.expect("an event");
    let address = master.address();
    timeout(SOON, master.running.stop()).await.expect("in time");
    while events.next().await.is_some() {}
    std::net::TcpListener::bind(address).expect("the port is free");
}
