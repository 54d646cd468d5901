//! Where the store's file is, and what becomes of a file that could not be synced.
//!
//! When a sync fails, the system may hold pages that it never wrote and takes for written: read again they
//! look right, the next sync says nothing of them, and they are gone when the machine ends. So a file
//! whose sync has failed is set aside under another name, which lasts as long as those pages do, and what
//! can be read of it is written to a new file before it counts as stored again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend};

use super::{CACHE_BYTES, Raw, read_raw, write_raw};

/// The store.
pub(super) const STORE: &str = "raft.redb";

/// A store that could not be synced. If there is a [`STORE`] too, that has all that this one had.
pub(super) const DOUBTED: &str = "raft.redb.doubted";

/// A store that is being made from a doubted one. Whatever is in it is of no use until it has its name.
const RENEWED: &str = "raft.redb.renewed";

/// A directory with the store's files in it, by name.
pub(super) trait Place: Send {
    /// Opens a store, or makes it. `sync_failed` is set whenever it cannot be synced.
    fn open(&self, name: &str, sync_failed: &Arc<AtomicBool>) -> Result<Database, DatabaseError>;
    fn exists(&self, name: &str) -> io::Result<bool>;
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Replaces what has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Has all names last.
    fn sync(&self) -> io::Result<()>;
}

/// Has the store be one that can be trusted, if there is any: makes one anew from one in doubt.
pub(super) fn settle(place: &dyn Place, sync_failed: &AtomicBool) -> Result<(), redb::Error> {
    set_aside(place, sync_failed)?;
    if place.exists(DOUBTED)? {
        if !place.exists(STORE)? {
            renew(place)?;
        }
        place.sync()?;
        place.remove(DOUBTED)?;
    }
    Ok(())
}

/// Sets the store aside if it could not be synced. It must be closed.
pub(super) fn set_aside(place: &dyn Place, sync_failed: &AtomicBool) -> io::Result<()> {
    if sync_failed.load(Ordering::Acquire) {
        place.rename(STORE, DOUBTED)?;
        sync_failed.store(false, Ordering::Release);
    }
    Ok(())
}

/// Makes a store with all that can be read of the doubted one.
fn renew(place: &dyn Place) -> Result<(), redb::Error> {
    // All of it at once: what it is checked for here must be what is read from it.
    let image = InMemoryBackend::new();
    let bytes = place.read(DOUBTED)?;
    image.set_len(bytes.len() as u64)?;
    image.write(0, &bytes)?;
    drop(bytes);
    let doubted = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(image)?;
    let raw = read_raw(&doubted)?;
    if place.exists(RENEWED)? {
        place.remove(RENEWED)?;
    }
    let sync_failed = Arc::new(AtomicBool::new(false));
    let written = write_new(place, &raw, &sync_failed);
    if written.is_err() || sync_failed.load(Ordering::Acquire) {
        // The next attempt makes another one. This one leaves its room to others.
        place.remove(RENEWED)?;
        written?;
        return Err(io::Error::other("a new file cannot be synced").into());
    }
    Ok(place.rename(RENEWED, STORE)?)
}

fn write_new(
    place: &dyn Place,
    raw: &Raw,
    sync_failed: &Arc<AtomicBool>,
) -> Result<(), redb::Error> {
    write_raw(&place.open(RENEWED, sync_failed)?, raw)
}

/// A directory of the machine.
pub(super) struct Directory(pub(super) PathBuf);

impl Place for Directory {
    fn open(&self, name: &str, sync_failed: &Arc<AtomicBool>) -> Result<Database, DatabaseError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false);
        open_file(FileBackend::new(file.open(self.0.join(name))?)?, sync_failed)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.0.join(name).try_exists()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// Opens the store in `file`. `sync_failed` is set whenever it cannot be synced.
pub(super) fn open_file<F: StorageBackend>(
    file: F,
    sync_failed: &Arc<AtomicBool>,
) -> Result<Database, DatabaseError> {
    let watched = Watched { file, sync_failed: sync_failed.clone() };
    Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(watched)
}

/// A file that says when it cannot be synced. All else it leaves to the file.
#[derive(Debug)]
struct Watched<F> {
    file: F,
    sync_failed: Arc<AtomicBool>,
}

impl<F: StorageBackend> StorageBackend for Watched<F> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.file.sync_data();
        if synced.is_err() {
            self.sync_failed.store(true, Ordering::Release);
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
