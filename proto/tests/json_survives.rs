//! Any message of any type survives protobuf → JSON → protobuf, and the JSON is what an unrelated
//! implementation writes when it is told of the dialect.

#![expect(clippy::wildcard_enum_match_arm, reason = "the enums are another crate's")]

use model::rng::Rng;
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::prost_types::FieldOptions;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage as _, SerializeOptions, Value,
};
use proto::json;
use proto::schema::{self, Message};

/// Messages this deep get required fields only, so that they end.
const DEPTH_MAX: usize = 4;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTORS).expect("our own descriptors")
}

/// All types with both their descriptions.
fn types(pool: &DescriptorPool) -> Vec<(&'static Message, MessageDescriptor)> {
    schema::messages()
        .filter(|message| message.name.starts_with("mesos."))
        .map(|message| {
            (message, pool.get_message_by_name(message.name).expect("the same descriptors"))
        })
        .filter(|(_, descriptor)| !descriptor.is_map_entry())
        .collect()
}

fn random_message(of: &MessageDescriptor, rng: &mut Rng, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        let required = field.cardinality() == prost_reflect::Cardinality::Required;
        let taken = field
            .containing_oneof()
            .is_some_and(|oneof| oneof.fields().any(|other| message.has_field(&other)));
        let chance = if depth < 2 { 70 } else { 25 };
        if !required && (taken || depth >= DEPTH_MAX || !rng.chance(chance)) {
            continue;
        }
        let value = if field.is_map() {
            let inner = field.kind().as_message().expect("a map entry").map_entry_value_field();
            let entries = (0..rng.below(3))
                .map(|_| (MapKey::String(random_text(rng)), random_value(&inner, rng, depth)));
            Value::Map(entries.collect())
        } else if field.is_list() {
            Value::List((0..=rng.below(3)).map(|_| random_value(&field, rng, depth)).collect())
        } else {
            random_value(&field, rng, depth)
        };
        message.set_field(&field, value);
    }
    message
}

fn random_value(field: &FieldDescriptor, rng: &mut Rng, depth: usize) -> Value {
    let bits = rng.next_u64() >> rng.below(64);
    match field.kind() {
        Kind::Double => {
            let halves = i32::try_from(bits & 0xFFFF).expect("16 bits");
            Value::F64(f64::from(halves) * if rng.chance(50) { 0.5 } else { -1e-9 })
        }
        Kind::Int32 => Value::I32(i32::from_le_bytes(random_bytes(rng))),
        Kind::Uint32 => Value::U32(u32::from_le_bytes(random_bytes(rng))),
        Kind::Int64 => Value::I64(bits.cast_signed()),
        Kind::Uint64 => Value::U64(bits),
        Kind::Bool => Value::Bool(bits & 1 == 1),
        Kind::String => Value::String(random_text(rng)),
        Kind::Bytes => {
            let length = usize::try_from(bits % 17).expect("small");
            Value::Bytes(rng.uuid()[..length].to_vec().into())
        }
        Kind::Enum(of) => {
            let values: Vec<_> = of.values().map(|value| value.number()).collect();
            let nth = rng.below(values.len() as u64);
            Value::EnumNumber(values[usize::try_from(nth).expect("a few values")])
        }
        Kind::Message(of) => Value::Message(random_message(&of, rng, depth + 1)),
        other => panic!("the Mesos API has no {other:?}"),
    }
}

fn random_bytes(rng: &mut Rng) -> [u8; 4] {
    rng.uuid()[..4].try_into().expect("four of sixteen")
}

fn random_text(rng: &mut Rng) -> String {
    const CHARS: [char; 12] =
        ['a', 'B', '7', ' ', '"', '\\', '/', '\n', '\u{7F}', 'ä', '\u{2028}', '🦀'];
    (0..rng.below(9)).map(|_| CHARS[usize::try_from(rng.below(12)).expect("small")]).collect()
}

/// Fields that are not set and have a default in the .proto file, and are not deprecated, are
/// written with it.
fn with_defaults(message: &DynamicMessage) -> DynamicMessage {
    let mut filled = message.clone();
    for field in message.descriptor().fields() {
        let raw = field.field_descriptor_proto();
        let deprecated = raw.options.as_ref().is_some_and(FieldOptions::deprecated);
        if !message.has_field(&field) {
            if raw.default_value.is_some() && !deprecated {
                filled.set_field(&field, field.default_value());
            }
            continue;
        }
        let value = match message.get_field(&field).into_owned() {
            Value::Message(inner) => Value::Message(with_defaults(&inner)),
            Value::List(items) => Value::List(items.into_iter().map(fill).collect()),
            Value::Map(entries) => {
                Value::Map(entries.into_iter().map(|(key, value)| (key, fill(value))).collect())
            }
            plain => plain,
        };
        filled.set_field(&field, value);
    }
    filled
}

fn fill(value: Value) -> Value {
    match value {
        Value::Message(inner) => Value::Message(with_defaults(&inner)),
        plain => plain,
    }
}

fn expected_json(message: &DynamicMessage) -> serde_json::Value {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .use_enum_numbers(false)
        .skip_default_fields(true);
    let mut out = Vec::new();
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut out), &options)
        .expect("memory takes any write");
    serde_json::from_slice(&out).expect("what was just written")
}

/// The one message whose JSON protobuf has a form of its own for (`"10s"`), which Mesos has not.
fn has_duration(schema: &Message) -> bool {
    ["mesos.v1.master.Call", "mesos.v1.master.Call.DrainAgent"].contains(&schema.name)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn any_message_survives_the_way_through_json(seed: u64) {
        let pool = pool();
        let mut rng = Rng::new(seed);
        for (schema, descriptor) in types(&pool) {
            let message = random_message(&descriptor, &mut rng, 0);
            let text = json::write(schema, &message.encode_to_vec()).expect("a whole message");
            prop_assert!(text.iter().all(|byte| (b' '..=b'\x7F').contains(byte)), "{}", schema.name);
            let back = json::read(schema, &text);
            let back = back.unwrap_or_else(|error| panic!("{}: {error}", schema.name));
            let back = DynamicMessage::decode(descriptor.clone(), &back[..]).expect("a whole message");
            let filled = with_defaults(&message).encode_to_vec();
            let filled = DynamicMessage::decode(descriptor, &filled[..]).expect("just encoded");
            prop_assert!(back == filled, "{} is not {filled} but {back}", schema.name);
            if !has_duration(schema) {
                let ours: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
                prop_assert_eq!(ours, expected_json(&filled));
            }
        }
    }

    #[test]
    fn the_order_of_fields_on_the_wire_means_nothing(seed: u64) {
        let pool = pool();
        let mut rng = Rng::new(seed);
        for (schema, descriptor) in types(&pool) {
            let message = random_message(&descriptor, &mut rng, 0);
            let mut fields: Vec<_> = message
                .fields()
                .map(|(field, value)| {
                    let mut alone = DynamicMessage::new(descriptor.clone());
                    alone.set_field(&field, value.clone());
                    alone.encode_to_vec()
                })
                .collect();
            rng.shuffle(&mut fields);
            let ordered = json::write(schema, &message.encode_to_vec());
            prop_assert_eq!(json::write(schema, &fields.concat()), ordered);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for message in schema::messages() {
            let _ = json::write(message, &bytes);
            let _ = proto::wire::missing_required(message, &bytes);
            let _ = json::read(message, &bytes);
        }
    }
}
