//! How the rest of the shell reaches the driver: inputs, calls that wait for an answer, and the
//! streams that events go to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_core::Input;
use agent_core::output::{ExecutorEvent, Refusal};
use bytes::Bytes;
use model::ids::{ConnectionId, RequestId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use transport::http::Encoding;
use transport::records::Records;

use crate::wire;

/// Inputs that may wait for the driver. A batch is taken at a time, so this is several batches; past
/// it calls are refused and the master's stream waits, which holds up the master's sending.
pub(crate) const INPUTS_MAX: usize = 8_192;

/// Reaches the driver. Clones are cheap.
#[derive(Clone)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

struct Shared {
    numbers: AtomicU64,
    answers: Mutex<HashMap<RequestId, oneshot::Sender<Result<(), Refusal>>>>,
    streams: Mutex<HashMap<ConnectionId, Sink>>,
}

/// Where an executor's events go.
pub(crate) enum Sink {
    /// Over HTTP.
    Http(Records, Encoding),
    /// To an imitated executor in this process.
    Here(mpsc::UnboundedSender<ExecutorEvent>),
}

/// Why a call got no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoAnswer {
    /// Too much is waiting already.
    Busy,
    /// The agent is stopping.
    Stopping,
}

impl Handle {
    /// The handle and the driver's end of it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Input>) {
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let shared = Shared {
            numbers: AtomicU64::new(1),
            answers: Mutex::default(),
            streams: Mutex::default(),
        };
        (Self { inputs, shared: Arc::new(shared) }, received)
    }

    /// A number that no request or connection of this agent has had.
    fn number(&self) -> u64 {
        self.shared.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A new connection's number.
    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(self.number())
    }

    /// Hands in an input, when there is room. False: the driver is gone.
    pub(crate) async fn send(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_ok()
    }

    /// Hands in a call, if there is room, and waits for its answer.
    pub(crate) async fn call(
        &self,
        make: impl FnOnce(RequestId) -> Input,
    ) -> Result<Result<(), Refusal>, NoAnswer> {
        let request = RequestId(self.number());
        let (answer, answered) = oneshot::channel();
        self.shared.answers.lock().insert(request, answer);
        if let Err(error) = self.inputs.try_send(make(request)) {
            self.shared.answers.lock().remove(&request);
            return Err(match error {
                mpsc::error::TrySendError::Full(_) => NoAnswer::Busy,
                mpsc::error::TrySendError::Closed(_) => NoAnswer::Stopping,
            });
        }
        answered.await.map_err(|_| NoAnswer::Stopping)
    }

    /// Has events for `connection` go to `sink`.
    pub(crate) fn open(&self, connection: ConnectionId, sink: Sink) {
        self.shared.streams.lock().insert(connection, sink);
    }

    /// Ends a stream once all is read.
    pub(crate) fn close(&self, connection: ConnectionId) {
        // Whoever watches the stream holds a writer too, so dropping this one ends nothing.
        if let Some(Sink::Http(records, _)) = self.shared.streams.lock().remove(&connection) {
            records.end();
        }
    }

    /// For the driver: a call's answer.
    pub(crate) fn answer(&self, request: RequestId, answer: Result<(), Refusal>) {
        if let Some(waiting) = self.shared.answers.lock().remove(&request) {
            // Whoever asked may have gone.
            let _ = waiting.send(answer);
        }
    }

    /// For the driver: an event for an executor. `encode` gives its wire form.
    pub(crate) fn tell(
        &self,
        connection: ConnectionId,
        event: ExecutorEvent,
        encode: impl FnOnce(&ExecutorEvent) -> proto::mesos::v1::executor::Event,
    ) {
        let streams = self.shared.streams.lock();
        match streams.get(&connection) {
            Some(Sink::Http(records, encoding)) => {
                let bytes: Bytes = encoding.encode(&encode(&event));
                // A reader that is gone is noticed by the one who watches the stream.
                let _ = records.send(&bytes);
            }
            Some(Sink::Here(events)) => {
                let _ = events.send(event);
            }
            None => {}
        }
    }

    /// Sends every executor a sign of life.
    pub(crate) fn beat(&self) {
        let beat = wire::heartbeat();
        for sink in self.shared.streams.lock().values() {
            if let Sink::Http(records, encoding) = sink {
                let _ = records.send(&encoding.encode(&beat));
            }
        }
    }

    /// The driver has ended: no call gets an answer any more, and streams end.
    pub(crate) fn abandon(&self) {
        self.shared.answers.lock().clear();
        for (_, sink) in self.shared.streams.lock().drain() {
            if let Sink::Http(records, _) = sink {
                records.end();
            }
        }
    }
}
