//! Marathon: its sessions with the master, its store, and the lease by which one of it leads.

use crate::pods;
use crate::residents;
use crate::schedulers::framework;
use crate::world::{Event, Life, Node, World, deadline};
use marathon_core::Marathon;
use marathon_core::io::{Config, Input, OfferView, Output, UpdateView};
use marathon_core::view::View;
use model::call::{Accept, Acknowledge, Call, Decline, Kill, ReconcileTask};
use model::event::SchedulerEvent;
use model::framework::Capabilities;
use model::ids::{ConnectionId, FrameworkId, RequestId, StreamId};
use model::resources::Attributes;
use model::step::Core;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a dead leader's lease holds before another one may lead.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// How often those who do not lead look whether the lease is free, at least.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

/// How long a leader that stood still may act before it notices that its lease has ended.
const OVERSTAY_MAX: Duration = Duration::from_secs(2);

/// A Marathon.
#[derive(Default)]
pub(crate) struct MarathonNode {
    pub(crate) core: Option<Marathon>,
    pub(crate) life: Life,
    pub(crate) view: View,
    token: u64,
    connection: Option<ConnectionId>,
    /// The stream that its calls belong to, where they are requests of their own.
    stream: Option<StreamId>,
    subscribing: Option<RequestId>,
    framework: Option<FrameworkId>,
    wants_session: bool,
    /// Whether it acts as the leader though its lease has ended.
    pub(crate) overstays: bool,
}

/// A write to the store on its way.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    id: marathon_core::ids::WriteId,
    token: u64,
    puts: Vec<(String, Option<Vec<u8>>)>,
}

impl World {
    pub(crate) fn start_marathon(&mut self, at: usize) {
        if self.marathons[at].core.is_some() {
            return;
        }
        let role = residents::ROLE.into();
        let config = Config { seed: self.ids.next_u64(), role, ..Config::default() };
        let role = config.role.clone();
        let node = &mut self.marathons[at];
        node.core = Some(Marathon::new(config));
        node.view = View::new(role);
        node.wants_session = false;
        node.overstays = false;
        if self.lease.is_none() {
            self.after(LOOK_EVERY_MAX, Event::TakeLease);
        }
    }

    /// The leader is gone: when its lease has ended, others find it free by and by.
    fn lease_is_free(&mut self) {
        let wait = LEASE + self.some_time(LOOK_EVERY_MAX);
        self.after(wait, Event::TakeLease);
    }

    /// Whoever lives leads, if nobody does.
    pub(crate) fn take_lease(&mut self) {
        if self.lease.is_some() || self.marathons.is_empty() {
            return;
        }
        if self.now < self.lease_until {
            return self.at(self.lease_until, Event::TakeLease);
        }
        let can_lead =
            |at: &usize| self.marathons[*at].core.is_some() && !self.marathons[*at].overstays;
        let living: Vec<usize> = (0..self.marathons.len()).filter(can_lead).collect();
        if living.is_empty() || self.raft.leader.is_none() {
            self.after(Duration::from_secs(1), Event::TakeLease);
            return;
        }
        let chosen = self.faults.below(living.len() as u64);
        let at = living[usize::try_from(chosen).unwrap_or(0)];
        self.lease = Some(at);
        self.token += 1;
        self.marathons[at].token = self.token;
        self.tell(|_| format!("marathon-{} leads", at + 1));
        let stored = self.store.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let life = self.marathons[at].life;
        self.step_marathon(at, life, Input::Lead { stored });
    }

    pub(crate) fn step_marathon(&mut self, at: usize, life: Life, input: Input) {
        let now = self.clocks();
        let node = &mut self.marathons[at];
        if node.life != life {
            return;
        }
        let Some(core) = &mut node.core else { return };
        let mut out = Vec::new();
        core.wake(now, &mut out);
        core.step(input, now, &mut out);
        self.after_marathon(at, out);
    }

    pub(crate) fn wake_marathon(&mut self, at: usize, life: Life) {
        let now = self.clocks();
        let node = &mut self.marathons[at];
        if node.life != life {
            return;
        }
        let Some(core) = &mut node.core else { return };
        let mut out = Vec::new();
        core.wake(now, &mut out);
        self.after_marathon(at, out);
    }

    fn after_marathon(&mut self, at: usize, out: Vec<Output>) {
        let life = self.marathons[at].life;
        for output in out {
            if self.ends_before(at, &output) {
                return;
            }
            if self.settings.is_traced && !matches!(output, Output::View(_)) {
                println!("{:>12.6}   marathon {at}: {output:?}", self.now.0.as_secs_f64());
            }
            self.perform_for_marathon(at, life, output);
        }
        let core = self.marathons[at].core.as_ref();
        let wrong = core.map(Marathon::audit).unwrap_or_default();
        if !wrong.is_empty() {
            self.laws.broke(format!("truth: marathon {at} has counted wrong: {wrong:?}"));
        }
        let wake = deadline(self.marathons[at].core.as_ref());
        self.schedule_wake(Node::Marathon(at), life, wake);
    }

    fn perform_for_marathon(&mut self, at: usize, life: Life, output: Output) {
        match output {
            Output::Store { write, puts } => {
                let token = self.marathons[at].token;
                let wait = Duration::from_millis(1) + self.some_time(Duration::from_millis(20));
                self.after(wait, Event::Write(at, life, Write { id: write, token, puts }));
            }
            Output::StepDown => self.marathon_steps_down(at),
            Output::Subscribe { framework, .. } => {
                self.marathons[at].wants_session = true;
                let wait = self.some_time(Duration::from_millis(50));
                self.after(wait, Event::MarathonDials(at, life, framework));
            }
            Output::Accept { offer, agent, releases, launches, refuse_for, .. } => {
                let operations = pods::operations(&agent, &releases, &launches);
                let offers = vec![offer.as_str().into()];
                self.call(at, Call::Accept(Accept { offers, operations, refuse_for }));
            }
            Output::Decline { offers, refuse_for } => {
                let offers = offers.into_iter().collect();
                self.call(at, Call::Decline(Decline { offers, refuse_for }));
            }
            Output::Revive => self.call(at, Call::Revive(BTreeSet::new())),
            Output::Suppress => self.call(at, Call::Suppress(BTreeSet::new())),
            Output::Kill { task, agent, grace } => {
                self.call(at, Call::Kill(Kill { task, agent, grace }));
            }
            Output::Acknowledge { agent, task, uuid } => {
                self.call(at, Call::Acknowledge(Acknowledge { agent, task, uuid }));
            }
            Output::Reconcile(tasks) => {
                let one = |(task, agent)| ReconcileTask { task, agent };
                self.call(at, Call::Reconcile(tasks.into_iter().map(one).collect()));
            }
            Output::Probe(probe) => self.probe(at, &probe),
            Output::Answer { request, answer } => self.answered(request, answer.err()),
            Output::Event(_)
            // Nothing is spread here, and whoever is not answered goes on without.
            | Output::AskAgents
            // Here all apps are in one role, and no agent is to be away.
            | Output::Roles { .. }
            | Output::AcceptInverse { .. } => {}
            Output::View(change) => self.marathons[at].view.apply(change),
        }
    }

    /// Calls the master, if there is a session; without one the call is lost.
    fn call(&mut self, at: usize, call: Call) {
        let node = &self.marathons[at];
        if let (Some(connection), Some(framework)) = (node.connection, node.framework.clone()) {
            self.call_in(connection, framework, node.stream, call);
        }
    }

    /// Its stream has begun, under this id.
    pub(crate) fn marathon_may_call(
        &mut self,
        at: usize,
        connection: ConnectionId,
        stream: StreamId,
    ) {
        let node = &mut self.marathons[at];
        if node.connection == Some(connection) {
            node.stream = Some(stream);
        }
    }

    /// Looks for the leading master, again and again until there is one.
    pub(crate) fn marathon_dials(&mut self, at: usize, life: Life, id: Option<FrameworkId>) {
        let node = &self.marathons[at];
        let is_wanted = node.life == life && node.core.is_some() && node.wants_session;
        if !is_wanted || node.connection.is_some() {
            return;
        }
        let Some(connection) = self.connect(Node::Marathon(at), life) else {
            let wait = Duration::from_millis(100) + self.some_time(Duration::from_millis(400));
            self.after(wait, Event::MarathonDials(at, life, id));
            return;
        };
        let role = residents::role();
        let mut framework = framework("marathon", "root", role, Duration::from_secs(604_800));
        framework.id = id;
        framework.capabilities = Capabilities {
            partition_aware: true,
            task_killing_state: true,
            reservation_refinement: true,
            ..Capabilities::default()
        };
        let node = &mut self.marathons[at];
        node.connection = Some(connection);
        node.stream = None;
        node.framework.clone_from(&framework.id);
        let request = self.subscribe(connection, framework);
        self.marathons[at].subscribing = Some(request);
    }

    /// A master has refused a subscription: try again.
    pub(crate) fn subscribe_refused(&mut self, request: RequestId) {
        let asked = |node: &MarathonNode| node.subscribing == Some(request);
        let Some(at) = self.marathons.iter().position(asked) else { return };
        if let Some(connection) = self.marathons[at].connection {
            self.break_connection(connection);
        }
    }

    /// An event arrives.
    pub(crate) fn hear(
        &mut self,
        at: usize,
        life: Life,
        connection: ConnectionId,
        event: SchedulerEvent,
    ) {
        if self.marathons[at].connection != Some(connection) {
            return;
        }
        let input = match event {
            SchedulerEvent::Subscribed { framework, .. } => {
                self.marathons[at].subscribing = None;
                self.marathons[at].framework = Some(framework.clone());
                self.serves(&framework);
                Input::Subscribed { framework, master: "master".into(), region: None }
            }
            SchedulerEvent::Offers(offers) => Input::Offers(
                offers
                    .into_iter()
                    .map(|mut offer| OfferView {
                        held: residents::take_held(&mut offer.resources),
                        offer,
                        attributes: Attributes::default(),
                        region: None,
                        zone: None,
                    })
                    .collect(),
            ),
            SchedulerEvent::Rescind(offer) => Input::Rescind(offer),
            SchedulerEvent::Update(status) => {
                self.laws.heard(&status);
                Input::Update(UpdateView::plain(status))
            }
            SchedulerEvent::Failure { agent, executor: None } => Input::AgentLost(agent),
            SchedulerEvent::Failure { .. }
            | SchedulerEvent::InverseOffers(_)
            | SchedulerEvent::RescindInverseOffer(_)
            | SchedulerEvent::UpdateOperation(_)
            | SchedulerEvent::Message(_)
            | SchedulerEvent::Heartbeat => return,
            SchedulerEvent::Error(why) => {
                if why != "Framework failed over" {
                    self.laws.broke(format!("truth: the master threw Marathon out: {why}"));
                }
                return;
            }
        };
        self.step_marathon(at, life, input);
    }

    /// A session is broken, and its Marathon notices after a while.
    pub(crate) fn session_lost(
        &mut self,
        at: usize,
        life: Life,
        connection: ConnectionId,
        wait: Duration,
    ) {
        let node = &mut self.marathons[at];
        if node.life != life || node.connection != Some(connection) {
            return;
        }
        node.connection = None;
        node.subscribing = None;
        let id = node.framework.clone();
        self.after(wait, Event::ToMarathon(at, life, Box::new(Input::Disconnected)));
        let redial = Duration::from_millis(100) + self.some_time(Duration::from_millis(400));
        self.after(wait + redial, Event::MarathonDials(at, life, id));
    }

    /// A write reaches the store: it is done if its writer still leads.
    pub(crate) fn write(&mut self, at: usize, life: Life, write: Write) {
        if self.raft.leader.is_none() {
            // The client knows that it was not done, and tries again.
            self.after(Duration::from_millis(200), Event::Write(at, life, write));
            return;
        }
        let is_fenced = write.token != self.token || self.lease.is_none();
        let is_doubtful = self.is_chaos && self.faults.below(1_000) < 2;
        let is_lost = is_doubtful && self.faults.chance(50);
        let is_done = !(is_fenced || is_lost);
        if is_done {
            for (key, value) in &write.puts {
                match value {
                    Some(value) => self.store.insert(key.clone(), value.clone()),
                    None => self.store.remove(key),
                };
            }
        }
        let write = write.id;
        let input = if is_done && !is_doubtful {
            Input::Committed { write }
        } else {
            Input::CommitFailed { write }
        };
        self.step_marathon(at, life, input);
    }

    /// Ends a Marathon's session, as its shell does when it leads no more.
    fn end_session(&mut self, at: usize) {
        let node = &mut self.marathons[at];
        node.wants_session = false;
        node.subscribing = None;
        if let Some(connection) = node.connection.take() {
            self.hang_up(connection);
        }
    }

    fn marathon_steps_down(&mut self, at: usize) {
        self.end_session(at);
        self.marathons[at].overstays = false;
        if self.lease == Some(at) {
            self.lease = None;
            self.lease_until = self.now + LEASE;
            self.lease_is_free();
        }
        let life = self.marathons[at].life;
        self.after(Duration::ZERO, Event::ToMarathon(at, life, Box::new(Input::Depose)));
    }

    /// The leader stands still until its lease has ended; then another one leads, and this one acts
    /// as if it did for a while more.
    pub(crate) fn pause_marathon(&mut self) {
        let Some(at) = self.lease.take() else { return };
        self.marathons[at].overstays = true;
        self.after(Duration::ZERO, Event::TakeLease);
        let wait = self.faults.up_to(OVERSTAY_MAX);
        self.after(wait, Event::MarathonFindsOut(at, self.marathons[at].life));
    }

    pub(crate) fn marathon_finds_out(&mut self, at: usize, life: Life) {
        if self.marathons[at].life == life && self.marathons[at].overstays {
            self.marathon_steps_down(at);
        }
    }

    /// A leader loses its lease, though it lives.
    pub(crate) fn depose_marathon(&mut self) {
        if let Some(at) = self.lease {
            self.marathon_steps_down(at);
        }
    }

    pub(crate) fn crash_marathon(&mut self, at: usize) {
        if self.marathons[at].core.take().is_none() {
            return;
        }
        self.end_session(at);
        self.marathons[at].life += 1;
        self.marathons[at].overstays = false;
        if self.lease == Some(at) {
            self.lease = None;
            self.lease_until = self.now + LEASE;
            self.lease_is_free();
        }
    }
}
