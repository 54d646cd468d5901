//! The loop around the core: it feeds it what happens and does what it says, in order.
//!
//! Calls to the master leave in the order of the outputs. The view is published before any answer or
//! event of the same turn goes out, so whoever has an answer reads what it speaks of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_sdk::store::StoreClient;
use framework_sdk::{Client, ClientOptions, EventStream, Handle, SessionEvent};
use marathon_core::Marathon;
use marathon_core::io::{AgentView, Answer, Ask, Command, Input, Output, Refusal};
use marathon_core::view::Change;
use model::ids::{FrameworkId, RequestId};
use model::role::Role;
use model::step::Core;
use proto::mesos::v1::FrameworkInfo;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use transport::identity::Identity;

use crate::clock::Clock;
use crate::election::{Candidate, Leadership};
use crate::events::Bus;
use crate::masters::Masters;
use crate::prober::{Answered, Prober};
use crate::published::Publisher;
use crate::store::{self, Done, Job};
use crate::vault::Vault;

mod calls;
mod heard;
pub(crate) mod reservations;

/// Requests that wait for the core. More are answered as overload.
const REQUESTS_WAITING_MAX: usize = 1_024;

/// Inputs taken in one turn, so that one publication serves many.
const INPUTS_PER_TURN_MAX: usize = 256;

/// Pause before the master is asked again that has refused us.
const RECONNECT_AFTER: Duration = Duration::from_secs(5);

/// How a request ended, absent if this instance stopped leading first.
pub(crate) type Asked = Result<Answer, Refusal>;

/// One request of a user.
pub(crate) struct Request {
    pub(crate) command: Command,
    /// Address of the client.
    pub(crate) client: Arc<str>,
    /// Path of the request.
    pub(crate) uri: Arc<str>,
    pub(crate) answer: oneshot::Sender<Asked>,
}

/// What the driver is made with.
pub(crate) struct Parts {
    pub(crate) core: Marathon,
    pub(crate) clock: Clock,
    pub(crate) publisher: Publisher,
    pub(crate) bus: Bus,
    pub(crate) store: StoreClient,
    pub(crate) candidate: Candidate,
    pub(crate) prober: Prober,
    pub(crate) masters: Arc<Masters>,
    /// What shows the masters who we are.
    pub(crate) identity: Identity,
    /// Who we are at the master, without an id.
    pub(crate) framework: FrameworkInfo,
    /// Our own role, for offers that do not say in which they are made.
    pub(crate) role: Role,
    /// The network that bridges mean.
    pub(crate) bridge: String,
    /// What opens secrets; absent where there is no key.
    pub(crate) vault: Option<Arc<Vault>>,
    pub(crate) stop: CancellationToken,
}

/// Starts the loop. Requests go into what is returned.
pub(crate) fn start(parts: Parts) -> (mpsc::Sender<Request>, JoinHandle<()>) {
    let (requests, requests_rx) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (done, done_rx) = mpsc::unbounded_channel();
    let (agents, agents_rx) = mpsc::unbounded_channel();
    let driver = Driver {
        parts,
        done,
        agents,
        lead: None,
        reconnect: None,
        waiting: BTreeMap::new(),
        requests: 0,
        roles: Vec::new(),
        later: Vec::new(),
        turn: Turn::default(),
    };
    (requests, tokio::spawn(driver.run(requests_rx, done_rx, agents_rx)))
}

struct Driver {
    parts: Parts,
    done: mpsc::UnboundedSender<Done>,
    /// What the master has told of its agents; absent if it does not answer.
    agents: mpsc::UnboundedSender<Option<Vec<AgentView>>>,
    /// Present while the core leads.
    lead: Option<Lead>,
    /// When, and under which id, to subscribe again.
    reconnect: Option<(Instant, Option<FrameworkId>)>,
    waiting: BTreeMap<RequestId, oneshot::Sender<Asked>>,
    requests: u64,
    /// Roles to get offers in.
    roles: Vec<String>,
    /// What has come up while the core's wishes were done.
    later: Vec<Input>,
    turn: Turn,
}

/// What there is only while leading.
struct Lead {
    token: u64,
    jobs: mpsc::UnboundedSender<Job>,
    writer: AbortHandle,
    session: Option<Session>,
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

/// Our subscription. Dropping it closes it, and leaves the framework and its tasks alone.
struct Session {
    handle: Handle,
    events: EventStream,
}

/// What becomes visible at the end of a turn.
#[derive(Default)]
struct Turn {
    changes: Vec<Change>,
    events: Vec<marathon_core::event::Event>,
    answers: Vec<(RequestId, Asked)>,
    steps_down: bool,
}

impl Driver {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut done: mpsc::UnboundedReceiver<Done>,
        mut agents: mpsc::UnboundedReceiver<Option<Vec<AgentView>>>,
    ) {
        let mut leadership = self.parts.candidate.leadership.clone();
        let mut loading: Option<Loading> = None;
        let mut answers = self.parts.prober.answers();
        leadership.mark_changed();
        loop {
            let due = self.parts.core.next_deadline().map(|due| self.parts.clock.instant(due));
            let reconnect = self.reconnect.as_ref().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = self.parts.stop.cancelled() => break,
                changed = leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let now = leadership.borrow_and_update().clone();
                    loading = self.turn_to(&now);
                }
                stored = loaded(&mut loading) => {
                    if let Some(Loading { token, .. }) = loading.take() {
                        self.lead(token, stored);
                    }
                }
                Some(first) = done.recv() => {
                    self.written(first);
                    while let Ok(next) = done.try_recv() {
                        self.written(next);
                    }
                }
                Some(Answered { task, status, response }) = answers.recv() => {
                    self.step(Input::Probed { task, status, response });
                }
                Some(all) = agents.recv() => self.step(Input::Agents(all)),
                event = next_event(&mut self.lead) => self.heard(event),
                request = requests.recv() => {
                    let Some(first) = request else { break };
                    self.asked(first);
                    for _ in 1..INPUTS_PER_TURN_MAX {
                        let Ok(next) = requests.try_recv() else { break };
                        self.asked(next);
                    }
                }
                () = sleep_until(due) => {
                    let mut out = Vec::new();
                    self.parts.core.wake(self.parts.clock.now(), &mut out);
                    self.act(out);
                }
                () = sleep_until(reconnect) => {
                    if let Some((_, id)) = self.reconnect.take() {
                        self.subscribe(id.as_ref());
                    }
                }
            }
            self.end_turn();
        }
        self.depose();
        self.end_turn();
    }

    /// Follows the election. What it begins to load, if it now leads.
    fn turn_to(&mut self, leadership: &Leadership) -> Option<Loading> {
        self.depose();
        let Leadership::Leads(token) = *leadership else { return None };
        let task = tokio::spawn(store::load(self.parts.store.clone()));
        Some(Loading { token, task })
    }

    fn lead(&mut self, token: u64, stored: Vec<(String, Vec<u8>)>) {
        let (jobs, jobs_rx) = mpsc::unbounded_channel();
        let writing = store::write(self.parts.store.clone(), token, jobs_rx, self.done.clone());
        let writer = tokio::spawn(writing).abort_handle();
        self.lead = Some(Lead { token, jobs, writer, session: None });
        self.step(Input::Lead { stored });
    }

    /// Nothing is done in the leader's name any more.
    fn depose(&mut self) {
        self.reconnect = None;
        if self.lead.take().is_some() {
            self.step(Input::Depose);
            // Whoever waits is told by the closed channel.
            self.waiting.clear();
            self.parts.bus.close_all();
        }
    }

    fn written(&mut self, done: Done) {
        if self.lead.as_ref().is_none_or(|lead| lead.token != done.token) {
            return;
        }
        for write in done.writes {
            if done.is_safe {
                self.step(Input::Committed { write });
            } else {
                self.step(Input::CommitFailed { write });
            }
        }
        self.turn.steps_down |= !done.is_safe;
    }

    fn asked(&mut self, request: Request) {
        if self.lead.is_none() {
            // Dropping the answer's channel tells it.
            return;
        }
        let Request { command, client, uri, answer } = request;
        let request = RequestId(self.requests);
        self.requests += 1;
        self.waiting.insert(request, answer);
        self.step(Input::Ask(Ask { request, client, uri, command }));
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.parts.core.step(input, self.parts.clock.now(), &mut out);
        self.act(out);
        while let Some(input) = self.later.pop() {
            let mut out = Vec::new();
            self.parts.core.step(input, self.parts.clock.now(), &mut out);
            self.act(out);
        }
    }

    fn act(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Store { write, puts } => {
                    if let Some(lead) = &self.lead {
                        // A writer that has ended has said why.
                        let _ = lead.jobs.send(Job { write, puts });
                    }
                }
                Output::Probe(probe) => self.parts.prober.ask(probe),
                Output::AskAgents => self.ask_agents(),
                Output::StepDown => self.turn.steps_down = true,
                Output::Subscribe { framework, roles } => {
                    self.roles = roles.iter().map(ToString::to_string).collect();
                    self.subscribe(framework.as_ref());
                }
                Output::Answer { request, answer } => self.turn.answers.push((request, answer)),
                Output::Event(event) => self.turn.events.push(event),
                Output::View(change) => self.turn.changes.push(change),
                output @ (Output::Accept { .. }
                | Output::AcceptInverse { .. }
                | Output::Roles { .. }
                | Output::Decline { .. }
                | Output::Revive
                | Output::Suppress
                | Output::Kill { .. }
                | Output::Acknowledge { .. }
                | Output::Reconcile(_)) => self.call(output),
            }
        }
    }

    fn end_turn(&mut self) {
        let Turn { changes, events, answers, steps_down } = std::mem::take(&mut self.turn);
        self.parts.publisher.publish(changes);
        for event in events {
            self.parts.bus.emit(event);
        }
        for (request, answer) in answers {
            if let Some(waiting) = self.waiting.remove(&request) {
                // Whoever asked may have gone.
                let _ = waiting.send(answer);
            }
        }
        if steps_down && self.lead.is_some() {
            tracing::warn!("stepping down");
            self.depose();
            self.parts.candidate.step_down();
            self.end_turn();
        }
    }

    fn subscribe(&mut self, framework: Option<&FrameworkId>) {
        let info = self.info(framework.map(Into::into));
        let Some(lead) = &mut self.lead else { return };
        let options = ClientOptions {
            // Updates are confirmed once they are stored.
            auto_acknowledge: false,
            identity: self.parts.identity.clone(),
            ..ClientOptions::new(self.parts.store.masters(), info)
        };
        let (handle, events) = Client::connect(options);
        lead.session = Some(Session { handle, events });
    }

    /// Who we are at the master.
    fn info(&self, id: Option<proto::mesos::v1::FrameworkId>) -> FrameworkInfo {
        FrameworkInfo { id, roles: self.roles.clone(), ..self.parts.framework.clone() }
    }
}

/// The state being read.
struct Loading {
    token: u64,
    task: JoinHandle<Vec<(String, Vec<u8>)>>,
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn loaded(loading: &mut Option<Loading>) -> Vec<(String, Vec<u8>)> {
    match loading {
        Some(loading) => match (&mut loading.task).await {
            Ok(stored) => stored,
            // It neither panics nor is it aborted while it is held.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn next_event(lead: &mut Option<Lead>) -> SessionEvent {
    let session = lead.as_mut().and_then(|lead| lead.session.as_mut());
    match session {
        Some(session) => match session.events.next().await {
            Some(event) => event,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
