//! Resources: what is none, in the words that everybody is told who names it.

use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager};
use crate::words::{BOTH, able, amount, with};

fn reserved(reservations: Value) -> Value {
    with(amount("cpus", 1.0), "reservations", reservations)
}

/// What is no amount of anything.
fn of_values() -> Vec<(Value, &'static str)> {
    let ranges = |ranges: Value| json!({"name": "ports", "type": "RANGES", "ranges": ranges});
    let range = |begin: u64, end: u64| json!({"begin": begin, "end": end});
    vec![
        (with(amount("cpus", 1.0), "name", json!("")), "Empty resource name"),
        (amount("cpus", -1.0), "Invalid scalar resource: value <= 0"),
        (amount("cpus", 0.000_1), "Invalid scalar resource: value <= 0"),
        (amount("cpus", 1e300), "Invalid scalar resource: value is out of range"),
        (amount("gpus", 0.5), "Invalid scalar resource: 'gpus' must be a whole number"),
        (json!({"name": "cpus", "type": "SCALAR"}), "Invalid scalar resource: value is missing"),
        (ranges(json!({"range": [range(2, 1)]})), "Invalid ranges resource: begin > end"),
        (
            ranges(json!({"range": [range(1, 5), range(5, 6)]})),
            "Invalid ranges resource: overlapping ranges",
        ),
        (ranges(Value::Null), "Invalid ranges resource: value is missing"),
        (
            json!({"name": "s", "type": "SET", "set": {"item": ["a", "a"]}}),
            "Invalid set resource: duplicated elements",
        ),
        (json!({"name": "s", "type": "SET"}), "Invalid set resource: value is missing"),
        (json!({"name": "t", "type": "TEXT"}), "Unsupported resource type"),
    ]
}

/// What cannot be reserved as it says.
fn of_reservations() -> Vec<(Value, &'static str)> {
    let of = |kind: &str, role: &str| json!({"type": kind, "role": role});
    let web = json!([of("DYNAMIC", "web")]);
    let old = |role: &str, more: Value| {
        with(with(amount("cpus", 1.0), "role", json!(role)), "reservation", more)
    };
    vec![
        (
            reserved(json!([of("DYNAMIC", "*")])),
            "Invalid reservation: role \"*\" cannot be reserved",
        ),
        (old("*", json!({})), "Invalid reservation: role \"*\" cannot be reserved"),
        (reserved(json!([{"role": "web"}])), "Invalid reservation: 'type' is missing"),
        (reserved(json!([{"type": "DYNAMIC"}])), "Invalid reservation: 'role' is missing"),
        (
            reserved(json!([of("DYNAMIC", "a//b")])),
            "Invalid reservation: Role 'a//b' cannot start or end with a slash",
        ),
        (
            reserved(json!([of("STATIC", "web"), of("DYNAMIC", "db")])),
            "Invalid reservation: role 'db' is not below 'web'",
        ),
        (
            reserved(json!([of("STATIC", "web"), of("DYNAMIC", "web")])),
            "Invalid reservation: role 'web' is not below 'web'",
        ),
        (
            reserved(json!([of("DYNAMIC", "web"), of("STATIC", "web/a")])),
            "Invalid reservation: a refined reservation cannot be STATIC",
        ),
        // Said in the old form as well, and not the same.
        (
            with(reserved(web.clone()), "role", json!("db")),
            "Invalid resource: 'role' is 'db', and 'reservations' are for role 'web'",
        ),
        (
            with(reserved(web), "reservation", json!({"principal": "ops"})),
            "Invalid resource: 'reservation' says something else than 'reservations'",
        ),
        (
            old("web", json!({"role": "db"})),
            "Invalid reservation: it is for role 'db', and the resource for role 'web'",
        ),
        (with(amount("cpus", 1.0), "role", json!("-a")), "Invalid role: Role '-a'"),
    ]
}

/// What is no disk.
fn of_disks() -> Vec<(Value, &'static str)> {
    let of = |name: &str, disk: Value| with(crate::words::reserved(name, 1.0, "web"), "disk", disk);
    let persistence = |id: &str| json!({"id": id});
    let volume = json!({"container_path": "data", "mode": "RW"});
    let both = |id: &str, volume: &Value| json!({"persistence": persistence(id), "volume": volume});
    vec![
        (of("cpus", both("p", &volume)), "DiskInfo should not be set for cpus resource"),
        (of("disk", json!({})), "DiskInfo is set but empty"),
        (
            of("disk", json!({"persistence": persistence("p")})),
            "A persistent volume needs 'volume' to be set",
        ),
        (
            of("disk", json!({"volume": volume})),
            "A disk with 'volume' needs 'persistence' to be set",
        ),
        (
            of("disk", both("", &volume)),
            "Invalid persistence ID for persistent volume: ID must not be empty",
        ),
        (
            of("disk", both("a/b", &volume)),
            "Invalid persistence ID for persistent volume: 'a/b' contains invalid characters",
        ),
        (
            of("disk", both("p", &with(volume.clone(), "host_path", json!("/etc")))),
            "A persistent volume must not have a 'host_path'",
        ),
        (
            of("disk", both("p", &with(volume, "container_path", json!("")))),
            "A persistent volume needs a 'container_path'",
        ),
        (of("disk", json!({"source": {"type": "UNKNOWN"}})), "Unsupported 'DiskInfo.Source.Type'"),
    ]
}

#[tokio::test]
async fn what_is_no_resource_is_told_to_whoever_names_it() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    let id = json!({"value": agent.id.as_str()});
    let all = || of_values().into_iter().chain(of_reservations()).chain(of_disks());
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        for (resource, why) in all() {
            for (list, call) in [("resources", "RESERVE_RESOURCES"), ("volumes", "CREATE_VOLUMES")]
            {
                let body = json!({"agent_id": id, list: [resource]});
                let call = json!({"type": call, call.to_lowercase(): body});
                let (status, text) = operator.call(&call).await;
                let text = text.as_str().expect("text");
                assert!(status == 400 && text.starts_with(why), "{resource}: {status} {text}");
            }
        }
        // All of them in one call, of which each is answered by itself.
        let info = able(&["RESERVATION_REFINEMENT"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let named = |(n, (resource, _)): (usize, (Value, &str))| {
            let body = json!({"resources": [resource]});
            json!({"type": "RESERVE", "id": {"value": n.to_string()}, "reserve": body})
        };
        let operations: Vec<Value> = all().enumerate().map(named).collect();
        scheduler.accept(&[offer], json!(operations)).await;
        for (n, (resource, why)) in all().enumerate() {
            let report = scheduler.operation().await;
            assert_eq!(report["operation_id"]["value"], n.to_string());
            assert_eq!(report["state"], "OPERATION_ERROR", "{resource}");
            let text = report["message"].as_str().expect("text");
            let start = format!("Invalid RESERVE operation: {why}");
            assert!(text.starts_with(&start), "{resource}: {text}");
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}
