//! What is carried and never read.

use std::fmt;
use std::sync::Arc;

/// One encoded protobuf message that a core hands on without looking inside.
///
/// The field that holds it says which message it is. Carrying bytes keeps what the core does not
/// know of: fields of newer clients survive, and nothing is decoded twice. Empty bytes are the
/// message with nothing set. Cloning is cheap.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Payload(Arc<[u8]>);

impl Payload {
    /// Wraps encoded bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}
