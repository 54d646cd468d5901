//! Each rule of the JSON dialect by example.

use proto::json::{self, JsonError};
use proto::mesos::v1::{self, master, scheduler};
use proto::schema::Described;

fn write<M: Described>(message: &M) -> String {
    json::to_string(message)
}

fn read<M: Described>(text: &str) -> M {
    json::from_slice(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal<M: Described + std::fmt::Debug>(text: &str) -> String {
    match json::from_slice::<M>(text.as_bytes()) {
        Err(JsonError::Conversion(why)) => why,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn names_are_those_of_the_proto_file() {
    let id = v1::FrameworkId { value: "f".into() };
    let call = scheduler::Call { framework_id: Some(id), ..Default::default() };
    assert_eq!(write(&call), r#"{"framework_id":{"value":"f"}}"#);
    assert_eq!(read::<scheduler::Call>(&write(&call)), call);
    assert_eq!(read::<scheduler::Call>(r#"{"frameworkId":{"value":"f"}}"#).framework_id, None);
}

#[test]
fn unknown_members_are_ignored_at_any_depth() {
    let call: scheduler::Call =
        read(r#"{"x":{"y":[1,{"z":null}]},"framework_id":{"value":"f","color":"red"}}"#);
    assert_eq!(call.framework_id.map(|id| id.value).as_deref(), Some("f"));
}

#[test]
fn null_is_not_set() {
    let call: scheduler::Call = read(r#"{"type":null,"framework_id":null,"accept":null}"#);
    assert_eq!(call, scheduler::Call::default());
    let decline: scheduler::call::Decline = read(r#"{"offer_ids":[null,{"value":"o"}]}"#);
    assert_eq!(decline.offer_ids.len(), 1);
    assert_eq!(refusal::<v1::TaskId>(r#"{"value":null}"#), "Missing required fields: value");
}

#[test]
fn whole_numbers_are_numbers_with_all_their_digits() {
    let range = v1::value::Range { begin: 0, end: u64::MAX };
    assert_eq!(write(&range), r#"{"begin":0,"end":18446744073709551615}"#);
    let time = v1::TimeInfo { nanoseconds: i64::MIN };
    assert_eq!(write(&time), r#"{"nanoseconds":-9223372036854775808}"#);
    assert_eq!(read::<v1::TimeInfo>(&write(&time)), time);
    for text in
        [r#"{"begin":"1","end":2.0}"#, r#"{"begin":1.0,"end":"2.0"}"#, r#"{"begin":1,"end":2e0}"#]
    {
        assert_eq!(read::<v1::value::Range>(text), v1::value::Range { begin: 1, end: 2 }, "{text}");
    }
    assert_eq!(
        read::<v1::value::Range>(r#"{"begin":0,"end":"18446744073709551615"}"#).end,
        u64::MAX
    );
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    for (text, why) in [
        (r#"{"nanoseconds":1.5}"#, "'1.5'"),
        (r#"{"nanoseconds":1e30}"#, "'1000000000000000000000000000000'"),
        (r#"{"nanoseconds":9223372036854775808}"#, "'9223372036854775808'"),
    ] {
        let expected = format!(
            "Failed to parse {why} as a JSON number for field 'nanoseconds': \
             not a whole number in range"
        );
        assert_eq!(refusal::<v1::TimeInfo>(text), expected);
    }
    assert!(refusal::<v1::value::Range>(r#"{"begin":-1,"end":1}"#).contains("'-1'"));
    assert_eq!(
        refusal::<v1::TimeInfo>(r#"{"nanoseconds":"soon"}"#),
        "Failed to parse 'soon' as a JSON number for field 'nanoseconds': not a number"
    );
}

#[test]
fn doubles_are_shortest_and_whole_ones_keep_their_point() {
    let scalar = |value| write(&v1::value::Scalar { value });
    assert_eq!(scalar(15.0), r#"{"value":15.0}"#);
    assert_eq!(scalar(0.1), r#"{"value":0.1}"#);
    assert_eq!(scalar(-0.5), r#"{"value":-0.5}"#);
    assert_eq!(scalar(f64::INFINITY), r#"{"value":Inf}"#);
    assert_eq!(scalar(f64::NEG_INFINITY), r#"{"value":-Inf}"#);
    assert_eq!(scalar(f64::NAN), r#"{"value":NaN}"#);
    for (text, value) in [
        ("2", 2.0),
        ("\"0.5\"", 0.5),
        ("\"Infinity\"", f64::INFINITY),
        ("\"-Infinity\"", f64::NEG_INFINITY),
    ] {
        let read: v1::value::Scalar = read(&format!("{{\"value\":{text}}}"));
        assert_eq!(read.value.to_bits(), f64::to_bits(value), "{text}");
    }
    let inner = json::to_value(&v1::value::Scalar { value: f64::INFINITY });
    assert_eq!(inner, serde_json::json!({"value": "Infinity"}));
}

#[test]
fn booleans_may_come_in_strings() {
    let command: v1::CommandInfo = read(r#"{"shell":"false"}"#);
    assert_eq!(command.shell, Some(false));
    assert_eq!(read::<v1::CommandInfo>(r#"{"shell":"true"}"#).shell, Some(true));
    assert!(
        refusal::<v1::CommandInfo>(r#"{"shell":"yes"}"#)
            .starts_with("Failed to parse 'yes' as a JSON boolean for field 'shell'")
    );
    assert_eq!(
        refusal::<v1::CommandInfo>(r#"{"shell":1}"#),
        "Not expecting a JSON number for field 'shell'"
    );
}

#[test]
fn enums_go_by_name_only() {
    let call = scheduler::Call {
        r#type: Some(scheduler::call::Type::Subscribe.into()),
        ..Default::default()
    };
    assert_eq!(write(&call), r#"{"type":"SUBSCRIBE"}"#);
    assert_eq!(read::<scheduler::Call>(r#"{"type":"SUBSCRIBE"}"#), call);
    assert_eq!(
        refusal::<scheduler::Call>(r#"{"type":1}"#),
        "Not expecting a JSON number for field 'type'"
    );
    assert_eq!(read::<scheduler::Call>(r#"{"type":"JUGGLE"}"#).r#type, None);
    assert_eq!(refusal::<v1::Image>(r#"{"type":"FLOPPY"}"#), "Failed to find enum for 'FLOPPY'");
    // A number nobody knows is as if it were not set.
    let unknown = scheduler::Call { r#type: Some(99), ..Default::default() };
    assert_eq!(write(&unknown), "{}");
}

#[test]
fn bytes_are_base64_with_padding() {
    let message = v1::Uuid { value: vec![0xFB, 0xFF].into() };
    assert_eq!(write(&message), r#"{"value":"+/8="}"#);
    assert_eq!(read::<v1::Uuid>(&write(&message)), message);
    assert!(
        refusal::<v1::Uuid>(r#"{"value":"+/8"}"#)
            .starts_with("Failed to base64 decode bytes field 'value': ")
    );
}

#[test]
fn one_value_stands_for_a_list_of_one_and_no_list_for_one_value() {
    let one: v1::ContainerInfo = read(r#"{"type":"MESOS","network_infos":{"name":"cni"}}"#);
    let list: v1::ContainerInfo = read(r#"{"type":"MESOS","network_infos":[{"name":"cni"}]}"#);
    assert_eq!(one, list);
    assert_eq!(one.network_infos[0].name.as_deref(), Some("cni"));
    let revive: scheduler::call::Revive = read(r#"{"roles":"web"}"#);
    assert_eq!(revive.roles, ["web"]);
    assert_eq!(
        refusal::<scheduler::Call>(r#"{"framework_id":[{"value":"f"}]}"#),
        "Not expecting a JSON array for field 'framework_id'"
    );
    assert_eq!(write(&scheduler::call::Revive::default()), "{}");
}

#[test]
fn maps_are_objects() {
    let text = r#"{"limits":{"cpus":{"value":1.0},"mem":{"value":2.0}},"name":"t","#;
    let text = format!(r#"{text}"task_id":{{"value":"t"}},"agent_id":{{"value":"a"}}}}"#);
    let task: v1::TaskInfo = read(&text);
    assert_eq!(task.limits.len(), 2);
    let value = json::to_value(&task);
    assert_eq!(value["limits"], serde_json::json!({"cpus": {"value": 1.0}, "mem": {"value": 2.0}}));
    assert_eq!(read::<v1::TaskInfo>(&write(&task)), task);
}

#[test]
fn a_message_without_content_is_an_empty_object() {
    let resource = v1::Resource {
        name: "cpus".into(),
        revocable: Some(v1::resource::RevocableInfo {}),
        ..Default::default()
    };
    assert_eq!(write(&resource), r#"{"name":"cpus","type":"SCALAR","revocable":{}}"#);
}

#[test]
fn defaults_are_written_and_deprecated_ones_are_not() {
    let framework = v1::FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() };
    assert_eq!(
        write(&framework),
        r#"{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false}"#
    );
    assert_eq!(write(&v1::CommandInfo::default()), r#"{"shell":true}"#);
    assert_eq!(write(&v1::Filters::default()), r#"{"refuse_seconds":5.0}"#);
    let address = v1::network_info::IpAddress::default();
    assert_eq!(write(&address), r#"{"protocol":"IPv4"}"#);
}

#[test]
fn durations_are_plain_messages() {
    let drain: master::call::DrainAgent =
        read(r#"{"agent_id":{"value":"a"},"max_grace_period":{"seconds":10,"nanos":5}}"#);
    let period = drain.max_grace_period.expect("set");
    assert_eq!((period.seconds, period.nanos), (10, 5));
    assert_eq!(
        write(&drain),
        concat!(
            r#"{"agent_id":{"value":"a"},"max_grace_period":{"seconds":10,"nanos":5},"#,
            r#""mark_gone":false}"#
        )
    );
    assert_eq!(write(&v1::DurationInfo { nanoseconds: 5 }), r#"{"nanoseconds":5}"#);
}

#[test]
fn the_last_of_a_oneof_and_the_last_of_a_name_count() {
    type Selector = scheduler::attribute_constraint::Selector;
    let last: Selector = read(r#"{"attribute_name":"rack","pseudoattribute_type":"ZONE"}"#);
    assert_eq!(last.attribute_name, None);
    let last: Selector = read(r#"{"pseudoattribute_type":"ZONE","attribute_name":"rack"}"#);
    assert_eq!(last.attribute_name.as_deref(), Some("rack"));
    assert_eq!(last.pseudoattribute_type, None);
    assert_eq!(read::<v1::TaskId>(r#"{"value":"a","value":"b"}"#).value, "b");
    let framework: v1::FrameworkInfo =
        read(r#"{"user":"u","name":"n","labels":{"labels":[{"key":"a"}]},"labels":{"labels":[]}}"#);
    assert_eq!(framework.labels.expect("set").labels, []);
}

#[test]
fn wrong_kinds_are_refused_with_the_field_and_missing_ones_with_the_path() {
    type Call = scheduler::Call;
    for text in ["[]", "1", "\"x\"", "null", "true"] {
        assert_eq!(refusal::<Call>(text), "Expecting a JSON object", "{text}");
    }
    for (text, what) in [
        (r#"{"framework_id":"f"}"#, "string"),
        (r#"{"framework_id":1}"#, "number"),
        (r#"{"framework_id":true}"#, "boolean"),
        (r#"{"framework_id":[]}"#, "array"),
    ] {
        let expected = format!("Not expecting a JSON {what} for field 'framework_id'");
        assert_eq!(refusal::<Call>(text), expected);
    }
    assert_eq!(refusal::<Call>(r#"{"type":{}}"#), "Not expecting a JSON object for field 'type'");
    assert_eq!(
        refusal::<Call>(r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{}}}"#),
        "Missing required fields: subscribe.framework_info.user, subscribe.framework_info.name"
    );
    assert_eq!(
        refusal::<Call>(r#"{"accept":{"offer_ids":[{"value":"o"},{}]}}"#),
        "Missing required fields: accept.offer_ids[1].value"
    );
}

#[test]
fn what_is_no_json_is_told_apart() {
    for text in ["", "{", "{\"type\":1,}", "{} {}", "{\"framework_id\":1} x", "nil"] {
        let result = json::from_slice::<scheduler::Call>(text.as_bytes());
        assert!(matches!(result, Err(JsonError::Syntax(_))), "{text}: {result:?}");
    }
    let deep = "[".repeat(100_000);
    let result = json::from_slice::<scheduler::Call>(deep.as_bytes());
    assert!(matches!(result, Err(JsonError::Syntax(_))));
}

#[test]
fn output_is_one_line_of_ascii() {
    let label = v1::Label { key: "a\r\n\t\"\\/".into(), value: Some("é🦀\u{1}".into()) };
    assert_eq!(write(&label), r#"{"key":"a\r\n\t\"\\/","value":"\u00e9\ud83e\udd80\u0001"}"#);
    assert_eq!(read::<v1::Label>(&write(&label)), label);
}

#[test]
fn of_a_oneof_the_last_that_came_is_shown() {
    // Predicate with { exists: {} } and then { not_exists: {} }, as no encoder writes it.
    let schema = scheduler::attribute_constraint::Predicate::schema();
    let numbers = ["exists", "not_exists"].map(|name| {
        let at = schema.fields.iter().find(|field| field.name == name).expect("a predicate");
        u8::try_from(at.number << 3 | 2).expect("a small number")
    });
    let shown = |bytes: &[u8]| {
        String::from_utf8(json::write(schema, bytes).expect("protobuf")).expect("ASCII")
    };
    let [exists, not_exists] = numbers;
    assert_eq!(shown(&[exists, 0, not_exists, 0]), shown(&[not_exists, 0]));
    assert_eq!(shown(&[not_exists, 0, exists, 0]), shown(&[exists, 0]));
    assert_eq!(shown(&[exists, 0, not_exists, 0, exists, 0]), shown(&[exists, 0]));
}

#[test]
fn the_value_of_a_map_that_came_in_pieces_is_shown_whole() {
    // role_constraints: { "r": { groups: [{}] } and { groups: [{}] } }
    let bytes = [0x0A, 11, 0x0A, 1, b'r', 0x12, 2, 0x0A, 0, 0x12, 2, 0x0A, 0];
    let shown = json::write(scheduler::OfferConstraints::schema(), &bytes).expect("protobuf");
    let text = r#"{"role_constraints":{"r":{"groups":[{},{}]}}}"#;
    assert_eq!(String::from_utf8_lossy(&shown), text);
}
