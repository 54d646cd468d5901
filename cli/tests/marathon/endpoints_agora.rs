//! What can be asked that Marathon does not have.

use serde_json::json;

use crate::cluster::Cluster;
use crate::endpoints::{Area, Client, idle, ids, stuck};

#[tokio::test]
async fn deployments_secrets_and_reasons_are_told_of() {
    let key = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(key.path(), [7; 32]).expect("written");
    let flag = format!("--secrets_key_file={}", key.path().display());
    let cluster = Cluster::start_with(&[&flag]).await;
    let client = Client::of(&cluster);
    deployments_are_remembered_and_held(&client).await;
    what_keeps_an_app_waiting_is_told(&client).await;
    an_app_is_rebalanced(&client).await;
    service_ports_are_told(&client).await;
    secrets_are_kept(&client).await;
    client.has_asked_all(Area::Agora);
}

async fn deployments_are_remembered_and_held(client: &Client<'_>) {
    let path = "/agora/v1/deployments";
    let id = client.post("/v2/apps", &stuck("/stuck")).await.deploys();
    let list = client.get(path).await.is(200);
    assert_eq!(ids(&list["running"]), [&*id]);
    let one = client.get(&format!("{path}/{id}")).await.is(200);
    assert_eq!(one["id"], id.as_str());
    client.post(&format!("{path}/{id}/pause"), &json!({})).await.is(200);
    let held = client.get(&format!("{path}/{id}")).await.is(200);
    assert_ne!(held, one, "that it is held is told");
    client.post(&format!("{path}/{id}/continue"), &json!({})).await.is(200);
    client.post(&format!("{path}/none/pause"), &json!({})).await.is(404);
    client.get(&format!("{path}/none")).await.refuses(404, "Deployment none does not exist");

    // One that is over is told of too.
    let done = client.post("/v2/apps", &idle("/done")).await.deploys();
    assert_eq!(client.get(&format!("{path}/{done}")).await.is(200)["id"], done.as_str());
    assert_eq!(ids(&client.get(path).await.is(200)["history"]), [&*done]);
}

async fn what_keeps_an_app_waiting_is_told(client: &Client<'_>) {
    let told = client.get("/agora/v1/explain/app/stuck").await.is(200);
    assert!(told.get("master").is_some(), "{told}");
    client.get("/agora/v1/explain/app/done").await.is(200);
    client.get("/agora/v1/explain/app/none").await.refuses(404, "App '/none' does not exist");
}

async fn an_app_is_rebalanced(client: &Client<'_>) {
    let path = |id: &str| format!("/agora/v1/apps/{id}/rebalance");
    client.post(&path("none"), &json!({})).await.refuses(404, "App '/none' does not exist");
    client.post(&path("stuck"), &json!({})).await.is_locked();
    let told = client.post(&format!("{}?force=true", path("stuck")), &json!({})).await;
    assert_eq!(told.is(200), json!({"message": "Nothing of /stuck needs to move"}));
    client.get(&path("stuck")).await.is(405);
}

async fn service_ports_are_told(client: &Client<'_>) {
    let mut app = idle("/ports");
    app["portDefinitions"] = json!([{"port": 10_123}]);
    client.post("/v2/apps", &app).await.is(201);
    let told = client.get("/agora/v1/service-ports").await.is(200).to_string();
    assert!(told.contains("10123") && told.contains("/ports"), "{told}");
}

async fn secrets_are_kept(client: &Client<'_>) {
    let path = "/agora/v1/secrets";
    assert_eq!(client.get(path).await.is(200), json!({"secrets": []}));
    let put = async |of: &str, value: &'static str| {
        client.ask_so("PUT", &format!("{path}/{of}"), |request| request.body(value)).await
    };
    assert!(put("db/password", "hidden").await.status < 300);
    assert!(put("db/password", "another").await.status < 300);
    put("db/empty", "").await.refuses(400, "The body is the value");
    assert_eq!(put("db%2F..%2Fx", "y").await.status, 422);
    let list = client.get(path).await;
    assert_eq!(list.is(200), json!({"secrets": ["db/password"]}));
    assert!(!list.text.contains("another"));

    let mut app = idle("/user");
    app["secrets"] = json!({"s": {"source": "db/password"}});
    app["env"] = json!({"S": {"secret": "s"}});
    client.post("/v2/apps", &app).await.is(201);
    let used = client.delete(&format!("{path}/db/password")).await;
    assert!(matches!(used.status, 409 | 422), "it is in use: {used:?}");
    assert!(client.delete(&format!("{path}/db/password?force=true")).await.status < 300);
    assert_eq!(client.get(path).await.is(200), json!({"secrets": []}));
    client.delete(&format!("{path}/db/password")).await.is(404);
}
