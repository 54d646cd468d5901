use axum::http::HeaderValue;
use serde_json::json;

use super::harness::{Api, PATIENCE};
use crate::options::Options;

#[tokio::test]
async fn every_answer_says_who_leads_and_is_not_cached() {
    let api = Api::start().await;
    for path in ["/v2/apps", "/v2/apps/none", "/ping", "/v2/info", "/nothing"] {
        let response = api.send("GET", path, None).await;
        assert_eq!(response.headers()["x-marathon-leader"], api.base.as_str(), "{path}");
        let cached = &response.headers()["cache-control"];
        assert_eq!(cached, "no-cache, no-store, must-revalidate", "{path}");
        assert_eq!(response.headers()["x-frame-options"], "DENY", "{path}");
    }
}

#[tokio::test]
async fn a_browser_is_told_its_own_origin_if_that_may_call() {
    let asked = |origins: &[&str], origin: Option<&'static str>| {
        let origins = origins.iter().map(|&it| it.to_owned()).collect();
        let options = Options { access_control_allow_origin: origins, ..Options::default() };
        async move {
            let api = Api::with(options).await;
            let mut request = api.http.get(format!("{}/v2/apps", api.base)).timeout(PATIENCE);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = request.send().await.expect("answered");
            let told = |name| answer.headers().get_all(name).iter();
            let text = |value: &HeaderValue| value.to_str().expect("plain").to_owned();
            let admitted: Vec<_> = told("access-control-allow-origin").map(text).collect();
            let may_do = told("access-control-allow-methods").next().is_some();
            (admitted, may_do, told("vary").any(|it| it == "Origin"))
        }
    };
    let only = |origin: &str| vec![origin.to_owned()];
    let two = ["http://a.test", "http://b.test"];
    for origin in two {
        assert_eq!(asked(&two, Some(origin)).await, (only(origin), true, true));
    }
    for other in [Some("http://c.test"), Some("http://a.test http://b.test"), None] {
        assert_eq!(asked(&two, other).await, (Vec::new(), false, true), "{other:?}");
    }
    for any in [Some("http://c.test"), None] {
        assert_eq!(asked(&["*"], any).await, (only("*"), true, false), "{any:?}");
    }
    assert_eq!(asked(&[], Some("http://a.test")).await, (Vec::new(), false, false));
}

#[tokio::test]
async fn who_polls_fetches_only_what_has_changed() {
    let api = Api::start().await;
    let first = api.send("GET", "/v2/apps", None).await;
    let tag = first.headers()["etag"].clone();
    let again = || {
        let request = api.http.get(format!("{}/v2/apps", api.base)).timeout(PATIENCE);
        request.header("if-none-match", &tag).send()
    };
    let same = again().await.expect("answered");
    assert_eq!(same.status(), 304);
    assert_eq!(same.headers()["etag"], tag);
    assert_eq!(same.text().await.expect("no body"), "");
    api.create(&json!({"id": "/web", "cmd": "x", "instances": 0})).await;
    assert_eq!(again().await.expect("answered").status(), 200);
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_take_it() {
    let api = Api::start().await;
    for n in 0..20 {
        api.create(&json!({"id": format!("/web{n}"), "cmd": "x", "instances": 0})).await;
    }
    let request = api.http.get(format!("{}/v2/apps", api.base)).timeout(PATIENCE);
    let response = request.header("accept-encoding", "gzip").send().await.expect("answered");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let plain = api.send("GET", "/v2/apps", None).await;
    assert!(!plain.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_told_in_json() {
    let api = Api::start().await;
    let (status, body) = api.ask("GET", "/v2/nothing", None).await;
    assert_eq!((status, body), (404, json!({"message": "URI not found"})));
    let response = api.send("DELETE", "/v2/queue", None).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"GET".parse().expect("plain"))
    );
    let response = api.send("HEAD", "/v2/apps/", None).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.expect("none"), "");
    for path in ["/v2//apps//", "//v2/apps", "/v2%2Fapps"] {
        assert_eq!(api.get(path).await, json!({"apps": []}), "{path}");
    }
    let response = api.http.post(format!("{}/v2/apps", api.base)).body("{").send().await;
    let response = response.expect("answered");
    assert_eq!(response.status(), 400);
    let body: serde_json::Value = response.json().await.expect("JSON");
    assert_eq!(body["message"], "Invalid JSON");
    assert!(body["details"].is_string(), "{body}");
}

#[tokio::test]
async fn a_node_tells_of_itself_and_abdicates() {
    let api = Api::start().await;
    let address = api.base.trim_start_matches("http://");
    assert_eq!(api.get("/v2/leader").await, json!({"leader": address}));
    let info = api.get("/v2/info").await;
    assert_eq!((&info["frameworkId"], &info["elected"]), (&json!("F-0000"), &json!(true)));
    for member in ["marathon_config", "zookeeper_config", "http_config"] {
        assert!(info[member].is_object(), "{member}");
    }
    assert_eq!(api.get("/v2/plugins").await, json!({"plugins": []}));
    let metrics = api.get("/metrics").await;
    for member in ["gauges", "counters", "histograms", "meters", "timers"] {
        assert!(metrics[member].is_object(), "{member}");
    }
    assert_eq!(metrics["gauges"]["marathon.apps.active.gauge"]["value"], 0);
    assert_eq!(api.get("/config").await, json!({}));
    assert_eq!(api.send("GET", "/ping", None).await.text().await.expect("a body"), "pong");
    for name in ["backup", "restore"] {
        let path = format!("/v2/leader?{name}=file:///tmp/state");
        let (status, body) = api.ask("DELETE", &path, None).await;
        let message = body["message"].as_str().expect("a reason");
        assert_eq!(status, 400, "{body}");
        assert!(message.contains(name) && message.contains("the masters"), "{message}");
    }
    let stays = api.steps_down.notified();
    assert!(futures::FutureExt::now_or_never(stays).is_none(), "it has stepped down");
    let (status, body) = api.ask("DELETE", "/v2/leader", None).await;
    assert_eq!((status, body), (200, json!({"message": "Leadership abdicated"})));
    api.steps_down.notified().await;
    api.leadership.send_replace(crate::election::Leadership::Unclear);
    let (status, body) = api.ask("GET", "/v2/leader", None).await;
    assert_eq!((status, body), (404, json!({"message": "There is no leader"})));
}

#[tokio::test]
async fn how_much_is_logged_is_told() {
    let api = Api::start().await;
    assert!(api.get("/logging").await["root"].is_string());
    let change = json!({"logger": "root", "level": "quiet", "durationSeconds": 1});
    let (status, refusal) = api.ask("POST", "/logging", Some(&change)).await;
    assert_eq!(status, 422, "{refusal}");
    assert_eq!(api.ask("DELETE", "/logging", None).await.0, 405);
}
