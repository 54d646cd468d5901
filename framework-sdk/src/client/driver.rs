//! The loop around the session core.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use framework_core::session::{Input, Options, Output, Session};
use model::step::{Core, Now, Time, Timestamp};
use proto::mesos::v1::scheduler::{Call, Event, call, event};
use proto::mesos::v1::{FrameworkId, FrameworkInfo, MasterInfo};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, Incoming};
use super::{CallError, ClientOptions, Command, Request, SessionEvent, Told};
use crate::calls;

/// Events that wait for the author's code before the master's stream is left unread. Answers to
/// gRPC calls come behind the events, so the bound leaves much room for code that awaits an answer
/// before it takes the next event.
const OUTBOX_MAX: usize = 65_536;

/// Calls that wait here for room on the connection. Past it neither events nor further calls are taken:
/// an event may bring an acknowledgement, which must not be lost. It is as large as the outbox, since
/// over gRPC a master that cannot get rid of its answers takes no calls: who stops reading because it
/// cannot write may wait for ever.
const CALLS_HELD_MAX: usize = 65_536;

/// Messages of connections that wait for this loop.
const INCOMING_WAITING_MAX: usize = 1_024;

/// How long a connection attempt may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Runs one session to its end.
pub(crate) async fn drive(
    options: ClientOptions,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<SessionEvent>,
    told: Told,
) {
    let (incoming, mut incoming_rx) = mpsc::channel(INCOMING_WAITING_MAX);
    let mut driver = Driver::new(options, incoming, told);
    driver.step(Input::Start);
    let mut handles_left = true;
    while !(driver.is_over && driver.outbox.is_empty()) {
        let calls_full = driver.calls.len() >= CALLS_HELD_MAX;
        let is_full = driver.outbox.len() >= OUTBOX_MAX || calls_full;
        let has_calls = !driver.calls.is_empty();
        let room = has_calls.then(|| driver.connection.as_ref().map(Connection::room)).flatten();
        let due = driver.session.next_deadline().map(|due| driver.started + due.0);
        tokio::select! {
            biased;
            () = events.closed() => return,
            permit = events.reserve(), if !driver.outbox.is_empty() => {
                if let (Ok(permit), Some(event)) = (permit, driver.outbox.pop_front()) {
                    permit.send(event);
                }
            }
            room = wait_for(room), if has_calls => driver.send_first(room),
            message = incoming_rx.recv(), if !is_full && !driver.is_over => {
                driver.incoming(message.expect("the driver holds a sender itself"));
            }
            command = commands.recv(), if handles_left && !calls_full => match command {
                Some(Command::Call(request)) => driver.call(*request),
                Some(Command::Stop) => driver.step(Input::Stop),
                None => handles_left = false,
            },
            () = sleep_until(due), if !is_full => {
                let now = driver.now();
                let mut out = Vec::new();
                driver.session.wake(now, &mut out);
                driver.act(out);
            }
        }
    }
}

/// Waits for room on a connection, if there is one. `None`: there is no connection to wait for.
async fn wait_for(
    room: Option<impl Future<Output = Option<OwnedPermit<Request>>>>,
) -> Option<OwnedPermit<Request>> {
    match room {
        Some(room) => room.await,
        None => None,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

struct Driver {
    session: Session,
    options: ClientOptions,
    http: reqwest::Client,
    started: Instant,
    incoming: mpsc::Sender<Incoming>,
    told: Told,
    connection: Option<Connection>,
    is_subscribed: bool,
    is_over: bool,
    /// Roles that are suppressed now, so that a new subscription begins with them.
    suppressed: BTreeSet<String>,
    /// What SUBSCRIBED said of the master.
    master: Option<MasterInfo>,
    outbox: VecDeque<SessionEvent>,
    /// Calls that wait for room on the present connection.
    calls: VecDeque<Request>,
}

impl Driver {
    fn new(options: ClientOptions, incoming: mpsc::Sender<Incoming>, told: Told) -> Self {
        let known = options.framework.id.as_ref();
        let session = Session::new(Options {
            masters: options.masters.iter().map(|master| master.as_str().into()).collect(),
            // An id that is none counts as absent, as masters have it.
            framework: known.and_then(|id| model::ids::FrameworkId::new(id.value.as_str()).ok()),
            backoff_first: options.backoff_first,
            backoff_max: options.backoff_max,
            answer_within: options.answer_within,
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        });
        let http = options
            .identity
            .http()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .build()
            .expect("nothing in these settings can fail");
        let suppressed = options.suppressed_roles.iter().cloned().collect();
        Self {
            session,
            options,
            http,
            started: Instant::now(),
            incoming,
            told,
            connection: None,
            is_subscribed: false,
            is_over: false,
            suppressed,
            master: None,
            outbox: VecDeque::new(),
            calls: VecDeque::new(),
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX));
        Now { time: Time(self.started.elapsed()), wall }
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.session.step(input, self.now(), &mut out);
        self.act(out);
    }

    fn act(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Connect { attempt, master, framework } => {
                    let id = framework.map(|id| FrameworkId { value: id.to_string() });
                    let info = FrameworkInfo { id, ..self.options.framework.clone() };
                    let suppressed = self.suppressed.iter().cloned().collect();
                    self.connection = Some(Connection::open(
                        self.options.protocol,
                        &self.options.identity,
                        &self.http,
                        attempt,
                        &master,
                        calls::subscribe(info, suppressed),
                        self.incoming.clone(),
                    ));
                }
                Output::Disconnect { .. } => self.disconnect(),
                Output::Connected { framework, again, .. } => {
                    self.is_subscribed = true;
                    let framework = FrameworkId { value: framework.to_string() };
                    self.told.id.send_replace(Some(framework.clone()));
                    if let Some(link) = &mut self.connection {
                        link.watch_masters(self.options.identity.clone(), self.incoming.clone());
                    }
                    let address = self.connection.as_ref().map(|link| link.master.clone());
                    let address = address.unwrap_or_default();
                    let master = self.master.take().map(Box::new);
                    let subscribed = SessionEvent::Subscribed { framework, again, master, address };
                    self.outbox.push_back(subscribed);
                }
                Output::Disconnected { why } => {
                    self.disconnect();
                    self.outbox.push_back(SessionEvent::Disconnected { why });
                }
                Output::End(end) => {
                    self.is_over = true;
                    self.disconnect();
                    self.outbox.push_back(SessionEvent::Ended(end));
                }
            }
        }
    }

    fn incoming(&mut self, message: Incoming) {
        match message {
            Incoming::Event(attempt, event) => self.event(attempt, event),
            Incoming::Masters(attempt, masters) => {
                let is_present = self.connection.as_ref().is_some_and(|it| it.attempt == attempt);
                if is_present && !masters.addresses.is_empty() {
                    let addresses = masters.addresses.iter().map(ToString::to_string).collect();
                    self.told.masters.send_replace(addresses);
                }
                self.step(Input::Masters { attempt, masters });
            }
            Incoming::Failed(attempt, failure) => {
                tracing::debug!(?failure, "not subscribed");
                self.step(Input::Failed { attempt, failure });
            }
            Incoming::Closed(attempt, why) => self.step(Input::Closed { attempt, why }),
        }
    }

    fn event(&mut self, attempt: u64, mut event: Box<Event>) {
        let is_present = self.connection.as_ref().is_some_and(|link| link.attempt == attempt);
        if !is_present {
            return;
        }
        match event.r#type() {
            event::Type::Subscribed => {
                let Some(subscribed) = event.subscribed.take() else { return };
                let Ok(framework) = model::ids::FrameworkId::new(subscribed.framework_id.value)
                else {
                    let why = "the master gave an id that is none".to_owned();
                    return self.step(Input::Closed { attempt, why });
                };
                let heartbeat = subscribed.heartbeat_interval_seconds;
                let heartbeat = heartbeat.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
                self.master = subscribed.master_info;
                self.step(Input::Subscribed { attempt, framework, heartbeat });
            }
            event::Type::Heartbeat => self.step(Input::Heard { attempt }),
            event::Type::Error => {
                let message = event.error.take().map(|error| error.message).unwrap_or_default();
                self.step(Input::Error { attempt, message });
            }
            event::Type::Unknown
            | event::Type::Offers
            | event::Type::InverseOffers
            | event::Type::Rescind
            | event::Type::RescindInverseOffer
            | event::Type::Update
            | event::Type::UpdateOperationStatus
            | event::Type::Message
            | event::Type::Failure => {
                self.step(Input::Heard { attempt });
                self.hand_out(event);
            }
        }
    }

    fn hand_out(&mut self, event: Box<Event>) {
        let of_task = || calls::acknowledge(&event.update.as_ref()?.status);
        let of_operation =
            || calls::acknowledge_operation(&event.update_operation_status.as_ref()?.status);
        let acknowledge =
            self.options.auto_acknowledge.then(|| of_task().or_else(of_operation)).flatten();
        self.outbox.push_back(SessionEvent::Event(event));
        if let Some(call) = acknowledge {
            // The answer does not matter: an update that is not confirmed comes again.
            let (answer, _) = oneshot::channel();
            self.call(Request { call, answer });
        }
    }

    fn call(&mut self, mut request: Request) {
        self.remember(&request.call);
        if self.connection.is_none() || !self.is_subscribed {
            self.refuse(request);
            return;
        }
        request.call.framework_id.clone_from(&self.told.id.borrow());
        self.calls.push_back(request);
    }

    /// Tells whoever made a call that it was not sent. Nobody may be waiting for it.
    fn refuse(&self, request: Request) {
        let why = if self.is_over { CallError::Ended } else { CallError::NotConnected };
        let _ = request.answer.send(Err(why));
    }

    /// Sends the call that waits first; without room, because the connection has ended, none can be.
    fn send_first(&mut self, room: Option<OwnedPermit<Request>>) {
        let Some(request) = self.calls.pop_front() else { return };
        match room {
            Some(room) => {
                room.send(request);
            }
            None => self.refuse(request),
        }
    }

    /// The connection is of no use any more, and neither are the calls that wait for it.
    fn disconnect(&mut self) {
        self.is_subscribed = false;
        self.connection = None;
        for request in std::mem::take(&mut self.calls) {
            self.refuse(request);
        }
    }

    /// Notes what the next subscription is to begin with.
    fn remember(&mut self, call: &Call) {
        let named = |roles: Option<&Vec<String>>| roles.cloned().unwrap_or_default();
        match call.r#type() {
            call::Type::Suppress => {
                let roles = named(call.suppress.as_ref().map(|suppress| &suppress.roles));
                let all = roles.is_empty();
                let roles = if all { self.options.framework.roles.clone() } else { roles };
                self.suppressed.extend(roles);
            }
            call::Type::Revive => {
                let roles = named(call.revive.as_ref().map(|revive| &revive.roles));
                if roles.is_empty() {
                    self.suppressed.clear();
                }
                self.suppressed.retain(|role| !roles.contains(role));
            }
            call::Type::UpdateFramework => {
                if let Some(update) = &call.update_framework {
                    self.options.framework = update.framework_info.clone();
                    self.suppressed = update.suppressed_roles.iter().cloned().collect();
                }
            }
            call::Type::Unknown
            | call::Type::Subscribe
            | call::Type::Teardown
            | call::Type::Accept
            | call::Type::Decline
            | call::Type::AcceptInverseOffers
            | call::Type::DeclineInverseOffers
            | call::Type::Kill
            | call::Type::Shutdown
            | call::Type::Acknowledge
            | call::Type::AcknowledgeOperationStatus
            | call::Type::Reconcile
            | call::Type::ReconcileOperations
            | call::Type::Message
            | call::Type::Request => {}
        }
    }
}
