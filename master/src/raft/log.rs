//! The log since the last compaction, in memory: what the protocol reads.

use std::cell::Cell;
use std::collections::VecDeque;

use protobuf2::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Result, Storage, StorageError};

/// Bytes of entries before the snapshot that are kept at most. A follower that needs more gets the
/// snapshot, which is not much larger.
const TAIL_BYTES_MAX: usize = 16 << 20;

/// The log, and the latest snapshot.
///
/// Invariant: entries follow each other without a gap, the first one right after `before`; the
/// snapshot is not older than `before`.
pub(crate) struct MemoryLog {
    /// As it was found at the start; the protocol keeps its own since then.
    hard_state: HardState,
    snapshot: Snapshot,
    before: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
    snapshot_wanted: Cell<bool>,
}

impl MemoryLog {
    /// A log as found on disk. Entries come without gaps, and the first is not later than the one
    /// after the snapshot.
    pub(crate) fn new(hard_state: HardState, snapshot: Snapshot, entries: Vec<Entry>) -> Self {
        let metadata = snapshot.get_metadata();
        let mut before = (metadata.index, metadata.term);
        let mut entries = VecDeque::from(entries);
        // The term of the entry before the first must be known, so the first itself is given up
        // unless the snapshot knows it.
        if entries.front().is_some_and(|first| first.index <= metadata.index) {
            let first = entries.pop_front().expect("there is one");
            before = (first.index, first.term);
        }
        let bytes = entries.iter().map(size).sum();
        let mut log =
            Self { hard_state, snapshot, before, entries, bytes, snapshot_wanted: Cell::default() };
        // A commit index is a hint that may be older than the snapshot, or newer than a log whose
        // end did not reach the disk.
        let (low, high) = (log.snapshot_index(), log.last());
        log.hard_state.commit = log.hard_state.commit.clamp(low, high);
        log
    }

    /// Puts `new` at its place; what was there or after it goes.
    pub(crate) fn append(&mut self, new: &[Entry]) {
        let Some(first) = new.first() else { return };
        assert!(first.index > self.before.0, "what was compacted is agreed on and never replaced");
        assert!(first.index <= self.last() + 1, "a gap in the log");
        while self.last() >= first.index {
            let gone = self.entries.pop_back().expect("it is not empty yet");
            self.bytes -= size(&gone);
        }
        self.bytes += new.iter().map(size).sum::<usize>();
        self.entries.extend(new.iter().cloned());
    }

    /// Replaces everything by a snapshot that was received.
    pub(crate) fn reset_to(&mut self, snapshot: Snapshot) {
        self.before = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        self.entries.clear();
        self.bytes = 0;
        self.snapshot = snapshot;
    }

    /// Takes in a snapshot that was made here, and drops all but `tail` of the entries that it
    /// covers. Returns the last index that is gone.
    pub(crate) fn compact(&mut self, snapshot: Snapshot, tail: u64) -> u64 {
        let index = snapshot.get_metadata().index;
        assert!((self.before.0..=self.last()).contains(&index), "a snapshot of what is not there");
        self.snapshot = snapshot;
        self.snapshot_wanted.set(false);
        let covered = usize::try_from(index - self.before.0).expect("fits, as the entries do");
        let mut tail_bytes: usize = self.entries.iter().take(covered).map(size).sum();
        while self.before.0 < index && (index - self.before.0 > tail || tail_bytes > TAIL_BYTES_MAX)
        {
            let gone = self.entries.pop_front().expect("covered entries are there");
            self.bytes -= size(&gone);
            tail_bytes -= size(&gone);
            self.before = (gone.index, gone.term);
        }
        self.before.0
    }

    /// Index of the latest snapshot.
    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.get_metadata().index
    }

    /// Whether the protocol asked for a newer snapshot than there is.
    pub(crate) fn is_snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.get()
    }

    /// Bytes of all entries.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Index of the last entry.
    pub(crate) fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.before.0 + 1)?).ok()
    }
}

/// What an entry costs, on the wire and, nearly, in memory.
fn size(entry: &Entry) -> usize {
    entry.compute_size() as usize
}

impl Storage for MemoryLog {
    fn initial_state(&self) -> Result<RaftState> {
        let conf_state = self.snapshot.get_metadata().get_conf_state().clone();
        Ok(RaftState { hard_state: self.hard_state.clone(), conf_state })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let Some(start) = self.position(low) else {
            return Err(StorageError::Compacted.into());
        };
        assert!(high <= self.last() + 1, "entries past the end are asked for");
        let max = max_size.into().unwrap_or(u64::MAX);
        let count = usize::try_from(high.saturating_sub(low)).expect("fits, as the entries do");
        let mut total = 0;
        let mut taken = Vec::new();
        for entry in self.entries.iter().skip(start).take(count) {
            total += size(entry) as u64;
            if total > max && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        let Some(position) = self.position(index) else {
            return Err(StorageError::Compacted.into());
        };
        self.entries
            .get(position)
            .map(|entry| entry.term)
            .ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.before.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> Result<Snapshot> {
        let metadata = self.snapshot.get_metadata();
        // A receiver ignores a snapshot that does not name it, and would then wait for ever.
        if metadata.index < request_index || !names(metadata.get_conf_state(), to) {
            self.snapshot_wanted.set(true);
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(self.snapshot.clone())
    }
}

fn names(members: &ConfState, id: u64) -> bool {
    [&members.voters, &members.learners, &members.voters_outgoing]
        .into_iter()
        .any(|ids| ids.contains(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![7; 10].into(), ..Entry::default() }
    }

    fn snapshot(index: u64, term: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (index, term);
        metadata.mut_conf_state().voters = vec![1];
        snapshot
    }

    fn log(until: u64) -> MemoryLog {
        let entries = (2..=until).map(|index| entry(index, 2)).collect();
        MemoryLog::new(HardState::default(), snapshot(1, 1), entries)
    }

    fn bounds(log: &MemoryLog) -> (u64, u64) {
        (log.first_index().expect("known"), log.last_index().expect("known"))
    }

    #[test]
    fn the_commit_index_is_clamped_to_what_is_there() {
        for (found, kept) in [(0, 5), (6, 6), (9, 7)] {
            let hard_state = HardState { commit: found, ..HardState::default() };
            let entries = vec![entry(6, 2), entry(7, 2)];
            let log = MemoryLog::new(hard_state, snapshot(5, 2), entries);
            assert_eq!(log.initial_state().expect("known").hard_state.commit, kept);
        }
    }

    #[test]
    fn a_conflicting_entry_replaces_all_after_it() {
        let mut log = log(9);
        log.append(&[entry(5, 3)]);
        assert_eq!(bounds(&log), (2, 5));
        assert_eq!(log.term(5), Ok(3));
        assert_eq!(log.bytes(), log.entries.iter().map(size).sum::<usize>());
    }

    #[test]
    fn compaction_keeps_the_tail_and_the_term_before_it() {
        let mut log = log(20);
        assert_eq!(log.compact(snapshot(15, 2), 4), 11);
        assert_eq!(bounds(&log), (12, 20));
        assert_eq!(log.term(11), Ok(2));
        assert!(log.term(10).is_err());
        assert!(log.entries(11, 13, None, GetEntriesContext::empty(false)).is_err());
        let some = log.entries(12, 21, Some(40), GetEntriesContext::empty(false)).expect("there");
        assert_eq!(some.iter().map(|entry| entry.index).collect::<Vec<_>>(), [12, 13]);
        // What is on disk then is read back with the first entry as what comes before.
        let entries = (12..=20).map(|index| entry(index, 2)).collect();
        let log = MemoryLog::new(HardState::default(), snapshot(15, 2), entries);
        assert_eq!(bounds(&log), (13, 20));
    }

    #[test]
    fn a_snapshot_that_does_not_name_its_receiver_is_not_sent() {
        let log = log(3);
        assert!(log.snapshot(0, 1).is_ok());
        assert!(!log.is_snapshot_wanted());
        assert!(log.snapshot(0, 2).is_err());
        assert!(log.is_snapshot_wanted());
    }
}
