//! Ports and roles: what of an agent an app may take.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, sleeper};
use crate::harness::{PATIENCE, until_async};

fn with_ports(id: &str, instances: usize, ports: &Value) -> Value {
    let mut app = sleeper(id);
    app["instances"] = instances.into();
    app["portDefinitions"] = ports.clone();
    app["requirePorts"] = true.into();
    app
}

/// The ports of the tasks of an app, in order.
async fn ports(cluster: &Cluster, app: &str) -> Vec<Value> {
    let tasks = cluster.tasks(app).await.into_iter();
    let mut ports: Vec<_> = tasks.map(|task| task["ports"].clone()).collect();
    ports.sort_by_key(Value::to_string);
    ports
}

#[tokio::test]
async fn a_host_port_is_given_once_on_each_agent_that_has_it() {
    let cluster = Cluster::start().await;
    // The ranges of agents are apart, so a number is on one agent alone.
    cluster.deploy(&with_ports("/first", 1, &json!([{"port": 31005}]))).await;
    assert_eq!(cluster.hosts("first").await, ["a.test"]);
    assert_eq!(ports(&cluster, "first").await, [json!([31005])]);
    let second = with_ports("/second", 1, &json!([{"port": 31005}]));
    let refused = cluster.try_out(&second, 3).await;
    for (_, reason, why) in &refused {
        assert_eq!((&**reason, &**why), ("InsufficientPorts", "port 31005 is not free"));
    }
    let last = cluster.queued("second").await.expect("it waits");
    let last = &last["processedOffersSummary"]["rejectSummaryLastOffers"];
    assert_eq!(last[8], json!({"reason": "InsufficientPorts", "declined": 3, "processed": 3}));
    // Who waits gets it as soon as it is free.
    let (status, answer) = cluster.ask(Method::DELETE, "/v2/apps/first").await;
    assert_eq!(status, 200, "{answer}");
    cluster.deployed().await;
    assert_eq!(ports(&cluster, "second").await, [json!([31005])]);

    // Several, of which some are any.
    cluster.deploy(&with_ports("/many", 1, &json!([{"port": 32001}, {"port": 32009}]))).await;
    assert_eq!(cluster.hosts("many").await, ["b.test"]);
    assert_eq!(ports(&cluster, "many").await, [json!([32001, 32009])]);
    let apart = with_ports("/apart", 1, &json!([{"port": 31001}, {"port": 33001}]));
    let refused = cluster.try_out(&apart, 3).await;
    let why: Vec<&str> = refused.iter().map(|(_, _, why)| &**why).collect();
    let (low, high) = ("port 31001 is not free", "port 33001 is not free");
    assert_eq!(why, [high, low, low], "no agent has both");
}

#[tokio::test]
async fn one_number_serves_tcp_and_udp_and_any_number_serves_without_need_of_one() {
    let cluster = Cluster::start().await;
    let both = json!([
        {"port": 33053, "protocol": "tcp", "name": "dns-tcp"},
        {"port": 33053, "protocol": "udp", "name": "dns-udp"},
    ]);
    cluster.deploy(&with_ports("/dns", 1, &both)).await;
    assert_eq!(cluster.hosts("dns").await, ["c.test"]);
    assert_eq!(ports(&cluster, "dns").await, [json!([33053, 33053])]);

    // Without requirePorts the number is that of the service, and each instance has a port of its own.
    let mut any = with_ports("/any", 4, &json!([{"port": 10_101}, {"port": 0}]));
    any["requirePorts"] = false.into();
    cluster.deploy(&any).await;
    let given = ports(&cluster, "any").await;
    let mut numbers: Vec<u64> = given
        .iter()
        .flat_map(|it| it.as_array().expect("a list"))
        .filter_map(Value::as_u64)
        .collect();
    assert!(numbers.iter().all(|port| (31_000..34_000).contains(port)), "{numbers:?}");
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 8, "{given:?}");
    let shown = cluster.json("/v2/apps/any").await.expect("it is there");
    assert_eq!(shown["app"]["portDefinitions"][0]["port"], 10_101);
}

#[tokio::test]
async fn an_app_takes_what_its_role_and_those_it_accepts_give_it() {
    let flags = ["--mesos_role=web"];
    let cluster = Cluster::start_with(&flags).await;
    // Two cores of one agent are kept for the role.
    let slaves = cluster.world.json(&cluster.master.address, "/slaves").await.expect("it leads");
    let slaves = slaves["slaves"].as_array().expect("a list");
    let slave = slaves.iter().find(|it| it["hostname"] == "b.test").expect("it is there");
    let reserve = |name: &str, amount: u32| {
        json!({"name": name, "type": "SCALAR", "scalar": {"value": amount},
               "reservations": [{"type": "DYNAMIC", "role": "web"}]})
    };
    let call = json!({"type": "RESERVE_RESOURCES", "reserve_resources": {
        "agent_id": {"value": slave["id"]},
        "resources": [reserve("cpus", 2), reserve("mem", 512)],
    }});
    let master = &cluster.master.address;
    let (status, answer) = cluster.world.send(Method::POST, master, "/api/v1", &call).await;
    assert_eq!(status, 202, "{answer}");

    let app = |id: &str, cpus: f64, accepted: Value| {
        let mut app = sleeper(id);
        app["cpus"] = cpus.into();
        app["acceptedResourceRoles"] = accepted;
        app
    };
    // Only b has anything of the role, and there is no port among it.
    let mut kept = app("/kept", 1.0, json!(["web"]));
    kept["portDefinitions"] = json!([]);
    cluster.deploy(&kept).await;
    assert_eq!(cluster.hosts("kept").await, ["b.test"]);
    let mut most = app("/most", 1.5, json!(["web"]));
    most["portDefinitions"] = json!([]);
    let refused = cluster.try_out(&most, 3).await;
    let reasons: Vec<&str> = refused.iter().map(|(_, reason, _)| &**reason).collect();
    assert_eq!(reasons, ["UnfulfilledRole", "InsufficientCpus", "UnfulfilledRole"]);
    assert_eq!(refused[0].2, "no resources of an accepted role (web)");
    cluster.delete("/v2/apps/most?force=true").await;

    // What is nobody's, or both: only so it has three cores of b.
    let mut free = app("/free", 3.0, json!(["*"]));
    free["constraints"] = json!([["hostname", "IS", "b.test"]]);
    let refused = cluster.try_out(&free, 3).await;
    assert_eq!(&*refused[1].1, "InsufficientCpus", "{refused:?}");
    cluster
        .change("/v2/apps/free?force=true", &json!({"acceptedResourceRoles": ["*", "web"]}))
        .await;
    assert_eq!(cluster.hosts("free").await, ["b.test"]);

    // A role that is neither its own nor everybody's is no role of it.
    let other = app("/other", 0.1, json!(["*", "shop"]));
    let (status, answer) = cluster.send(Method::POST, "/v2/apps", &other).await;
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["details"][0]["path"], "/acceptedResourceRoles(1)");
    let mut wrong = sleeper("/other");
    wrong["role"] = "shop".into();
    let (status, answer) = cluster.send(Method::POST, "/v2/apps", &wrong).await;
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["details"][0]["path"], "/role");

    // In a group of that name it is, and has offers of its own.
    let mut shop = sleeper("/shop/web");
    shop["role"] = "shop".into();
    cluster.deploy(&shop).await;
    let tasks = cluster.tasks("shop/web").await;
    assert_eq!(tasks[0]["role"], "shop");
    until_async("the framework is in both roles", PATIENCE, async || {
        let state = cluster.world.json(master, "/frameworks").await?;
        let roles = state["frameworks"][0]["roles"].as_array()?;
        (roles.contains(&json!("shop")) && roles.contains(&json!("web"))).then_some(())
    })
    .await;
}
