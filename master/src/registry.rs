//! The registry, between the log that agrees on it and those who act on it.
//!
//! The raft thread applies every entry here, in order, on every master. Of a leading master the core
//! is told each record, and whoever proposed a write to the store finds what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use master_core::Registry;
use master_core::registry::Outcome;
use model::ids::Reign;
use model::registry::Record;
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use proto::agora::v1::{RegistryEntry, RegistrySnapshot};
use proto::convert::registry as convert;
use tokio::sync::mpsc;

use crate::raft::{Handle, LeaderInfo, ProposeError, RaftEvent, StateMachine, chain};
use crate::snapshot;

/// Outcomes kept for those who wait for them. Each is fetched within a moment of being made; past
/// this number the oldest belong to callers that have gone.
const OUTCOMES_MAX: usize = 16_384;

/// What the driver hears from the log.
pub(crate) enum FromLog {
    /// This master leads, in this term.
    Leading {
        /// The term.
        term: model::ids::Term,
    },
    /// It does not.
    Following {
        /// Who does: `host:port`.
        leader: Option<String>,
    },
    /// A reign's first record is applied.
    ReignBegun {
        /// Whose.
        reign: Reign,
        /// All that was agreed on up to here.
        registry: Box<Registry>,
    },
    /// A record about members or rules is applied.
    Applied(Record),
    /// The log cannot go on.
    Failed(String),
}

/// What is applied, for whoever reads it.
#[derive(Clone, Default)]
pub(crate) struct Applied {
    /// The registry itself.
    pub registry: Arc<RwLock<Registry>>,
    outcomes: Arc<Mutex<BTreeMap<u64, Vec<Outcome>>>>,
}

/// What the raft thread feeds.
pub(crate) struct Machine {
    applied: Applied,
    driver: mpsc::UnboundedSender<FromLog>,
}

impl Machine {
    pub(crate) fn new(applied: Applied, driver: mpsc::UnboundedSender<FromLog>) -> Self {
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
            // Nobody may listen any more: the master is just being stopped.
            match record {
                Record::BeginReign { reign, at: _ } => {
                    let registry = Box::new(registry.clone());
                    let _ = self.driver.send(FromLog::ReignBegun { reign, registry });
                }
                Record::StoreCommit(_) | Record::LeaseAcquire(_) | Record::LeaseRelease { .. } => {
                    outcomes.push(outcome);
                }
                Record::PutAgent(_)
                | Record::MarkUnreachable { .. }
                | Record::MarkGone { .. }
                | Record::RemoveAgent { .. }
                | Record::PutFramework(_)
                | Record::CompleteFramework { .. }
                | Record::SetWeights(_)
                | Record::SetQuotas(_)
                | Record::SetStanding { .. }
                | Record::SetSchedule(_)
                | Record::ForgetAgents(_)
                | Record::SetMachines { .. } => {
                    let _ = self.driver.send(FromLog::Applied(record));
                }
            }
        }
        drop(registry);
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
        *self.applied.registry.write() = Registry::from_parts(parts);
        Ok(())
    }
}

/// Tells the driver what the log says of leadership. Called on the raft thread.
pub(crate) fn tell(driver: &mpsc::UnboundedSender<FromLog>, event: RaftEvent) {
    let told = match event {
        RaftEvent::Leading { term } => FromLog::Leading { term: model::ids::Term(term) },
        RaftEvent::Following { leader, term: _ } => {
            FromLog::Following { leader: leader.map(|LeaderInfo { address, .. }| address) }
        }
        RaftEvent::Failed { error } => FromLog::Failed(chain(&error)),
    };
    let _ = driver.send(told);
}

/// Proposes records.
#[derive(Clone)]
pub(crate) struct Proposer {
    raft: Handle,
    applied: Applied,
    runtime: tokio::runtime::Handle,
}

impl Proposer {
    /// Must be made within the runtime that is to wait for answers.
    pub(crate) fn new(raft: Handle, applied: Applied) -> Self {
        Self { raft, applied, runtime: tokio::runtime::Handle::current() }
    }

    /// Has `records` agreed on, together. They come back through the log; `failed` gets them back
    /// if they do not.
    pub(crate) fn propose(
        &self,
        records: Vec<Record>,
        failed: impl FnOnce(Vec<Record>) + Send + 'static,
    ) {
        // Made here and not in the task: the order of proposals is the order of entries.
        let proposal = self.raft.propose(encoded(&records));
        self.runtime.spawn(async move {
            if let Err(error) = proposal.await {
                tracing::warn!(%error, "records could not be agreed on");
                failed(records);
            }
        });
    }

    /// Has one record agreed on in the reign `term`, and says what came of it.
    pub(crate) async fn commit(&self, term: u64, record: Record) -> Result<Outcome, ProposeError> {
        let index = self.raft.propose_in(term, encoded(&[record])).await?;
        let outcomes = self.applied.outcomes.lock().remove(&index);
        // Absent only if thousands of others were applied since, and then nobody knows.
        outcomes.and_then(|mut outcomes| outcomes.pop()).ok_or(ProposeError::Lost)
    }

    /// Waits until all that was agreed on before is in [`Applied`].
    pub(crate) async fn barrier(&self) -> Result<(), ProposeError> {
        self.raft.read_barrier().await
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
