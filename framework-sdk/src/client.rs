//! A framework's subscription: events come out, calls go in, masters come and go.

mod connection;
mod driver;
mod grpc;
mod http;
mod masters;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use framework_core::session::End;
use futures::Stream;
use proto::mesos::v1::offer::Operation;
use proto::mesos::v1::scheduler::{Call, Event};
use proto::mesos::v1::{
    AgentId, ExecutorId, FrameworkId, FrameworkInfo, MasterInfo, OfferId, OperationId,
    OperationStatus, TaskId, TaskStatus,
};
use tokio::sync::{mpsc, oneshot, watch};
use transport::identity::Identity;

use crate::calls;

/// Calls that may wait to be sent. Past it they are refused as [`CallError::Overloaded`].
const CALLS_WAITING_MAX: usize = 16_384;

/// Events handed over before the author's code has to take some.
const EVENTS_WAITING_MAX: usize = 1_024;

/// How the client talks to masters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Protocol {
    /// The Mesos HTTP API in JSON.
    HttpJson,
    /// The Mesos HTTP API in binary protobuf.
    #[default]
    HttpProtobuf,
    /// Both directions on one gRPC stream.
    Grpc,
}

/// How a framework subscribes.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The masters (`host:port`), in any order. At least one.
    pub masters: Vec<String>,
    /// Who the framework is. With an id if it has been subscribed before: a framework that wants
    /// its tasks to outlive its process must keep it.
    pub framework: FrameworkInfo,
    /// How to talk.
    pub protocol: Protocol,
    /// What shows the masters who it is.
    pub identity: Identity,
    /// Roles to get no offers for at first.
    pub suppressed_roles: Vec<String>,
    /// Whether updates of tasks and operations are confirmed as soon as they are handed out. A
    /// framework that stores what it hears leaves this off and confirms when it has.
    pub auto_acknowledge: bool,
    /// About how long to wait after the first failure to subscribe; doubled with each further one.
    pub backoff_first: Duration,
    /// The longest wait between tries.
    pub backoff_max: Duration,
    /// How long a master may take to answer SUBSCRIBE.
    pub answer_within: Duration,
}

impl ClientOptions {
    /// `framework` on `masters`, and everything else as most want it.
    pub fn new(masters: Vec<String>, framework: FrameworkInfo) -> Self {
        Self {
            masters,
            framework,
            protocol: Protocol::default(),
            identity: Identity::default(),
            suppressed_roles: Vec::new(),
            auto_acknowledge: true,
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            answer_within: Duration::from_secs(10),
        }
    }
}

/// What a framework hears.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// It is subscribed. What was offered before is void.
    Subscribed {
        /// Its id.
        framework: FrameworkId,
        /// Whether it has been subscribed before in this session.
        again: bool,
        /// Who the master says it is.
        master: Option<Box<MasterInfo>>,
        /// Where the master was reached: `host:port`.
        address: String,
    },
    /// An event of the master: all but SUBSCRIBED, HEARTBEAT and ERROR.
    Event(Box<Event>),
    /// The master is gone; the search for the leader has begun.
    Disconnected {
        /// Why, for people.
        why: String,
    },
    /// The session is over. Nothing comes after it.
    Ended(End),
}

/// Why a call was not, or perhaps not, carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallError {
    /// There is no master at the moment; the call was not sent.
    #[error("not connected to a leading master; the call was not sent")]
    NotConnected,
    /// The master has refused it.
    #[error("refused with status {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The master's words.
        reason: String,
    },
    /// The connection broke before the answer: nobody knows whether it was carried out.
    #[error("the connection was lost before the call was answered")]
    Interrupted,
    /// Too many calls wait already; this one was not sent.
    #[error("too many calls are waiting; the call was not sent")]
    Overloaded,
    /// The session is over; the call was not sent.
    #[error("the session is over; the call was not sent")]
    Ended,
}

/// One call on its way.
pub(crate) struct Request {
    pub(crate) call: Call,
    pub(crate) answer: oneshot::Sender<Result<(), CallError>>,
}

/// What handles are told by the driver.
pub(crate) struct Told {
    pub(crate) id: watch::Sender<Option<FrameworkId>>,
    pub(crate) masters: watch::Sender<Vec<String>>,
}

/// What a handle asks of the driver.
pub(crate) enum Command {
    Call(Box<Request>),
    Stop,
}

/// Where subscriptions begin.
#[derive(Debug)]
pub struct Client;

impl Client {
    /// Begins to subscribe, and keeps at it until the stream is dropped or [`Handle::stop`] is
    /// called; neither ends the framework, only [`Handle::teardown`] does.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Panics
    ///
    /// Without any master.
    pub fn connect(options: ClientOptions) -> (Handle, EventStream) {
        assert!(!options.masters.is_empty(), "a framework needs a master to talk to");
        transport::install_tls_provider();
        let (commands, commands_rx) = mpsc::channel(CALLS_WAITING_MAX);
        let (events, events_rx) = mpsc::channel(EVENTS_WAITING_MAX);
        let (id, id_rx) = watch::channel(options.framework.id.clone());
        let (masters, masters_rx) = watch::channel(options.masters.clone());
        tokio::spawn(driver::drive(options, commands_rx, events, Told { id, masters }));
        (Handle { commands, id: id_rx, masters: masters_rx }, EventStream { events: events_rx })
    }
}

/// What a framework hears, in order. Dropping it ends the session.
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::Receiver<SessionEvent>,
}

impl EventStream {
    /// The next event; nothing after the session has ended.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        self.events.recv().await
    }
}

impl Stream for EventStream {
    type Item = SessionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SessionEvent>> {
        self.events.poll_recv(cx)
    }
}

/// Sends calls. Cheap to clone; calls leave in the order they were submitted.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    id: watch::Receiver<Option<FrameworkId>>,
    masters: watch::Receiver<Vec<String>>,
}

/// The answer to a call, when it comes. The call is sent whether this is awaited or not.
#[derive(Debug)]
#[must_use = "a refusal is only seen by awaiting this; drop it if that does not matter"]
pub struct Submitted {
    answer: oneshot::Receiver<Result<(), CallError>>,
}

impl Future for Submitted {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        // Whoever held the other end is gone, and the connection with it.
        Poll::Ready(answer.unwrap_or(Err(CallError::Interrupted)))
    }
}

impl Handle {
    /// The framework's id, once the master has given one.
    pub fn framework_id(&self) -> Option<FrameworkId> {
        self.id.borrow().clone()
    }

    /// Where the masters are: as the last leading one has said, before that as the options have it. All may
    /// be others in time, so whoever can should keep it for the next start, as with
    /// [`MastersFile`](crate::masters_file::MastersFile). It closes with the session.
    pub fn watch_masters(&self) -> watch::Receiver<Vec<String>> {
        self.masters.clone()
    }

    /// Queues `call` behind those submitted before. Its `framework_id` is filled in.
    pub fn submit(&self, call: Call) -> Submitted {
        let (answer, answered) = oneshot::channel();
        let command = Command::Call(Box::new(Request { call, answer }));
        if let Err(error) = self.commands.try_send(command) {
            let (why, command) = match error {
                mpsc::error::TrySendError::Full(command) => (CallError::Overloaded, command),
                mpsc::error::TrySendError::Closed(command) => (CallError::Ended, command),
            };
            if let Command::Call(request) = command {
                // The other end is in this function's own hands.
                let _ = request.answer.send(Err(why));
            }
        }
        Submitted { answer: answered }
    }

    /// Sends `call` and waits for the master's answer, which is only that it was understood.
    pub async fn call(&self, call: Call) -> Result<(), CallError> {
        self.submit(call).await
    }

    /// Uses offers.
    pub async fn accept(
        &self,
        offers: impl IntoIterator<Item = OfferId>,
        operations: Vec<Operation>,
        refuse_for: Option<Duration>,
    ) -> Result<(), CallError> {
        self.call(calls::accept(offers, operations, refuse_for)).await
    }

    /// Gives offers back.
    pub async fn decline(
        &self,
        offers: impl IntoIterator<Item = OfferId>,
        refuse_for: Option<Duration>,
    ) -> Result<(), CallError> {
        self.call(calls::decline(offers, refuse_for)).await
    }

    /// Ends a task.
    pub async fn kill(
        &self,
        task: TaskId,
        agent: Option<AgentId>,
        grace: Option<Duration>,
    ) -> Result<(), CallError> {
        self.call(calls::kill(task, agent, grace)).await
    }

    /// Confirms an update, if it needs that.
    pub async fn acknowledge(&self, status: &TaskStatus) -> Result<(), CallError> {
        match calls::acknowledge(status) {
            Some(call) => self.call(call).await,
            None => Ok(()),
        }
    }

    /// Asks for the state of these tasks; of all, if there are none.
    pub async fn reconcile(
        &self,
        tasks: impl IntoIterator<Item = (TaskId, Option<AgentId>)>,
    ) -> Result<(), CallError> {
        self.call(calls::reconcile(tasks)).await
    }

    /// Confirms the report of an operation, if it needs that.
    pub async fn acknowledge_operation(&self, status: &OperationStatus) -> Result<(), CallError> {
        match calls::acknowledge_operation(status) {
            Some(call) => self.call(call).await,
            None => Ok(()),
        }
    }

    /// Asks how far these operations are; all that there are, if none is named. The answers are events.
    pub async fn reconcile_operations(
        &self,
        operations: impl IntoIterator<Item = (OperationId, Option<AgentId>)>,
    ) -> Result<(), CallError> {
        self.call(calls::reconcile_operations(operations)).await
    }

    /// Asks for offers again.
    pub async fn revive(&self, roles: Vec<String>) -> Result<(), CallError> {
        self.call(calls::revive(roles)).await
    }

    /// Asks for no more offers.
    pub async fn suppress(&self, roles: Vec<String>) -> Result<(), CallError> {
        self.call(calls::suppress(roles)).await
    }

    /// Hands bytes to an executor.
    pub async fn message(
        &self,
        agent: AgentId,
        executor: ExecutorId,
        data: Bytes,
    ) -> Result<(), CallError> {
        self.call(calls::message(agent, executor, data)).await
    }

    /// Ends the framework and all its tasks.
    pub async fn teardown(&self) -> Result<(), CallError> {
        self.call(calls::teardown()).await
    }

    /// Leaves the master alone from now on. The framework and its tasks stay, for as long as its
    /// failover timeout says.
    pub async fn stop(&self) {
        // If nobody listens the session is over already.
        let _ = self.commands.send(Command::Stop).await;
    }
}
