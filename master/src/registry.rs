//! The registry, between the log that agrees on it and those who act on it.
//!
//! The raft thread applies every entry here, in order, on every master. Of a leading master the core
//! is told each record, and whoever proposed a write to the store finds what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use master_core::Registry;
use master_core::registry::Outcome;
use model::ids::Term;
use model::registry::{Record, ReignEntry};
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use proto::agora::v1::{RegistryEntry, RegistrySnapshot};
use proto::convert::registry as convert;
use tokio::sync::mpsc;

use crate::meters::Meters;
use crate::raft::{Handle, LeaderInfo, ProposeError, RaftEvent, StateMachine, Status, chain};
use crate::snapshot;

/// Outcomes kept for those who wait for them. Each is fetched within a moment of being made; past
/// this number the oldest belong to callers that have gone.
const OUTCOMES_MAX: usize = 16_384;

/// What the driver hears from the log.
pub(crate) enum FromLog {
    /// This master leads, in this term.
    Leading {
        /// The term.
        term: Term,
    },
    /// It does not.
    Following {
        /// Who does: `host:port`, as masters know it.
        leader: Option<String>,
        /// In which term.
        term: Term,
    },
    /// A reign's first record is applied.
    ReignBegun {
        /// Whose.
        reign: ReignEntry,
        /// All that was agreed on up to here.
        registry: Box<Registry>,
    },
    /// All was read anew from a snapshot, of this reign.
    Restored {
        /// Whose; absent before the first.
        reign: Option<ReignEntry>,
    },
    /// A record about members or rules is applied.
    Applied(Record),
    /// These masters have a vote now: `host:port` each.
    Voters(Vec<Arc<str>>),
    /// The log cannot go on.
    Failed(String),
}

/// The log's way to the driver.
#[derive(Clone)]
pub(crate) struct ToDriver {
    events: mpsc::UnboundedSender<FromLog>,
    waiting: Arc<AtomicUsize>,
}

/// The driver's end of it.
pub(crate) struct LogEvents {
    events: mpsc::UnboundedReceiver<FromLog>,
    waiting: Arc<AtomicUsize>,
}

/// A way from the log to the driver.
pub(crate) fn to_driver() -> (ToDriver, LogEvents) {
    let (sender, events) = mpsc::unbounded_channel();
    let waiting = Arc::<AtomicUsize>::default();
    (ToDriver { events: sender, waiting: waiting.clone() }, LogEvents { events, waiting })
}

impl ToDriver {
    fn send(&self, event: FromLog) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Nobody may listen any more: the master is just being stopped.
        let _ = self.events.send(event);
    }

    /// How much waits for the driver.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl LogEvents {
    /// As of the channel: waits for at least one, and takes up to `max`.
    pub(crate) async fn recv_many(&mut self, into: &mut Vec<FromLog>, max: usize) -> usize {
        let taken = self.events.recv_many(into, max).await;
        self.waiting.fetch_sub(taken, Ordering::Relaxed);
        taken
    }
}

/// What is applied, for whoever reads it.
#[derive(Clone, Default)]
pub(crate) struct Applied {
    /// The registry itself.
    pub registry: Arc<RwLock<Registry>>,
    /// Grows with each change of it.
    changes: Arc<AtomicU64>,
    /// How large it is in a snapshot, and after which change that was found out.
    size: Arc<Mutex<(u64, usize)>>,
    outcomes: Arc<Mutex<BTreeMap<u64, Vec<Outcome>>>>,
}

impl Applied {
    /// How many bytes the registry is in a snapshot. It takes a while when it has changed.
    pub(crate) fn registry_bytes(&self) -> usize {
        // Held on to, so that those who ask meanwhile wait for the same.
        let mut size = self.size.lock();
        let changes = self.changes.load(Ordering::Acquire);
        if size.0 != changes {
            let parts = self.registry.read().to_parts();
            *size = (changes, snapshot::to_wire(&parts).encoded_len());
        }
        size.1
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// What the raft thread feeds.
pub(crate) struct Machine {
    applied: Applied,
    driver: ToDriver,
}

impl Machine {
    pub(crate) fn new(applied: Applied, driver: ToDriver) -> Self {
        Self { applied, driver }
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, _term: u64, entry: &[u8]) {
        let entry = RegistryEntry::decode(entry).expect("entries were encoded by a master");
        // A newer version than ours is in there too: to go on would be to apply less than others do.
        let records = convert::entry_from_wire(entry)
            .unwrap_or_else(|bad| panic!("cannot apply what the masters agreed on: {bad}"));
        let mut outcomes = Vec::new();
        let mut registry = self.applied.registry.write();
        for record in records {
            let outcome = registry.apply(&record);
            match record {
                Record::BeginReign(reign) => {
                    let registry = Box::new(registry.clone());
                    self.driver.send(FromLog::ReignBegun { reign, registry });
                }
                Record::StoreCommit(_) | Record::LeaseAcquire(_) | Record::LeaseRelease { .. } => {
                    outcomes.push(outcome);
                }
                Record::PutAgent(_)
                | Record::MarkUnreachable { .. }
                | Record::MarkGone { .. }
                | Record::RemoveAgent { .. }
                | Record::PutFramework(_)
                | Record::MarkFrameworkAway { .. }
                | Record::CompleteFramework { .. }
                | Record::SetWeights(_)
                | Record::SetQuotas(_)
                | Record::SetStanding { .. }
                | Record::SetSchedule(_)
                | Record::ForgetAgents(_)
                | Record::SetMachines { .. } => self.driver.send(FromLog::Applied(record)),
            }
        }
        drop(registry);
        self.applied.changed();
        if !outcomes.is_empty() {
            let mut kept = self.applied.outcomes.lock();
            kept.insert(index, outcomes);
            while kept.len() > OUTCOMES_MAX {
                kept.pop_first();
            }
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::to_wire(&self.applied.registry.read().to_parts()).encode_to_vec()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let wire = RegistrySnapshot::decode(bytes).map_err(|error| error.to_string())?;
        let parts = snapshot::from_wire(wire)?;
        let reign = parts.reign.clone();
        *self.applied.registry.write() = Registry::from_parts(parts);
        self.driver.send(FromLog::Restored { reign });
        self.applied.changed();
        Ok(())
    }
}

/// Tells the driver what the log says of leadership. Called on the raft thread.
pub(crate) fn tell(driver: &ToDriver, event: RaftEvent) {
    let told = match event {
        RaftEvent::Leading { term } => FromLog::Leading { term: Term(term) },
        RaftEvent::Following { leader, term } => FromLog::Following {
            leader: leader.map(|LeaderInfo { address, .. }| address),
            term: Term(term),
        },
        RaftEvent::Voters { addresses } => {
            FromLog::Voters(addresses.into_iter().map(Into::into).collect())
        }
        RaftEvent::Failed { error } => FromLog::Failed(chain(&error)),
    };
    driver.send(told);
}

/// Proposes records.
#[derive(Clone)]
pub(crate) struct Proposer {
    raft: Handle,
    applied: Applied,
    meters: Arc<Meters>,
    runtime: tokio::runtime::Handle,
}

impl Proposer {
    /// Must be made within the runtime that is to wait for answers.
    pub(crate) fn new(raft: Handle, applied: Applied, meters: Arc<Meters>) -> Self {
        Self { raft, applied, meters, runtime: tokio::runtime::Handle::current() }
    }

    /// Has `records` agreed on in the reign `term`, together. They come back through the log; `failed` gets
    /// them back if it is certain that they will not. Where it is not the reign is over, as the log says as
    /// well.
    pub(crate) fn propose(
        &self,
        term: Term,
        records: Vec<Record>,
        failed: impl FnOnce(Vec<Record>) + Send + 'static,
    ) {
        // Made here and not in the task: the order of proposals is the order of entries.
        let proposal = self.raft.propose_in(term.0, encoded(&records));
        let meters = self.meters.clone();
        self.runtime.spawn(async move {
            let proposing = meters.proposed();
            match proposal.await {
                Ok(_) => proposing.agreed(),
                Err(error) => {
                    tracing::warn!(%error, "records could not be agreed on");
                    if !matches!(error, ProposeError::Lost) {
                        failed(records);
                    }
                }
            }
        });
    }

    /// Has one record agreed on in the reign `term`, and says what came of it.
    pub(crate) async fn commit(&self, term: u64, record: Record) -> Result<Outcome, ProposeError> {
        let proposing = self.meters.proposed();
        let index = self.raft.propose_in(term, encoded(&[record])).await?;
        proposing.agreed();
        let outcomes = self.applied.outcomes.lock().remove(&index);
        // Absent only if thousands of others were applied since, and then nobody knows.
        outcomes.and_then(|mut outcomes| outcomes.pop()).ok_or(ProposeError::Lost)
    }

    /// Waits until all that was agreed on before is in [`Applied`].
    pub(crate) async fn barrier(&self) -> Result<(), ProposeError> {
        self.raft.read_barrier().await
    }

    /// How this master takes part in the log.
    pub(crate) fn status(&self) -> Status {
        self.raft.status()
    }

    /// What is applied.
    pub(crate) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Has the masters confirm who leads, since somebody has seen a later term.
    pub(crate) fn check_leadership(&self) {
        let raft = self.raft.clone();
        self.runtime.spawn(async move {
            let _ = raft.read_barrier().await;
        });
    }
}

fn encoded(records: &[Record]) -> Vec<u8> {
    convert::entry_to_wire(records).encode_to_vec()
}
