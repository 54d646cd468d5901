//! The masters' framework store: small state that survives without a disk of one's own.
//!
//! Reads and leases are tried again until the patience is over. A commit is tried again only while
//! it is certain that no try was carried out; otherwise the answer is [`CommitError::Unknown`], and
//! reading shows what happened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::rng::Rng;
use proto::agora::v1::framework_store_client::FrameworkStoreClient;
use proto::agora::v1::{
    AcquireLeaseRequest, CommitRequest, GetRequest, LeaseToken, ListRequest, ReleaseLeaseRequest,
};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use transport::backoff::Backoff;
use transport::grpc::{Channel, MASTERS_METADATA, MESSAGE_BYTES_MAX, channel, leader_of};
use transport::identity::Identity;

pub use proto::agora::v1::{Condition, Entry, Write};

/// How long it is tried before the masters count as unavailable, unless told otherwise.
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(15);

/// How long one try may take. An election lasts a second or two.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The pause before a second try; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);

/// The longest pause between tries: a new leader is found within about a second of its election.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Keys a page of a listing has at most.
const PAGE_KEYS_MAX: u32 = 1_000;

/// What followers answer that do not know of a leader.
const NO_LEADER: &str = "No leader elected";

/// The store could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No leader was found in time.
    #[error("the framework store cannot be reached: {0}")]
    Unavailable(String),
    /// It refuses the request as it is written.
    #[error("the framework store refuses the request: {0}")]
    Refused(String),
}

/// A commit was not, or perhaps not, carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition or the lease did not hold; nothing was written.
    #[error("nothing was written: {0}")]
    Conflict(String),
    /// No leader was found in time; nothing was written.
    #[error("nothing was written, no leading master was found: {0}")]
    Unavailable(String),
    /// The request is refused as it is written; nothing was written.
    #[error("nothing was written, the request is refused: {0}")]
    Refused(String),
    /// The connection broke before the answer. Reading shows whether it was written.
    #[error("nobody knows whether it was written: {0}")]
    Unknown(String),
}

/// Who has a lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Whether it is whoever asked.
    pub is_ours: bool,
    /// Grows each time it changes hands; what commits are fenced with.
    pub token: u64,
    /// The holder.
    pub holder: String,
    /// The holder's note.
    pub note: Bytes,
    /// For how long it surely holds, from when it was asked for: until then nobody else has it.
    pub until: Instant,
}

/// A client of the store, for one namespace. Cheap to clone.
#[derive(Clone)]
pub struct StoreClient {
    shared: Arc<Shared>,
    namespace: String,
    patience: Duration,
}

struct Shared {
    /// What people have said: a fallback once a master has said better.
    given: Vec<String>,
    identity: Identity,
    /// What the leading master has said last.
    told: watch::Sender<Vec<String>>,
    state: Mutex<State>,
}

struct State {
    /// All there are to ask.
    masters: Vec<String>,
    /// Who led last, or is asked next.
    address: String,
    /// Index of the master to ask after that.
    next: usize,
    channels: BTreeMap<String, Channel>,
    rng: Rng,
}

/// Why one try failed.
enum Failed {
    /// It cannot have been carried out.
    NotDone(String),
    /// It may have been carried out.
    Perhaps(String),
    /// It never will be.
    Refused(String),
}

impl StoreClient {
    /// A client for `masters` (`host:port` each) and the keys of `namespace`.
    ///
    /// # Panics
    ///
    /// Without any master.
    pub fn new(masters: Vec<String>, namespace: impl Into<String>) -> Self {
        Self::identified(masters, namespace, Identity::default())
    }

    /// The same for whom `identity` says.
    ///
    /// # Panics
    ///
    /// Without any master.
    pub fn identified(
        masters: Vec<String>,
        namespace: impl Into<String>,
        identity: Identity,
    ) -> Self {
        let address = masters.first().expect("a store needs a master to ask").clone();
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let given = masters.clone();
        let (channels, rng) = (BTreeMap::new(), Rng::new(seed));
        let (told, _) = watch::channel(Vec::new());
        let state = State { masters, address, next: 1, channels, rng };
        let shared = Arc::new(Shared { given, identity, told, state: Mutex::new(state) });
        Self { shared, namespace: namespace.into(), patience: PATIENCE_DEFAULT }
    }

    /// The same client, which gives up after `patience`.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Where the masters are: as the leading one has said last, and then as was said at first.
    pub fn masters(&self) -> Vec<String> {
        self.state().masters.clone()
    }

    /// Where the masters are, as the leading one has said last; empty as long as none has. It closes when
    /// nobody has this client any more.
    pub fn watch_masters(&self) -> watch::Receiver<Vec<String>> {
        self.shared.told.subscribe()
    }

    /// The values of those of `keys` that exist, in order of key.
    pub async fn get(&self, keys: Vec<String>) -> Result<Vec<Entry>, StoreError> {
        let request = GetRequest { namespace: self.namespace.clone(), keys };
        let answer = self.retry(|mut client| {
            let request = self.within(request.clone());
            async move { client.get(request).await }
        });
        Ok(answer.await?.entries)
    }

    /// All keys that begin with `prefix`, with their values, in order of key.
    ///
    /// It is read page by page: a key that is written meanwhile may come with either value.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let request = ListRequest {
                namespace: self.namespace.clone(),
                prefix: prefix.to_owned(),
                after: entries.last().map(|entry| entry.key.clone()).unwrap_or_default(),
                limit: PAGE_KEYS_MAX,
            };
            let page = self.retry(|mut client| {
                let request = self.within(request.clone());
                async move { client.list(request).await }
            });
            let page = page.await?;
            let has_more = page.has_more && !page.entries.is_empty();
            entries.extend(page.entries);
            if !has_more {
                return Ok(entries);
            }
        }
    }

    /// Writes all or nothing, if all conditions hold and the lease, if one is named, is held by
    /// that token. The revision of these writes.
    pub async fn commit(
        &self,
        conditions: Vec<Condition>,
        writes: Vec<Write>,
        lease: Option<LeaseToken>,
    ) -> Result<u64, CommitError> {
        let request =
            CommitRequest { namespace: self.namespace.clone(), conditions, writes, lease };
        let give_up = Instant::now() + self.patience;
        let mut backoff = self.backoff();
        loop {
            let mut client = match self.client() {
                Ok(client) => client,
                Err(why) => return Err(CommitError::Unavailable(why)),
            };
            let why = match client.commit(self.within(request.clone())).await {
                Ok(answer) => {
                    self.learn(answer.metadata());
                    let answer = answer.into_inner();
                    return if answer.committed {
                        Ok(answer.revision)
                    } else {
                        Err(CommitError::Conflict(answer.refusal))
                    };
                }
                Err(status) => match self.failed(&status) {
                    Failed::NotDone(why) => why,
                    Failed::Perhaps(why) => return Err(CommitError::Unknown(why)),
                    Failed::Refused(why) => return Err(CommitError::Refused(why)),
                },
            };
            let wait = backoff.next_wait();
            if Instant::now() + wait >= give_up {
                return Err(CommitError::Unavailable(why));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes the lease `name` for `ttl`, or prolongs it if `holder` has it; otherwise says who has.
    pub async fn acquire_lease(
        &self,
        name: &str,
        holder: &str,
        ttl: Duration,
        note: Bytes,
    ) -> Result<Lease, StoreError> {
        let request = AcquireLeaseRequest {
            namespace: self.namespace.clone(),
            name: name.to_owned(),
            holder: holder.to_owned(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            note,
        };
        // From before it is asked: the master counts from later, so ours ends first.
        let mut asked = Instant::now();
        let answer = self.retry(|mut client| {
            asked = Instant::now();
            let request = self.within(request.clone());
            async move { client.acquire_lease(request).await }
        });
        let answer = answer.await?;
        Ok(Lease {
            is_ours: answer.acquired,
            token: answer.token,
            holder: answer.holder,
            note: answer.note,
            until: asked + Duration::from_millis(answer.remaining_ms),
        })
    }

    /// Gives the lease back, so that the next one need not wait. Whether it was ours.
    pub async fn release_lease(&self, name: &str, token: u64) -> Result<bool, StoreError> {
        let namespace = self.namespace.clone();
        let request = ReleaseLeaseRequest { namespace, name: name.to_owned(), token };
        let answer = self.retry(|mut client| {
            let request = self.within(request.clone());
            async move { client.release_lease(request).await }
        });
        Ok(answer.await?.released)
    }

    fn within<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(ANSWER_WITHIN.min(self.patience));
        request
    }

    /// Asks until there is an answer, for what may be asked twice.
    async fn retry<T, F>(
        &self,
        mut ask: impl FnMut(FrameworkStoreClient<Channel>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let give_up = Instant::now() + self.patience;
        let mut backoff = self.backoff();
        loop {
            let client = self.client().map_err(StoreError::Unavailable)?;
            let why = match ask(client).await {
                Ok(answer) => {
                    self.learn(answer.metadata());
                    return Ok(answer.into_inner());
                }
                Err(status) => match self.failed(&status) {
                    Failed::NotDone(why) | Failed::Perhaps(why) => why,
                    Failed::Refused(why) => return Err(StoreError::Refused(why)),
                },
            };
            let wait = backoff.next_wait();
            if Instant::now() + wait >= give_up {
                return Err(StoreError::Unavailable(why));
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(BACKOFF_FIRST, BACKOFF_MAX, self.state().rng.next_u64())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing is left half done under this lock.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Result<FrameworkStoreClient<Channel>, String> {
        let mut state = self.state();
        let address = state.address.clone();
        let channel = if let Some(channel) = state.channels.get(&address) {
            channel.clone()
        } else {
            let made = channel(&address, &self.shared.identity)
                .map_err(|error| format!("{address}: {error}"))?;
            state.channels.insert(address, made.clone());
            made
        };
        Ok(FrameworkStoreClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Takes in where the masters are, if the answer says so.
    fn learn(&self, metadata: &MetadataMap) {
        let told = metadata.get(MASTERS_METADATA).and_then(|told| told.to_str().ok());
        let Some(told) = told.filter(|told| !told.is_empty()) else { return };
        let told: Vec<_> = told.split(',').map(str::to_owned).collect();
        let given = self.shared.given.iter().filter(|one| !told.contains(one)).cloned().collect();
        let masters = [told.clone(), given].concat();
        let mut state = self.state();
        state.channels.retain(|address, _| masters.contains(address));
        state.masters = masters;
        // While nobody else can, so that both say the same.
        self.shared.told.send_if_modified(|before| {
            let is_new = *before != told;
            *before = told;
            is_new
        });
    }

    /// Judges a failure, and turns to whoever is to be asked next.
    fn failed(&self, status: &Status) -> Failed {
        let state = &mut *self.state();
        let why = format!("{}: {}", state.address, status.message());
        if let Some(leader) = leader_of(status) {
            leader.clone_into(&mut state.address);
            return Failed::NotDone(why);
        }
        let next = state.next % state.masters.len();
        state.next = next + 1;
        state.address.clone_from(&state.masters[next]);
        match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::OutOfRange
            | Code::ResourceExhausted => Failed::Refused(why),
            Code::FailedPrecondition => Failed::NotDone(why),
            Code::Unavailable if status.message() == NO_LEADER || never_connected(status) => {
                Failed::NotDone(why)
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::AlreadyExists
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Failed::Perhaps(why),
        }
    }
}

/// Whether the connection itself could not be made, so that nothing was sent.
fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}
