//! What operators and frameworks make of resources, over real sockets, in JSON and in protobuf.

mod common;

use common::{Alone, BOTH, FakeAgent};
use model::link::ToAgent;
use proto::mesos::v1::master::{Call, Response};
use serde_json::{Value, json};
use transport::http::{BODY_BYTES_MAX, Encoding, decode};

/// Sends a call and returns status and body: what was said of a refusal, or the answer in JSON.
async fn call(master: &Alone, encoding: Encoding, call: Value) -> (u16, Value) {
    let message: Call =
        decode(Encoding::Json, call.to_string().as_bytes(), "Call").expect("a call");
    let mime = encoding.mime();
    let request = master.http.post(master.url("/api/v1")).header("accept", mime);
    let request = request.header("content-type", mime).body(encoding.encode(&message));
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.bytes().await.expect("a body");
    if status != 200 {
        return (status, String::from_utf8_lossy(&body).into_owned().into());
    }
    let response: Response = decode(encoding, &body, "Response").expect("an answer");
    (status, proto::json::to_value(&response))
}

fn reserved(name: &str, amount: f64) -> Value {
    json!({
        "name": name, "type": "SCALAR", "scalar": {"value": amount},
        "reservations": [{"type": "DYNAMIC", "role": "db"}],
    })
}

fn volume(amount: f64) -> Value {
    let mut volume = reserved("disk", amount);
    volume["disk"] = json!({
        "persistence": {"id": "data"}, "volume": {"container_path": "data", "mode": "RW"},
    });
    volume
}

/// What the agent is told to do next, by name.
async fn applied(agent: &mut FakeAgent) -> &'static str {
    let told = agent.hear().await.expect("the link is up");
    let ToAgent::Apply(operation) = told else { panic!("{told:?}") };
    operation.conversion.name()
}

#[tokio::test]
async fn operators_reserve_and_make_volumes_in_both_encodings() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let id = json!({"value": agent.id.as_str()});
    let accepted = (202, json!(""));
    for encoding in BOTH {
        let space = [reserved("disk", 64.0), reserved("cpus", 1.0)];
        let steps = [
            (
                "RESERVE",
                json!({"type": "RESERVE_RESOURCES",
                    "reserve_resources": {"agent_id": id, "resources": space}}),
            ),
            (
                "CREATE",
                json!({"type": "CREATE_VOLUMES",
                    "create_volumes": {"agent_id": id, "volumes": [volume(32.0)]}}),
            ),
            (
                "GROW_VOLUME",
                json!({"type": "GROW_VOLUME", "grow_volume": {"agent_id": id,
                    "volume": volume(32.0), "addition": reserved("disk", 16.0)}}),
            ),
            (
                "SHRINK_VOLUME",
                json!({"type": "SHRINK_VOLUME", "shrink_volume": {"agent_id": id,
                    "volume": volume(48.0), "subtract": {"value": 8.0}}}),
            ),
            (
                "DESTROY",
                json!({"type": "DESTROY_VOLUMES",
                    "destroy_volumes": {"agent_id": id, "volumes": [volume(40.0)]}}),
            ),
            (
                "UNRESERVE",
                json!({"type": "UNRESERVE_RESOURCES",
                    "unreserve_resources": {"agent_id": id, "resources": space}}),
            ),
        ];
        for (name, step) in steps {
            assert_eq!(call(&master, encoding, step).await, accepted, "{name}");
            assert_eq!(applied(&mut agent).await, name);
        }
        let (_, state) = call(&master, encoding, json!({"type": "GET_OPERATIONS"})).await;
        assert_eq!(state["get_operations"]["operations"], Value::Null, "all of it is done");
    }
}

#[tokio::test]
async fn what_cannot_be_reserved_is_refused_with_its_status() {
    let master = Alone::started().await;
    let agent = FakeAgent::registered(master.address()).await;
    let reserve = |id: &str, resources: Value| {
        json!({"type": "RESERVE_RESOURCES",
            "reserve_resources": {"agent_id": {"value": id}, "resources": resources}})
    };
    let id = agent.id.as_str();
    for encoding in BOTH {
        for (step, status, why) in [
            (
                reserve("nobody", json!([reserved("cpus", 1.0)])),
                400,
                "No agent found with specified ID",
            ),
            (reserve(id, json!([])), 400, "No resources are named"),
            (
                reserve(id, json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}])),
                400,
                "is not dynamically reserved",
            ),
            (reserve(id, json!([reserved("cpus", 1000.0)])), 409, "is not free on the agent"),
            (
                json!({"type": "DESTROY_VOLUMES",
                "destroy_volumes": {"agent_id": {"value": id}, "volumes": [volume(1.0)]}}),
                400,
                "Persistent volumes not found",
            ),
        ] {
            let (was, said) = call(&master, encoding, step).await;
            assert!(was == status && said.as_str().expect("text").contains(why), "{was} {said}");
        }
    }
}

/// POSTs a form as browsers and old tools do.
async fn post_form(master: &Alone, path: &str, fields: &[(&str, String)]) -> reqwest::Response {
    let escaped = |text: &str| {
        let byte = |byte: u8| match char::from(byte) {
            plain if plain.is_ascii_alphanumeric() => plain.to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect::<Vec<_>>().concat()
    };
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let request = master.http.post(master.url(path)).body(fields.join("&"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn forms_of_old_tools_do_the_same() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let old = |name: &str, amount: f64| {
        json!({"name": name, "type": "SCALAR", "scalar": {"value": amount}, "role": "db",
            "reservation": {}})
    };
    let space = json!([old("disk", 64.0)]);
    let volumes = json!([volume(64.0)]);
    for (path, name, field, resources) in [
        ("/reserve", "RESERVE", "resources", &space),
        ("/master/create-volumes", "CREATE", "volumes", &volumes),
        ("/destroy-volumes", "DESTROY", "volumes", &volumes),
        ("/unreserve", "UNRESERVE", "resources", &space),
    ] {
        let form = [("slaveId", agent.id.to_string()), (field, resources.to_string())];
        let answer = post_form(&master, path, &form).await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("text"));
        assert_eq!((status, text.as_str()), (202, ""), "{path}");
        assert_eq!(applied(&mut agent).await, name);
    }
    // Whatever they call what they send, and however long it is.
    let long = format!("slaveId={}&resources=%5B%5D&padding={}", agent.id, "x".repeat(3 << 20));
    let request = master.http.post(master.url("/reserve")).body(long);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 400, "it is read, and asks for nothing");
    let why = format!("Invalid RESERVE operation on agent {}: No resources are named", agent.id);
    assert_eq!(answer.text().await.expect("text"), why);
    // As long as any call may be, and no longer.
    for path in ["/reserve", "/unreserve", "/create-volumes", "/destroy-volumes", "/teardown"] {
        let endless = vec![b'x'; BODY_BYTES_MAX + 1];
        let answer = master.http.post(master.url(path)).body(endless).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 413, "{path}");
        let why = "The request body is larger than 33554432 bytes; split the call";
        assert_eq!(answer.text().await.expect("text"), why, "{path}");
    }
    let nobody = master.http.post(master.url("/teardown")).body("frameworkId=nobody");
    let answer = nobody.send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.text().await.expect("text"), "No framework found with specified ID");
    let answer = post_form(&master, "/reserve", &[("slaveId", "x".to_owned())]).await;
    let text = answer.text().await.expect("text");
    assert_eq!(text, "Missing 'resources' query parameter in the request body");
}
