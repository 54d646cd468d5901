//! What can go wrong.

use std::io;
use std::path::PathBuf;

use super::LeaderInfo;

/// Why a master cannot take part, or can no longer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum RaftError {
    /// The flags contradict each other.
    #[error("the own address {own} is not among the peers {peers}; give it as the others do")]
    NotAmongPeers { own: String, peers: String },
    /// The list of peers is no good.
    #[error("bad list of peers: {reason}")]
    BadPeers { reason: String },
    /// A setting is out of range.
    #[error("bad setting: {reason}")]
    BadSetting { reason: String },
    /// The directory was made for other masters.
    #[error(
        "{} belongs to a cluster of {stored}, but the peers are {configured}; \
         start with the old list, or with an empty directory in a new cluster", path.display()
    )]
    OtherMembers { path: PathBuf, stored: String, configured: String },
    /// The directory's master is known under another address.
    #[error(
        "the masters know this one as {known}, not as {own}; start it with its old address, \
         or remove it and let it join anew with an empty directory"
    )]
    Moved { known: String, own: String },
    /// The others go on without this master.
    #[error(
        "this master was removed from the cluster and must not run any more; \
         to take part again, start it with --join and an empty work directory"
    )]
    Removed,
    /// The directory cannot be made or read.
    #[error("cannot make the directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// The store cannot be opened.
    #[error("cannot open {}; is another master using it?", path.display())]
    Open { path: PathBuf, source: Box<redb::DatabaseError> },
    /// The disk failed.
    #[error("cannot {doing} the store")]
    Storage { doing: &'static str, source: Box<redb::Error> },
    /// What is in the store cannot have been written by us.
    #[error("{} is damaged: {what}; restore it, or let this master join anew", path.display())]
    Damaged { path: PathBuf, what: String },
    /// The system gives us no thread.
    #[error("cannot start a thread")]
    Thread { source: io::Error },
    /// The protocol refuses to start.
    #[error("cannot start the protocol")]
    Protocol { source: Box<raft::Error> },
    /// The state machine does not take its own snapshot.
    #[error("cannot take up the snapshot at index {index}: {reason}")]
    Restore { index: u64, reason: String },
    /// The leader knows that this master had acknowledged what is not there any more.
    #[error(
        "this master acknowledged entry {acknowledged}, but its log ends at {last}: \
         its data directory was lost or replaced by an old copy"
    )]
    LogLost { acknowledged: u64, last: u64 },
    /// A bug, or a contradiction that the protocol found.
    #[error("the raft thread ended: {message}")]
    Panicked { message: String },
}

/// Why the list of masters was not changed, or somebody else does not lead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// Another master leads, or none.
    #[error("this master does not lead")]
    NotLeader {
        /// Who does, where that is known.
        leader: Option<LeaderInfo>,
    },
    /// Changes are made one after the other.
    #[error("another change is under way; try again in a moment")]
    Busy,
    /// Leadership was lost before it was agreed on. It may still be, or not.
    #[error("leadership was lost before the change was agreed on; look whether it was made")]
    Lost,
    /// No master is called so.
    #[error("no master has the address or raft id {name}; see agora operator raft list")]
    Unknown {
        /// What it was called.
        name: String,
    },
    /// The leading master cannot be removed; another one has to lead first.
    #[error("this master leads; have another one lead first")]
    Leads,
    /// It would do harm, for this reason.
    #[error("{0}")]
    Refused(String),
}

/// Why a proposal was not, or may not have been, agreed on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProposeError {
    /// Another master leads, or none, or the reign it was meant for is over. It was not proposed.
    #[error("this master does not lead")]
    NotLeader {
        /// Who does, where that is known.
        leader: Option<LeaderInfo>,
    },
    /// Leadership was lost before it was agreed on. It may still be, or not.
    #[error("leadership was lost before it was agreed on")]
    Lost,
    /// It was not proposed.
    #[error("an entry of {bytes} bytes; at most {max} are possible")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// What is possible.
        max: usize,
    },
    /// Too much is waiting already. It was not proposed.
    #[error("too many proposals are waiting")]
    Overloaded,
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
