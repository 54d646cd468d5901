//! The framework store: small state of frameworks, and leases by which they choose a leader.

use model::payload::Payload;
use model::registry::{LeaseAcquire, StoreCommit};
use model::step::Timestamp;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest namespace, lease name or holder, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest value, in bytes. A registry in memory on every master is no place for blobs.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest commit, keys and values together, in bytes: one Raft entry must stay a small message.
pub const COMMIT_BYTES_MAX: usize = 4 << 20;
/// How many keys there may be, in all namespaces together.
pub const ENTRIES_MAX: usize = 1_000_000;
/// How much there may be, keys and values of all namespaces together, in bytes: every master keeps it in
/// memory, and its snapshots hold all of it.
pub const BYTES_MAX: usize = 1 << 30;
/// How many leases there may be: names are remembered for ever, since their tokens must grow.
pub const LEASES_MAX: usize = 10_000;
/// Longest lease: whoever dies with one blocks the others for so long.
pub const LEASE_TTL_MAX: Duration = Duration::from_secs(3_600);

/// Why writes or a lease are refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreRefusal {
    /// A key was written meanwhile.
    #[error("'{key}' has revision {found}, not {wanted}")]
    RevisionDiffers {
        /// The key.
        key: Arc<str>,
        /// The revision that was to be; 0: none.
        wanted: u64,
        /// The revision that is; 0: the key does not exist.
        found: u64,
    },
    /// The lease has changed hands or is over.
    #[error("the lease '{name}' is not held by token {token}")]
    LeaseLost {
        /// The lease.
        name: Arc<str>,
        /// The token that was given.
        token: u64,
    },
    /// A name is empty or too long.
    #[error("{what} must have 1 to {max} bytes")]
    BadName {
        /// What is named.
        what: &'static str,
        /// How long it may be.
        max: usize,
    },
    /// A value is too long.
    #[error("the value of '{key}' has {bytes} bytes, at most {VALUE_BYTES_MAX} fit")]
    ValueTooLong {
        /// The key.
        key: Arc<str>,
        /// How long the value is.
        bytes: usize,
    },
    /// The commit is too long.
    #[error("the commit has {bytes} bytes, at most {COMMIT_BYTES_MAX} fit; split it")]
    CommitTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The store is full.
    #[error("the store is full: it has {ENTRIES_MAX} keys or {BYTES_MAX} bytes; delete some")]
    Full,
    /// Too many leases.
    #[error("there are {LEASES_MAX} leases, no more can be made")]
    TooManyLeases,
    /// A lease of no time, or of too much.
    #[error("a lease must last longer than nothing and at most an hour")]
    BadTtl,
}

/// A value and when it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The value.
    pub value: Payload,
    /// The revision of its last write.
    pub revision: u64,
}

/// A key of the store with its value, for snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEntry {
    /// Whose key.
    pub namespace: Arc<str>,
    /// The key.
    pub key: Arc<str>,
    /// The value.
    pub stored: Stored,
}

/// A lease, for snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLease {
    /// Whose lease.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Who has or had it.
    pub holder: Arc<str>,
    /// What others are to know of the holder.
    pub note: Payload,
    /// Grows each time the lease changes hands.
    pub token: u64,
    /// When it is over; zero: it was given back.
    pub expires_at: Timestamp,
}

/// Who has a lease, as told to whoever asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseView {
    /// Whether it is whoever asked.
    pub is_acquired: bool,
    /// Grows each time the lease changes hands.
    pub token: u64,
    /// The holder.
    pub holder: Arc<str>,
    /// The holder's note.
    pub note: Payload,
    /// How long it still holds.
    pub remaining: Duration,
}

#[derive(Clone, Debug, PartialEq)]
struct Lease {
    holder: Arc<str>,
    note: Payload,
    token: u64,
    /// Zero once it was given back.
    expires_at: Timestamp,
}

impl Lease {
    fn is_held_at(&self, at: Timestamp) -> bool {
        self.expires_at > at
    }
}

/// The framework store.
///
/// Invariant: `entries` counts the keys of all namespaces and `bytes` what they and their values take;
/// no namespace is kept empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Store {
    namespaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Stored>>,
    leases: BTreeMap<(Arc<str>, Arc<str>), Lease>,
    entries: usize,
    bytes: usize,
    revision: u64,
}

impl Stored {
    /// What it takes with its key.
    fn bytes(&self, key: &str) -> usize {
        key.len() + self.value.as_bytes().len()
    }
}

/// Whether a commit is within limits, so that it can be refused before anybody agrees on it.
pub fn check_commit(commit: &StoreCommit) -> Result<(), StoreRefusal> {
    check_name("a namespace", &commit.namespace, NAME_BYTES_MAX)?;
    let mut bytes = 0;
    for (key, _) in &commit.conditions {
        check_name("a key", key, KEY_BYTES_MAX)?;
        bytes += key.len();
    }
    for (key, value) in &commit.writes {
        check_name("a key", key, KEY_BYTES_MAX)?;
        let value_bytes = value.as_ref().map_or(0, |value| value.as_bytes().len());
        if value_bytes > VALUE_BYTES_MAX {
            return Err(StoreRefusal::ValueTooLong { key: key.clone(), bytes: value_bytes });
        }
        bytes += key.len() + value_bytes;
    }
    if bytes > COMMIT_BYTES_MAX {
        return Err(StoreRefusal::CommitTooLong { bytes });
    }
    Ok(())
}

/// Whether a lease may be asked for like this.
pub fn check_lease(wanted: &LeaseAcquire) -> Result<(), StoreRefusal> {
    check_name("a namespace", &wanted.namespace, NAME_BYTES_MAX)?;
    check_name("a lease's name", &wanted.name, NAME_BYTES_MAX)?;
    check_name("a lease's holder", &wanted.holder, NAME_BYTES_MAX)?;
    if wanted.note.as_bytes().len() > VALUE_BYTES_MAX {
        let bytes = wanted.note.as_bytes().len();
        return Err(StoreRefusal::ValueTooLong { key: wanted.name.clone(), bytes });
    }
    if wanted.ttl.is_zero() || wanted.ttl > LEASE_TTL_MAX {
        return Err(StoreRefusal::BadTtl);
    }
    Ok(())
}

fn check_name(what: &'static str, name: &str, max: usize) -> Result<(), StoreRefusal> {
    if name.is_empty() || name.len() > max {
        return Err(StoreRefusal::BadName { what, max });
    }
    Ok(())
}

impl Store {
    /// Counts the commits so far.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The value of a key.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&Stored> {
        self.namespaces.get(namespace)?.get(key)
    }

    /// Keys that begin with `prefix` and come after `after`, in order.
    pub fn list<'a>(
        &'a self,
        namespace: &str,
        prefix: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Stored)> {
        let from = if after >= prefix && !after.is_empty() {
            Bound::Excluded(after)
        } else {
            Bound::Included(prefix)
        };
        self.namespaces
            .get(namespace)
            .into_iter()
            .flat_map(move |entries| entries.range::<str, _>((from, Bound::Unbounded)))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Who has a lease at `at`; absent if nobody ever had it.
    pub fn lease(&self, namespace: &str, name: &str, at: Timestamp) -> Option<LeaseView> {
        let lease = self.leases.get(&(Arc::from(namespace), Arc::from(name)))?;
        Some(LeaseView {
            is_acquired: false,
            token: lease.token,
            holder: lease.holder.clone(),
            note: lease.note.clone(),
            remaining: lease.expires_at.since(at),
        })
    }

    pub(super) fn commit(&mut self, commit: &StoreCommit) -> Result<u64, StoreRefusal> {
        check_commit(commit)?;
        if let Some((name, token)) = &commit.lease {
            let lease = self.leases.get(&(commit.namespace.clone(), name.clone()));
            if !lease.is_some_and(|lease| lease.token == *token && lease.is_held_at(commit.at)) {
                return Err(StoreRefusal::LeaseLost { name: name.clone(), token: *token });
            }
        }
        for (key, wanted) in &commit.conditions {
            let found = self.get(&commit.namespace, key).map_or(0, |stored| stored.revision);
            if found != *wanted {
                let (key, wanted) = (key.clone(), *wanted);
                return Err(StoreRefusal::RevisionDiffers { key, wanted, found });
            }
        }
        let is_new = |key: &str| self.get(&commit.namespace, key).is_none();
        let added = commit.writes.iter().filter(|(key, value)| value.is_some() && is_new(key));
        let added = added.count();
        let bytes = |(key, value): &(Arc<str>, Option<Payload>)| {
            value.as_ref().map_or(0, |value| key.len() + value.as_bytes().len())
        };
        let more: usize = commit.writes.iter().map(bytes).sum();
        let replaced = |(key, _): &(Arc<str>, Option<Payload>)| {
            self.get(&commit.namespace, key).map_or(0, |stored| stored.bytes(key))
        };
        let less: usize = commit.writes.iter().map(replaced).sum();
        // What only makes room must always be possible.
        let is_too_much = more > less && self.bytes + more - less > BYTES_MAX;
        if is_too_much || self.entries + added > ENTRIES_MAX {
            return Err(StoreRefusal::Full);
        }
        self.revision += 1;
        let entries = self.namespaces.entry(commit.namespace.clone()).or_default();
        for (key, value) in &commit.writes {
            let before = match value {
                Some(value) => {
                    let stored = Stored { value: value.clone(), revision: self.revision };
                    self.entries += 1;
                    self.bytes += stored.bytes(key);
                    entries.insert(key.clone(), stored)
                }
                None => entries.remove(key),
            };
            if let Some(before) = before {
                self.entries -= 1;
                self.bytes -= before.bytes(key);
            }
        }
        if entries.is_empty() {
            self.namespaces.remove(&commit.namespace);
        }
        Ok(self.revision)
    }

    pub(super) fn acquire(&mut self, wanted: &LeaseAcquire) -> Result<LeaseView, StoreRefusal> {
        check_lease(wanted)?;
        let key = (wanted.namespace.clone(), wanted.name.clone());
        let held = self.leases.get(&key);
        if held.is_none() && self.leases.len() >= LEASES_MAX {
            return Err(StoreRefusal::TooManyLeases);
        }
        if let Some(lease) = held
            && lease.is_held_at(wanted.at)
            && lease.holder != wanted.holder
        {
            return Ok(LeaseView {
                is_acquired: false,
                token: lease.token,
                holder: lease.holder.clone(),
                note: lease.note.clone(),
                remaining: lease.expires_at.since(wanted.at),
            });
        }
        // A lease that ran out gets a new token even for its last holder: it may have been away.
        let token = match held {
            Some(lease) if lease.is_held_at(wanted.at) => lease.token,
            Some(lease) => lease.token + 1,
            None => 1,
        };
        let lease = Lease {
            holder: wanted.holder.clone(),
            note: wanted.note.clone(),
            token,
            expires_at: wanted.at.plus(wanted.ttl),
        };
        self.leases.insert(key, lease);
        Ok(LeaseView {
            is_acquired: true,
            token,
            holder: wanted.holder.clone(),
            note: wanted.note.clone(),
            remaining: wanted.ttl,
        })
    }

    pub(super) fn release(&mut self, namespace: &Arc<str>, name: &Arc<str>, token: u64) -> bool {
        match self.leases.get_mut(&(namespace.clone(), name.clone())) {
            Some(lease) if lease.token == token && lease.expires_at > Timestamp(0) => {
                lease.expires_at = Timestamp(0);
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn to_parts(&self) -> (Vec<StoredEntry>, Vec<StoredLease>) {
        let entries = self.namespaces.iter().flat_map(|(namespace, entries)| {
            entries.iter().map(|(key, stored)| StoredEntry {
                namespace: namespace.clone(),
                key: key.clone(),
                stored: stored.clone(),
            })
        });
        let leases = self.leases.iter().map(|((namespace, name), lease)| StoredLease {
            namespace: namespace.clone(),
            name: name.clone(),
            holder: lease.holder.clone(),
            note: lease.note.clone(),
            token: lease.token,
            expires_at: lease.expires_at,
        });
        (entries.collect(), leases.collect())
    }

    pub(super) fn from_parts(
        entries: Vec<StoredEntry>,
        leases: Vec<StoredLease>,
        revision: u64,
    ) -> Self {
        let mut store = Self { revision, ..Self::default() };
        for StoredEntry { namespace, key, stored } in entries {
            let bytes = stored.bytes(&key);
            let before = store.namespaces.entry(namespace).or_default().insert(key, stored);
            if before.is_none() {
                store.entries += 1;
                store.bytes += bytes;
            }
        }
        for StoredLease { namespace, name, holder, note, token, expires_at } in leases {
            store.leases.insert((namespace, name), Lease { holder, note, token, expires_at });
        }
        store
    }
}
