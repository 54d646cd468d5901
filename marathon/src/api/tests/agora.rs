use serde_json::json;

use super::harness::Api;

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
    assert_eq!(api.ask("DELETE", &path, None).await, (202, serde_json::Value::Null));
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
