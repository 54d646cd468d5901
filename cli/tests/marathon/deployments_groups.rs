//! Deployments of several apps: layers, locks, what is taken back, and groups as a whole.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, sleeper};
use crate::deployments::{actions, gated, open};
use crate::harness::{PATIENCE, until_async};
use crate::seen::deployment;

#[tokio::test]
async fn what_others_depend_on_serves_before_they_start() {
    let cluster = Cluster::start().await;
    let mut group = json!({
        "groups": [
            {"id": "db", "apps": [gated(&cluster, "one", "db"), gated(&cluster, "two", "db")]},
            {"id": "mid", "dependencies": ["../db"], "apps": [gated(&cluster, "api", "mid")]},
        ],
        "apps": [sleeper("web")],
    });
    group["apps"][0]["dependencies"] = json!(["mid/api"]);
    let answer = cluster.put("/v2/groups/shop", &group).await;
    let plan = cluster.under_way().await.expect("it has begun");
    assert_eq!(
        actions(&plan["steps"]),
        [
            vec![
                "StartApplication /shop/db/one",
                "StartApplication /shop/db/two",
                "StartApplication /shop/mid/api",
                "StartApplication /shop/web",
            ],
            vec!["ScaleApplication /shop/db/one", "ScaleApplication /shop/db/two"],
            vec!["ScaleApplication /shop/mid/api"],
            vec!["ScaleApplication /shop/web"],
        ]
    );
    let layers = [("db", vec!["db/one", "db/two"]), ("mid", vec!["mid/api"])];
    for (at, (gate, apps)) in layers.iter().enumerate() {
        for app in apps {
            cluster.run(&format!("shop/{app}"), 1).await;
        }
        let later = layers[at + 1..].iter().flat_map(|(_, apps)| apps).chain([&"web"]);
        for app in later {
            assert!(cluster.tasks(&format!("shop/{app}")).await.is_empty(), "{app} waits");
        }
        let told = cluster.under_way().await.expect("it waits for health");
        assert_eq!(told["currentStep"], at + 2, "{told}");
        open(&cluster, gate);
    }
    cluster.deployed().await;
    assert_eq!(cluster.ended(&deployment(&answer)).await["outcome"], "succeeded");

    // What depends on what has changed is not touched.
    let web = cluster.run("shop/web", 1).await;
    cluster.change("/v2/apps/shop/db/one", &json!({"env": {"ROUND": "2"}})).await;
    assert_eq!(cluster.run("shop/web", 1).await, web);
    let ring = json!({"dependencies": ["/shop/web"]});
    let (status, answer) = cluster.send(Method::PUT, "/v2/apps/shop/db/one", &ring).await;
    assert_eq!(status, 422, "{answer}");
}

#[tokio::test]
async fn a_deployment_locks_its_apps_until_it_is_done_or_forced_out() {
    let cluster = Cluster::start().await;
    let app = gated(&cluster, "/shop/web", "never");
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &app).await;
    let id = cluster.under_way().await.expect("it waits")["id"].clone();
    let group = json!({"apps": [sleeper("web")]});
    for (method, path, body) in [
        (Method::PUT, "/v2/apps/shop/web", json!({"instances": 2})),
        (Method::PATCH, "/v2/apps/shop/web", json!({"instances": 2})),
        (Method::POST, "/v2/apps/shop/web/restart", json!({})),
        (Method::PUT, "/v2/groups/shop", group),
        (Method::PUT, "/v2/groups/shop", json!({"scaleBy": 2})),
        (Method::DELETE, "/v2/groups/shop", json!({})),
        (Method::DELETE, "/v2/apps/shop/web?force=false", json!({})),
        (Method::DELETE, "/v2/apps/shop/web/tasks?scale=true", json!({})),
    ] {
        if path.ends_with("scale=true") {
            cluster.run("shop/web", 1).await;
        }
        let (status, answer) = cluster.send(method.clone(), path, &body).await;
        assert_eq!(status, 409, "{method} {path}: {answer}");
        assert_eq!(answer["deployments"], json!([{"id": id}]), "{method} {path}");
        let text = answer["message"].as_str().expect("a message");
        assert!(text.starts_with("App is locked by one or more deployments."), "{text}");
    }
    // Others are free.
    let (status, answer) = cluster.send(Method::POST, "/v2/apps", &sleeper("/shop/other")).await;
    assert_eq!(status, 201, "{answer}");
    cluster.run("shop/other", 1).await;

    let forced = cluster.put("/v2/apps/shop/web?force=true", &json!({"healthChecks": []})).await;
    cluster.deployed().await;
    cluster.run("shop/web", 1).await;
    assert_eq!(cluster.ended(id.as_str().expect("an id")).await["outcome"], "overridden");
    assert_eq!(cluster.ended(&deployment(&forced)).await["outcome"], "succeeded");
}

#[tokio::test]
async fn what_is_under_way_is_taken_back_or_left_where_it_is() {
    let cluster = Cluster::start().await;
    cluster.deploy(&sleeper("/shop/web")).await;
    let old = cluster.run("shop/web", 1).await;
    let upgrade =
        json!({"apps": [gated(&cluster, "web", "never"), gated(&cluster, "new", "never")]});
    let first = deployment(&cluster.put("/v2/groups/shop", &upgrade).await);
    cluster.run("shop/web", 2).await;
    // Meanwhile somebody else changes what it is not about.
    cluster.world.create(&cluster.marathon.address, "/v2/apps", &sleeper("/shop/third")).await;
    cluster.run("shop/third", 1).await;

    let (status, answer) = cluster.ask(Method::DELETE, &format!("/v2/deployments/{first}")).await;
    assert_eq!(status, 200, "{answer}");
    let back = deployment(&answer);
    assert_ne!(back, first, "it is a deployment of its own");
    cluster.deployed().await;
    assert_eq!(cluster.run("shop/web", 1).await, old, "who was there stays");
    let shown = cluster.json("/v2/apps/shop/web").await.expect("it is there");
    assert!(shown["app"].get("healthChecks").is_none(), "{shown}");
    assert_eq!(
        cluster.ask(Method::GET, "/v2/apps/shop/new").await.0,
        404,
        "it went with what made it"
    );
    cluster.run("shop/third", 1).await;
    assert_eq!(cluster.ended(&first).await["outcome"], "reverted");
    assert_eq!(cluster.ended(&back).await["outcome"], "succeeded");

    // With force it only stops: the new definition stays, and so does what is there.
    let second = cluster.put("/v2/apps/shop/web", &gated(&cluster, "/shop/web", "never")).await;
    let second = deployment(&second);
    let both = cluster.run("shop/web", 2).await;
    let (status, answer) =
        cluster.ask(Method::DELETE, &format!("/v2/deployments/{second}?force=true")).await;
    assert_eq!((status, answer), (202, Value::Null));
    assert_eq!(cluster.json("/v2/deployments").await, Some(json!([])));
    assert_eq!(cluster.ended(&second).await["outcome"], "cancelled");
    let shown = cluster.json("/v2/apps/shop/web").await.expect("it is there");
    assert!(shown["app"].get("healthChecks").is_some(), "{shown}");
    assert!(both.contains(&old[0]));
    let (status, answer) = cluster.ask(Method::DELETE, &format!("/v2/deployments/{second}")).await;
    assert_eq!(status, 404, "{answer}");
    assert_eq!(answer["message"], format!("DeploymentPlan {second} does not exist"));
}

#[tokio::test]
async fn a_group_is_scaled_and_goes_back_as_a_whole() {
    let cluster = Cluster::start().await;
    let with = |id: &str, instances: u32| {
        let mut app = sleeper(id);
        app["instances"] = instances.into();
        app
    };
    let group = json!({"apps": [with("one", 1), with("three", 3)],
                       "groups": [{"id": "in", "apps": [with("two", 2)]}]});
    let answer = cluster.put("/v2/groups/shop", &group).await;
    let first = answer["version"].clone();
    cluster.deployed().await;
    for (app, instances) in [("one", 1), ("three", 3), ("in/two", 2)] {
        cluster.run(&format!("shop/{app}"), instances).await;
    }
    let kept = cluster.run("shop/three", 3).await;
    cluster.change("/v2/groups/shop", &json!({"scaleBy": 1.5})).await;
    for (app, instances) in [("one", 2), ("three", 5), ("in/two", 3)] {
        cluster.run(&format!("shop/{app}"), instances).await;
    }
    assert!(cluster.run("shop/three", 5).await.iter().filter(|it| kept.contains(it)).count() == 3);
    let body = json!({"scaleBy": 2, "version": first});
    let (status, answer) = cluster.send(Method::PUT, "/v2/groups/shop", &body).await;
    assert_eq!(status, 422, "{answer}");

    // One goes, one comes, and all of it goes back.
    let changed = json!({"apps": [with("one", 1), with("four", 1)]});
    cluster.change("/v2/groups/shop", &changed).await;
    let ids = async || {
        let apps = cluster.json("/v2/groups/shop/apps").await.unwrap_or_default();
        let apps = apps.as_array().into_iter().flatten();
        let mut ids: Vec<_> =
            apps.filter_map(|app| app["id"].as_str().map(str::to_owned)).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids().await, ["/shop/four", "/shop/one"]);
    cluster.change("/v2/groups/shop", &json!({"version": first})).await;
    assert_eq!(ids().await, ["/shop/in/two", "/shop/one", "/shop/three"]);
    for (app, instances) in [("one", 1), ("three", 3), ("in/two", 2)] {
        cluster.run(&format!("shop/{app}"), instances).await;
    }
    let versions = cluster.json("/v2/groups/shop/versions").await.expect("some");
    assert!(versions.as_array().is_some_and(|all| all.contains(&first)), "{versions}");
    cluster.delete("/v2/groups/shop").await;
    assert_eq!(cluster.ask(Method::GET, "/v2/groups/shop").await.0, 404);
    until_async("nothing runs any more", PATIENCE, async || {
        cluster.world.leftovers().is_empty().then_some(())
    })
    .await;
}
