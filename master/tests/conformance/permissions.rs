//! Each change that an operator can ask for is refused with 403 to those who may not, and carried out for
//! those who may.

use std::sync::Arc;

use master::{Authentication, Options};
use serde_json::{Value, json};
use transport::auth::{Credential, Credentials};

use crate::common::{Alone, FakeAgent, Operator, Scheduler};
use crate::words::{BOTH, amount, framework, launch, task, with};

/// `ops` may do all of this, and `eve`, who has proved to be herself, nothing.
const ACLS: &str = r#"{
    "permissive": false,
    "register_agents": [{"principals": {"type": "ANY"}, "agents": {"type": "ANY"}}],
    "register_frameworks": [{"principals": {"values": ["ops"]}, "roles": {"values": ["web"]}}],
    "run_tasks": [{"principals": {"values": ["ops"]}, "users": {"values": ["nobody"]}}],
    "update_weights": [{"principals": {"values": ["ops"]}, "roles": {"values": ["web"]}}],
    "update_quotas": [{"principals": {"values": ["ops"]}, "roles": {"values": ["web"]}}],
    "update_quota_configs": [{"principals": {"values": ["ops"]}, "roles": {"values": ["web"]}}],
    "update_maintenance_schedules": [
        {"principals": {"values": ["ops"]}, "machines": {"type": "ANY"}}
    ],
    "get_maintenance_schedules": [{"principals": {"values": ["ops"]}, "machines": {"type": "ANY"}}],
    "get_maintenance_statuses": [{"principals": {"values": ["ops"]}, "machines": {"type": "ANY"}}],
    "start_maintenances": [{"principals": {"values": ["ops"]}, "machines": {"type": "ANY"}}],
    "stop_maintenances": [{"principals": {"values": ["ops"]}, "machines": {"type": "ANY"}}],
    "deactivate_agents": [{"principals": {"values": ["ops"]}, "agents": {"type": "ANY"}}],
    "reactivate_agents": [{"principals": {"values": ["ops"]}, "agents": {"type": "ANY"}}],
    "drain_agents": [{"principals": {"values": ["ops"]}, "agents": {"type": "ANY"}}],
    "mark_agents_gone": [{"principals": {"values": ["ops"]}, "agents": {"type": "ANY"}}],
    "set_log_level": [{"principals": {"values": ["ops"]}, "level": {"type": "ANY"}}],
    "view_flags": [{"principals": {"values": ["ops"]}, "flags": {"type": "ANY"}}]
}"#;

fn named(name: &str) -> Credential {
    Credential::new(name, "s")
}

async fn ruled() -> Alone {
    let authentication = Authentication {
        credentials: Some(Arc::new(Credentials::new(["ops", "eve"].map(named)))),
        frameworks: true,
        readonly: true,
        readwrite: true,
        ..Authentication::default()
    };
    let acls = Arc::new(serde_json::from_str(ACLS).expect("rules"));
    Alone::with(Options { authentication, acls, ..Options::default() }).await
}

/// A call, what its sender must be allowed to do, and what is answered to those who may.
type Case = (&'static str, Value, &'static str, u16);

/// In an order in which each is possible.
fn calls(agent: &Value) -> Vec<Case> {
    let machine = json!({"hostname": "away", "ip": "10.1.2.3"});
    let window = json!({
        "machine_ids": [machine],
        "unavailability": {"start": {"nanoseconds": 5}, "duration": {"nanoseconds": 7}},
    });
    let machines = json!({"machines": [machine]});
    let of_agent = json!({"agent_id": agent});
    let quota = json!({"role": "web", "limits": {"cpus": {"value": 8.0}}});
    let guarantee = json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}}]);
    let request = json!({"role": "web", "guarantee": guarantee, "force": true});
    let weights = json!({"weight_infos": [{"role": "web", "weight": 2.0}]});
    let level = json!({"level": 9, "duration": {"nanoseconds": 1}});
    let nothing = Value::Null;
    vec![
        ("UPDATE_WEIGHTS", weights, "weigh role 'web'", 200),
        ("SET_QUOTA", json!({"quota_request": request}), "change the quota of role 'web'", 200),
        ("UPDATE_QUOTA", json!({"quota_configs": [quota]}), "change the quota of role 'web'", 200),
        ("REMOVE_QUOTA", json!({"role": "web"}), "change the quota of role 'web'", 200),
        (
            "UPDATE_MAINTENANCE_SCHEDULE",
            json!({"schedule": {"windows": [window]}}),
            "plan maintenance",
            200,
        ),
        ("GET_MAINTENANCE_SCHEDULE", nothing.clone(), "see the maintenance schedule", 200),
        ("GET_MAINTENANCE_STATUS", nothing.clone(), "see the maintenance status", 200),
        ("START_MAINTENANCE", machines.clone(), "begin maintenance", 200),
        ("STOP_MAINTENANCE", machines, "end maintenance", 200),
        ("DEACTIVATE_AGENT", of_agent.clone(), "deactivate agents", 200),
        ("REACTIVATE_AGENT", of_agent.clone(), "reactivate agents", 200),
        ("DRAIN_AGENT", of_agent.clone(), "drain agents", 200),
        ("MARK_AGENT_GONE", of_agent, "mark agents as gone", 200),
        ("GET_FLAGS", nothing, "see the flags", 200),
        // Allowed, and still there is no such level.
        ("SET_LOGGING_LEVEL", level, "change how much is logged", 400),
    ]
}

#[tokio::test]
async fn every_change_and_every_secret_is_for_those_who_may() {
    let master = ruled().await;
    for encoding in BOTH {
        let agent = FakeAgent::registered(master.address()).await;
        let id = json!({"value": agent.id.as_str()});
        for (kind, body, what, status) in calls(&id) {
            let call = json!({"type": kind, kind.to_lowercase(): body});
            let eve = Operator { who: Some(named("eve")), ..Operator::new(&master, encoding) };
            let why = format!("Not authorized to {what} as principal 'eve'");
            eve.refused(call.clone(), 403, &why).await;
            let nobody = Operator::new(&master, encoding);
            assert_eq!(nobody.call(&call).await.0, 401, "{kind}");
            let ops = Operator { who: Some(named("ops")), ..Operator::new(&master, encoding) };
            let (was, said) = ops.call(&call).await;
            assert_eq!(was, status, "{kind}: {said}");
        }
    }
}

#[tokio::test]
async fn endpoints_of_old_tools_are_for_those_who_may_as_well() {
    let master = ruled().await;
    let machine = r#"[{"hostname": "away", "ip": "10.1.2.3"}]"#;
    let guarantee = r#"{"role": "web", "force": true, "guarantee":
        [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 3}}]}"#;
    let window = r#"{"windows": [{"machine_ids": [{"hostname": "away", "ip": "10.1.2.3"}],
        "unavailability": {"start": {"nanoseconds": 5}}}]}"#;
    for (method, path, body, what) in [
        ("PUT", "/weights", r#"[{"role": "web", "weight": 3}]"#, "weigh role 'web'"),
        ("POST", "/quota", guarantee, "change the quota of role 'web'"),
        ("DELETE", "/quota/web", "", "change the quota of role 'web'"),
        ("POST", "/maintenance/schedule", window, "plan maintenance"),
        ("GET", "/maintenance/schedule", "", "see the maintenance schedule"),
        ("GET", "/maintenance/status", "", "see the maintenance status"),
        ("POST", "/machine/down", machine, "begin maintenance"),
        ("POST", "/machine/up", machine, "end maintenance"),
        ("GET", "/flags", "", "see the flags"),
    ] {
        let ask = async |who: &str| {
            let method = method.parse().expect("a method");
            let request = master.http.request(method, master.url(path)).body(body);
            let answer = request.header("authorization", named(who).basic()).send().await;
            let answer = answer.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a body"))
        };
        let why = format!("Not authorized to {what} as principal 'eve'");
        assert_eq!(ask("eve").await, (403, why), "{method} {path}");
        assert_eq!(ask("ops").await.0, 200, "{method} {path}");
    }
}

#[tokio::test]
async fn tasks_run_only_as_users_that_their_framework_was_given() {
    let master = ruled().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        for (who, info, why) in [
            ("eve", framework(), "register a framework in role 'web'"),
            ("ops", with(framework(), "role", json!("db")), "register a framework in role 'db'"),
        ] {
            let subscribe = json!({"framework_info": info});
            let refused =
                Scheduler::subscribed_by(&master, encoding, &subscribe, Some(named(who))).await;
            let told = refused.err().expect("refused");
            assert_eq!(told, format!("Not authorized to {why} as principal '{who}'"));
        }
        let ops = Some(named("ops"));
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), ops).await;
        let as_root = |id: &str| {
            with(task(id, &agent.id), "command", json!({"value": "true", "user": "root"}))
        };
        let resources = [amount("cpus", 0.1), amount("mem", 32.0), amount("disk", 10.0)];
        let executor =
            json!({"executor_id": {"value": "e"}, "type": "DEFAULT", "resources": resources});
        let tasks = [as_root("in-group"), task("beside", &agent.id)];
        let body = json!({"executor": executor, "task_group": {"tasks": tasks}});
        let group = json!({"type": "LAUNCH_GROUP", "launch_group": body});
        let mut operations = launch(&[as_root("alone"), task("good", &agent.id)]);
        operations.as_array_mut().expect("a list").push(group);
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], operations).await;
        for (id, reason) in [
            ("alone", "REASON_TASK_UNAUTHORIZED"),
            ("in-group", "REASON_TASK_GROUP_UNAUTHORIZED"),
            ("beside", "REASON_TASK_GROUP_UNAUTHORIZED"),
        ] {
            let status = scheduler.update().await;
            assert_eq!(status["task_id"]["value"], id);
            assert_eq!(
                (&status["state"], &status["reason"]),
                (&json!("TASK_ERROR"), &json!(reason))
            );
            let why = "Not authorized to run tasks as user 'root' as principal 'ops'";
            assert_eq!(status["message"], why);
        }
        assert_eq!(agent.launched().await.tasks[0].id.as_str(), "good");
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.hear().await.expect("it is told to end it");
    }
}
