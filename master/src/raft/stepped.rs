//! Nodes stepped in virtual time: no threads, no disk, no sockets; crashes, pauses, partitions of one way
//! or both, loss, disks that fail, and masters that come and go.
//!
//! Faults come from a seed. Election timeouts do not, since the protocol's library draws them, so a
//! seed gives the same faults again but not quite the same run.

mod stories;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::rng::Rng;
use parking_lot::Mutex;
use raft::eraftpb::{Entry, HardState, Message, MessageType, Snapshot};
use tokio::sync::oneshot::{self, Receiver};

use super::disk::{FOUNDED_AT, FOUNDED_IN, Found, Identity, Stored, Write, founding_snapshot};
use super::error::{ChangeError, ProposeError, RaftError};
use super::handle::{Published, Status};
use super::membership::Membership;
use super::meters::Meters;
use super::node::{Asked, Input, Node, Output, Proposed};
use super::{RaftEvent, RaftOptions, StateMachine};

const STEP: Duration = Duration::from_millis(5);
/// Masters that begin together.
const FOUNDERS: usize = 3;

/// Masters that there are over a run, those that join later among them.
const PLACES_MAX: usize = 12;

/// What has been agreed on, whoever applied it first.
type Agreed = Arc<Mutex<BTreeMap<u64, Vec<u8>>>>;

/// Applies entries and compares them with what others applied.
struct Checked {
    agreed: Agreed,
    applied: u64,
}

impl StateMachine for Checked {
    fn apply(&mut self, index: u64, _term: u64, entry: &[u8]) {
        assert!(index > self.applied, "applied twice");
        let mut agreed = self.agreed.lock();
        let skipped = agreed.range(self.applied + 1..index).next();
        assert!(skipped.is_none(), "an entry was left out before {index}: {skipped:?}");
        let first = agreed.entry(index).or_insert_with(|| entry.to_vec());
        assert_eq!(first, entry, "two masters disagree at {index}");
        self.applied = index;
    }

    fn snapshot(&self) -> Vec<u8> {
        self.applied.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let index = u64::from_le_bytes(snapshot.try_into().map_err(|_| "not ours")?);
        assert!(index >= self.applied, "state went back");
        self.applied = index;
        Ok(())
    }
}

/// What would be on disk.
#[derive(Clone)]
struct Durable {
    hard_state: HardState,
    /// Not yet there: it goes with the next write that must be.
    lazy: Option<HardState>,
    snapshot: Snapshot,
    entries: Vec<Entry>,
}

fn id_of(at: usize) -> u64 {
    at as u64 + 1
}

fn place_of(id: u64) -> usize {
    usize::try_from(id - 1).expect("small")
}

fn address_of(at: usize) -> String {
    format!("m{at}:1")
}

impl Durable {
    /// Of one that has yet to join.
    fn empty() -> Self {
        let (hard_state, snapshot) = (HardState::default(), Snapshot::default());
        Self { hard_state, lazy: None, snapshot, entries: Vec::new() }
    }

    fn founded() -> Self {
        let addresses = (0..FOUNDERS).map(|at| (id_of(at), address_of(at))).collect();
        let snapshot = founding_snapshot(addresses);
        let hard_state = HardState { term: FOUNDED_IN, commit: FOUNDED_AT, ..HardState::default() };
        Self { hard_state, lazy: None, snapshot, entries: Vec::new() }
    }

    fn write(&mut self, write: &Write) {
        match &write.snapshot {
            Some(Stored::Received(snapshot)) => {
                self.snapshot = snapshot.clone();
                self.entries.clear();
            }
            Some(Stored::Made { snapshot, compacted }) => {
                self.snapshot = snapshot.clone();
                self.entries.retain(|entry| entry.index > *compacted);
            }
            None => {}
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
        if write.hard_state.is_some() {
            self.lazy.clone_from(&write.hard_state);
        }
        if write.sync || write.snapshot.is_some() {
            self.hard_state = self.lazy.take().unwrap_or_else(|| self.hard_state.clone());
        }
    }
}

struct Running {
    node: Node<Checked>,
    published: Arc<Published>,
    started: Duration,
    inbox: Vec<Input>,
    paused_until: Duration,
    writes: Vec<(Duration, Write)>,
    /// Whether it was told that its disk fails.
    told_failing: bool,
    /// Who the masters are, as far as it knows.
    members: Membership,
}

struct World {
    rng: Rng,
    now: Duration,
    disks: Vec<Durable>,
    running: Vec<Option<Running>>,
    back_at: Vec<Duration>,
    /// Until when each disk takes no writes.
    failing_until: Vec<Duration>,
    /// Whether anything may break.
    faults: bool,
    /// A node that nobody hears, and until when.
    cut: (usize, Duration),
    /// Until when nothing comes from the first to the second.
    one_way: BTreeMap<(usize, usize), Duration>,
    /// Those that have heard that they were removed.
    removed: BTreeSet<usize>,
    /// Changes of the masters that were agreed on.
    changes: u64,
    changing: Option<Receiver<Result<u64, ChangeError>>>,
    flying: BTreeMap<(Duration, u64), Message>,
    /// What senders of snapshots are yet to be told. The receiver may have answered before.
    reports: BTreeMap<(Duration, u64), (usize, Input)>,
    sent: u64,
    /// Whether nobody has anything to write.
    is_quiet: bool,
    agreed: Agreed,
    /// Who led in each term.
    reigns: Arc<Mutex<BTreeMap<u64, usize>>>,
    asked: Vec<Receiver<Result<u64, ProposeError>>>,
    acknowledged: u64,
    count: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            rng: Rng::new(seed),
            now: Duration::ZERO,
            disks: vec![Durable::founded(); FOUNDERS],
            running: (0..FOUNDERS).map(|_| None).collect(),
            back_at: vec![Duration::ZERO; FOUNDERS],
            failing_until: vec![Duration::ZERO; FOUNDERS],
            faults: false,
            cut: (0, Duration::ZERO),
            one_way: BTreeMap::new(),
            removed: BTreeSet::new(),
            changes: 0,
            changing: None,
            flying: BTreeMap::new(),
            reports: BTreeMap::new(),
            sent: 0,
            is_quiet: false,
            agreed: Agreed::default(),
            reigns: Arc::default(),
            asked: Vec::new(),
            acknowledged: 0,
            count: 0,
        };
        (0..FOUNDERS).for_each(|at| world.start(at));
        world
    }

    fn start(&mut self, at: usize) {
        let raft_id = id_of(at);
        let disk = self.disks[at].clone();
        let identity =
            Identity { cluster_id: "c".to_owned(), data_id: raft_id.to_string(), raft_id };
        let found = Found {
            identity,
            hard_state: disk.hard_state,
            snapshot: disk.snapshot,
            entries: disk.entries,
            met: BTreeMap::new(),
        };
        let options = RaftOptions {
            snapshot_every: 40,
            snapshot_tail: 10,
            ..RaftOptions::new("nowhere", address_of(at))
        };
        let machine = Checked { agreed: self.agreed.clone(), applied: 0 };
        let reigns = self.reigns.clone();
        let events = move |event| match event {
            RaftEvent::Leading { term } => {
                let other = reigns.lock().insert(term, at);
                assert_eq!(other, None, "two reigns have the number {term}");
            }
            RaftEvent::Following { .. } | RaftEvent::Voters { .. } => {}
            RaftEvent::Failed { error } => panic!("{error}"),
        };
        let published = Arc::new(Published::default());
        let meters = Meters::new("test");
        let node = Node::new(options, found, machine, Box::new(events), published.clone(), meters);
        self.running[at] = Some(Running {
            node: node.expect("it starts from whatever a crash left"),
            published,
            started: self.now,
            inbox: Vec::new(),
            paused_until: Duration::ZERO,
            writes: Vec::new(),
            told_failing: false,
            members: Membership::default(),
        });
    }

    fn step(&mut self, faults: bool) {
        self.now += STEP;
        self.faults = faults;
        if faults {
            self.break_something();
        }
        for at in 0..self.disks.len() {
            let is_due = self.back_at[at] <= self.now && !self.removed.contains(&at);
            if self.running[at].is_none() && is_due {
                self.start(at);
            }
        }
        self.deliver();
        self.propose();
        for at in 0..self.disks.len() {
            self.write(at);
            self.turn(at);
        }
        self.check();
    }

    fn break_something(&mut self) {
        let at = self.any_place();
        match self.rng.below(1_000) {
            0 | 1 => {
                // What waited for the disk is lost with it.
                self.running[at] = None;
                self.disks[at].lazy = None;
                self.back_at[at] = self.now + self.rng.up_to(Duration::from_secs(1));
            }
            2 | 3 => {
                if let Some(running) = &mut self.running[at] {
                    running.paused_until = self.now + self.rng.up_to(Duration::from_secs(2));
                }
            }
            4 | 5 => {
                self.failing_until[at] = self.now + self.rng.up_to(Duration::from_secs(3));
            }
            6 => self.cut = (at, self.now + self.rng.up_to(Duration::from_secs(3))),
            7 | 8 => {
                let other = self.any_place();
                let until = self.now + self.rng.up_to(Duration::from_secs(3));
                self.one_way.insert((at, other), until);
            }
            _ => {}
        }
    }

    fn any_place(&mut self) -> usize {
        usize::try_from(self.rng.below(self.disks.len() as u64)).expect("small")
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let delay = if self.faults && self.rng.chance(3) { 300 } else { 15 };
            let at = self.now + self.rng.up_to(Duration::from_millis(delay));
            self.sent += 1;
            self.flying.insert((at, self.sent), message);
        }
    }

    fn deliver(&mut self) {
        while let Some(first) = self.flying.first_entry().filter(|first| first.key().0 <= self.now)
        {
            let message = first.remove();
            let (from, to) = (place_of(message.from), place_of(message.to));
            let cut = self.cut.1 > self.now && (self.cut.0 == from || self.cut.0 == to);
            let one_way = self.one_way.get(&(from, to)).is_some_and(|until| *until > self.now);
            if !cut && !one_way && self.knows_removed(to, message.from) {
                if let Some(sender) = &mut self.running[from] {
                    sender.inbox.push(Input::Removed);
                }
                continue;
            }
            let lost =
                cut || one_way || self.faults && self.rng.chance(3) || self.running[to].is_none();
            if message.get_msg_type() == MessageType::MsgSnapshot {
                let report = Input::SnapshotSent { to: message.to, arrived: !lost };
                let at = self.now + self.rng.up_to(Duration::from_millis(60));
                self.sent += 1;
                self.reports.insert((at, self.sent), (from, report));
            }
            if let Some(receiver) = &mut self.running[to]
                && !lost
            {
                receiver.inbox.push(Input::Messages { messages: vec![message], room: None });
            }
        }
        while let Some(first) = self.reports.first_entry().filter(|it| it.key().0 <= self.now) {
            let (to, report) = first.remove();
            if let Some(sender) = &mut self.running[to] {
                sender.inbox.push(report);
            }
        }
    }

    /// Whether this one refuses that one because it was removed.
    fn knows_removed(&self, at: usize, id: u64) -> bool {
        self.running[at].as_ref().is_some_and(|running| running.members.is_removed(id))
    }

    fn propose(&mut self) {
        if self.is_quiet {
            return;
        }
        for running in self.running.iter_mut().flatten() {
            if running.published.status.read().leading && self.rng.chance(30) {
                let (answer, result) = oneshot::channel();
                let asked = Asked { answer, _room: None };
                self.count += 1;
                let entry = self.count.to_string().into_bytes();
                running.inbox.push(Input::Propose(Proposed { term: None, entry, asked }));
                self.asked.push(result);
            }
        }
    }

    /// Lets what is due become durable, acknowledges it, then sends what waited for it.
    fn write(&mut self, at: usize) {
        let Some(running) = &mut self.running[at] else { return };
        let due = running.writes.partition_point(|(due, _)| *due <= self.now);
        if self.failing_until[at] > self.now {
            if due > 0 && !running.told_failing {
                running.told_failing = true;
                running.inbox.push(Input::StoreFailed);
            }
            return;
        }
        let mut messages = Vec::new();
        for (_, write) in running.writes.drain(..due) {
            self.disks[at].write(&write);
            running.inbox.push(Input::Persisted(write.number));
            messages.extend(write.messages);
        }
        if running.told_failing {
            running.told_failing = false;
            running.inbox.push(Input::StoreWorks);
        }
        self.send(messages);
    }

    fn turn(&mut self, at: usize) {
        let Some(running) = &mut self.running[at] else { return };
        let now = self.now.saturating_sub(running.started);
        let idle = running.inbox.is_empty() && running.node.next_deadline() > now;
        if idle || running.paused_until > self.now {
            return;
        }
        let mut out = Vec::new();
        match running.node.turn(&mut running.inbox, now, &mut out) {
            Ok(()) => {}
            Err(RaftError::Removed) => {
                self.removed.insert(at);
                self.running[at] = None;
                return;
            }
            Err(error) => panic!("nothing is lost here: {error}"),
        }
        for output in out {
            match output {
                Output::Send(messages) => self.send(messages),
                Output::Members(members) => {
                    self.running[at].as_mut().expect("it runs").members = members;
                }
                Output::Persist(write) => {
                    let running = self.running[at].as_mut().expect("it runs");
                    let before = running.writes.last().map_or(self.now, |(due, _)| *due);
                    let due = before + self.rng.up_to(Duration::from_millis(8));
                    running.writes.push((due, write));
                }
            }
        }
    }

    fn check(&mut self) {
        let acknowledged = &mut self.acknowledged;
        self.asked.retain_mut(|asked| match asked.try_recv() {
            Ok(Ok(index)) => {
                *acknowledged = index.max(*acknowledged);
                false
            }
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => false,
            Err(oneshot::error::TryRecvError::Empty) => true,
        });
        // Whoever may answer reads knows all that anybody was told.
        for running in self.running.iter().flatten() {
            let until = Duration::from_nanos(running.published.lease_until.load(Ordering::Acquire));
            if self.now.saturating_sub(running.started) < until {
                let applied = running.published.status.read().applied;
                assert!(applied >= self.acknowledged, "a stale read at {:?}", self.now);
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let Some(leader) = self.leading() else { return false };
        let last = self.agreed.lock().last_key_value().map_or(0, |(index, _)| *index);
        self.members(leader).all(|at| {
            let status = self.status(at);
            self.running[at].is_some() && status.leader.is_some() && status.applied >= last
        })
    }

    fn leading(&self) -> Option<usize> {
        // One that was deposed may not know of it yet.
        let leading = (0..self.disks.len()).filter(|at| self.status(*at).leading);
        leading.max_by_key(|at| self.status(*at).term)
    }

    fn status(&self, at: usize) -> Status {
        let running = self.running[at].as_ref();
        running.map(|running| running.published.status.read().clone()).unwrap_or_default()
    }

    /// The masters, as this one knows them.
    fn members(&self, at: usize) -> impl Iterator<Item = usize> {
        let running = self.running[at].as_ref().expect("it runs");
        running.members.addresses().keys().map(|id| place_of(*id))
    }
}
