//! Where instances go as apps change and agents come, and what is said of those that can go nowhere.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Place, sleeper};
use crate::harness::{PATIENCE, agora, until_async};

/// One more agent at home, in a zone of its own.
const MORE: Place = Place { hostname: "d.test", rack: "r3", region: "east", zone: "e4" };

fn constrained(id: &str, instances: usize, constraints: &Value) -> Value {
    let mut app = sleeper(id);
    app["instances"] = instances.into();
    app["constraints"] = constraints.clone();
    app
}

#[tokio::test]
async fn a_running_app_moves_as_its_constraints_change() {
    let cluster = Cluster::start().await;
    cluster.deploy(&constrained("/web", 3, &json!([["hostname", "UNIQUE"]]))).await;
    let everywhere = ["a.test", "b.test", "c.test"];
    assert_eq!(cluster.hosts("web").await, everywhere);
    let before = cluster.run("web", 3).await;
    for (constraints, expected) in [
        (json!([["hostname", "CLUSTER", "c.test"]]), ["c.test"; 3]),
        // The old ones are on the only agent that is full of them, and are not compared with.
        (json!([["hostname", "UNIQUE"]]), everywhere),
        (json!([["rack", "LIKE", "r2"], ["hostname", "MAX_PER", "3"]]), ["c.test"; 3]),
        (json!([["@zone", "GROUP_BY"]]), everywhere),
    ] {
        cluster.change("/v2/apps/web", &json!({"constraints": constraints})).await;
        assert_eq!(cluster.hosts("web").await, expected, "{constraints}");
    }
    let after = cluster.run("web", 3).await;
    assert!(after.iter().all(|task| !before.contains(task)));
}

#[tokio::test]
async fn who_is_spread_stays_spread_with_more_and_fewer_instances_and_agents() {
    let mut cluster = Cluster::start().await;
    cluster.deploy(&constrained("/web", 6, &json!([["@zone", "GROUP_BY"]]))).await;
    let count = |hosts: &[String], host: &str| hosts.iter().filter(|it| *it == host).count();
    let spread =
        |hosts: &[String]| ["a.test", "b.test", "c.test", "d.test"].map(|it| count(hosts, it));
    assert_eq!(spread(&cluster.hosts("web").await), [2, 2, 2, 0]);
    for (instances, expected) in [(3, [1, 1, 1, 0]), (9, [3, 3, 3, 0])] {
        cluster.change("/v2/apps/web", &json!({"instances": instances})).await;
        cluster.run("web", instances).await;
        assert_eq!(spread(&cluster.hosts("web").await), expected);
    }
    // Nobody moves for an agent that comes; who comes next goes there, and a restart spreads all anew.
    cluster.start_another(&MORE).await;
    cluster.change("/v2/apps/web", &json!({"instances": 12})).await;
    cluster.run("web", 12).await;
    assert_eq!(spread(&cluster.hosts("web").await), [3, 3, 3, 3]);
    cluster.change("/v2/apps/web", &json!({"instances": 8})).await;
    cluster.run("web", 8).await;
    let (status, answer) = cluster.ask(Method::POST, "/v2/apps/web/restart").await;
    assert_eq!(status, 200, "{answer}");
    cluster.deployed().await;
    cluster.run("web", 8).await;
    assert_eq!(spread(&cluster.hosts("web").await), [2, 2, 2, 2]);
}

#[tokio::test]
async fn a_rebalance_moves_those_that_are_one_too_many_and_nobody_else() {
    let mut cluster = Cluster::start().await;
    let path = "/agora/v1/apps/web/rebalance";
    cluster.deploy(&constrained("/web", 4, &json!([["rack", "GROUP_BY"]]))).await;
    let before = cluster.run("web", 4).await;
    let racks = |hosts: &[String]| {
        ["a.test b.test", "c.test", "d.test"]
            .map(|rack| hosts.iter().filter(|host| rack.contains(host.as_str())).count())
    };
    assert_eq!(racks(&cluster.hosts("web").await), [2, 2, 0]);
    let (status, answer) = cluster.ask(Method::POST, path).await;
    assert_eq!((status, answer), (200, json!({"message": "Nothing of /web needs to move"})));

    // Of the agent that comes it is known once it is offered.
    cluster.start_another(&MORE).await;
    cluster.deploy(&constrained("/probe", 1, &json!([["hostname", "CLUSTER", "d.test"]]))).await;
    let (status, answer) = cluster.ask(Method::POST, path).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["deploymentId"].is_string() && answer["version"].is_string(), "{answer}");
    cluster.deployed().await;
    let after = cluster.run("web", 4).await;
    let mut at = racks(&cluster.hosts("web").await);
    at.sort_unstable();
    assert_eq!(at, [1, 1, 2]);
    let stayed = after.iter().filter(|task| before.contains(task)).count();
    assert_eq!(stayed, 3, "one has moved: {before:?} {after:?}");

    let rack = Place { hostname: "e.test", rack: "r4", region: "east", zone: "e4" };
    cluster.start_another(&rack).await;
    cluster.deploy(&constrained("/other", 1, &json!([["hostname", "CLUSTER", "e.test"]]))).await;
    let verb = ["app", "rebalance", "/web"];
    let agora = || agora(&verb, &cluster.master.address, &cluster.marathon.address);
    let (code, out, err) = agora();
    assert_eq!((code, &*out), (Some(0), "/web rebalanced\n"), "{err}");
    let hosts = cluster.hosts("web").await;
    assert_eq!((racks(&hosts), hosts.len()), ([1, 1, 1], 4), "{hosts:?}");
    let (code, out, err) = agora();
    assert_eq!((code, &*out), (Some(0), "Nothing of /web needs to move\n"), "{err}");
}

#[tokio::test]
async fn one_on_every_agent_follows_the_agents() {
    let mut cluster = Cluster::start().await;
    let mut app = constrained("/agent", 1, &json!([["rack", "UNLIKE", "r1"]]));
    app["labels"] = json!({"AGORA_ONE_PER_AGENT": "true"});
    cluster.deploy(&app).await;
    cluster.run("agent", 1).await;
    assert_eq!(cluster.hosts("agent").await, ["c.test"]);
    cluster.change("/v2/apps/agent", &json!({"constraints": []})).await;
    cluster.run("agent", 3).await;
    assert_eq!(cluster.hosts("agent").await, ["a.test", "b.test", "c.test"]);
    cluster.start_another(&MORE).await;
    cluster.run("agent", 4).await;
    assert_eq!(cluster.hosts("agent").await, ["a.test", "b.test", "c.test", "d.test"]);
    cluster.change("/v2/apps/agent", &json!({"instances": 0})).await;
    cluster.run("agent", 0).await;
}

#[tokio::test]
async fn what_no_agent_can_meet_is_told_for_each() {
    let cluster = Cluster::start().await;
    // Of the agents that fit the last instance is refused because of those that are there.
    let cases: [(&str, usize, Value, [&str; 3]); 6] = [
        ("is", 1, json!([["rack", "IS", "r9"]]), ["r1", "r1", "r2"]),
        ("part", 1, json!([["hostname", "LIKE", "test"]]), ["a.test", "b.test", "c.test"]),
        ("unlike", 1, json!([["@zone", "UNLIKE", "e."]]), ["e1", "e2", "e3"]),
        ("unique", 4, json!([["hostname", "UNIQUE"]]), ["a.test", "b.test", "c.test"]),
        ("most", 5, json!([["@region", "MAX_PER", "4"]]), ["east"; 3]),
        ("none", 1, json!([["disks", "CLUSTER", "fast"]]), [""; 3]),
    ];
    for (id, instances, constraints, found) in cases {
        let app = constrained(&format!("/{id}"), instances, &constraints);
        let refused = cluster.try_out(&app, 3).await;
        let parts: Vec<&str> =
            constraints[0].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let words =
            |found: &str| format!("constraint {} does not hold for '{found}'", parts.join(":"));
        let hosts = ["a.test", "b.test", "c.test"];
        for ((host, reason, why), (expected, found)) in refused.iter().zip(hosts.iter().zip(found))
        {
            assert_eq!((&**host, &**reason), (*expected, "UnfulfilledConstraint"), "{id}");
            assert_eq!(*why, words(found), "{id}");
        }
        let queued = until_async("the queue tells it too", PATIENCE, async || {
            let queued = cluster.queued(id).await?;
            let last = &queued["processedOffersSummary"]["rejectSummaryLastOffers"][1];
            (last["declined"] == 3).then_some(queued)
        })
        .await;
        let summary = &queued["processedOffersSummary"];
        let last = &summary["rejectSummaryLastOffers"];
        assert_eq!(last[0], json!({"reason": "UnfulfilledRole", "declined": 0, "processed": 3}));
        assert_eq!(
            last[1],
            json!({"reason": "UnfulfilledConstraint", "declined": 3, "processed": 3})
        );
        assert_eq!(last[2]["processed"], 0, "{last}");
        assert_eq!(queued["count"], 1, "{id} lacks one");
        let offers = queued["lastUnusedOffers"].as_array().expect("a list");
        let offered: Vec<_> =
            offers.iter().map(|it| it["reason"] == json!(["UnfulfilledConstraint"])).collect();
        assert_eq!(offered, [true; 3]);
        let (status, _) = cluster.ask(Method::DELETE, &format!("/v2/apps/{id}?force=true")).await;
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn what_is_spread_counts_agents_that_others_have_filled() {
    let cluster = Cluster::start().await;
    let mut filler = sleeper("/filler");
    (filler["cpus"], filler["mem"]) = (4.into(), 2048.into());
    filler["constraints"] = json!([["hostname", "IS", "c.test"]]);
    cluster.deploy(&filler).await;
    // This one is never offered what is on the other rack.
    let flags = ["--framework_name=second"];
    let second = cluster.world.start_marathon_with("second", &cluster.master.address, &flags).await;
    let mut app = sleeper("/web");
    app["instances"] = 4.into();
    app["constraints"] = json!([["rack", "GROUP_BY"]]);
    cluster.world.create(&second.address, "/v2/apps", &app).await;
    let waits = async || {
        let queue = cluster.world.json(&second.address, "/v2/queue?embed=lastUnusedOffers").await?;
        let entry = &queue["queue"][0];
        let is_refused = entry["lastUnusedOffers"].to_string().contains("UnfulfilledConstraint");
        (entry["count"] == 3 && is_refused).then_some(())
    };
    until_async("three wait for the other rack", PATIENCE, waits).await;
    cluster.ask(Method::DELETE, "/v2/apps/filler").await;
    let deployed = cluster.world.deployed(&second.address);
    tokio::time::timeout(PATIENCE / 2, deployed).await.expect("there is room on both racks");
    let tasks = cluster.world.tasks(&second.address, "web").await;
    let on_second = tasks.iter().filter(|task| task["host"] == "c.test").count();
    assert_eq!((tasks.len(), on_second), (4, 2));
}
