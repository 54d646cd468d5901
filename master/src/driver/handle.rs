//! How the tasks around the core reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use master_core::explain::{Explaining, Explanation, Progress, Unknown};
use master_core::figures::Figures;
use master_core::{Done, Input, Refusal};
use model::call::Subscribe;
use model::event::SchedulerEvent;
use model::ids::{AgentId, ConnectionId, FrameworkId, RequestId, StreamId};
use model::link::ToAgent;
use tokio::sync::{mpsc, oneshot};
use transport::http::Refused;

use super::watchers::Notes;
use crate::connections::{Connections, Numbers, Queue};
use crate::leadership::Standing;
use crate::view::Picture;

/// Inputs that may wait for the core. It takes about a microsecond for each, so this is a fraction
/// of a second; past it, calls are refused and links are slowed down.
pub(super) const INPUTS_MAX: usize = 65_536;

/// Events that may wait to be encoded for one framework: an implicit reconciliation sends one for
/// each of its tasks in one go.
const SCHEDULER_EVENTS_MAX: usize = 65_536;

/// Messages that may wait to be encoded for one agent: the end of a framework kills all its tasks.
const AGENT_MESSAGES_MAX: usize = 16_384;

/// What reaches the driver.
pub(super) enum Ask {
    /// Something happened; nobody waits for an answer.
    Input(Input),
    /// A call, and who waits for how it went.
    Call(RequestId, Input, oneshot::Sender<Result<Done, Refusal>>),
    /// A subscription, and who waits for its stream's id.
    Subscribe(RequestId, ConnectionId, Input, oneshot::Sender<Result<StreamId, Refusal>>),
    /// A question about a framework's offers.
    Explain(Explaining, oneshot::Sender<Result<Progress, Unknown>>),
    /// Numbers for whoever watches.
    Figures(oneshot::Sender<Arc<Figures>>),
    /// An operator that waits for the snapshot and the notes that follow it.
    Watch(RequestId, oneshot::Sender<Watching>),
}

/// An operator's view of the cluster, without a gap between snapshot and notes.
pub(crate) struct Watching {
    /// What there is.
    pub picture: Picture,
    /// What happens from then on.
    pub notes: Notes,
}

/// A framework's subscription.
pub(crate) struct Subscribed {
    /// Which connection it is; absent if the core knows of none.
    pub connection: Option<ConnectionId>,
    /// What calls must carry.
    pub stream: StreamId,
    /// What the framework is to hear. Ends when the subscription does.
    pub events: Queue<SchedulerEvent>,
}

/// Sends inputs to the core, and holds the queues of what it says.
#[derive(Clone)]
pub(crate) struct Handle {
    asks: mpsc::Sender<Ask>,
    numbers: Arc<Numbers>,
    /// How many of what waits are requests.
    requests: Arc<AtomicUsize>,
    pub(super) schedulers: Arc<Connections<SchedulerEvent>>,
    pub(super) agents: Arc<Connections<ToAgent>>,
}

/// A call that is with the core, unless there was no room.
pub(crate) struct Asked(Result<oneshot::Receiver<Result<Done, Refusal>>, Refused>);

impl Asked {
    /// Waits for how it went.
    pub(crate) async fn answer(self) -> Result<Done, Refused> {
        let result = self.0?.await.map_err(|_| gone())?;
        result.map_err(|refusal| refused(&refusal))
    }
}

/// Why a call did not even reach the core.
fn overloaded() -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "The master is overloaded; try again later")
}

fn gone() -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "No leader elected")
}

/// As clients read it.
pub(crate) fn refused(refusal: &Refusal) -> Refused {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    Refused::new(status, refusal.to_string())
}

impl Handle {
    pub(super) fn new(standing: &Standing) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(INPUTS_MAX);
        let handle = Self {
            asks,
            numbers: Arc::default(),
            requests: Arc::default(),
            schedulers: Arc::new(Connections::new(
                "scheduler",
                SCHEDULER_EVENTS_MAX,
                standing.clone(),
            )),
            agents: Arc::new(Connections::new("agent", AGENT_MESSAGES_MAX, standing.clone())),
        };
        (handle, receiver)
    }

    /// How many requests wait, and how many other inputs.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let all = self.asks.max_capacity() - self.asks.capacity();
        // The two are not read at one moment.
        let requests = self.requests.load(Ordering::Relaxed).min(all);
        (requests, all - requests)
    }

    /// Queues a request, if there is room.
    fn request(&self, ask: Ask) -> Result<(), Refused> {
        // Before the driver can take it out.
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.asks.try_send(ask).map_err(|_| {
            self.request_taken();
            overloaded()
        })
    }

    /// A request does not wait any more.
    pub(super) fn request_taken(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells the core; waits while it is busy. What is told to a core that is gone is lost.
    pub(crate) async fn tell(&self, input: Input) {
        let _ = self.asks.send(Ask::Input(input)).await;
    }

    /// Has the core carry out a call. `input` is made with the number of the request.
    pub(crate) async fn call(
        &self,
        input: impl FnOnce(RequestId) -> Input,
    ) -> Result<Done, Refused> {
        self.ask(input).answer().await
    }

    /// Queues a call for the core, whose answer can be waited for later.
    pub(crate) fn ask(&self, input: impl FnOnce(RequestId) -> Input) -> Asked {
        let request = RequestId(self.numbers.next());
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Call(request, input(request), answer);
        Asked(self.request(ask).map(|()| answered))
    }

    /// Why a framework has the offers that it has, of all agents or of one.
    pub(crate) async fn explain(
        &self,
        id: FrameworkId,
        agent: Option<AgentId>,
    ) -> Result<Result<Explanation, Unknown>, Refused> {
        let mut explaining = Explaining::new(id, agent);
        // In parts, so that what others ask for meanwhile need not wait for the whole.
        loop {
            let (answer, answered) = oneshot::channel();
            self.request(Ask::Explain(explaining, answer))?;
            match answered.await.map_err(|_| gone())? {
                Ok(Progress::Part(part)) => explaining = part,
                Ok(Progress::Whole(whole)) => return Ok(Ok(whole)),
                Err(unknown) => return Ok(Err(unknown)),
            }
        }
    }

    /// How the core stands, in numbers.
    pub(crate) async fn figures(&self) -> Result<Arc<Figures>, Refused> {
        let (answer, answered) = oneshot::channel();
        self.request(Ask::Figures(answer))?;
        answered.await.map_err(|_| gone())
    }

    /// Subscribes a framework.
    pub(crate) async fn subscribe(
        &self,
        call: Subscribe,
        principal: Option<Arc<str>>,
    ) -> Result<Subscribed, Refused> {
        let request = RequestId(self.numbers.next());
        let connection = ConnectionId(self.numbers.next());
        // The queue must be there before the first event.
        let events = self.schedulers.open(connection);
        let input = Input::Subscribe { connection, request, call, principal };
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Subscribe(request, connection, input, answer);
        let result = match self.request(ask) {
            Ok(()) => match answered.await {
                Ok(Ok(stream)) => {
                    let connection = Some(connection);
                    return Ok(Subscribed { connection, stream, events });
                }
                Ok(Err(refusal)) => Err(refused(&refusal)),
                Err(_) => Err(gone()),
            },
            Err(full) => Err(full),
        };
        self.schedulers.close(connection);
        result
    }

    /// A number for the link of an agent, and what the agent is to hear. The core is yet to be told.
    pub(crate) fn new_link(&self) -> (ConnectionId, Queue<ToAgent>) {
        let connection = ConnectionId(self.numbers.next());
        (connection, self.agents.open(connection))
    }

    /// A link has ended.
    pub(crate) async fn close_link(&self, connection: ConnectionId) {
        self.agents.close(connection);
        self.tell(Input::AgentGone { connection }).await;
    }

    /// A framework's connection has ended.
    pub(crate) async fn close_scheduler(&self, connection: Option<ConnectionId>) {
        let Some(connection) = connection else { return };
        self.schedulers.close(connection);
        self.tell(Input::SchedulerGone { connection }).await;
    }

    /// Starts to watch.
    pub(crate) async fn watch(&self) -> Result<Watching, Refused> {
        let request = RequestId(self.numbers.next());
        let (answer, answered) = oneshot::channel();
        self.request(Ask::Watch(request, answer))?;
        answered.await.map_err(|_| gone())
    }
}
