//! The framework store over gRPC.
//!
//! Writes go through the log and are answered with what came of them. Reads come from what is
//! applied here, once it is sure that this is the latest.

use std::sync::Arc;
use std::time::Duration;

use master_core::registry::{LeaseView, Outcome, StoreRefusal, Stored, check_commit, check_lease};
use model::registry::{LeaseAcquire, Record, StoreCommit};
use proto::agora::v1::framework_store_server::{FrameworkStore, FrameworkStoreServer};
use proto::agora::v1::{
    AcquireLeaseRequest, AcquireLeaseResponse, CommitRequest, CommitResponse, Entry, GetRequest,
    GetResponse, ListRequest, ListResponse, ReleaseLeaseRequest, ReleaseLeaseResponse,
};
use tonic::{Request, Response, Status};
use transport::grpc::{MASTERS_METADATA, MESSAGE_BYTES_MAX};

use super::Api;
use crate::facts::wall_clock;
use crate::raft::ProposeError;

/// Bytes of values in one answer to a list: well below what a message may have.
const LIST_BYTES_MAX: usize = 16 << 20;

/// The service.
pub(super) fn service(api: Api) -> FrameworkStoreServer<Store> {
    FrameworkStoreServer::new(Store { api })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Answers calls to the store.
pub(super) struct Store {
    api: Api,
}

fn not_agreed(error: &ProposeError) -> Status {
    match error {
        ProposeError::NotLeader { leader } => {
            transport::grpc::not_leader(leader.as_ref().map(|leader| leader.address.as_str()))
        }
        ProposeError::Lost => Status::unavailable(
            "the leader changed meanwhile; whether it was written is not known: read, and try again",
        ),
        ProposeError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
        ProposeError::Overloaded => Status::unavailable(error.to_string()),
    }
}

/// What a caller did wrong, as opposed to what simply does not hold any more.
fn refused(refusal: &StoreRefusal) -> Status {
    match refusal {
        StoreRefusal::Full | StoreRefusal::TooManyLeases => {
            Status::resource_exhausted(refusal.to_string())
        }
        StoreRefusal::RevisionDiffers { .. } | StoreRefusal::LeaseLost { .. } => {
            Status::failed_precondition(refusal.to_string())
        }
        StoreRefusal::BadName { .. }
        | StoreRefusal::ValueTooLong { .. }
        | StoreRefusal::CommitTooLong { .. }
        | StoreRefusal::BadTtl => Status::invalid_argument(refusal.to_string()),
    }
}

fn entry(key: &str, stored: &Stored) -> Entry {
    Entry {
        key: key.to_owned(),
        value: stored.value.as_bytes().to_vec().into(),
        revision: stored.revision,
    }
}

impl Store {
    /// The present reign's term. Only the leading master answers.
    async fn term(&self) -> Result<u64, Status> {
        let serving = self.api.standing.serving().await.map_err(|not| not.status())?;
        Ok(serving.term.0)
    }

    async fn commit_record(&self, record: Record) -> Result<Outcome, Status> {
        // Who is turned away is told what makes clients ask again: that nothing was begun.
        let inside = self.api.standing.gate.enter();
        let _inside = inside.map_err(|_| transport::grpc::not_leader(None))?;
        let term = self.term().await?;
        self.api.proposer.commit(term, record).await.map_err(|error| not_agreed(&error))
    }

    /// An answer, and beside it where the masters are: who keeps asking need never be told otherwise.
    fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        let masters = self.api.masters.borrow().addresses.join(",");
        if let Ok(masters) = masters.parse() {
            response.metadata_mut().insert(MASTERS_METADATA, masters);
        }
        response
    }

    async fn readable(&self) -> Result<(), Status> {
        self.term().await?;
        self.api.proposer.barrier().await.map_err(|error| not_agreed(&error))
    }
}

#[tonic::async_trait]
impl FrameworkStore for Store {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.readable().await?;
        let GetRequest { namespace, mut keys } = request.into_inner();
        keys.sort_unstable();
        keys.dedup();
        let registry = self.api.proposer.applied().registry.read();
        let found = |key: &String| {
            let stored = registry.store.get(&namespace, key)?;
            Some(entry(key, stored))
        };
        Ok(self.answer(GetResponse { entries: keys.iter().filter_map(found).collect() }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.readable().await?;
        let ListRequest { namespace, prefix, after, limit } = request.into_inner();
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        let registry = self.api.proposer.applied().registry.read();
        let mut answer = ListResponse::default();
        let mut bytes = 0;
        for (key, stored) in registry.store.list(&namespace, &prefix, &after) {
            // At least one, or a single large value would never be listed.
            if !answer.entries.is_empty()
                && (answer.entries.len() >= limit || bytes >= LIST_BYTES_MAX)
            {
                answer.has_more = true;
                break;
            }
            bytes += key.len() + stored.value.as_bytes().len();
            answer.entries.push(entry(key, stored));
        }
        Ok(self.answer(answer))
    }

    async fn commit(
        &self,
        request: Request<CommitRequest>,
    ) -> Result<Response<CommitResponse>, Status> {
        let CommitRequest { namespace, conditions, writes, lease } = request.into_inner();
        let conditions = conditions.into_iter().map(|one| (one.key.into(), one.revision));
        let writes = writes.into_iter().map(|write| {
            let value = write.value.map(|value| value.to_vec().into());
            (Arc::from(write.key), value)
        });
        let commit = StoreCommit {
            namespace: namespace.into(),
            conditions: conditions.collect(),
            writes: writes.collect(),
            lease: lease.map(|lease| (lease.name.into(), lease.token)),
            at: wall_clock(),
        };
        check_commit(&commit).map_err(|refusal| refused(&refusal))?;
        let answer = match self.commit_record(Record::StoreCommit(commit)).await? {
            Outcome::Committed(revision) => {
                CommitResponse { committed: true, revision, refusal: String::new() }
            }
            Outcome::Refused(
                refusal @ (StoreRefusal::RevisionDiffers { .. } | StoreRefusal::LeaseLost { .. }),
            ) => CommitResponse { committed: false, revision: 0, refusal: refusal.to_string() },
            Outcome::Refused(refusal) => return Err(refused(&refusal)),
            Outcome::Applied | Outcome::Void | Outcome::Lease(_) => return Err(confused()),
        };
        Ok(self.answer(answer))
    }

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        let AcquireLeaseRequest { namespace, name, holder, ttl_ms, note } = request.into_inner();
        let wanted = LeaseAcquire {
            namespace: namespace.into(),
            name: name.into(),
            holder: holder.into(),
            ttl: Duration::from_millis(ttl_ms),
            note: note.to_vec().into(),
            at: wall_clock(),
        };
        check_lease(&wanted).map_err(|refusal| refused(&refusal))?;
        match self.commit_record(Record::LeaseAcquire(wanted)).await? {
            Outcome::Lease(LeaseView { is_acquired, token, holder, note, remaining }) => Ok(self
                .answer(AcquireLeaseResponse {
                    acquired: is_acquired,
                    token,
                    holder: holder.to_string(),
                    note: note.as_bytes().to_vec().into(),
                    remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
                })),
            Outcome::Refused(refusal) => Err(refused(&refusal)),
            Outcome::Applied | Outcome::Void | Outcome::Committed(_) => Err(confused()),
        }
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let ReleaseLeaseRequest { namespace, name, token } = request.into_inner();
        let record = Record::LeaseRelease { namespace: namespace.into(), name: name.into(), token };
        let released = self.commit_record(record).await? == Outcome::Applied;
        Ok(self.answer(ReleaseLeaseResponse { released }))
    }
}

/// An outcome of another kind of record: only a bug of ours can bring it.
fn confused() -> Status {
    Status::internal("the registry answered something else than was asked")
}
