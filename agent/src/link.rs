//! The link to the leading master: found, opened, kept, given up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_core::Input;
use futures::StreamExt;
use model::ids::{ConnectionId, Term};
use model::link::FromAgent;
use parking_lot::Mutex;
use proto::agora::v1::agent_link_client::AgentLinkClient;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use transport::backoff::Backoff;
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
#[derive(Clone, Default)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Where messages of the open link go.
    out: Mutex<Option<mpsc::Sender<FromAgent>>>,
    wanted: Notify,
    given_up: Notify,
    term: AtomicU64,
}

impl Link {
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
pub(crate) async fn run(
    link: Link,
    handle: Handle,
    masters: Vec<String>,
    channels: Channels,
    first_wait: Duration,
    seed: u64,
    stop: CancellationToken,
) {
    tokio::select! {
        () = link.shared.wanted.notified() => {}
        () = stop.cancelled() => return,
    }
    let mut search = Search { masters, next: 0, hint: None };
    let mut backoff = Backoff::new(first_wait, SEARCH_WAIT_MAX.max(first_wait), seed);
    let mut tries = 0;
    let mut told = None;
    loop {
        let Some(address) = search.next() else { return };
        let ended = tokio::select! {
            ended = one(&link, &handle, &address, &channels) => ended,
            () = stop.cancelled() => Ended::Stopped,
        };
        *link.shared.out.lock() = None;
        match ended {
            Ended::Stopped => return,
            Ended::Served => {
                backoff.reset();
                told = None;
                tries = 0;
            }
            Ended::Redirected(leader) => search.hint = Some(leader),
            Ended::Refused(why) => {
                // It does not end by itself: somebody has to look at the credentials.
                if told.as_ref() != Some(&why) {
                    tracing::error!(
                        address,
                        why,
                        "no link to this master is to be had; asking again"
                    );
                    told = Some(why);
                }
            }
            Ended::Failed(why) => tracing::debug!(address, why, "no link to this master"),
        }
        tries += 1;
        // All were asked once before anybody is asked again.
        if tries >= search.masters.len() {
            tries = 0;
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Whom to ask next.
struct Search {
    masters: Vec<String>,
    next: usize,
    /// Who leads, in the words of the last one asked.
    hint: Option<String>,
}

impl Search {
    fn next(&mut self) -> Option<String> {
        if let Some(leader) = self.hint.take() {
            return Some(leader);
        }
        let address = self.masters.get(self.next % self.masters.len().max(1))?.clone();
        self.next += 1;
        Some(address)
    }
}

/// How one try ended.
enum Ended {
    /// The master has kept the link for a while.
    Served,
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
            () = link.shared.given_up.notified() => return Ended::Served,
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) if heard => return Ended::Served,
            Ok(None) => return Ended::Failed("the master ended the link".to_owned()),
            Err(status) => {
                let ended = refused(&status);
                let is_redirect = matches!(ended, Ended::Redirected(_));
                return if heard && !is_redirect { Ended::Served } else { ended };
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
