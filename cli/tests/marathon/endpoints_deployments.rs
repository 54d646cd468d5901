//! What can be asked of deployments and of what waits to be launched.

use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::endpoints::{Answer, Area, Client, idle, ids, is_timestamp, stuck};
use crate::harness::{PATIENCE, until_async};

#[tokio::test]
async fn deployments_and_the_queue_are_told_of_and_interfered_with() {
    let cluster = Cluster::start().await;
    let client = Client::of(&cluster);
    assert_eq!(client.get("/v2/deployments").await.is(200), json!([]));
    assert_eq!(client.get("/v2/queue").await.is(200), json!({"queue": []}));
    are_told_of(&client).await;
    who_waits_is_told_of(&client).await;
    who_fails_need_not_wait(&client).await;
    are_taken_back(&client).await;
    are_given_up(&client).await;
    client.has_asked_all(Area::Deployments);
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

async fn are_told_of(client: &Client<'_>) {
    let started = client.post("/v2/apps", &stuck("/stuck")).await;
    let id = started.deploys();
    let all = client.get("/v2/deployments").await.is(200);
    assert_eq!(ids(&all), [&*id], "a bare list");
    let one = &all[0];
    let expected = [
        "id",
        "version",
        "affectedApps",
        "affectedPods",
        "steps",
        "currentActions",
        "currentStep",
        "totalSteps",
    ];
    assert_eq!(members(one), BTreeSet::from(expected), "strict clients know no more: {one}");
    assert_eq!(one["version"], started.json()["version"]);
    assert_eq!((&one["affectedApps"], &one["affectedPods"]), (&json!(["/stuck"]), &json!([])));
    let actions = [
        json!([{"action": "StartApplication", "app": "/stuck"}]),
        json!([{"action": "ScaleApplication", "app": "/stuck"}]),
    ];
    assert_eq!(one["steps"], json!([{"actions": actions[0]}, {"actions": actions[1]}]));
    assert_eq!((&one["currentStep"], &one["totalSteps"]), (&json!(2), &json!(2)));
    let current =
        json!([{"action": "ScaleApplication", "app": "/stuck", "readinessCheckResults": []}]);
    assert_eq!(one["currentActions"], current);
}

async fn who_waits_is_told_of(client: &Client<'_>) {
    let entry = until_async("offers were looked at", PATIENCE, async || {
        let queue = client.get("/v2/queue").await.is(200);
        let entry = queue["queue"].get(0)?.clone();
        (entry["processedOffersSummary"]["processedOffersCount"].as_u64()? >= 3).then_some(entry)
    })
    .await;
    let expected = ["count", "delay", "since", "processedOffersSummary", "app"];
    assert_eq!(members(&entry), BTreeSet::from(expected), "strict clients know no more: {entry}");
    assert_eq!((&entry["count"], &entry["app"]["id"]), (&json!(1), &json!("/stuck")));
    assert_eq!(entry["delay"], json!({"timeLeftSeconds": 0, "overdue": true}));
    assert!(is_timestamp(entry["since"].as_str().expect("a time")), "{entry}");
    let summary = &entry["processedOffersSummary"];
    for name in [
        "unusedOffersCount",
        "lastUnusedOfferAt",
        "rejectSummaryLastOffers",
        "rejectSummaryLaunchAttempt",
    ] {
        assert!(summary.get(name).is_some(), "{name}: {summary}");
    }
    // What each offer fell through at, in the order in which they are sifted.
    let steps = summary["rejectSummaryLastOffers"].as_array().expect("a list");
    let reasons: Vec<_> = steps.iter().filter_map(|step| step["reason"].as_str()).collect();
    let expected = [
        "UnfulfilledRole",
        "UnfulfilledConstraint",
        "NoCorrespondingReservationFound",
        "AgentMaintenance",
        "InsufficientCpus",
        "InsufficientMemory",
        "InsufficientDisk",
        "InsufficientGpus",
        "InsufficientPorts",
        "DeclinedScarceResources",
    ];
    assert_eq!(reasons, expected);
    let cpus =
        steps.iter().find(|step| step["reason"] == "InsufficientCpus").expect("too few CPUs");
    assert!(
        cpus["declined"].as_u64() >= Some(1) && cpus["processed"].as_u64() >= Some(1),
        "{cpus}"
    );

    let queue = client.get("/v2/queue?embed=lastUnusedOffers&embed=other").await.is(200);
    let unused = &queue["queue"][0]["lastUnusedOffers"][0];
    assert_eq!(members(unused), BTreeSet::from(["offer", "reason", "timestamp"]));
    for name in ["id", "hostname", "agentId", "resources", "attributes"] {
        assert!(unused["offer"].get(name).is_some(), "{name}: {unused}");
    }
    assert!(
        unused["reason"].as_array().is_some_and(|all| all.contains(&json!("InsufficientCpus")))
    );
    let queue = client.get("/v2/queue?embed=master").await.is(200);
    assert!(queue["queue"][0].get("master").is_some(), "{queue}");

    // A role that is not Marathon's own is told: who uses it knows what it is.
    let mut other = stuck("/of-a-role/stuck");
    other["role"] = "of-a-role".into();
    client.post("/v2/apps", &other).await.is(201);
    let queue = client.get("/v2/queue").await.is(200);
    let roles: Vec<_> =
        queue["queue"].as_array().expect("a list").iter().map(|entry| entry.get("role")).collect();
    assert_eq!(roles, [Some(&json!("of-a-role")), None], "{queue}");
    client.delete("/v2/apps/of-a-role/stuck").await.is_result();
}

async fn who_fails_need_not_wait(client: &Client<'_>) {
    let mut failing = idle("/failing");
    failing["cmd"] = "exit 1".into();
    failing["instances"] = 1.into();
    failing["backoffSeconds"] = 3000.into();
    client.post("/v2/apps", &failing).await.is(201);
    let delay = async || {
        let queue = client.get("/v2/queue").await.is(200);
        let all = queue["queue"].as_array()?;
        let entry = all.iter().find(|entry| entry["app"]["id"] == "/failing")?;
        Some(entry["delay"].clone())
    };
    until_async("it is held back", PATIENCE, async || {
        let delay = delay().await?;
        (delay["overdue"] == false && delay["timeLeftSeconds"].as_u64()? > 100).then_some(())
    })
    .await;
    let failure = client.get("/v2/apps/failing").await.is(200)["app"]["lastTaskFailure"].clone();
    let expected =
        ["appId", "host", "message", "state", "taskId", "timestamp", "version", "slaveId"];
    assert_eq!(members(&failure), BTreeSet::from(expected));
    let answer = client.delete("/v2/queue/failing/delay").await;
    assert_eq!((answer.status, &*answer.text), (204, ""));
    // It is tried again at once, and fails again.
    let again = until_async("it has failed again", PATIENCE, async || {
        let app = client.get("/v2/apps/failing").await.is(200)["app"].clone();
        let latest = app["lastTaskFailure"].clone();
        (latest["taskId"] != failure["taskId"]).then_some(latest)
    })
    .await;
    assert_eq!(again["state"], "TASK_FAILED");
    client.delete("/v2/apps/failing").await.is_result();
    let told = "Application /none not found in tasks queue.";
    client.delete("/v2/queue/none/delay").await.refuses(404, told);
}

async fn are_taken_back(client: &Client<'_>) {
    client.post("/v2/apps", &idle("/web")).await.is(201);
    let mut body = json!({"instances": 1, "cpus": 1000});
    let id = client.put("/v2/apps/web", &body).await.deploys();
    // What undoes it is a deployment too.
    let undone: Answer = client.delete(&format!("/v2/deployments/{id}")).await;
    undone.is_result();
    assert_ne!(undone.deploys(), id);
    let app = client.get("/v2/apps/web").await.is(200)["app"].clone();
    assert_eq!((&app["instances"], &app["cpus"]), (&json!(0), &json!(0.1)));
    let gone = client.delete(&format!("/v2/deployments/{id}")).await;
    gone.refuses(404, &format!("DeploymentPlan {id} does not exist"));

    body["cpus"] = 999.into();
    let id = client.put("/v2/apps/web", &body).await.deploys();
    let stopped = client.delete(&format!("/v2/deployments/{id}?force=true")).await;
    assert_eq!((stopped.status, &*stopped.text), (202, ""));
    let app = client.get("/v2/apps/web").await.is(200)["app"].clone();
    assert_eq!(app["cpus"], 999, "it is left as far as it came");
    assert_eq!(app["deployments"], json!([]));
    client.delete("/v2/deployments/none").await.refuses(404, "DeploymentPlan none does not exist");
}

async fn are_given_up(client: &Client<'_>) {
    for app in ["/v2/apps/web", "/v2/apps/stuck"] {
        client.delete(app).await.is_result();
    }
    until_async("nothing is under way", PATIENCE, async || {
        (client.get("/v2/deployments").await.is(200) == json!([])).then_some(())
    })
    .await;
    assert_eq!(client.get("/v2/queue").await.is(200), json!({"queue": []}));
}

#[tokio::test]
async fn no_more_deployments_run_at_once_than_may() {
    let cluster = Cluster::start_with(&["--max_running_deployments=1"]).await;
    let client = Client::of(&cluster);
    client.post("/v2/apps", &stuck("/first")).await.is(201);
    client.post("/v2/apps", &stuck("/second")).await.refuses(403, "1 deployments are running");
    client.get("/v2/apps/second").await.is(404);
    client.put("/v2/apps/first?force=true", &json!({"mem": 64})).await.is_result();
}
