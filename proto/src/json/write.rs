//! From protobuf bytes to JSON text.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::schema::{Kind, Message, Rule};
use crate::wire::{DEPTH_MAX, Raw, Value, Walk, WireError, in_order, is_unknown_enum, low_i32};

/// How to write numbers that JSON has no form for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NonFinite {
    /// As Mesos does: `Inf`, `-Inf`, `NaN`.
    Bare,
    /// As strings that are read back as numbers.
    Quoted,
}

pub(super) fn message(
    schema: &'static Message,
    bytes: &[u8],
    non_finite: NonFinite,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    Writer { non_finite, depth: 0, out }.message(schema, bytes)
}

struct Writer<'o> {
    non_finite: NonFinite,
    depth: usize,
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn message(&mut self, schema: &'static Message, bytes: &[u8]) -> Result<(), WireError> {
        if self.depth > DEPTH_MAX {
            return Err(WireError::Malformed);
        }
        self.depth += 1;
        let start = self.out.len();
        // Encoders write fields in order. For the rare others there is a slower way.
        if !self.fields_in_order(schema, bytes)? {
            self.out.truncate(start);
            let mut members = Members::default();
            self.out.push(b'{');
            for (index, value) in in_order(schema, bytes)? {
                self.before(schema, &mut members, index);
                match &value {
                    Value::Plain(raw) => self.value(schema.fields[index].kind, *raw)?,
                    Value::Bytes(bytes) => {
                        self.value(schema.fields[index].kind, Raw::Bytes(bytes))?;
                    }
                }
            }
            self.end(schema, &mut members);
        }
        self.depth -= 1;
        Ok(())
    }

    /// Writes fields as they come. False: they come in another order, and what is written is waste.
    fn fields_in_order(
        &mut self,
        schema: &'static Message,
        bytes: &[u8],
    ) -> Result<bool, WireError> {
        let mut members = Members::default();
        let mut walk = Walk::new(schema, bytes);
        self.out.push(b'{');
        while let Some((index, raw)) = walk.next()? {
            let field = &schema.fields[index];
            if is_unknown_enum(field, raw) {
                continue;
            }
            if index < members.next && members.open != Some(index) {
                return Ok(false);
            }
            // Of several fields of a oneof only the last that came is set.
            let bit = field.oneof.map_or(0, |oneof| 1_u64 << (oneof & 63));
            if members.oneofs & bit != 0 {
                return Ok(false);
            }
            members.oneofs |= bit;
            self.before(schema, &mut members, index);
            self.value(field.kind, raw)?;
        }
        self.end(schema, &mut members);
        Ok(true)
    }

    /// All that stands between the last value and one of the field at `index`.
    fn before(&mut self, schema: &'static Message, members: &mut Members, index: usize) {
        if members.open == Some(index) {
            self.out.push(b',');
            return;
        }
        self.close(schema, members);
        self.defaults(schema, members, index);
        let field = &schema.fields[index];
        self.name(members, field.name);
        if field.rule == Rule::Repeated {
            members.open = Some(index);
            self.out.push(if matches!(field.kind, Kind::Map(_)) { b'{' } else { b'[' });
        }
        members.next = index + 1;
    }

    fn end(&mut self, schema: &'static Message, members: &mut Members) {
        self.close(schema, members);
        self.defaults(schema, members, schema.fields.len());
        self.out.push(b'}');
    }

    fn close(&mut self, schema: &'static Message, members: &mut Members) {
        if let Some(index) = members.open.take() {
            let is_map = matches!(schema.fields[index].kind, Kind::Map(_));
            self.out.push(if is_map { b'}' } else { b']' });
        }
    }

    fn defaults(&mut self, schema: &'static Message, members: &mut Members, to: usize) {
        for field in &schema.fields[members.next..to] {
            if !field.default.is_empty() {
                self.name(members, field.name);
                self.out.extend_from_slice(field.default.as_bytes());
            }
        }
        members.next = to;
    }

    fn name(&mut self, members: &mut Members, name: &str) {
        if members.any {
            self.out.push(b',');
        }
        members.any = true;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn value(&mut self, kind: Kind, raw: Raw<'_>) -> Result<(), WireError> {
        match (kind, raw) {
            (Kind::Double, Raw::Fixed64(bits)) => self.double(f64::from_bits(bits)),
            (Kind::Int32, Raw::Varint(value)) => self.number(&low_i32(value)),
            (Kind::Int64, Raw::Varint(value)) => self.number(&value.cast_signed()),
            (Kind::Uint32, Raw::Varint(value)) => self.number(&low_i32(value).cast_unsigned()),
            (Kind::Uint64, Raw::Varint(value)) => self.number(&value),
            (Kind::Bool, Raw::Varint(value)) => {
                self.out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
            }
            (Kind::Enum(of), Raw::Varint(value)) => {
                string(of.name_of(low_i32(value)).unwrap_or_default(), self.out);
            }
            (Kind::String, Raw::Bytes(bytes)) => string(&String::from_utf8_lossy(bytes), self.out),
            (Kind::Bytes, Raw::Bytes(bytes)) => {
                self.out.push(b'"');
                let start = self.out.len();
                self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
                STANDARD
                    .encode_slice(bytes, &mut self.out[start..])
                    .expect("room for four characters of each three bytes");
                self.out.push(b'"');
            }
            (Kind::Message(schema), Raw::Bytes(bytes)) => self.message(schema, bytes)?,
            (Kind::Map(entry), Raw::Bytes(bytes)) => self.entry(entry, bytes)?,
            _ => return Err(WireError::Malformed),
        }
        Ok(())
    }

    fn entry(&mut self, schema: &'static Message, bytes: &[u8]) -> Result<(), WireError> {
        // The maps of the API hold messages and strings only: empty bytes are the default of both.
        let (mut key, mut value) = (Cow::Borrowed(&[][..]), Cow::Borrowed(&[][..]));
        for (index, found) in in_order(schema, bytes)? {
            let Value::Bytes(bytes) = found else { return Err(WireError::Malformed) };
            *(if index == 0 { &mut key } else { &mut value }) = bytes;
        }
        self.value(Kind::String, Raw::Bytes(&key))?;
        self.out.push(b':');
        self.value(schema.fields[1].kind, Raw::Bytes(&value))
    }

    fn number(&mut self, value: &impl serde::Serialize) {
        serde_json::to_writer(&mut *self.out, value).expect("memory takes any write");
    }

    fn double(&mut self, value: f64) {
        if value.is_finite() {
            return self.number(&value);
        }
        let text: &[u8] = match (self.non_finite, value) {
            (NonFinite::Bare, f64::INFINITY) => b"Inf",
            (NonFinite::Bare, f64::NEG_INFINITY) => b"-Inf",
            (NonFinite::Bare, _) => b"NaN",
            (NonFinite::Quoted, f64::INFINITY) => b"\"Infinity\"",
            (NonFinite::Quoted, f64::NEG_INFINITY) => b"\"-Infinity\"",
            (NonFinite::Quoted, _) => b"\"NaN\"",
        };
        self.out.extend_from_slice(text);
    }
}

/// How far the members of one object are written.
#[derive(Default)]
struct Members {
    /// The first field that has not been passed.
    next: usize,
    /// The repeated field whose list is not closed yet.
    open: Option<usize>,
    /// The oneofs of which a field is written, a bit each. Past 64 they share bits, which costs time.
    oneofs: u64,
    /// Whether there is a member, so that the next one needs a comma.
    any: bool,
}

/// Writes a string in ASCII: some clients count characters where they should count bytes, and some
/// read lines.
fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text;
    while let Some(at) =
        rest.bytes().position(|b| !(b' '..=b'~').contains(&b) || b == b'"' || b == b'\\')
    {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let odd = rest[at..].chars().next().expect("not at the end");
        rest = &rest[at + odd.len_utf8()..];
        let short = match odd {
            '"' => b'"',
            '\\' => b'\\',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            '\x08' => b'b',
            '\x0C' => b'f',
            _ => {
                let mut units = [0; 2];
                for unit in odd.encode_utf16(&mut units) {
                    out.extend_from_slice(b"\\u");
                    for shift in [12, 8, 4, 0] {
                        out.push(HEX[usize::from(*unit >> shift & 0xF)]);
                    }
                }
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}
