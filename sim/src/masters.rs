//! Masters, and the log they agree on.
//!
//! Raft itself is not played: one log, one leader at a time, proposals that are committed after a
//! while, and of those that are under way when a leader falls, some first part.

use crate::world::{Arrival, Event, Life, MASTERS, Node, World, deadline};
use master_core::{Config, Input, Master, Output, Registry};
use model::ids::{Reign, Term};
use model::registry::Record;
use model::step::Core;
use std::collections::VecDeque;
use std::time::Duration;

/// A master.
#[derive(Default)]
pub(crate) struct MasterNode {
    pub(crate) core: Option<Master>,
    pub(crate) life: Life,
}

/// What the masters agree on.
#[derive(Default)]
pub(crate) struct Raft {
    pub(crate) leader: Option<usize>,
    pub(crate) term: u64,
    pub(crate) registry: Registry,
    /// What the present leader has proposed and is not decided.
    proposals: VecDeque<Vec<Record>>,
    is_election_due: bool,
}

impl World {
    pub(crate) fn start_master(&mut self, at: usize) {
        if self.masters[at].core.is_some() {
            return;
        }
        let config = Config {
            agent_ping_timeout: Duration::from_secs(3),
            seed: self.ids.next_u64(),
            ..Config::default()
        };
        self.masters[at].core = Some(Master::new(config));
        self.call_election();
    }

    pub(crate) fn step_master(&mut self, at: usize, life: Life, input: Input) {
        let now = self.clocks();
        let node = &mut self.masters[at];
        if node.life != life {
            return;
        }
        let Some(core) = &mut node.core else { return };
        let mut out = Vec::new();
        core.wake(now, &mut out);
        core.step(input, now, &mut out);
        self.after_master(at, out);
    }

    pub(crate) fn wake_master(&mut self, at: usize, life: Life) {
        let now = self.clocks();
        let node = &mut self.masters[at];
        if node.life != life {
            return;
        }
        let Some(core) = &mut node.core else { return };
        let mut out = Vec::new();
        core.wake(now, &mut out);
        self.after_master(at, out);
    }

    fn after_master(&mut self, at: usize, out: Vec<Output>) {
        let is_leader = self.raft.leader == Some(at);
        for output in out {
            if self.settings.is_traced && !matches!(output, Output::View(_)) {
                println!("{:>12.6}   master {at}: {output:?}", self.now.0.as_secs_f64());
            }
            match output {
                Output::Propose(records) => {
                    if is_leader {
                        self.raft.proposals.push_back(records);
                        let wait =
                            Duration::from_millis(1) + self.some_time(Duration::from_millis(9));
                        self.after(wait, Event::Commit);
                    }
                }
                Output::Answer { request, result: Err(_) } => self.subscribe_refused(request),
                Output::ToScheduler { connection, event } => {
                    self.send(connection, Arrival::AtMarathon(event), false);
                }
                Output::CloseScheduler { connection } | Output::CloseAgent { connection, .. } => {
                    self.send(connection, Arrival::Closed, false);
                }
                Output::ToAgent { connection, message } => {
                    let term = Term(self.raft.term);
                    let link = connection;
                    let input = agent_core::Input::FromMaster { link, term, message };
                    self.send(connection, Arrival::AtAgent(input), false);
                }
                Output::Outdated { .. } => self.depose(),
                Output::OpenStream { .. }
                | Output::Answer { result: Ok(_), .. }
                | Output::OpenWatch { .. }
                | Output::Note(_) => {}
                Output::View(change) => self.laws.master_shows(change),
            }
        }
        if is_leader {
            self.laws.check_books();
        }
        let node = &self.masters[at];
        let (life, wake) = (node.life, deadline(node.core.as_ref()));
        self.schedule_wake(Node::Master(at), life, wake);
    }

    /// The oldest proposal is committed.
    pub(crate) fn commit(&mut self) {
        let Some(records) = self.raft.proposals.pop_front() else { return };
        let leader = self.raft.leader;
        for record in records {
            self.raft.registry.apply(&record);
            if let Some(at) = leader {
                self.step_master(at, self.masters[at].life, Input::Applied(record));
            }
        }
    }

    /// The leader leads no more, though it lives.
    pub(crate) fn depose(&mut self) {
        let Some(at) = self.raft.leader else { return };
        self.leader_falls();
        self.step_master(at, self.masters[at].life, Input::Depose);
        self.break_all(Node::Master(at));
    }

    pub(crate) fn crash_master(&mut self, at: usize) {
        if self.masters[at].core.take().is_none() {
            return;
        }
        self.masters[at].life += 1;
        if self.raft.leader == Some(at) {
            self.leader_falls();
        }
        self.break_all(Node::Master(at));
    }

    fn leader_falls(&mut self) {
        self.raft.leader = None;
        // Some first part of what was under way had reached a majority.
        let proposals = std::mem::take(&mut self.raft.proposals);
        let kept = usize::try_from(self.faults.below(proposals.len() as u64 + 1)).unwrap_or(0);
        for record in proposals.into_iter().take(kept).flatten() {
            self.raft.registry.apply(&record);
        }
        self.call_election();
    }

    fn call_election(&mut self) {
        if self.raft.leader.is_none() && !self.raft.is_election_due {
            self.raft.is_election_due = true;
            let wait = Duration::from_millis(500) + self.some_time(Duration::from_millis(500));
            self.after(wait, Event::Elect);
        }
    }

    /// Some living master leads, if a majority lives.
    pub(crate) fn elect(&mut self) {
        self.raft.is_election_due = false;
        if self.raft.leader.is_some() {
            return;
        }
        let living: Vec<usize> =
            (0..MASTERS).filter(|&at| self.masters[at].core.is_some()).collect();
        if living.len() * 2 <= MASTERS {
            return;
        }
        let chosen = self.faults.below(living.len() as u64);
        let at = living[usize::try_from(chosen).unwrap_or(0)];
        self.raft.leader = Some(at);
        self.raft.term += 1;
        self.summary.reigns += 1;
        let reign = Reign(self.ids.uuid());
        let now = self.clocks().wall;
        self.raft.registry.apply(&Record::BeginReign { reign, at: now });
        let input =
            Input::Lead { term: Term(self.raft.term), reign, registry: self.raft.registry.clone() };
        self.step_master(at, self.masters[at].life, input);
    }
}
