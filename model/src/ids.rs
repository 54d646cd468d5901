//! Ids: opaque strings on the wire, types here.
//!
//! Rules from the Mesos id validation: not empty, at most 255 bytes, not `.` or `..`, no control
//! characters, no `/` and no `\`.

use std::fmt;
use std::sync::Arc;

/// Longest id in bytes: ids become directory names, and file systems end there.
pub const ID_BYTES_MAX: usize = 255;

/// Why a text is no id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadId {
    /// Nothing there.
    #[error("ID must not be empty")]
    Empty,
    /// Longer than [`ID_BYTES_MAX`].
    #[error("ID must not be greater than {ID_BYTES_MAX} characters")]
    TooLong,
    /// `.` or `..`, which would climb out of a directory.
    #[error("'{0}' is disallowed")]
    Dots(String),
    /// A character that file names or logs cannot bear.
    #[error("'{0}' contains invalid characters")]
    Characters(String),
}

/// Whether `text` may be an id, and if not why not.
pub fn check_id(text: &str) -> Result<(), BadId> {
    if text.is_empty() {
        return Err(BadId::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(BadId::TooLong);
    }
    if text == "." || text == ".." {
        return Err(BadId::Dots(text.to_owned()));
    }
    if text.chars().any(|c| c.is_control() || c == '/' || c == '\\') {
        return Err(BadId::Characters(text.escape_debug().to_string()));
    }
    Ok(())
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` against the id rules.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, BadId> {
                let text = text.into();
                check_id(&text)?;
                Ok(Self(text))
            }

            /// The id as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

string_id! {
    /// A framework, over all its subscriptions: `<reign>-NNNN`.
    FrameworkId
}
string_id! {
    /// An agent's registration: `<reign>-S<n>`. A machine that is wiped and comes back gets a new one.
    AgentId
}
string_id! {
    /// One offer of one agent's free resources, good for one answer: `<reign>-O<n>`.
    OfferId
}
string_id! {
    /// A task, unique among the live tasks of its framework. Chosen by the framework.
    TaskId
}
string_id! {
    /// An executor, unique among those of its framework on one agent. Chosen by the framework; of a
    /// command task it is the task's id.
    ExecutorId
}
string_id! {
    /// One container on one agent, a UUID made by the agent.
    ContainerId
}
string_id! {
    /// An operation for which a framework asked feedback. Chosen by the framework.
    OperationId
}
string_id! {
    /// A persistent volume, unique among those of one role on one agent. Chosen by whoever makes it.
    PersistenceId
}

impl TaskId {
    /// A text that was given as a task's id and may be none. Only for telling whoever gave it so.
    pub fn as_given(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl OperationId {
    /// A text that was given as an operation's id and may be none. Only for telling whoever gave it so.
    pub fn as_given(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl FrameworkId {
    /// The `n`th framework of a reign.
    pub fn numbered(reign: &Reign, n: u64) -> Self {
        Self(format!("{reign}-{n:04}").into())
    }
}

impl AgentId {
    /// The `n`th agent of a reign.
    pub fn numbered(reign: &Reign, n: u64) -> Self {
        Self(format!("{reign}-S{n}").into())
    }
}

impl OfferId {
    /// The `n`th offer of a reign.
    pub fn numbered(reign: &Reign, n: u64) -> Self {
        Self(format!("{reign}-O{n}").into())
    }

    /// The `n` of one that was made by [`Self::numbered`].
    pub fn number(&self) -> Option<u64> {
        self.0.rsplit_once("-O").and_then(|(_, n)| n.parse().ok())
    }
}

/// The id of one leader's reign, a UUID: what the ids it gives out begin with. It is the
/// `MasterInfo.id` that clients see.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reign(pub [u8; 16]);

/// The id of one status update, a UUID. It is repeated when the update is, so receivers act once.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UpdateId(pub [u8; 16]);

/// The name of one operation on resources between master and agent, a UUID: also those have one for
/// which nobody asked feedback.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OperationUuid(pub [u8; 16]);

/// The id of one subscription of a framework, a UUID (`Mesos-Stream-Id`). A later subscription has
/// another one, which fences off whoever still uses this.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub [u8; 16]);

macro_rules! uuid_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(&self.0, f)
            }
        }
    )*};
}

uuid_display!(Reign, UpdateId, OperationUuid, StreamId);

fn write_uuid(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// The number of a leader's reign: the Raft term. Agents obey no lower one than they have seen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Term(pub u64);

/// One connection of an agent or a framework to this process, counted from its start.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(pub u64);

/// One call that waits for its answer in this process, counted from its start.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_would_climb_out_of_a_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb"] {
            assert!(TaskId::new(bad).is_err(), "{bad:?}");
        }
        assert!(TaskId::new("x".repeat(256)).is_err());
        for good in ["a", "a b", "a..b", ".hidden", "web.instance-1._app.1", "ä"] {
            assert!(TaskId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn numbered_ids_have_the_form_tools_parse() {
        let reign = Reign([0xAB; 16]);
        assert_eq!(
            FrameworkId::numbered(&reign, 7).as_str(),
            "abababab-abab-abab-abab-abababababab-0007"
        );
        assert_eq!(AgentId::numbered(&reign, 0).as_str(), format!("{reign}-S0"));
        assert_eq!(OfferId::numbered(&reign, 12).as_str(), format!("{reign}-O12"));
        assert_eq!(OfferId::numbered(&reign, 12).number(), Some(12));
        assert_eq!(OfferId::new("offer").expect("an id").number(), None);
    }
}
