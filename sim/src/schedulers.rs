//! Schedulers on the scheduler API: what all of them share, and the sessions of the plain ones, which
//! are without a store.
//!
//! A plain one knows what it asked for and hears what becomes of it. It comes and goes, at times under
//! the same id before its failover timeout, at times too late, and at times it ends itself. What it
//! does with its offers is its [`Work`].

use crate::world::{Arrival, Event, Node, World};
use model::call::{
    Accept, Acknowledge, AcknowledgeOperation, Call, Decline, Kill, Operation, ReconcileOperation,
    ReconcileTask, Subscribe,
};
use model::event::SchedulerEvent;
use model::framework::{Capabilities, Framework};
use model::ids::{AgentId, ConnectionId, FrameworkId, OperationId, RequestId, StreamId, TaskId};
use model::offer::Offer;
use model::operation::{OperationState, OperationStatus};
use model::payload::Payload;
use model::role::Role;
use model::task::{Status, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a plain scheduler does with its offers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Runs short tasks.
    Tasks,
    /// Reserves, makes volumes, and takes both back.
    Operations,
    /// Waits for what a scenario has it do.
    Told,
}

/// A plain scheduler.
pub(crate) struct SchedulerNode {
    pub(crate) work: Work,
    /// How it describes itself. The id is absent until a master has given one, or after it ended.
    pub(crate) framework: Framework,
    pub(crate) connection: Option<ConnectionId>,
    /// The stream that its calls belong to, where they are requests of their own.
    stream: Option<StreamId>,
    /// Whether it stays away for now.
    is_away: bool,
    /// What it launched under its present id and knows no end of.
    pub(crate) live: BTreeMap<TaskId, TaskState>,
    /// Those of them that have run.
    has_run: BTreeSet<TaskId>,
    /// The operations it asked to hear of under its present id and knows no end of, and where they are.
    pub(crate) operations: BTreeMap<OperationId, AgentId>,
    /// Offers that it has not answered, where it answers none by itself.
    pub(crate) offers: Vec<Offer>,
    /// Counts what it launches and asks for.
    pub(crate) counted: u64,
}

impl SchedulerNode {
    pub(crate) fn new(work: Work, framework: Framework) -> Self {
        Self {
            work,
            framework,
            connection: None,
            stream: None,
            is_away: false,
            live: BTreeMap::new(),
            has_run: BTreeSet::new(),
            operations: BTreeMap::new(),
            offers: Vec::new(),
            counted: 0,
        }
    }
}

/// A framework that is still to be given an id.
pub(crate) fn framework(name: &str, user: &str, role: Role, lives_on: Duration) -> Framework {
    Framework {
        id: None,
        name: name.into(),
        user: user.into(),
        roles: BTreeSet::from([role]),
        capabilities: Capabilities::default(),
        failover_timeout: lives_on,
        checkpoint: true,
        principal: None,
        min_allocatable: BTreeMap::new(),
        info: Payload::default(),
    }
}

impl World {
    /// Subscribes a framework over a new connection.
    pub(crate) fn subscribe(
        &mut self,
        connection: ConnectionId,
        framework: Framework,
    ) -> RequestId {
        let request = self.new_request();
        let call =
            Subscribe { framework, suppressed: BTreeSet::new(), constraints: Ok(BTreeMap::new()) };
        let input = master_core::Input::Subscribe { connection, request, call, principal: None };
        self.send(connection, Arrival::AtMaster(input), true);
        request
    }

    /// Has a framework call the master in a session.
    pub(crate) fn call_in(
        &mut self,
        connection: ConnectionId,
        framework: FrameworkId,
        stream: Option<StreamId>,
        call: Call,
    ) {
        let request = self.new_request();
        let stream = match stream {
            Some(stream) if self.network.calls_are_requests => {
                master_core::StreamClaim::Given(stream.to_string().into())
            }
            _ => master_core::StreamClaim::Connection(connection),
        };
        let input = master_core::Input::Call { request, framework, stream, call, principal: None };
        self.send(connection, Arrival::AtMaster(input), true);
    }

    /// Looks for the leading master, again and again until there is one.
    pub(crate) fn scheduler_dials(&mut self, at: usize) {
        let node = &mut self.schedulers[at];
        if !self.is_chaos && node.work != Work::Told {
            node.is_away = false;
        }
        if node.connection.is_none() && !node.is_away {
            self.scheduler_subscribes(at);
        }
    }

    fn scheduler_subscribes(&mut self, at: usize) {
        let Some(connection) = self.connect(Node::Scheduler(at), 0) else {
            let wait = Duration::from_millis(100) + self.some_time(Duration::from_millis(400));
            return self.after(wait, Event::SchedulerDials(at));
        };
        let node = &mut self.schedulers[at];
        node.connection = Some(connection);
        node.stream = None;
        let framework = node.framework.clone();
        self.subscribe(connection, framework);
    }

    /// Now and then it does something that nobody asked it for.
    pub(crate) fn scheduler_acts(&mut self, at: usize) {
        let wait = Duration::from_secs(2) + self.users.up_to(Duration::from_secs(20));
        self.after(wait, Event::SchedulerActs(at));
        if self.schedulers[at].connection.is_none() {
            return self.scheduler_dials(at);
        }
        let what = self.users.below(20);
        match what {
            // It ends at once and another process takes over, in time or too late.
            0 | 1 if self.is_chaos => {
                let in_time = self.schedulers[at].framework.failover_timeout;
                let away = if what == 0 { in_time * 3 } else { in_time / 2 };
                let away = self.users.up_to(away);
                self.scheduler_leaves(at);
                self.after(away, Event::SchedulerBack(at));
            }
            // Another process takes over while this one is still there.
            2 if self.is_chaos => self.scheduler_is_replaced(at),
            3 if self.is_chaos && self.schedulers[at].framework.id.is_some() => {
                self.scheduler_calls(at, Call::Teardown);
                self.scheduler_ended(at);
            }
            4..=7 => {
                let victim = self.schedulers[at].live.keys().next().cloned();
                if let Some(task) = victim {
                    self.scheduler_calls(at, Call::Kill(Kill { task, agent: None, grace: None }));
                }
            }
            _ => self.scheduler_reconciles(at),
        }
    }

    /// Its process ends, and nobody takes its place for now.
    pub(crate) fn scheduler_leaves(&mut self, at: usize) {
        if let Some(connection) = self.schedulers[at].connection.take() {
            self.hang_up(connection);
        }
        self.schedulers[at].is_away = true;
    }

    pub(crate) fn scheduler_back(&mut self, at: usize) {
        self.schedulers[at].is_away = false;
        self.scheduler_dials(at);
    }

    /// Another process subscribes under its id, while it is still there.
    pub(crate) fn scheduler_is_replaced(&mut self, at: usize) {
        self.schedulers[at].connection = None;
        self.scheduler_subscribes(at);
    }

    pub(crate) fn scheduler_reconciles(&mut self, at: usize) {
        let live = self.schedulers[at].live.keys().cloned();
        let tasks: Vec<_> = live.map(|task| ReconcileTask { task, agent: None }).collect();
        // Without any it would ask for all, and hear of what ended before its time.
        if !tasks.is_empty() {
            self.scheduler_calls(at, Call::Reconcile(tasks));
        }
        let pending = self.schedulers[at].operations.iter();
        let question = |(operation, agent): (&OperationId, &AgentId)| ReconcileOperation {
            operation: operation.clone(),
            agent: Some(agent.clone()),
        };
        let operations: Vec<_> = pending.map(question).collect();
        if !operations.is_empty() {
            self.scheduler_calls(at, Call::ReconcileOperations(operations));
        }
    }

    /// Calls the master, if there is a session; without one the call is lost.
    pub(crate) fn scheduler_calls(&mut self, at: usize, call: Call) {
        let node = &self.schedulers[at];
        if let (Some(connection), Some(framework)) = (node.connection, node.framework.id.clone()) {
            self.call_in(connection, framework, node.stream, call);
        }
    }

    /// Uses an offer.
    pub(crate) fn scheduler_accepts(
        &mut self,
        at: usize,
        offer: &Offer,
        operations: Vec<Operation>,
        refuse_for: Duration,
    ) {
        let offers = vec![offer.id.as_str().into()];
        self.scheduler_calls(at, Call::Accept(Accept { offers, operations, refuse_for }));
    }

    /// Gives an offer back.
    pub(crate) fn scheduler_declines(&mut self, at: usize, offer: &Offer, refuse_for: Duration) {
        let offers = BTreeSet::from([offer.id.clone()]);
        self.scheduler_calls(at, Call::Decline(Decline { offers, refuse_for }));
    }

    /// Its stream has begun, under this id.
    pub(crate) fn scheduler_may_call(
        &mut self,
        at: usize,
        connection: ConnectionId,
        stream: StreamId,
    ) {
        let node = &mut self.schedulers[at];
        if node.connection == Some(connection) {
            node.stream = Some(stream);
        }
    }

    /// An event arrives.
    pub(crate) fn scheduler_hears(
        &mut self,
        at: usize,
        connection: ConnectionId,
        event: SchedulerEvent,
    ) {
        if self.schedulers[at].connection != Some(connection) {
            return;
        }
        let is_told = self.schedulers[at].work == Work::Told;
        if is_told {
            self.tell_event(at, &event);
        }
        match event {
            SchedulerEvent::Subscribed { framework, .. } => {
                self.schedulers[at].framework.id = Some(framework);
                self.schedulers[at].offers.clear();
                if !is_told {
                    self.scheduler_reconciles(at);
                }
            }
            SchedulerEvent::Offers(offers) => {
                for offer in offers {
                    match self.schedulers[at].work {
                        Work::Tasks => self.runs_tasks(at, &offer),
                        Work::Operations => self.keeps_things(at, &offer),
                        Work::Told => self.schedulers[at].offers.push(offer),
                    }
                }
            }
            SchedulerEvent::Update(status) => self.scheduler_notes(at, &status),
            SchedulerEvent::UpdateOperation(status) => self.scheduler_notes_operation(at, &status),
            SchedulerEvent::Error(why) => {
                // Only the first of these is for good.
                if why == "Framework has been removed" {
                    self.scheduler_ended(at);
                } else if why != "Framework failed over" {
                    self.laws.broke(format!("truth: the master threw a framework out: {why}"));
                }
            }
            SchedulerEvent::Rescind(rescinded) => {
                self.schedulers[at].offers.retain(|offer| offer.id != rescinded);
            }
            SchedulerEvent::Failure { .. }
            | SchedulerEvent::InverseOffers(_)
            | SchedulerEvent::RescindInverseOffer(_)
            | SchedulerEvent::Message(_)
            | SchedulerEvent::Heartbeat => {}
        }
    }

    /// Its id is of no use any more: it begins anew.
    pub(crate) fn scheduler_ended(&mut self, at: usize) {
        let node = &mut self.schedulers[at];
        self.laws.ended.extend(node.framework.id.take());
        node.live.clear();
        node.has_run.clear();
        node.operations.clear();
        if let Some(connection) = node.connection.take() {
            self.hang_up(connection);
        }
        if self.schedulers[at].work != Work::Told {
            self.after(Duration::from_secs(1), Event::SchedulerDials(at));
        }
    }

    fn scheduler_notes(&mut self, at: usize, status: &Status) {
        self.laws.heard(status);
        let node = &mut self.schedulers[at];
        let is_running = matches!(status.state, TaskState::Starting | TaskState::Running);
        if is_running && node.live.contains_key(&status.task) {
            node.has_run.insert(status.task.clone());
        }
        // What never ran and nobody knows was never launched; what ran must end in words.
        let may_be_unknown =
            !node.has_run.contains(&status.task) || self.laws.went_down.contains(&status.task);
        let is_over =
            status.state.is_terminal() || (status.state == TaskState::Unknown && may_be_unknown);
        if is_over {
            node.live.remove(&status.task);
            node.has_run.remove(&status.task);
        } else if let Some(state) = node.live.get_mut(&status.task) {
            *state = status.state;
        }
        if let (Some(uuid), Some(agent)) = (status.uuid, status.agent.clone()) {
            let task = status.task.clone();
            self.scheduler_calls(at, Call::Acknowledge(Acknowledge { agent, task, uuid }));
        }
    }

    fn scheduler_notes_operation(&mut self, at: usize, status: &OperationStatus) {
        let Some(operation) = status.id.clone() else { return };
        self.laws.operation_heard(status);
        // An operation that nobody knows was never begun, or else its call is still on its way: then
        // its end is told all the same.
        if status.state.is_terminal() || status.state == OperationState::Unknown {
            self.schedulers[at].operations.remove(&operation);
        }
        if let (Some(uuid), Some(agent)) = (status.uuid, status.agent.clone()) {
            let call = AcknowledgeOperation { agent, operation, uuid };
            self.scheduler_calls(at, Call::AcknowledgeOperation(call));
        }
    }

    /// Its connection is broken, and it notices after a while.
    pub(crate) fn scheduler_lost(&mut self, at: usize, connection: ConnectionId, wait: Duration) {
        if self.schedulers[at].connection == Some(connection) {
            self.schedulers[at].connection = None;
            self.schedulers[at].offers.clear();
            self.after(wait, Event::SchedulerDials(at));
        }
    }
}
