//! `/v2/pods` as clients meet it.

use serde_json::{Value, json};

use super::harness::Api;

fn pod(id: &str) -> Value {
    json!({
        "id": id,
        "containers": [{"name": "c", "resources": {"cpus": 0.1, "mem": 32},
                        "exec": {"command": {"shell": "sleep 1000"}}}],
    })
}

#[tokio::test]
async fn a_pod_is_made_read_changed_and_deleted() {
    let api = Api::start().await;
    assert_eq!(api.send("HEAD", "/v2/pods", None).await.status(), 200);
    let response = api.send("POST", "/v2/pods", Some(&pod("/shop/web"))).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["location"], "/v2/pods/shop/web");
    assert!(response.headers().contains_key("marathon-deployment-id"));
    let made: Value = response.json().await.expect("JSON");
    assert_eq!((&made["id"], &made["scaling"]["instances"]), (&json!("/shop/web"), &json!(1)));
    let again = api.ask("POST", "/v2/pods", Some(&pod("/shop/web"))).await;
    assert_eq!(again, (409, json!({"message": "A pod with id [/shop/web] already exists."})));

    assert_eq!(api.get("/v2/pods").await, json!([made]));
    assert_eq!(api.get("/v2/pods//shop/web/").await, made);
    for path in ["/v2/pods/shop/web::status", "/v2/pods//shop/web::status"] {
        let status = api.get(path).await;
        assert_eq!((&status["spec"], &status["status"]), (&made, &json!("DEGRADED")), "{path}");
    }
    for path in ["/v2/pods::status", "/v2/pods/::status"] {
        assert_eq!(api.get(path).await[0]["id"], "/shop/web", "{path}");
    }
    let versions = api.get("/v2/pods/shop/web::versions").await;
    assert_eq!(versions, json!([made["version"]]));
    let version = versions[0].as_str().expect("a version");
    assert_eq!(api.get(&format!("/v2/pods/shop/web::versions/{version}")).await, made);
    let group = api.get("/v2/groups/shop?embed=group.pods").await;
    assert_eq!(group["pods"][0]["spec"], made);
    assert_eq!(api.get("/v2/apps").await, json!({"apps": []}), "a pod is no app");
    for path in ["/v2/apps/shop/web", "/v2/apps/shop/web/tasks", "/v2/apps/shop/web/versions"] {
        assert_eq!(api.ask("GET", path, None).await.0, 404, "{path}");
    }

    let (status, refusal) = api.ask("PUT", "/v2/pods/shop/web", Some(&pod("/other"))).await;
    assert_eq!(status, 400, "{refusal}");
    let mut more = pod("/shop/web");
    more["scaling"] = json!({"kind": "fixed", "instances": 2});
    let (status, locked) = api.ask("PUT", "/v2/pods/shop/web", Some(&more)).await;
    assert_eq!((status, locked["deployments"].as_array().map(Vec::len)), (409, Some(1)));
    let (status, changed) = api.ask("PUT", "/v2/pods/shop/web?force=true", Some(&more)).await;
    assert_eq!((status, &changed["scaling"]["instances"]), (200, &json!(2)));
    let status = api.get("/v2/pods/shop/web::status").await;
    let instances = status["instances"].as_array().expect("instances");
    assert_eq!((instances.len(), &instances[0]["status"]), (2, &json!("PENDING")));

    let first = instances[0]["id"].as_str().expect("an id");
    let path = format!("/v2/pods/shop/web::instances/{first}");
    assert_eq!(api.ask("DELETE", &path, None).await.1["instanceId"], first);
    let all = json!(instances.iter().map(|it| &it["id"]).collect::<Vec<_>>());
    let (status, ended) = api.ask("DELETE", "/v2/pods/shop/web::instances", Some(&all)).await;
    assert_eq!((status, ended.as_array().map(Vec::len)), (200, Some(2)));
    let bad = api.ask("DELETE", "/v2/pods/shop/web::instances", Some(&json!({}))).await;
    assert_eq!(bad.0, 400, "{}", bad.1);

    let response = api.send("DELETE", "/v2/pods/shop/web?force=true", None).await;
    assert_eq!(response.status(), 202);
    let id = response.headers()["marathon-deployment-id"].to_str().expect("text").to_owned();
    assert_eq!(response.headers()["location"], format!("/v2/deployments/{id}"));
    assert_eq!(response.text().await.expect("a body"), "");
    let gone = (404, json!({"message": "Pod '/shop/web' does not exist"}));
    for path in ["/v2/pods/shop/web", "/v2/pods/shop/web::status", "/v2/pods/shop/web::versions"] {
        assert_eq!(api.ask("GET", path, None).await, gone, "{path}");
    }
    assert_eq!(api.ask("GET", "/v2/pods/shop/web::other", None).await.0, 404);
}
