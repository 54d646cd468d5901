//! What must hold, as stories.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::eraftpb::{Message, MessageType};
use tokio::sync::oneshot;

use super::{Durable, FOUNDERS, PLACES_MAX, STEP, World, address_of, id_of};
use crate::raft::node::{Change, Input};

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
        world.failing_until = vec![end; FOUNDERS];
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

impl World {
    /// Has the masters be others, now and then.
    fn churn(&mut self) {
        if let Some(changing) = &mut self.changing {
            match changing.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                answer => self.changes += u64::from(matches!(answer, Ok(Ok(_)))),
            }
            self.changing = None;
        }
        let Some(leader) = self.leading().filter(|_| self.rng.below(200) == 0) else { return };
        let members: Vec<_> = self.members(leader).collect();
        let left: BTreeSet<_> = (0..self.disks.len())
            .filter(|at| !self.removed.contains(at) && !self.knows_removed(leader, id_of(*at)))
            .collect();
        let change = if let Some(&at) = left.iter().find(|at| !members.contains(at)) {
            // It asks again and again.
            Change::Add { raft_id: id_of(at), address: address_of(at) }
        } else if self.rng.chance(30) {
            let at = usize::try_from(self.rng.below(members.len() as u64)).expect("small");
            Change::Transfer { name: Some(address_of(members[at])) }
        } else if members.len() > FOUNDERS {
            let at = usize::try_from(self.rng.below(members.len() as u64)).expect("small");
            Change::Remove { name: address_of(members[at]), force: self.rng.chance(20) }
        } else if self.disks.len() < PLACES_MAX {
            self.newcomer()
        } else {
            return;
        };
        self.ask(leader, change);
    }

    /// One master more, which is yet to be added.
    fn newcomer(&mut self) -> Change {
        let at = self.disks.len();
        self.disks.push(Durable::empty());
        self.running.push(None);
        self.back_at.push(Duration::ZERO);
        self.failing_until.push(Duration::ZERO);
        Change::Add { raft_id: id_of(at), address: address_of(at) }
    }

    fn ask(&mut self, leader: usize, change: Change) {
        let (answer, result) = oneshot::channel();
        self.changing = Some(result);
        let leader = self.running[leader].as_mut().expect("it leads");
        leader.inbox.push(Input::Change { change, answer });
    }

    /// Whether all masters that the leader knows vote.
    fn all_vote(&mut self, leader: usize) -> bool {
        let (answer, mut listed) = oneshot::channel();
        self.running[leader].as_mut().expect("it leads").inbox.push(Input::List(answer));
        self.step(false);
        listed.try_recv().is_ok_and(|listing| listing.members.iter().all(|one| one.is_voter))
    }
}

#[test]
fn a_newcomer_votes_soon_even_if_nobody_writes_anything() {
    for seed in 0..48 {
        let (mut world, leader) = World::with_leader(seed);
        world.is_quiet = true;
        world.until("all are at rest", World::is_at_rest);
        let change = world.newcomer();
        world.ask(leader, change);
        world.until("it is added", |world| world.members(leader).count() > FOUNDERS);
        let added = world.now;
        while !world.all_vote(leader) {
            assert!(world.now < added + ELECTION * 4, "seed {seed}: it is not made a voter");
        }
    }
}

#[test]
fn masters_come_and_go_while_everything_breaks_and_nothing_is_lost() {
    let (mut changes, mut removed) = (0, 0);
    for seed in 100..116 {
        let mut world = World::new(seed);
        while world.now < Duration::from_secs(60) {
            world.churn();
            world.step(true);
        }
        let healed = world.now;
        while !world.is_at_rest() || world.now < healed + Duration::from_secs(3) {
            world.step(false);
            assert!(world.now < healed + Duration::from_secs(30), "seed {seed} finds no rest");
        }
        assert!(world.acknowledged > 100, "seed {seed}: {} is too few", world.acknowledged);
        changes += world.changes;
        removed += world.removed.len();
    }
    assert!(changes > 100 && removed > 16, "{changes} changes, {removed} removed");
}

#[test]
fn whoever_takes_over_need_not_wait_for_a_lease_so_there_is_none() {
    for seed in 0..48 {
        let (mut world, old) = World::with_leader(seed);
        world.until("a lease", |world| world.has_lease(old));
        let (answer, _result) = oneshot::channel();
        let change = Change::Transfer { name: None };
        let running = world.running[old].as_mut().expect("it leads");
        running.inbox.push(Input::Change { change, answer });
        // Cut off with the word just out, it cannot know when another one begins.
        let told = |message: &Message| message.get_msg_type() == MessageType::MsgTimeoutNow;
        world.until("it hands on", |world| world.flying.values().any(told));
        world.one_way.extend((0..FOUNDERS).map(|at| ((at, old), world.now + ELECTION * 4)));
        let before = world.acknowledged;
        world.until("another leads", |world| world.leading().is_some_and(|at| at != old));
        world.until("it writes", |world| world.acknowledged > before + 20);
        world.until("all are at rest", World::is_at_rest);
    }
}
