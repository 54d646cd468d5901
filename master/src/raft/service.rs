//! What other masters call.

use std::sync::Arc;

use proto::agora::v1::raft_server::{Raft, RaftServer};
use proto::agora::v1::{
    LeaderRequest, LeaderResponse, RaftAck, RaftBatch, RaftEnvelope, SnapshotChunk,
};
use protobuf2::Message as _;
use raft::eraftpb::{Message, MessageType};
use tokio::sync::Semaphore;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};
use transport::grpc::MESSAGE_BYTES_MAX;

use super::handle::Shared;
use super::links::{Book, Links, REMOVED_METADATA, Sender, Stranger};
use super::node::Input;
use super::threads::Mail;

/// Bytes of messages that were read and not yet handled. Past it connections are not read from, so
/// that their senders drop what they cannot send.
const HEARD_BYTES_MAX: usize = 64 << 20;

/// The service `agora.v1.Raft`. Clones are the same service.
#[derive(Clone)]
pub struct RaftService {
    shared: Arc<Shared>,
    book: Arc<Book>,
    links: Arc<Links>,
    room: Arc<Semaphore>,
    /// One snapshot at a time: it is held in memory until it is whole.
    installing: Arc<Semaphore>,
    snapshot_bytes_max: u64,
}

impl RaftService {
    pub(crate) fn new(
        shared: Arc<Shared>,
        book: Arc<Book>,
        links: Arc<Links>,
        snapshot_bytes_max: u64,
    ) -> Self {
        let room = Arc::new(Semaphore::new(HEARD_BYTES_MAX));
        let installing = Arc::new(Semaphore::new(1));
        Self { shared, book, links, room, installing, snapshot_bytes_max }
    }

    /// As it is added to the routes of the master's port.
    pub fn into_server(self) -> RaftServer<Self> {
        RaftServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// How many other masters have been met.
    #[cfg(test)]
    pub(crate) fn met_count(&self) -> usize {
        self.book.met_count()
    }

    fn check(&self, envelope: Option<RaftEnvelope>) -> Result<u64, Status> {
        let envelope = envelope.ok_or_else(|| Status::invalid_argument("envelope is missing"))?;
        match self.book.check(&envelope) {
            Ok(Sender::Known) => {}
            Ok(Sender::New) => {
                let raft_id = envelope.sender_id;
                let data_id = envelope.sender_data_id;
                self.put(Input::Met { raft_id, data_id })?;
                // It may not be among the masters yet, as far as this one knows.
                self.links.adjust();
            }
            Err(Stranger::Removed) => {
                self.shared.meters.strangers.increment(1);
                let mut status = Status::failed_precondition("you were removed from the cluster");
                status.metadata_mut().insert(REMOVED_METADATA, MetadataValue::from_static("1"));
                return Err(status);
            }
            Err(Stranger::Other(reason)) => {
                self.shared.meters.strangers.increment(1);
                if self.book.is_news(&envelope) {
                    tracing::error!(reason, "refused another master");
                }
                return Err(Status::failed_precondition(reason));
            }
        }
        Ok(envelope.sender_id)
    }

    fn put(&self, input: Input) -> Result<(), Status> {
        self.shared.mailbox.send(Mail::Input(input)).map_err(|_| stopped())
    }

    async fn take_batches(&self, mut batches: Streaming<RaftBatch>) -> Result<(), Status> {
        while let Some(batch) = batches.message().await? {
            let sender = self.check(batch.envelope)?;
            let bytes: usize = batch.messages.iter().map(bytes::Bytes::len).sum();
            let permits = u32::try_from(bytes.min(HEARD_BYTES_MAX)).expect("below four gigabytes");
            let room = self.room.clone().acquire_many_owned(permits).await;
            let room = Some(room.map_err(|_| stopped())?);
            let messages: Result<_, _> =
                batch.messages.iter().map(|bytes| self.read(sender, bytes)).collect();
            self.put(Input::Messages { messages: messages?, room })?;
        }
        Ok(())
    }

    fn read(&self, sender: u64, bytes: &[u8]) -> Result<Message, Status> {
        let mut message = Message::default();
        message
            .merge_from_bytes(bytes)
            .map_err(|_| Status::invalid_argument("a message that cannot be read"))?;
        if message.from != sender || message.to != self.book.identity.raft_id {
            return Err(Status::invalid_argument("a message of or for another master"));
        }
        Ok(message)
    }

    async fn take_snapshot(&self, mut chunks: Streaming<SnapshotChunk>) -> Result<(), Status> {
        let bad = Status::invalid_argument;
        let first = chunks.message().await?.ok_or_else(|| bad("nothing was sent"))?;
        let sender = self.check(first.envelope)?;
        let _turn = self
            .installing
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another snapshot is under way"))?;
        if first.total_bytes > self.snapshot_bytes_max {
            return Err(Status::resource_exhausted(format!(
                "a snapshot of {} bytes; at most {} are taken",
                first.total_bytes, self.snapshot_bytes_max
            )));
        }
        let total = usize::try_from(first.total_bytes).map_err(|_| bad("too large"))?;
        let mut message = self.read(sender, &first.message)?;
        if message.get_msg_type() != MessageType::MsgSnapshot {
            return Err(bad("not a snapshot"));
        }
        // Grown as it comes: the sender may have promised more than it has.
        let mut data = Vec::new();
        let mut next = Some(first.data);
        while let Some(more) = next {
            if data.len() + more.len() > total {
                return Err(bad("more data than announced"));
            }
            data.extend_from_slice(&more);
            next = chunks.message().await?.map(|chunk| chunk.data);
        }
        if data.len() != total {
            return Err(bad("less data than announced"));
        }
        message.mut_snapshot().data = data.into();
        self.put(Input::Messages { messages: vec![message], room: None })
    }

    /// Lets a call end when this master stops, however long its stream may be.
    async fn until_stopped(
        &self,
        call: impl Future<Output = Result<(), Status>>,
    ) -> Result<Response<RaftAck>, Status> {
        let ended = self.shared.stopping.run_until_cancelled(call).await;
        ended.unwrap_or_else(|| Err(stopped())).map(|()| Response::new(RaftAck {}))
    }
}

fn stopped() -> Status {
    Status::unavailable("this master is stopping")
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn deliver(
        &self,
        request: Request<Streaming<RaftBatch>>,
    ) -> Result<Response<RaftAck>, Status> {
        self.until_stopped(self.take_batches(request.into_inner())).await
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<RaftAck>, Status> {
        self.until_stopped(self.take_snapshot(request.into_inner())).await
    }

    async fn leader(
        &self,
        _request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let status = self.shared.published.status.read().clone();
        let (raft_id, address) =
            status.leader.map(|leader| (leader.raft_id, leader.address)).unwrap_or_default();
        Ok(Response::new(LeaderResponse { raft_id, address, term: status.term }))
    }
}
