//! What is counted. One set of handles per master.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles, made once.
#[derive(Clone)]
pub(crate) struct Meters {
    /// The number of the reign.
    pub(crate) term: Gauge,
    /// 1 while this master leads, or else 0.
    pub(crate) leading: Gauge,
    /// The last entry that is agreed on.
    pub(crate) committed: Gauge,
    /// The last entry that is applied.
    pub(crate) applied: Gauge,
    /// Bytes of the log in memory.
    pub(crate) log_bytes: Gauge,
    /// How often this master's view of who leads has changed.
    pub(crate) leader_changes: Counter,
    /// Entries applied.
    pub(crate) entries: Counter,
    /// Proposals that were not taken.
    pub(crate) refused: Counter,
    /// Messages that found the queue to their receiver full, or its connection broken.
    pub(crate) dropped: Counter,
    /// Calls of masters that do not belong here.
    pub(crate) strangers: Counter,
    /// Snapshots made.
    pub(crate) snapshots_made: Counter,
    /// Snapshots sent to the end.
    pub(crate) snapshots_sent: Counter,
    /// Snapshots taken over from the leader.
    pub(crate) snapshots_taken: Counter,
    /// 1 while the store cannot be written, or else 0.
    pub(crate) store_failing: Gauge,
    /// How long a batch took to become durable.
    pub(crate) persist: Histogram,
}

impl Meters {
    /// Those of the master at `own`.
    pub(crate) fn new(own: &str) -> Self {
        let own = || own.to_owned();
        Self {
            term: gauge!("agora_raft_term", "master" => own()),
            leading: gauge!("agora_raft_leading", "master" => own()),
            committed: gauge!("agora_raft_committed_index", "master" => own()),
            applied: gauge!("agora_raft_applied_index", "master" => own()),
            log_bytes: gauge!("agora_raft_log_bytes", "master" => own()),
            leader_changes: counter!("agora_raft_leader_changes", "master" => own()),
            entries: counter!("agora_raft_entries_applied", "master" => own()),
            refused: counter!("agora_raft_proposals_refused", "master" => own()),
            dropped: counter!("agora_raft_messages_dropped", "master" => own()),
            strangers: counter!("agora_raft_strangers_refused", "master" => own()),
            snapshots_made: counter!("agora_raft_snapshots_made", "master" => own()),
            snapshots_sent: counter!("agora_raft_snapshots_sent", "master" => own()),
            snapshots_taken: counter!("agora_raft_snapshots_taken", "master" => own()),
            store_failing: gauge!("agora_raft_store_failing", "master" => own()),
            persist: histogram!("agora_raft_persist_seconds", "master" => own()),
        }
    }
}
