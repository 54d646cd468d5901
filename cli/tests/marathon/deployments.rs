//! Deployments of one app: it comes, grows, shrinks, changes, starts anew and goes.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, sleeper};
use crate::harness::{PATIENCE, until_async};
use crate::seen::deployment;

/// A sleeper that is healthy as soon as the gate of this name is open, and is given time for that.
pub(crate) fn gated(cluster: &Cluster, id: &str, gate: &str) -> Value {
    let mut app = sleeper(id);
    let open = format!("test -e {}", cluster.world.path(gate).display());
    app["healthChecks"] = json!([{
        "protocol": "COMMAND", "command": {"value": open}, "gracePeriodSeconds": 300,
        "intervalSeconds": 1, "timeoutSeconds": 1, "delaySeconds": 0,
    }]);
    app
}

/// Opens a gate.
pub(crate) fn open(cluster: &Cluster, gate: &str) {
    std::fs::write(cluster.world.path(gate), "").expect("written");
}

/// The actions of a plan's steps, in order.
pub(crate) fn actions(steps: &Value) -> Vec<Vec<String>> {
    let of_step = |step: &Value| {
        let actions = step["actions"].as_array().into_iter().flatten();
        let text = |action: &Value| {
            let target = action.get("app").or(action.get("pod")).and_then(Value::as_str);
            format!("{} {}", action["action"].as_str().expect("a name"), target.expect("an id"))
        };
        let mut actions: Vec<_> = actions.map(text).collect();
        actions.sort();
        actions
    };
    steps.as_array().expect("steps").iter().map(of_step).collect()
}

#[tokio::test]
async fn an_app_comes_grows_shrinks_stops_starts_anew_and_goes() {
    let cluster = Cluster::start().await;
    cluster.deploy(&sleeper("/web")).await;
    let first = cluster.run("web", 1).await;
    let mut done = Vec::new();
    let mut scale = async |instances: usize| {
        let answer = cluster.put("/v2/apps/web", &json!({"instances": instances})).await;
        cluster.deployed().await;
        done.push(deployment(&answer));
        cluster.run("web", instances).await
    };
    let more = scale(3).await;
    assert!(more.contains(&first[0]), "who was there stays: {more:?}");
    assert_eq!(scale(1).await, first, "the youngest go first");
    scale(0).await;
    let again = scale(2).await;
    assert!(!again.contains(&first[0]));

    // Nothing to do is done at once, and has an id too.
    let answer = cluster.put("/v2/apps/web", &json!({"instances": 2})).await;
    assert!(!deployment(&answer).is_empty());
    assert_eq!(cluster.run("web", 2).await, again);

    let (status, answer) = cluster.ask(Method::POST, "/v2/apps/web/restart").await;
    assert_eq!(status, 200, "{answer}");
    done.push(deployment(&answer));
    cluster.deployed().await;
    let anew = cluster.run("web", 2).await;
    assert!(anew.iter().all(|task| !again.contains(task)), "{anew:?} after {again:?}");
    let (status, answer) = cluster.ask(Method::DELETE, "/v2/apps/web").await;
    assert_eq!(status, 200, "{answer}");
    done.push(deployment(&answer));
    cluster.deployed().await;
    assert_eq!(cluster.ask(Method::GET, "/v2/apps/web").await.0, 404);
    until_async("nothing runs any more", PATIENCE, async || {
        cluster.world.leftovers().is_empty().then_some(())
    })
    .await;
    for id in &done {
        let past = cluster.ended(id).await;
        assert_eq!(
            (&past["outcome"], &past["apps"][0]["id"]),
            (&json!("succeeded"), &json!("/web"))
        );
        assert!(past["tookMillis"].is_u64() && past["startedAt"].is_string(), "{past}");
    }
    let history = cluster.json("/agora/v1/deployments").await.expect("it leads");
    let ids: Vec<_> =
        history["history"].as_array().expect("a list").iter().map(|it| &it["id"]).collect();
    assert_eq!(ids.len(), done.len() + 1, "each is there once: {history}");
    assert_eq!(ids[0], done.last().expect("some").as_str(), "the latest comes first");
}

#[tokio::test]
async fn who_is_to_go_is_chosen_as_the_app_says() {
    let cluster = Cluster::start().await;
    for (selection, stays) in [("YOUNGEST_FIRST", true), ("OLDEST_FIRST", false)] {
        let mut app = sleeper("/web");
        app["killSelection"] = selection.into();
        cluster.deploy(&app).await;
        let first = cluster.run("web", 1).await;
        cluster.change("/v2/apps/web", &json!({"instances": 2})).await;
        cluster.run("web", 2).await;
        cluster.change("/v2/apps/web", &json!({"instances": 1})).await;
        assert_eq!(cluster.run("web", 1).await == first, stays, "{selection}");
        cluster.delete("/v2/apps/web").await;
    }
    // Who is named goes, whoever is younger.
    let mut app = sleeper("/web");
    app["instances"] = 3.into();
    cluster.deploy(&app).await;
    let tasks = cluster.run("web", 3).await;
    let body = json!({"ids": [tasks[1]]});
    let (status, answer) = cluster.send(Method::POST, "/v2/tasks/delete?scale=true", &body).await;
    assert_eq!(status, 200, "{answer}");
    cluster.deployed().await;
    assert_eq!(cluster.run("web", 2).await, [tasks[0].as_str(), &tasks[2]]);
    // And who is named without that is made up for by its own instance.
    let body = json!({"ids": [tasks[0]]});
    let (status, answer) = cluster.send(Method::POST, "/v2/tasks/delete", &body).await;
    assert_eq!((status, &answer["tasks"][0]["id"]), (200, &json!(tasks[0])));
    let next =
        tasks[0].strip_suffix('1').map(|instance| format!("{instance}2")).expect("its first");
    until_async("it has its second task", PATIENCE, async || {
        cluster.running("web").await.contains(&next).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_keeps_what_its_strategy_says_or_lets_one_go_first() {
    let cluster = Cluster::start().await;
    // One that cannot begin: its port is on one agent alone. Some seconds pass until that is seen.
    let mut app = sleeper("/port");
    app["portDefinitions"] = json!([{"port": 31700}]);
    app["requirePorts"] = true.into();
    cluster.deploy(&app).await;
    let with_port = cluster.run("port", 1).await;
    let answer = cluster.put("/v2/apps/port", &json!({"env": {"ROUND": "2"}})).await;
    let waiting = deployment(&answer);

    let mut app = sleeper("/web");
    app["instances"] = 4.into();
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &app).await;
    cluster.run("web", 4).await;
    // Of four: the least that must run, and the most that may be there.
    for (at, (minimum, over, least, most)) in
        [(1.0, 1.0, 4, 8), (0.75, 0.0, 3, 4), (0.5, 0.5, 2, 6), (1.0, 0.0, 4, 5)]
            .into_iter()
            .enumerate()
    {
        let strategy = json!({"minimumHealthCapacity": minimum, "maximumOverCapacity": over});
        let body = json!({"upgradeStrategy": strategy});
        cluster.put("/v2/apps/web", &body).await;
        let old = cluster.run("web", 4).await;
        let body = json!({"env": {"ROUND": at.to_string()}});
        let id = deployment(&cluster.put("/v2/apps/web", &body).await);
        let path = format!("/agora/v1/deployments/{id}");
        let started = Instant::now();
        let mut samples = 0;
        while cluster.json(&path).await.expect("it is known")["outcome"].is_null() {
            let tasks = cluster.tasks("web").await;
            let running = tasks.iter().filter(|it| it["state"] == "TASK_RUNNING").count();
            assert!(running >= least, "{strategy}: only {running} run");
            assert!(tasks.len() <= most, "{strategy}: {} are there", tasks.len());
            samples += 1;
            assert!(started.elapsed() < PATIENCE, "{strategy}: it does not end");
        }
        assert!(samples > 0, "{strategy}: it was over at once");
        let new = cluster.run("web", 4).await;
        assert!(new.iter().all(|task| !old.contains(task)), "{strategy}");
    }
    assert_eq!(cluster.ended(&waiting).await["outcome"], "succeeded");
    assert_ne!(cluster.run("port", 1).await, with_port, "one went for another");
    assert_eq!(cluster.tasks("port").await[0]["ports"], json!([31700]));
}

#[tokio::test]
async fn what_tasks_do_not_see_changes_in_place_and_a_dry_run_tells() {
    let cluster = Cluster::start().await;
    let mut app = sleeper("/web");
    app["instances"] = 2.into();
    app["healthChecks"] = json!([{"protocol": "COMMAND", "command": {"value": "true"},
                                  "delaySeconds": 0, "intervalSeconds": 1}]);
    cluster.deploy(&app).await;
    let tasks = cluster.run("web", 2).await;
    let in_place = [
        json!({"labels": {"tier": "front"}}),
        json!({"upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0}}),
        json!({"killSelection": "OLDEST_FIRST"}),
        json!({"unreachableStrategy": {"inactiveAfterSeconds": 10, "expungeAfterSeconds": 20}}),
        json!({"backoffSeconds": 2, "backoffFactor": 2, "maxLaunchDelaySeconds": 60}),
        json!({"taskKillGracePeriodSeconds": 3}),
        json!({"dependencies": []}),
    ];
    let dry = |what: &str, answer: &Value| {
        let change = &answer["changes"][0];
        assert_eq!((&change["app"], &change["what"]), (&json!("/web"), &json!(what)), "{answer}");
    };
    for change in in_place {
        let answer = cluster.put("/v2/apps/web?dryRun=true", &change).await;
        if change.get("dependencies").is_none() {
            dry("changed in place", &answer);
        }
        cluster.change("/v2/apps/web", &change).await;
        let shown = cluster.json("/v2/apps/web").await.expect("it is there");
        for (name, value) in change.as_object().expect("fields") {
            let shown = shown["app"].get(name).cloned().unwrap_or(json!([]));
            assert_eq!(shown, *value, "{name} is kept");
        }
        assert_eq!(cluster.run("web", 2).await, tasks, "{change}");
    }
    for change in
        [json!({"cmd": "exec sleep 2000"}), json!({"mem": 48}), json!({"healthChecks": []})]
    {
        let answer = cluster.put("/v2/apps/web?dryRun=true", &change).await;
        dry("restarted", &answer);
        assert_eq!(actions(&answer["steps"]), [["RestartApplication /web"]]);
    }
    let answer = cluster.put("/v2/apps/web?dryRun=true", &json!({"instances": 5})).await;
    assert_eq!(actions(&answer["steps"]), [["ScaleApplication /web"]]);
    let group = json!({"apps": [sleeper("web"), sleeper("new")]});
    let (status, answer) =
        cluster.send(Method::PUT, "/v2/groups?dryRun=true&diff=true", &group).await;
    assert_eq!(status, 200, "{answer}");
    let plan = actions(&answer["steps"]);
    assert_eq!(plan[0], ["StartApplication /new"], "{answer}");
    assert_eq!(plan[1], ["RestartApplication /web", "ScaleApplication /new"], "{answer}");
    assert_eq!(cluster.run("web", 2).await, tasks, "nothing was done");
    assert_eq!(cluster.ask(Method::GET, "/v2/apps/new").await.0, 404);
}

#[tokio::test]
async fn new_instances_count_once_they_are_healthy_and_the_old_stay_till_then() {
    let cluster = Cluster::start().await;
    let app = gated(&cluster, "/web", "first");
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &app).await;
    cluster.run("web", 1).await;
    let told = until_async("it waits for health", PATIENCE, async || {
        let told = cluster.under_way().await?;
        let why = told["waitsFor"][0]["why"].as_str()?;
        why.contains("without a health result yet").then_some(told)
    })
    .await;
    assert_eq!(told["currentStep"], told["totalSteps"], "{told}");
    open(&cluster, "first");
    cluster.deployed().await;
    let old = cluster.run("web", 1).await;

    let answer = cluster.put("/v2/apps/web", &gated(&cluster, "/web", "second")).await;
    let both = cluster.run("web", 2).await;
    assert!(both.contains(&old[0]), "the old one is not replaced before another is well");
    open(&cluster, "second");
    cluster.deployed().await;
    let new = cluster.run("web", 1).await;
    assert!(!new.contains(&old[0]) && both.contains(&new[0]));
    assert_eq!(cluster.ended(&deployment(&answer)).await["outcome"], "succeeded");
    let app = cluster.json("/v2/apps/web").await.expect("it is there");
    let counts = ["tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy"];
    assert_eq!(counts.map(|it| app["app"][it].as_u64()), [Some(0), Some(1), Some(1), Some(0)]);
}

#[tokio::test]
async fn an_app_goes_back_to_a_version_of_old() {
    let cluster = Cluster::start().await;
    cluster.deploy(&sleeper("/web")).await;
    let version = |app: Value| app["app"]["version"].as_str().expect("a version").to_owned();
    let first = version(cluster.json("/v2/apps/web").await.expect("it is there"));
    cluster.change("/v2/apps/web", &json!({"cmd": "exec sleep 2000", "instances": 2})).await;
    cluster.run("web", 2).await;
    cluster.change("/v2/apps/web", &json!({"version": first})).await;
    let shown = cluster.json("/v2/apps/web").await.expect("it is there");
    assert_eq!(
        (&shown["app"]["cmd"], &shown["app"]["instances"]),
        (&json!("exec sleep 1000"), &json!(1))
    );
    cluster.run("web", 1).await;
    let versions = cluster.json("/v2/apps/web/versions").await.expect("some");
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(3));
    assert_eq!(versions["versions"][2], first.as_str(), "the newest comes first");
    let (status, answer) = cluster
        .send(Method::PUT, "/v2/apps/web", &json!({"version": "2001-01-01T00:00:00.000Z"}))
        .await;
    assert_eq!(status, 404, "{answer}");
    let both = json!({"version": first, "instances": 3});
    let (status, answer) = cluster.send(Method::PUT, "/v2/apps/web", &both).await;
    assert_eq!(status, 422, "{answer}");
}
