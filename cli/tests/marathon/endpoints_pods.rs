//! What can be asked of pods.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::endpoints::{Area, Client, idle, ids, is_timestamp};
use crate::harness::{PATIENCE, until_async};

fn pod(id: &str, instances: u32) -> Value {
    json!({"id": id, "scaling": {"kind": "fixed", "instances": instances},
           "containers": [
               {"name": "web", "exec": {"command": {"shell": "exec sleep 1000"}},
                "resources": {"cpus": 0.1, "mem": 32}, "endpoints": [{"name": "http", "hostPort": 0}]},
               {"name": "log", "exec": {"command": {"argv": ["sleep", "1000"]}},
                "resources": {"cpus": 0.1, "mem": 32}}]})
}

#[tokio::test]
async fn pods_are_made_told_of_changed_killed_and_deleted() {
    let cluster = Cluster::start().await;
    let client = Client::of(&cluster);
    are_made(&client).await;
    cluster.deployed().await;
    tell_of_themselves(&client).await;
    have_versions(&client).await;
    cluster.deployed().await;
    are_killed(&client).await;
    are_locked_and_deleted(&client).await;
    client.has_asked_all(Area::Pods);
}

async fn are_made(client: &Client<'_>) {
    let probe = client.ask("HEAD", "/v2/pods", None).await;
    assert_eq!((probe.status, &*probe.text), (200, ""), "there are pods here");
    assert_eq!(client.get("/v2/pods").await.is(200), json!([]));

    let answer = client.post("/v2/pods", &pod("/run/pod", 2)).await;
    let shown = answer.is(201);
    assert_eq!(answer.header("location"), "/v2/pods/run/pod");
    answer.deploys();
    assert_eq!(shown["id"], "/run/pod");
    assert!(is_timestamp(shown["version"].as_str().expect("a version")), "{shown}");
    client.post("/v2/pods?force=true&strict=true", &pod("/run/other", 0)).await.is(201);
    client
        .post("/v2/pods", &pod("/run/pod", 0))
        .await
        .refuses(409, "A pod with id [/run/pod] already");
    client.post("/v2/pods", &pod("/run", 0)).await.refuses(409, "A group with id [/run] already");
    client
        .post("/v2/apps", &idle("/run/pod"))
        .await
        .refuses(409, "A pod with id [/run/pod] already");
    client.post("/v2/pods", &json!({"containers": []})).await.refuses_field("/id");
    let mut odd = pod("/run/odd", 0);
    odd["containers"][0]["resources"]["cpu"] = 1.into();
    client.post("/v2/pods?strict=true", &odd).await.refuses_field("/containers(0)/resources/cpu");
    client
        .post("/v2/pods", &json!({"id": "/x", "containers": []}))
        .await
        .refuses_field("/containers");
    let refusal = client.ask_so("POST", "/v2/pods", |request| request.body("{")).await;
    assert!(refusal.refuses(400, "Invalid JSON")["details"].is_string(), "{refusal:?}");

    let all = client.get("/v2/pods").await.is(200);
    assert_eq!(ids(&all), ["/run/other", "/run/pod"]);
    assert_eq!(ids(&client.get("/v2/pods/?offset=1&limit=1").await.is(200)), ["/run/pod"]);
    for path in ["/v2/pods/run/pod", "/v2/pods//run/pod/"] {
        assert_eq!(client.get(path).await.is(200)["id"], "/run/pod", "{path}");
    }
    for path in ["/v2/pods/none", "/v2/pods/none::status", "/v2/pods/none::versions"] {
        client.get(path).await.refuses(404, "Pod '/none' does not exist");
    }
    // It is no app, and no app is one.
    client.get("/v2/apps/run/pod").await.refuses(404, "App '/run/pod' does not exist");
}

async fn tell_of_themselves(client: &Client<'_>) {
    let status = client.get("/v2/pods/run/pod::status").await.is(200);
    assert_eq!((&status["id"], &status["status"]), (&json!("/run/pod"), &json!("STABLE")));
    assert_eq!(status["spec"]["id"], "/run/pod");
    assert_eq!(status["terminationHistory"], json!([]));
    for time in ["statusSince", "lastUpdated", "lastChanged"] {
        assert!(is_timestamp(status[time].as_str().expect("a time")), "{time}: {status}");
    }
    let instances = status["instances"].as_array().expect("a list");
    assert_eq!(instances.len(), 2);
    let one = &instances[0];
    assert_eq!(one["status"], "STABLE");
    for name in [
        "id",
        "agentHostname",
        "agentId",
        "agentRegion",
        "agentZone",
        "resources",
        "networks",
        "containers",
        "specReference",
        "localVolumes",
        "role",
        "statusSince",
        "lastUpdated",
        "lastChanged",
    ] {
        assert!(one.get(name).is_some(), "{name}: {one}");
    }
    assert!(
        one["specReference"]
            .as_str()
            .is_some_and(|it| it.starts_with("/v2/pods/run/pod::versions/"))
    );
    let web = &one["containers"][0];
    assert_eq!(web["name"], "web");
    for name in [
        "status",
        "statusSince",
        "containerId",
        "endpoints",
        "resources",
        "lastUpdated",
        "lastChanged",
    ] {
        assert!(web.get(name).is_some(), "{name}: {web}");
    }
    assert!(web["endpoints"][0]["allocatedHostPort"].as_u64() >= Some(31_000), "{web}");

    for path in ["/v2/pods::status", "/v2/pods/::status"] {
        assert_eq!(ids(&client.get(path).await.is(200)), ["/run/other", "/run/pod"], "{path}");
    }
    // Its tasks are no tasks of apps.
    assert_eq!(client.get("/v2/tasks").await.is(200), json!({"tasks": []}));
}

async fn have_versions(client: &Client<'_>) {
    let path = "/v2/pods/run/pod";
    let first = client.get(path).await.json()["version"].as_str().expect("a version").to_owned();
    let mut changed = pod("/run/pod", 2);
    changed["labels"] = json!({"k": "v"});
    let answer = client.put(path, &changed).await;
    assert_eq!(answer.is(200)["labels"]["k"], "v");
    answer.deploys();
    client.put(&format!("{path}?force=true&strict=true"), &changed).await.is(200);
    client
        .put(path, &pod("/run/else", 2))
        .await
        .refuses(400, "The id in the body, /run/else, is not");
    client.put("/v2/pods/none", &pod("/none", 2)).await.refuses(404, "Pod '/none' does not exist");
    client
        .put(path, &json!({"id": "/run/pod", "containers": []}))
        .await
        .refuses_field("/containers");

    let versions = client.get(&format!("{path}::versions")).await.is(200);
    assert!(versions.as_array().is_some_and(|all| all.len() >= 2), "{versions}");
    let then = client.get(&format!("{path}::versions/{first}")).await.is(200);
    assert_eq!((&then["id"], then.get("labels")), (&json!("/run/pod"), None));
    let never = "2001-01-01T00:00:00.000Z";
    client.get(&format!("{path}::versions/{never}")).await.refuses(404, "Pod '/run/pod' does not");
    client.get(&format!("{path}::versions/now")).await.refuses(422, "'now' is no timestamp");
}

/// Waits until two instances are stable of which none was killed.
async fn others_run(client: &Client<'_>, killed: &[String]) -> Vec<String> {
    until_async("others took their place", PATIENCE, async || {
        let status = client.get("/v2/pods/run/pod::status").await.is(200);
        let instances = status["instances"].as_array()?;
        let stable = instances.iter().filter(|it| it["status"] == "STABLE");
        let stable: Vec<_> = stable.filter_map(|it| it["id"].as_str().map(str::to_owned)).collect();
        let is_new = stable.len() == 2 && instances.len() == 2;
        let is_new = is_new && {
            let ended = status["terminationHistory"].as_array()?;
            killed.iter().all(|one| ended.iter().any(|it| it["instanceID"] == one.as_str()))
        };
        is_new.then_some(stable)
    })
    .await
}

async fn are_killed(client: &Client<'_>) {
    let path = "/v2/pods/run/pod::instances";
    let first = others_run(client, &[]).await;
    let killed = client.delete(&format!("{path}/{}?wipe=false", first[0])).await.is(200);
    for name in ["state", "agentInfo", "runSpecVersion", "unreachableStrategy"] {
        assert!(killed.get(name).is_some(), "{name}: {killed}");
    }
    assert_eq!(killed["instanceId"], first[0].as_str());
    let second = others_run(client, &first[..1]).await;
    client.delete(&format!("{path}/none")).await.refuses(404, "Instance 'none' does not exist");
    let both = json!(second);
    let killed = client.ask("DELETE", &format!("{path}?wipe=true"), Some(&both)).await.is(200);
    assert_eq!(killed.as_array().map(Vec::len), Some(2), "{killed}");
    client.ask("DELETE", path, Some(&json!({}))).await.refuses(400, "The body must be an array");
    client.ask("DELETE", "/v2/pods/none::instances", Some(&both)).await.refuses(404, "Pod '/none'");
    until_async("others took their place", PATIENCE, async || {
        let status = client.get("/v2/pods/run/pod::status").await.is(200);
        let all = ids(&status["instances"]);
        let is_new = all.len() == 2 && status["status"] == "STABLE";
        (is_new && all.iter().all(|one| !second.iter().any(|id| id == one))).then_some(())
    })
    .await;
}

async fn are_locked_and_deleted(client: &Client<'_>) {
    let mut huge = pod("/huge", 1);
    huge["containers"][0]["resources"]["cpus"] = 1000.into();
    client.post("/v2/pods", &huge).await.is(201);
    let status = client.get("/v2/pods/huge::status").await.is(200);
    assert_eq!(status["status"], "DEGRADED", "{status}");
    let queue = client.get("/v2/queue").await.is(200)["queue"][0].clone();
    assert_eq!((&queue["pod"]["id"], queue.get("app")), (&json!("/huge"), None), "{queue}");
    let deployment = client.get("/v2/deployments").await.is(200)[0].clone();
    assert_eq!(
        (&deployment["affectedPods"], &deployment["affectedApps"]),
        (&json!(["/huge"]), &json!([]))
    );
    let current = json!([{"action": "ScalePod", "pod": "/huge", "readinessCheckResults": []}]);
    assert_eq!(deployment["currentActions"], current);
    client.put("/v2/pods/huge", &pod("/huge", 0)).await.is_locked();
    client.delete("/v2/pods/huge").await.is_locked();
    for path in ["/v2/pods/huge?force=true", "/v2/pods/run/pod", "/v2/pods/run/other"] {
        let answer = client.delete(path).await;
        assert_eq!((answer.status, &*answer.text), (202, ""), "{path}");
        let deployment = format!("/v2/deployments/{}", answer.deploys());
        assert_eq!(answer.header("location"), deployment, "{path}");
    }
    client.delete("/v2/pods/huge").await.refuses(404, "Pod '/huge' does not exist");
    until_async("nothing of them is left", PATIENCE, async || {
        (client.get("/v2/pods").await.is(200) == json!([])).then_some(())
    })
    .await;
}
