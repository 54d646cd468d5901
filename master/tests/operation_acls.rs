//! Who may make what of resources, by the rules of operators: in ACCEPT, by calls and by forms.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Alone, BOTH, FakeAgent, Operator, Scheduler};
use master::{Authentication, Options};
use model::link::ToAgent;
use proto::mesos::v1::master::Call;
use serde_json::{Value, json};
use transport::auth::{Credential, Credentials};
use transport::http::{Encoding, decode};

/// `ops` may do everything for role `db`, and undo what it has made itself. `dev` may only reserve and
/// make volumes.
const ACLS: &str = r#"{
    "permissive": false,
    "register_frameworks": [{"principals": {"type": "ANY"}, "roles": {"type": "ANY"}}],
    "register_agents": [{"principals": {"type": "ANY"}, "agents": {"type": "ANY"}}],
    "reserve_resources": [
        {"principals": {"values": ["ops", "dev"]}, "roles": {"values": ["db"]}}
    ],
    "create_volumes": [{"principals": {"values": ["ops", "dev"]}, "roles": {"values": ["db"]}}],
    "resize_volumes": [{"principals": {"values": ["ops"]}, "roles": {"values": ["db"]}}],
    "unreserve_resources": [
        {"principals": {"values": ["ops"]}, "reserver_principals": {"values": ["ops"]}}
    ],
    "destroy_volumes": [
        {"principals": {"values": ["ops"]}, "creator_principals": {"values": ["ops"]}}
    ],
    "view_roles": [{"principals": {"values": ["ops"]}, "roles": {"values": ["db"]}}],
    "access_mesos_logs": [{"principals": {"values": ["ops"]}, "logs": {"type": "ANY"}}],
    "get_endpoints": [{"principals": {"values": ["ops"]}, "paths": {"values": ["/files/debug"]}}]
}"#;

fn named(name: &str) -> Credential {
    Credential::new(name, "s")
}

async fn ruled(log_file: Option<std::path::PathBuf>) -> Alone {
    let authentication = Authentication {
        credentials: Some(Arc::new(Credentials::new(["ops", "dev", "eve"].map(named)))),
        frameworks: true,
        readonly: true,
        readwrite: true,
        ..Authentication::default()
    };
    let acls = Arc::new(serde_json::from_str(ACLS).expect("rules"));
    let allocation_interval = Duration::from_millis(20);
    let options = Options { authentication, acls, log_file, ..Options::default() };
    Alone::with(Options { allocation_interval, ..options }).await
}

fn reserved(name: &str, amount: f64, role: &str, by: &str) -> Value {
    json!({
        "name": name, "type": "SCALAR", "scalar": {"value": amount},
        "reservations": [{"type": "DYNAMIC", "role": role, "principal": by}],
    })
}

fn volume(amount: f64, role: &str, by: &str) -> Value {
    let mut volume = reserved("disk", amount, role, by);
    volume["disk"] = json!({
        "persistence": {"id": "data", "principal": by},
        "volume": {"container_path": "data", "mode": "RW"},
    });
    volume
}

/// What is done, with what, and what one who may not is not authorized to do. `by` has made it.
fn round(role: &str, by: &str) -> [(&'static str, Value, String); 6] {
    let space = json!([reserved("disk", 64.0, role, by)]);
    let addition = reserved("disk", 16.0, role, by);
    [
        ("RESERVE", json!({"resources": space}), format!("reserve resources of '{role}'")),
        (
            "CREATE",
            json!({"volumes": [volume(32.0, role, by)]}),
            format!("make volumes of '{role}'"),
        ),
        (
            "GROW_VOLUME",
            json!({"volume": volume(32.0, role, by), "addition": addition}),
            format!("resize volumes of '{role}'"),
        ),
        (
            "SHRINK_VOLUME",
            json!({"volume": volume(48.0, role, by), "subtract": {"value": 16.0}}),
            format!("resize volumes of '{role}'"),
        ),
        (
            "DESTROY",
            json!({"volumes": [volume(32.0, role, by)]}),
            format!("destroy volumes of '{by}'"),
        ),
        ("UNRESERVE", json!({"resources": space}), format!("unreserve resources of '{by}'")),
    ]
}

/// The call and the form of an operation, where it has one.
fn operator_forms(kind: &str) -> (&'static str, Option<(&'static str, &'static str)>) {
    match kind {
        "RESERVE" => ("RESERVE_RESOURCES", Some(("/reserve", "resources"))),
        "UNRESERVE" => ("UNRESERVE_RESOURCES", Some(("/unreserve", "resources"))),
        "CREATE" => ("CREATE_VOLUMES", Some(("/create-volumes", "volumes"))),
        "DESTROY" => ("DESTROY_VOLUMES", Some(("/destroy-volumes", "volumes"))),
        "GROW_VOLUME" => ("GROW_VOLUME", None),
        _ => ("SHRINK_VOLUME", None),
    }
}

/// Status and text of an operator's call.
async fn ask(master: &Alone, encoding: Encoding, who: &str, call: &Value) -> (u16, String) {
    let message: Call =
        decode(Encoding::Json, call.to_string().as_bytes(), "Call").expect("a call");
    let request = master.http.post(master.url("/api/v1")).header("accept", encoding.mime());
    let request = request.header("content-type", encoding.mime()).body(encoding.encode(&message));
    answered(request, who).await
}

async fn answered(request: reqwest::RequestBuilder, who: &str) -> (u16, String) {
    let request = request.header("authorization", named(who).basic());
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

async fn post_form(
    master: &Alone,
    path: &str,
    who: &str,
    fields: [(&str, &str); 2],
) -> (u16, String) {
    let field = |(name, value): (&str, &str)| {
        let escaped: Vec<_> = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("{name}={}", escaped.concat())
    };
    let form = fields.map(field).join("&");
    let request = master.http.post(master.url(path)).body(form);
    answered(request.header("content-type", "application/x-www-form-urlencoded"), who).await
}

#[tokio::test]
async fn operators_make_of_resources_only_what_the_rules_let_them() {
    let master = ruled(None).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let id = agent.id.to_string();
    for encoding in BOTH {
        for (kind, body, _) in round("db", "ops") {
            let (call, form) = operator_forms(kind);
            // Others may not: `eve` nothing at all, `dev` only make, and that only for one role.
            let may_nothing = [("eve", "db"), ("dev", "web")];
            let not_undo = (kind != "RESERVE" && kind != "CREATE").then_some(("dev", "db"));
            for (who, role) in may_nothing.into_iter().chain(not_undo) {
                let (_, body, what) = round(role, who)
                    .into_iter()
                    .find(|(other, ..)| *other == kind)
                    .expect("all are there");
                let why = format!("Not authorized to {what} as principal '{who}'");
                let mut message = body.clone();
                message["agent_id"] = json!({"value": id});
                let asked = json!({"type": call, call.to_lowercase(): message});
                let answer = ask(&master, encoding, who, &asked).await;
                assert_eq!(answer, (403, why.clone()), "{call}");
                let Some((path, field)) = form else { continue };
                let text = body[field].to_string();
                let fields = [("slaveId", id.as_str()), (field, text.as_str())];
                assert_eq!(post_form(&master, path, who, fields).await, (403, why), "{path}");
            }
            // And `ops` may, by a call as by a form.
            if let (Encoding::Protobuf, Some((path, field))) = (encoding, form) {
                let text = body[field].to_string();
                let fields = [("slaveId", id.as_str()), (field, text.as_str())];
                assert_eq!(post_form(&master, path, "ops", fields).await.0, 202, "{path}");
            } else {
                let mut message = body;
                message["agent_id"] = json!({"value": id});
                let asked = json!({"type": call, call.to_lowercase(): message});
                assert_eq!(
                    ask(&master, encoding, "ops", &asked).await,
                    (202, String::new()),
                    "{call}"
                );
            }
            assert_eq!(agent.apply().await, kind);
        }
    }
}

#[tokio::test]
async fn frameworks_make_of_resources_only_what_the_rules_let_them() {
    let master = ruled(None).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let info = json!({
        "user": "nobody", "name": "stateful", "role": "db",
        "capabilities": [{"type": "RESERVATION_REFINEMENT"}],
    });
    let operation = |kind: &str, body: &Value| json!([{"type": kind, "id": {"value": kind}, kind.to_lowercase(): body}]);
    // What `dev` has made goes with nobody's help: `ops` may only undo its own.
    for (encoding, who) in [
        (Encoding::Json, "ops"),
        (Encoding::Protobuf, "ops"),
        (Encoding::Json, "eve"),
        (Encoding::Protobuf, "dev"),
    ] {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, Some(named(who))).await;
        for (kind, body, what) in round("db", who) {
            let may = who == "ops" || (who == "dev" && (kind == "RESERVE" || kind == "CREATE"));
            let offers = scheduler.offers_of_disk(1_024.0).await;
            scheduler.accept(&offers, operation(kind, &body)).await;
            if may {
                assert_eq!(agent.apply().await, kind);
            }
            let report = scheduler.operation().await;
            assert_eq!(report["operation_id"]["value"], kind);
            if may {
                assert_eq!(report["state"], "OPERATION_FINISHED", "{report}");
                let keep = json!({
                    "operation_id": {"value": kind}, "agent_id": report["agent_id"],
                    "uuid": report["uuid"]["value"],
                });
                let call = "ACKNOWLEDGE_OPERATION_STATUS";
                scheduler.call(json!({"type": call, call.to_lowercase(): keep})).await;
                let told = agent.hear().await.expect("the link is up");
                assert!(matches!(told, ToAgent::AcknowledgeOperation { .. }), "{told:?}");
            } else {
                let why = format!("Not authorized to {what} as principal '{who}'");
                assert_eq!(report["state"], "OPERATION_ERROR", "{report}");
                assert_eq!(report["message"], why, "{report}");
            }
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn operations_are_shown_to_those_who_see_their_roles() {
    let master = ruled(None).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    agent.be_slow();
    let id = json!({"value": agent.id.to_string()});
    let body = json!({"agent_id": id, "resources": [reserved("cpus", 1.0, "db", "ops")]});
    let call = json!({"type": "RESERVE_RESOURCES", "reserve_resources": body});
    let meanwhile = async {
        let Some(ToAgent::Apply(operation)) = agent.hear().await else { panic!("not told") };
        for encoding in BOTH {
            for (who, seen) in [("ops", 1), ("dev", 0)] {
                let who = Some(named(who));
                let operator = Operator { who, ..Operator::new(&master, encoding) };
                let answer = operator.ask("GET_OPERATIONS").await;
                let shown = answer["operations"].as_array().map_or(0, Vec::len);
                assert_eq!(shown, seen, "{answer}");
            }
        }
        agent.finish(&operation).await;
    };
    let (answer, ()) = tokio::join!(ask(&master, Encoding::Json, "ops", &call), meanwhile);
    assert_eq!(answer.0, 202);
}

#[tokio::test]
async fn the_log_and_some_endpoints_are_for_those_who_may() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("master.log");
    std::fs::write(&log, "a line\n").expect("written");
    let master = ruled(Some(log)).await;
    let get = async |path: &str, who: &str| answered(master.http.get(master.url(path)), who).await;
    let why = |what: &str| format!("Not authorized to {what} as principal 'dev'");
    for path in ["browse?path=/master/log", "read?path=/master/log", "download?path=/master/log"] {
        let path = format!("/files/{path}");
        assert_ne!(get(&path, "ops").await.0, 403, "{path}");
        assert_eq!(get(&path, "dev").await, (403, why("read the log of the master")), "{path}");
    }
    assert_eq!(get("/files/debug", "ops").await.0, 200);
    assert_eq!(get("/files/debug", "dev").await, (403, why("see where files lead")));
    for path in ["/metrics/snapshot", "/metrics"] {
        // Only those paths that the rule names.
        for who in ["ops", "dev"] {
            assert_eq!(get(path, who).await.0, 403, "{path} {who}");
        }
    }
    for (kind, body) in [("LIST_FILES", "list_files"), ("READ_FILE", "read_file")] {
        let mut call = json!({"type": kind});
        call[body] = json!({"path": "/master/log"});
        if kind == "READ_FILE" {
            call[body]["offset"] = json!(0);
        }
        for encoding in BOTH {
            assert_ne!(ask(&master, encoding, "ops", &call).await.0, 403, "{kind}");
            let answer = ask(&master, encoding, "dev", &call).await;
            assert_eq!(answer, (403, why("read the log of the master")), "{kind}");
        }
    }
}
