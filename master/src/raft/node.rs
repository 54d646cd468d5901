//! One master's part in the protocol: inputs in, outputs out, time told.
//!
//! No thread, no clock, no disk, no socket: `threads` plays those, and so can a test. The one thing
//! that is not told is the election timeout, which the protocol's library draws by itself.

mod changes;
mod failing;
mod reads;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::eraftpb::{Entry, EntryType, Message, MessageType, Snapshot};
use raft::{Config, RawNode, ReadOnlyOption, SnapshotStatus, StateRole, Storage as _};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::disk::{FOUNDED_AT, FOUNDED_IN, Found, Stored, Write};
use super::error::{ChangeError, ProposeError, RaftError};
use super::handle::{PROPOSED_BYTES_MAX, Published, Status};
use super::log::MemoryLog;
use super::membership::Membership;
use super::meters::Meters;
use super::{LeaderInfo, RaftEvent, RaftOptions, StateMachine, logger};

pub(crate) use changes::{Change, Listing, Member};

/// Bytes of entries in one message. Larger ones delay heartbeats behind them.
const MESSAGE_BYTES: u64 = 1 << 20;

/// Messages under way to one follower before the leader waits for its answers.
const INFLIGHT_MAX: usize = 256;

/// Bytes of entries applied before messages are looked at again.
const APPLIED_BYTES: u64 = 16 << 20;

/// Bytes of log after which a snapshot is made even if the entries are few: all of it is in memory.
const LOG_BYTES_MAX: usize = 64 << 20;

/// Where an answer goes, and the room that is taken until then.
pub(crate) struct Asked {
    pub(crate) answer: oneshot::Sender<Result<u64, ProposeError>>,
    pub(crate) _room: Option<OwnedSemaphorePermit>,
}

/// An entry to be agreed on.
pub(crate) struct Proposed {
    /// Only in this reign; absent: in any.
    pub(crate) term: Option<u64>,
    pub(crate) entry: Vec<u8>,
    pub(crate) asked: Asked,
}

/// What can happen.
pub(crate) enum Input {
    /// Another master said something. The room is given back once it was heard.
    Messages { messages: Vec<Message>, room: Option<OwnedSemaphorePermit> },
    /// Somebody wants an entry agreed on.
    Propose(Proposed),
    /// Somebody wants to read what is agreed on.
    Read(Asked),
    /// Writes up to this number are durable.
    Persisted(u64),
    /// Messages to this master do not arrive.
    Unreachable(u64),
    /// A snapshot was sent to this master, or could not be.
    SnapshotSent { to: u64, arrived: bool },
    /// This master was met for the first time.
    Met { raft_id: u64, data_id: String },
    /// Somebody wants the masters, or the leading one, to be others.
    Change { change: Change, answer: oneshot::Sender<Result<u64, ChangeError>> },
    /// Somebody wants to know who the masters are.
    List(oneshot::Sender<Listing>),
    /// Another master knows that this one was removed.
    Removed,
    /// The store cannot be written for now.
    StoreFailed,
    /// It can again, and what waited is there.
    StoreWorks,
}

/// What is to be done, in this order.
pub(crate) enum Output {
    /// Send.
    Send(Vec<Message>),
    /// Write and acknowledge, then send what waits for it.
    Persist(Write),
    /// These are the masters now.
    Members(Membership),
}

struct Waiting {
    index: u64,
    term: u64,
    asked: Asked,
}

/// What was told last.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Standing {
    leading: bool,
    leader: Option<LeaderInfo>,
    term: u64,
}

/// One master's part in the protocol.
pub(crate) struct Node<M> {
    raw: RawNode<MemoryLog>,
    machine: M,
    events: Box<dyn FnMut(RaftEvent) + Send>,
    options: RaftOptions,
    membership: Membership,
    /// The same, if others have yet to hear of it.
    membership_news: Option<Membership>,
    changes: changes::Changes,
    published: Arc<Published>,
    meters: Meters,
    now: Duration,
    next_tick: Duration,
    ticks: u64,
    /// Whether this log has seen a leader before the start, so that a lease may be out.
    voted_before: bool,
    applied: u64,
    told: Option<Standing>,
    waiting: VecDeque<Waiting>,
    asked_reads: Vec<Asked>,
    /// By number. Numbers are not used again.
    probes: BTreeMap<u64, reads::Probe>,
    next_probe: u64,
    probe_due: bool,
    reads: Vec<reads::ConfirmedRead>,
    /// Number and index of a received snapshot that is being written.
    restoring: Option<(u64, u64)>,
    /// What came in since.
    backlog: Vec<Input>,
    /// Whether the store cannot be written.
    failing: bool,
}

impl<M: StateMachine> Node<M> {
    /// Takes up what was found on disk.
    pub(crate) fn new(
        options: RaftOptions,
        found: Found,
        mut machine: M,
        events: Box<dyn FnMut(RaftEvent) + Send>,
        published: Arc<Published>,
        meters: Meters,
    ) -> Result<Self, RaftError> {
        let applied = found.snapshot.get_metadata().index;
        let mut membership = restore(&mut machine, &found.snapshot)?;
        changes::settle_own_address(&mut membership, found.identity.raft_id, &options.own)?;
        let config = Config {
            id: found.identity.raft_id,
            applied,
            election_tick: options.election_ticks as usize,
            heartbeat_tick: options.heartbeat_ticks as usize,
            pre_vote: true,
            check_quorum: true,
            // Each probe is a round of heartbeats; `now` of it makes the lease. The library's own
            // lease would count a leader's pause as time in which it was confirmed.
            read_only_option: ReadOnlyOption::Safe,
            max_size_per_msg: MESSAGE_BYTES,
            max_inflight_msgs: INFLIGHT_MAX,
            // The library joins entries to a waiting message without any even when they do not follow
            // its index, as after a rejection; the receiver then acknowledges what it does not have.
            batch_append: false,
            max_uncommitted_size: PROPOSED_BYTES_MAX as u64,
            max_committed_size_per_ready: APPLIED_BYTES,
            ..Config::default()
        };
        let voted_before = found.hard_state.term > FOUNDED_IN;
        let log = MemoryLog::new(found.hard_state, found.snapshot, found.entries);
        let protocol = |source| RaftError::Protocol { source: Box::new(source) };
        let mut raw = RawNode::new(&config, log, &logger::logger()).map_err(protocol)?;
        if raw.raft.prs().is_singleton() {
            // Nobody else could be elected, so there is nothing to wait for.
            raw.campaign().map_err(protocol)?;
        }
        let next_tick = options.tick;
        let node = Self {
            raw,
            machine,
            events,
            options,
            membership_news: Some(membership.clone()),
            membership,
            changes: changes::Changes::default(),
            published,
            meters,
            now: Duration::ZERO,
            next_tick,
            ticks: 0,
            voted_before,
            applied,
            told: None,
            waiting: VecDeque::new(),
            asked_reads: Vec::new(),
            probes: BTreeMap::new(),
            next_probe: 0,
            probe_due: false,
            reads: Vec::new(),
            restoring: None,
            backlog: Vec::new(),
            failing: false,
        };
        node.publish();
        Ok(node)
    }

    /// When the next turn is due, even without input.
    pub(crate) fn next_deadline(&self) -> Duration {
        self.next_tick
    }

    /// Tells the owner that it is over.
    pub(crate) fn fail(&mut self, error: RaftError) {
        self.end();
        (self.events)(RaftEvent::Failed { error });
    }

    /// Takes no further part: from now on nothing is known.
    pub(crate) fn end(&mut self) {
        self.withdraw_lease();
        let mut status = self.published.status.write();
        (status.leading, status.leader) = (false, None);
        self.meters.leading.set(0.0);
    }

    fn withdraw_lease(&mut self) {
        self.published.lease_until.store(0, Ordering::Release);
    }

    /// Takes in what happened, and does what follows from it.
    pub(crate) fn turn(
        &mut self,
        inputs: &mut Vec<Input>,
        now: Duration,
        out: &mut Vec<Output>,
    ) -> Result<(), RaftError> {
        self.now = now;
        self.backlog.append(inputs);
        self.note_store();
        if self.restoring.is_some() && !self.restored() {
            self.next_tick = now + self.options.tick;
            return Ok(());
        }
        for input in std::mem::take(&mut self.backlog) {
            self.take(input, out)?;
        }
        // After the inputs: what came in while this thread was not running must not count as silence.
        if now >= self.next_tick {
            self.tick();
        }
        self.give_up();
        self.ask_reads();
        while self.restoring.is_none() && self.raw.has_ready() {
            self.ready(out)?;
            if std::mem::take(&mut self.probe_due) {
                self.probe(Vec::new());
            }
        }
        // The store's condition may have changed while the protocol had nothing to do.
        self.tell();
        self.drop_lost();
        self.answer_reads();
        self.answer_changes();
        self.compact(out);
        self.tell_members(out);
        self.publish();
        Ok(())
    }

    /// Whether the received snapshot is on disk now. All other input stays where it is.
    fn restored(&mut self) -> bool {
        for input in &self.backlog {
            if let Input::Persisted(number) = input {
                self.raw.on_persist_ready(*number);
                if let Some((_, index)) = self.restoring.take_if(|(awaited, _)| *number >= *awaited)
                {
                    self.raw.advance_apply_to(index);
                }
            }
        }
        self.backlog.retain(|input| !matches!(input, Input::Persisted(_)));
        self.restoring.is_none()
    }

    fn take(&mut self, input: Input, out: &mut Vec<Output>) -> Result<(), RaftError> {
        match input {
            Input::Persisted(number) => self.raw.on_persist_ready(number),
            Input::Messages { messages, room } => {
                for message in messages {
                    self.hear(message)?;
                }
                drop(room);
            }
            Input::Propose(proposed) => self.propose(proposed),
            Input::Read(asked) => self.asked_reads.push(asked),
            Input::Unreachable(id) => self.raw.report_unreachable(id),
            Input::SnapshotSent { to, arrived } => {
                let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.raw.report_snapshot(to, status);
            }
            Input::Met { raft_id, data_id } => {
                let met = Some((raft_id, data_id));
                out.push(Output::Persist(Write { met, ..Write::default() }));
            }
            Input::Change { change, answer } => self.change(change, answer),
            Input::List(answer) => drop(answer.send(self.list())),
            Input::Removed => return Err(RaftError::Removed),
            // Noted when it came in.
            Input::StoreFailed | Input::StoreWorks => {}
        }
        Ok(())
    }

    fn hear(&mut self, message: Message) -> Result<(), RaftError> {
        let kind = message.get_msg_type();
        self.changes.heard(message.from, self.now);
        let asks_vote =
            matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        if asks_vote && self.may_have_confirmed() {
            return Ok(());
        }
        let last = self.raw.raft.raft_log.last_index();
        if kind == MessageType::MsgHeartbeat
            && message.term >= self.raw.raft.term
            && message.commit > last
        {
            // A leader mentions only what this master has acknowledged.
            return Err(RaftError::LogLost { acknowledged: message.commit, last });
        }
        if let Err(error) = self.raw.step(message) {
            tracing::debug!(%error, ?kind, "message passed over");
        }
        Ok(())
    }

    /// Whether this master may have confirmed a leader shortly before it was started, and forgotten.
    fn may_have_confirmed(&self) -> bool {
        self.voted_before && self.ticks + 2 < u64::from(self.options.election_ticks)
    }

    fn tick(&mut self) {
        if self.is_frozen() {
            self.next_tick = self.now + self.options.tick;
            return;
        }
        self.raw.tick();
        self.ticks += 1;
        // No catching up after a pause: silence is counted in ticks, and it must have been one.
        let tick = self.options.tick;
        let late = self.now.saturating_sub(self.next_tick) > tick / 2;
        self.next_tick = if late { self.now } else { self.next_tick } + tick;
        let due = self.ticks.is_multiple_of(u64::from(self.options.heartbeat_ticks));
        if due && self.leads() {
            self.probe(Vec::new());
            self.promote();
        }
    }

    fn propose(&mut self, proposed: Proposed) {
        let Proposed { term, entry, asked } = proposed;
        let current = self.raw.raft.term;
        let error = if !self.leads() || term.is_some_and(|term| term != current) {
            ProposeError::NotLeader { leader: self.told_leader() }
        } else {
            match self.raw.propose(Vec::new(), entry) {
                Ok(()) => {
                    let index = self.raw.raft.raft_log.last_index();
                    self.waiting.push_back(Waiting { index, term: current, asked });
                    return;
                }
                Err(_) if self.raw.raft.lead_transferee.is_some() => {
                    ProposeError::NotLeader { leader: None }
                }
                Err(error) => {
                    tracing::debug!(%error, "proposal refused");
                    ProposeError::Overloaded
                }
            }
        };
        self.meters.refused.increment(1);
        let _ = asked.answer.send(Err(error));
    }

    /// Whether this master leads and has told so.
    fn leads(&self) -> bool {
        let raft = &self.raw.raft;
        raft.state == StateRole::Leader
            && self.told.as_ref().is_some_and(|told| told.leading && told.term == raft.term)
    }

    fn told_leader(&self) -> Option<LeaderInfo> {
        self.told.as_ref().and_then(|told| told.leader.clone())
    }

    /// Who leads, as the protocol sees it.
    fn leader(&self) -> Option<LeaderInfo> {
        let raft_id = self.raw.raft.leader_id;
        let address = self.membership.address(raft_id)?.clone();
        Some(LeaderInfo { raft_id, address })
    }

    fn ready(&mut self, out: &mut Vec<Output>) -> Result<(), RaftError> {
        let mut ready = self.raw.ready();
        // Who applies the entries below must first know whether they are another's.
        self.tell();
        let messages = ready.take_messages();
        if !messages.is_empty() {
            out.push(Output::Send(messages));
        }
        let mut write = Write { number: ready.number(), ..Write::default() };
        if !ready.snapshot().is_empty() {
            let snapshot = ready.snapshot().clone();
            self.applied = snapshot.get_metadata().index;
            self.raw.mut_store().reset_to(snapshot.clone());
            self.membership = restore(&mut self.machine, &snapshot)?;
            self.membership_news = Some(self.membership.clone());
            self.meters.snapshots_taken.increment(1);
            tracing::info!(index = self.applied, "took over the leader's snapshot");
            self.restoring = Some((write.number, self.applied));
            write.snapshot = Some(Stored::Received(snapshot));
        }
        self.apply(ready.take_committed_entries())?;
        for read in ready.take_read_states() {
            self.confirmed(&read.request_ctx, read.index);
        }
        write.entries = ready.take_entries();
        self.raw.mut_store().append(&write.entries);
        write.hard_state = ready.hs().cloned();
        write.messages = ready.take_persisted_messages();
        write.sync = ready.must_sync();
        self.raw.advance_append_async(ready);
        out.push(Output::Persist(write));
        if self.restoring.is_none() {
            self.raw.advance_apply_to(self.applied);
        }
        self.tell();
        Ok(())
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), RaftError> {
        self.meters.entries.increment(entries.len() as u64);
        for entry in entries {
            match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => {}
                EntryType::EntryNormal => {
                    self.machine.apply(entry.index, entry.term, &entry.data);
                }
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    self.apply_change(&entry)?;
                }
            }
            self.applied = entry.index;
            while let Some(first) = self.waiting.pop_front_if(|first| first.index <= entry.index) {
                let agreed = first.index == entry.index && first.term == entry.term;
                let answer = if agreed { Ok(entry.index) } else { Err(ProposeError::Lost) };
                let _ = first.asked.answer.send(answer);
            }
        }
        Ok(())
    }

    /// Tells the owner who leads, if that has changed.
    fn tell(&mut self) {
        let raft = &self.raw.raft;
        let is_leader = raft.state == StateRole::Leader;
        // Its own term's first entry is applied, hence all before it are.
        let leading =
            is_leader && !self.failing && self.raw.store().term(self.applied) == Ok(raft.term);
        // Who cannot listen does not know who leads.
        let unknown = is_leader && !leading || self.failing;
        let leader = if unknown { None } else { self.leader() };
        let standing = Standing { leading, leader, term: raft.term };
        if self.told.as_ref() == Some(&standing) {
            return;
        }
        if !leading || self.told.as_ref().is_none_or(|told| told.term != standing.term) {
            self.end_reign();
        }
        let (leader, term) = (standing.leader.clone(), standing.term);
        self.told = Some(standing);
        self.meters.leader_changes.increment(1);
        if leading {
            tracing::info!(term, "leading");
            (self.events)(RaftEvent::Leading { term });
            // So that the lease begins at once.
            self.probe_due = true;
        } else {
            let address = leader.as_ref().map(|leader| leader.address.as_str());
            tracing::info!(term, leader = address.unwrap_or("unknown"), "following");
            (self.events)(RaftEvent::Following { leader, term });
        }
    }

    fn end_reign(&mut self) {
        self.withdraw_lease();
        self.probes.clear();
        self.reads.clear();
    }

    /// Proposals of a reign that is over.
    fn drop_lost(&mut self) {
        let current = self.raw.raft.term;
        let leads = self.raw.raft.state == StateRole::Leader && !self.failing;
        while let Some(lost) = self.waiting.pop_front_if(|first| !leads || first.term != current) {
            let _ = lost.asked.answer.send(Err(ProposeError::Lost));
        }
    }

    /// Makes a snapshot and trims the log, if it is time.
    fn compact(&mut self, out: &mut Vec<Output>) {
        let log = self.raw.store();
        let since = self.applied - log.snapshot_index();
        let due = since >= self.options.snapshot_every || log.bytes() > LOG_BYTES_MAX;
        if self.failing
            || self.restoring.is_some()
            || since == 0
            || !(due || log.is_snapshot_wanted())
        {
            return;
        }
        let term = log.term(self.applied).expect("what was just applied is in the log");
        let mut snapshot = Snapshot::default();
        snapshot.data = self.membership.around(self.machine.snapshot()).into();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (self.applied, term);
        metadata.set_conf_state(self.raw.raft.prs().conf().to_conf_state());
        tracing::debug!(index = self.applied, bytes = snapshot.data.len(), "made a snapshot");
        self.meters.snapshots_made.increment(1);
        let tail = self.options.snapshot_tail;
        let compacted = self.raw.mut_store().compact(snapshot.clone(), tail);
        let made = Some(Stored::Made { snapshot, compacted });
        out.push(Output::Persist(Write { snapshot: made, ..Write::default() }));
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn publish(&self) {
        let raft = &self.raw.raft;
        let status = Status {
            raft_id: raft.id,
            term: raft.term,
            leading: self.leads(),
            is_member: self.membership.address(raft.id).is_some(),
            voters: raft.prs().conf().voters().ids().len(),
            leader: self.told_leader(),
            applied: self.applied,
            committed: raft.raft_log.committed,
            last: raft.raft_log.last_index(),
            snapshot: self.raw.store().snapshot_index(),
        };
        if *self.published.status.read() == status {
            return;
        }
        self.meters.term.set(status.term as f64);
        self.meters.leading.set(if status.leading { 1.0 } else { 0.0 });
        self.meters.committed.set(status.committed as f64);
        self.meters.applied.set(status.applied as f64);
        self.meters.log_bytes.set(self.raw.store().bytes() as f64);
        *self.published.status.write() = status;
    }
}

/// Hands a snapshot to the state machine, and returns the masters in it. The founding one stands for
/// the beginning of the state, and has no data of it; nor has the one before, of who has yet to join.
fn restore(machine: &mut impl StateMachine, snapshot: &Snapshot) -> Result<Membership, RaftError> {
    let index = snapshot.get_metadata().index;
    let bad = |reason| RaftError::Restore { index, reason };
    let (membership, state) = Membership::split(&snapshot.data).map_err(bad)?;
    if index > FOUNDED_AT {
        machine.restore(&state).map_err(bad)?;
    }
    Ok(membership)
}
