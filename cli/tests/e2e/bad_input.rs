//! What makes no sense gets the documented answer; nothing is lost, nothing crashes.

use crate::harness::{Local, PATIENCE, World, until_async};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// A request that is wrong, and what it must be answered with.
struct Bad {
    what: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    status: u16,
    /// The whole answer, or its beginning where it ends in `…`.
    text: &'static str,
}

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const OPERATOR: &str = "/api/v1";
const SCHEDULER: &str = "/api/v1/scheduler";
const EXECUTOR: &str = "/api/v1/executor";

fn bad(
    what: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &Value,
    status: u16,
    text: &'static str,
) -> Bad {
    Bad { what, path, headers, body: body.to_string().into_bytes(), status, text }
}

fn raw(
    what: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &[u8],
    status: u16,
    text: &'static str,
) -> Bad {
    Bad { what, path, headers, body: body.to_vec(), status, text }
}

async fn check(world: &World, address: &str, cases: &[Bad]) {
    for case in cases {
        let mut request =
            world.http.post(format!("http://{address}{}", case.path)).body(case.body.clone());
        for (name, value) in case.headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect(case.what);
        let status = answer.status().as_u16();
        let text = answer.text().await.expect(case.what);
        assert_eq!(status, case.status, "{}: {text}", case.what);
        match case.text.strip_suffix('…') {
            Some(begin) => assert!(text.starts_with(begin), "{}: {text}", case.what),
            None => assert_eq!(text, case.text, "{}", case.what),
        }
    }
}

#[tokio::test]
async fn the_master_refuses_what_makes_no_sense() {
    let world = World::new();
    let local = world.start_local().await;
    check(&world, &local.master, &unreadable()).await;
    check(&world, &local.master, &senseless()).await;

    let (status, text) = world.get(&local.master, SCHEDULER).await.expect("answered");
    assert_eq!(status, 405);
    assert_eq!(text, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.");
    bad_subscriptions(&world, &local).await;
    assert_eq!(world.get(&local.master, "/health").await.map(|answer| answer.0), Some(200));
}

/// Bodies that are no calls.
fn unreadable() -> Vec<Bad> {
    vec![
        raw(
            "no content type",
            SCHEDULER,
            &[],
            b"{}",
            400,
            "Expecting 'Content-Type' to be present",
        ),
        raw(
            "wrong content type",
            SCHEDULER,
            &[("content-type", "text/plain")],
            b"{}",
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        raw("not JSON", SCHEDULER, &[JSON], b"{", 400, "Failed to parse body into JSON: …"),
        raw(
            "not protobuf",
            SCHEDULER,
            &[PROTOBUF],
            &[0xFF; 16],
            400,
            "Failed to parse body into Call protobuf…",
        ),
        raw(
            "an array where a call is due",
            SCHEDULER,
            &[JSON],
            b"[]",
            400,
            "Failed to convert JSON into Call protobuf: Expecting a JSON object",
        ),
        raw("a body past the limit", SCHEDULER, &[JSON], &vec![b' '; 80 << 20], 413, "…"),
    ]
}

/// Calls that cannot be carried out.
fn senseless() -> Vec<Bad> {
    let known = json!({ "value": "no-such-framework" });
    vec![
        bad(
            "missing required fields",
            SCHEDULER,
            &[JSON],
            &json!({ "type": "SUBSCRIBE", "subscribe": { "framework_info": {} } }),
            400,
            "Failed to convert JSON into Call protobuf: Missing required fields: \
             subscribe.framework_info.user, subscribe.framework_info.name",
        ),
        bad(
            "a call without a type",
            SCHEDULER,
            &[JSON],
            &json!({}),
            400,
            "Failed to validate scheduler::Call: Expecting 'type' to be present",
        ),
        bad(
            "a call without its body",
            SCHEDULER,
            &[JSON],
            &json!({ "type": "ACCEPT", "framework_id": known }),
            400,
            "Failed to validate scheduler::Call: Expecting 'accept' to be present",
        ),
        bad(
            "an unknown framework",
            SCHEDULER,
            &[JSON, ("mesos-stream-id", "x")],
            &json!({ "type": "REVIVE", "framework_id": known }),
            400,
            "Framework cannot be found",
        ),
        bad(
            "a stream id on SUBSCRIBE",
            SCHEDULER,
            &[JSON, ("mesos-stream-id", "x")],
            &subscribe(&json!({})),
            400,
            "Subscribe calls should not include the 'Mesos-Stream-Id' header",
        ),
        bad(
            "an unacceptable answer type",
            SCHEDULER,
            &[JSON, ("accept", "text/html")],
            &subscribe(&json!({})),
            406,
            "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
        ),
        bad(
            "an operator call without its body",
            OPERATOR,
            &[JSON],
            &json!({ "type": "GET_METRICS" }),
            400,
            "Failed to validate master::Call: Expecting 'get_metrics' to be present",
        ),
    ]
}

/// A subscription with `more` in its framework.
fn subscribe(more: &Value) -> Value {
    let mut info = json!({ "user": "root", "name": "bad" });
    info.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
    json!({ "type": "SUBSCRIBE", "subscribe": { "framework_info": info } })
}

/// What is well formed and cannot be is an ERROR event on a stream that then ends.
async fn bad_subscriptions(world: &World, local: &Local) {
    let cases = [
        (json!({ "role": "/web" }), "Role '/web'"),
        (json!({ "roles": ["a"] }), "'FrameworkInfo.roles'"),
        (
            json!({ "role": "a", "capabilities": [{ "type": "MULTI_ROLE" }] }),
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        ),
    ];
    for (more, error) in cases {
        let call = subscribe(&more);
        let answer = world
            .http
            .post(format!("http://{}{SCHEDULER}", local.master))
            .json(&call)
            .send()
            .await
            .expect("answered");
        assert_eq!(answer.status().as_u16(), 200);
        let text = answer.text().await.expect("the stream ends");
        let record = text.split_once('\n').expect("a record").1;
        let event: Value = serde_json::from_str(record).expect("one record");
        assert_eq!(event["type"], "ERROR", "{more}: {event}");
        let message = event["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(error), "{more}: {message}");
    }
}

#[tokio::test]
async fn the_agent_refuses_what_makes_no_sense() {
    let world = World::new();
    let local = world.start_local().await;
    let nobody = json!({ "value": "nobody" });
    let cases = [
        raw("no content type", EXECUTOR, &[], b"{}", 400, "Expecting 'Content-Type' to be present"),
        raw(
            "wrong content type",
            EXECUTOR,
            &[("content-type", "text/plain")],
            b"{}",
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        raw("not JSON", EXECUTOR, &[JSON], b"nonsense", 400, "Failed to parse body into JSON: …"),
        bad(
            "an executor nobody knows",
            EXECUTOR,
            &[JSON],
            &json!({
                "type": "SUBSCRIBE", "framework_id": nobody, "executor_id": nobody,
                "subscribe": { "unacknowledged_tasks": [], "unacknowledged_updates": [] },
            }),
            400,
            "Framework cannot be found",
        ),
        bad(
            "a heartbeat of anybody",
            EXECUTOR,
            &[JSON],
            &json!({ "type": "HEARTBEAT", "framework_id": nobody, "executor_id": nobody }),
            202,
            "",
        ),
    ];
    check(&world, &local.agent, &cases).await;
    check(&world, &local.agent, &bad_streams()).await;

    let secret = world.path("secret");
    std::fs::write(&secret, "not for everybody").expect("written");
    for path in [
        "/etc/passwd",
        "/../../../../etc/passwd",
        "..%2F..%2Fetc%2Fpasswd",
        secret.to_str().expect("UTF-8"),
    ] {
        for verb in ["read", "download", "browse"] {
            let query = format!("/files/{verb}?path={path}&offset=0&length=10");
            let (status, text) = world.get(&local.agent, &query).await.expect("answered");
            assert!(matches!(status, 400 | 403 | 404), "{query}: {status} {text}");
        }
    }
    let (status, _) = world.get(&local.agent, "/files/read").await.expect("answered");
    assert_eq!(status, 400, "a path is needed");
    assert_eq!(world.get(&local.agent, "/health").await.map(|answer| answer.0), Some(200));
}

/// Streams of records that are none, or not what is to be streamed.
fn bad_streams() -> Vec<Bad> {
    const RECORDIO: (&str, &str) = ("content-type", "application/recordio");
    const OF_JSON: (&str, &str) = ("message-content-type", "application/json");
    vec![
        raw(
            "records of nobody knows what",
            OPERATOR,
            &[RECORDIO],
            b"2\n{}",
            400,
            "Expecting 'Message-Content-Type' to be set for streaming requests",
        ),
        raw(
            "records of text",
            OPERATOR,
            &[RECORDIO, ("message-content-type", "text/plain")],
            b"2\n{}",
            415,
            "Expecting 'Message-Content-Type' of application/json or application/x-protobuf",
        ),
        raw(
            "no records, but labelled as if they were some",
            OPERATOR,
            &[JSON, OF_JSON],
            b"{}",
            415,
            "Expecting 'Message-Content-Type' to be not set for non-streaming requests",
        ),
        raw(
            "a length that is no number",
            OPERATOR,
            &[RECORDIO, OF_JSON],
            b"0x2\n{}",
            400,
            "Failed to decode record header: not a decimal length",
        ),
        raw(
            "a record without an end",
            OPERATOR,
            &[RECORDIO, OF_JSON],
            b"2000\n{}",
            400,
            "The stream has ended within a record",
        ),
        raw(
            "a record larger than any",
            OPERATOR,
            &[RECORDIO, OF_JSON],
            b"99999999999\n{}",
            400,
            "Record of 99999999999 bytes is longer than the allowed 1048576",
        ),
        raw(
            "a record that is no call",
            OPERATOR,
            &[RECORDIO, OF_JSON],
            b"2\n[]",
            400,
            "Failed to convert JSON into Call protobuf: Expecting a JSON object",
        ),
        raw(
            "a call that is not to be streamed",
            OPERATOR,
            &[RECORDIO, OF_JSON],
            b"21\n{\"type\":\"GET_HEALTH\"}",
            415,
            "Streaming 'Content-Type' application/recordio is not supported for GET_HEALTH call",
        ),
    ]
}

#[tokio::test]
async fn a_task_cannot_lead_the_files_endpoint_or_the_fetcher_out_of_its_sandbox() {
    let world = World::new();
    let local = world.start_local().await;
    let app = json!({
        "id": "/sly", "cmd": "ln -s /etc/passwd way-out; ln -s /etc etc; exec sleep 1000",
        "cpus": 0.1, "mem": 32,
    });
    world.deploy(&local.marathon, &app).await;
    let sandbox = until_async("the sandbox is known", PATIENCE, async || {
        let state = world.json(&local.agent, "/state").await?;
        let executor = &state["frameworks"][0]["executors"][0];
        executor["directory"].as_str().map(str::to_owned)
    })
    .await;
    until_async("the links are made", Duration::from_secs(10), async || {
        std::fs::symlink_metadata(format!("{sandbox}/etc")).ok().map(|_| ())
    })
    .await;
    for path in ["way-out", "etc/passwd"] {
        for verb in ["read", "download"] {
            let query = format!("/files/{verb}?path={sandbox}/{path}&offset=0&length=100");
            let (status, text) = world.get(&local.agent, &query).await.expect("answered");
            assert!(matches!(status, 400 | 403 | 404), "{query}: {status} {text}");
            assert!(!text.contains("root:"), "{query} leads out");
        }
    }

    let archive = world.path("climbing.tar.gz");
    write_climbing_archive(&archive);
    let app = json!({
        "id": "/climber", "cmd": "exec sleep 1000", "cpus": 0.1, "mem": 32, "backoffSeconds": 3600,
        "fetch": [{ "uri": archive.to_str().expect("UTF-8"), "extract": true }],
    });
    let (status, answer) =
        world.send(reqwest::Method::POST, &local.marathon, "/v2/apps", &app).await;
    assert_eq!(status, 201, "{answer}");
    let failure = until_async("the task has failed", PATIENCE, async || {
        let answer = world.json(&local.marathon, "/v2/apps/climber").await?;
        answer["app"].get("lastTaskFailure").cloned()
    })
    .await;
    assert_eq!(failure["state"], "TASK_FAILED", "{failure}");
    assert!(
        failure["message"].as_str().is_some_and(|text| text.contains("climbing.tar.gz")),
        "{failure}"
    );
    assert!(!world.path("climbed").exists() && !std::path::Path::new("/tmp/climbed").exists());
}

/// An archive whose one file is to land far above where it is unpacked.
fn write_climbing_archive(path: &std::path::Path) {
    let mut header = tar::Header::new_gnu();
    let name = b"../../../../../../../../../../../../tmp/climbed";
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_size(4);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, &b"evil"[..]).expect("memory takes it");
    let bytes = archive.into_inner().expect("memory takes it");
    let file = std::fs::File::create(path).expect("created");
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(&bytes).and_then(|()| gzip.finish().map(|_| ())).expect("written");
}
