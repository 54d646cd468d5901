//! What the messages are made of, as tables that `build.rs` makes of the descriptors.
//!
//! The JSON mapping and the check for required fields read them; code for each message would be a
//! hundred times as much to compile.

/// A message that has a JSON form.
pub trait Described: prost::Message + Default {
    /// Its fields.
    fn schema() -> &'static Message;
}

/// Every message that has a JSON form, in order of name.
pub fn messages() -> impl Iterator<Item = &'static Message> {
    tables::ALL.iter().copied()
}

/// One message type.
#[derive(Debug)]
pub struct Message {
    /// Full name, such as `mesos.v1.TaskInfo`.
    pub name: &'static str,
    /// In order of their numbers.
    pub fields: &'static [Field],
    /// Indices of `fields` in order of their names.
    pub by_name: &'static [usize],
    /// Indices of the required `fields`, as declared.
    pub required: &'static [usize],
    /// Whether it, or anything in it, has required fields.
    pub checked: bool,
}

impl Message {
    /// The index of the field called `name`.
    pub fn field_by_name(&self, name: &str) -> Option<usize> {
        self.by_name
            .binary_search_by(|&index| self.fields[index].name.cmp(name))
            .ok()
            .map(|at| self.by_name[at])
    }

    /// The index of the field with this number, which is likely at or soon after `from`.
    pub fn field_by_number(&self, number: u32, from: usize) -> Option<usize> {
        let next = from..self.fields.len().min(from + 4);
        next.into_iter()
            .find(|&at| self.fields[at].number == number)
            .or_else(|| self.fields.binary_search_by_key(&number, |field| field.number).ok())
    }
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in the .proto file and in JSON.
    pub name: &'static str,
    /// How often it may be there.
    pub rule: Rule,
    /// What it holds.
    pub kind: Kind,
    /// What JSON shows when it is not set, as JSON text; empty: it is left out.
    pub default: &'static str,
    /// At most one field with the same number here is set.
    pub oneof: Option<u32>,
}

/// How often a field may be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// Once or not at all.
    Optional,
    /// Once.
    Required,
    /// Any number of times.
    Repeated,
}

/// What a field holds. Only the types that the Mesos API has.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are protobuf's")]
pub enum Kind {
    Double,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Bool,
    String,
    Bytes,
    Enum(&'static Enum),
    Message(&'static Message),
    /// From strings to what the entry's field 2 holds.
    Map(&'static Message),
}

/// One enum type.
#[derive(Debug)]
pub struct Enum {
    /// Names and numbers, as declared.
    pub values: &'static [(&'static str, i32)],
}

impl Enum {
    /// The name of a number.
    pub fn name_of(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|value| value.1 == number).map(|value| value.0)
    }

    /// The number of a name.
    pub fn number_of(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|value| value.0 == name).map(|value| value.1)
    }
}

#[allow(clippy::all, clippy::pedantic, dead_code, reason = "generated")]
mod tables {
    use super::{Described, Enum, Field, Kind, Message, Rule};

    include!(concat!(env!("OUT_DIR"), "/tables.rs"));
}
