//! The protocol itself: how requests are read, and what masters say that cannot answer.

use std::net::TcpListener;

use master::Options;
use serde_json::{Value, json};
use transport::http::BODY_BYTES_MAX;

use crate::common::{Alone, subscribe_call};

/// A body that is no call, and how the answer ends.
const BAD_BODIES: [(&str, &str); 12] = [
    ("{", "Failed to parse body into JSON: "),
    ("[]", "Failed to convert JSON into Call protobuf: Expecting a JSON object"),
    (
        r#"{"type": "KILL", "kill": {}}"#,
        "Failed to convert JSON into Call protobuf: Missing required fields: kill.task_id",
    ),
    (
        r#"{"type": "KILL", "kill": {"task_id": "t"}}"#,
        "Failed to convert JSON into Call protobuf: Not expecting a JSON string for field 'task_id'",
    ),
    (
        r#"{"type": "KILL", "kill": {"task_id": 1}}"#,
        "Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'task_id'",
    ),
    (
        r#"{"type": "KILL", "kill": {"task_id": true}}"#,
        "Failed to convert JSON into Call protobuf: Not expecting a JSON boolean for field 'task_id'",
    ),
    (
        r#"{"type": "KILL", "kill": []}"#,
        "Failed to convert JSON into Call protobuf: Not expecting a JSON array for field 'kill'",
    ),
    (
        r#"{"type": {}}"#,
        "Failed to convert JSON into Call protobuf: Not expecting a JSON object for field 'type'",
    ),
    (
        r#"{"type": "ACKNOWLEDGE", "acknowledge": {"agent_id": {"value": "a"},
            "task_id": {"value": "t"}, "uuid": "!"}}"#,
        "Failed to convert JSON into Call protobuf: Failed to base64 decode bytes field 'uuid': ",
    ),
    (
        r#"{"type": "DECLINE", "decline": {"offer_ids": [], "filters": {"refuse_seconds": "x"}}}"#,
        "Failed to convert JSON into Call protobuf: Failed to parse 'x' as a JSON number for field \
         'refuse_seconds': ",
    ),
    (
        r#"{"type": "ACCEPT", "accept": {"offer_ids": [], "operations": [{"type": "CREATE",
            "create": {"volumes": [{"name": "disk", "type": "HUGE"}]}}]}}"#,
        "Failed to convert JSON into Call protobuf: Failed to find enum for 'HUGE'",
    ),
    // A type that nobody knows is as good as none.
    (
        r#"{"type": "SURPRISE"}"#,
        "Failed to validate scheduler::Call: Expecting 'type' to be present",
    ),
];

#[tokio::test]
async fn a_body_that_is_no_call_is_told_what_is_wrong_with_it() {
    let master = Alone::started().await;
    for (body, why) in BAD_BODIES {
        let request = master.http.post(master.url("/api/v1/scheduler"));
        let request = request.header("content-type", "application/json").body(body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8", "{body}");
        let text = answer.text().await.expect("a body");
        assert!(text.starts_with(why), "{body}: {text}");
    }
}

#[tokio::test]
async fn every_api_wants_post_and_says_so() {
    let master = Alone::started().await;
    for path in ["/api/v1", "/api/v1/scheduler", "/master/api/v1", "/master/api/v1/scheduler"] {
        for method in ["GET", "PUT", "DELETE"] {
            let request = method.parse().expect("a method");
            let request = master.http.request(request, master.url(path));
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 405, "{method} {path}");
            assert_eq!(answer.headers()["allow"], "POST", "{method} {path}");
            let why = format!(
                "405 Method Not Allowed. Expecting one of {{ 'POST' }}, but received '{method}'."
            );
            assert_eq!(answer.text().await.expect("a body"), why);
        }
    }
}

#[tokio::test]
async fn unknown_members_null_and_a_charset_are_no_mistakes() {
    let master = Alone::started().await;
    let mut call = subscribe_call();
    call["surprise"] = json!({"deep": [1, 2]});
    call["subscribe"]["framework_info"]["surprise"] = json!("x");
    call["subscribe"]["framework_info"]["principal"] = Value::Null;
    // A number may be a text, and one of a list may stand for the list.
    call["subscribe"]["framework_info"]["failover_timeout"] = json!("60.5");
    call["subscribe"]["framework_info"]["capabilities"] = json!({"type": "PARTITION_AWARE"});
    for kind in
        ["application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8"]
    {
        let request = master.http.post(master.url("/api/v1/scheduler"));
        let request = request.header("content-type", kind).body(call.to_string());
        assert_eq!(request.send().await.expect("an answer").status(), 200, "{kind}");
    }
    let shown = master.get("/frameworks").await["frameworks"][0].take();
    assert_eq!(shown["failover_timeout"], 60.5);
    assert_eq!(shown["capabilities"], json!(["PARTITION_AWARE"]));
    assert_eq!(shown.get("principal"), None);
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_read_that() {
    let flags = (0..64).map(|n| (format!("flag_{n}"), "some value".to_owned())).collect();
    let master = Alone::with(Options { flags, ..Options::default() }).await;
    for (path, accepts, is_packed) in [
        ("/flags", "gzip", true),
        ("/flags", "identity", false),
        ("/state", "gzip", true),
        ("/weights", "gzip", false),
    ] {
        let request = master.http.get(master.url(path)).header("accept-encoding", accepts);
        let answer = request.send().await.expect("an answer");
        let packed = answer.headers().get("content-encoding").is_some_and(|it| it == "gzip");
        assert_eq!(packed, is_packed, "{path} {accepts}");
    }
    // Streams never are: their records must come when they are written.
    let request = master.http.post(master.url("/api/v1")).header("accept-encoding", "gzip");
    let request = request.header("content-type", "application/json");
    let answer = request.body(r#"{"type": "SUBSCRIBE"}"#).send().await.expect("an answer");
    assert_eq!(answer.headers().get("content-encoding"), None);
}

#[tokio::test]
async fn a_master_that_knows_no_leader_says_so() {
    transport::install_tls_provider();
    // Its peers never come, so that they never agree on anything.
    let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let ports = held.map(|listener| listener.local_addr().expect("is bound").port());
    let peers = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let dir = tempfile::tempdir().expect("a directory");
    let work_dir = dir.path().to_owned();
    let options = Options { port: ports[0], peers, work_dir, ..Options::default() };
    let running = master::start(options).await.expect("it starts");
    let http = reqwest::Client::new();
    for path in ["/api/v1", "/api/v1/scheduler", "/state", "/redirect", "/weights"] {
        let url = format!("http://{}{path}", running.address);
        let request = http.post(url).header("content-type", "application/json");
        let answer = request.body(r#"{"type": "GET_HEALTH"}"#).send().await.expect("an answer");
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(answer.text().await.expect("a body"), "No leader elected", "{path}");
    }
    for path in ["/health", "/version", "/flags", "/metrics/snapshot"] {
        let answer = http.get(format!("http://{}{path}", running.address)).send().await;
        assert_eq!(answer.expect("an answer").status(), 200, "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn bodies_of_old_endpoints_are_told_what_is_wrong_with_them() {
    let master = Alone::started().await;
    for (method, path, body, why) in [
        ("PUT", "/weights", "{}", "Failed to parse request body as JSON array: "),
        (
            "PUT",
            "/weights",
            r#"[{"role": "web"}]"#,
            "Failed to convert request body JSON into protobuf: ",
        ),
        (
            "PUT",
            "/weights",
            r#"[{"role": "web", "weight": 0}]"#,
            "Invalid weight '0' for role 'web'",
        ),
        ("POST", "/quota", "[]", "Failed to convert request body JSON into protobuf: "),
        (
            "POST",
            "/quota",
            r#"{"role": "web"}"#,
            "Invalid quota request: a guarantee must name a resource",
        ),
        ("DELETE", "/quota/none", "", "Role 'none' has no quota"),
        ("POST", "/machine/down", "{}", "Failed to parse request body as JSON array: "),
        ("POST", "/machine/up", "[{}]", "Both 'hostname' and 'ip' for a machine are empty"),
        (
            "POST",
            "/maintenance/schedule",
            "x",
            "Failed to convert request body JSON into protobuf: ",
        ),
    ] {
        let request = method.parse().expect("a method");
        let request = master.http.request(request, master.url(path)).body(body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{method} {path} {body}");
        let text = answer.text().await.expect("a body");
        assert!(text.starts_with(why), "{method} {path} {body}: {text}");
    }
}

#[tokio::test]
async fn bodies_of_old_endpoints_may_be_as_long_as_calls() {
    let master = Alone::started().await;
    let weights = r#"[{"role": "web", "weight": 2.0}]"#;
    let answer = async |method: &str, path: &str, body: String| {
        let request = method.parse().expect("a method");
        let request = master.http.request(request, master.url(path)).body(body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let padded = |by: usize| weights.to_owned() + &" ".repeat(by);
    assert_eq!(answer("PUT", "/weights", padded(3 << 20)).await, (200, String::new()));
    let why = "The request body is larger than 33554432 bytes; split the call";
    for (method, path) in [
        ("PUT", "/weights"),
        ("POST", "/quota"),
        ("POST", "/maintenance/schedule"),
        ("POST", "/machine/down"),
        ("POST", "/machine/up"),
    ] {
        let refused = answer(method, path, padded(BODY_BYTES_MAX)).await;
        assert_eq!(refused, (413, why.to_owned()), "{path}");
    }
}
