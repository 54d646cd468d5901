//! Between the wire and the model: the one place where either is turned into the other.
//!
//! What comes in is understood here or refused here; nobody after this checks again. What goes out
//! takes fields that the model does not have from the encoded message it carries along.

pub mod constraints;
pub mod executor;
pub mod framework;
pub mod link;
pub mod masters;
pub mod offer;
pub mod operation;
pub mod operator;
pub mod registry;
pub mod resources;
pub mod rules;
pub mod scheduler;
pub mod task;

mod checks;
mod disk;

use std::time::Duration;

use model::container_id::{BadContainerId, NESTING_MAX};
use model::ids::{
    AgentId, BadId, ContainerId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId, UpdateId,
};
use model::payload::Payload;
use model::step::Timestamp;

use crate::mesos::v1;

/// Why a message of the wire is none of the model's. The text says it to whoever sent it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<BadId> for Malformed {
    fn from(why: BadId) -> Self {
        Self(why.to_string())
    }
}

/// Encodes a message that is to be carried unread. A message with nothing in it is empty bytes.
pub fn payload<M: prost::Message>(message: &M) -> Payload {
    message.encode_to_vec().into()
}

/// Decodes a message that was carried unread.
pub fn unpack<M: prost::Message + Default>(payload: &Payload) -> Result<M, Malformed> {
    M::decode(payload.as_bytes()).map_err(|error| Malformed::new(error.to_string()))
}

/// As [`unpack`], for payloads that were made in this process, from messages that were checked.
pub fn unpack_own<M: prost::Message + Default>(payload: &Payload) -> M {
    M::decode(payload.as_bytes()).expect("a payload holds the message its field says")
}

macro_rules! ids {
    ($($wire:ident => $model:ident),* $(,)?) => {$(
        impl From<&$model> for v1::$wire {
            fn from(id: &$model) -> Self {
                Self { value: id.as_str().to_owned() }
            }
        }

        impl TryFrom<&v1::$wire> for $model {
            type Error = BadId;

            fn try_from(id: &v1::$wire) -> Result<Self, BadId> {
                Self::new(id.value.as_str())
            }
        }
    )*};
}

ids! {
    AgentId => AgentId,
    ExecutorId => ExecutorId,
    FrameworkId => FrameworkId,
    OfferId => OfferId,
    OperationId => OperationId,
    TaskId => TaskId,
}

impl From<&ContainerId> for v1::ContainerId {
    fn from(id: &ContainerId) -> Self {
        let parent = id.parent().map(|parent| Box::new(Self::from(&parent)));
        Self { value: id.name().to_owned(), parent }
    }
}

impl TryFrom<&v1::ContainerId> for ContainerId {
    type Error = BadContainerId;

    fn try_from(wire: &v1::ContainerId) -> Result<Self, BadContainerId> {
        // The innermost comes first there, and senders may nest as deep as they like.
        let mut names = vec![&wire.value];
        let mut at = wire;
        while let Some(parent) = &at.parent {
            names.push(&parent.value);
            if names.len() > NESTING_MAX {
                return Err(BadContainerId::TooDeep);
            }
            at = parent;
        }
        let root = names.pop().map_or("", String::as_str);
        names.iter().rev().try_fold(Self::outermost(root)?, |parent, name| parent.child(name))
    }
}

/// A length of time; absent when it is negative, which no length of time here may be.
pub fn duration(wire: &v1::DurationInfo) -> Option<Duration> {
    u64::try_from(wire.nanoseconds).ok().map(Duration::from_nanos)
}

/// A length of time as the wire has it; the longest there is for longer ones.
pub fn duration_info(duration: Duration) -> v1::DurationInfo {
    let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    v1::DurationInfo { nanoseconds }
}

/// A moment as the wire has it.
pub fn time_info(at: Timestamp) -> v1::TimeInfo {
    let nanoseconds = i64::try_from(u128::from(at.0) * 1_000).unwrap_or(i64::MAX);
    v1::TimeInfo { nanoseconds }
}

/// A moment; the epoch for those before it.
pub fn timestamp(wire: &v1::TimeInfo) -> Timestamp {
    Timestamp(u64::try_from(wire.nanoseconds / 1_000).unwrap_or(0))
}

/// A moment given in seconds since the epoch, exact to the microsecond for some centuries.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and no clock is before the epoch"
)]
pub fn timestamp_from_secs(secs: f64) -> Timestamp {
    Timestamp((secs * 1e6).round() as u64)
}

/// The id of an update: sixteen bytes that say of themselves that they are a UUID.
pub fn update_id(bytes: &[u8]) -> Option<UpdateId> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let version = bytes[6] >> 4;
    (1..=5).contains(&version).then_some(UpdateId(bytes))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn moments_survive_both_forms(micros in 0_u64..8_000_000_000_000_000) {
            let at = Timestamp(micros);
            prop_assert_eq!(timestamp(&time_info(at)), at);
        }

        #[test]
        fn moments_of_our_time_survive_as_seconds(micros in 0_u64..4_000_000_000_000_000) {
            let at = Timestamp(micros);
            prop_assert_eq!(timestamp_from_secs(at.as_secs_f64()), at);
        }
    }

    #[test]
    fn an_update_id_is_a_uuid_of_a_known_version() {
        assert_eq!(update_id(&[0; 16]), None);
        assert_eq!(update_id(&[0x40; 15]), None);
        assert_eq!(update_id(&[0x40; 16]), Some(UpdateId([0x40; 16])));
        assert_eq!(update_id(&[0x60; 16]), None);
    }
}
