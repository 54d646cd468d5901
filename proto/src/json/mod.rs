//! The JSON mapping of the Mesos API, which is not protobuf's own.
//!
//! Names are those of the .proto files. All numbers are written as numbers, enums as names, bytes
//! as base64, and a field that is not set shows its default, if the .proto file gives it one.
//! Reading is lenient as Mesos is: unknown members are ignored, `null` is not set, numbers and
//! booleans may come in strings, and one value may stand for a list of one.
//!
//! Both ways go through protobuf bytes and the tables in [`crate::schema`], so there is no code
//! for each message, and an encoded payload is shown as JSON without decoding it.

mod read;
mod write;

use crate::schema::{Described, Message};
use crate::wire::{self, WireError};

/// Why a JSON body is not the message it should be. The texts are those that Mesos answers with,
/// without their beginnings, since only the caller knows which message it wanted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON: follows `Failed to parse body into JSON: `.
    #[error("{0}")]
    Syntax(String),
    /// JSON, but not this message: follows `Failed to convert JSON into Call protobuf: `.
    #[error("{0}")]
    Conversion(String),
}

/// Writes a message on one line, in ASCII.
pub fn to_vec<M: Described>(message: &M) -> Vec<u8> {
    write(M::schema(), &message.encode_to_vec()).expect("what prost encodes is protobuf")
}

/// As [`to_vec`].
pub fn to_string<M: Described>(message: &M) -> String {
    String::from_utf8(to_vec(message)).expect("ASCII")
}

/// A message as a value, to be put into larger JSON. Infinite numbers become strings.
pub fn to_value<M: Described>(message: &M) -> serde_json::Value {
    value_from_wire::<M>(&message.encode_to_vec()).expect("what prost encodes is protobuf")
}

/// An encoded message as a value, as [`to_value`] would make it, without decoding it.
pub fn value_from_wire<M: Described>(bytes: &[u8]) -> Result<serde_json::Value, WireError> {
    let mut out = Vec::with_capacity(bytes.len() * 3);
    write::message(M::schema(), bytes, write::NonFinite::Quoted, &mut out)?;
    Ok(serde_json::from_slice(&out).expect("what was written is JSON"))
}

/// An encoded message of any type as JSON, as [`to_vec`] would write it.
pub fn write(schema: &'static Message, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(bytes.len() * 3);
    write::message(schema, bytes, write::NonFinite::Bare, &mut out)?;
    Ok(out)
}

/// Reads a message and makes sure that all its required fields are there.
pub fn from_slice<M: Described>(json: &[u8]) -> Result<M, JsonError> {
    let bytes = read(M::schema(), json)?;
    M::decode(&bytes[..]).map_err(|error| JsonError::Conversion(error.to_string()))
}

/// Reads a message of any type into its protobuf encoding, with the same checks.
pub fn read(schema: &'static Message, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let bytes = read::message(schema, json)?;
    wire::check_required(schema, &bytes)
        .map_err(|error| JsonError::Conversion(error.to_string()))?;
    Ok(bytes)
}
