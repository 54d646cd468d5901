//! The wire: messages, their JSON mapping, RecordIO, and the way to and from the model.

pub mod convert;
pub mod json;
pub mod recordio;
pub mod schema;
pub mod wire;

#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use generated::{agora, google, mesos};

/// All .proto files as an encoded `google.protobuf.FileDescriptorSet`, without comments.
pub static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
