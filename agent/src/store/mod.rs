//! The agent's memory: records by key, durable one batch at a time.

mod format;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_core::Record;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// The records, by their keys.
const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");

/// What is known about the store itself.
const ABOUT: TableDefinition<'static, &str, &str> = TableDefinition::new("about");

/// The format of the records. A program that finds another one does not touch them.
const FORMAT: &str = "1";

/// Why records cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// Reading or writing failed.
    #[error("cannot {action} checkpoints: {source}")]
    Use {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: Box<redb::Error>,
    },
    /// Another version of this program has written them.
    #[error("the checkpoints are of format {found}, and this version reads {FORMAT}; run a version that knows it, or remove {} to start as a new agent", path.display())]
    Format {
        /// The format found.
        found: String,
        /// Where.
        path: PathBuf,
    },
    /// A record cannot be understood.
    #[error("a checkpoint is damaged: {0}; remove the store to start as a new agent")]
    Damaged(String),
}

fn used(action: &'static str, error: impl Into<redb::Error>) -> StoreError {
    StoreError::Use { action, source: Box::new(error.into()) }
}

/// Where records are kept.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// In a file.
    Disk(Arc<Database>),
    /// Nowhere: what is written is forgotten. For simulated agents.
    Nowhere,
}

/// What was in a store when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The records.
    pub(crate) records: Vec<Record>,
    /// The boot in which they were last written; absent in a new store.
    pub(crate) boot_id: Option<String>,
}

impl Store {
    /// Opens or makes the store at `path`, reads it, and notes the present boot. Blocks.
    pub(crate) fn open(path: &Path, boot_id: &str) -> Result<(Self, Loaded), StoreError> {
        let is_there = path.exists();
        let create = |path: &Path| {
            Database::create(path).map_err(|error| StoreError::Open {
                path: path.to_owned(),
                source: Box::new(error.into()),
            })
        };
        // From now on it is nobody else's.
        let mut database = create(path)?;
        if is_there {
            match write_anew(path, create) {
                Ok(written) => database = written,
                Err(error) => tracing::warn!(
                    path = %path.display(),
                    %error,
                    "the checkpoints could not be written anew; should the last run have ended since its \
                     disk failed, keep the machine up until this succeeds at a start of the agent"
                ),
            }
        }
        let loaded = load(&database, path, boot_id)?;
        Ok((Self::Disk(Arc::new(database)), loaded))
    }

    /// Writes `records` in order, all or none, and returns when they are on disk. Blocks.
    pub(crate) fn write(&self, records: &[Record]) -> Result<(), StoreError> {
        let Self::Disk(database) = self else { return Ok(()) };
        let transaction = database.begin_write().map_err(|error| used("write", error))?;
        {
            let mut table =
                transaction.open_table(RECORDS).map_err(|error| used("write", error))?;
            for record in records {
                let key = format::key(&record.key());
                if record.is_forget() {
                    table.remove(key.as_slice()).map_err(|error| used("write", error))?;
                } else {
                    let value = format::encode(record);
                    table
                        .insert(key.as_slice(), value.as_slice())
                        .map_err(|error| used("write", error))?;
                }
            }
        }
        transaction.commit().map_err(|error| used("write", error))
    }

    /// Whether writing takes time.
    pub(crate) fn is_durable(&self) -> bool {
        matches!(self, Self::Disk(_))
    }
}

/// Bytes that are copied at a time.
const COPIED_BYTES: usize = 1 << 20;

/// Writes a store that is there once more, to another file in its place.
///
/// Where a disk has failed to take what was written the kernel says so once, and from then on shows what
/// was written as if it were on disk. An agent ends at that, and the next one would read what is lost
/// with the machine's memory. What is written anew is known to be on disk.
fn write_anew(
    path: &Path,
    create: impl Fn(&Path) -> Result<Database, StoreError>,
) -> Result<Database, StoreError> {
    let beside = path.with_extension("new");
    let failed = |error: io::Error| used("copy", redb::Error::Io(error));
    let written = || {
        copy(path, &beside).map_err(failed)?;
        // Opened before it has its name, so that it is never anybody else's.
        let database = create(&beside)?;
        fs::rename(&beside, path).map_err(failed)?;
        let around = File::open(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        around.sync_all().map_err(failed)?;
        Ok(database)
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// Copies a file, not by a call that has the kernel share what is on disk.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut before = File::open(from)?;
    let mut file = File::create(to)?;
    file.set_permissions(before.metadata()?.permissions())?;
    let mut chunk = vec![0; COPIED_BYTES];
    loop {
        match before.read(&mut chunk)? {
            0 => return file.sync_all(),
            read => file.write_all(&chunk[..read])?,
        }
    }
}

fn load(database: &Database, path: &Path, boot_id: &str) -> Result<Loaded, StoreError> {
    let failed = |error: redb::Error| used("read", error);
    let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
    let boot_before = {
        let mut about = transaction.open_table(ABOUT).map_err(|error| failed(error.into()))?;
        let text = |about: &redb::Table<'_, &str, &str>, key: &str| {
            let value = about.get(key).map_err(|error| failed(error.into()))?;
            Ok::<_, StoreError>(value.map(|value| value.value().to_owned()))
        };
        if let Some(found) = text(&about, "format")?
            && found != FORMAT
        {
            return Err(StoreError::Format { found, path: path.to_owned() });
        }
        let boot_before = text(&about, "boot")?;
        about.insert("format", FORMAT).map_err(|error| failed(error.into()))?;
        about.insert("boot", boot_id).map_err(|error| failed(error.into()))?;
        // So that it is there to be read.
        transaction.open_table(RECORDS).map_err(|error| failed(error.into()))?;
        boot_before
    };
    transaction.commit().map_err(|error| failed(error.into()))?;

    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let table = transaction.open_table(RECORDS).map_err(|error| failed(error.into()))?;
    let mut records = Vec::new();
    for entry in table.iter().map_err(|error| failed(error.into()))? {
        let (key, value) = entry.map_err(|error| failed(error.into()))?;
        records.push(format::decode(key.value(), value.value()).map_err(StoreError::Damaged)?);
    }
    Ok(Loaded { records, boot_id: boot_before })
}

#[cfg(test)]
mod tests;
