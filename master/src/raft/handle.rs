//! How the rest of the master speaks to the raft thread.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use model::ids::Term;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::LeaderInfo;
use super::error::{ChangeError, ProposeError};
use super::meters::Meters;
use super::node::{Asked, Change, Input, Listing, Proposed};
use super::threads::{Mail, Mailbox, Threads};
use crate::leadership::Lease;

/// Bytes of proposals that may wait to be agreed on. At the fastest disk this is a good second's work;
/// past it they are refused at once, since their callers would have given up anyway.
pub(crate) const PROPOSED_BYTES_MAX: usize = 64 << 20;

/// What a proposal costs besides its bytes, so that small ones are limited in number too.
const PROPOSAL_OVERHEAD: usize = 256;

/// What the raft thread lets everybody see.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// The own raft id.
    pub raft_id: u64,
    /// The current term.
    pub term: u64,
    /// Whether this master leads, and has applied all that was agreed before.
    pub leading: bool,
    /// Whether this master is one of the cluster's, as far as it knows, voter or learner.
    pub is_member: bool,
    /// How many masters have a vote.
    pub voters: usize,
    /// Who leads, where that is known. The own name once this master does.
    pub leader: Option<LeaderInfo>,
    /// The last entry applied.
    pub applied: u64,
    /// The last entry agreed on.
    pub committed: u64,
    /// The last entry there is.
    pub last: u64,
    /// The last entry that the latest snapshot covers.
    pub snapshot: u64,
}

/// The raft thread's side of it.
#[derive(Default)]
pub(crate) struct Published {
    pub(crate) status: RwLock<Status>,
    /// Nanoseconds since the start until which nobody else can lead; 0: not known.
    pub(crate) lease_until: AtomicU64,
    /// The term in which this master leads until then.
    pub(crate) lease_term: AtomicU64,
}

pub(crate) struct Shared {
    pub(crate) cluster_id: String,
    pub(crate) start: Instant,
    pub(crate) mailbox: Mailbox,
    pub(crate) published: Arc<Published>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) entry_bytes_max: usize,
    pub(crate) meters: Meters,
    pub(crate) stopping: CancellationToken,
    pub(crate) threads: Mutex<Option<Threads>>,
}

/// Proposes entries and asks who leads. Clones are handles of the same master.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

impl Handle {
    /// Has `entry` agreed on and applied. The order of calls is the order of entries.
    ///
    /// The answer is the entry's index, once it was applied on this master. Who bases an entry on what
    /// was applied so far uses [`Handle::propose_in`].
    pub fn propose(&self, entry: Vec<u8>) -> Proposal {
        self.propose_any(None, entry)
    }

    /// As [`Handle::propose`], but only in the reign `term`.
    ///
    /// A leader that was deposed and elected again, before the proposer has heard of either, must not
    /// add what was decided on the state of the earlier reign.
    pub fn propose_in(&self, term: u64, entry: Vec<u8>) -> Proposal {
        self.propose_any(Some(term), entry)
    }

    fn propose_any(&self, term: Option<u64>, entry: Vec<u8>) -> Proposal {
        let (answer, result) = oneshot::channel();
        let refused = |error| {
            self.0.meters.refused.increment(1);
            Proposal(Answer::Now(Some(error)))
        };
        let (bytes, max) = (entry.len(), self.0.entry_bytes_max);
        if bytes > max {
            return refused(ProposeError::TooLarge { bytes, max });
        }
        let permits = u32::try_from(bytes + PROPOSAL_OVERHEAD).expect("checked at the start");
        let Ok(room) = self.0.room.clone().try_acquire_many_owned(permits) else {
            return refused(ProposeError::Overloaded);
        };
        let proposed = Proposed { term, entry, asked: Asked { answer, _room: Some(room) } };
        // Should the thread be gone, the answer is dropped with it.
        let _ = self.0.mailbox.send(Mail::Input(Input::Propose(proposed)));
        Proposal(Answer::Later(result))
    }

    /// Whether nobody else can lead right now, so that what is applied here is the latest.
    pub fn is_leader_with_lease(&self) -> bool {
        let until = Duration::from_nanos(self.0.published.lease_until.load(Ordering::Acquire));
        self.0.start.elapsed() < until
    }

    /// Waits until everything that was agreed before this call is applied here, and it is sure that
    /// no other master led when it was made. While the lease holds, that is at once.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        if self.is_leader_with_lease() {
            return Ok(());
        }
        self.confirmed_term().await.map(|_| ())
    }

    /// Has a majority confirm that this master leads: the term in which it did when it was asked.
    async fn confirmed_term(&self) -> Result<u64, ProposeError> {
        let (answer, result) = oneshot::channel();
        let asked = Asked { answer, _room: None };
        let _ = self.0.mailbox.send(Mail::Input(Input::Read(asked)));
        match result.await {
            Ok(answer) => answer,
            Err(_) => Err(ProposeError::NotLeader { leader: self.leader() }),
        }
    }

    /// Has the masters, or the leading one, be others. The answer is the raft id of the master that was
    /// added, removed or leads now.
    pub(crate) async fn change(&self, change: Change) -> Result<u64, ChangeError> {
        let (answer, result) = oneshot::channel();
        let _ = self.0.mailbox.send(Mail::Input(Input::Change { change, answer }));
        result.await.unwrap_or(Err(ChangeError::NotLeader { leader: None }))
    }

    /// Who the masters are, as this one sees them; nobody once it has ended.
    pub(crate) async fn list(&self) -> Listing {
        let (answer, result) = oneshot::channel();
        let _ = self.0.mailbox.send(Mail::Input(Input::List(answer)));
        result.await.unwrap_or_default()
    }

    /// Who leads, where that is known.
    pub fn leader(&self) -> Option<LeaderInfo> {
        self.0.published.status.read().leader.clone()
    }

    /// The id of the cluster that this master is of, or wants to be.
    pub fn cluster_id(&self) -> &str {
        &self.0.cluster_id
    }

    /// How this master stands.
    pub fn status(&self) -> Status {
        self.0.published.status.read().clone()
    }

    /// Ends everything and waits for it: what was proposed is still written. Repeats are harmless.
    pub async fn stop(&self) {
        let _ = self.0.mailbox.send(Mail::Stop);
        self.join().await;
    }

    /// Ends everything at once, leaving undone what waits for the disk: what a crash leaves behind.
    #[doc(hidden)]
    pub async fn crash(&self) {
        if let Some(threads) = &*self.0.threads.lock() {
            threads.crash();
        }
        let _ = self.0.mailbox.send(Mail::Stop);
        self.join().await;
    }

    async fn join(&self) {
        self.0.stopping.cancel();
        let threads = self.0.threads.lock().take();
        if let Some(threads) = threads {
            // Threads end within one turn and one batch; the runtime must not be held up meanwhile.
            let _ = tokio::task::spawn_blocking(move || threads.join()).await;
        }
    }
}

impl Lease for Handle {
    fn holds(&self, term: Term) -> bool {
        // The time first, as it is written last.
        self.is_leader_with_lease() && self.0.published.lease_term.load(Ordering::Acquire) == term.0
    }

    fn confirm(&self, term: Term) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            match self.confirmed_term().await {
                Ok(confirmed) => confirmed == term.0,
                Err(_) => false,
            }
        })
    }
}

/// An entry's way to being agreed on: resolves to its index. Dropping it does not take it back.
#[must_use = "whether the entry was agreed on is told nowhere else"]
pub struct Proposal(Answer);

enum Answer {
    Now(Option<ProposeError>),
    Later(oneshot::Receiver<Result<u64, ProposeError>>),
}

impl Future for Proposal {
    type Output = Result<u64, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match &mut self.0 {
            Answer::Now(error) => Err(error.take().unwrap_or(ProposeError::Lost)),
            Answer::Later(result) => {
                // Without an answer the thread has ended, and nobody knows what became of it.
                ready!(Pin::new(result).poll(cx)).unwrap_or(Err(ProposeError::Lost))
            }
        })
    }
}
