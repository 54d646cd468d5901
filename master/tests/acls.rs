//! What rules of operators keep whom from, over real sockets.

mod common;

use std::sync::Arc;

use common::{Alone, Events, FakeAgent, SOON, agent_info, cores_of, subscribe_call, update_id};
use master::{Authentication, Options};
use model::ids::{ExecutorId, FrameworkId, TaskId};
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
use transport::client::RecordStream;
use transport::grpc::channel;
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

async fn post(master: &Alone, path: &str, who: &str, body: &Value) -> reqwest::Response {
    let request = master.http.post(master.url(path)).header("authorization", named(who).basic());
    let request = request.header("content-type", "application/json").body(body.to_string());
    request.send().await.expect("an answer")
}

/// Status and JSON of an operator's call, or text.
async fn ask(master: &Alone, who: &str, call: &Value) -> (u16, Value) {
    let answer = post(master, "/api/v1", who, call).await;
    let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn get(master: &Alone, path: &str, who: &str) -> (u16, Value) {
    let request = master.http.get(master.url(path)).header("authorization", named(who).basic());
    let answer = request.send().await.expect("an answer");
    let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn call_in(role: &str) -> Value {
    let mut call = subscribe_call();
    call["subscribe"]["framework_info"]["role"] = json!(role);
    call
}

/// The next event of a kind; others are passed over.
async fn next_of(events: &mut Events, kind: &str) -> Value {
    loop {
        let event = events.next().await.expect("it goes on");
        if event["type"] == kind {
            return event;
        }
    }
}

#[tokio::test]
async fn a_framework_may_have_only_the_roles_and_users_it_was_given() {
    let master = ruled().await;
    let answer = post(&master, "/api/v1/scheduler", "web", &call_in("db")).await;
    assert_eq!(answer.status(), 200);
    let mut refused = Events(RecordStream::new(answer));
    let error = refused.next().await.expect("an event");
    let why = "Not authorized to register a framework in role 'db' as principal 'web'";
    assert_eq!(error["error"]["message"], why);
    assert_eq!(refused.next_but_heartbeats().await, None);

    let agent = FakeAgent::registered_as(master.address(), Some(named("agent"))).await;
    let answer = post(&master, "/api/v1/scheduler", "web", &call_in("web")).await;
    let stream = answer.headers()["mesos-stream-id"].clone();
    let mut events = Events(RecordStream::new(answer));
    let framework = next_of(&mut events, "SUBSCRIBED").await["subscribed"]["framework_id"].clone();
    let offers = next_of(&mut events, "OFFERS").await;
    let cpu = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}});
    let accept = json!({
        "type": "ACCEPT",
        "framework_id": framework,
        "accept": {
            "offer_ids": [offers["offers"]["offers"][0]["id"]],
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": [{
                "name": "t",
                "task_id": {"value": "t"},
                "agent_id": {"value": agent.id.as_str()},
                "resources": [cpu],
                "command": {"value": "true", "user": "root"},
            }]}}],
        },
    });
    let request = master.http.post(master.url("/api/v1/scheduler"));
    let request = request.header("authorization", named("web").basic());
    let request = request.header("mesos-stream-id", stream);
    let request = request.header("content-type", "application/json").body(accept.to_string());
    assert_eq!(request.send().await.expect("an answer").status(), 202);
    let status = next_of(&mut events, "UPDATE").await["update"]["status"].clone();
    assert_eq!(status["state"], "TASK_ERROR");
    assert_eq!(status["reason"], "REASON_TASK_UNAUTHORIZED");
    let why = "Not authorized to run tasks as user 'root' as principal 'web'";
    assert_eq!(status["message"], why);
}

#[tokio::test]
async fn everybody_sees_only_what_the_rules_show() {
    let master = ruled().await;
    let watch = json!({"type": "SUBSCRIBE"});
    let mut of_ops = Events(RecordStream::new(post(&master, "/api/v1", "ops", &watch).await));
    let mut of_web = Events(RecordStream::new(post(&master, "/api/v1", "web", &watch).await));
    assert_eq!(of_ops.next().await.expect("an event")["type"], "SUBSCRIBED");
    assert_eq!(of_web.next().await.expect("an event")["type"], "SUBSCRIBED");
    let answer = post(&master, "/api/v1/scheduler", "web", &call_in("web")).await;
    let mut events = Events(RecordStream::new(answer));
    next_of(&mut events, "SUBSCRIBED").await;
    next_of(&mut of_ops, "FRAMEWORK_ADDED").await;
    // What comes next shows that the framework was passed over.
    let _agent = FakeAgent::registered_as(master.address(), Some(named("agent"))).await;
    assert_eq!(of_web.next_but_heartbeats().await.expect("an event")["type"], "AGENT_ADDED");

    for (who, seen) in [("ops", 1), ("web", 0)] {
        let (_, state) = get(&master, "/state", who).await;
        assert_eq!(state["frameworks"].as_array().map(Vec::len), Some(seen), "{who}");
        assert_eq!(state["slaves"].as_array().map(Vec::len), Some(1), "{who}");
        assert_eq!(state.get("flags").is_some(), seen == 1, "{who}");
        let (_, answer) = ask(&master, who, &json!({"type": "GET_FRAMEWORKS"})).await;
        let frameworks = answer["get_frameworks"]["frameworks"].as_array().map_or(0, Vec::len);
        assert_eq!(frameworks, seen, "{who}");
        let (_, roles) = get(&master, "/roles", who).await;
        assert_eq!(roles["roles"].as_array().is_some_and(|all| !all.is_empty()), seen == 1);
    }
    assert_eq!(get(&master, "/flags", "ops").await.0, 200);
    let why = "Not authorized to see the flags as principal 'web'";
    assert_eq!(get(&master, "/flags", "web").await, (403, json!(why)));
    assert_eq!(ask(&master, "web", &json!({"type": "GET_FLAGS"})).await, (403, json!(why)));
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
    let cluster = Some("north".to_owned());
    let master = ruled_with(ACLS, Options { cluster, ..Options::default() }).await;
    let watch = json!({"type": "SUBSCRIBE"});
    let mut of_ops = Events(RecordStream::new(post(&master, "/api/v1", "ops", &watch).await));
    let mut of_web = Events(RecordStream::new(post(&master, "/api/v1", "web", &watch).await));
    next_of(&mut of_ops, "SUBSCRIBED").await;
    next_of(&mut of_web, "SUBSCRIBED").await;
    let mut info = agent_info(5051);
    info.resources.extend([cores_of("db", 2.0), cores_of("web", 1.0)]);
    let who = Some(named("agent"));
    let _agent = FakeAgent::register(master.address(), who, &info).await.expect("let in");
    let answer = post(&master, "/api/v1/scheduler", "web", &call_in("db")).await;
    let mut events = Events(RecordStream::new(answer));
    next_of(&mut events, "OFFERS").await;

    let (all, own) = (vec![json!("db"), json!("web")], vec![json!("web")]);
    for (who, watching, seen) in [("ops", &mut of_ops, &all), ("web", &mut of_web, &own)] {
        let seen: Vec<&Value> = seen.iter().collect();
        let added = next_of(watching, "AGENT_ADDED").await["agent_added"]["agent"].clone();
        assert_eq!(reserved_in(&added["total_resources"]), seen, "{who}");
        let (_, answer) = ask(&master, who, &json!({"type": "GET_STATE"})).await;
        let agent = &answer["get_state"]["get_agents"]["agents"][0];
        assert_eq!(reserved_in(&agent["total_resources"]), seen, "{who}");
        assert_eq!(reserved_in(&agent["agent_info"]["resources"]), seen, "{who}");
        let framework = &answer["get_state"]["get_frameworks"]["frameworks"][0];
        let is_everything = seen.len() == 2;
        assert_eq!(framework.get("offered_resources").is_some(), is_everything, "{who}");
        let offered = framework["offers"][0].get("resources");
        assert_eq!(offered.is_some(), is_everything, "{who}");

        let (_, slaves) = get(&master, "/slaves", who).await;
        for reserved in ["reserved_resources", "reserved_resources_full"] {
            let reserved = slaves["slaves"][0][reserved].as_object().expect("an object");
            let roles: Vec<Value> = reserved.keys().map(|role| json!(role)).collect();
            assert_eq!(roles.iter().collect::<Vec<_>>(), seen, "{who}");
        }
        let (_, roles) = get(&master, "/roles", who).await;
        let roles = roles["roles"].as_array().expect("a list");
        assert_eq!(roles.iter().map(|role| &role["name"]).collect::<Vec<_>>(), seen, "{who}");
        assert_eq!(roles.last().expect("one")["reserved"]["cpus"], json!(1.0), "{who}");

        let (_, state) = get(&master, "/state", who).await;
        assert_eq!(state.get("cluster").is_some(), is_everything, "{who}");
        let (_, summary) = get(&master, "/state-summary", who).await;
        assert_eq!(summary["cluster"], "north", "{who}");
    }
}

#[tokio::test]
async fn changes_are_refused_to_those_who_may_not() {
    let master = ruled().await;
    let quota = |role: &str| {
        let limit = json!({"cpus": {"value": 2}});
        let configs = json!([{"role": role, "limits": limit}]);
        json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": configs}})
    };
    assert_eq!(ask(&master, "ops", &quota("web")).await.0, 200);
    for (who, role) in [("web", "web"), ("ops", "db")] {
        let text =
            format!("Not authorized to change the quota of role '{role}' as principal '{who}'");
        assert_eq!(ask(&master, who, &quota(role)).await, (403, json!(text)));
    }
    for (who, shown) in [("ops", 1), ("web", 0)] {
        let (_, answer) = ask(&master, who, &json!({"type": "GET_QUOTA"})).await;
        let configs = answer["get_quota"]["status"]["configs"].as_array().map_or(0, Vec::len);
        assert_eq!(configs, shown, "{who}");
    }
    let drain = json!({"type": "DRAIN_AGENT", "drain_agent": {"agent_id": {"value": "x"}}});
    assert_eq!(ask(&master, "ops", &drain).await.0, 403);

    let answer = post(&master, "/api/v1/scheduler", "web", &call_in("web")).await;
    let mut events = Events(RecordStream::new(answer));
    let framework = next_of(&mut events, "SUBSCRIBED").await["subscribed"]["framework_id"].clone();
    let teardown = json!({"type": "TEARDOWN", "teardown": {"framework_id": framework}});
    assert_eq!(ask(&master, "web", &teardown).await.0, 403);
    assert_eq!(ask(&master, "ops", &teardown).await.0, 200);

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
    let master = ruled_by(OF_BATCH).await;
    let watch = json!({"type": "SUBSCRIBE"});
    let mut seen = Events(RecordStream::new(post(&master, "/api/v1", "ops", &watch).await));
    next_of(&mut seen, "SUBSCRIBED").await;
    let mut agent = FakeAgent::registered_as(master.address(), Some(named("agent"))).await;
    let answer = post(&master, "/api/v1/scheduler", "web", &call_in("web")).await;
    let stream = answer.headers()["mesos-stream-id"].clone();
    let mut events = Events(RecordStream::new(answer));
    let framework = next_of(&mut events, "SUBSCRIBED").await["subscribed"]["framework_id"].clone();
    let offers = next_of(&mut events, "OFFERS").await;
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
        "type": "CUSTOM", "executor_id": {"value": "e"}, "framework_id": framework,
        "command": {"value": "work", "user": "batch"},
        "resources": [amount("cpus", 0.1), amount("mem", 32.0)],
    });
    let accept = json!({
        "type": "ACCEPT",
        "framework_id": framework,
        "accept": {
            "offer_ids": [offers["offers"]["offers"][0]["id"]],
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": [hidden, shown]}}],
        },
    });
    let request = master.http.post(master.url("/api/v1/scheduler"));
    let request = request.header("authorization", named("web").basic());
    let request = request.header("mesos-stream-id", stream);
    let request = request.header("content-type", "application/json").body(accept.to_string());
    assert_eq!(request.send().await.expect("an answer").status(), 202);
    let added = next_of(&mut seen, "TASK_ADDED").await["task_added"]["task"].clone();
    assert_eq!((&added["task_id"]["value"], &added["user"]), (&json!("shown"), &json!("batch")));
    let (_, answer) = ask(&master, "ops", &json!({"type": "GET_TASKS"})).await;
    let tasks = answer["get_tasks"]["tasks"].as_array().expect("a list");
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
        let framework = FrameworkId::new(framework["value"].as_str().expect("an id"));
        let framework = framework.expect("an id");
        agent
            .say(&FromAgent::StatusUpdate { framework, status, latest: TaskState::Finished })
            .await;
    }
    for told in ["TASK_RUNNING", "TASK_FINISHED"] {
        let updated = next_of(&mut seen, "TASK_UPDATED").await["task_updated"].clone();
        assert_eq!(
            (&updated["status"]["state"], &updated["state"]),
            (&json!(told), &json!("TASK_FINISHED"))
        );
    }
}
