//! What operators are told when what they ask for cannot be: quotas, weights, plans, operations.

use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, operators};
use crate::words::{BOTH, amount, framework, launch, reserved, task, with};

fn quota(config: Value) -> Value {
    json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [config]}})
}

fn limits(role: &str, name: &str, value: Value) -> Value {
    json!({"role": role, "limits": {name: {"value": value}}})
}

#[tokio::test]
async fn a_quota_that_cannot_be_is_refused_with_the_reason() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let mut user =
        Scheduler::subscribed(&master, BOTH[0], &with(framework(), "role", json!("busy")), None)
            .await;
    let offer = user.offer_of(&agent.id).await;
    // What is offered counts as well.
    user.call(json!({"type": "SUPPRESS"})).await;
    user.accept(&[offer], launch(&[task("t", &agent.id)])).await;
    agent.launched().await;
    operators(&master, async |operator| {
        let web = |name: &str, value: Value| limits("web", name, value);
        let must = "must be a number from 0 on";
        let busy = "Role 'busy' consumes cpus:0.1 already, more than the limit cpus:0.05; use \
                    'force' to set it all the same";
        let crossed = json!({
            "role": "web", "guarantees": {"cpus": {"value": 2.0}}, "limits": {"cpus": {"value": 1.0}},
        });
        let too_much = json!({"role": "web", "guarantees": {"mem": {"value": 2_048.0}}});
        for (config, why) in [
            (limits("a//b", "cpus", json!(1.0)), "Role 'a//b' cannot start or end with a slash, nor \
              have two in a row".to_owned()),
            (limits("a/b", "cpus", json!(1.0)), "Setting quota on nested role 'a/b' is not supported".to_owned()),
            (limits("*", "cpus", json!(1.0)), "Setting quota on the default '*' role is not supported".to_owned()),
            (web("cpus", json!(-1.0)), format!("'cpus' of role 'web' {must}")),
            (web("cpus", json!("Infinity")), format!("'cpus' of role 'web' {must}")),
            (web("cpus", json!(1e-310)), format!("'cpus' of role 'web' {must}")),
            (web("cpus", json!(2e12)), "'cpus' of role 'web' is above the maximum 1000000000000".to_owned()),
            (web("mem", json!(2e12)), "'mem' of role 'web' is above the maximum 1099511627776".to_owned()),
            (web("disk", json!(2e12)), "'disk' of role 'web' is above the maximum 1099511627776".to_owned()),
            (crossed, "'cpus' of role 'web': the guarantee is above the limit".to_owned()),
            (limits("busy", "cpus", json!(0.05)), busy.to_owned()),
            (too_much, "All guarantees together are mem:2048, but the cluster has mem:1024; use \
              'force' to set them all the same".to_owned()),
        ] {
            let why = format!("Invalid QuotaConfig: {why}");
            operator.refused(quota(config), 400, &why).await;
        }
        let twice = json!([limits("web", "cpus", json!(1.0)), limits("web", "cpus", json!(2.0))]);
        let call = json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": twice}});
        operator.refused(call, 400, "Invalid QuotaConfig: Role 'web' is there twice").await;
        let shown = operator.ask("GET_QUOTA").await["status"]["configs"].take();
        let mut shown = shown.as_array().into_iter().flatten();
        assert!(shown.all(|config| config["role"] != "web"), "none of that was done");
        // Whoever insists gets it.
        let mut forced = quota(limits("busy", "cpus", json!(0.05)));
        forced["update_quota"]["force"] = json!(true);
        operator.done(forced).await;
        operator.done(json!({"type": "REMOVE_QUOTA", "remove_quota": {"role": "busy"}})).await;
    })
    .await;
}

fn set_quota(request: Value) -> Value {
    json!({"type": "SET_QUOTA", "set_quota": {"quota_request": request}})
}

#[tokio::test]
async fn a_quota_in_the_old_form_is_a_guarantee_and_a_limit() {
    let master = Alone::started().await;
    let _agent = FakeAgent::registered(master.address()).await;
    operators(&master, async |operator| {
        let request = |guarantee: Value| json!({"role": "web", "guarantee": guarantee});
        let cpus = |value: f64| json!([amount("cpus", value)]);
        let ports = json!({"range": [{"begin": 1, "end": 2}]});
        let ports = json!([{"name": "ports", "type": "RANGES", "ranges": ports}]);
        for (request, status, why) in [
            (request(json!([])), 400, "Invalid quota request: a guarantee must name a resource"),
            (request(ports), 400, "Invalid quota request: 'ports' must be a scalar"),
            (
                request(json!([amount("cpus", 1.0), amount("cpus", 1.0)])),
                400,
                "Invalid quota request: 'cpus' is there twice",
            ),
            (
                with(request(cpus(1.0)), "role", json!("a/b")),
                400,
                "Invalid QuotaConfig: Setting quota on nested role 'a/b' is not supported",
            ),
            (
                request(cpus(64.0)),
                409,
                "All guarantees together are cpus:64, but the cluster has cpus:4; use 'force' to \
                 set them all the same",
            ),
        ] {
            operator.refused(set_quota(request), status, why).await;
        }
        operator.done(set_quota(request(cpus(2.0)))).await;
        let why = "Role 'web' has quota already; change it with UPDATE_QUOTA";
        operator.refused(set_quota(request(cpus(3.0))), 400, why).await;
        let status = operator.ask("GET_QUOTA").await["status"].take();
        let amount = json!({"cpus": {"value": 2.0}});
        let config = json!({"role": "web", "guarantees": amount, "limits": amount});
        assert_eq!(status["configs"], json!([config]));
        assert_eq!(status["infos"][0]["role"], "web");
        assert_eq!(status["infos"][0]["guarantee"][0]["scalar"]["value"], 2.0);
        operator.done(json!({"type": "REMOVE_QUOTA", "remove_quota": {"role": "web"}})).await;
        let forced = with(request(cpus(64.0)), "force", json!(true));
        operator.done(set_quota(forced)).await;
        operator.done(json!({"type": "REMOVE_QUOTA", "remove_quota": {"role": "web"}})).await;
        let remove = json!({"type": "REMOVE_QUOTA", "remove_quota": {"role": "web"}});
        operator.refused(remove, 400, "Role 'web' has no quota").await;
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_cannot_be_is_refused_with_the_reason() {
    let master = Alone::started().await;
    let agent = FakeAgent::registered(master.address()).await;
    let here = json!({"hostname": "localhost", "ip": "127.0.0.1"});
    operators(&master, async |operator| {
        let plan = |machines: Value, duration: i64| {
            let unavailability =
                json!({"start": {"nanoseconds": 5}, "duration": {"nanoseconds": duration}});
            let window = json!({"machine_ids": machines, "unavailability": unavailability});
            json!({"type": "UPDATE_MAINTENANCE_SCHEDULE",
                   "update_maintenance_schedule": {"schedule": {"windows": [window]}}})
        };
        for (machines, duration, why) in [
            (json!([]), 1, "List of machines in the maintenance window is empty"),
            (json!([{}]), 1, "Both 'hostname' and 'ip' for a machine are empty"),
            (json!([{"ip": "host"}]), 1, "'host' is no IP address"),
            (json!([{"ip": "::1"}, {"ip": "0::1"}]), 1, "Machine '::1' is there twice"),
            (json!([here]), -1, "Unavailability 'duration' is negative"),
        ] {
            operator.refused(plan(machines, duration), 400, why).await;
        }
        for (kind, name) in
            [("START_MAINTENANCE", "start_maintenance"), ("STOP_MAINTENANCE", "stop_maintenance")]
        {
            let call = |machines: Value| json!({"type": kind, name: {"machines": machines}});
            let why = "Both 'hostname' and 'ip' for a machine are empty";
            operator.refused(call(json!([{}])), 400, why).await;
            let why = "Machine 'localhost (127.0.0.1)' is there twice";
            operator.refused(call(json!([here, here])), 400, why).await;
        }
        let grace = json!({"seconds": -1});
        let body = json!({"agent_id": {"value": agent.id.as_str()}, "max_grace_period": grace});
        let call = json!({"type": "DRAIN_AGENT", "drain_agent": body});
        operator.refused(call, 400, "'max_grace_period' must not be negative").await;
        // An agent is drained, or its machine is maintained: not both.
        let id = json!({"agent_id": {"value": agent.id.as_str()}});
        let drain = json!({"type": "DRAIN_AGENT", "drain_agent": id});
        operator.done(plan(json!([here]), 7)).await;
        let why = "Agent is part of a maintenance schedule under the maintenance primitives";
        operator.refused(drain.clone(), 400, why).await;
        let empty = json!({"schedule": {"windows": []}});
        let kind = "UPDATE_MAINTENANCE_SCHEDULE";
        operator.done(json!({"type": kind, "update_maintenance_schedule": empty})).await;
        operator.done(drain).await;
        let why = format!(
            "Machine 'localhost (127.0.0.1)' has agent {}, which is being drained; reactivate it \
             first",
            agent.id
        );
        operator.refused(plan(json!([here]), 7), 400, &why).await;
        drained(&operator).await;
        operator.done(json!({"type": "REACTIVATE_AGENT", "reactivate_agent": id})).await;
    })
    .await;
}

/// Marks an agent gone and asks for something else at the same time, with more agents until that was asked
/// between the call and its answer, which comes when the masters have agreed.
async fn assert_in_between(operator: &Operator<'_>, kind: &str, in_between: (u16, &str)) {
    let others = [(200, ""), (400, "Unknown agent")];
    for port in 6_000..6_100 {
        let agent = FakeAgent::registered_on(operator.master.address(), None, port).await;
        let call = |kind: &str| {
            let body = json!({"agent_id": {"value": agent.id.as_str()}});
            json!({"type": kind, kind.to_lowercase(): body})
        };
        let (gone, other) = (call("MARK_AGENT_GONE"), call(kind));
        let calls = [&gone, &other, &other, &other, &other, &other, &other, &other];
        let calls = calls.map(|call| operator.call(call));
        let answers = futures::future::join_all(calls).await;
        for (status, text) in &answers {
            let answer = (*status, text.as_str().expect("text"));
            assert!(answer == in_between || others.contains(&answer), "{answer:?}");
        }
        let expected = (in_between.0, json!(in_between.1));
        operator.done(gone).await;
        if answers.contains(&expected) {
            return;
        }
    }
    panic!("nothing was ever asked in between");
}

#[tokio::test]
async fn an_agent_that_is_just_being_marked_gone_is_in_transition() {
    let master = Alone::started().await;
    operators(&master, async |operator| {
        let gone = (503, "Agent is in transition; try again");
        assert_in_between(&operator, "MARK_AGENT_GONE", gone).await;
        let drain = (409, "Agent is being removed or marked");
        assert_in_between(&operator, "DRAIN_AGENT", drain).await;
        // What was asked for was agreed on, after that the agent is gone.
        let left = (409, "Agent has left the cluster meanwhile");
        assert_in_between(&operator, "DEACTIVATE_AGENT", left).await;
    })
    .await;
}

/// Waits until the only agent is empty.
async fn drained(operator: &Operator<'_>) {
    let look = async || {
        let agents = operator.ask("GET_AGENTS").await;
        (agents["agents"][0]["drain_info"]["state"] == "DRAINED").then_some(())
    };
    crate::words::until("it is drained", look).await;
}

fn volume(value: f64, mode: &str) -> Value {
    let disk = json!({
        "persistence": {"id": "data"}, "volume": {"container_path": "data", "mode": mode},
    });
    with(reserved("disk", value, "db"), "disk", disk)
}

/// What operators ask to be reserved, and why it cannot be.
fn impossible_reservations() -> Vec<(&'static str, Value, &'static str)> {
    let (rw, disk) = (volume(32.0, "RW"), reserved("disk", 32.0, "db"));
    let revocable = with(reserved("cpus", 1.0, "db"), "revocable", json!({}));
    let plain = json!([amount("cpus", 1.0)]);
    let source =
        |source: Value, resources: Value| json!({"source": source, "resources": resources});
    let one = |role: &str| json!([reserved("cpus", 1.0, role)]);
    let mixed = json!([reserved("cpus", 1.0, "a"), reserved("mem", 1.0, "b")]);
    let static_one =
        with(amount("cpus", 1.0), "reservations", json!([{"type": "STATIC", "role": "db"}]));
    vec![
        ("RESERVE", json!({"resources": []}), "No resources are named"),
        ("RESERVE", json!({"resources": plain}), "Resource 'cpus' is not dynamically reserved"),
        (
            "RESERVE",
            json!({"resources": [static_one]}),
            "Resource 'cpus' is not dynamically reserved",
        ),
        (
            "RESERVE",
            json!({"resources": [revocable]}),
            "Resource 'cpus' is revocable and cannot be reserved",
        ),
        (
            "RESERVE",
            json!({"resources": [rw]}),
            "Resource 'disk' is a persistent volume and cannot be reserved",
        ),
        ("RESERVE", source(plain.clone(), one("db")), "Source 'cpus' is not dynamically reserved"),
        ("RESERVE", source(json!([rw]), json!([disk])), "Source 'disk' is a persistent volume"),
        (
            "RESERVE",
            source(mixed.clone(), one("db")),
            "'source' has resources of different reservations",
        ),
        (
            "RESERVE",
            source(one("db"), mixed),
            "'resources' has resources of different reservations",
        ),
        (
            "RESERVE",
            source(one("a"), json!([reserved("cpus", 2.0, "b")])),
            "'source' and 'resources' are not the same amounts",
        ),
        ("UNRESERVE", json!({"resources": []}), "No resources are named"),
        ("UNRESERVE", json!({"resources": plain}), "Resource 'cpus' is not dynamically reserved"),
        (
            "UNRESERVE",
            json!({"resources": [rw]}),
            "A dynamically reserved persistent volume 'data' cannot be unreserved directly; \
             destroy it first",
        ),
    ]
}

/// The same of volumes.
fn impossible_volumes() -> Vec<(&'static str, Value, &'static str)> {
    let (rw, disk) = (volume(32.0, "RW"), reserved("disk", 32.0, "db"));
    let shared = with(rw.clone(), "shared", json!({}));
    let provided = with(rw.clone(), "provider_id", json!({"value": "p"}));
    let mut on_mount = rw.clone();
    on_mount["disk"]["source"] = json!({"type": "MOUNT", "mount": {"root": "/mnt"}});
    vec![
        ("CREATE", json!({"volumes": []}), "No resources are named"),
        ("CREATE", json!({"volumes": [disk]}), "Resource 'disk' is not a persistent volume"),
        (
            "CREATE",
            json!({"volumes": [volume(1.0, "RO")]}),
            "Persistent volume 'data' must be of mode RW",
        ),
        (
            "CREATE",
            json!({"volumes": [with(rw.clone(), "reservations", json!([]))]}),
            "Persistent volumes cannot be created from unreserved resources",
        ),
        ("DESTROY", json!({"volumes": [disk]}), "Resource 'disk' is not a persistent volume"),
        ("DESTROY", json!({"volumes": [rw]}), "Persistent volumes not found"),
        (
            "GROW_VOLUME",
            json!({"volume": rw, "addition": reserved("mem", 1.0, "db")}),
            "'addition' must be more than nothing",
        ),
        (
            "GROW_VOLUME",
            json!({"volume": rw, "addition": reserved("disk", 1.0, "other")}),
            "'addition' is not of the kind that the volume is made of",
        ),
        (
            "GROW_VOLUME",
            json!({"volume": shared, "addition": disk}),
            "A shared persistent volume cannot change its size",
        ),
        (
            "SHRINK_VOLUME",
            json!({"volume": disk, "subtract": {"value": 1.0}}),
            "Resource 'disk' is not a persistent volume",
        ),
        (
            "SHRINK_VOLUME",
            json!({"volume": rw, "subtract": {"value": 0.0}}),
            "'subtract' must be more than nothing",
        ),
        (
            "SHRINK_VOLUME",
            json!({"volume": rw, "subtract": {"value": 32.0}}),
            "'subtract' must be less than the volume's size",
        ),
        (
            "SHRINK_VOLUME",
            json!({"volume": on_mount, "subtract": {"value": 1.0}}),
            "A volume on a MOUNT disk cannot be made smaller",
        ),
        (
            "GROW_VOLUME",
            json!({"volume": provided, "addition": disk}),
            "A volume of a resource provider cannot change its size",
        ),
        (
            "CREATE",
            json!({"volumes": [with(rw.clone(), "revocable", json!({}))]}),
            "Persistent volumes cannot be created from revocable resources",
        ),
    ]
}

/// The call that asks for an operation.
fn call_of(kind: &str) -> String {
    match kind {
        "RESERVE" | "UNRESERVE" => format!("{kind}_RESOURCES"),
        "CREATE" | "DESTROY" => format!("{kind}_VOLUMES"),
        _ => kind.to_owned(),
    }
}

#[tokio::test]
async fn an_operation_that_cannot_be_is_refused_to_operators_with_the_reason() {
    let master = Alone::started().await;
    let agent = FakeAgent::registered(master.address()).await;
    operators(&master, async |operator| {
        for (kind, body, why) in impossible_reservations().into_iter().chain(impossible_volumes()) {
            let name = call_of(kind);
            let id = json!({"value": agent.id.as_str()});
            let call = json!({"type": name, name.to_lowercase(): with(body, "agent_id", id)});
            let why = format!("Invalid {kind} operation on agent {}: {why}", agent.id);
            operator.refused(call, 400, &why).await;
        }
        for kind in ["GROW_VOLUME", "SHRINK_VOLUME"] {
            let name = kind.to_lowercase();
            let mut body = json!({"volume": volume(32.0, "RW")});
            body["addition"] = reserved("disk", 1.0, "db");
            body["subtract"] = json!({"value": 1.0});
            let why = format!(
                "Failed to validate master::Call: Expecting '{name}.agent_id' to be present"
            );
            operator.refused(json!({"type": kind, name.clone(): body}), 400, &why).await;
        }
    })
    .await;
    assert_eq!(master.get("/slaves").await["slaves"][0]["reserved_resources"], json!({}));
    // Of an agent that is away for now nothing can be made.
    let back = agent.back(Vec::new(), Vec::new());
    let id = agent.id.clone();
    drop(agent);
    operators(&master, async |operator| {
        let body = json!({
            "agent_id": {"value": id.as_str()}, "resources": [reserved("cpus", 1.0, "db")],
        });
        let call = json!({"type": "RESERVE_RESOURCES", "reserve_resources": body});
        let refused = (409, json!(format!("Agent {id} is not connected; try again")));
        let look = async || (operator.call(&call).await == refused).then_some(());
        crate::words::until("it is away", look).await;
    })
    .await;
    FakeAgent::reregistered(master.address(), back).await;
}
