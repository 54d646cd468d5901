//! Where images are kept: unpacked layers, each under its digest, and for each reference a record of
//! what it is made of.
//!
//! A layer is made in a directory of its own and renamed when it is whole; a record is written when
//! all its layers are on disk. When an agent starts, whatever no record names is cleared away, for a
//! crash of the machine may have left it half written. So what is found is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock, syncfs};
use serde::{Deserialize, Serialize};

use super::config::RunConfig;
use super::{Reason, digest};

/// Tells where the layers are that containers are made of.
pub(super) type Users = dyn Fn() -> io::Result<BTreeSet<PathBuf>> + Send + Sync;

/// What a reference stands for in this store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Record {
    /// The whole reference.
    pub(super) reference: String,
    /// Digest of the manifest, or where there is none of the configuration.
    pub(super) manifest: String,
    /// Digests of the unpacked layers, the lowest first.
    pub(super) layers: Vec<String>,
    /// How to run it.
    pub(super) config: RunConfig,
}

/// The store, which one agent has at a time.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// Locked as long as it is there.
    lock: Mutex<Option<File>>,
    made: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    records: BTreeMap<String, Record>,
    /// How many need a layer that no record or running container may name yet.
    leases: BTreeMap<String, usize>,
}

/// Layers that are not removed as long as this is there.
#[derive(Debug)]
pub(super) struct Lease {
    store: Arc<Store>,
    layers: Vec<String>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = self.store.table.lock();
        for layer in &self.layers {
            if let Some(count) = table.leases.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    table.leases.remove(layer);
                }
            }
        }
    }
}

/// A directory for what is not whole yet; removed with all in it unless it was taken.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
}

impl Staged {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // One that stays is removed when the next agent starts.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Store {
    /// Opens the store in `dir`, which is made if it is not there, and clears away what is not whole.
    /// Layers that `in_use` tells of stay. Blocks.
    pub(super) fn open(dir: &Path, in_use: &Users) -> Result<Self, Reason> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Reason::Store { path, source }
        };
        make_directory(dir).map_err(at(dir))?;
        let dir = dir.canonicalize().map_err(at(dir))?;
        let lock = dir.join("lock");
        let held = File::create(&lock).map_err(at(&lock))?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            let source = io::Error::new(
                io::Error::from(errno).kind(),
                format!("another agent may be using it, give each its own: {errno}"),
            );
            Reason::Store { path: lock, source }
        })?;
        let store = Self {
            dir,
            lock: Mutex::new(Some(held)),
            made: AtomicU64::new(0),
            table: Mutex::default(),
        };
        let staging = store.dir.join("staging");
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&staging)(error));
            }
            Ok(()) | Err(_) => {}
        }
        for directory in [staging, store.layers(), store.dir.join("images")] {
            make_directory(&directory).map_err(at(&directory))?;
        }
        store.load().map_err(at(&store.dir))?;
        let swept = store.sweep(in_use).map_err(at(&store.dir))?;
        if !swept.is_empty() {
            tracing::info!(layers = swept.len(), "removed layers that no image is made of");
        }
        Ok(store)
    }

    fn layers(&self) -> PathBuf {
        self.dir.join("layers")
    }

    /// Lets another agent have the store. Nothing is to be taken in any more.
    pub(super) fn close(&self) {
        self.lock.lock().take();
    }

    /// Where a layer is, if it is.
    pub(super) fn layer(&self, diff_id: &str) -> PathBuf {
        // A digest is one name without a slash.
        self.layers().join(diff_id.replace(':', "-"))
    }

    fn record_file(&self, reference: &str) -> PathBuf {
        let name = digest::of(reference.as_bytes()).replace(':', "-");
        self.dir.join("images").join(name).with_extension("json")
    }

    fn load(&self) -> io::Result<()> {
        let mut table = self.table.lock();
        for entry in fs::read_dir(self.dir.join("images"))? {
            let path = entry?.path();
            let record = fs::read(&path).ok();
            let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
            let whole = |record: &Record| {
                self.record_file(&record.reference) == path
                    && record.layers.iter().all(|layer| self.layer(layer).is_dir())
            };
            match record.filter(whole) {
                Some(record) => {
                    table.records.insert(record.reference.clone(), record);
                }
                None => fs::remove_file(&path)?,
            }
        }
        Ok(())
    }

    /// Makes a directory for something that is not whole yet.
    pub(super) fn stage(&self) -> Result<Staged, Reason> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join("staging").join(number.to_string());
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| Reason::Store { path: path.clone(), source })?;
        Ok(Staged { path })
    }

    /// Keeps layers from being removed, those that come among them.
    pub(super) fn lease(self: &Arc<Self>, layers: &[String]) -> Lease {
        let mut table = self.table.lock();
        for layer in layers {
            *table.leases.entry(layer.clone()).or_default() += 1;
        }
        Lease { store: Arc::clone(self), layers: layers.to_vec() }
    }

    /// What a reference stands for, with its layers kept from being removed. It counts as used now.
    pub(super) fn find(self: &Arc<Self>, reference: &str) -> Option<(Record, Lease)> {
        // Under one lock, so that nothing is removed in between.
        let mut table = self.table.lock();
        let record = table.records.get(reference)?.clone();
        for layer in &record.layers {
            *table.leases.entry(layer.clone()).or_default() += 1;
        }
        drop(table);
        let lease = Lease { store: Arc::clone(self), layers: record.layers.clone() };
        if let Ok(file) = File::options().write(true).open(self.record_file(reference)) {
            // It says only what goes first when room is needed.
            let _ = file.set_modified(SystemTime::now());
        }
        Some((record, lease))
    }

    /// Takes in a layer that is whole. Blocks.
    pub(super) fn admit_layer(&self, staged: &Path, diff_id: &str) -> Result<(), Reason> {
        let path = self.layer(diff_id);
        match fs::rename(staged, &path) {
            // Somebody else brought the same.
            Err(_) if path.is_dir() => Ok(()),
            Err(source) => Err(Reason::Store { path, source }),
            Ok(()) => Ok(()),
        }
    }

    /// Writes down what a reference stands for, once all of it is on disk. Blocks.
    pub(super) fn admit(&self, record: Record) -> Result<(), Reason> {
        use std::io::Write;
        let path = self.record_file(&record.reference);
        let failed = |source| Reason::Store { path: path.clone(), source };
        let staged = self.stage()?;
        let partial = staged.path().join("record");
        let written = || -> io::Result<()> {
            let directory = File::open(self.dir.join("images"))?;
            syncfs(&directory)?;
            let mut file = File::create(&partial)?;
            file.write_all(&serde_json::to_vec(&record)?)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            directory.sync_all()
        };
        written().map_err(failed)?;
        self.table.lock().records.insert(record.reference.clone(), record);
        Ok(())
    }

    /// Whether somebody needs a layer that no container may name yet.
    pub(super) fn is_leased(&self, layer: &str) -> bool {
        self.table.lock().leases.contains_key(layer)
    }

    /// Forgets a reference.
    pub(super) fn forget(&self, reference: &str) -> io::Result<()> {
        let mut table = self.table.lock();
        table.records.remove(reference);
        match fs::remove_file(self.record_file(reference)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// All references, those that were not used for longest first.
    pub(super) fn by_last_use(&self) -> Vec<Record> {
        let table = self.table.lock();
        let used = |record: &Record| {
            let file = fs::metadata(self.record_file(&record.reference));
            file.and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let mut all: Vec<_> = table.records.values().map(|it| (used(it), it.clone())).collect();
        all.sort_by(|a, b| (a.0, &a.1.reference).cmp(&(b.0, &b.1.reference)));
        all.into_iter().map(|(_, record)| record).collect()
    }

    /// Removes the layers that no record names and nobody uses, as `in_use` tells; gives where they
    /// were. Blocks.
    pub(super) fn sweep(&self, in_use: &Users) -> io::Result<Vec<PathBuf>> {
        let mut gone = Vec::new();
        {
            let table = self.table.lock();
            // Asked under the lock: who lets go of a layer's lease has said before that it is in use.
            let in_use = in_use()?;
            let named = table.records.values().flat_map(|record| &record.layers);
            let kept: BTreeSet<PathBuf> =
                named.chain(table.leases.keys()).map(|layer| self.layer(layer)).collect();
            for entry in fs::read_dir(self.layers())? {
                let path = entry?.path();
                if !kept.contains(&path) && !in_use.contains(&path) {
                    // Out of sight at once; removing it takes longer.
                    let number = self.made.fetch_add(1, Ordering::Relaxed);
                    let aside = self.dir.join("staging").join(number.to_string());
                    fs::rename(&path, &aside)?;
                    gone.push((path, aside));
                }
            }
        }
        for (_, aside) in &gone {
            fs::remove_dir_all(aside)?;
        }
        Ok(gone.into_iter().map(|(path, _)| path).collect())
    }
}

/// Nobody but the agent looks in: images have programs with set-user-ID in them.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
