//! What can be asked of tasks.

use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::cluster::{Cluster, sleeper};
use crate::endpoints::{Area, Client, ids, is_timestamp, stuck};
use crate::harness::{PATIENCE, until_async};

#[tokio::test]
async fn tasks_are_told_of_and_killed() {
    let cluster = Cluster::start().await;
    let client = Client::of(&cluster);
    let mut web = sleeper("/run/web");
    web["instances"] = 3.into();
    web["constraints"] = json!([["hostname", "UNIQUE"]]);
    web["portDefinitions"] = json!([{"port": 10001}, {"port": 10002}]);
    cluster.deploy(&web).await;
    let mut bare = sleeper("/run/bare");
    bare["portDefinitions"] = json!([]);
    cluster.deploy(&bare).await;
    are_counted_and_probed(&cluster, &client).await;
    client.post("/v2/apps", &stuck("/stuck")).await;
    are_listed(&client).await;
    are_listed_as_text(&client).await;
    are_killed_by_app(&client).await;
    are_killed_one_by_one(&client).await;
    are_killed_by_name(&client).await;
    client.has_asked_all(Area::Tasks);
}

async fn tasks(client: &Client<'_>, path: &str) -> Vec<Value> {
    let list = client.get(path).await.is(200);
    list["tasks"].as_array().expect("a list").clone()
}

/// Waits until so many tasks run that are none of `before`, beside those of them that were let live.
async fn others_run(client: &Client<'_>, count: usize, killed: &[String]) -> Vec<Value> {
    until_async("others took their place", PATIENCE, async || {
        let all = tasks(client, "/v2/apps/run/web/tasks").await;
        let is_new = |task: &Value| {
            let id = task["id"].as_str().unwrap_or_default();
            task["state"] == "TASK_RUNNING" && !killed.iter().any(|one| one == id)
        };
        (all.len() == count && all.iter().all(is_new)).then_some(all)
    })
    .await
}

fn names(tasks: &[Value]) -> Vec<String> {
    tasks.iter().map(|task| task["id"].as_str().expect("an id").to_owned()).collect()
}

async fn are_listed(client: &Client<'_>) {
    let all = tasks(client, "/v2/tasks").await;
    assert_eq!(all.len(), 4, "{all:?}");
    let web = all.iter().find(|task| task["appId"] == "/run/web").expect("three of them");
    let members: BTreeSet<&str> =
        web.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "appId",
        "host",
        "id",
        "ipAddresses",
        "localVolumes",
        "ports",
        "region",
        "role",
        "servicePorts",
        "slaveId",
        "stagedAt",
        "startedAt",
        "state",
        "version",
        "zone",
    ];
    assert_eq!(members, BTreeSet::from(expected), "{web}");
    for time in ["stagedAt", "startedAt", "version"] {
        assert!(is_timestamp(web[time].as_str().expect("a text")), "{time}: {web}");
    }
    assert_eq!(web["servicePorts"], json!([10001, 10002]));
    assert_eq!(web["ports"].as_array().map(Vec::len), Some(2), "{web}");
    assert_eq!((&web["state"], &web["role"]), (&json!("TASK_RUNNING"), &json!("*")));

    for (path, count) in [
        ("/v2/tasks?status=running", 4),
        ("/v2/tasks?status=staging", 0),
        ("/v2/tasks?status=staging&status=running", 4),
        ("/v2/tasks?status%5B%5D=running", 4),
        ("/v2/tasks?status=other", 4),
        ("/v2/tasks?offset=1&limit=2", 2),
        ("/v2/apps/run/*/tasks", 4),
        ("/v2/apps/run/web/tasks", 3),
        ("/v2/apps/none/*/tasks", 0),
    ] {
        assert_eq!(tasks(client, path).await.len(), count, "{path}");
    }
    let of_app = &tasks(client, "/v2/apps/run/web/tasks").await[0];
    assert_eq!(of_app.get("servicePorts"), None, "{of_app}");
}

async fn are_counted_and_probed(cluster: &Cluster, client: &Client<'_>) {
    let app = client.get("/v2/apps/run/web?embed=app.taskStats").await.is(200)["app"].clone();
    for (name, count) in
        [("tasksRunning", 3), ("tasksStaged", 0), ("tasksHealthy", 0), ("tasksUnhealthy", 0)]
    {
        assert_eq!(app[name], count, "{name}: nobody asks whether they are well");
    }
    for of in ["startedAfterLastScaling", "withLatestConfig", "totalSummary"] {
        let stats = &app["taskStats"][of]["stats"];
        assert_eq!(
            stats["counts"],
            json!({"staged": 0, "running": 3, "healthy": 0, "unhealthy": 0}),
            "{of}"
        );
        for time in ["averageSeconds", "medianSeconds"] {
            assert!(stats["lifeTime"][time].is_number(), "{time} {of}: {app}");
        }
    }
    assert_eq!(app["taskStats"].get("withOutdatedConfig"), None, "{app}");

    let mut probed = sleeper("/probed");
    let often = json!({"intervalSeconds": 1, "delaySeconds": 0, "timeoutSeconds": 10});
    probed["check"] = often.clone();
    probed["check"]["exec"] = json!({"command": {"shell": "exit 3"}});
    probed["healthChecks"] = json!([often]);
    probed["healthChecks"][0]["protocol"] = "COMMAND".into();
    probed["healthChecks"][0]["command"] = json!({"value": "true"});
    cluster.deploy(&probed).await;
    let task = until_async("its check has an answer", PATIENCE, async || {
        let task = tasks(client, "/v2/apps/probed/tasks").await.pop()?;
        task["checkResult"]["command"]["exitCode"].is_number().then_some(task)
    })
    .await;
    assert_eq!(task["checkResult"], json!({"command": {"exitCode": 3}}));
    let health = &task["healthCheckResults"][0];
    assert_eq!((&health["alive"], &health["consecutiveFailures"]), (&json!(true), &json!(0)));
    for time in ["firstSuccess", "lastSuccess"] {
        assert!(is_timestamp(health[time].as_str().expect("a time")), "{health}");
    }
    assert!(
        task["id"]
            .as_str()
            .expect("an id")
            .starts_with(health["instanceId"].as_str().expect("an id"))
    );
    let app = client.get("/v2/apps/probed").await.is(200)["app"].clone();
    assert_eq!((&app["tasksHealthy"], &app["tasksUnhealthy"]), (&json!(1), &json!(0)));
    client.delete("/v2/apps/probed").await.is_result();
    cluster.deployed().await;
}

async fn are_listed_as_text(client: &Client<'_>) {
    let as_text = async |path: &str, accept: &str| {
        client.ask_so("GET", path, |request| request.header("accept", accept)).await
    };
    let answer = as_text("/v2/tasks?containerNetworks=*", "text/plain").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("text/plain"), "{answer:?}");
    let mut lines: Vec<Vec<&str>> =
        answer.text.lines().map(|line| line.split('\t').collect()).collect();
    lines.sort();
    let [bare, first, second, stuck] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((bare[0], bare[1], bare.len()), ("run_bare", " ", 3));
    assert!(bare[2].contains(".test"), "{bare:?}");
    assert_eq!((first[..2].to_vec(), first.len()), (vec!["run_web", "10001"], 5));
    assert_eq!((second[..2].to_vec(), second.len()), (vec!["run_web", "10002"], 5));
    let ports = ["a.test:31", "b.test:32", "c.test:33"];
    assert!(ports.iter().all(|port| first.iter().any(|it| it.starts_with(port))), "{first:?}");
    assert_eq!((stuck[0], stuck.len()), ("stuck", 2), "nothing of it runs");
    // Who takes anything gets JSON.
    assert!(as_text("/v2/tasks", "*/*").await.json()["tasks"].is_array());
}

async fn are_killed_by_app(client: &Client<'_>) {
    let path = "/v2/apps/run/web/tasks";
    let killed = client.delete(&format!("{path}?host=b.test")).await.is(200);
    let killed = killed["tasks"].as_array().expect("a list");
    assert_eq!((killed.len(), &killed[0]["host"]), (1, &json!("b.test")));
    others_run(client, 3, &names(killed)).await;
    assert_eq!(client.delete(&format!("{path}?host=none.test")).await.is(200)["tasks"], json!([]));
    client
        .delete(&format!("{path}?scale=true&wipe=true"))
        .await
        .refuses(400, "You cannot use scale");
    client.delete("/v2/apps/none/tasks").await.refuses(404, "App '/none' does not exist");

    let killed = client.delete(&format!("{path}?host=*&wipe=true")).await.is(200);
    assert_eq!(killed["tasks"].as_array().map(Vec::len), Some(3), "{killed}");
    others_run(client, 3, &names(killed["tasks"].as_array().expect("a list"))).await;

    let scale = format!("{path}?host=c.test&scale=true&force=true");
    client.delete(&scale).await.is_result();
    let left = others_run(client, 2, &[]).await;
    assert!(left.iter().all(|task| task["host"] != "c.test"), "{left:?}");
    assert_eq!(client.get("/v2/apps/run/web").await.json()["app"]["instances"], 2);
}

async fn are_killed_one_by_one(client: &Client<'_>) {
    let path = |task: &str| format!("/v2/apps/run/web/tasks/{task}");
    let first = names(&others_run(client, 2, &[]).await);
    let none = first[0].replace("run_web", "run_none");
    client.delete(&path("none")).await.refuses(404, "Task 'none' does not exist");
    client.delete(&path(&none)).await.refuses(404, &format!("Task '{none}' does not exist"));
    client.delete("/v2/apps/none/tasks/none").await.refuses(404, "App '/none' does not exist");
    let bare = names(&tasks(client, "/v2/apps/run/bare/tasks").await);
    client.delete(&path(&bare[0])).await.refuses(404, "Task '");
    client.delete(&path(&format!("{}?scale=True&wipe=True", first[0]))).await.is(400);

    let killed = client.delete(&path(&first[0])).await.is(200);
    assert_eq!(killed["task"]["id"], first[0].as_str());
    let second = names(&others_run(client, 2, &first[..1]).await);
    let wiped = client.delete(&path(&format!("{}?wipe=true", second[0]))).await.is(200);
    assert_eq!(wiped["task"]["id"], second[0].as_str());
    let third = names(&others_run(client, 2, &second[..1]).await);
    client.delete(&path(&format!("{}?scale=true&force=true", third[0]))).await.is_result();
    others_run(client, 1, &third[..1]).await;
}

async fn are_killed_by_name(client: &Client<'_>) {
    let path = "/v2/tasks/delete";
    let all = names(&others_run(client, 1, &[]).await);
    let gone = all[0].replace("run_web", "run_gone");
    let body = json!({"ids": [gone]});
    assert_eq!(client.post(path, &body).await.is(200), json!({"tasks": []}), "it is gone already");
    let bad = json!({"ids": [all[0], "none"]});
    client.post(path, &bad).await.refuses(400, "Invalid task id 'none'");
    client.post(path, &json!({"ids": "none"})).await.refuses(400, "Invalid JSON");
    client.post(path, &json!([])).await.refuses(400, "Invalid JSON");
    let own = json!({"ids": all});
    client.post(&format!("{path}?scale=true&wipe=true"), &own).await.is(400);

    let killed = client.post(&format!("{path}?force=false"), &own).await.is(200);
    assert_eq!(ids(&killed["tasks"]), all);
    let second = names(&others_run(client, 1, &all).await);
    // An instance is named as well as its present task.
    let instance = second[0].split("._app").next().expect("an instance");
    let killed =
        client.post(&format!("{path}?wipe=true"), &json!({"ids": [instance]})).await.is(200);
    assert_eq!(ids(&killed["tasks"]), second);
    let third = names(&others_run(client, 1, &second).await);
    client.post(&format!("{path}?scale=true&force=true"), &json!({"ids": third})).await.is_result();
    others_run(client, 0, &[]).await;
    assert_eq!(client.get("/v2/apps/run/web").await.json()["app"]["instances"], 0);
}
