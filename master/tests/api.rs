//! What a master alone answers on its port, over real sockets.

mod common;

use common::{Alone, BOTH, SOON, Scheduler, operators, subscribe_call, written};
use master::Options;
use proto::mesos::v1::{master as operator, scheduler};
use proto::schema::Described;
use serde_json::{Value, json};
use tokio::time::timeout;
use transport::http::{Encoding, decode};

/// Method, path, content type, body; status, and how the answer begins.
type Case = (&'static str, &'static str, Option<&'static str>, &'static str, u16, &'static str);

const JSON: Option<&str> = Some("application/json");
const PROTOBUF: Option<&str> = Some("application/x-protobuf");

const BAD_REQUESTS: [Case; 22] = [
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
        PROTOBUF,
        "\u{7f}",
        400,
        "Failed to parse body into Call protobuf",
    ),
    // What the body is written in is looked at before the body.
    (
        "POST",
        "/api/v1",
        Some("text/plain"),
        "{",
        415,
        "Expecting 'Content-Type' of application/json or application/x-protobuf",
    ),
    // A type that nobody knows is as good as none, also as a number.
    (
        "POST",
        "/api/v1/scheduler",
        PROTOBUF,
        "\u{10}\u{63}",
        400,
        "Failed to validate scheduler::Call: Expecting 'type' to be present",
    ),
    (
        "POST",
        "/api/v1",
        PROTOBUF,
        "\u{8}\u{7e}",
        400,
        "Failed to validate master::Call: Expecting 'type' to be present",
    ),
    // SUBSCRIBE of a framework that says nothing of itself.
    (
        "POST",
        "/api/v1/scheduler",
        PROTOBUF,
        "\u{10}\u{1}\u{1a}\u{2}\u{a}\u{0}",
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

/// What the body says, if it is a call in JSON, in protobuf.
fn in_protobuf(path: &str, kind: Option<&str>, body: &str) -> Option<Vec<u8>> {
    fn rewritten<M: Described>(body: &str) -> Option<Vec<u8>> {
        let call: M = decode(Encoding::Json, body.as_bytes(), "Call").ok()?;
        Some(Encoding::Protobuf.encode(&call).to_vec())
    }
    let is_of_framework = path.contains("scheduler");
    match kind {
        JSON if is_of_framework => rewritten::<scheduler::Call>(body),
        JSON => rewritten::<operator::Call>(body),
        _ => None,
    }
}

#[tokio::test]
async fn bad_requests_get_the_documented_answers() {
    let master = Alone::started().await;
    for (method, path, kind, body, status, text) in BAD_REQUESTS {
        let protobuf = in_protobuf(path, kind, body).map(|body| (PROTOBUF, body));
        let bodies = [(kind, body.as_bytes().to_vec())].into_iter().chain(protobuf);
        for (kind, body) in bodies {
            let method = method.parse().expect("a method");
            let mut request = master.http.request(method, master.url(path)).body(body);
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), status, "{path} {kind:?} {text}");
            assert!(answer.headers().contains_key("date"));
            let answer = answer.text().await.expect("a body");
            assert!(answer.starts_with(text), "{path} {kind:?}: {answer} instead of {text}");
        }
    }
}

#[tokio::test]
async fn what_the_client_does_not_accept_is_not_forced_on_it() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let call = async |path: &str, body: Vec<u8>| {
            let request = master.http.post(master.url(path));
            let request = request.header("content-type", encoding.mime());
            let request = request.header("accept", "text/html").body(body);
            request.send().await.expect("an answer")
        };
        let framework = json!({"value": "nobody"});
        let reconcile = json!({
            "type": "RECONCILE_OPERATIONS", "framework_id": framework, "reconcile_operations": {}
        });
        let of_framework = |call: &Value| written::<scheduler::Call>(encoding, call);
        let health = written::<operator::Call>(encoding, &json!({"type": "GET_HEALTH"}));
        for (path, body) in [
            ("/api/v1/scheduler", of_framework(&subscribe_call())),
            ("/api/v1/scheduler", of_framework(&reconcile)),
            ("/api/v1", health),
        ] {
            let answer = call(path, body).await;
            assert_eq!(answer.status(), 406);
            assert_eq!(
                answer.text().await.expect("a body"),
                "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"
            );
        }
        // Other calls of frameworks are never answered by more than a status.
        let revive = json!({"type": "REVIVE", "framework_id": framework});
        let answer = call("/api/v1/scheduler", of_framework(&revive)).await;
        assert_eq!(answer.text().await.expect("a body"), "Framework cannot be found");
    }
}

#[tokio::test]
async fn a_framework_subscribes_and_its_calls_need_its_stream() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let info = subscribe_call()["subscribe"]["framework_info"].take();
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        assert_eq!(scheduler.greeting["heartbeat_interval_seconds"], json!(15.0));
        let port = scheduler.greeting["master_info"]["port"].as_u64();
        assert_eq!(port, Some(u64::from(master.address().port())));
        let heartbeat = scheduler.next().await.expect("an event");
        assert_eq!(heartbeat["type"], "HEARTBEAT", "at once, for clients that read one ahead");

        let revive = json!({"type": "REVIVE"});
        assert_eq!(scheduler.answer(&revive).await, (202, String::new()));
        let without = scheduler.with_stream(None).answer(&revive).await;
        let why = "All non-subscribe calls should include the 'Mesos-Stream-Id' header";
        assert_eq!(without, (400, why.to_owned()));
        let (status, text) = scheduler.with_stream(Some("x")).answer(&revive).await;
        assert_eq!(status, 400);
        let why = format!(
            "The stream ID 'x' included in this request didn't match the stream ID currently \
             associated with framework ID {}",
            scheduler.framework()
        );
        assert_eq!(text, why);

        let listed = master.get("/master/frameworks.json").await;
        assert_eq!(listed["frameworks"][0]["id"], scheduler.id["value"]);
        assert_eq!(listed["frameworks"][0]["connected"], json!(true));
        assert_eq!(listed["frameworks"][0].get("pid"), None, "only old drivers have one");
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn a_subscription_with_a_stream_id_or_a_bad_role_is_refused_each_in_its_way() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let request = master.http.post(master.url("/api/v1/scheduler"));
        let request = request.header("content-type", encoding.mime());
        let request = request.header("mesos-stream-id", "x");
        let body = written::<scheduler::Call>(encoding, &subscribe_call());
        let answer = request.body(body).send().await.expect("an answer");
        assert_eq!(answer.status(), 400);
        assert_eq!(
            answer.text().await.expect("a body"),
            "Subscribe calls should not include the 'Mesos-Stream-Id' header"
        );

        let mut subscribe = subscribe_call()["subscribe"].take();
        subscribe["framework_info"]["role"] = json!("a//b");
        let refused = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
        assert!(refused.is_err_and(|why| why.starts_with("'a//b' is not a valid role")));
    }
}

#[tokio::test]
async fn a_second_subscription_replaces_the_first() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let mut info = subscribe_call()["subscribe"]["framework_info"].take();
        let mut first = Scheduler::subscribed(&master, encoding, &info, None).await;
        info["id"] = first.id.clone();
        let second = Scheduler::subscribed(&master, encoding, &info, None).await;
        assert_eq!(second.id, first.id);
        let last = json!({"type": "ERROR", "error": {"message": "Framework failed over"}});
        assert_eq!(first.end().await, [last]);
        // What the first one could call with is worth nothing any more.
        let (status, text) = first.answer(&json!({"type": "REVIVE"})).await;
        assert!(status == 400 && text.contains("didn't match the stream ID"), "{status} {text}");
        second.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn every_question_has_its_answer() {
    let flags = [("cluster".to_owned(), "test".to_owned())].into();
    let cluster = Some("test".to_owned());
    let master = Alone::with(Options { cluster, flags, ..Options::default() }).await;
    operators(&master, async |operator| {
        for question in [
            "GET_HEALTH",
            "GET_VERSION",
            "GET_FLAGS",
            "GET_STATE",
            "GET_AGENTS",
            "GET_FRAMEWORKS",
            "GET_TASKS",
            "GET_EXECUTORS",
            "GET_OPERATIONS",
            "GET_ROLES",
            "GET_WEIGHTS",
            "GET_QUOTA",
            "GET_MASTER",
            "GET_MAINTENANCE_SCHEDULE",
            "GET_MAINTENANCE_STATUS",
            "GET_LOGGING_LEVEL",
        ] {
            assert!(operator.ask(question).await.is_object(), "{question}");
        }
        let metrics = json!({"type": "GET_METRICS", "get_metrics": {}});
        assert_eq!(operator.call(&metrics).await.0, 200);
    })
    .await;
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
