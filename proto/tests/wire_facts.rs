//! The numbers of the Mesos API never change: what is compiled is compared with a list of them.

#![expect(clippy::wildcard_enum_match_arm, reason = "the enums are another crate's")]

use std::fmt::Write as _;

use prost_reflect::prost_types::{EnumValueOptions, FieldOptions};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind};

/// Fields of messages of Apache Mesos that are Agora's own have numbers from here on, where its own never were.
const OURS_FROM: u32 = 1_000;

/// Messages among those of Apache Mesos that are Agora's own.
const ADDED: &[&str] = &["mesos.v1.TaskStatus.FailingHealthCheck"];

#[test]
fn messages_and_enums_are_those_of_the_public_wire() {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("our own descriptors");
    let mut found = Vec::new();
    let ours = |name: &str| name.starts_with("mesos.v1.") && !ADDED.contains(&name);
    for message in pool.all_messages().filter(|message| ours(message.full_name())) {
        found.push(format!("message {}", message.full_name()));
        let fields = message.fields().filter(|field| field.number() < OURS_FROM);
        found.extend(fields.map(|field| fact(&field)));
    }
    for declared in pool.all_enums().filter(|declared| ours(declared.full_name())) {
        for value in declared.values() {
            let mut line = format!("{} {} {}", declared.full_name(), value.name(), value.number());
            let options = value.enum_value_descriptor_proto().options.as_ref();
            if options.is_some_and(EnumValueOptions::deprecated) {
                line.push_str(" deprecated");
            }
            found.push(line);
        }
    }
    found.sort();
    let mut wanted: Vec<_> = include_str!("wire_facts.txt").lines().collect();
    wanted.sort_unstable();
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
}

/// `mesos.v1.TaskInfo name 1 required string`
fn fact(field: &FieldDescriptor) -> String {
    let raw = field.field_descriptor_proto();
    let label = format!("{:?}", raw.label()).to_lowercase();
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(declared) => declared.full_name().to_owned(),
        plain => format!("{plain:?}").to_lowercase(),
    };
    let mut line = format!("{} {} {label} {kind}", field.full_name(), field.number());
    // The list has the name apart from the message.
    let dot = line.find(' ').and_then(|end| line[..end].rfind('.')).expect("a full name");
    line.replace_range(dot..=dot, " ");
    if let Some(default) = &raw.default_value {
        write!(line, " default={default}").expect("text");
    }
    if raw.options.as_ref().is_some_and(FieldOptions::deprecated) {
        line.push_str(" deprecated");
    }
    if let Some(oneof) = field.containing_oneof() {
        write!(line, " oneof={}", oneof.name()).expect("text");
    }
    line
}
