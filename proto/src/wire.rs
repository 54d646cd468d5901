//! Reading protobuf bytes: decoding with a check for required fields, which prost does not make,
//! and the raw walk over fields that the JSON mapping uses.

use std::borrow::Cow;

use crate::schema::{Described, Field, Kind, Message, Rule};

/// Messages that are shown may lie this deep in each other, as deep as prost decodes.
///
/// Bytes from the network must not decide how much stack is used.
pub const DEPTH_MAX: usize = 100;

/// Messages that come in may lie this deep in each other.
///
/// Real ones do about fifteen times. What is taken in is later shown within other messages, and must
/// not be too deep then.
pub const DEPTH_IN_MAX: usize = 48;

/// Missing fields that are named. The rest is only counted: an answer must not be many times as large
/// as the question.
const NAMED_MAX: usize = 100;

/// Why bytes are no message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WireError {
    /// The bytes end too early or are not protobuf at all.
    #[error("the bytes are no protobuf message")]
    Malformed,
    /// Required fields, by their dotted paths, are not there.
    #[error("Missing required fields: {}", .0.join(", "))]
    Missing(Vec<String>),
}

/// Decodes a message and makes sure that all its required fields are there.
pub fn decode<M: Described>(bytes: &[u8]) -> Result<M, WireError> {
    let message = M::decode(bytes).map_err(|_| WireError::Malformed)?;
    check_required(M::schema(), bytes)?;
    Ok(message)
}

/// Says which required fields of an encoded message are not there, by their dotted paths from it.
pub fn missing_required(schema: &'static Message, bytes: &[u8]) -> Result<Vec<String>, WireError> {
    match check_required(schema, bytes) {
        Ok(()) => Ok(Vec::new()),
        Err(WireError::Missing(paths)) => Ok(paths),
        Err(WireError::Malformed) => Err(WireError::Malformed),
    }
}

pub(crate) fn check_required(schema: &'static Message, bytes: &[u8]) -> Result<(), WireError> {
    if is_complete(schema, bytes, 0)? {
        return Ok(());
    }
    let mut missing = Vec::new();
    list_missing(schema, bytes, "", 0, &mut missing)?;
    if missing.len() > NAMED_MAX {
        let more = missing.len() - NAMED_MAX;
        missing.truncate(NAMED_MAX);
        missing.push(format!("at least {more} more"));
    }
    if missing.is_empty() { Ok(()) } else { Err(WireError::Missing(missing)) }
}

/// Whether all required fields are there. May say no wrongly where a message comes in pieces.
fn is_complete(schema: &'static Message, bytes: &[u8], depth: usize) -> Result<bool, WireError> {
    if !schema.checked {
        return Ok(true);
    }
    if depth > DEPTH_IN_MAX {
        return Err(WireError::Malformed);
    }
    let mut walk = Walk::new(schema, bytes);
    let mut seen = 0_u128;
    while let Some((index, raw)) = walk.next()? {
        let field = &schema.fields[index];
        if is_unknown_enum(field, raw) {
            continue;
        }
        seen |= 1 << index;
        match (field.kind, raw) {
            (Kind::Message(inner), Raw::Bytes(bytes)) if !is_complete(inner, bytes, depth + 1)? => {
                return Ok(false);
            }
            (Kind::Map(entry), Raw::Bytes(bytes))
                if absent_value(entry, bytes)?.is_some()
                    || !is_complete(entry, bytes, depth + 1)? =>
            {
                return Ok(false);
            }
            _ => {}
        }
    }
    Ok(schema.required.iter().all(|&index| seen & (1 << index) != 0))
}

/// The message type of the value of a map's entry, if that is not there: it is an empty one then.
fn absent_value(
    entry: &'static Message,
    bytes: &[u8],
) -> Result<Option<&'static Message>, WireError> {
    let Kind::Message(inner) = entry.fields[1].kind else { return Ok(None) };
    let mut walk = Walk::new(entry, bytes);
    while let Some((index, _)) = walk.next()? {
        if index == 1 {
            return Ok(None);
        }
    }
    Ok(inner.checked.then_some(inner))
}

/// In the order in which protobuf names them: first those of the message itself, as declared, then
/// those of what is in it, in order of field numbers.
fn list_missing(
    schema: &'static Message,
    bytes: &[u8],
    prefix: &str,
    depth: usize,
    missing: &mut Vec<String>,
) -> Result<(), WireError> {
    if depth > DEPTH_IN_MAX {
        return Err(WireError::Malformed);
    }
    let fields = in_order(schema, bytes)?;
    for &index in schema.required {
        if !fields.iter().any(|(found, _)| *found == index) {
            missing.push(format!("{prefix}{}", schema.fields[index].name));
        }
    }
    let mut nth = 0;
    for (at, (index, value)) in fields.iter().enumerate() {
        let field = &schema.fields[*index];
        nth = if at > 0 && fields[at - 1].0 == *index { nth + 1 } else { 0 };
        let (Kind::Message(inner) | Kind::Map(inner), Value::Bytes(bytes)) = (field.kind, value)
        else {
            continue;
        };
        let prefix = if field.rule == Rule::Repeated {
            format!("{prefix}{}[{nth}].", field.name)
        } else {
            format!("{prefix}{}.", field.name)
        };
        if missing.len() > NAMED_MAX {
            continue;
        }
        list_missing(inner, bytes, &prefix, depth + 1, missing)?;
        if matches!(field.kind, Kind::Map(_))
            && let Some(value) = absent_value(inner, bytes)?
        {
            list_missing(value, &[], &format!("{prefix}value."), depth + 2, missing)?;
        }
    }
    Ok(())
}

/// The value of a field as it lies in the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// As [`Raw`], put together where it came in pieces.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Plain(Raw<'a>),
    Bytes(Cow<'a, [u8]>),
}

/// The known fields of a message: in order of their indices, a singular one only once, and of a
/// oneof the last that came.
pub(crate) fn in_order<'a>(
    schema: &'static Message,
    bytes: &'a [u8],
) -> Result<Vec<(usize, Value<'a>)>, WireError> {
    let mut walk = Walk::new(schema, bytes);
    let mut fields: Vec<(usize, Value<'a>)> = Vec::new();
    let mut earlier = vec![None; schema.fields.len()];
    while let Some((index, raw)) = walk.next()? {
        let field = &schema.fields[index];
        if is_unknown_enum(field, raw) {
            continue;
        }
        let value = match raw {
            Raw::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
            Raw::Varint(_) | Raw::Fixed64(_) => Value::Plain(raw),
        };
        let is_rival = |(other, _): &(usize, Value<'_>)| {
            *other != index && schema.fields[*other].oneof == field.oneof
        };
        if field.oneof.is_some()
            && let Some(gone) = fields.iter().position(is_rival)
        {
            earlier[fields.remove(gone).0] = None;
            earlier.iter_mut().flatten().filter(|at| **at > gone).for_each(|at| *at -= 1);
        }
        match earlier[index].map(|at: usize| &mut fields[at].1) {
            Some(earlier) if field.rule != Rule::Repeated => match (field.kind, earlier, value) {
                // Pieces of one message are one message, by protobuf's rules.
                (Kind::Message(_), Value::Bytes(earlier), Value::Bytes(more)) => {
                    earlier.to_mut().extend_from_slice(&more);
                }
                (_, earlier, value) => *earlier = value,
            },
            _ => {
                earlier[index] = Some(fields.len());
                fields.push((index, value));
            }
        }
    }
    fields.sort_by_key(|(index, _)| *index);
    Ok(fields)
}

/// Whether this is an enum value that nobody here knows: protobuf treats it as not set.
pub(crate) fn is_unknown_enum(field: &Field, raw: Raw<'_>) -> bool {
    match (field.kind, raw) {
        (Kind::Enum(of), Raw::Varint(number)) => of.name_of(low_i32(number)).is_none(),
        _ => false,
    }
}

/// An `int32` or enum as its varint holds it.
#[expect(clippy::cast_possible_truncation, reason = "the wire carries it sign-extended")]
pub(crate) fn low_i32(varint: u64) -> i32 {
    varint as i32
}

/// Goes over the fields of an encoded message.
pub(crate) struct Walk<'a> {
    schema: &'static Message,
    rest: &'a [u8],
    likely: usize,
    /// What is left of a packed repeated field, and its index.
    packed: Option<(usize, &'a [u8])>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(schema: &'static Message, bytes: &'a [u8]) -> Self {
        Self { schema, rest: bytes, likely: 0, packed: None }
    }

    /// The next known field: its index, and its value in the form its kind has.
    pub(crate) fn next(&mut self) -> Result<Option<(usize, Raw<'a>)>, WireError> {
        loop {
            if let Some((index, rest)) = &mut self.packed {
                if rest.is_empty() {
                    self.packed = None;
                } else {
                    let index = *index;
                    let raw = read(rest, wire_type_of(self.schema.fields[index].kind))?;
                    return Ok(Some((index, raw)));
                }
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let tag = varint(&mut self.rest)?;
            let number = u32::try_from(tag >> 3).map_err(|_| WireError::Malformed)?;
            let found = self.schema.field_by_number(number, self.likely);
            let wire_type = tag & 7;
            let Some(index) = found else {
                skip(&mut self.rest, wire_type, 0)?;
                continue;
            };
            self.likely = index;
            let field = &self.schema.fields[index];
            let due = wire_type_of(field.kind);
            if wire_type == due {
                return Ok(Some((index, read(&mut self.rest, due)?)));
            }
            if wire_type == 2 && field.rule == Rule::Repeated {
                let Raw::Bytes(packed) = read(&mut self.rest, 2)? else {
                    return Err(WireError::Malformed);
                };
                self.packed = Some((index, packed));
                continue;
            }
            return Err(WireError::Malformed);
        }
    }
}

fn wire_type_of(kind: Kind) -> u64 {
    match kind {
        Kind::Double => 1,
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => 0,
        Kind::String | Kind::Bytes | Kind::Message(_) | Kind::Map(_) => 2,
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for (at, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            *rest = &rest[at + 1..];
            return Ok(value);
        }
    }
    Err(WireError::Malformed)
}

fn take<'a>(rest: &mut &'a [u8], count: u64) -> Result<&'a [u8], WireError> {
    let count = usize::try_from(count).map_err(|_| WireError::Malformed)?;
    let (taken, after) = rest.split_at_checked(count).ok_or(WireError::Malformed)?;
    *rest = after;
    Ok(taken)
}

fn read<'a>(rest: &mut &'a [u8], wire_type: u64) -> Result<Raw<'a>, WireError> {
    match wire_type {
        0 => Ok(Raw::Varint(varint(rest)?)),
        1 => {
            let bytes = take(rest, 8)?.try_into().expect("eight bytes");
            Ok(Raw::Fixed64(u64::from_le_bytes(bytes)))
        }
        2 => {
            let count = varint(rest)?;
            Ok(Raw::Bytes(take(rest, count)?))
        }
        _ => Err(WireError::Malformed),
    }
}

fn skip(rest: &mut &[u8], wire_type: u64, depth: usize) -> Result<(), WireError> {
    match wire_type {
        3 => {
            if depth > DEPTH_MAX {
                return Err(WireError::Malformed);
            }
            loop {
                let inner = varint(rest)? & 7;
                if inner == 4 {
                    return Ok(());
                }
                skip(rest, inner, depth + 1)?;
            }
        }
        5 => take(rest, 4).map(|_| ()),
        other => read(rest, other).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::mesos::v1::{self, scheduler};

    #[test]
    fn required_fields_are_missed_by_their_paths() {
        // Call { type: SUBSCRIBE, subscribe: { framework_info: {} } }
        let bytes = [0x10, 1, 0x1A, 2, 0x0A, 0];
        assert!(scheduler::Call::decode(&bytes[..]).is_ok(), "prost does not mind");
        assert_eq!(
            decode::<scheduler::Call>(&bytes),
            Err(WireError::Missing(vec![
                "subscribe.framework_info.user".into(),
                "subscribe.framework_info.name".into(),
            ]))
        );
    }

    #[test]
    fn elements_of_lists_are_missed_by_their_place() {
        // LABELS { labels: [{ key: "a" }, {}] }
        let bytes = [0x0A, 3, 0x0A, 1, b'a', 0x0A, 0];
        assert_eq!(
            missing_required(v1::Labels::schema(), &bytes),
            Ok(vec!["labels[1].key".to_owned()])
        );
    }

    #[test]
    fn a_message_in_pieces_is_one_message() {
        // CommandInfo.URI in `uris` twice is two; FrameworkInfo in `framework_info` twice is one.
        let user = v1::FrameworkInfo { user: "u".into(), ..Default::default() };
        let mut first = user.encode_to_vec();
        first.truncate(3);
        let second = [0x12, 1, b'n'];
        let mut bytes = vec![0x0A, 3];
        bytes.extend_from_slice(&first);
        bytes.extend_from_slice(&[0x0A, 3]);
        bytes.extend_from_slice(&second);
        let call: scheduler::call::Subscribe = decode(&bytes).expect("complete when put together");
        assert_eq!(call.framework_info.name, "n");
    }

    #[test]
    fn what_is_taken_in_can_be_shown_within_others() {
        let nested = |depth: usize| {
            let outermost = v1::ContainerId { value: "c".into(), parent: None };
            (0..depth).fold(outermost, |parent, _| v1::ContainerId {
                value: "c".into(),
                parent: Some(Box::new(parent)),
            })
        };
        let deep = nested(DEPTH_IN_MAX);
        assert_eq!(decode(&deep.encode_to_vec()), Ok(deep.clone()));
        let status = v1::ContainerStatus { container_id: Some(deep), ..Default::default() };
        crate::json::to_value(&status);
        let too_deep = nested(DEPTH_IN_MAX + 1).encode_to_vec();
        assert_eq!(decode::<v1::ContainerId>(&too_deep), Err(WireError::Malformed));
    }

    #[test]
    fn an_entry_without_a_value_has_an_empty_one() {
        // ResourceQuantities { quantities: { "a": absent } }
        let bytes = [0x0A, 3, 0x0A, 1, b'a'];
        assert_eq!(
            missing_required(v1::offer_filters::ResourceQuantities::schema(), &bytes),
            Ok(vec!["quantities[0].value.value".to_owned()])
        );
    }

    #[test]
    fn cut_off_bytes_are_malformed() {
        for bytes in [&[0x0A_u8, 5, 1][..], &[0x0A], &[0xFF], &[0x0B, 0x0B]] {
            assert_eq!(
                missing_required(v1::Labels::schema(), bytes),
                Err(WireError::Malformed),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn an_unknown_value_of_a_required_enum_is_missing() {
        let bytes = [0x08, 99];
        assert_eq!(missing_required(v1::Image::schema(), &bytes), Ok(vec!["type".to_owned()]));
    }
}
