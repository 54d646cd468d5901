//! What rules of operators keep whom from, over real sockets, in JSON and in protobuf.

mod common;

use std::sync::Arc;

use common::{Alone, BOTH, FakeAgent, Operator, SOON, Scheduler, agent_info, cores_of, update_id};
use master::{Authentication, Options};
use model::ids::{ExecutorId, TaskId};
use model::link::FromAgent;
use model::task::{Status, TaskState};
use proto::agora::v1::agent_link_client::AgentLinkClient;
use proto::agora::v1::raft_admin_client::RaftAdminClient;
use proto::agora::v1::raft_client::RaftClient;
use proto::agora::v1::{LeaderRequest, ListMembersRequest, RemoveMemberRequest};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Code;
use transport::auth::{Credential, Credentials};
use transport::grpc::channel;
use transport::http::Encoding;
use transport::identity::Identity;

const ACLS: &str = r#"{
    "permissive": false,
    "register_frameworks": [
        {"principals": {"values": ["web"]}, "roles": {"values": ["web"]}}
    ],
    "run_tasks": [{"principals": {"values": ["web"]}, "users": {"values": ["nobody"]}}],
    "register_agents": [{"principals": {"values": ["agent"]}, "agents": {"type": "ANY"}}],
    "view_frameworks": [
        {"principals": {"values": ["ops"]}, "users": {"type": "ANY"}},
        {"principals": {"values": ["web"]}, "users": {"values": ["other"]}}
    ],
    "view_tasks": [{"principals": {"values": ["ops"]}, "users": {"type": "ANY"}}],
    "view_roles": [{"principals": {"values": ["ops"]}, "roles": {"type": "ANY"}}],
    "view_flags": [{"principals": {"values": ["ops"]}, "flags": {"type": "ANY"}}],
    "get_quotas": [{"principals": {"values": ["ops"]}, "roles": {"values": ["web"]}}],
    "update_quota_configs": [{"principals": {"values": ["ops"]}, "roles": {"values": ["web"]}}],
    "teardown_frameworks": [
        {"principals": {"values": ["ops"]}, "framework_principals": {"values": ["web"]}}
    ]
}"#;

const NAMES: [&str; 3] = ["web", "ops", "agent"];

fn named(name: &str) -> Credential {
    Credential::new(name, "s")
}

async fn ruled() -> Alone {
    ruled_by(ACLS).await
}

async fn ruled_by(acls: &str) -> Alone {
    ruled_with(acls, Options::default()).await
}

async fn ruled_with(acls: &str, options: Options) -> Alone {
    let credentials = Credentials::new(NAMES.map(named));
    let authentication = Authentication {
        credentials: Some(Arc::new(credentials)),
        frameworks: true,
        readonly: true,
        readwrite: true,
        agents: true,
        masters: true,
    };
    let acls = Arc::new(serde_json::from_str(acls).expect("rules"));
    Alone::with(Options { authentication, acls, ..options }).await
}

/// An operator of this name, who writes in `encoding`.
fn operator<'a>(master: &'a Alone, encoding: Encoding, who: &str) -> Operator<'a> {
    Operator { who: Some(named(who)), ..Operator::new(master, encoding) }
}

async fn get(master: &Alone, path: &str, who: &str) -> (u16, Value) {
    let request = master.http.get(master.url(path)).header("authorization", named(who).basic());
    let answer = request.send().await.expect("an answer");
    let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A framework in one role.
fn in_role(role: &str) -> Value {
    json!({"user": "nobody", "name": "test", "role": role, "failover_timeout": 60.0})
}

/// A framework of `web` in one role.
async fn subscribed(master: &Alone, encoding: Encoding, role: &str) -> Scheduler {
    Scheduler::subscribed(master, encoding, &in_role(role), Some(named("web"))).await
}

#[tokio::test]
async fn a_framework_may_have_only_the_roles_and_users_it_was_given() {
    let master = ruled().await;
    let agent = FakeAgent::registered_as(master.address(), Some(named("agent"))).await;
    for encoding in BOTH {
        let who = Some(named("web"));
        let subscribe = json!({"framework_info": in_role("db")});
        let refused = Scheduler::subscribed_by(&master, encoding, &subscribe, who).await;
        let why = "Not authorized to register a framework in role 'db' as principal 'web'";
        assert_eq!(refused.err().as_deref(), Some(why));

        let mut scheduler = subscribed(&master, encoding, "web").await;
        let mut other = in_role("db");
        other["id"] = scheduler.id.clone();
        let update = json!({"framework_info": other});
        let update = json!({"type": "UPDATE_FRAMEWORK", "update_framework": update});
        assert_eq!(scheduler.answer(&update).await, (403, why.to_owned()));
        let offer = scheduler.offer_of(&agent.id).await;
        let cpu = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}});
        let task = json!({
            "name": "t", "task_id": {"value": "t"}, "agent_id": {"value": agent.id.as_str()},
            "resources": [cpu], "command": {"value": "true", "user": "root"},
        });
        let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}]);
        scheduler.accept(&[offer], launch).await;
        let status = scheduler.update().await;
        assert_eq!(status["state"], "TASK_ERROR");
        assert_eq!(status["reason"], "REASON_TASK_UNAUTHORIZED");
        let why = "Not authorized to run tasks as user 'root' as principal 'web'";
        assert_eq!(status["message"], why);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn everybody_sees_only_what_the_rules_show() {
    for encoding in BOTH {
        let master = ruled().await;
        let [ops, web] = ["ops", "web"].map(|who| operator(&master, encoding, who));
        let ((_, mut of_ops), (_, mut of_web)) = (ops.watch().await, web.watch().await);
        let _scheduler = subscribed(&master, encoding, "web").await;
        of_ops.event("FRAMEWORK_ADDED").await;
        // What comes next shows that the framework was passed over.
        let _agent = FakeAgent::registered_as(master.address(), Some(named("agent"))).await;
        of_web.event("AGENT_ADDED").await;

        for (operator, who, seen) in [(&ops, "ops", 1), (&web, "web", 0)] {
            let (_, state) = get(&master, "/state", who).await;
            assert_eq!(state["frameworks"].as_array().map(Vec::len), Some(seen), "{who}");
            assert_eq!(state["slaves"].as_array().map(Vec::len), Some(1), "{who}");
            assert_eq!(state.get("flags").is_some(), seen == 1, "{who}");
            let answer = operator.ask("GET_FRAMEWORKS").await;
            assert_eq!(answer["frameworks"].as_array().map_or(0, Vec::len), seen, "{who}");
            let (_, roles) = get(&master, "/roles", who).await;
            assert_eq!(roles["roles"].as_array().is_some_and(|all| !all.is_empty()), seen == 1);
        }
        assert_eq!(get(&master, "/flags", "ops").await.0, 200);
        let why = "Not authorized to see the flags as principal 'web'";
        assert_eq!(get(&master, "/flags", "web").await, (403, json!(why)));
        web.refused(json!({"type": "GET_FLAGS"}), 403, why).await;
    }
}

/// The roles that an agent's resources are kept for, by the operator API.
fn reserved_in(resources: &Value) -> Vec<&Value> {
    let all = resources.as_array().into_iter().flatten();
    all.filter_map(|resource| resource["reservations"].get(0)).map(|one| &one["role"]).collect()
}

#[tokio::test]
async fn what_is_kept_for_a_role_is_seen_by_those_who_see_the_role() {
    const ACLS: &str = r#"{
        "view_roles": [
            {"principals": {"values": ["web"]}, "roles": {"values": ["*", "web"]}},
            {"principals": {"values": ["web"]}, "roles": {"type": "NONE"}}
        ],
        "view_flags": [{"principals": {"values": ["web"]}, "flags": {"type": "NONE"}}]
    }"#;
    for encoding in BOTH {
        let cluster = Some("north".to_owned());
        let master = ruled_with(ACLS, Options { cluster, ..Options::default() }).await;
        let [ops, web] = ["ops", "web"].map(|who| operator(&master, encoding, who));
        let ((_, mut of_ops), (_, mut of_web)) = (ops.watch().await, web.watch().await);
        let mut info = agent_info(5051);
        info.resources.extend([cores_of("db", 2.0), cores_of("web", 1.0)]);
        let who = Some(named("agent"));
        let agent = FakeAgent::register(master.address(), who, &info).await.expect("let in");
        let mut scheduler = subscribed(&master, encoding, "db").await;
        scheduler.offer_of(&agent.id).await;

        let (all, own) = (vec![json!("db"), json!("web")], vec![json!("web")]);
        for (operator, watching, who, seen) in
            [(&ops, &mut of_ops, "ops", &all), (&web, &mut of_web, "web", &own)]
        {
            let seen: Vec<&Value> = seen.iter().collect();
            let added = watching.event("AGENT_ADDED").await["agent"].take();
            assert_eq!(reserved_in(&added["total_resources"]), seen, "{who}");
            let answer = operator.ask("GET_STATE").await;
            let agent = &answer["get_agents"]["agents"][0];
            assert_eq!(reserved_in(&agent["total_resources"]), seen, "{who}");
            assert_eq!(reserved_in(&agent["agent_info"]["resources"]), seen, "{who}");
            let framework = &answer["get_frameworks"]["frameworks"][0];
            let is_everything = seen.len() == 2;
            assert_eq!(framework.get("offered_resources").is_some(), is_everything, "{who}");
            let offered = framework["offers"][0].get("resources");
            assert_eq!(offered.is_some(), is_everything, "{who}");
            assert_endpoints_show(&master, who, &seen).await;
        }
    }
}

/// What the endpoints of old tools show to somebody who sees what is kept for these roles.
async fn assert_endpoints_show(master: &Alone, who: &str, seen: &[&Value]) {
    let (_, slaves) = get(master, "/slaves", who).await;
    for reserved in ["reserved_resources", "reserved_resources_full"] {
        let reserved = slaves["slaves"][0][reserved].as_object().expect("an object");
        let roles: Vec<Value> = reserved.keys().map(|role| json!(role)).collect();
        assert_eq!(roles.iter().collect::<Vec<_>>(), seen, "{who}");
    }
    let (_, roles) = get(master, "/roles", who).await;
    let roles = roles["roles"].as_array().expect("a list");
    assert_eq!(roles.iter().map(|role| &role["name"]).collect::<Vec<_>>(), seen, "{who}");
    assert_eq!(roles.last().expect("one")["reserved"]["cpus"], json!(1.0), "{who}");
    let (_, state) = get(master, "/state", who).await;
    assert_eq!(state.get("cluster").is_some(), seen.len() == 2, "{who}");
    let (_, summary) = get(master, "/state-summary", who).await;
    assert_eq!(summary["cluster"], "north", "{who}");
}

#[tokio::test]
async fn changes_are_refused_to_those_who_may_not() {
    let master = ruled().await;
    for encoding in BOTH {
        let [ops, web] = ["ops", "web"].map(|who| operator(&master, encoding, who));
        let quota = |role: &str| {
            let limit = json!({"cpus": {"value": 2}});
            let configs = json!([{"role": role, "limits": limit}]);
            json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": configs}})
        };
        ops.done(quota("web")).await;
        for (operator, who, role) in [(&web, "web", "web"), (&ops, "ops", "db")] {
            let text =
                format!("Not authorized to change the quota of role '{role}' as principal '{who}'");
            operator.refused(quota(role), 403, &text).await;
        }
        for (operator, who, shown) in [(&ops, "ops", 1), (&web, "web", 0)] {
            let answer = operator.ask("GET_QUOTA").await;
            let configs = answer["status"]["configs"].as_array().map_or(0, Vec::len);
            assert_eq!(configs, shown, "{who}");
        }
        let drain = json!({"type": "DRAIN_AGENT", "drain_agent": {"agent_id": {"value": "x"}}});
        assert_eq!(ops.call(&drain).await.0, 403);

        let scheduler = subscribed(&master, encoding, "web").await;
        let teardown =
            json!({"type": "TEARDOWN", "teardown": {"framework_id": scheduler.id.clone()}});
        let why = "Not authorized to tear this framework down as principal 'web'";
        web.refused(teardown.clone(), 403, why).await;
        ops.done(teardown).await;
    }
    let address = master.address().to_string();
    let stranger = channel(&address, &Identity::of(Some(named("web")))).expect("an address");
    let mut link = AgentLinkClient::new(stranger);
    let refused = timeout(SOON, link.connect(futures::stream::pending())).await.expect("in time");
    assert_eq!(refused.expect_err("no agent").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn masters_are_told_apart_from_others_by_rules_that_speak_of_them() {
    const OF_MASTERS: &str = r#"{
        "permissive": false,
        "act_as_masters": [{"principals": {"values": ["agent"]}, "masters": {"type": "ANY"}}],
        "change_masters": [{"principals": {"values": ["ops"]}, "masters": {"type": "ANY"}}]
    }"#;
    for (acls, of_web, of_agent, of_ops) in [
        (ACLS, (true, true), (true, true), (true, true)),
        (OF_MASTERS, (false, false), (true, false), (false, true)),
    ] {
        let master = ruled_by(acls).await;
        let address = master.address().to_string();
        for (who, allowed) in [("web", of_web), ("agent", of_agent), ("ops", of_ops)] {
            let to = channel(&address, &Identity::of(Some(named(who)))).expect("an address");
            let mut admin = RaftAdminClient::new(to.clone());
            assert!(admin.list_members(ListMembersRequest {}).await.is_ok(), "{who} may ask");
            let member = "127.0.0.1:1".to_owned();
            let request = RemoveMemberRequest { member, force: false };
            // Nobody is there who could be removed.
            let changes = admin.remove_member(request).await.expect_err("no member").code();
            let acts = RaftClient::new(to).leader(LeaderRequest {}).await;
            let acts = acts.err().map(|status| status.code());
            let denied = Code::PermissionDenied;
            assert_eq!((acts != Some(denied), changes != denied), allowed, "{who}, {acls}");
        }
    }
}

/// What those see of a framework of another user who may see only what runs as `batch`.
const OF_BATCH: &str = r#"{
    "view_frameworks": [{"principals": {"values": ["ops"]}, "users": {"type": "ANY"}}],
    "view_tasks": [
        {"principals": {"values": ["ops"]}, "users": {"values": ["batch"]}},
        {"principals": {"values": ["ops"]}, "users": {"type": "NONE"}}
    ]
}"#;

#[tokio::test]
async fn a_task_runs_as_the_user_of_its_executor_and_is_seen_to_its_end() {
    for encoding in BOTH {
        let master = ruled_by(OF_BATCH).await;
        let ops = operator(&master, encoding, "ops");
        let (_, mut seen) = ops.watch().await;
        let mut agent = FakeAgent::registered_as(master.address(), Some(named("agent"))).await;
        seen.event("AGENT_ADDED").await;
        let mut scheduler = subscribed(&master, encoding, "web").await;
        seen.event("FRAMEWORK_ADDED").await;
        let offer = scheduler.offer_of(&agent.id).await;
        let amount = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
        let task = |id: &str| {
            json!({
                "name": id, "task_id": {"value": id}, "agent_id": {"value": agent.id.as_str()},
                "resources": [amount("cpus", 0.1)],
            })
        };
        let (mut hidden, mut shown) = (task("hidden"), task("shown"));
        hidden["command"] = json!({"value": "true"});
        shown["executor"] = json!({
            "type": "CUSTOM", "executor_id": {"value": "e"}, "framework_id": scheduler.id,
            "command": {"value": "work", "user": "batch"},
            "resources": [amount("cpus", 0.1), amount("mem", 32.0)],
        });
        let tasks = json!([hidden, shown]);
        let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": tasks}}]);
        scheduler.accept(&[offer], launch).await;
        let added = seen.event("TASK_ADDED").await["task"].take();
        let told = (&added["task_id"]["value"], &added["user"]);
        assert_eq!(told, (&json!("shown"), &json!("batch")));
        let tasks = ops.ask("GET_TASKS").await["tasks"].take();
        let tasks = tasks.as_array().expect("a list");
        assert_eq!(tasks.iter().map(|task| &task["name"]).collect::<Vec<_>>(), ["shown"]);

        // It has ended before anybody has heard that it ran: both are told.
        agent.launched().await;
        agent.launched().await;
        let id = TaskId::new("shown").expect("an id");
        let reported = [TaskState::Running, TaskState::Finished];
        for (n, state) in (1..).zip(reported) {
            let executor = Some(ExecutorId::new("e").expect("an id"));
            let uuid = Some(update_id(n));
            let status = Status { executor, uuid, ..agent.status(&id, state) };
            let (framework, latest) = (scheduler.framework(), TaskState::Finished);
            agent.say(&FromAgent::StatusUpdate { framework, status, latest }).await;
        }
        for told in ["TASK_RUNNING", "TASK_FINISHED"] {
            let updated = seen.event("TASK_UPDATED").await;
            assert_eq!(
                (&updated["status"]["state"], &updated["state"]),
                (&json!(told), &json!("TASK_FINISHED"))
            );
        }
    }
}
