//! What a node tells of itself, what all answers have in common, and a node that does not lead.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;

use crate::cluster::Cluster;
use crate::endpoints::{Answer, Area, Client, idle, ids};
use crate::harness::{PATIENCE, until_async};

#[tokio::test]
async fn a_node_tells_of_itself() {
    let cluster = Cluster::start().await;
    let client = Client::of(&cluster);
    let address = cluster.marathon.address.as_str();
    let info = client.get("/v2/info").await.is(200);
    let members: BTreeSet<&str> =
        info.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "name",
        "version",
        "buildref",
        "elected",
        "leader",
        "frameworkId",
        "marathon_config",
        "zookeeper_config",
        "http_config",
    ];
    assert_eq!(members, BTreeSet::from(expected), "strict clients know no more: {info}");
    assert_eq!((&info["elected"], &info["leader"]), (&json!(true), &json!(address)));
    assert_eq!(info["zookeeper_config"], json!({}));
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    assert_eq!(info["http_config"], json!({"http_port": port}), "nobody speaks TLS here");
    let config = &info["marathon_config"];
    assert_eq!(config["master"], cluster.master.address.as_str());
    for name in [
        "framework_name",
        "mesos_role",
        "local_port_min",
        "features",
        "webui_url",
        "ha",
        "checkpoint",
    ] {
        assert!(config.get(name).is_some(), "{name}: {config}");
    }
    assert_eq!(client.get("/v2/leader").await.is(200), json!({"leader": address}));
    assert_eq!(client.get("/v2/plugins").await.is(200), json!({"plugins": []}));

    client.post("/v2/apps", &idle("/one")).await.is(201);
    let metrics = client.get("/metrics").await.is(200);
    assert_eq!(metrics["gauges"]["marathon.apps.active.gauge"]["value"], 1, "{metrics}");
    for kind in ["counters", "gauges", "histograms", "meters", "timers"] {
        assert!(metrics[kind].is_object(), "{kind}");
    }
    let text = client.get("/metrics/prometheus").await;
    assert_eq!(text.status, 200);
    assert!(text.header("content-type").starts_with("text/plain"), "{:?}", text.headers);
    let config = client.get("/config").await.is(200);
    assert_eq!(config["master"], cluster.master.address.as_str(), "{config}");

    pings(&client).await;
    logs(&client).await;
    streams(&client).await;

    let answer = client.delete("/v2/leader").await.is(200);
    assert_eq!(answer, json!({"message": "Leadership abdicated"}));
    // It goes on, and is led by itself again since there is nobody else.
    until_async("it leads again", PATIENCE, async || {
        let info = cluster.json("/v2/info").await?;
        (info["elected"] == true).then_some(())
    })
    .await;
    client.get("/v2/apps/one").await.is(200);
    client.has_asked_all(Area::Node);
}

async fn pings(client: &Client<'_>) {
    let ping = async |method: &str, accept: &str| {
        client.ask_so(method, "/ping", |request| request.header("accept", accept)).await
    };
    for (method, accept, status, text, kind) in [
        ("GET", "*/*", 200, "pong", "text/plain"),
        ("GET", "text/plain", 200, "pong", "text/plain"),
        ("GET", "application/json", 200, "\"pong\"", "application/json"),
        ("GET", "image/png", 204, "", ""),
        ("HEAD", "*/*", 200, "", "text/plain"),
    ] {
        let answer = ping(method, accept).await;
        assert_eq!((answer.status, &*answer.text), (status, text), "{method} {accept}");
        assert!(answer.header("content-type").starts_with(kind), "{accept}: {answer:?}");
    }
}

async fn logs(client: &Client<'_>) {
    let root = async || client.get("/logging").await.is(200)["root"].clone();
    assert_eq!(root().await, "info");
    let change = |level: &str, seconds: u64| json!({"logger": "root", "level": level, "durationSeconds": seconds});
    client.post("/logging", &change("debug", 60)).await.is(200);
    assert_eq!(root().await, "debug");
    client.post("/logging", &change("info", 1)).await.is(200);
    assert_eq!(root().await, "info");
    client.post("/logging", &change("loud", 1)).await.refuses(422, "'level' must be one of");
    client.post("/logging", &change("debug", 0)).await.refuses(422, "'durationSeconds' must be");
    client.post("/logging", &json!({"level": "debug"})).await.refuses(422, "'logger' must be");
    let refused = client.ask_so("POST", "/logging", |request| request.body("{")).await;
    refused.refuses(400, "Invalid JSON");
}

/// What comes on the stream is asked elsewhere: here, how one gets it.
async fn streams(client: &Client<'_>) {
    let ask = async |path: &str, accept: &str| {
        let with = |request: reqwest::RequestBuilder| {
            request.header("accept", accept).header("accept-encoding", "gzip")
        };
        client.ask_so("GET", path, with).await
    };
    let path = "/v2/events?plan-format=light&event_type=api_post_event&event_type=deployment_info";
    for accept in
        ["text/event-stream", "text/event-stream, */*", "application/json, text/event-stream;q=0.5"]
    {
        let answer = ask(path, accept).await;
        assert_eq!(answer.status, 200, "{accept}");
        assert!(answer.header("content-type").starts_with("text/event-stream"), "{answer:?}");
        assert_eq!(answer.header("content-encoding"), "", "a compressed stream comes late");
    }
    ask("/v2/events", "application/json").await.refuses(405, "Use GET, and accept");
}

#[tokio::test]
async fn all_answers_have_their_headers() {
    let origin = "--access_control_allow_origin=http://ui.test";
    let cluster = Cluster::start_with(&[origin]).await;
    let client = Client::of(&cluster);
    for n in 0..10 {
        client.post("/v2/apps", &idle(&format!("/many/{n}"))).await.is(201);
    }
    let leader = format!("http://{}", cluster.marathon.address);
    for (method, path) in [
        ("GET", "/v2/apps"),
        ("HEAD", "/v2/apps"),
        ("GET", "/v2/apps/none"),
        ("DELETE", "/v2/queue"),
        ("GET", "/ping"),
        ("GET", "/v2/info"),
        ("GET", "/nothing"),
        ("POST", "/v2/apps"),
        ("OPTIONS", "/v2/apps"),
    ] {
        let answer =
            client.ask_so(method, path, |request| request.header("origin", "http://ui.test"));
        let answer = answer.await;
        for (name, value) in [
            ("x-marathon-leader", leader.as_str()),
            ("cache-control", "no-cache, no-store, must-revalidate"),
            ("pragma", "no-cache"),
            ("expires", "0"),
            ("x-frame-options", "DENY"),
            ("x-xss-protection", "1; mode=block"),
            ("access-control-allow-origin", "http://ui.test"),
        ] {
            assert_eq!(answer.header(name), value, "{name} of {method} {path}");
        }
        let is_json = answer.status != 200 || answer.header("content-type") == "application/json";
        assert!(is_json || path == "/ping" || method == "OPTIONS", "{method} {path}: {answer:?}");
    }
    who_reads_again_gets_what_is_new(&client).await;
    who_can_unpack_gets_it_packed(&client).await;
}

async fn who_reads_again_gets_what_is_new(client: &Client<'_>) {
    for path in
        ["/v2/apps", "/v2/apps/many/1", "/v2/groups", "/v2/tasks", "/v2/pods", "/v2/deployments"]
    {
        let first = client.get(path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("W/\""), "{path}: {first:?}");
        let again =
            client.ask_so("GET", path, |request| request.header("if-none-match", &tag)).await;
        assert_eq!((again.status, &*again.text), (304, ""), "{path}");
        assert_eq!(again.header("etag"), tag, "{path}");
        let other =
            client.ask_so("GET", path, |request| request.header("if-none-match", "W/\"0\""));
        assert_eq!(other.await.text, first.text, "{path}");
    }
    let before = client.get("/v2/apps").await.header("etag").to_owned();
    client.put("/v2/apps/many/1", &json!({"mem": 64})).await.is_result();
    let after = client.ask_so("GET", "/v2/apps", |request| request.header("if-none-match", before));
    assert_eq!(after.await.status, 200);
}

async fn who_can_unpack_gets_it_packed(client: &Client<'_>) {
    let plain = client.get("/v2/apps").await;
    assert_eq!(plain.header("content-encoding"), "");
    let packed = client.bytes("/v2/apps", "gzip").await;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
    assert_eq!(text, plain.text);
}

#[tokio::test]
async fn a_node_that_does_not_lead_answers_for_the_one_that_does() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.marathon.address.clone();
    let second = cluster.world.start_marathon("second", &cluster.master.address).await;
    // From here on the other one is asked.
    let first = std::mem::replace(&mut cluster.marathon, second);
    let own = cluster.marathon.address.clone();
    let client = Client::of(&cluster);
    until_async("it knows who leads", PATIENCE, async || {
        (cluster.json("/v2/leader").await? == json!({"leader": leader})).then_some(())
    })
    .await;
    let info = client.get("/v2/info").await.is(200);
    assert_eq!((&info["elected"], &info["leader"]), (&json!(false), &json!(leader)));
    assert_eq!(
        info["http_config"]["http_port"].to_string(),
        own.rsplit(':').next().expect("a port")
    );

    let made = client.post("/v2/apps", &idle("/web")).await;
    made.is(201);
    assert_eq!(made.header("location"), "/v2/apps/web");
    made.deploys();
    let list = client.get("/v2/apps?id=web").await;
    assert_eq!(ids(&list.is(200)["apps"]), ["/web"]);
    let passed_by = |answer: &Answer| answer.header("x-marathon-via").to_owned();
    assert_eq!(passed_by(&list), format!("1.1 {own}"));
    assert_eq!(list.header("x-marathon-leader"), format!("http://{leader}"));
    client.get("/v2/apps/none").await.refuses(404, "App '/none' does not exist");
    client.put("/v2/apps/web", &json!({"cpus": -1})).await.refuses_field("/cpus");
    for n in 0..10 {
        client.post("/v2/apps", &idle(&format!("/many/{n}"))).await.is(201);
    }
    let packed = client.bytes("/v2/apps", "gzip").await;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_string(&mut text)
        .expect("gzip, passed on as it came");
    assert!(text.contains("/web"), "{text}");

    // Of itself it tells itself.
    for path in ["/ping", "/metrics", "/config", "/logging", "/v2/info", "/v2/leader"] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, &*passed_by(&answer)), (200, ""), "{path}");
    }
    // A stream is not passed on: who wants it is told where it is.
    let accept = |request: reqwest::RequestBuilder| request.header("accept", "text/event-stream");
    let events = client.ask_so("GET", "/v2/events?event_type=api_post_event", accept).await;
    assert_eq!(events.status, 302);
    let location = format!("http://{leader}/v2/events?event_type=api_post_event");
    assert_eq!(events.header("location"), location);
    // Nor does a request go round.
    let via = format!("1.1 {own}");
    let round =
        client.ask_so("GET", "/v2/apps", |request| request.header("x-marathon-via", via)).await;
    round.refuses(502, "Detected a proxying loop");

    // The leader steps down, which is passed on to it as well.
    client.delete("/v2/leader").await.is(200);
    let mut first = first;
    first.kill();
    until_async("the other one leads", PATIENCE, async || {
        (cluster.json("/v2/info").await?["elected"] == true).then_some(())
    })
    .await;
    let app: Value = until_async("it knows what there was", PATIENCE, async || {
        cluster.json("/v2/apps/web").await
    })
    .await;
    assert_eq!(app["app"]["id"], "/web");
    client.put("/v2/apps/web", &json!({"mem": 64})).await.is_result();
}

#[tokio::test]
async fn a_node_without_a_master_says_that_nobody_leads() {
    let mut cluster = Cluster::start().await;
    let nowhere = crate::harness::free_ports(1)[0];
    let alone = cluster.world.start_marathon("alone", &format!("127.0.0.1:{nowhere}")).await;
    cluster.marathon = alone;
    let client = Client::of(&cluster);
    assert_eq!(client.get("/ping").await.text, "pong");
    client.get("/v2/leader").await.refuses(404, "There is no leader");
    let info = client.get("/v2/info").await.is(200);
    assert_eq!((&info["elected"], info.get("leader")), (&json!(false), None));
    let app = idle("/web");
    let (read, change) = tokio::join!(client.get("/v2/apps"), client.post("/v2/apps", &app));
    for answer in [read, change] {
        answer.refuses(502, "no current leader");
        assert_eq!(answer.header("x-marathon-leader"), "");
    }
}
