//! The link to the leading master: found, opened, kept, given up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_core::Input;
use futures::StreamExt;
use model::ids::{ConnectionId, Term};
use model::link::FromAgent;
use model::search::{Masters, Search};
use parking_lot::Mutex;
use proto::agora::v1::agent_link_client::AgentLinkClient;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use transport::grpc::{Channel, MESSAGE_BYTES_MAX, channel, leader_of};
use transport::identity::Identity;

use crate::handle::Handle;
use crate::wire;

/// Messages that may wait for the master: an update of every task of a crowded machine, which is
/// what goes out when a master is back. Past it the link is given up, and after the next one is
/// registered all that matters is sent again.
const MESSAGES_MAX: usize = 65_536;

/// The longest wait between two rounds of looking for the leader: short, since a new one is there
/// within seconds and tasks cannot be launched before it is found.
const SEARCH_WAIT_MAX: Duration = Duration::from_secs(5);

/// Channels to masters, shared between all agents of one process.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    open: Arc<Mutex<HashMap<String, Channel>>>,
    identity: Identity,
}

impl Channels {
    /// Channels for an agent that shows who it is.
    pub fn new(identity: Identity) -> Self {
        Self { identity, ..Self::default() }
    }

    fn get(&self, address: &str) -> Result<Channel, tonic::transport::Error> {
        let mut channels = self.open.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = channel(address, &self.identity)?;
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// The driver's end of the link.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    /// Whom to ask for a link, and when.
    search: Mutex<Search>,
    /// Where messages of the open link go.
    out: Mutex<Option<mpsc::Sender<FromAgent>>>,
    wanted: Notify,
    given_up: Notify,
    term: AtomicU64,
}

impl Link {
    /// No link yet. It will be asked of `masters`, `host:port` each, again after about `first_wait`.
    pub(crate) fn new(masters: Vec<String>, first_wait: Duration) -> Self {
        let masters = masters.into_iter().map(Into::into).collect();
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let shared = Shared {
            search: Mutex::new(Search::new(masters, first_wait, SEARCH_WAIT_MAX, seed)),
            out: Mutex::default(),
            wanted: Notify::new(),
            given_up: Notify::new(),
            term: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// These masters were known before the start.
    pub(crate) fn remember(&self, masters: &[Arc<str>]) {
        self.shared.search.lock().remember(masters);
    }

    /// A master has said where they are, and how to come back.
    pub(crate) fn learn(&self, masters: &Masters) {
        self.shared.search.lock().learn(masters);
    }

    /// Says something to the master, if there is a link.
    pub(crate) fn send(&self, message: FromAgent) {
        let mut out = self.shared.out.lock();
        let Some(sender) = out.as_ref() else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(message) {
            tracing::warn!("the master does not keep up; the link is given up");
            *out = None;
            drop(out);
            self.shared.given_up.notify_one();
        }
    }

    /// From now on a link is wanted.
    pub(crate) fn connect(&self) {
        self.shared.wanted.notify_one();
    }

    /// The present link is of no use.
    pub(crate) fn reconnect(&self) {
        self.shared.given_up.notify_one();
    }
}

/// Keeps a link to whoever leads, until `stop`.
pub(crate) async fn run(link: Link, handle: Handle, channels: Channels, stop: CancellationToken) {
    tokio::select! {
        () = link.shared.wanted.notified() => {}
        () = stop.cancelled() => return,
    }
    let search = &link.shared.search;
    let mut told = None;
    loop {
        let Some(address) = search.lock().ask() else { return };
        let ended = tokio::select! {
            ended = one(&link, &handle, &address, &channels) => ended,
            () = stop.cancelled() => Ended::Stopped,
        };
        *link.shared.out.lock() = None;
        let wait = match ended {
            Ended::Stopped => return,
            Ended::Served { next } => {
                told = None;
                let mut search = search.lock();
                let wait = search.lost();
                next.map_or(wait, |next| wait + search.redirected(next.into()))
            }
            Ended::Redirected(leader) => search.lock().redirected(leader.into()),
            Ended::Refused(why) => {
                // It does not end by itself: somebody has to look at the credentials.
                if told.as_ref() != Some(&why) {
                    tracing::error!(
                        %address,
                        why,
                        "no link to this master is to be had; asking again"
                    );
                    told = Some(why);
                }
                search.lock().failed()
            }
            Ended::Failed(why) => {
                tracing::debug!(%address, why, "no link to this master");
                search.lock().failed()
            }
        };
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// How one try ended.
enum Ended {
    /// The master has kept the link for a while. At its end it may have named another one.
    Served { next: Option<String> },
    /// Another one leads.
    Redirected(String),
    /// The master does not let this agent in.
    Refused(String),
    /// There was no answer to be had.
    Failed(String),
    /// The agent is stopping.
    Stopped,
}

/// One link, from its opening to its end.
async fn one(link: &Link, handle: &Handle, address: &str, channels: &Channels) -> Ended {
    let channel = match channels.get(address) {
        Ok(channel) => channel,
        Err(error) => return Ended::Failed(error.to_string()),
    };
    let id = handle.connection();
    let (sender, messages) = mpsc::channel(MESSAGES_MAX);
    *link.shared.out.lock() = Some(sender);
    // The master answers after it was told who calls, so the core must know of the link before.
    if !handle.send(Input::LinkUp { link: id }).await {
        return Ended::Stopped;
    }
    let shared = link.shared.clone();
    // Nothing is said before the master has taken the link: what reaches one that does not lead after
    // its answer is an error of ours on that connection, and a thousand of them end it, with all the
    // links of other agents that it carries.
    let (taken, is_taken) = oneshot::channel();
    let messages = async move {
        if is_taken.await.is_err() {
            // Not even that nothing follows.
            std::future::pending::<()>().await;
        }
        ReceiverStream::new(messages)
    };
    let frames = futures::stream::once(messages)
        .flatten()
        .map(move |message| wire::from_agent(&message, Term(shared.term.load(Ordering::Relaxed))));
    let mut client = AgentLinkClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let ended = tokio::select! {
        answer = client.connect(frames) => match answer {
            Ok(answer) => {
                let _ = taken.send(());
                hear(link, handle, id, answer.into_inner()).await
            }
            Err(status) => refused(&status),
        },
        () = link.shared.given_up.notified() => Ended::Failed("given up".to_owned()),
    };
    if !handle.send(Input::LinkDown { link: id }).await {
        return Ended::Stopped;
    }
    ended
}

fn refused(status: &tonic::Status) -> Ended {
    match leader_of(status) {
        Some(leader) => Ended::Redirected(leader.to_owned()),
        None if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
            Ended::Refused(status.message().to_owned())
        }
        // What is too large now is so the next time.
        None if status.code() == Code::OutOfRange => Ended::Refused(format!(
            "the master says more at once than the {} MiB that this agent takes: {}",
            MESSAGE_BYTES_MAX >> 20,
            status.message()
        )),
        // Nor does that end by itself.
        None => match transport::tls::explain(status) {
            Some(why) => Ended::Refused(why),
            None => Ended::Failed(status.message().to_owned()),
        },
    }
}

/// Passes on what the master says.
async fn hear(
    link: &Link,
    handle: &Handle,
    id: ConnectionId,
    mut frames: tonic::Streaming<proto::agora::v1::MasterFrame>,
) -> Ended {
    let mut heard = false;
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame,
            () = link.shared.given_up.notified() => return Ended::Served { next: None },
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) if heard => return Ended::Served { next: None },
            Ok(None) => return Ended::Failed("the master ended the link".to_owned()),
            Err(status) => {
                return match refused(&status) {
                    ended if !heard || status.code() == Code::OutOfRange => ended,
                    Ended::Redirected(leader) => Ended::Served { next: Some(leader) },
                    Ended::Served { .. }
                    | Ended::Refused(_)
                    | Ended::Failed(_)
                    | Ended::Stopped => Ended::Served { next: None },
                };
            }
        };
        heard = true;
        link.shared.term.fetch_max(frame.term, Ordering::Relaxed);
        match wire::to_agent(frame) {
            Ok((term, message)) => {
                if !handle.send(Input::FromMaster { link: id, term, message }).await {
                    return Ended::Stopped;
                }
            }
            Err(why) => tracing::warn!(why, "the master has said something without a meaning"),
        }
    }
}
