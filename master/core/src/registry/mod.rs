//! What the masters agree on: a state machine that each of them feeds with the same records.
//!
//! Applying a record is deterministic: it depends on the record and on those before it, on nothing
//! else. [`Members`] is who belongs to the cluster; [`Rules`] is what operators have decided about it;
//! [`Store`] is what frameworks keep here. Cloning is cheap, since entries are shared.

mod members;
mod rules;
mod store;

pub use members::{COMPLETED_FRAMEWORKS_MAX, FORMER_AGENTS_MAX, Members, UnreachableAgent};
pub use rules::Rules;
pub use store::{
    BYTES_MAX, COMMIT_BYTES_MAX, ENTRIES_MAX, KEY_BYTES_MAX, LEASE_TTL_MAX, LEASES_MAX, LeaseView,
    NAME_BYTES_MAX, Store, StoreRefusal, Stored, StoredEntry, StoredLease, VALUE_BYTES_MAX,
    check_commit, check_lease,
};

use model::ids::{AgentId, FrameworkId};
use model::registry::{AgentEntry, FrameworkEntry, Record, ReignEntry};
use model::step::Timestamp;
use std::sync::Arc;

/// All that was agreed on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    /// The latest reign; absent before the first.
    pub reign: Option<ReignEntry>,
    /// Who belongs to the cluster.
    pub members: Members,
    /// What operators have decided about it.
    pub rules: Rules,
    /// What frameworks keep here.
    pub store: Store,
}

/// What came of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It changed the registry.
    Applied,
    /// It changed nothing: what it is about is not there, or for ever gone.
    Void,
    /// Writes to the store were made; the revision they have.
    Committed(u64),
    /// Who has the lease now.
    Lease(LeaseView),
    /// Writes to the store or a lease were refused; nothing changed.
    Refused(StoreRefusal),
}

impl Registry {
    /// Applies one record.
    pub fn apply(&mut self, record: &Record) -> Outcome {
        match record {
            Record::BeginReign(reign) => {
                self.members.apply(record, &mut Vec::new());
                self.reign = Some(reign.clone());
                Outcome::Applied
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
            | Record::SetMachines { .. } => {
                let changes_rules = self.rules.apply(record, &self.members);
                let mut forgotten = Vec::new();
                let changes_members = self.members.apply(record, &mut forgotten);
                self.rules.forget(forgotten.iter());
                if changes_members || changes_rules { Outcome::Applied } else { Outcome::Void }
            }
            Record::ForgetAgents(agents) => {
                let changes_members = self.members.apply(record, &mut Vec::new());
                if self.rules.forget(self.members.strangers(agents)) || changes_members {
                    Outcome::Applied
                } else {
                    Outcome::Void
                }
            }
            Record::StoreCommit(commit) => match self.store.commit(commit) {
                Ok(revision) => Outcome::Committed(revision),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Record::LeaseAcquire(wanted) => match self.store.acquire(wanted) {
                Ok(lease) => Outcome::Lease(lease),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Record::LeaseRelease { namespace, name, token } => {
                if self.store.release(namespace, name, *token) {
                    Outcome::Applied
                } else {
                    Outcome::Void
                }
            }
        }
    }

    /// Everything in it, in an order that is the same on every master, for a snapshot.
    pub fn to_parts(&self) -> Parts {
        let members = self.members.clone();
        let (entries, leases) = self.store.to_parts();
        Parts {
            reign: self.reign.clone(),
            agents: members.agents.into_values().collect(),
            unreachable: members.unreachable.into_values().collect(),
            gone: members.gone.into_iter().collect(),
            frameworks: members.frameworks.into_values().collect(),
            completed: members.completed.into(),
            rules: self.rules.clone(),
            entries,
            leases,
            revision: self.store.revision(),
        }
    }

    /// The registry that [`Self::to_parts`] was asked of.
    pub fn from_parts(parts: Parts) -> Self {
        let members = Members {
            agents: parts.agents.into_iter().map(|entry| (entry.id.clone(), entry)).collect(),
            unreachable: parts
                .unreachable
                .into_iter()
                .map(|agent| (agent.entry.id.clone(), agent))
                .collect(),
            gone: parts.gone.into_iter().collect(),
            frameworks: parts
                .frameworks
                .into_iter()
                .filter_map(|entry| Some((entry.framework.id.clone()?, entry)))
                .collect(),
            completed: parts.completed.into(),
        };
        let store = Store::from_parts(parts.entries, parts.leases, parts.revision);
        Self { reign: parts.reign, members, rules: parts.rules, store }
    }
}

/// A registry, laid out flat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// The latest reign.
    pub reign: Option<ReignEntry>,
    /// Agents admitted.
    pub agents: Vec<Arc<AgentEntry>>,
    /// Agents out of contact.
    pub unreachable: Vec<UnreachableAgent>,
    /// Agents declared dead, and since when.
    pub gone: Vec<(AgentId, Timestamp)>,
    /// Frameworks.
    pub frameworks: Vec<Arc<FrameworkEntry>>,
    /// Frameworks that are over, and since when, oldest first.
    pub completed: Vec<(Arc<FrameworkEntry>, Timestamp)>,
    /// What operators have decided.
    pub rules: Rules,
    /// The store.
    pub entries: Vec<StoredEntry>,
    /// Leases that are or were held.
    pub leases: Vec<StoredLease>,
    /// Counts the commits of the store.
    pub revision: u64,
}

/// The id of a framework's entry.
pub(crate) fn id_of(entry: &FrameworkEntry) -> &FrameworkId {
    entry.framework.id.as_ref().expect("entries of the registry have their id")
}

#[cfg(test)]
mod tests;
