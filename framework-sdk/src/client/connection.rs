//! What both protocols have in common: one try to subscribe, and what comes of it.

use framework_core::session::Failure;
use model::search::Masters;
use proto::agora::v1::MasterList;
use proto::convert;
use proto::mesos::v1::scheduler::{Call, Event};
use tokio::sync::mpsc;
use tokio::sync::mpsc::OwnedPermit;
use tokio::task::JoinHandle;
use transport::identity::Identity;

use super::{Protocol, Request, grpc, http, masters};

/// Calls that wait to be written to one connection: enough to keep it busy.
const CALLS_WAITING_MAX: usize = 256;

/// What a connection tells the driver.
pub(crate) enum Incoming {
    /// An event, of the try with this number.
    Event(u64, Box<Event>),
    /// Where the masters are.
    Masters(u64, Masters),
    /// The subscription failed.
    Failed(u64, Failure),
    /// The stream has ended.
    Closed(u64, String),
}

/// One try to subscribe and, if it succeeds, the connection. Dropping it closes it.
pub(crate) struct Connection {
    pub(crate) attempt: u64,
    pub(crate) master: String,
    calls: mpsc::Sender<Request>,
    task: JoinHandle<()>,
    watch: Option<JoinHandle<()>>,
}

impl Connection {
    pub(crate) fn open(
        protocol: Protocol,
        identity: &Identity,
        http: &reqwest::Client,
        attempt: u64,
        master: &str,
        subscribe: Call,
        incoming: mpsc::Sender<Incoming>,
    ) -> Self {
        let (calls, calls_rx) = mpsc::channel(CALLS_WAITING_MAX);
        let link = Link { attempt, master: master.to_owned(), incoming };
        let base = format!("{}://{master}", identity.scheme());
        let task = match protocol {
            Protocol::HttpJson => {
                let encoding = transport::http::Encoding::Json;
                tokio::spawn(http::run(http.clone(), encoding, base, link, subscribe, calls_rx))
            }
            Protocol::HttpProtobuf => {
                let encoding = transport::http::Encoding::Protobuf;
                tokio::spawn(http::run(http.clone(), encoding, base, link, subscribe, calls_rx))
            }
            Protocol::Grpc => tokio::spawn(grpc::run(identity.clone(), link, subscribe, calls_rx)),
        };
        Self { attempt, master: master.to_owned(), calls, task, watch: None }
    }

    /// Asks the master from now on where the masters are.
    pub(crate) fn watch_masters(&mut self, identity: Identity, incoming: mpsc::Sender<Incoming>) {
        let link = Link { attempt: self.attempt, master: self.master.clone(), incoming };
        self.watch = Some(tokio::spawn(masters::watch(identity, link)));
    }

    /// Waits for room for one call. `None`: the connection has ended.
    pub(crate) fn room(&self) -> impl Future<Output = Option<OwnedPermit<Request>>> + use<> {
        let calls = self.calls.clone();
        async move { calls.reserve_owned().await.ok() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

/// A connection's way to the driver.
pub(crate) struct Link {
    pub(crate) attempt: u64,
    pub(crate) master: String,
    incoming: mpsc::Sender<Incoming>,
}

impl Link {
    /// Hands an event over; whether anybody took it.
    pub(crate) async fn event(&self, event: Event) -> bool {
        self.incoming.send(self.incoming(event)).await.is_ok()
    }

    /// Waits for room for one message to the driver; `None` if that is gone.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, Incoming>> {
        self.incoming.reserve().await.ok()
    }

    /// An event as the driver takes it.
    pub(crate) fn incoming(&self, event: Event) -> Incoming {
        Incoming::Event(self.attempt, Box::new(event))
    }

    pub(crate) async fn masters(&self, list: MasterList) {
        let masters = convert::masters::from_wire(list);
        // A driver that is gone does not care.
        let _ = self.incoming.send(Incoming::Masters(self.attempt, masters)).await;
    }

    pub(crate) async fn failed(&self, failure: Failure) {
        // A driver that is gone does not care.
        let _ = self.incoming.send(Incoming::Failed(self.attempt, failure)).await;
    }

    pub(crate) async fn closed(&self, why: String) {
        // A driver that is gone does not care.
        let _ = self.incoming.send(Incoming::Closed(self.attempt, why)).await;
    }
}
