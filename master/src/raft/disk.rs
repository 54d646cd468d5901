//! The store on disk: log, votes, snapshot, and who this master is.
//!
//! One thread uses it, after it was read once at the start. Whatever belongs together is written in
//! one transaction, so a crash leaves either all of a batch or nothing.

mod place;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use self::place::{DOUBTED, Directory, Place, STORE};

use protobuf2::Message as _;
use raft::eraftpb::{Entry, HardState, Message, Snapshot, SnapshotMetadata};
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    StorageError, TableDefinition, TableError,
};
use uuid::Uuid;

use super::error::RaftError;
use super::members::{Members, raft_id};
use super::membership::Membership;

/// Where every log begins: founders write the same snapshot there, so that nobody's log starts
/// without a list of members.
pub(crate) const FOUNDED_AT: u64 = 1;

/// The term of that snapshot; the first reign has the next one.
pub(crate) const FOUNDED_IN: u64 = 1;

/// Raised when what is stored changes in a way that older programs cannot read.
const FORMAT: u64 = 2;

/// Memory for redb's cache. The store is read once, at the start.
const CACHE_BYTES: usize = 16 << 20;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const MET: TableDefinition<'_, u64, &str> = TableDefinition::new("met");

const KEY_FORMAT: &str = "format";
const KEY_CLUSTER: &str = "cluster_id";
const KEY_DATA_ID: &str = "data_id";
const KEY_RAFT_ID: &str = "raft_id";
const KEY_MEMBERS: &str = "members";
const KEY_HARD_STATE: &str = "hard_state";
const KEY_SNAPSHOT: &str = "snapshot_metadata";
const KEY_SNAPSHOT_DATA: &str = "snapshot_data";

/// What stands for the list of founders in a directory that was made to join others.
const JOINED: &str = "joined";

/// How a log begins, where there is none yet.
pub(crate) enum Beginning {
    /// With these masters, this one among them.
    Founding(Members),
    /// Empty: this master joins a cluster, and gets its log from there. Without the cluster's id it
    /// only continues.
    Joining(Option<String>),
}

impl Beginning {
    /// What is noted of it, to be compared with flags later.
    fn text(&self) -> String {
        match self {
            Self::Founding(members) => members.text(),
            Self::Joining(_) => JOINED.to_owned(),
        }
    }
}

/// Who this master is; made with the data directory, and the same as long as it exists.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::struct_field_names, reason = "three ids are what it is")]
pub(crate) struct Identity {
    pub(crate) cluster_id: String,
    pub(crate) data_id: String,
    pub(crate) raft_id: u64,
}

/// All that was on disk.
pub(crate) struct Found {
    pub(crate) identity: Identity,
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: Snapshot,
    pub(crate) entries: Vec<Entry>,
    /// Data ids of the other masters, by raft id.
    pub(crate) met: BTreeMap<u64, String>,
}

/// A snapshot to be stored.
pub(crate) enum Stored {
    /// It came from the leader and replaces the log.
    Received(Snapshot),
    /// It was made here; entries up to `compacted` go.
    Made { snapshot: Snapshot, compacted: u64 },
}

/// What is to become durable, and what must wait for that.
#[derive(Default)]
pub(crate) struct Write {
    /// The protocol's number, to be acknowledged; 0 if it does not know of this write.
    pub(crate) number: u64,
    pub(crate) snapshot: Option<Stored>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: Option<HardState>,
    /// A master that was met for the first time: its raft id and data id.
    pub(crate) met: Option<(u64, String)>,
    /// Whether it must be on disk before it is acknowledged. What need not be is a commit index,
    /// which is written with the next batch that must.
    pub(crate) sync: bool,
    /// To be sent afterwards.
    pub(crate) messages: Vec<Message>,
}

/// The store.
pub(crate) struct Disk {
    path: PathBuf,
    place: Box<dyn Place>,
    /// Whether the file could not be synced, so that nobody knows what of it is stored.
    sync_failed: Arc<AtomicBool>,
    /// Absent after a write has failed, until it can be opened again. What had been durable by then is
    /// there: a transaction that fails leaves the file as if it had never begun, or is there in full. But
    /// if the file could not be synced, that is no more than what is seen of it: see [`place`].
    database: Option<Database>,
    /// Not yet written.
    hard_state: Option<HardState>,
    last: u64,
}

impl Disk {
    /// Opens the store in `dir`, or makes one that begins so.
    pub(crate) fn open(
        dir: &Path,
        own: &str,
        beginning: &Beginning,
    ) -> Result<(Self, Found), RaftError> {
        let directory = |source| RaftError::Directory { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(directory)?;
        let place = Box::new(Directory(dir.to_owned()));
        let store = Self::open_in(place, dir.join(STORE), own, beginning)?;
        // Or else a crash of the machine could lose the file's name, and with it all promises.
        store.0.place.sync().map_err(directory)?;
        Ok(store)
    }

    fn open_in(
        place: Box<dyn Place>,
        path: PathBuf,
        own: &str,
        beginning: &Beginning,
    ) -> Result<(Self, Found), RaftError> {
        let sync_failed = Arc::new(AtomicBool::new(false));
        let mut disk = Self { path, place, sync_failed, database: None, hard_state: None, last: 0 };
        let found = disk.find(own, beginning);
        if found.is_err() {
            disk.close();
        }
        Ok((disk, found?))
    }

    /// Reads the store, which begins so if it is new.
    fn find(&mut self, own: &str, beginning: &Beginning) -> Result<Found, RaftError> {
        let database = self.database()?;
        begin(database, own, beginning).map_err(|source| storage("make", source))?;
        let raw = read_raw(database).map_err(|source| storage("read", source))?;
        raw.understand(&self.path, beginning)
    }

    /// The store, opened again if it has to be.
    fn database(&mut self) -> Result<&Database, RaftError> {
        if self.database.is_none() {
            let renew = |source| storage("renew", source);
            place::settle(&*self.place, &self.sync_failed).map_err(renew)?;
            let path = self.path.clone();
            let open = |source| RaftError::Open { path, source: Box::new(source) };
            let database = self.place.open(STORE, &self.sync_failed).map_err(open)?;
            self.last = last_index(&database).map_err(|source| storage("read", source))?;
            self.database = Some(database);
        }
        Ok(self.database.as_ref().expect("just opened"))
    }

    /// Closes the store after a failure, for it to be opened anew.
    fn close(&mut self) {
        self.database = None;
        // If that fails, it is tried again before the store is opened.
        let _ = place::set_aside(&*self.place, &self.sync_failed);
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a batch, in order. What must be durable is when this returns.
    pub(crate) fn write(&mut self, batch: &[Write]) -> Result<(), RaftError> {
        for write in batch {
            if let Some(hard_state) = &write.hard_state {
                self.hard_state = Some(hard_state.clone());
            }
        }
        let needed = |write: &Write| write.sync || write.snapshot.is_some() || write.met.is_some();
        if !batch.iter().any(needed) {
            return Ok(());
        }
        let opened = self.database().map(drop);
        let transact = |()| self.transact(batch).map_err(|source| storage("write", source));
        let written = opened.and_then(transact);
        if written.is_err() {
            // It refuses everything after a failure, so it has to be opened anew.
            self.close();
        }
        written
    }

    fn transact(&mut self, batch: &[Write]) -> Result<(), redb::Error> {
        let database = self.database.as_ref().expect("opened by the caller");
        let transaction = database.begin_write()?;
        let mut last = self.last;
        {
            let mut meta = transaction.open_table(META)?;
            let mut log = transaction.open_table(LOG)?;
            for write in batch {
                if let Some((id, data_id)) = &write.met {
                    transaction.open_table(MET)?.insert(id, data_id.as_str())?;
                }
                let stored = match &write.snapshot {
                    Some(Stored::Received(snapshot)) => {
                        log.retain_in::<u64, _>(.., |_, _| false)?;
                        last = 0;
                        Some(snapshot)
                    }
                    Some(Stored::Made { snapshot, compacted }) => {
                        log.retain_in::<u64, _>(..=*compacted, |_, _| false)?;
                        Some(snapshot)
                    }
                    None => None,
                };
                if let Some(snapshot) = stored {
                    meta.insert(KEY_SNAPSHOT, &encoded(snapshot.get_metadata())[..])?;
                    meta.insert(KEY_SNAPSHOT_DATA, &snapshot.data[..])?;
                }
                if let Some(newest) = write.entries.last() {
                    if last > newest.index {
                        log.retain_in::<u64, _>(newest.index + 1.., |_, _| false)?;
                    }
                    last = newest.index;
                }
                for entry in &write.entries {
                    log.insert(entry.index, &encoded(entry)[..])?;
                }
            }
            if let Some(hard_state) = &self.hard_state {
                meta.insert(KEY_HARD_STATE, &encoded(hard_state)[..])?;
            }
        }
        transaction.commit()?;
        self.hard_state = None;
        self.last = last;
        Ok(())
    }
}

/// Makes the beginning of a log, unless there is one.
fn begin(database: &Database, own: &str, beginning: &Beginning) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        transaction.open_table(LOG)?;
        transaction.open_table(MET)?;
        if !meta.is_empty()? {
            return Ok(());
        }
        let data_id = Uuid::new_v4().to_string();
        let first = First::new(own, &data_id, beginning);
        // Without one, reading it will say that it is no store.
        if let Some(first) = first {
            meta.insert(KEY_FORMAT, &FORMAT.to_le_bytes()[..])?;
            meta.insert(KEY_CLUSTER, first.cluster_id.as_bytes())?;
            meta.insert(KEY_DATA_ID, data_id.as_bytes())?;
            meta.insert(KEY_RAFT_ID, &first.raft_id.to_le_bytes()[..])?;
            meta.insert(KEY_MEMBERS, beginning.text().as_bytes())?;
            meta.insert(KEY_HARD_STATE, &encoded(&first.hard_state)[..])?;
            meta.insert(KEY_SNAPSHOT, &encoded(first.snapshot.get_metadata())[..])?;
            meta.insert(KEY_SNAPSHOT_DATA, &first.snapshot.data[..])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn read_raw(database: &Database) -> Result<Raw, redb::Error> {
    let transaction = database.begin_read()?;
    let mut raw = Raw::default();
    for item in transaction.open_table(META)?.iter()? {
        let (key, value) = item?;
        raw.meta.insert(key.value().to_owned(), value.value().to_vec());
    }
    for item in transaction.open_table(LOG)?.iter()? {
        let (index, entry) = item?;
        raw.log.push((index.value(), entry.value().to_vec()));
    }
    for item in transaction.open_table(MET)?.iter()? {
        let (id, data_id) = item?;
        raw.met.insert(id.value(), data_id.value().to_owned());
    }
    Ok(raw)
}

/// Writes all of it to a store that is new.
fn write_raw(database: &Database, raw: &Raw) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        for (key, value) in &raw.meta {
            meta.insert(&**key, &value[..])?;
        }
        let mut log = transaction.open_table(LOG)?;
        for (index, entry) in &raw.log {
            log.insert(index, &entry[..])?;
        }
        let mut met = transaction.open_table(MET)?;
        for (id, data_id) in &raw.met {
            met.insert(id, &**data_id)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Index of the last entry; 0 if there is none.
fn last_index(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(LOG) {
        Ok(log) => Ok(log.last()?.map_or(0, |(index, _)| index.value())),
        // The file is new.
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Whether the same write may succeed later: the disk is full, or did not answer. Whatever else goes
/// wrong means that the store is not what it should be.
pub(crate) fn may_pass(error: &RaftError) -> bool {
    match error {
        RaftError::Storage { source, .. } => {
            matches!(**source, redb::Error::Io(_) | redb::Error::PreviousIo)
        }
        RaftError::Open { source, .. } => matches!(
            **source,
            DatabaseError::Storage(StorageError::Io(_) | StorageError::PreviousIo)
        ),
        RaftError::NotAmongPeers { .. }
        | RaftError::BadPeers { .. }
        | RaftError::BadSetting { .. }
        | RaftError::OtherMembers { .. }
        | RaftError::Moved { .. }
        | RaftError::Removed
        | RaftError::Directory { .. }
        | RaftError::Damaged { .. }
        | RaftError::Thread { .. }
        | RaftError::Protocol { .. }
        | RaftError::Restore { .. }
        | RaftError::LogLost { .. }
        | RaftError::Panicked { .. } => false,
    }
}

/// Whether there is a store in a data directory.
pub(crate) fn is_in(dir: &Path) -> bool {
    dir.join(STORE).exists() || dir.join(DOUBTED).exists()
}

/// What a new store begins with.
struct First {
    cluster_id: String,
    raft_id: u64,
    hard_state: HardState,
    snapshot: Snapshot,
}

impl First {
    fn new(own: &str, data_id: &str, beginning: &Beginning) -> Option<Self> {
        match beginning {
            Beginning::Founding(members) => Some(Self::founding(own, data_id, members)),
            Beginning::Joining(cluster_id) => Some(Self::joining(cluster_id.as_ref()?, data_id)),
        }
    }

    fn founding(own: &str, data_id: &str, members: &Members) -> Self {
        let (cluster_id, raft_id, addresses) = if members.is_alone() {
            let id = raft_id(data_id);
            (Uuid::new_v4().to_string(), id, BTreeMap::from([(id, own.to_owned())]))
        } else {
            (members.cluster_id(), raft_id(own), members.addresses())
        };
        let hard_state = HardState { term: FOUNDED_IN, commit: FOUNDED_AT, ..Default::default() };
        Self { cluster_id, raft_id, hard_state, snapshot: founding_snapshot(addresses) }
    }

    /// An id of its own for each directory: one that was lost takes its id with it.
    fn joining(cluster_id: &str, data_id: &str) -> Self {
        let cluster_id = cluster_id.to_owned();
        let (hard_state, snapshot) = (HardState::default(), Snapshot::default());
        Self { cluster_id, raft_id: raft_id(data_id), hard_state, snapshot }
    }
}

/// The snapshot that all founders begin with.
pub(crate) fn founding_snapshot(addresses: BTreeMap<u64, String>) -> Snapshot {
    let mut metadata = SnapshotMetadata { index: FOUNDED_AT, ..Default::default() };
    metadata.term = FOUNDED_IN;
    metadata.mut_conf_state().voters = addresses.keys().copied().collect();
    let mut snapshot = Snapshot::default();
    snapshot.set_metadata(metadata);
    snapshot.data = Membership::founded(addresses).around(Vec::new()).into();
    snapshot
}

/// What was read, as bytes.
#[derive(Default)]
struct Raw {
    meta: BTreeMap<String, Vec<u8>>,
    log: Vec<(u64, Vec<u8>)>,
    met: BTreeMap<u64, String>,
}

impl Raw {
    fn understand(self, path: &Path, beginning: &Beginning) -> Result<Found, RaftError> {
        let doubt = Doubt { path, meta: &self.meta };
        let format = doubt.number(KEY_FORMAT)?;
        if format != FORMAT {
            return Err(doubt.damaged(format!("its format is {format}, this program's {FORMAT}")));
        }
        let stored = doubt.text(KEY_MEMBERS)?;
        // Who wants to join is content with being a member already, however that came.
        if stored != beginning.text() && matches!(beginning, Beginning::Founding(_)) {
            let shown = |text: String| match &*text {
                "" => "one master".to_owned(),
                JOINED => "masters that it joined (start it with --join)".to_owned(),
                _ => text,
            };
            return Err(RaftError::OtherMembers {
                path: path.to_owned(),
                stored: shown(stored),
                configured: shown(beginning.text()),
            });
        }
        let mut hard_state = HardState::default();
        doubt.message(KEY_HARD_STATE, &mut hard_state)?;
        let mut snapshot = Snapshot::default();
        doubt.message(KEY_SNAPSHOT, snapshot.mut_metadata())?;
        snapshot.data = doubt.bytes(KEY_SNAPSHOT_DATA)?.to_vec().into();
        let covered = snapshot.get_metadata().index;
        let mut entries = Vec::with_capacity(self.log.len());
        let mut next = None;
        for (index, bytes) in &self.log {
            let mut entry = Entry::default();
            let read = entry.merge_from_bytes(bytes);
            if read.is_err() || entry.index != *index || next.is_some_and(|next| next != *index) {
                return Err(doubt.damaged(format!("entry {index} is not what it should be")));
            }
            next = Some(index + 1);
            entries.push(entry);
        }
        let first = entries.first().map_or(covered + 1, |entry| entry.index);
        if first > covered + 1 || next.is_some_and(|next| next <= covered) {
            return Err(doubt.damaged(format!("the log does not join the snapshot at {covered}")));
        }
        let identity = Identity {
            cluster_id: doubt.text(KEY_CLUSTER)?,
            data_id: doubt.text(KEY_DATA_ID)?,
            raft_id: doubt.number(KEY_RAFT_ID)?,
        };
        Ok(Found { identity, hard_state, snapshot, entries, met: self.met })
    }
}

/// Reads values that must be there and be right.
struct Doubt<'a> {
    path: &'a Path,
    meta: &'a BTreeMap<String, Vec<u8>>,
}

impl Doubt<'_> {
    fn damaged(&self, what: String) -> RaftError {
        RaftError::Damaged { path: PathBuf::from(self.path), what }
    }

    fn bytes(&self, key: &str) -> Result<&[u8], RaftError> {
        let bytes = self.meta.get(key).map(Vec::as_slice);
        bytes.ok_or_else(|| self.damaged(format!("{key} is missing")))
    }

    fn text(&self, key: &str) -> Result<String, RaftError> {
        String::from_utf8(self.bytes(key)?.to_vec())
            .map_err(|_| self.damaged(format!("{key} is no text")))
    }

    fn number(&self, key: &str) -> Result<u64, RaftError> {
        let bytes = self.bytes(key)?.try_into();
        Ok(u64::from_le_bytes(bytes.map_err(|_| self.damaged(format!("{key} is no number")))?))
    }

    fn message(&self, key: &str, into: &mut impl protobuf2::Message) -> Result<(), RaftError> {
        into.merge_from_bytes(self.bytes(key)?)
            .map_err(|_| self.damaged(format!("{key} cannot be read")))
    }
}

fn encoded(message: &impl protobuf2::Message) -> Vec<u8> {
    message.write_to_bytes().expect("messages without required fields can always be written")
}

fn storage(doing: &'static str, source: redb::Error) -> RaftError {
    RaftError::Storage { doing, source: Box::new(source) }
}

#[cfg(test)]
mod tests;
