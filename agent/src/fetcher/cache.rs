//! Downloads that are kept for the next launch that asks for the same.
//!
//! One directory with a file for each download, which nobody but the agent reads. It is empty when an
//! agent starts: what a file was is known to this process alone. At most so many bytes are kept; who
//! was used last stays longest, and what is being used stays in any case.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// What is the same download: for the same user, from the same place, with the same checksum.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub(super) user: Option<u32>,
    pub(super) uri: String,
    pub(super) checksum: Option<String>,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    bytes_max: u64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<Key, Entry>,
    /// What all that is there takes.
    bytes: u64,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    /// Set once the download is there. Those who want it meanwhile wait for that.
    ready: Arc<OnceCell<()>>,
    path: PathBuf,
    bytes: u64,
    used_at: u64,
    users: usize,
}

/// A file of the cache that is there as long as this is.
#[derive(Debug)]
pub(super) struct InUse<'a> {
    cache: &'a Cache,
    key: Key,
    path: PathBuf,
}

impl InUse<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.cache.leave(&self.key);
    }
}

impl Cache {
    /// Makes the directory and empties it.
    pub(super) fn new(directory: PathBuf, bytes_max: u64) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory, bytes_max, table: Mutex::default() })
    }

    /// The most that one file may have.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// What is kept.
    pub(super) fn bytes(&self) -> u64 {
        self.table.lock().bytes
    }

    /// Gives the file for `key`. If it is not there `download` is asked to make it, once for all who
    /// want it at the same time; if that fails the next of them tries.
    pub(super) async fn get<E>(
        &self,
        key: Key,
        download: impl AsyncFnOnce(&Path) -> Result<u64, E>,
    ) -> Result<InUse<'_>, E> {
        let (ready, path) = self.enter(&key);
        let in_use = InUse { cache: self, key, path };
        ready
            .get_or_try_init(async || {
                let bytes = download(&in_use.path).await?;
                self.admit(&in_use.key, bytes);
                Ok(())
            })
            .await?;
        Ok(in_use)
    }

    fn enter(&self, key: &Key) -> (Arc<OnceCell<()>>, PathBuf) {
        let mut table = self.table.lock();
        table.clock += 1;
        let now = table.clock;
        let entry = table.entries.entry(key.clone()).or_insert_with(|| Entry {
            ready: Arc::default(),
            path: self.directory.join(now.to_string()),
            bytes: 0,
            used_at: now,
            users: 0,
        });
        entry.used_at = now;
        entry.users += 1;
        (Arc::clone(&entry.ready), entry.path.clone())
    }

    /// Counts a new file, and makes room for it.
    fn admit(&self, key: &Key, bytes: u64) {
        let mut table = self.table.lock();
        table.bytes += bytes;
        if let Some(entry) = table.entries.get_mut(key) {
            entry.bytes = bytes;
        }
        self.make_room(&mut table);
    }

    fn leave(&self, key: &Key) {
        let mut table = self.table.lock();
        let Some(entry) = table.entries.get_mut(key) else { return };
        entry.users -= 1;
        if entry.users == 0 && entry.ready.get().is_none() {
            remove(&mut table, key);
        }
        // What was in use when room was needed goes now.
        self.make_room(&mut table);
    }

    fn make_room(&self, table: &mut Table) {
        while table.bytes > self.bytes_max {
            let unused = table.entries.iter().filter(|(_, entry)| entry.users == 0);
            let Some((oldest, _)) = unused.min_by_key(|(_, entry)| entry.used_at) else { return };
            let oldest = oldest.clone();
            remove(table, &oldest);
        }
    }
}

fn remove(table: &mut Table, key: &Key) {
    if let Some(entry) = table.entries.remove(key) {
        table.bytes -= entry.bytes;
        // One that stays is removed when the next agent starts.
        let _ = fs::remove_file(entry.path);
    }
}
