//! What frameworks make of resources, over real sockets, in JSON and in protobuf.

mod common;

use std::time::Duration;

use common::{Alone, BOTH, FakeAgent, Scheduler};
use master::Options;
use model::link::ToAgent;
use serde_json::{Value, json};

/// What is refused is offered again soon.
fn eager() -> Options {
    Options { allocation_interval: Duration::from_millis(20), ..Options::default() }
}

fn framework() -> Value {
    json!({
        "user": "nobody", "name": "stateful", "role": "db", "principal": "dba",
        "failover_timeout": 60.0, "capabilities": [{"type": "RESERVATION_REFINEMENT"}],
    })
}

fn plain(name: &str, amount: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": amount}})
}

fn reserved(name: &str, amount: f64) -> Value {
    let mut resource = plain(name, amount);
    resource["reservations"] = json!([{"type": "DYNAMIC", "role": "db", "principal": "dba"}]);
    resource
}

fn volume(amount: f64) -> Value {
    let mut volume = reserved("disk", amount);
    volume["disk"] = json!({
        "persistence": {"id": "data", "principal": "dba"},
        "volume": {"container_path": "data", "mode": "RW"},
    });
    volume
}

/// `value` with something else in it.
fn with(value: &Value, pointer: &str, new: Value) -> Value {
    let mut value = value.clone();
    *value.pointer_mut(pointer).expect("it is there") = new;
    value
}

fn operation(kind: &str, body: &Value) -> Value {
    json!({"type": kind, "id": {"value": "op"}, kind.to_lowercase(): body})
}

/// The round trip from free space to a volume and back.
fn round() -> [(&'static str, Value); 6] {
    let space = json!([reserved("cpus", 1.0), reserved("disk", 64.0)]);
    [
        ("RESERVE", json!({"resources": space})),
        ("CREATE", json!({"volumes": [volume(32.0)]})),
        ("GROW_VOLUME", json!({"volume": volume(32.0), "addition": reserved("disk", 16.0)})),
        ("SHRINK_VOLUME", json!({"volume": volume(48.0), "subtract": {"value": 8.0}})),
        ("DESTROY", json!({"volumes": [volume(40.0)]})),
        ("UNRESERVE", json!({"resources": space})),
    ]
}

#[tokio::test]
async fn every_operation_is_carried_out_reported_asked_for_and_kept_in_both_encodings() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let id = json!({"value": agent.id.as_str()});
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for (kind, body) in round() {
            let offers = scheduler.offers_of_disk(1_024.0).await;
            scheduler.accept(&offers, json!([operation(kind, &body)])).await;
            assert_eq!(agent.apply().await, kind);
            let report = scheduler.operation().await;
            assert_eq!(report["operation_id"]["value"], "op", "{kind}: {report}");
            assert_eq!(report["state"], "OPERATION_FINISHED", "{kind}");
            assert_eq!(report["agent_id"], id, "{kind}");

            // Asked for by name and for all there are.
            let by_name = json!([{"operation_id": {"value": "op"}, "agent_id": id}]);
            for operations in [by_name, json!([])] {
                let reconcile = json!({"operations": operations});
                let call =
                    json!({"type": "RECONCILE_OPERATIONS", "reconcile_operations": reconcile});
                scheduler.call(call).await;
                let answer = scheduler.operation().await;
                assert_eq!(answer["state"], "OPERATION_FINISHED", "{kind}");
                assert_eq!(answer["message"], "Reconciliation: Latest operation state", "{kind}");
                assert!(answer["uuid"].is_null(), "{kind}: {answer}");
            }
            let keep = json!({
                "operation_id": {"value": "op"}, "agent_id": id, "uuid": report["uuid"]["value"],
            });
            let call = json!({
                "type": "ACKNOWLEDGE_OPERATION_STATUS", "acknowledge_operation_status": keep,
            });
            scheduler.call(call).await;
            let told = agent.hear().await.expect("the link is up");
            assert!(matches!(told, ToAgent::AcknowledgeOperation { .. }), "{kind}: {told:?}");
            let one = json!([{"operation_id": {"value": "op"}, "agent_id": id}]);
            let reconcile = json!({"operations": one});
            let call = json!({"type": "RECONCILE_OPERATIONS", "reconcile_operations": reconcile});
            scheduler.call(call).await;
            assert_eq!(scheduler.operation().await["state"], "OPERATION_UNKNOWN", "{kind}");
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
    let metrics = master.get("/metrics/snapshot").await;
    assert_eq!(metrics["master/operations/finished"], 12.0);
    assert_eq!(metrics["master/operations/grow_volume/finished"], 2.0);
    assert_eq!(metrics["master/operations/total"], 0.0);
    assert_eq!(metrics["master/operations/reserve/pending"], 0.0);
}

#[tokio::test]
async fn operations_on_their_way_are_shown_in_both_encodings() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offers = scheduler.offers_of_disk(1_024.0).await;
        let body = json!({"resources": [reserved("cpus", 1.0)]});
        scheduler.accept(&offers, json!([operation("RESERVE", &body)])).await;
        let told = agent.hear().await.expect("the link is up");
        assert!(matches!(told, ToAgent::Apply(_)), "{told:?}");
        scheduler.call(json!({"type": "RECONCILE_OPERATIONS", "reconcile_operations": {}})).await;
        assert_eq!(scheduler.operation().await["state"], "OPERATION_PENDING");
        let answer = master.post("/api/v1", &json!({"type": "GET_OPERATIONS"})).await;
        let answer: Value =
            serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        let shown = &answer["get_operations"]["operations"];
        let shown = shown.as_array().expect("a list");
        let own =
            shown.iter().find(|one| one["framework_id"] == scheduler.id).expect("it is there");
        assert_eq!(own["info"]["type"], "RESERVE");
        assert_eq!(own["latest_status"]["state"], "OPERATION_PENDING");
        let metrics = master.get("/metrics/snapshot").await;
        assert_eq!(
            metrics["master/operations/reserve/pending"],
            metrics["master/operations/total"]
        );
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

/// What cannot be done, and what is said of it: the text, or how it begins.
fn impossible_reservations() -> Vec<(&'static str, Value, &'static str)> {
    let resources = |resource: Value| json!({"resources": [resource]});
    let cpu = reserved("cpus", 1.0);
    let revocable = {
        let mut cpu = cpu.clone();
        cpu["revocable"] = json!({});
        cpu
    };
    let both = {
        let mut cpu = cpu.clone();
        cpu["role"] = json!("other");
        cpu
    };
    vec![
        ("RESERVE", json!({"resources": []}), "No resources are named"),
        ("RESERVE", resources(plain("cpus", 1.0)), "Resource 'cpus' is not dynamically reserved"),
        ("RESERVE", resources(revocable), "Resource 'cpus' is revocable and cannot be reserved"),
        (
            "RESERVE",
            resources(with(&cpu, "/reservations/0/principal", json!("eve"))),
            "Resource 'cpus' reserved by principal 'eve', but it is 'dba' who asks for it",
        ),
        (
            "RESERVE",
            resources(with(&cpu, "/reservations", json!([{"type": "DYNAMIC", "role": "db"}]))),
            "Resource 'cpus' reserved without a principal, but it is 'dba' who asks for it",
        ),
        (
            "RESERVE",
            resources(with(&cpu, "/reservations/0/role", json!("web"))),
            "Resource 'cpus' is to be reserved for role 'web', but was offered for role 'db'",
        ),
        (
            "RESERVE",
            resources(with(&cpu, "/reservations/0/role", json!("*"))),
            "Invalid reservation: role \"*\" cannot be reserved",
        ),
        (
            "RESERVE",
            resources(both),
            "Invalid resource: 'role' is 'other', and 'reservations' are for role 'db'; give only \
             'reservations'",
        ),
        ("RESERVE", json!({"source": [cpu], "resources": [cpu]}), "'source' is for operators only"),
        ("RESERVE", resources(reserved("cpus", 1_000.0)), "cpus:1000 is more than available"),
        ("UNRESERVE", resources(plain("cpus", 1.0)), "Resource 'cpus' is not dynamically reserved"),
        (
            "UNRESERVE",
            resources(volume(8.0)),
            "A dynamically reserved persistent volume 'data' cannot be unreserved directly; destroy \
             it first",
        ),
    ]
}

/// The same of volumes.
fn impossible_volumes() -> Vec<(&'static str, Value, &'static str)> {
    let volumes = |volume: Value| json!({"volumes": [volume]});
    let on_host = {
        let mut volume = volume(8.0);
        volume["disk"]["volume"]["host_path"] = json!("/etc");
        volume
    };
    let shared = {
        let mut volume = volume(8.0);
        volume["shared"] = json!({});
        volume
    };
    vec![
        ("CREATE", volumes(reserved("disk", 8.0)), "Resource 'disk' is not a persistent volume"),
        (
            "CREATE",
            volumes(with(&volume(8.0), "/reservations", json!([]))),
            "Persistent volumes cannot be created from unreserved resources",
        ),
        (
            "CREATE",
            volumes(with(&volume(8.0), "/disk/volume/mode", json!("RO"))),
            "Persistent volume 'data' must be of mode RW",
        ),
        ("CREATE", volumes(on_host), "A persistent volume must not have a 'host_path'"),
        (
            "CREATE",
            volumes(with(&volume(8.0), "/disk/persistence/principal", json!("eve"))),
            "Persistent volume 'data' by principal 'eve', but it is 'dba' who asks for it",
        ),
        (
            "CREATE",
            volumes(shared),
            "Persistent volume 'data' is shared, and the framework is not SHARED_RESOURCES capable",
        ),
        (
            "CREATE",
            json!({"volumes": [volume(8.0), volume(9.0)]}),
            "Persistence ID 'data' is there twice",
        ),
        ("DESTROY", volumes(volume(8.0)), "Persistent volumes not found"),
        ("DESTROY", volumes(reserved("disk", 8.0)), "Resource 'disk' is not a persistent volume"),
        (
            "GROW_VOLUME",
            json!({"volume": volume(8.0), "addition": reserved("disk", 0.0)}),
            "'addition' must be more than nothing",
        ),
        (
            "GROW_VOLUME",
            json!({"volume": volume(8.0), "addition": plain("disk", 8.0)}),
            "'addition' is not of the kind that the volume is made of",
        ),
        (
            "SHRINK_VOLUME",
            json!({"volume": volume(8.0), "subtract": {"value": 0.0}}),
            "'subtract' must be more than nothing",
        ),
        (
            "SHRINK_VOLUME",
            json!({"volume": volume(8.0), "subtract": {"value": 1e300}}),
            "'subtract' is out of range",
        ),
        (
            "SHRINK_VOLUME",
            json!({"volume": volume(8.0), "subtract": {"value": 8.0}}),
            "'subtract' must be less than the volume's size",
        ),
    ]
}

#[tokio::test]
async fn an_operation_that_cannot_be_is_answered_in_its_own_words_in_both_encodings() {
    let master = Alone::with(eager()).await;
    let _agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for (kind, body, why) in impossible_reservations().into_iter().chain(impossible_volumes()) {
            let offers = scheduler.offers_of_disk(1_024.0).await;
            // The one without an id is dropped without a word: what is heard is of the other.
            let mut silent = operation(kind, &body);
            silent.as_object_mut().expect("an object").remove("id");
            scheduler.accept(&offers, json!([silent, operation(kind, &body)])).await;
            let report = scheduler.operation().await;
            assert_eq!(report["state"], "OPERATION_ERROR", "{kind} {body}");
            assert_eq!(report["operation_id"]["value"], "op");
            assert!(report["uuid"].is_null(), "said once: {report}");
            let said = report["message"].as_str().expect("a reason");
            let said = said.strip_prefix(&format!("Invalid {kind} operation: "));
            let said = said.unwrap_or_else(|| panic!("{report}"));
            assert!(said.starts_with(why), "{kind}: {said}");
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}
