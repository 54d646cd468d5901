use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::harness::Api;
use crate::options::Options;

#[tokio::test]
async fn a_deployment_is_explained_held_and_remembered() {
    let api = Api::start().await;
    let web = json!({"id": "/prod/web", "cmd": "x", "cpus": 0.1});
    let created = api.create(&web).await;
    let id = created["deployments"][0]["id"].as_str().expect("an id").to_owned();
    let told = api.get(&format!("/agora/v1/deployments/{id}")).await;
    assert_eq!((&told["isPaused"], &told["currentStep"]), (&json!(false), &json!(2)));
    assert_eq!(
        told["waitsFor"],
        json!([{"app": "/prod/web",
                "why": "/prod/web has 0 of 1 as wanted: 1 waiting for an offer"}])
    );
    let (status, body) = api.ask("POST", &format!("/agora/v1/deployments/{id}/pause"), None).await;
    assert_eq!((status, &body["isPaused"]), (200, &json!(true)));
    let (status, body) =
        api.ask("POST", &format!("/agora/v1/deployments/{id}/continue"), None).await;
    assert_eq!((status, &body["isPaused"]), (200, &json!(false)));
    let plain = api.get("/v2/deployments").await;
    let keys: Vec<_> = plain[0].as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "affectedApps",
            "affectedPods",
            "currentActions",
            "currentStep",
            "id",
            "steps",
            "totalSteps",
            "version"
        ],
        "clients of Marathon see nothing of it"
    );
    let app = api.get("/agora/v1/explain/app/prod/web").await;
    assert_eq!((&app["app"], &app["waiting"]["count"]), (&json!("/prod/web"), &json!(1)));

    let path = format!("/v2/deployments/{id}?force=true");
    assert_eq!(api.ask("DELETE", &path, None).await, (202, Value::Null));
    let all = api.get("/agora/v1/deployments").await;
    assert_eq!((&all["running"], &all["history"][0]["outcome"]), (&json!([]), &json!("cancelled")));
    assert_eq!(api.get(&format!("/agora/v1/deployments/{id}")).await, all["history"][0]);
    for (method, path) in [
        ("GET", "/agora/v1/deployments/none"),
        ("POST", "/agora/v1/deployments/none/pause"),
        ("GET", "/agora/v1/explain/app/none"),
        ("GET", "/agora/v1/none"),
    ] {
        assert_eq!(api.ask(method, path, None).await.0, 404, "{path}");
    }
}

/// Starts a master that follows and one that leads, who answers `told`. The address of the first.
async fn masters(told: Value) -> String {
    let leading = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let leader = leading.local_addr().expect("bound");
    let path = "/agora/v1/explain/framework/F-0000";
    let routes = Router::new().route(path, get(move || async move { Json(told) }));
    tokio::spawn(async move { axum::serve(leading, routes).await });
    let following = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let follower = following.local_addr().expect("bound").to_string();
    let location = format!("//{leader}{path}");
    let answer = move || async move { (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]) };
    let routes = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(following, routes).await });
    follower
}

#[tokio::test]
async fn quota_that_keeps_offers_away_is_told_of_what_waits() {
    let quota = json!({"guarantee": {}, "limit": {"cpus": 1.0}, "consumed": {"cpus": 0.95}});
    let reasons = json!([{"reason": "little is left", "agents": 2, "agent_ids": []}]);
    let role = json!({"role": "*", "quota": quota, "kept_for_other_roles": {},
                      "not_offered": reasons});
    let master = masters(json!({"roles": [role]})).await;
    let api = Api::under(master, Options::default()).await;
    api.create(&json!({"id": "/web", "cmd": "x", "cpus": 0.1, "mem": 32})).await;
    let wanted = json!({
        "role": "*", "quota": quota, "keptForOtherRoles": {},
        "notOffered": [{"reason": "little is left", "agents": 2}],
        "why": "by its quota role '*' may have cpus:1 at most, and has cpus:0.95: that leaves too little \
                for an instance, which takes cpus:0.1; mem:32",
    });
    assert_eq!(api.get("/agora/v1/explain/app/web").await["master"], wanted);
    let queue = api.get("/v2/queue?embed=master").await;
    assert_eq!(queue["queue"][0]["master"], wanted);
    let plain = api.get("/v2/queue").await;
    assert_eq!(plain["queue"][0].get("master"), None, "strict clients do not know of it");
}

#[tokio::test]
async fn a_master_that_cannot_be_asked_keeps_nobody_from_an_answer() {
    let api = Api::start().await;
    api.create(&json!({"id": "/web", "cmd": "x"})).await;
    let told = api.get("/agora/v1/explain/app/web").await;
    assert_eq!(told["master"]["error"], "the master at 127.0.0.1:1 cannot be reached");
}
