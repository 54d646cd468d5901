//! What the masters agree on: a replicated log, and a state machine that is fed from it.
//!
//! One thread owns the consensus protocol (`node`) and the state machine; a second one owns the
//! store on disk (`disk`); tasks of the runtime carry messages to the other masters (`links`)
//! and from them ([`RaftService`]). Nothing here knows what an entry means.
//!
//! # What happens in which order
//!
//! These rules are what safety rests on; each is kept in one place.
//!
//! 1. *One inbox.* Messages, proposals and the disk's acknowledgements reach the thread through one
//!    first-in-first-out queue. The disk acknowledges a batch before it sends the messages that waited
//!    for it, so no answer to such a message can be handled before the acknowledgement.
//! 2. *Durable before visible.* An entry is applied once a majority has it on disk and this master too;
//!    a vote leaves after it is on disk. Only the leader's own messages may leave earlier, which the
//!    protocol allows.
//! 3. *Memory first.* Entries are readable in memory before the protocol is told that they are being
//!    written. The disk is read once, at the start.
//! 4. *A snapshot stands still.* From when a received snapshot is handed to the disk until it is there,
//!    all other input waits.
//! 5. *One transaction.* Snapshot, entries and votes of a batch become durable together or not at all,
//!    so a crash leaves no half of it.
//! 6. *Events stand between applications.* [`StateMachine::apply`] and the event callback are called by
//!    the same thread. [`RaftEvent::Following`] comes before the first entry of the next leader is
//!    applied, [`RaftEvent::Leading`] after everything that was agreed before the reign has been.
//! 7. *A proposal is answered after it was applied here*, or when this master ceases to lead.
//! 8. *A disk that fails is waited for.* While a batch cannot be written, since the disk is full or does
//!    not answer, it is tried again and again, and nothing after it is. This master hands leadership on
//!    and takes no part: it is to the others as if it were paused. Its reign is over for good, so the
//!    next one has another number.
//! 9. *Any other failure is the end.* When the store is damaged, the state machine fails, or the protocol
//!    finds a contradiction, [`RaftEvent::Failed`] is the last event, and the process must stop.
//!
//! # Leases
//!
//! A leader that was confirmed by a majority knows that nobody else can be elected for a while: who
//! confirmed will not vote before an election timeout has passed, and a master that has just been
//! started, which remembers no confirmation, does not vote for as long either. So reads are answered
//! locally while [`Handle::is_leader_with_lease`] holds; [`Handle::read_barrier`] gets a confirmation
//! if there is none at the moment. In a term in which leadership was to be handed on there is no lease:
//! whoever takes over does so without waiting.
//!
//! # Who is who
//!
//! A founder's raft id comes from its address in the list of peers, so all of them find the same ids
//! without talking. Who joins later has a random one, which it keeps in its data directory. Who the
//! masters are is agreed on like everything else: one is added as a learner, and the leader makes it a
//! voter when it has caught up. A removed one is told by whoever it speaks to, and ends.
//!
//! Each data directory has a random id besides. Masters remember each other's, and refuse a founder
//! that comes back with an empty directory: it has forgotten its votes and what it
//! acknowledged, and to take it in under its old id could undo what was agreed. It hears of that
//! from them, and keeps away from all. What cannot be detected: a directory that was lost while
//! nobody is up who has ever met the master, or one that was replaced by an old copy of itself; the
//! latter ends the process as soon as a leader mentions an entry that it had acknowledged.

mod admin;
mod disk;
mod error;
mod handle;
mod join;
mod links;
mod log;
mod logger;
mod members;
mod membership;
mod meters;
mod node;
mod service;
#[cfg(test)]
mod stepped;
#[cfg(test)]
mod tests;
mod threads;

use std::path::PathBuf;
use std::time::Duration;

use transport::identity::Identity;

use crate::gate::Gate;

pub use admin::RaftAdminService;
pub(crate) use error::chain;
pub use error::{ChangeError, ProposeError, RaftError};
pub use handle::{Handle, Proposal, Status};
pub use join::{ask_cluster, ask_to_be_added};
pub use service::RaftService;
pub use threads::{has_begun, start};

/// What the log's entries are applied to. The raft thread owns it.
pub trait StateMachine: Send + 'static {
    /// Applies the entry at `index`, proposed in `term`. Every master applies the same entries in the
    /// same order. Empty entries are not shown.
    fn apply(&mut self, index: u64, term: u64, entry: &[u8]);

    /// All of the state, as of the last entry applied.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces all of the state. An error says why `snapshot` means nothing, and ends the process.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;
}

/// Who leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaderInfo {
    /// Its raft id.
    pub raft_id: u64,
    /// Where it is reached: host:port, as in the list of peers.
    pub address: String,
}

/// What the owner of the state machine is told, between applications.
#[derive(Debug)]
pub enum RaftEvent {
    /// This master leads, and has applied everything that was agreed before.
    Leading {
        /// The number of the reign.
        term: u64,
    },
    /// This master does not lead, or not yet. Told again when `leader` or `term` changes.
    Following {
        /// Who does, where that is known.
        leader: Option<LeaderInfo>,
        /// The term that this is true of.
        term: u64,
    },
    /// These masters have a vote now: host:port of each.
    Voters {
        /// Where they are reached.
        addresses: Vec<String>,
    },
    /// It is over: the process must stop. Nothing comes after it.
    Failed {
        /// What happened.
        error: RaftError,
    },
}

/// What a master needs to know of the cluster that it joins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Join {
    /// Its id, as [`ask_cluster`] finds it. Not needed once this master has a log.
    pub cluster_id: Option<String>,
}

/// What is to be served on the master's own port.
#[derive(Clone)]
pub struct Services {
    /// For the other masters.
    pub raft: RaftService,
    /// For operators, and for masters that want to join.
    pub admin: RaftAdminService,
}

impl Services {
    /// As routes.
    pub fn into_routes(self) -> tonic::service::Routes {
        tonic::service::Routes::new(self.raft.into_server()).add_service(self.admin.into_server())
    }
}

/// How a master takes part.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// Where the store is; made if missing.
    pub dir: PathBuf,
    /// The own address, host:port, as the others know it.
    pub own: String,
    /// The addresses of all masters, the own one among them. Empty: this one is alone.
    pub peers: Vec<String>,
    /// This master joins a cluster that is there; `peers` is not looked at.
    pub join: Option<Join>,
    /// The protocol's unit of time.
    pub tick: Duration,
    /// A follower that hears nothing for one to two times as many ticks calls an election. At least 5.
    pub election_ticks: u32,
    /// The leader lets itself be heard every so many ticks.
    pub heartbeat_ticks: u32,
    /// A snapshot is made, and the log trimmed, after so many entries.
    pub snapshot_every: u64,
    /// Entries before the snapshot that are kept, so that a follower that was away for a moment needs
    /// no snapshot.
    pub snapshot_tail: u64,
    /// Longest entry that may be proposed, in bytes.
    pub entry_bytes_max: usize,
    /// Largest snapshot that is sent or taken, in bytes.
    pub snapshot_bytes_max: u64,
    /// What shows the other masters who this one is.
    pub identity: Identity,
    /// What is to have ended before leadership is handed on by plan.
    pub(crate) gate: Gate,
}

impl RaftOptions {
    /// The usual ones, for a master alone.
    pub fn new(dir: impl Into<PathBuf>, own: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            own: own.into(),
            peers: Vec::new(),
            join: None,
            tick: Duration::from_millis(50),
            election_ticks: 10,
            heartbeat_ticks: 2,
            snapshot_every: 10_000,
            snapshot_tail: 1_000,
            entry_bytes_max: 8 << 20,
            snapshot_bytes_max: 1 << 30,
            identity: Identity::default(),
            gate: Gate::default(),
        }
    }
}
