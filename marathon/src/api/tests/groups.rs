use serde_json::{Value, json};

use super::harness::Api;

fn shop() -> Value {
    let app = |id: &str| json!({"id": id, "cmd": "sleep 1000", "instances": 0});
    json!({"id": "/shop", "apps": [app("web")], "groups": [{"id": "db", "apps": [app("mongo")]}]})
}

#[tokio::test]
async fn a_group_is_made_read_changed_and_deleted() {
    let api = Api::start().await;
    let response = api.send("POST", "/v2/groups", Some(&shop())).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["location"], "/v2/groups/shop");
    assert!(response.headers().contains_key("marathon-deployment-id"));
    let made: Value = response.json().await.expect("JSON");
    let version = made["version"].as_str().expect("a version").to_owned();

    let group = api.get("/v2/groups/shop").await;
    assert_eq!(group["version"], version.as_str());
    assert_eq!((&group["pods"], &group["dependencies"]), (&json!([]), &json!([])));
    assert_eq!(group["apps"][0]["id"], "/shop/web");
    assert_eq!(group["apps"][0].get("tasksRunning"), None, "no counts unless asked for");
    assert_eq!(group["groups"][0]["apps"][0]["id"], "/shop/db/mongo");
    let embedded = api.get("/v2/groups//shop/?embed=group.apps&embed=group.apps.counts").await;
    assert_eq!(embedded["apps"][0]["tasksRunning"], 0);
    assert_eq!((embedded.get("groups"), embedded.get("pods")), (None, None));
    let apps = api.get("/v2/groups/shop/apps").await;
    assert_eq!(apps.as_array().map(Vec::len), Some(2));

    let dry = api.ask("PUT", "/v2/groups/shop?dryRun=True", Some(&json!({"apps": []}))).await;
    assert_eq!(dry.0, 200);
    assert_eq!(dry.1["steps"][0]["actions"].as_array().map(Vec::len), Some(2));
    let merged = json!({"apps": [{"id": "more", "cmd": "x", "instances": 0}]});
    assert_eq!(api.ask("PUT", "/v2/groups/shop?merge=true", Some(&merged)).await.0, 200);
    assert_eq!(api.get("/v2/groups/shop/apps").await.as_array().map(Vec::len), Some(3));

    let versions = api.get("/v2/groups/shop/versions").await;
    assert_eq!((versions.as_array().map(Vec::len), &versions[1]), (Some(2), &version.into()));
    let path = format!("/v2/groups/shop/versions/{}", versions[1].as_str().expect("text"));
    assert_eq!(api.get(&path).await["apps"].as_array().map(Vec::len), Some(1));
    assert_eq!(api.ask("PUT", &path, None).await.0, 200);
    assert_eq!(api.get("/v2/groups/shop/apps").await.as_array().map(Vec::len), Some(2));

    let (status, body) = api.ask("DELETE", "/v2/groups/shop", None).await;
    assert_eq!((status, body["deploymentId"].is_string()), (200, true));
    assert_eq!(api.get("/v2/apps").await, json!({"apps": []}));
    for (method, path) in [("GET", "/v2/groups/shop"), ("DELETE", "/v2/groups/shop")] {
        let (status, body) = api.ask(method, path, None).await;
        assert_eq!((status, &body["message"]), (404, &json!("Group '/shop' does not exist")));
    }
    assert_eq!(api.get("/v2/groups").await["id"], "/");
}

#[tokio::test]
async fn a_role_is_enforced_without_a_body_in_the_answer() {
    let api = Api::start().await;
    api.ask("POST", "/v2/groups", Some(&shop())).await;
    let (status, body) =
        api.ask("PATCH", "/v2/groups/shop", Some(&json!({"enforceRole": false}))).await;
    assert_eq!((status, body), (200, Value::Null));
    assert_eq!(api.get("/v2/groups/shop").await["enforceRole"], false);
    assert_eq!(api.ask("PATCH", "/v2/groups/none", Some(&json!({}))).await.0, 404);
}
