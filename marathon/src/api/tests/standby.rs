use serde_json::json;

use super::harness::{Api, PATIENCE};
use crate::election::Leadership;

fn address(api: &Api) -> String {
    api.base.trim_start_matches("http://").to_owned()
}

#[tokio::test]
async fn a_standby_has_the_leader_answer_and_sends_readers_of_events_there() {
    let (leader, standby) = (Api::start().await, Api::start().await);
    standby.leadership.send_replace(Leadership::Follows(address(&leader)));
    let web = json!({"id": "/web", "cmd": "x", "instances": 0});
    let response = standby.send("POST", "/v2/apps", Some(&web)).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-marathon-leader"], leader.base.as_str());
    assert_eq!(response.headers()["x-marathon-via"], format!("1.1 {}", address(&standby)));
    assert!(response.headers().contains_key("marathon-deployment-id"));
    assert_eq!(leader.get("/v2/apps/web").await["app"]["id"], "/web");
    let (status, body) = standby.ask("GET", "/v2/apps/none", None).await;
    assert_eq!((status, &body["message"]), (404, &json!("App '/none' does not exist")));
    assert_eq!(standby.get("/agora/v1/deployments").await["running"], json!([]));

    let request = standby.http.get(format!("{}/v2/events?event_type=a", standby.base));
    let response = request.timeout(PATIENCE).send().await.expect("answered");
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], format!("{}/v2/events?event_type=a", leader.base));
    // What it knows of itself it says itself.
    assert_eq!(standby.get("/v2/leader").await, json!({"leader": address(&leader)}));
    assert_eq!(standby.send("GET", "/ping", None).await.text().await.expect("a body"), "pong");
}

#[tokio::test]
async fn two_that_take_each_other_for_the_leader_do_not_ask_for_ever() {
    let (one, other) = (Api::start().await, Api::start().await);
    one.leadership.send_replace(Leadership::Follows(address(&other)));
    other.leadership.send_replace(Leadership::Follows(address(&one)));
    let (status, body) = one.ask("GET", "/v2/apps", None).await;
    assert_eq!(status, 502, "{body}");
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_told_of() {
    let api = Api::start().await;
    // A port that nobody listens on: it was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = free.local_addr().expect("bound").to_string();
    drop(free);
    api.leadership.send_replace(Leadership::Follows(nobody));
    let (status, body) = api.ask("GET", "/v2/apps", None).await;
    assert_eq!(status, 502, "{body}");
    api.leadership.send_replace(Leadership::Unclear);
    let (status, body) = api.ask("GET", "/v2/apps", None).await;
    assert_eq!((status, &body["message"]), (502, &json!("no current leader")));
}
