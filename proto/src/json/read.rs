//! From JSON text to protobuf bytes.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::JsonError;
use crate::schema::{Field, Kind, Message, Rule};

pub(super) fn message(schema: &'static Message, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    // The whole text first: what is no JSON is that, whatever stands before the mistake.
    let node: Node<'_> =
        serde_json::from_slice(json).map_err(|error| JsonError::Syntax(error.to_string()))?;
    let Node::Object(members) = &node else {
        return Err(JsonError::Conversion("Expecting a JSON object".to_owned()));
    };
    let mut out = Vec::with_capacity(json.len() / 2);
    put_members(schema, members, &mut out).map_err(JsonError::Conversion)?;
    Ok(out)
}

/// A JSON value. Members keep their order, and strings without escapes are not copied.
#[derive(Debug)]
enum Node<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// A number, as exact as it was written.
#[derive(Clone, Copy, Debug)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
        }
    }
}

/// Writes the members that are fields, in order of field numbers. Of several with one name the last
/// counts, and of several fields of a oneof the last.
fn put_members(
    schema: &'static Message,
    members: &[(Cow<'_, str>, Node<'_>)],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let mut slots = vec![None; schema.fields.len()];
    for (name, node) in members {
        let Some(index) = schema.field_by_name(name) else { continue };
        let oneof = schema.fields[index].oneof;
        if oneof.is_some() && !matches!(node, Node::Null) {
            for (other, slot) in slots.iter_mut().enumerate() {
                if schema.fields[other].oneof == oneof {
                    *slot = None;
                }
            }
        }
        slots[index] = Some(node);
    }
    for (field, slot) in schema.fields.iter().zip(slots) {
        if let Some(node) = slot {
            put_field(field, node, out)?;
        }
    }
    Ok(())
}

fn put_field(field: &'static Field, node: &Node<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    match node {
        Node::Null => Ok(()),
        Node::Array(items)
            if field.rule == Rule::Repeated && !matches!(field.kind, Kind::Map(_)) =>
        {
            items.iter().try_for_each(|item| put_field(field, item, out))
        }
        Node::Array(_) => Err(unexpected("array", field)),
        Node::Bool(value) => {
            if !matches!(field.kind, Kind::Bool) {
                return Err(unexpected("boolean", field));
            }
            put_varint_field(field, u64::from(*value), out);
            Ok(())
        }
        Node::Number(number) => put_number(field, *number, out),
        Node::String(text) => put_string(field, text, out),
        Node::Object(members) => {
            if let Kind::Message(schema) = field.kind {
                put_nested(field, out, |out| put_members(schema, members, out))
            } else if let Kind::Map(entry) = field.kind {
                put_entries(field, entry, members, out)
            } else {
                Err(unexpected("object", field))
            }
        }
    }
}

fn put_entries(
    field: &'static Field,
    entry: &'static Message,
    members: &[(Cow<'_, str>, Node<'_>)],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    for (key, value) in members.iter().filter(|(_, value)| !matches!(value, Node::Null)) {
        put_nested(field, out, |out| {
            put_bytes_field(&entry.fields[0], key.as_bytes(), out);
            put_field(&entry.fields[1], value, out)
        })?;
    }
    Ok(())
}

fn unexpected(what: &str, field: &Field) -> String {
    format!("Not expecting a JSON {what} for field '{}'", field.name)
}

fn put_string(field: &'static Field, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let name = field.name;
    match field.kind {
        Kind::String => put_bytes_field(field, text.as_bytes(), out),
        Kind::Bytes => {
            let bytes = STANDARD.decode(text).map_err(|error| {
                format!("Failed to base64 decode bytes field '{name}': {error}")
            })?;
            put_bytes_field(field, &bytes, out);
        }
        Kind::Enum(of) => match of.number_of(text) {
            Some(number) => put_varint_field(field, sign_extended(number), out),
            None if field.rule == Rule::Required => {
                return Err(format!("Failed to find enum for '{text}'"));
            }
            // A name of a later version: as if it were not there.
            None => {}
        },
        Kind::Bool => match text {
            "true" => put_varint_field(field, 1, out),
            "false" => put_varint_field(field, 0, out),
            _ => {
                return Err(format!(
                    "Failed to parse '{text}' as a JSON boolean for field '{name}': \
                     neither true nor false"
                ));
            }
        },
        Kind::Double | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => {
            let non_finite = match (field.kind, text) {
                (Kind::Double, "Infinity" | "Inf") => Some(f64::INFINITY),
                (Kind::Double, "-Infinity" | "-Inf") => Some(f64::NEG_INFINITY),
                (Kind::Double, "NaN") => Some(f64::NAN),
                _ => None,
            };
            if let Some(value) = non_finite {
                put_double_field(field, value, out);
                return Ok(());
            }
            match serde_json::from_str(text) {
                Ok(Node::Number(number)) => put_number(field, number, out)?,
                Ok(_) | Err(_) => return Err(no_number(text, field, "not a number")),
            }
        }
        Kind::Message(_) | Kind::Map(_) => return Err(unexpected("string", field)),
    }
    Ok(())
}

fn no_number(text: impl fmt::Display, field: &Field, why: &str) -> String {
    format!("Failed to parse '{text}' as a JSON number for field '{}': {why}", field.name)
}

fn put_number(field: &'static Field, number: Number, out: &mut Vec<u8>) -> Result<(), String> {
    let range = match field.kind {
        Kind::Double => {
            put_double_field(field, as_double(number), out);
            return Ok(());
        }
        Kind::Int32 => i128::from(i32::MIN)..=i128::from(i32::MAX),
        Kind::Int64 => i128::from(i64::MIN)..=i128::from(i64::MAX),
        Kind::Uint32 => 0..=i128::from(u32::MAX),
        Kind::Uint64 => 0..=i128::from(u64::MAX),
        Kind::Bool
        | Kind::String
        | Kind::Bytes
        | Kind::Enum(_)
        | Kind::Message(_)
        | Kind::Map(_) => return Err(unexpected("number", field)),
    };
    let whole = match number {
        Number::Unsigned(value) => Some(i128::from(value)),
        Number::Signed(value) => Some(i128::from(value)),
        Number::Float(value) => whole(value),
    };
    let value = whole
        .filter(|value| range.contains(value))
        .ok_or_else(|| no_number(number, field, "not a whole number in range"))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "in range; negative ones are sign-extended"
    )]
    let bits = (value as i64).cast_unsigned();
    put_varint_field(field, bits, out);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a double was asked for")]
fn as_double(number: Number) -> f64 {
    match number {
        Number::Unsigned(value) => value as f64,
        Number::Signed(value) => value as f64,
        Number::Float(value) => value,
    }
}

/// Some languages have one kind of number only and write 2 as 2.0.
#[expect(clippy::cast_possible_truncation, reason = "whole, and less than 2^65")]
fn whole(value: f64) -> Option<i128> {
    (value.fract() == 0.0 && value.abs() < 3.7e19).then_some(value as i128)
}

fn sign_extended(number: i32) -> u64 {
    i64::from(number).cast_unsigned()
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(value & 0x7F).expect("seven bits");
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn put_tag(field: &Field, wire_type: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(field.number) << 3 | wire_type, out);
}

fn put_varint_field(field: &Field, value: u64, out: &mut Vec<u8>) {
    put_tag(field, 0, out);
    put_varint(value, out);
}

fn put_double_field(field: &Field, value: f64, out: &mut Vec<u8>) {
    put_tag(field, 1, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes_field(field: &Field, value: &[u8], out: &mut Vec<u8>) {
    put_tag(field, 2, out);
    put_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn put_nested(
    field: &Field,
    out: &mut Vec<u8>,
    content: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    put_tag(field, 2, out);
    // Most messages are shorter than 128 bytes, whose length is one byte. Longer ones are moved.
    let at = out.len();
    out.push(0);
    content(out)?;
    let length = out.len() - at - 1;
    if let Ok(short) = u8::try_from(length)
        && short < 0x80
    {
        out[at] = short;
    } else {
        let mut bytes = Vec::new();
        put_varint(length as u64, &mut bytes);
        out.splice(at..=at, bytes);
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Signed(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Float(value)))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::String(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(Node::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Node::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node<'de>, A::Error> {
        let mut object = Vec::new();
        while let Some(Name(name)) = members.next_key()? {
            object.push((name, members.next_value()?));
        }
        Ok(Node::Object(object))
    }
}

/// The name of a member.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if let Node::String(name) = Node::deserialize(deserializer)? {
            Ok(Self(name))
        } else {
            Err(serde::de::Error::custom("a member without a name"))
        }
    }
}
