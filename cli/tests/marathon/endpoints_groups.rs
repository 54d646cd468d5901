//! What can be asked of groups.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::endpoints::{Area, Client, idle, ids, is_timestamp, stuck};

#[tokio::test]
async fn groups_are_made_read_replaced_scaled_and_deleted() {
    let cluster = Cluster::start().await;
    let client = Client::of(&cluster);
    are_made(&client).await;
    are_read(&client).await;
    are_replaced(&client).await;
    go_back_to_a_version(&client).await;
    enforce_their_role(&client).await;
    say_in_what_order(&client).await;
    are_locked_while_they_are_deployed(&client).await;
    are_deleted(&client).await;
    client.has_asked_all(Area::Groups);
}

/// A pod that is not launched.
fn pod(id: &str) -> Value {
    json!({"id": id, "scaling": {"kind": "fixed", "instances": 0},
           "containers": [{"name": "c", "resources": {"cpus": 0.1, "mem": 32}}]})
}

async fn are_made(client: &Client<'_>) {
    let empty = client.get("/v2/groups").await.is(200);
    assert_eq!(
        (&empty["id"], &empty["apps"], &empty["groups"]),
        (&json!("/"), &json!([]), &json!([]))
    );
    let shop = json!({"id": "shop", "apps": [idle("web"), idle("/shop/db")],
                      "groups": [{"id": "deep", "apps": [idle("app")], "pods": [pod("pod")]}]});
    let answer = client.post("/v2/groups?force=true&strict=true", &shop).await;
    let result = answer.is(201);
    assert_eq!(answer.header("location"), "/v2/groups/shop");
    assert_eq!(result["deploymentId"], answer.deploys());
    client.post("/v2/groups", &shop).await.refuses(409, "Group /shop is already created. Use PUT");
    client
        .post("/v2/groups/shop/web", &json!({}))
        .await
        .refuses(409, "An app with the path /shop/web");
    let inner = json!({"apps": [idle("one")]});
    let answer = client.post("/v2/groups/shop/inner?force=true&strict=true", &inner).await;
    answer.is(201);
    assert_eq!(answer.header("location"), "/v2/groups/shop/inner");

    let elsewhere = json!({"id": "/away", "apps": [idle("/other/app")]});
    client.post("/v2/groups", &elsewhere).await.refuses_field("/apps(0)/id");
    let bad = json!({"id": "/away", "groups": [{"id": "x", "apps": [{"id": "a", "cmd": "x", "cpus": -1}]}]});
    client.post("/v2/groups", &bad).await.refuses_field("/groups(0)/apps(0)/cpus");
    let odd =
        json!({"id": "/away", "groups": [{"id": "x", "pods": [{"spec": pod("p"), "sttus": 1}]}]});
    client.post("/v2/groups?strict=true", &odd).await.refuses_field("/groups(0)/pods(0)/sttus");
    client.post("/v2/groups", &json!({"id": "/A"})).await.refuses_field("/id");
    let wrong = json!({"id": "/away", "apps": {}});
    client.post("/v2/groups", &wrong).await.refuses(400, "Invalid JSON");
    let twice = json!({"id": "/away", "apps": [idle("a"), idle("a")]});
    assert_eq!(client.post("/v2/groups", &twice).await.status, 422, "two of one name");
    let both =
        json!({"id": "/away", "apps": [idle("a")], "groups": [{"id": "a", "apps": [idle("b")]}]});
    assert!(
        matches!(client.post("/v2/groups", &both).await.status, 409 | 422),
        "an app and a group"
    );
}

async fn are_read(client: &Client<'_>) {
    let shop = client.get("/v2/groups/shop").await.is(200);
    assert_eq!(ids(&shop["apps"]), ["/shop/db", "/shop/web"]);
    assert_eq!(ids(&shop["groups"]), ["/shop/deep", "/shop/inner"]);
    assert_eq!(ids(&shop["groups"][0]["pods"]), ["/shop/deep/pod"]);
    assert!(is_timestamp(shop["version"].as_str().expect("a version")), "{shop}");
    assert_eq!((&shop["pods"], &shop["dependencies"]), (&json!([]), &json!([])));
    assert_eq!(shop["apps"][0].get("tasks"), None, "nothing is added unasked: {shop}");
    assert_eq!(shop["apps"][0].get("tasksRunning"), None, "{shop}");
    assert_eq!(client.get("/v2/groups//shop/").await.is(200), shop);
    client.get("/v2/groups/none").await.refuses(404, "Group '/none' does not exist");

    // Whoever names parts gets those, and no others.
    let groups = client.get("/v2/groups/shop?embed=group.groups").await.is(200);
    assert_eq!(groups["apps"].as_array().map_or(0, Vec::len), 0, "{groups}");
    assert_eq!(ids(&groups["groups"]), ["/shop/deep", "/shop/inner"]);
    let path = "/v2/groups?embed=group.groups&embed=group.apps&embed=group.apps.deployments\
                &embed=group.apps.counts&embed=group.apps.readiness";
    let app = &client.get(path).await.is(200)["groups"][0]["apps"][0];
    for name in ["deployments", "tasksRunning", "readinessCheckResults"] {
        assert!(app.get(name).is_some(), "{name}: {app}");
    }
    let pods = client.get("/v2/groups/shop/deep?embed=group.pods.status").await.is(200);
    assert_eq!(ids(&pods["pods"]), ["/shop/deep/pod"]);

    let apps = client.get("/v2/groups/shop/apps?embed=group.apps.tasks").await.is(200);
    assert_eq!(ids(&apps), ["/shop/db", "/shop/deep/app", "/shop/inner/one", "/shop/web"]);
    assert!(apps[0]["tasks"].is_array(), "{apps}");
    assert_eq!(ids(&client.get("/v2/groups/apps?embed=group.apps").await.is(200)).len(), 4);
    client.get("/v2/groups/none/apps").await.refuses(404, "Group '/none' does not exist");
}

async fn are_replaced(client: &Client<'_>) {
    let path = "/v2/groups/shop";
    let new = json!({"apps": [idle("web"), idle("new")]});
    let plan = client.put(&format!("{path}?dryRun=true"), &new).await.is(200);
    let actions = plan["steps"].to_string();
    for action in ["StopApplication", "StopPod", "StartApplication"] {
        assert!(actions.contains(action), "{action}: {plan}");
    }
    let plan = client.put(&format!("{path}?dryRun=true&diff=true"), &new).await.is(200);
    assert!(plan["changes"].as_array().is_some_and(|all| all.len() >= 4), "{plan}");
    assert_eq!(ids(&client.get(path).await.json()["apps"]), ["/shop/db", "/shop/web"]);

    client.put(&format!("{path}?merge=true"), &new).await.is_result();
    assert_eq!(ids(&client.get(path).await.json()["apps"]), ["/shop/db", "/shop/new", "/shop/web"]);
    client.put(&format!("{path}?force=true&strict=true"), &new).await.is_result();
    let shop = client.get(path).await.is(200);
    assert_eq!(ids(&shop["apps"]), ["/shop/new", "/shop/web"]);
    assert_eq!(shop["groups"], json!([]), "what is not said is gone");
    // An app of which only the name is said is not kept by that.
    let bare = json!({"apps": [{"id": "web"}]});
    assert_eq!(client.put(path, &bare).await.status, 422);

    client.put("/v2/groups?dryRun=true&diff=true", &json!({"id": "/"})).await.is(200);
    let root = json!({"groups": [{"id": "more", "apps": [idle("a")]}]});
    client.put("/v2/groups?merge=true&force=true&strict=true", &root).await.is_result();
    assert_eq!(ids(&client.get("/v2/groups").await.json()["groups"]), ["/more", "/shop"]);
    client.put("/v2/groups/made", &json!({"apps": [idle("a")]})).await.is_result();

    // Scaling stands alone, as going back does.
    let mut two = idle("two");
    two["instances"] = 2.into();
    two["cpus"] = 1000.into();
    client.put("/v2/groups/scaled", &json!({"apps": [two]})).await.is_result();
    let path = "/v2/groups/scaled?force=true";
    client.put(path, &json!({"scaleBy": 1.2})).await.is_result();
    assert_eq!(client.get("/v2/apps/scaled/two").await.json()["app"]["instances"], 3);
    client.put(path, &json!({"scaleBy": 2, "apps": []})).await.refuses_field("/scaleBy");
    assert_eq!(client.put(path, &json!({"scaleBy": -1})).await.status, 422);
    client.put(path, &json!({"scaleBy": "2"})).await.refuses(400, "Invalid JSON");
    let version = json!({"version": "2001-01-01T00:00:00.000Z", "scaleBy": 2});
    client.put(path, &version).await.refuses_field("/version");
    client.put(path, &json!({"scaleBy": 0})).await.is_result();
    client.put("/v2/groups/none", &json!({"scaleBy": 2})).await.refuses(404, "Group '/none' does");
}

async fn go_back_to_a_version(client: &Client<'_>) {
    let path = "/v2/groups/shop";
    let versions = client.get(&format!("{path}/versions")).await.is(200);
    let versions: Vec<_> =
        versions.as_array().expect("a bare list").iter().filter_map(Value::as_str).collect();
    assert!(versions.len() >= 3 && versions.is_sorted_by(|a, b| a > b), "{versions:?}");
    let first = versions.last().expect("three at least");
    let then = client.get(&format!("{path}/versions/{first}")).await.is(200);
    assert_eq!(ids(&then["apps"]), ["/shop/db", "/shop/web"]);
    client.put(path, &json!({"version": first})).await.is_result();
    assert_eq!(ids(&client.get(path).await.json()["apps"]), ["/shop/db", "/shop/web"]);
    let latest = format!("{path}/versions/{}?force=true", versions[0]);
    client.put(&latest, &json!({})).await.is_result();
    assert_eq!(ids(&client.get(path).await.json()["apps"]), ["/shop/new", "/shop/web"]);

    let all = client.get("/v2/groups/versions").await.is(200);
    let newest = all[0].as_str().expect("a version").to_owned();
    let root = client.get(&format!("/v2/groups/versions/{newest}")).await.is(200);
    assert_eq!(root["id"], "/");
    client.put(&format!("/v2/groups/versions/{newest}?force=true"), &json!({})).await.is_result();

    let never = "2001-01-01T00:00:00.000Z";
    client
        .put(path, &json!({"version": never}))
        .await
        .refuses(404, "Group '/shop' does not exist in");
    client
        .get(&format!("{path}/versions/{never}"))
        .await
        .refuses(404, "Group '/shop' does not exist");
    client.get(&format!("{path}/versions/now")).await.refuses(422, "'now' is no timestamp");
    client.get("/v2/groups/none/versions").await.refuses(404, "Group '/none' does not exist");
}

async fn enforce_their_role(client: &Client<'_>) {
    let answer = client.patch("/v2/groups/shop", &json!({"enforceRole": true})).await;
    assert_eq!((answer.status, &*answer.text), (200, ""));
    assert_eq!(client.get("/v2/groups/shop").await.json()["enforceRole"], true);
    client.put("/v2/apps/shop/late", &idle("late")).await.is(201);
    assert_eq!(client.get("/v2/apps/shop/late").await.json()["app"]["role"], "shop");
    client.patch("/v2/groups/shop", &json!({})).await.is(422);
    client.patch("/v2/groups/shop", &json!({"enforceRole": true, "apps": []})).await.is(422);
    client.patch("/v2/groups/none", &json!({"enforceRole": true})).await.is(404);
    client.patch("/v2/groups/shop/none", &json!({"enforceRole": true})).await.is(404);
    // Only groups on top have a role.
    client.put("/v2/groups/shop/sub", &json!({"apps": [idle("a")]})).await.is_result();
    client
        .patch("/v2/groups/shop/sub", &json!({"enforceRole": true}))
        .await
        .refuses_field("/enforceRole");
    let made = json!({"id": "/roles", "enforceRole": true, "apps": [idle("a")]});
    client.post("/v2/groups", &made).await.is(201);
    assert_eq!(client.get("/v2/apps/roles/a").await.json()["app"]["role"], "roles");
}

async fn say_in_what_order(client: &Client<'_>) {
    let (mut web, db) = (idle("web"), idle("db"));
    web["dependencies"] = json!(["../back"]);
    let ordered = json!({"id": "/ordered", "groups": [
        {"id": "front", "apps": [web]}, {"id": "back", "apps": [db], "dependencies": ["/shop"]}]});
    client.post("/v2/groups", &ordered).await.is(201);
    let group = client.get("/v2/groups/ordered").await.is(200);
    assert_eq!(group["groups"][0]["dependencies"], json!(["/shop"]));
    assert_eq!(group["groups"][1]["apps"][0]["dependencies"], json!(["/ordered/back"]));

    let (mut a, mut b) = (idle("a"), idle("b"));
    a["dependencies"] = json!(["b"]);
    b["dependencies"] = json!(["a"]);
    let circle = client.post("/v2/groups", &json!({"id": "/circle", "apps": [a, b]})).await;
    let refusal = circle.is(422).to_string();
    assert!(refusal.contains("cycl"), "{refusal}");
}

async fn are_locked_while_they_are_deployed(client: &Client<'_>) {
    let body = json!({"apps": [stuck("app")]});
    client.put("/v2/groups/stuck", &body).await.is_result();
    let other = json!({"apps": [idle("app")]});
    client.put("/v2/groups/stuck", &other).await.is_locked();
    client.delete("/v2/groups/stuck").await.is_locked();
    client.delete("/v2/groups").await.is_locked();
    client.put("/v2/groups/stuck?force=true", &other).await.is_result();
}

async fn are_deleted(client: &Client<'_>) {
    client.delete("/v2/groups/shop?force=true").await.is_result();
    client.get("/v2/groups/shop").await.refuses(404, "Group '/shop' does not exist");
    client.get("/v2/apps/shop/web").await.is(404);
    client.delete("/v2/groups/shop").await.refuses(404, "Group '/shop' does not exist");
    client.delete("/v2/groups/?force=true").await.is_result();
    let empty = client.get("/v2/groups").await.is(200);
    assert_eq!((&empty["apps"], &empty["groups"]), (&json!([]), &json!([])));
}
