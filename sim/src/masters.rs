//! Masters, and the log they agree on.
//!
//! Raft itself is not played: one log, proposals that are committed after a while, and of those that
//! are under way when a leader falls, some first part: the rest is lost, and the next leader begins with
//! exactly what is left. At times a leader is cut off from the others and takes a while to notice: it
//! goes on as if it led, but nothing that it proposes is agreed on. Elections, logs that lag behind,
//! snapshots and disks are played by the tests of the master's Raft instead, one turn at a time.

use crate::world::{Arrival, Event, Life, MASTERS, Node, World, deadline};
use master_core::{Config, Input, Master, Output, Registry};
use model::ids::{AgentId, Reign, Term};
use model::link::ToAgent;
use model::registry::{Record, ReignEntry};
use model::step::Core;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a leader that is cut off from the other masters may take to notice.
const OVERSTAY_MAX: Duration = Duration::from_secs(5);

/// A master.
#[derive(Default)]
pub(crate) struct MasterNode {
    pub(crate) core: Option<Master>,
    pub(crate) life: Life,
    /// The term of its last reign.
    term: u64,
    /// Whether it believes that it leads, and does not.
    pub(crate) overstays: bool,
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

impl Raft {
    /// Agents that the leader wants to be no agents any more.
    fn leaving(&self) -> impl Iterator<Item = &AgentId> {
        self.proposals.iter().flatten().filter_map(|record| match record {
            Record::MarkUnreachable { agent, .. }
            | Record::MarkGone { agent, .. }
            | Record::RemoveAgent { agent, .. } => Some(agent),
            Record::PutAgent(_)
            | Record::ForgetAgents(_)
            | Record::PutFramework(_)
            | Record::MarkFrameworkAway { .. }
            | Record::CompleteFramework { .. }
            | Record::SetWeights(_)
            | Record::SetQuotas(_)
            | Record::SetStanding { .. }
            | Record::SetSchedule(_)
            | Record::SetMachines { .. }
            | Record::BeginReign(_)
            | Record::StoreCommit(_)
            | Record::LeaseAcquire(_)
            | Record::LeaseRelease { .. } => None,
        })
    }
}

impl World {
    pub(crate) fn start_master(&mut self, at: usize) {
        if self.masters[at].core.is_some() {
            return;
        }
        let config = Config {
            agent_ping_timeout: Duration::from_secs(3),
            // An offer whose answer is lost must come back.
            offer_timeout: (!self.settings.is_told).then_some(Duration::from_secs(60)),
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
        let woken = out.len();
        core.step(input, now, &mut out);
        let stepped = out.split_off(woken);
        self.perform_for_master(at, out);
        self.laws.check_limits();
        self.perform_for_master(at, stepped);
        self.after_master(at);
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
        self.perform_for_master(at, out);
        self.laws.check_limits();
        self.after_master(at);
    }

    fn perform_for_master(&mut self, at: usize, out: Vec<Output>) {
        let is_leader = self.raft.leader == Some(at);
        let term = self.masters[at].term;
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
                Output::Answer { request, result } => {
                    self.operators_hear(request, &result);
                    if result.is_err() {
                        self.subscribe_refused(request);
                    }
                }
                Output::OpenStream { connection, stream, .. } => {
                    self.send(connection, Arrival::Opened(stream), false);
                }
                Output::ToScheduler { connection, event } => {
                    self.send(connection, Arrival::AtScheduler(event), false);
                }
                Output::CloseScheduler { connection } | Output::CloseAgent { connection, .. } => {
                    self.send(connection, Arrival::Closed, false);
                }
                Output::ToAgent { connection, message } => {
                    if let ToAgent::Apply(operation) = &message {
                        self.asked.given(operation);
                    }
                    let link = connection;
                    let input = agent_core::Input::FromMaster { link, term: Term(term), message };
                    self.send(connection, Arrival::AtAgent(input), false);
                }
                Output::Outdated { .. } => self.finds_out(at),
                Output::GiveUp { why } => unreachable!("here all agents may stay away: {why}"),
                Output::OpenWatch { .. } | Output::Masters(_) => {}
                Output::Note(note) => {
                    if is_leader {
                        self.tell_note(at, &note);
                    }
                }
                Output::View(change) => {
                    if is_leader {
                        self.laws.master_shows(change);
                    }
                }
            }
        }
    }

    fn after_master(&mut self, at: usize) {
        if self.raft.leader == Some(at) {
            self.laws.check_books(&self.settings.machine);
            self.laws.check_rules(&self.raft.registry);
            self.laws.check_leaving(self.raft.leaving());
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

    /// The leader is cut off from the other masters, who choose another one, and does not know yet.
    pub(crate) fn isolate_leader(&mut self) {
        let Some(at) = self.raft.leader else { return };
        self.leader_falls();
        self.masters[at].overstays = true;
        let wait = self.faults.up_to(OVERSTAY_MAX);
        self.after(wait, Event::FindOut(at, self.masters[at].life));
    }

    /// A master that believes it leads learns better.
    pub(crate) fn finds_out(&mut self, at: usize) {
        if self.raft.leader == Some(at) {
            return self.depose();
        }
        if std::mem::take(&mut self.masters[at].overstays) {
            self.step_master(at, self.masters[at].life, Input::Depose);
            self.break_all(Node::Master(at));
        }
    }

    pub(crate) fn crash_master(&mut self, at: usize) {
        if self.masters[at].core.take().is_none() {
            return;
        }
        self.masters[at].life += 1;
        self.masters[at].overstays = false;
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
        let can_lead =
            |at: &usize| self.masters[*at].core.is_some() && !self.masters[*at].overstays;
        let living: Vec<usize> = (0..MASTERS).filter(can_lead).collect();
        if living.len() * 2 <= MASTERS {
            return;
        }
        let chosen = self.faults.below(living.len() as u64);
        let at = living[usize::try_from(chosen).unwrap_or(0)];
        self.raft.leader = Some(at);
        self.raft.term += 1;
        self.masters[at].term = self.raft.term;
        self.summary.reigns += 1;
        let reign = Reign(self.ids.uuid());
        let now = self.clocks().wall;
        let term = Term(self.raft.term);
        let address = format!("master-{at}:5050").into();
        let entry = ReignEntry { id: reign, term, at: now, address };
        self.raft.registry.apply(&Record::BeginReign(entry));
        let registry = Box::new(self.raft.registry.clone());
        let input = Input::Lead { term, reign, registry };
        self.step_master(at, self.masters[at].life, input);
    }
}
