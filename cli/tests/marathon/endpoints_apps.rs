//! What can be asked of apps.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::endpoints::{Area, Client, idle, ids, is_timestamp, stuck};

#[tokio::test]
async fn apps_are_made_found_changed_and_deleted() {
    let cluster = Cluster::start().await;
    let client = Client::of(&cluster);
    are_made(&client).await;
    cluster.deployed().await;
    are_listed(&client).await;
    are_read_one_by_one(&client).await;
    are_changed_one_by_one(&client).await;
    go_back_to_a_version(&client).await;
    are_changed_together(&client).await;
    cluster.deployed().await;
    are_locked_while_they_are_deployed(&client).await;
    client.has_asked_all(Area::Apps);
}

async fn are_made(client: &Client<'_>) {
    let mut app = idle("/shop/web");
    app["labels"] = json!({"tier": "front", "env": "test"});
    let answer = client.post("/v2/apps", &app).await;
    let shown = answer.is(201);
    assert_eq!(answer.header("location"), "/v2/apps/shop/web");
    assert_eq!(shown["deployments"], json!([{"id": answer.deploys()}]));
    assert_eq!((&shown["id"], &shown["tasks"]), (&json!("/shop/web"), &json!([])));
    for count in ["tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy"] {
        assert_eq!(shown[count], 0, "{count}");
    }
    assert!(is_timestamp(shown["version"].as_str().expect("a version")), "{shown}");

    let body = client.post("/v2/apps", &app).await;
    let body = body.refuses(409, "An app with id [/shop/web] already exists.");
    assert_eq!(body.get("deployments"), None, "nothing is in the way: {body}");
    client.post("/v2/apps", &idle("/shop")).await.refuses(409, "A group with id [/shop]");
    client.post("/v2/apps", &idle("/shop/web/in")).await.refuses(409, "An app or pod with id");
    client.post("/v2/apps?force=true", &idle("shop/db/")).await.is(201);
    client.post("/v2/apps", &json!({"cmd": "x"})).await.refuses_field("/id");

    let mut odd = idle("/shop/odd");
    odd["instanced"] = 7.into();
    client.post("/v2/apps?strict=true", &odd).await.refuses_field("/instanced");
    let answer = client.post("/v2/apps?strict=false", &odd).await;
    answer.is(201);
    assert!(answer.header("warning").contains("/instanced"), "{answer:?}");

    for (body, details) in [("{", true), ("", true), ("[]", false), ("7", false)] {
        let answer = client.ask_so("POST", "/v2/apps", |request| request.body(body)).await;
        let refusal = answer.refuses(400, "Invalid JSON");
        assert_eq!(refusal["details"].is_string(), details, "{body}: {refusal}");
    }
    // Whatever they say that it is: `curl -d` says that it is a form.
    for kind in
        ["application/x-www-form-urlencoded", "text/plain", "application/json;charset=utf-8"]
    {
        let id = format!("/kinds/{}", kind.len());
        let body = idle(&id).to_string();
        let with =
            |request: reqwest::RequestBuilder| request.header("content-type", kind).body(body);
        client.ask_so("POST", "/v2/apps", with).await.is(201);
    }
}

async fn are_listed(client: &Client<'_>) {
    let all = ["/kinds/10", "/kinds/30", "/kinds/33", "/shop/db", "/shop/odd", "/shop/web"];
    let labelled = |selector: &str| format!("/v2/apps?label={selector}");
    for (path, found) in [
        ("/v2/apps".to_owned(), &all[..]),
        ("/v2/apps/?_timestamp=1&embed=nothing".to_owned(), &all),
        ("/v2/apps?id=SHOP".to_owned(), &all[3..]),
        ("/v2/apps?cmd=SLEEP%201000&id=odd".to_owned(), &all[4..5]),
        ("/v2/apps?cmd=wake".to_owned(), &[]),
        ("/v2/apps?offset=1&limit=2".to_owned(), &all[1..3]),
        ("/v2/apps?offset=7".to_owned(), &[]),
        (labelled("tier"), &all[5..]),
        (labelled("tier%3D%3Dfront,env"), &all[5..]),
        (labelled("tier!%3Dback"), &all[5..]),
        (labelled("tier%20in%20(front,back)"), &all[5..]),
        (labelled("tier%20notin%20(front)"), &[]),
        (labelled("none!%3Dx"), &[]),
    ] {
        let list = client.get(&path).await.is(200);
        assert_eq!(ids(&list["apps"]), found, "{path}");
    }
    client
        .get("/v2/apps?label=a%3Db")
        .await
        .refuses(422, "The label selector 'a=b' cannot be read");
    client.get("/v2/apps?offset=-1").await.refuses(422, "'offset' must be a number");
    client.get("/v2/apps?limit=many").await.refuses(422, "'limit' must be a number");

    // What is always there, and what is added for those who ask, by each of its names.
    let one = |list: Value| list["apps"][0].clone();
    let plain = one(client.get("/v2/apps").await.json());
    for (name, is_there) in [
        ("tasksRunning", true),
        ("tasksStaged", true),
        ("tasksHealthy", true),
        ("tasksUnhealthy", true),
        ("deployments", true),
        ("labels", true),
        ("tasks", false),
        ("taskStats", false),
        ("readinessCheckResults", false),
        ("lastTaskFailure", false),
    ] {
        assert_eq!(plain.get(name).is_some(), is_there, "{name}: {plain}");
    }
    for prefix in ["", "app.", "apps.", "group.apps."] {
        for (embed, name) in [
            ("tasks", "tasks"),
            ("failures", "tasks"),
            ("counts", "tasksRunning"),
            ("deployments", "deployments"),
            ("readiness", "readinessCheckResults"),
            ("taskStats", "taskStats"),
        ] {
            let path = format!("/v2/apps?embed=other&embed={prefix}{embed}");
            let app = one(client.get(&path).await.json());
            assert!(app.get(name).is_some(), "{path}: {app}");
        }
    }
    let below = client.get("/v2/apps/shop/*?embed=app.taskStats").await.is(200);
    assert_eq!(ids(&below["*"]), all[3..]);
    assert!(below["*"][0].get("taskStats").is_some(), "{below}");
    assert_eq!(ids(&client.get("/v2/apps/*?embed=tasks").await.is(200)["*"]), all);
    assert_eq!(client.get("/v2/apps/none/*").await.is(200), json!({"*": []}));
}

async fn are_read_one_by_one(client: &Client<'_>) {
    for path in
        ["/v2/apps/shop/web", "/v2/apps//shop/web", "/v2/apps/shop%2Fweb/", "//v2//apps/shop/web"]
    {
        let app = client.ask_so("GET", path, |request| request).await.is(200);
        assert_eq!(app["app"]["id"], "/shop/web", "{path}");
    }
    let app = client.get("/v2/apps/shop/web?embed=app.taskStats&embed=app.readiness").await.is(200);
    for name in ["tasks", "tasksRunning", "deployments", "taskStats", "readinessCheckResults"] {
        assert!(app["app"].get(name).is_some(), "{name}: {app}");
    }
    for path in ["/v2/apps/none", "/v2/apps/none/versions", "/v2/apps/none/tasks"] {
        let body = client.get(path).await.is(404);
        assert_eq!(body, json!({"message": "App '/none' does not exist"}), "{path}");
    }
}

async fn are_changed_one_by_one(client: &Client<'_>) {
    let path = "/v2/apps/shop/web";
    let shown = async || client.get(path).await.is(200)["app"].clone();
    // Fields that are given take the place of the old ones, as wholes; the others stay.
    client.put(path, &json!({"env": {"A": "1", "B": "2"}, "id": "/elsewhere"})).await.is_result();
    client.put(&format!("{path}?force=False"), &json!({"env": {"A": "3"}})).await.is_result();
    let app = shown().await;
    assert_eq!(app["env"], json!({"A": "3"}));
    assert_eq!(app["labels"]["tier"], "front");
    client
        .patch(&format!("{path}?force=true&strict=true"), &json!({"cpus": 0.2}))
        .await
        .is_result();
    assert_eq!(shown().await["cpus"], 0.2);
    // Nothing changed: a deployment all the same, which is over at once.
    client.put(path, &json!({"cpus": 0.2})).await.is_result();
    assert_eq!(client.get(path).await.is(200)["app"]["deployments"], json!([]));

    let diff = client.put(&format!("{path}?dryRun=true"), &json!({"cpus": 0.3})).await.is(200);
    assert_eq!(diff["changes"][0]["fields"]["cpus"], json!({"from": 0.2, "to": 0.3}));
    assert_eq!(shown().await["cpus"], 0.2, "it was only asked what would be");
    client.put(&format!("{path}?strict=true"), &json!({"cpu": 0.3})).await.refuses_field("/cpu");
    client.put(&format!("{path}?strict=true"), &json!({"cpus": 0.2})).await.is_result();
    client.put(path, &json!({"cpus": -1})).await.refuses_field("/cpus");
    client.put(path, &json!({"cpus": "1"})).await.refuses(400, "Invalid JSON");
    client.put(&format!("{path}?nulls=remove"), &json!({"env": null})).await.is_result();
    assert_eq!(shown().await.get("env"), None);

    // All of it, so that what is not given is as if it had never been.
    client.put(&format!("{path}?partialUpdate=false"), &idle("/shop/web")).await.is_result();
    let app = shown().await;
    assert_eq!((&app["labels"], &app["cpus"]), (&json!({}), &json!(0.1)));

    let answer = client.put("/v2/apps/shop/new", &idle("ignored")).await;
    assert_eq!(answer.is(201)["id"], "/shop/new");
    assert_eq!(answer.header("location"), "/v2/apps/shop/new");
    answer.deploys();
    client.put("/v2/apps/shop/A_B", &idle("ignored")).await.refuses_field("/id");
    client.put("/v2/apps/shop", &idle("ignored")).await.refuses(409, "A group with id [/shop]");
    client.patch("/v2/apps/none", &json!({"cpus": 1})).await.refuses(404, "App '/none' does not");
}

async fn go_back_to_a_version(client: &Client<'_>) {
    let path = "/v2/apps/shop/web";
    let versions = client.get(&format!("{path}/versions")).await.is(200);
    let versions: Vec<_> =
        versions["versions"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(versions.len() >= 4 && versions.iter().all(|one| is_timestamp(one)), "{versions:?}");
    assert!(versions.is_sorted_by(|a, b| a > b), "the newest is first: {versions:?}");
    let first = versions.last().expect("four at least");
    let app = client.get(&format!("{path}/versions/{first}")).await.is(200);
    assert_eq!((&app["id"], &app["labels"]["tier"]), (&json!("/shop/web"), &json!("front")));

    // Whatever the offset it is told with.
    let same = first.replace('Z', "%2B00:00");
    assert_eq!(client.get(&format!("{path}/versions/{same}")).await.is(200), app);

    let back = json!({"version": first, "id": "/shop/web"});
    client.put(path, &json!({"version": first, "cpus": 1})).await.refuses_field("/version");
    client.put(path, &back).await.is_result();
    let app = client.get(path).await.is(200)["app"].clone();
    assert_eq!(app["labels"]["tier"], "front");

    let never = "2001-01-01T00:00:00.000Z";
    client
        .put(path, &json!({"version": never}))
        .await
        .refuses(404, "App '/shop/web' does not have");
    client.put(path, &json!({"version": "now"})).await.refuses_field("/version");
    client.get(&format!("{path}/versions/{never}")).await.refuses(404, "App '/shop/web' does not");
    client.get(&format!("{path}/versions/now")).await.refuses(422, "'now' is no timestamp");
    client.get(&format!("/v2/apps/none/versions/{never}")).await.refuses(404, "App '/none' does");

    client.post(&format!("{path}/restart?force=true"), &json!({})).await.is_result();
    let now = client.get(&format!("{path}/versions")).await.is(200);
    assert!(now["versions"][0].as_str() > Some(versions[0]), "a restart is a version: {now}");
    client.post("/v2/apps/none/restart", &json!({})).await.refuses(404, "App '/none' does not");
}

async fn are_changed_together(client: &Client<'_>) {
    let both = json!([idle("/two/a"), idle("/two/b")]);
    let version = client.put("/v2/apps?force=true&strict=true", &both).await.is_result();
    let versions = client.get("/v2/apps/two/b/versions").await.is(200);
    assert_eq!(versions["versions"], json!([version]));
    let changes = json!([{"id": "/two/a", "cpus": 0.5}, {"id": "/two/b", "mem": 64}]);
    client.patch("/v2/apps?force=true&strict=true", &changes).await.is_result();
    let app = client.get("/v2/apps/two/b").await.is(200)["app"].clone();
    assert_eq!((&app["mem"], &app["cpus"]), (&json!(64), &json!(0.1)));
    client.put("/v2/apps?partialUpdate=false", &both).await.is_result();
    assert_eq!(client.get("/v2/apps/two/b").await.is(200)["app"]["mem"], 32);

    let none = json!([{"id": "/two/a", "mem": 64}, {"id": "/two/none", "mem": 64}]);
    client.patch("/v2/apps", &none).await.refuses(404, "App '/two/none' does not exist");
    assert_eq!(client.get("/v2/apps/two/a").await.is(200)["app"]["mem"], 32, "all or nothing");
    let bad = json!([{"id": "/two/a"}, {"id": "/two/b", "mem": -1}]);
    client.put("/v2/apps", &bad).await.refuses_field("/(1)/mem");
    client.put("/v2/apps", &json!([{"mem": 1}])).await.refuses_field("/(0)/id");
    let odd =
        json!([{"id": "/two/a"}, {"id": "/two/b", "container": {"type": "MESOS", "tipe": 1}}]);
    for ask in ["PUT", "PATCH"] {
        let answer = client.ask(ask, "/v2/apps?strict=true", Some(&odd)).await;
        answer.refuses_field("/(1)/container/tipe");
    }
    client.patch("/v2/apps/two/a?strict=true", &json!({"memm": 1})).await.refuses_field("/memm");
    client.put("/v2/apps", &json!({})).await.refuses(400, "Invalid JSON");
}

async fn are_locked_while_they_are_deployed(client: &Client<'_>) {
    let path = "/v2/apps/stuck";
    let first = client.post("/v2/apps", &stuck("/stuck")).await.deploys();
    let app = client.get(path).await.is(200)["app"].clone();
    assert_eq!(app["deployments"], json!([{"id": first}]));
    let change = json!({"mem": 64});
    client.put(path, &change).await.is_locked();
    for no in ["false", "1", "yes", ""] {
        client.put(&format!("{path}?force={no}"), &change).await.is_locked();
    }
    client.patch(path, &change).await.is_locked();
    client.post(&format!("{path}/restart"), &json!({})).await.is_locked();
    client.put("/v2/apps", &json!([{"id": "/stuck", "mem": 64}])).await.is_locked();
    client.delete(&format!("{path}?force=false")).await.is_locked();
    let second = client.put(&format!("{path}?force=true"), &change).await;
    second.is_result();
    assert_ne!(second.deploys(), first);
    let running = client.get("/v2/deployments").await.is(200);
    assert_eq!(ids(&running), [second.deploys()], "the first has made room");
    // Unlike everything else this is not held up: it is what one does with an app that is stuck.
    client.delete(path).await.is_result();
    client.get(path).await.refuses(404, "App '/stuck' does not exist");
    client.delete(path).await.refuses(404, "App '/stuck' does not exist");
    client.delete("/v2/apps/two/a?force=false").await.is_result();
}
