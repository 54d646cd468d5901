//! The world: the clock, what is going to happen, and the loop.

use crate::agents::AgentNode;
use crate::chaos::Fault;
use crate::containers::ContainerEvent;
use crate::laws::Laws;
use crate::marathons::{MarathonNode, Write};
use crate::masters::{MasterNode, Raft};
use crate::network::Network;
use crate::operators::Asked;
use crate::probes::Warm;
use crate::schedulers::SchedulerNode;
use crate::succession::Steps;
use crate::{Settings, Summary, Violation};
use model::ids::{ConnectionId, ContainerId, FrameworkId, RequestId, StreamId};
use model::rng::Rng;
use model::step::{Core, Now, Time, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// More events than any sound run has: past that it goes round in circles.
const EVENTS_MAX: u64 = 20_000_000;

/// When the world begins on the wall clock, 2026-01-01 in microseconds.
const BEGIN: Timestamp = Timestamp(1_767_225_600_000_000);

/// Masters of every cluster.
pub(crate) const MASTERS: usize = 3;

/// One life of a node: what was meant for an earlier one is lost.
pub(crate) type Life = u32;

/// A node that has a core.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Node {
    Master(usize),
    Agent(usize),
    Marathon(usize),
    /// A plain scheduler.
    Scheduler(usize),
}

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A core's deadline.
    Wake(Node, Life),
    /// An input reaches a core.
    ToMaster(usize, Life, Box<master_core::Input>),
    ToAgent(usize, Life, Box<agent_core::Input>),
    ToMarathon(usize, Life, Box<marathon_core::io::Input>),
    /// What was sent over a connection arrives, unless that is broken by then.
    Arrive(ConnectionId, Box<Arrival>),
    /// The oldest proposal is decided on.
    Commit,
    /// The masters choose a leader.
    Elect,
    /// A master that was cut off notices that it leads no more.
    FindOut(usize, Life),
    /// An agent looks for the leading master.
    AgentDials(usize, Life),
    /// A Marathon looks for the leading master.
    MarathonDials(usize, Life, Option<FrameworkId>),
    /// A plain scheduler looks for the leading master.
    SchedulerDials(usize),
    /// A plain scheduler that stayed away comes back.
    SchedulerBack(usize),
    /// A plain scheduler does what nobody asked it for.
    SchedulerActs(usize),
    /// A paused Marathon learns that it leads no more.
    MarathonFindsOut(usize, Life),
    /// A client gives up on a call, and with it on its session.
    CallIsLost(ConnectionId),
    /// A Marathon's write reaches the store.
    Write(usize, Life, Write),
    /// The lease of Marathon's leader is free for whoever lives.
    TakeLease,
    /// Something happens in a container.
    Container(usize, ContainerId, ContainerEvent),
    /// A node comes back.
    Start(Node),
    /// Something breaks.
    Fault(Fault),
    /// A user wants something.
    User,
    /// Operators want something.
    Operators,
}

/// What arrives over a connection.
#[derive(Debug)]
pub(crate) enum Arrival {
    AtMaster(master_core::Input),
    AtAgent(agent_core::Input),
    AtScheduler(model::event::SchedulerEvent),
    /// A framework's stream has begun, with this id.
    Opened(StreamId),
    /// The other side has ended it.
    Closed,
    /// All that a client had sent before it gave the connection up has arrived.
    Ended,
}

/// The whole cluster and all around it.
pub struct World {
    pub(crate) settings: Settings,
    pub(crate) now: Time,
    pending: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    /// The earliest wake-up that is scheduled for each node.
    wakes: BTreeMap<Node, (Life, Time)>,
    pub(crate) masters: Vec<MasterNode>,
    pub(crate) agents: Vec<AgentNode>,
    pub(crate) marathons: Vec<MarathonNode>,
    pub(crate) schedulers: Vec<SchedulerNode>,
    pub(crate) raft: Raft,
    pub(crate) network: Network,
    /// Marathon's state in the framework store.
    pub(crate) store: BTreeMap<String, Vec<u8>>,
    /// Which Marathon leads, and its fencing token.
    pub(crate) lease: Option<usize>,
    pub(crate) token: u64,
    /// Before then the lease of a leader that is gone has not ended.
    pub(crate) lease_until: Time,
    pub(crate) asked: Asked,
    pub(crate) laws: Laws,
    pub(crate) steps: Steps,
    pub(crate) warm: Warm,
    /// What happened, where a story is told: one line each.
    pub(crate) story: Vec<String>,
    /// Whether things may break.
    pub(crate) is_chaos: bool,
    /// One stream of chance per use, so that a new draw in one changes nothing in another.
    pub(crate) delays: Rng,
    pub(crate) faults: Rng,
    pub(crate) users: Rng,
    pub(crate) ids: Rng,
    pub(crate) summary: Summary,
    counted: u64,
}

impl World {
    /// A cluster in which nothing has happened yet.
    pub fn new(settings: Settings) -> Self {
        let mut seeds = Rng::new(settings.seed);
        let mut stream = || Rng::new(seeds.next_u64());
        let batches = (0..settings.batches).map(crate::batches::batch);
        let keepers = (0..settings.keepers).map(crate::keepers::keeper);
        let mut world = Self {
            now: Time::ZERO,
            pending: BTreeMap::new(),
            scheduled: 0,
            wakes: BTreeMap::new(),
            masters: (0..MASTERS).map(|_| MasterNode::default()).collect(),
            agents: (0..settings.agents).map(|_| AgentNode::default()).collect(),
            marathons: (0..settings.marathons).map(|_| MarathonNode::default()).collect(),
            schedulers: batches.chain(keepers).collect(),
            raft: Raft::default(),
            network: Network::default(),
            store: BTreeMap::new(),
            lease: None,
            token: 0,
            lease_until: Time::ZERO,
            asked: Asked::default(),
            laws: Laws::default(),
            steps: Steps::default(),
            is_chaos: !settings.is_told,
            story: Vec::new(),
            delays: stream(),
            faults: stream(),
            users: stream(),
            ids: stream(),
            warm: Warm::new(stream()),
            summary: Summary::default(),
            counted: 0,
            settings,
        };
        for node in world.nodes() {
            let wait = world.delays.up_to(Duration::from_millis(500));
            world.after(wait, Event::Start(node));
        }
        // Half of the seeds have calls that may overtake each other and get lost.
        world.network.calls_are_requests = world.settings.seed.is_multiple_of(2);
        world.network.loses = u64::from(world.network.calls_are_requests);
        for at in 0..world.schedulers.len() {
            world.after(Duration::from_secs(1), Event::SchedulerDials(at));
            world.after(Duration::from_secs(3), Event::SchedulerActs(at));
        }
        world.after(Duration::from_millis(700), Event::Elect);
        world.after(Duration::from_millis(900), Event::TakeLease);
        world.after(Duration::from_secs(2), Event::User);
        if world.settings.has_operators {
            world.after(Duration::from_secs(5), Event::Operators);
        }
        world.plan_next_fault();
        world
    }

    fn nodes(&self) -> Vec<Node> {
        let masters = (0..MASTERS).map(Node::Master);
        let agents = (0..self.agents.len()).map(Node::Agent);
        masters.chain(agents).chain((0..self.marathons.len()).map(Node::Marathon)).collect()
    }

    /// Breaks things, heals them, and waits for rest.
    pub(crate) fn run(&mut self) -> Result<Summary, Violation> {
        self.run_until(Time(self.settings.chaos_for))?;
        self.heal();
        let limit = self.now + self.settings.rest_within;
        // Rest is looked for now and then; it must hold for a while, or it was chance.
        let mut restful = 0;
        let mut unrest = "it was never looked at".to_owned();
        while restful < 3 {
            if self.now >= limit {
                return Err(self.violation(format!("convergence: {unrest}")));
            }
            self.run_until(self.now + Duration::from_secs(20))?;
            match self.unrest() {
                None => restful += 1,
                Some(why) => (restful, unrest) = (0, why),
            }
        }
        self.summary.operations = self.laws.carried_out.len() as u64;
        Ok(self.summary.clone())
    }

    pub(crate) fn run_until(&mut self, until: Time) -> Result<(), Violation> {
        while self.pending.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            let ((at, _), event) = self.pending.pop_first().expect("looked at just now");
            self.now = at;
            self.summary.events += 1;
            if self.settings.is_traced && !matches!(event, Event::Wake(..)) {
                println!("{:>12.6} {event:?}", at.0.as_secs_f64());
            }
            self.digest(at, &event);
            self.happen(event);
            if let Some(what) = self.laws.broken.take() {
                return Err(self.violation(what));
            }
            if self.summary.events > EVENTS_MAX {
                return Err(self.violation("convergence: events never end".to_owned()));
            }
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(node, life) => self.wake(node, life),
            Event::ToMaster(at, life, input) => self.step_master(at, life, *input),
            Event::ToAgent(at, life, input) => self.step_agent(at, life, *input),
            Event::ToMarathon(at, life, input) => self.step_marathon(at, life, *input),
            Event::Arrive(connection, arrival) => self.arrive(connection, *arrival),
            Event::Commit => self.commit(),
            Event::Elect => self.elect(),
            Event::FindOut(at, life) => {
                if self.masters[at].life == life {
                    self.finds_out(at);
                }
            }
            Event::AgentDials(at, life) => self.agent_dials(at, life),
            Event::MarathonDials(at, life, id) => self.marathon_dials(at, life, id),
            // Plain schedulers come back by looking for a master.
            Event::SchedulerDials(at) | Event::Start(Node::Scheduler(at)) => {
                self.scheduler_dials(at);
            }
            Event::SchedulerBack(at) => self.scheduler_back(at),
            Event::SchedulerActs(at) => self.scheduler_acts(at),
            Event::MarathonFindsOut(at, life) => self.marathon_finds_out(at, life),
            Event::CallIsLost(connection) => self.call_is_lost(connection),
            Event::Write(at, life, write) => self.write(at, life, write),
            Event::TakeLease => self.take_lease(),
            Event::Container(at, container, event) => self.container(at, &container, event),
            Event::Start(Node::Master(at)) => self.start_master(at),
            Event::Start(Node::Agent(at)) => self.start_agent(at),
            Event::Start(Node::Marathon(at)) => self.start_marathon(at),
            Event::Fault(fault) => self.break_something(fault),
            Event::User => self.user(),
            Event::Operators => self.operators_act(),
        }
    }

    fn wake(&mut self, node: Node, life: Life) {
        if self.wakes.get(&node).is_some_and(|(of, at)| *of == life && *at <= self.now) {
            self.wakes.remove(&node);
        }
        match node {
            Node::Master(at) => self.wake_master(at, life),
            Node::Agent(at) => self.wake_agent(at, life),
            Node::Marathon(at) => self.wake_marathon(at, life),
            Node::Scheduler(_) => {}
        }
    }

    /// Has a core woken when it wants to be.
    pub(crate) fn schedule_wake(&mut self, node: Node, life: Life, core: Option<Time>) {
        let Some(deadline) = core else { return };
        let at = deadline.max(self.now);
        let is_due = |&(of, planned): &(Life, Time)| of == life && planned <= at;
        if !self.wakes.get(&node).is_some_and(is_due) {
            self.wakes.insert(node, (life, at));
            self.at(at, Event::Wake(node, life));
        }
    }

    /// Has `event` happen at a time that is not past.
    pub(crate) fn at(&mut self, at: Time, event: Event) {
        assert!(at >= self.now, "nothing can be scheduled into the past");
        self.pending.insert((at, self.scheduled), event);
        self.scheduled += 1;
    }

    /// Has `event` happen in a while.
    pub(crate) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// Some time up to `max`, by chance.
    pub(crate) fn some_time(&mut self, max: Duration) -> Duration {
        self.delays.up_to(max)
    }

    /// Both clocks.
    pub(crate) fn clocks(&self) -> Now {
        Now { time: self.now, wall: BEGIN.plus(self.now.0) }
    }

    /// A connection nobody has had.
    pub(crate) fn new_connection(&mut self) -> ConnectionId {
        self.counted += 1;
        ConnectionId(self.counted)
    }

    /// A request nobody has made.
    pub(crate) fn new_request(&mut self) -> RequestId {
        self.counted += 1;
        RequestId(self.counted)
    }

    /// Tells of something, if this is a story.
    pub(crate) fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.settings.is_told {
            let line = line(self);
            self.story.push(line);
        }
    }

    pub(crate) fn violation(&self, what: String) -> Violation {
        Violation { what, at: self.now.0 }
    }

    fn digest(&mut self, at: Time, event: &Event) {
        // The kind of each event and its time say enough: what differs later shows in these.
        let kind = match event {
            Event::Wake(..) => 1,
            Event::ToMaster(..) => 2,
            Event::ToAgent(..) => 3,
            Event::ToMarathon(..) => 4,
            Event::Arrive(..) => 5,
            Event::Commit => 6,
            Event::Elect => 7,
            Event::AgentDials(..) => 8,
            Event::MarathonDials(..) => 9,
            Event::Write(..) => 10,
            Event::TakeLease => 11,
            Event::Container(..) => 12,
            Event::Start(_) => 13,
            Event::Fault(_) => 14,
            Event::User => 15,
            Event::FindOut(..) => 16,
            Event::SchedulerDials(_) => 17,
            Event::SchedulerActs(_) => 18,
            Event::SchedulerBack(_) => 20,
            Event::MarathonFindsOut(..) => 19,
            Event::CallIsLost(_) => 21,
            Event::Operators => 22,
        };
        let nanos = u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX);
        for word in [nanos, kind] {
            self.summary.digest =
                (self.summary.digest ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(7);
        }
    }
}

/// When a core wants to be woken, asked through the trait all cores share.
pub(crate) fn deadline<C: Core>(core: Option<&C>) -> Option<Time> {
    core.and_then(Core::next_deadline)
}
