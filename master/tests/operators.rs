//! What operators ask of a master, over real sockets, in JSON and in protobuf.

mod common;

use common::{Alone, FakeAgent, Operator, agent_info, cores_of, operators, subscribe_call};
use model::link::ToAgent;
use serde_json::{Value, json};

#[tokio::test]
async fn weights_are_set_and_shown_in_both_ways() {
    let master = Alone::started().await;
    operators(&master, async |operator| {
        let weights = |infos: Value| json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": infos}});
        operator.done(weights(json!([{"role": "web", "weight": 2.5}]))).await;
        let (_, answer) = operator.call(&json!({"type": "GET_WEIGHTS"})).await;
        let infos = &answer["get_weights"]["weight_infos"];
        assert_eq!(*infos, json!([{"role": "web", "weight": 2.5}]));
        let bad = weights(json!([{"role": "web", "weight": 0}]));
        let why = "Invalid weight '0' for role 'web': Weights must be positive";
        operator.refused(bad, 400, why).await;
        let bad = weights(json!([{"role": "/web", "weight": 1}]));
        let why = "Role '/web' cannot start or end with a slash, nor have two in a row";
        operator.refused(bad, 400, why).await;
        let why = "Failed to validate master::Call: Expecting 'update_weights' to be present";
        operator.refused(json!({"type": "UPDATE_WEIGHTS"}), 400, why).await;
    })
    .await;

    let put = |body: &'static str| master.http.put(master.url("/weights")).body(body).send();
    let answer = put(r#"[{"role": "dev", "weight": 3}]"#).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let all = json!([{"role": "dev", "weight": 3.0}, {"role": "web", "weight": 2.5}]);
    assert_eq!(master.get("/weights").await, all);
    assert_eq!(master.get("/roles").await["roles"][0]["weight"], json!(3.0));
    assert_eq!(put("{}").await.expect("an answer").status(), 400);
}

#[tokio::test]
async fn agents_are_shown_with_what_they_can_do() {
    let master = Alone::started().await;
    let _agent = FakeAgent::registered(master.address()).await;
    let all = [
        "MULTI_ROLE",
        "HIERARCHICAL_ROLE",
        "RESERVATION_REFINEMENT",
        "RESOURCE_PROVIDER",
        "RESIZE_VOLUME",
        "AGENT_OPERATION_FEEDBACK",
        "AGENT_DRAINING",
        "TASK_RESOURCE_LIMITS",
    ];
    operators(&master, async |operator| {
        let agents = operator.ask("GET_AGENTS").await;
        let capabilities = agents["agents"][0]["capabilities"].as_array().expect("a list").clone();
        let names: Vec<_> = capabilities.iter().map(|capability| &capability["type"]).collect();
        assert_eq!(names, all);
    })
    .await;
    assert_eq!(master.get("/slaves").await["slaves"][0]["capabilities"], json!(all));
}

#[tokio::test]
async fn quota_is_set_and_shown_in_all_ways() {
    let master = Alone::started().await;
    operators(&master, async |operator| {
        let update = |config: Value| json!({"type": "UPDATE_QUOTA", "update_quota": {"force": true, "quota_configs": [config]}});
        let config = json!({
            "role": "web",
            "guarantees": {"cpus": {"value": 1.5}},
            "limits": {"cpus": {"value": 2.0}},
        });
        operator.done(update(config.clone())).await;
        let (_, answer) = operator.call(&json!({"type": "GET_QUOTA"})).await;
        let status = &answer["get_quota"]["status"];
        assert_eq!(status["configs"], json!([config]));
        assert_eq!(status["infos"][0]["guarantee"][0]["scalar"]["value"], 1.5);
        let quota = &master.get("/roles").await["roles"][0]["quota"];
        let shown = json!({"role": "web", "guarantee": {"cpus": 1.5}, "limit": {"cpus": 2.0}, "consumed": {}});
        assert_eq!(*quota, shown);
        let bad = update(json!({"role": "web", "limits": {"cpus": {"value": -1.0}}}));
        let why = "Invalid QuotaConfig: 'cpus' of role 'web' must be a number from 0 on";
        operator.refused(bad, 400, why).await;
        let remove = json!({"type": "REMOVE_QUOTA", "remove_quota": {"role": "web"}});
        operator.done(remove.clone()).await;
        operator.refused(remove, 400, "Role 'web' has no quota").await;
    })
    .await;

    let post = |body: &'static str| master.http.post(master.url("/quota")).body(body).send();
    let old = r#"{"role": "dev", "force": true, "guarantee": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 3}}]}"#;
    let unforced = r#"{"role": "dev", "guarantee": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 3}}]}"#;
    assert_eq!(post(unforced).await.expect("an answer").status(), 409, "there are no agents");
    assert_eq!(post(old).await.expect("an answer").status(), 200);
    assert_eq!(post(old).await.expect("an answer").status(), 400, "it is there already");
    let limits = &master.get("/quota").await["configs"][0]["limits"];
    assert_eq!(*limits, json!({"cpus": {"value": 3.0}}), "a guarantee is a limit as well");
    let delete = || master.http.delete(master.url("/quota/dev")).send();
    assert_eq!(delete().await.expect("an answer").status(), 200);
    assert_eq!(delete().await.expect("an answer").status(), 400);
    let reset = json!({"configs": [{"role": "dev"}, {"role": "web"}]});
    assert_eq!(master.get("/quota").await, reset, "that they had one is to be seen");
}

#[tokio::test]
async fn a_role_has_the_sums_of_what_it_and_the_roles_below_it_have() {
    let master = Alone::started().await;
    let mut info = agent_info(5051);
    info.resources.extend([cores_of("web", 1.0), cores_of("web/shop", 0.5)]);
    let _agent = FakeAgent::registered_with(master.address(), &info).await;
    let mut call = subscribe_call();
    call["subscribe"]["framework_info"]["role"] = json!("web/shop");
    let (_, mut events) = master.subscribe(&call).await;
    let id = events.next().await.expect("an event")["subscribed"]["framework_id"].clone();
    while events.next().await.expect("an offer")["type"] != "OFFERS" {}
    operators(&master, async |operator| {
        let (_, answer) = operator.call(&json!({"type": "GET_ROLES"})).await;
        let roles = answer["get_roles"]["roles"].as_array().expect("a list").clone();
        let names: Vec<_> = roles.iter().map(|role| &role["name"]).collect();
        assert_eq!(names, ["web", "web/shop"]);
        for role in &roles {
            let amount = |of: &Value| json!([of["name"], of["type"], of["scalar"]["value"]]);
            let sums = role["resources"].as_array().expect("a list").iter().map(amount);
            let wanted = [("cpus", 5.5), ("disk", 1_024.0), ("mem", 1_024.0)];
            let wanted = wanted.map(|(name, amount)| json!([name, "SCALAR", amount]));
            assert_eq!(sums.collect::<Vec<_>>(), wanted, "{role}");
        }
        assert_eq!(roles[1]["frameworks"], json!([id]));
        assert!(roles[0].get("frameworks").is_none(), "it is in the role below");
    })
    .await;
    let all = master.get("/roles").await;
    for (role, reserved) in [(&all["roles"][0], 1.5), (&all["roles"][1], 0.5)] {
        assert_eq!(role["resources"]["cpus"], json!(5.5), "{role}");
        assert_eq!(role["offered"]["cpus"], json!(5.5), "{role}");
        assert_eq!(role["offered"]["ports"], "[31000-31009]", "{role}");
        assert_eq!(role["allocated"]["cpus"], json!(0.0), "{role}");
        assert_eq!(role["reserved"]["cpus"], json!(reserved), "{role}");
        let consumed = json!({"cpus": 4.0 + reserved, "disk": 1_024.0, "mem": 1_024.0});
        assert_eq!(role["quota"]["consumed"], consumed, "{role}");
    }
    let framework = &master.get("/frameworks").await["frameworks"][0];
    for sum in ["offered_resources", "resources"] {
        assert_eq!(framework[sum]["cpus"], json!(5.5), "{framework}");
        assert_eq!(framework[sum]["ports"], "[31000-31009]", "{framework}");
    }
    assert_eq!(framework["used_resources"]["cpus"], json!(0.0), "{framework}");
}

/// The first agent, once it is drained.
async fn until_drained(operator: &Operator<'_>) -> Value {
    let look = async {
        loop {
            let (_, answer) = operator.call(&json!({"type": "GET_AGENTS"})).await;
            let shown = answer["get_agents"]["agents"][0].clone();
            if shown["drain_info"]["state"] == "DRAINED" {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(common::SOON, look).await.expect("in time")
}

#[tokio::test]
async fn agents_are_taken_out_of_service_and_put_back() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let id = json!({"value": agent.id.to_string()});
    let nobody = json!({"value": "nobody"});
    operators(&master, async |operator| {
        let call =
            |kind: &str, name: &str, id: &Value| json!({"type": kind, name: {"agent_id": id}});
        operator
            .refused(call("DEACTIVATE_AGENT", "deactivate_agent", &nobody), 400, "Unknown agent")
            .await;
        operator
            .refused(call("REACTIVATE_AGENT", "reactivate_agent", &nobody), 400, "Unknown agent")
            .await;
        operator.refused(call("DRAIN_AGENT", "drain_agent", &nobody), 400, "Unknown agent").await;
        operator
            .refused(call("MARK_AGENT_GONE", "mark_agent_gone", &nobody), 404, "Agent not found")
            .await;
        let reactivate = call("REACTIVATE_AGENT", "reactivate_agent", &id);
        operator.refused(reactivate.clone(), 400, "Agent is not deactivated").await;
        operator.done(call("DEACTIVATE_AGENT", "deactivate_agent", &id)).await;
        let (_, answer) = operator.call(&json!({"type": "GET_AGENTS"})).await;
        let shown = &answer["get_agents"]["agents"][0];
        assert_eq!((&shown["active"], &shown["deactivated"]), (&json!(false), &json!(true)));
        operator.done(reactivate.clone()).await;

        operator
            .done(json!({"type": "DRAIN_AGENT", "drain_agent": {
                "agent_id": id, "max_grace_period": {"seconds": 5}, "mark_gone": false,
            }}))
            .await;
        // Nothing runs there, so it is empty as soon as the masters have agreed on that.
        let shown = until_drained(&operator).await;
        let config = json!({
            "max_grace_period": {"nanoseconds": 5_000_000_000_i64}, "mark_gone": false,
        });
        assert_eq!(shown["drain_info"], json!({"state": "DRAINED", "config": config}));
        assert!(shown["estimated_drain_start_time"]["nanoseconds"].as_i64().is_some());
        operator.done(reactivate).await;
    })
    .await;
    for _ in 0..2 {
        let Some(ToAgent::Drain(drain)) = agent.hear().await else { panic!("not told") };
        assert_eq!(drain.grace_max, Some(std::time::Duration::from_secs(5)));
    }
}

#[tokio::test]
async fn maintenance_is_planned_begun_and_ended() {
    let master = Alone::started().await;
    let machine = json!({"hostname": "away", "ip": "10.1.2.3"});
    let window = json!({
        "machine_ids": [machine],
        "unavailability": {"start": {"nanoseconds": 5}, "duration": {"nanoseconds": 7}},
    });
    operators(&master, async |operator| {
        let plan = |windows: Value| {
            json!({"type": "UPDATE_MAINTENANCE_SCHEDULE",
                   "update_maintenance_schedule": {"schedule": {"windows": windows}}})
        };
        let machines =
            |kind: &str, name: &str| json!({"type": kind, name: {"machines": [machine]}});
        let start = machines("START_MAINTENANCE", "start_maintenance");
        let stop = machines("STOP_MAINTENANCE", "stop_maintenance");
        let named = "Machine 'away (10.1.2.3)'";
        let why = format!("{named} is not part of a maintenance schedule");
        operator.refused(start.clone(), 400, &why).await;
        let why = format!("{named} is not in DOWN mode and cannot be brought up");
        operator.refused(stop.clone(), 400, &why).await;
        let empty = json!([{"unavailability": {"start": {"nanoseconds": 5}}}]);
        let why = "List of machines in the maintenance window is empty";
        operator.refused(plan(empty), 400, why).await;
        let why = format!("{named} appears more than once in the schedule");
        operator.refused(plan(json!([window, window])), 400, &why).await;

        operator.done(plan(json!([window]))).await;
        let (_, answer) = operator.call(&json!({"type": "GET_MAINTENANCE_SCHEDULE"})).await;
        let schedule = &answer["get_maintenance_schedule"]["schedule"];
        assert_eq!(*schedule, json!({"windows": [window]}));
        let status = async || {
            let (_, answer) = operator.call(&json!({"type": "GET_MAINTENANCE_STATUS"})).await;
            answer["get_maintenance_status"]["status"].clone()
        };
        assert_eq!(status().await, json!({"draining_machines": [{"id": machine}]}));
        operator.done(start.clone()).await;
        assert_eq!(status().await, json!({"down_machines": [machine]}));
        let why = format!("{named} is not in DRAINING mode and cannot be brought down");
        operator.refused(start, 400, &why).await;
        let why = format!("{named} is deactivated and cannot be removed from the schedule");
        operator.refused(plan(json!([])), 400, &why).await;
        operator.done(stop).await;
        assert_eq!(status().await, json!({}));
    })
    .await;

    let body = json!({"windows": [window]});
    assert_eq!(master.post("/maintenance/schedule", &body).await.status(), 200);
    assert_eq!(master.get("/maintenance/schedule").await, body);
    assert_eq!(master.post("/machine/down", &json!([machine])).await.status(), 200);
    assert_eq!(master.get("/maintenance/status").await, json!({"down_machines": [machine]}));
    assert_eq!(master.post("/machine/up", &json!([machine])).await.status(), 200);
    assert_eq!(master.get("/maintenance/schedule").await, json!({}));
    let answer = master.post("/machine/up", &json!([{}])).await;
    assert_eq!(answer.status(), 400);
    let text = answer.text().await.expect("a body");
    assert_eq!(text, "Both 'hostname' and 'ip' for a machine are empty");
}

#[tokio::test]
async fn every_call_lacks_its_body_in_the_same_words() {
    let master = Alone::started().await;
    operators(&master, async |operator| {
        for (kind, name) in [
            ("GET_METRICS", "get_metrics"),
            ("SET_LOGGING_LEVEL", "set_logging_level"),
            ("LIST_FILES", "list_files"),
            ("READ_FILE", "read_file"),
            ("UPDATE_WEIGHTS", "update_weights"),
            ("UPDATE_MAINTENANCE_SCHEDULE", "update_maintenance_schedule"),
            ("START_MAINTENANCE", "start_maintenance"),
            ("STOP_MAINTENANCE", "stop_maintenance"),
            ("DRAIN_AGENT", "drain_agent"),
            ("DEACTIVATE_AGENT", "deactivate_agent"),
            ("REACTIVATE_AGENT", "reactivate_agent"),
            ("UPDATE_QUOTA", "update_quota"),
            ("SET_QUOTA", "set_quota"),
            ("REMOVE_QUOTA", "remove_quota"),
            ("TEARDOWN", "teardown"),
            ("MARK_AGENT_GONE", "mark_agent_gone"),
            ("RESERVE_RESOURCES", "reserve_resources"),
            ("UNRESERVE_RESOURCES", "unreserve_resources"),
            ("CREATE_VOLUMES", "create_volumes"),
            ("DESTROY_VOLUMES", "destroy_volumes"),
            ("GROW_VOLUME", "grow_volume"),
            ("SHRINK_VOLUME", "shrink_volume"),
        ] {
            let why = format!("Failed to validate master::Call: Expecting '{name}' to be present");
            operator.refused(json!({"type": kind}), 400, &why).await;
            // What is lacking is told before what nobody accepts.
            let request = master.http.post(master.url("/api/v1")).header("accept", "text/html");
            let request = request.header("content-type", "application/json");
            let answer = request.body(json!({"type": kind}).to_string()).send().await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), 400, "{kind}");
            assert_eq!(answer.text().await.expect("a body"), why);
        }
    })
    .await;
}

#[tokio::test]
async fn a_master_shows_its_own_log_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("agora-master.log");
    std::fs::write(&log, "0123456789").expect("a file");
    std::fs::write(dir.path().join("secret"), "secret").expect("a file");
    let log_file = Some(log.clone());
    let master = Alone::with(master::Options { log_file, ..master::Options::default() }).await;
    operators(&master, async |operator| {
        let read = |path: &str, offset: u64| {
            json!({"type": "READ_FILE", "read_file": {"path": path, "offset": offset, "length": 3}})
        };
        let (status, answer) = operator.call(&read("/master/log", 2)).await;
        assert_eq!(status, 200);
        assert_eq!(answer["read_file"], json!({"size": 10, "data": "MjM0"}));
        for other in ["secret", "/master/secret", "/master/log/../secret", "/etc/passwd"] {
            operator.refused(read(other, 0), 404, "").await;
        }
        let list = json!({"type": "LIST_FILES", "list_files": {"path": "/master/log"}});
        operator.refused(list, 400, "'/master/log' is not a directory.\n").await;
        let why = "Failed to validate master::Call: Expecting 'read_file' to be present";
        operator.refused(json!({"type": "READ_FILE"}), 400, why).await;
    })
    .await;
    for path in ["/master/log", log.to_str().expect("text")] {
        let part = master.get(&format!("/files/read?path={path}&offset=8")).await;
        assert_eq!(part, json!({"data": "89", "offset": 8}));
    }
    let known = master.get("/master/files/debug").await;
    assert_eq!(known, json!({"/master/log": log.display().to_string()}));
    master.running.stop().await;
}
