//! Nodes stepped in virtual time: no threads, no disk, no sockets; crashes, pauses, partitions, loss.
//!
//! Faults come from a seed. Election timeouts do not, since the protocol's library draws them, so a
//! seed gives the same faults again but not quite the same run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::rng::Rng;
use parking_lot::Mutex;
use raft::eraftpb::{Entry, HardState, Message, MessageType, Snapshot};
use tokio::sync::oneshot::{self, Receiver};

use super::disk::{FOUNDED_AT, FOUNDED_IN, Found, Identity, Stored, Write, founding_snapshot};
use super::error::ProposeError;
use super::handle::{Published, Status};
use super::meters::Meters;
use super::node::{Asked, Input, Node, Output, Proposed};
use super::{RaftEvent, RaftOptions, StateMachine};

const STEP: Duration = Duration::from_millis(5);
const NODES: usize = 3;

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

impl Durable {
    fn founded() -> Self {
        let addresses = (1..=NODES as u64).map(|id| (id, id.to_string())).collect();
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
    flying: BTreeMap<(Duration, u64), Message>,
    sent: u64,
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
            disks: vec![Durable::founded(); NODES],
            running: (0..NODES).map(|_| None).collect(),
            back_at: vec![Duration::ZERO; NODES],
            failing_until: vec![Duration::ZERO; NODES],
            faults: false,
            cut: (0, Duration::ZERO),
            flying: BTreeMap::new(),
            sent: 0,
            agreed: Agreed::default(),
            reigns: Arc::default(),
            asked: Vec::new(),
            acknowledged: 0,
            count: 0,
        };
        (0..NODES).for_each(|at| world.start(at));
        world
    }

    fn start(&mut self, at: usize) {
        let raft_id = at as u64 + 1;
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
            ..RaftOptions::new("nowhere", raft_id.to_string())
        };
        let machine = Checked { agreed: self.agreed.clone(), applied: 0 };
        let reigns = self.reigns.clone();
        let events = move |event| match event {
            RaftEvent::Leading { term } => {
                let other = reigns.lock().insert(term, at);
                assert_eq!(other, None, "two reigns have the number {term}");
            }
            RaftEvent::Following { .. } => {}
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
        });
    }

    fn step(&mut self, faults: bool) {
        self.now += STEP;
        self.faults = faults;
        if faults {
            self.break_something();
        }
        for at in 0..NODES {
            if self.running[at].is_none() && self.back_at[at] <= self.now {
                self.start(at);
            }
        }
        self.deliver();
        self.propose();
        for at in 0..NODES {
            self.write(at);
            self.turn(at);
        }
        self.check();
    }

    fn break_something(&mut self) {
        let at = usize::try_from(self.rng.below(NODES as u64)).expect("small");
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
            _ => {}
        }
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
            let place = |id: u64| usize::try_from(id - 1).expect("small");
            let (from, to) = (place(message.from), place(message.to));
            let cut = self.cut.1 > self.now && (self.cut.0 == from || self.cut.0 == to);
            let lost = cut || self.faults && self.rng.chance(3) || self.running[to].is_none();
            if message.get_msg_type() == MessageType::MsgSnapshot
                && let Some(sender) = &mut self.running[from]
            {
                let report = Input::SnapshotSent { to: message.to, arrived: !lost };
                sender.inbox.push(report);
            }
            if let Some(receiver) = &mut self.running[to]
                && !lost
            {
                receiver.inbox.push(Input::Messages { messages: vec![message], room: None });
            }
        }
    }

    fn propose(&mut self) {
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
        running.node.turn(&mut running.inbox, now, &mut out).expect("nothing is lost here");
        for output in out {
            match output {
                Output::Send(messages) => self.send(messages),
                Output::Members(_) => {}
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
        let status = |running: &Running| running.published.status.read().clone();
        let all: Vec<_> = self.running.iter().flatten().map(status).collect();
        let last = self.agreed.lock().last_key_value().map_or(0, |(index, _)| *index);
        all.len() == NODES
            && all.iter().any(|status| status.leading)
            && all.iter().all(|status| status.leader.is_some() && status.applied >= last)
    }
}

#[test]
fn whatever_breaks_nothing_acknowledged_is_lost_and_no_read_is_stale() {
    for seed in 0..24 {
        let mut world = World::new(seed);
        let begun = world.now;
        while world.now < begun + Duration::from_secs(60) {
            world.step(true);
        }
        let healed = world.now;
        while !world.is_at_rest() || world.now < healed + Duration::from_secs(3) {
            world.step(false);
            assert!(world.now < healed + Duration::from_secs(30), "seed {seed} finds no rest");
        }
        assert!(world.acknowledged > 300, "seed {seed}: {} is too few", world.acknowledged);
        assert!(world.reigns.lock().len() > 2, "seed {seed} had no change of leader");
    }
}

impl World {
    /// One whose masters have elected a leader and have written for a while; and who it is.
    fn with_leader(seed: u64) -> (Self, usize) {
        let mut world = Self::new(seed);
        let end = Duration::from_secs(20);
        while world.acknowledged < 100 || !world.is_at_rest() {
            world.step(false);
            assert!(world.now < end, "seed {seed} finds no leader");
        }
        let leader = world.leading().expect("at rest one leads");
        (world, leader)
    }

    fn leading(&self) -> Option<usize> {
        (0..NODES).find(|at| self.status(*at).leading)
    }

    fn status(&self, at: usize) -> Status {
        let running = self.running[at].as_ref();
        running.map(|running| running.published.status.read().clone()).unwrap_or_default()
    }

    fn has_lease(&self, at: usize) -> bool {
        let running = self.running[at].as_ref().expect("it runs");
        let until = Duration::from_nanos(running.published.lease_until.load(Ordering::Acquire));
        self.now.saturating_sub(running.started) < until
    }

    /// Steps until it is so, and returns how long that took.
    fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) -> Duration {
        let begun = self.now;
        while !is(self) {
            self.step(false);
            assert!(self.now < begun + Duration::from_secs(30), "waited in vain: {what}");
        }
        self.now.saturating_sub(begun)
    }
}

/// The time in which a silent leader is missed at the earliest.
const ELECTION: Duration = Duration::from_millis(500);

#[test]
fn a_leader_whose_disk_fails_hands_on_before_it_would_be_missed_and_comes_back() {
    for seed in 0..24 {
        let (mut world, old) = World::with_leader(seed);
        world.failing_until[old] = world.now + Duration::from_secs(8);
        let took = world.until("it gives up", |world| !world.status(old).leading);
        assert!(took < Duration::from_millis(100), "seed {seed}: {took:?}");
        assert!(!world.has_lease(old), "seed {seed}");
        let took = world.until("another leads", |world| world.leading().is_some());
        assert!(took < ELECTION, "seed {seed}: {took:?}");
        assert_ne!(world.leading(), Some(old), "seed {seed}");
        // It says nothing and applies nothing that it does not have on disk.
        let applied = world.status(old).applied;
        let before = world.acknowledged;
        while world.now + STEP < world.failing_until[old] {
            world.step(false);
        }
        assert!(world.status(old).applied <= applied + 200, "seed {seed}");
        assert!(world.acknowledged > before + 100, "seed {seed}: the others go on");
        assert_eq!(world.status(old).leader, None, "seed {seed}");
        world.until("all are at rest", World::is_at_rest);
    }
}

#[test]
fn with_every_disk_failing_nothing_is_acknowledged_until_they_work_again() {
    for seed in 0..24 {
        let (mut world, _) = World::with_leader(seed);
        let end = world.now + Duration::from_secs(8);
        world.failing_until = vec![end; NODES];
        world.until("nobody leads", |world| world.leading().is_none());
        let before = world.acknowledged;
        while world.now < end {
            world.step(false);
        }
        assert_eq!(world.acknowledged, before, "seed {seed}");
        assert_eq!(world.leading(), None, "seed {seed}");
        world.until("all are at rest", World::is_at_rest);
        world.until("it goes on", |world| world.acknowledged > before + 50);
    }
}

#[test]
fn a_leader_that_is_cut_off_answers_no_read_after_its_lease_and_no_write_at_all() {
    for seed in 0..24 {
        let (mut world, old) = World::with_leader(seed);
        world.until("a lease", |world| world.has_lease(old));
        let cut_at = world.now;
        world.cut = (old, cut_at + Duration::from_secs(8));
        let applied = world.status(old).applied;
        let took = world.until("its lease is over", |world| !world.has_lease(old));
        assert!(took < ELECTION, "seed {seed}: {took:?}");
        // Silence is counted from one election's time to the next, so it takes two at most.
        world.until("it steps down", |world| !world.status(old).leading);
        let took = world.now.saturating_sub(cut_at);
        assert!(took <= ELECTION * 2 + Duration::from_millis(50), "seed {seed}: {took:?}");
        assert!(!world.has_lease(old), "seed {seed}");
        assert_eq!(world.status(old).applied, applied, "seed {seed}: nothing more was agreed on");
        world.until("all are at rest", |world| world.now > world.cut.1 && world.is_at_rest());
    }
}
