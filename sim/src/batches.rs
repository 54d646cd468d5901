//! Frameworks of short tasks: plain schedulers on the scheduler API, without a store.
//!
//! Each knows what it launched and hears what becomes of it. It comes and goes, at times under the
//! same id before its failover timeout, at times too late, and at times it ends itself.

use crate::world::{Arrival, Event, Node, World};
use model::call::{Accept, Acknowledge, Call, Decline, Kill, Operation, ReconcileTask, Subscribe};
use model::event::SchedulerEvent;
use model::framework::{Capabilities, Framework};
use model::ids::{ConnectionId, ExecutorId, FrameworkId, StreamId, TaskId};
use model::offer::Offer;
use model::payload::Payload;
use model::resources::Resources;
use model::role::Role;
use model::task::{ExecutorSpec, RunsBy, Status, TaskSpec, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long its tasks outlive it.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(20);

/// Tasks it has at the same time at most: more would only make runs longer.
const AT_ONCE_MAX: usize = 10;

/// A scheduler of short tasks.
#[derive(Default)]
pub(crate) struct BatchNode {
    /// Absent until a master has given one, or after it ended.
    pub(crate) id: Option<FrameworkId>,
    connection: Option<ConnectionId>,
    /// The stream that its calls belong to, where they are requests of their own.
    stream: Option<StreamId>,
    /// Whether it stays away for now.
    is_away: bool,
    /// What it launched under its present id and knows no end of.
    pub(crate) live: BTreeMap<TaskId, TaskState>,
    /// Those of them that have run.
    has_run: BTreeSet<TaskId>,
    launched: u64,
}

impl World {
    /// How a task ends by itself, if it does.
    pub(crate) fn end_of(&mut self, task: &TaskId) -> Option<TaskState> {
        let is_short = task.as_str().starts_with("short-");
        let end = if self.delays.below(10) == 0 { TaskState::Failed } else { TaskState::Finished };
        is_short.then_some(end)
    }

    /// Looks for the leading master, again and again until there is one.
    pub(crate) fn batch_dials(&mut self, at: usize) {
        let node = &mut self.batches[at];
        if !self.is_chaos {
            node.is_away = false;
        }
        if node.connection.is_some() || node.is_away {
            return;
        }
        self.batch_subscribes(at);
    }

    fn batch_subscribes(&mut self, at: usize) {
        let Some(connection) = self.connect(Node::Batch(at), 0) else {
            let wait = Duration::from_millis(100) + self.some_time(Duration::from_millis(400));
            return self.after(wait, Event::BatchDials(at));
        };
        let request = self.new_request();
        self.batches[at].connection = Some(connection);
        self.batches[at].stream = None;
        let role = Role::new("batch").expect("well formed");
        let framework = Framework {
            id: self.batches[at].id.clone(),
            name: "batch".into(),
            user: "nobody".into(),
            roles: BTreeSet::from([role]),
            capabilities: Capabilities { partition_aware: at == 0, ..Capabilities::default() },
            failover_timeout: FAILOVER_TIMEOUT,
            checkpoint: true,
            principal: None,
            min_allocatable: BTreeMap::new(),
            info: Payload::default(),
        };
        let call =
            Subscribe { framework, suppressed: BTreeSet::new(), constraints: BTreeMap::new() };
        let input = master_core::Input::Subscribe { connection, request, call, principal: None };
        self.send(connection, Arrival::AtMaster(input), true);
    }

    /// Now and then it does something that nobody asked it for.
    pub(crate) fn batch_acts(&mut self, at: usize) {
        let wait = Duration::from_secs(2) + self.users.up_to(Duration::from_secs(20));
        self.after(wait, Event::BatchActs(at));
        if self.batches[at].connection.is_none() {
            return self.batch_dials(at);
        }
        let what = self.users.below(20);
        match what {
            // It ends at once and another process takes over, in time or too late.
            0 | 1 if self.is_chaos => {
                if let Some(connection) = self.batches[at].connection.take() {
                    self.hang_up(connection);
                }
                self.batches[at].is_away = true;
                let away = if what == 0 { FAILOVER_TIMEOUT * 3 } else { FAILOVER_TIMEOUT / 2 };
                let away = self.users.up_to(away);
                self.after(away, Event::BatchBack(at));
            }
            // Another process takes over while this one is still there.
            2 if self.is_chaos => {
                self.batches[at].connection = None;
                self.batch_subscribes(at);
            }
            3 if self.is_chaos && self.batches[at].id.is_some() => {
                self.batch_calls(at, Call::Teardown);
                self.batch_ended(at);
            }
            4..=7 => {
                let victim = self.batches[at].live.keys().next().cloned();
                if let Some(task) = victim {
                    self.batch_calls(at, Call::Kill(Kill { task, agent: None, grace: None }));
                }
            }
            _ => self.batch_reconciles(at),
        }
    }

    pub(crate) fn batch_back(&mut self, at: usize) {
        self.batches[at].is_away = false;
        self.batch_dials(at);
    }

    fn batch_reconciles(&mut self, at: usize) {
        let live = self.batches[at].live.keys().cloned();
        let tasks: Vec<_> = live.map(|task| ReconcileTask { task, agent: None }).collect();
        // Without any it would ask for all, and hear of what ended before its time.
        if !tasks.is_empty() {
            self.batch_calls(at, Call::Reconcile(tasks));
        }
    }

    fn batch_calls(&mut self, at: usize, call: Call) {
        let request = self.new_request();
        let node = &self.batches[at];
        let (Some(connection), Some(framework)) = (node.connection, node.id.clone()) else {
            return;
        };
        let stream = match node.stream {
            Some(stream) if self.network.calls_are_requests => {
                master_core::StreamClaim::Given(stream.to_string().into())
            }
            _ => master_core::StreamClaim::Connection(connection),
        };
        let input = master_core::Input::Call { request, framework, stream, call, principal: None };
        self.send(connection, Arrival::AtMaster(input), true);
    }

    /// Its stream has begun, under this id.
    pub(crate) fn batch_may_call(&mut self, at: usize, connection: ConnectionId, stream: StreamId) {
        let node = &mut self.batches[at];
        if node.connection == Some(connection) {
            node.stream = Some(stream);
        }
    }

    /// An event arrives.
    pub(crate) fn batch_hears(
        &mut self,
        at: usize,
        connection: ConnectionId,
        event: SchedulerEvent,
    ) {
        if self.batches[at].connection != Some(connection) {
            return;
        }
        match event {
            SchedulerEvent::Subscribed { framework, .. } => {
                self.batches[at].id = Some(framework);
                self.batch_reconciles(at);
            }
            SchedulerEvent::Offers(offers) => {
                for offer in offers {
                    self.batch_answers(at, &offer);
                }
            }
            SchedulerEvent::Update(status) => self.batch_notes(at, &status),
            SchedulerEvent::Error(why) => {
                // Only the first of these is for good.
                if why == "Framework has been removed" {
                    self.batch_ended(at);
                } else if why != "Framework failed over" {
                    self.laws.broke(format!("truth: the master threw a framework out: {why}"));
                }
            }
            SchedulerEvent::Failure { .. }
            | SchedulerEvent::Rescind(_)
            | SchedulerEvent::InverseOffers(_)
            | SchedulerEvent::RescindInverseOffer(_)
            | SchedulerEvent::UpdateOperation(_)
            | SchedulerEvent::Message(_)
            | SchedulerEvent::Heartbeat => {}
        }
    }

    /// Its id is of no use any more: it begins anew.
    fn batch_ended(&mut self, at: usize) {
        let node = &mut self.batches[at];
        self.laws.ended.extend(node.id.take());
        node.live.clear();
        node.has_run.clear();
        if let Some(connection) = node.connection.take() {
            self.hang_up(connection);
        }
        self.after(Duration::from_secs(1), Event::BatchDials(at));
    }

    fn batch_answers(&mut self, at: usize, offer: &Offer) {
        let task = Resources::parse("cpus:0.5;mem:64", &Role::any()).expect("well formed");
        let room = AT_ONCE_MAX.saturating_sub(self.batches[at].live.len());
        let count = usize::try_from(1 + self.users.below(3)).unwrap_or(1).min(room);
        let mut needed = Resources::parse("cpus:0.1;mem:32", &Role::any()).expect("well formed");
        for _ in 0..count {
            needed.add(&task);
        }
        let refuse_for = Duration::from_secs(self.users.below(5));
        let is_wanted = self.is_chaos && count > 0 && self.users.chance(60);
        if !is_wanted || !offer.resources.contains(&needed) {
            let offers = BTreeSet::from([offer.id.clone()]);
            return self.batch_calls(at, Call::Decline(Decline { offers, refuse_for }));
        }
        let kind = self.users.below(3);
        let node = &mut self.batches[at];
        node.launched += 1;
        let executor = ExecutorSpec {
            id: ExecutorId::new(format!("exec-{at}-{}", node.launched)).expect("well formed"),
            is_default: kind == 2,
            resources: Resources::parse("cpus:0.1;mem:32", &Role::any()).expect("well formed"),
            user: None,
            shutdown_grace: None,
            info: Payload::default(),
        };
        let mut tasks = Vec::new();
        for nth in 0..count {
            let id = format!("short-{at}-{}-{nth}", node.launched);
            let id = TaskId::new(id).expect("well formed");
            node.live.insert(id.clone(), TaskState::Staging);
            let runs_by = match kind {
                0 => RunsBy::Command,
                1 => RunsBy::Executor(executor.clone()),
                _ => RunsBy::Group,
            };
            let (name, agent) = ("short".into(), offer.agent.clone());
            let (resources, info) = (task.clone(), Payload::default());
            tasks.push(Ok(TaskSpec {
                id,
                name,
                agent,
                resources,
                runs_by,
                user: None,
                kill_grace: None,
                info,
            }));
        }
        let operation = if kind == 2 {
            Operation::LaunchGroup { executor: Ok(executor), tasks }
        } else {
            Operation::Launch(tasks)
        };
        let offers = vec![offer.id.as_str().into()];
        self.batch_calls(
            at,
            Call::Accept(Accept { offers, operations: vec![operation], refuse_for }),
        );
    }

    fn batch_notes(&mut self, at: usize, status: &Status) {
        self.laws.heard(status);
        let node = &mut self.batches[at];
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
            self.batch_calls(at, Call::Acknowledge(Acknowledge { agent, task, uuid }));
        }
    }

    /// Its connection is broken, and it notices after a while.
    pub(crate) fn batch_lost(&mut self, at: usize, connection: ConnectionId, wait: Duration) {
        if self.batches[at].connection == Some(connection) {
            self.batches[at].connection = None;
            self.after(wait, Event::BatchDials(at));
        }
    }
}
