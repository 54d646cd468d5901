//! The ways to the other masters.
//!
//! One task per master keeps a stream to it and sends what is queued. Messages that find the queue
//! full, or no connection, are dropped: the protocol sends again what matters. Snapshots go by a
//! call of their own, one at a time for each receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use proto::agora::v1::raft_client::RaftClient;
use proto::agora::v1::{RaftBatch, RaftEnvelope, SnapshotChunk};
use protobuf2::Message as _;
use raft::eraftpb::{Message, MessageType};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use transport::grpc::{Channel, MESSAGE_BYTES_MAX, reason};
use transport::identity::Identity as ClientIdentity;

use super::disk::Identity;
use super::members::is_address;
use super::membership::Membership;
use super::meters::Meters;
use super::node::Input;
use super::threads::{Mail, Mailbox};

/// Messages waiting for one master. More than a leader sends before it waits for answers.
const QUEUE_MAX: usize = 1_024;

/// Messages in one batch.
const BATCH_MAX: usize = 256;

/// Bytes after which a batch is closed. One message more may be in it, and none is larger than an
/// entry by much, so it stays below what a receiver takes.
const BATCH_BYTES: usize = 4 << 20;

/// Batches handed to the connection ahead.
const BATCHES_AHEAD: usize = 2;

/// Bytes of a snapshot sent at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How long sending a snapshot may take before it is given up. The receiver gets nothing else
/// meanwhile.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(300);

/// The wait before the next try to connect doubles up to this. It bounds how long a master that is
/// back waits to be heard of, and must stay below the shortest election.
const RETRY_MAX: Duration = Duration::from_millis(400);

/// The wait after the other side has refused us, which a person has to settle.
const REFUSED_RETRY: Duration = Duration::from_secs(2);

/// Lines logged about strangers before it is enough.
const STRANGERS_TOLD_MAX: usize = 64;

/// Masters that speak to this one although it does not know them. They were added while it was away,
/// or it has yet to be told of any; it learns what they are once they bring it the log.
const NEWCOMERS_MAX: usize = 16;

/// What tells a master, beside a refusal, that it was removed.
pub(crate) const REMOVED_METADATA: &str = "agora-raft-removed";

/// Who the masters are, and which data directories they have been seen with.
pub(crate) struct Book {
    pub(crate) identity: Identity,
    pub(crate) own: String,
    known: RwLock<Known>,
    met: Mutex<BTreeMap<u64, String>>,
    told: Mutex<BTreeSet<(u64, String)>>,
    /// Whether another master knows this one with another data directory.
    disowned: AtomicBool,
}

/// Masters by what is known of them.
#[derive(Default)]
struct Known {
    members: Membership,
    /// Addresses of those that have spoken to this one and are no members yet, as far as it knows.
    newcomers: BTreeMap<u64, String>,
}

impl Known {
    fn address(&self, id: u64) -> Option<&String> {
        self.members.address(id).or_else(|| self.newcomers.get(&id))
    }
}

/// What an envelope shows.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    Known,
    /// Met for the first time, to be remembered.
    New,
}

/// Why an envelope is refused.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Stranger {
    /// It was a master, and is none any more.
    Removed,
    /// It is none, for this reason.
    Other(String),
}

impl Book {
    pub(crate) fn new(identity: Identity, own: String, met: BTreeMap<u64, String>) -> Self {
        let (met, told, known) = (Mutex::new(met), Mutex::default(), RwLock::default());
        Self { identity, own, known, met, told, disowned: AtomicBool::new(false) }
    }

    /// Notes who the masters are now.
    fn set(&self, members: Membership) {
        let mut known = self.known.write();
        known.newcomers.retain(|id, _| members.address(*id).is_none() && !members.is_removed(*id));
        known.members = members;
    }

    /// The other masters: raft id and address.
    fn others(&self) -> BTreeMap<u64, String> {
        let known = self.known.read();
        let mut others = known.newcomers.clone();
        others.extend(known.members.addresses().clone());
        others.remove(&self.identity.raft_id);
        others
    }

    /// Whether there is a way to this master, or may be one now.
    fn makes_known(&self, id: u64, address: &str) -> bool {
        let mut known = self.known.write();
        if known.address(id).is_some() {
            return true;
        }
        let is_taken = known.newcomers.len() < NEWCOMERS_MAX && is_address(address);
        if is_taken {
            known.newcomers.insert(id, address.to_owned());
        }
        is_taken
    }

    /// What this master writes on a batch for `to`.
    fn envelope(&self, to: u64) -> RaftEnvelope {
        RaftEnvelope {
            cluster_id: self.identity.cluster_id.clone(),
            sender_id: self.identity.raft_id,
            sender_address: self.own.clone(),
            sender_data_id: self.identity.data_id.clone(),
            receiver_id: to,
            receiver_data_id: self.met.lock().get(&to).cloned().unwrap_or_default(),
        }
    }

    /// Whether `envelope` comes from a master of this cluster and is for this one; or else why not.
    pub(crate) fn check(&self, envelope: &RaftEnvelope) -> Result<Sender, Stranger> {
        let own = &self.identity;
        let (sender, address) = (envelope.sender_id, &envelope.sender_address);
        let stranger = |reason| Err(Stranger::Other(reason));
        if envelope.cluster_id != own.cluster_id {
            return stranger(format!(
                "{address} is of another cluster: do all masters have the same list of peers?"
            ));
        }
        if envelope.receiver_id != own.raft_id {
            return stranger(format!("{address} takes this master ({}) for another one", self.own));
        }
        if self.known.read().members.is_removed(sender) {
            return Err(Stranger::Removed);
        }
        if sender == own.raft_id || !self.makes_known(sender, address) {
            return stranger(format!("{address} is no master that {} knows", self.own));
        }
        let expected = &envelope.receiver_data_id;
        if !expected.is_empty() && *expected != own.data_id {
            // Those that have never met this master cannot know, so it must keep away from them too.
            self.disowned.store(true, Ordering::Release);
        }
        if self.is_disowned() {
            return stranger(format!(
                "{} was known with another data directory, which was lost or replaced; \
                 it has forgotten its votes and must not take part: restore its directory",
                self.own
            ));
        }
        let mut met = self.met.lock();
        match met.get(&sender) {
            None => {
                met.insert(sender, envelope.sender_data_id.clone());
                Ok(Sender::New)
            }
            Some(known) if *known == envelope.sender_data_id => Ok(Sender::Known),
            Some(_) => stranger(format!(
                "{address} came back with another data directory than before; it has forgotten \
                 its votes and must not take part: restore its directory, or remove it (agora \
                 operator raft remove {address}) and start it with --join"
            )),
        }
    }

    /// Whether this master must not take part.
    fn is_disowned(&self) -> bool {
        self.disowned.load(Ordering::Acquire)
    }

    /// How many other masters have been met.
    #[cfg(test)]
    pub(crate) fn met_count(&self) -> usize {
        self.met.lock().len()
    }

    /// Whether this was not logged before, so that a stranger who tries again and again does not
    /// fill the log.
    pub(crate) fn is_news(&self, envelope: &RaftEnvelope) -> bool {
        let mut told = self.told.lock();
        let stranger = (envelope.sender_id, envelope.sender_data_id.clone());
        told.len() < STRANGERS_TOLD_MAX && told.insert(stranger)
    }
}

/// The queues to all other masters.
pub(crate) struct Links {
    queues: Mutex<BTreeMap<u64, Queue>>,
    book: Arc<Book>,
    mailbox: Mailbox,
    meters: Meters,
    stopping: CancellationToken,
    snapshot_bytes_max: u64,
    tick: Duration,
    /// What carries the messages; they come from threads outside of it.
    identity: ClientIdentity,
    runtime: tokio::runtime::Handle,
}

/// The way into one link.
struct Queue {
    messages: mpsc::Sender<Message>,
    address: String,
    /// Ends it.
    stopping: CancellationToken,
}

impl Links {
    /// Without any link: there are none before it is told who the masters are. Must be called within
    /// the runtime that is to carry the messages.
    pub(crate) fn new(
        book: &Arc<Book>,
        mailbox: &Mailbox,
        meters: &Meters,
        stopping: &CancellationToken,
        snapshot_bytes_max: u64,
        tick: Duration,
        identity: &ClientIdentity,
    ) -> Self {
        Self {
            queues: Mutex::default(),
            book: book.clone(),
            mailbox: mailbox.clone(),
            meters: meters.clone(),
            stopping: stopping.clone(),
            snapshot_bytes_max,
            tick,
            identity: identity.clone(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// These are the masters now.
    pub(crate) fn set(&self, members: Membership) {
        self.book.set(members);
        self.adjust();
    }

    /// Has a link to every other master, and to nobody else.
    pub(crate) fn adjust(&self) {
        let others = self.book.others();
        let mut queues = self.queues.lock();
        queues.retain(|id, queue| {
            let stays = others.get(id) == Some(&queue.address);
            if !stays {
                queue.stopping.cancel();
            }
            stays
        });
        for (id, address) in others {
            queues.entry(id).or_insert_with(|| self.open(id, address));
        }
    }

    /// Starts the task of one link.
    fn open(&self, id: u64, address: String) -> Queue {
        let (messages, waiting) = mpsc::channel(QUEUE_MAX);
        let stopping = self.stopping.child_token();
        let link = Link {
            id,
            address: address.clone(),
            book: self.book.clone(),
            mailbox: self.mailbox.clone(),
            meters: self.meters.clone(),
            stopping: stopping.clone(),
            snapshot_bytes_max: self.snapshot_bytes_max,
            retry_first: self.tick,
            snapshot_under_way: Arc::default(),
            identity: self.identity.clone(),
        };
        self.runtime.spawn(async move {
            let stopping = link.stopping.clone();
            stopping.run_until_cancelled(link.run(waiting)).await;
        });
        Queue { messages, address, stopping }
    }

    /// Queues messages; never waits.
    pub(crate) fn send(&self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let queues = self.queues.lock();
        for message in messages {
            let (to, kind) = (message.to, message.get_msg_type());
            let sent =
                queues.get(&to).is_some_and(|queue| queue.messages.try_send(message).is_ok());
            if !sent {
                self.meters.dropped.increment(1);
                if kind == MessageType::MsgSnapshot {
                    // Or else the protocol would wait for ever to hear of it.
                    let _ =
                        self.mailbox.send(Mail::Input(Input::SnapshotSent { to, arrived: false }));
                }
            }
        }
    }
}

/// The way to one master.
#[derive(Clone)]
struct Link {
    id: u64,
    address: String,
    book: Arc<Book>,
    mailbox: Mailbox,
    meters: Meters,
    stopping: CancellationToken,
    snapshot_bytes_max: u64,
    retry_first: Duration,
    snapshot_under_way: Arc<tokio::sync::Mutex<()>>,
    identity: ClientIdentity,
}

impl Link {
    async fn run(self, mut queued: mpsc::Receiver<Message>) {
        let mut wait = self.retry_first;
        let mut up = true;
        loop {
            let began = tokio::time::Instant::now();
            let status = match transport::grpc::channel(&self.address, &self.identity) {
                Ok(channel) => self.stream(client(channel), &mut queued).await,
                Err(error) => Status::invalid_argument(error.to_string()),
            };
            let refused = matches!(
                status.code(),
                Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated
            );
            if status.metadata().contains_key(REMOVED_METADATA) {
                self.tell(Input::Removed);
            }
            let lasted = began.elapsed() > RETRY_MAX * 4;
            if lasted || up {
                let reason = reason(&status);
                if refused {
                    tracing::error!(master = self.address, reason, "refused by another master");
                } else {
                    tracing::info!(master = self.address, reason, "no connection to a master");
                }
            }
            up = false;
            self.tell(Input::Unreachable(self.id));
            while let Ok(message) = queued.try_recv() {
                self.meters.dropped.increment(1);
                if message.get_msg_type() == MessageType::MsgSnapshot {
                    self.tell(Input::SnapshotSent { to: self.id, arrived: false });
                }
            }
            wait = if lasted { self.retry_first } else { (wait * 2).min(RETRY_MAX) };
            tokio::time::sleep(if refused { REFUSED_RETRY } else { wait }).await;
        }
    }

    /// Sends until the connection ends.
    async fn stream(
        &self,
        mut client: RaftClient<Channel>,
        queued: &mut mpsc::Receiver<Message>,
    ) -> Status {
        let (batches, stream) = mpsc::channel(BATCHES_AHEAD);
        let snapshots = client.clone();
        // A greeting, so that all masters know each other's data directories, although followers
        // have nothing to say to each other.
        let greeting = RaftBatch { envelope: Some(self.book.envelope(self.id)), messages: vec![] };
        let _ = batches.try_send(greeting);
        let mut call = pin!(client.deliver(ReceiverStream::new(stream)));
        loop {
            let place = tokio::select! {
                ended = &mut call => return status_of(ended),
                place = batches.reserve() => place,
            };
            let Ok(place) = place else { return status_of(call.await) };
            let first = tokio::select! {
                ended = &mut call => return status_of(ended),
                first = queued.recv() => first,
            };
            let Some(first) = first else { return Status::cancelled("stopping") };
            if self.book.is_disowned() {
                return Status::failed_precondition("this master must not take part");
            }
            let mut batch = RaftBatch { envelope: None, messages: Vec::new() };
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(message) = next {
                if message.get_msg_type() == MessageType::MsgSnapshot {
                    self.spawn_snapshot(snapshots.clone(), message);
                } else {
                    let encoded = encoded(&message);
                    bytes += encoded.len();
                    batch.messages.push(encoded);
                }
                let full = bytes >= BATCH_BYTES || batch.messages.len() >= BATCH_MAX;
                next = if full { None } else { queued.try_recv().ok() };
            }
            batch.envelope = Some(self.book.envelope(self.id));
            place.send(batch);
        }
    }

    fn spawn_snapshot(&self, client: RaftClient<Channel>, message: Message) {
        let link = self.clone();
        tokio::spawn(async move {
            let stopping = link.stopping.clone();
            stopping.run_until_cancelled(link.snapshot(client, message)).await;
        });
    }

    async fn snapshot(&self, client: RaftClient<Channel>, message: Message) {
        let Ok(sending) = self.snapshot_under_way.clone().try_lock_owned() else {
            // The protocol does not ask for a second one while it waits for the first, unless a
            // reign has ended meanwhile. It will ask again.
            return self.tell(Input::SnapshotSent { to: self.id, arrived: false });
        };
        let bytes = message.get_snapshot().data.len();
        let sent = if bytes as u64 > self.snapshot_bytes_max {
            Err(Status::resource_exhausted("it is larger than what may be sent"))
        } else {
            let send = send_snapshot(client, self.book.envelope(self.id), message);
            timeout(SNAPSHOT_WITHIN, send)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("it took too long")))
        };
        match &sent {
            Ok(()) => {
                self.meters.snapshots_sent.increment(1);
                tracing::info!(master = self.address, bytes, "sent a snapshot");
            }
            Err(status) => {
                let reason = reason(status);
                tracing::warn!(master = self.address, bytes, reason, "cannot send a snapshot");
                // It is asked for again at once.
                tokio::time::sleep(RETRY_MAX).await;
            }
        }
        drop(sending);
        self.tell(Input::SnapshotSent { to: self.id, arrived: sent.is_ok() });
    }

    fn tell(&self, input: Input) {
        // The thread may have ended; then nobody needs to know.
        let _ = self.mailbox.send(Mail::Input(input));
    }
}

async fn send_snapshot(
    mut client: RaftClient<Channel>,
    envelope: RaftEnvelope,
    mut message: Message,
) -> Result<(), Status> {
    let data: Bytes = std::mem::take(&mut message.mut_snapshot().data);
    let first = SnapshotChunk {
        envelope: Some(envelope),
        message: encoded(&message),
        total_bytes: data.len() as u64,
        data: Bytes::new(),
    };
    let rest = (0..data.len()).step_by(CHUNK_BYTES).map(move |start| SnapshotChunk {
        data: data.slice(start..data.len().min(start + CHUNK_BYTES)),
        ..SnapshotChunk::default()
    });
    let chunks = tokio_stream::iter(std::iter::once(first).chain(rest));
    client.install_snapshot(chunks).await.map(|_| ())
}

fn client(channel: Channel) -> RaftClient<Channel> {
    RaftClient::new(channel).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn encoded(message: &Message) -> Bytes {
    message.write_to_bytes().expect("messages without required fields can always be written").into()
}

fn status_of<T>(ended: Result<T, Status>) -> Status {
    ended.err().unwrap_or_else(|| Status::unavailable("the stream was ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(raft_id: u64, data_id: &str) -> Book {
        let identity =
            Identity { cluster_id: "c".to_owned(), data_id: data_id.to_owned(), raft_id };
        let addresses = (1..=3).map(|id| (id, format!("m{id}:1"))).collect();
        let book = Book::new(identity, format!("m{raft_id}:1"), BTreeMap::new());
        book.set(Membership::founded(addresses));
        book
    }

    fn refusal(book: &Book, envelope: &RaftEnvelope) -> String {
        match book.check(envelope) {
            Err(Stranger::Other(reason)) => reason,
            other => panic!("not refused with a reason: {other:?}"),
        }
    }

    #[test]
    fn a_master_that_lost_its_directory_is_refused_by_those_that_knew_it() {
        let (one, two, lost) = (book(1, "one"), book(2, "two"), book(2, "new"));
        assert_eq!(one.check(&two.envelope(1)), Ok(Sender::New));
        assert_eq!(one.check(&two.envelope(1)), Ok(Sender::Known));
        let error = refusal(&one, &lost.envelope(1));
        assert!(error.contains("m2:1 came back with another data directory"), "{error}");
        // And it refuses them, so that it does not vote, not even for one that never met it.
        let stranger = book(3, "three").envelope(2);
        assert_eq!(lost.check(&stranger), Ok(Sender::New));
        for envelope in [one.envelope(2), stranger] {
            let error = refusal(&lost, &envelope);
            assert!(error.contains("must not take part"), "{error}");
        }
    }

    #[test]
    fn strangers_are_refused() {
        let own = book(1, "one");
        let good = book(2, "two").envelope(1);
        for (envelope, why) in [
            (RaftEnvelope { cluster_id: "d".into(), ..good.clone() }, "another cluster"),
            (RaftEnvelope { receiver_id: 3, ..good.clone() }, "for another one"),
            (RaftEnvelope { sender_id: 1, ..good.clone() }, "is no master"),
            (
                RaftEnvelope { sender_id: 9, sender_address: "?".into(), ..good.clone() },
                "is no master",
            ),
        ] {
            let error = refusal(&own, &envelope);
            assert!(error.contains(why), "{error}");
        }
        assert!(own.is_news(&good));
        assert!(!own.is_news(&good));
    }

    #[test]
    fn masters_that_were_added_meanwhile_are_heard_and_removed_ones_are_told() {
        let own = book(1, "one");
        let good = book(2, "two").envelope(1);
        let newcomer =
            |id| RaftEnvelope { sender_id: id, sender_address: "n:1".into(), ..good.clone() };
        for id in 10..10 + NEWCOMERS_MAX as u64 {
            assert_eq!(own.check(&newcomer(id)), Ok(Sender::New));
        }
        assert!(refusal(&own, &newcomer(99)).contains("is no master"), "there is an end to it");
        assert_eq!(own.others().get(&10).map(String::as_str), Some("n:1"));
        let mut members = own.known.read().members.clone();
        members.add(10, "m10:1".to_owned());
        members.remove(2);
        own.set(members);
        assert_eq!(own.others().get(&10).map(String::as_str), Some("m10:1"));
        assert_eq!(own.check(&good), Err(Stranger::Removed));
        assert!(!own.others().contains_key(&2));
    }
}
