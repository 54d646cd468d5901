//! Reads of what is agreed on, and the lease that lets them be answered at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Asked, Node};
use crate::raft::StateMachine;
use crate::raft::error::ProposeError;

/// Ticks by which a lease is shorter than the time in which nobody can be elected. A follower's first
/// tick may come at once after a heartbeat, and clocks differ a little in speed.
const LEASE_MARGIN: u32 = 3;

/// A question whether this master still leads, put to all.
pub(super) struct Probe {
    asked_at: Duration,
    term: u64,
    reads: Vec<Asked>,
}

/// A question that was answered by a majority, and waits until all before it is applied.
pub(super) struct ConfirmedRead {
    index: u64,
    /// The term in which this master led.
    term: u64,
    asked: Asked,
}

impl<M: StateMachine> Node<M> {
    pub(super) fn ask_reads(&mut self) {
        if self.asked_reads.is_empty() {
            return;
        }
        let reads = std::mem::take(&mut self.asked_reads);
        if self.leads() {
            self.probe(reads);
            return;
        }
        for asked in reads {
            let _ = asked.answer.send(Err(ProposeError::NotLeader { leader: self.told_leader() }));
        }
    }

    /// Asks all masters whether this one still leads.
    pub(super) fn probe(&mut self, reads: Vec<Asked>) {
        self.next_probe += 1;
        self.raw.read_index(self.next_probe.to_be_bytes().to_vec());
        self.probes
            .insert(self.next_probe, Probe { asked_at: self.now, term: self.raw.raft.term, reads });
    }

    /// A majority has said so.
    pub(super) fn confirmed(&mut self, context: &[u8], index: u64) {
        let Ok(number) = context.try_into().map(u64::from_be_bytes) else { return };
        let Some(probe) = self.probes.remove(&number) else { return };
        let term = probe.term;
        let confirmed = probe.reads.into_iter().map(|asked| ConfirmedRead { index, term, asked });
        self.reads.extend(confirmed);
        if !self.changes.may_lease(term) {
            return;
        }
        let ticks = self.options.election_ticks - LEASE_MARGIN;
        let until = probe.asked_at + self.options.tick * ticks;
        let nanos = u64::try_from(until.as_nanos()).expect("five centuries");
        // The term first: whoever sees the new time must not take it for that of an earlier term.
        self.published.lease_term.store(term, Ordering::Release);
        self.published.lease_until.fetch_max(nanos, Ordering::AcqRel);
    }

    pub(super) fn answer_reads(&mut self) {
        let applied = self.applied;
        for read in self.reads.extract_if(.., |read| read.index <= applied) {
            let _ = read.asked.answer.send(Ok(read.term));
        }
    }
}
