//! `disk/du`: what a container's sandbox takes of the disk, counted from time to time, and if so
//! wanted a limit on it.
//!
//! A task can go past its limit between two looks. Only a quota of the file system stops that: see
//! `disk/xfs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use super::limits::DiskLimits;
use crate::containerizer::isolator::{Container, Isolator, StepError};
use crate::containerizer::{Limitation, Limits, PersistentVolume, Usage, VolumeUsage, read_plan};
use crate::launcher::{Files, Plan, VolumeSource};

/// Bytes in the unit that file systems count in.
const BLOCK: u64 = 512;

/// Its name in `--isolation`.
const NAME: &str = "disk/du";

/// The isolator.
#[derive(Debug)]
pub(crate) struct Du {
    limits: DiskLimits,
    /// Whether a container that takes more than it was given is ended.
    enforced: bool,
    /// How often it is looked.
    interval: Duration,
    /// What the last look found.
    seen: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Clone, Debug)]
struct Seen {
    used: u64,
    limit: Option<u64>,
    volumes: Vec<VolumeUsage>,
}

impl Du {
    pub(crate) fn new(containers: PathBuf, enforced: bool, interval: Duration) -> Self {
        let limits = DiskLimits::new(NAME, containers);
        Self { limits, enforced, interval, seen: Mutex::default() }
    }

    fn volumes(&self, container: &str) -> Vec<VolumeUsage> {
        let volumes = self.limits.volumes(container).into_iter();
        let seen = volumes.map(|(directory, limit_bytes)| {
            let used_bytes = used(&directory);
            VolumeUsage { directory, used_bytes, limit_bytes }
        });
        seen.collect()
    }
}

impl Isolator for Du {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, container: &Container, _plan: &mut Plan) -> Result<(), StepError> {
        if !container.wanted.persistent.is_empty() {
            self.show_volumes(container.id.as_str(), &container.wanted.persistent)?;
        }
        self.update(container.id.as_str(), &container.limits)
    }

    fn update(&self, container: &str, limits: &Limits) -> Result<(), StepError> {
        self.limits.set(container, limits.disk_bytes)
    }

    fn show_volumes(&self, container: &str, all: &[PersistentVolume]) -> Result<(), StepError> {
        self.limits.set_volumes(container, all)
    }

    fn usage(&self, container: &str, usage: &mut Usage) {
        usage.disk_limit_bytes = self.limits.of(container);
        if let Some(seen) = self.seen.lock().get(container) {
            usage.disk_used_bytes = Some(seen.used);
            usage.volumes.clone_from(&seen.volumes);
        }
    }

    fn limitation(&self, container: &str) -> Option<Limitation> {
        let all = self.seen.lock();
        let seen = all.get(container).filter(|_| self.enforced)?;
        let sandbox = seen.limit.is_some_and(|limit| seen.used > limit);
        let full = seen.volumes.iter().find(|volume| volume.used_bytes > volume.limit_bytes);
        let volume = full.map(|volume| Limitation::Volume { bytes: volume.limit_bytes });
        sandbox.then_some(Limitation::Disk).or(volume)
    }

    fn inspected_every(&self) -> Option<Duration> {
        Some(self.interval)
    }

    fn inspect(&self, container: &str) {
        if let Some(plan) = read_plan(&Files::new(self.limits.directory(container))) {
            // What it writes besides its sandbox, if it has files of its own, is its own as well.
            let written = plan.rootfs.as_ref().map_or(0, |rootfs| used(&rootfs.upper()));
            let volumes = plan.shown.iter().map(|volume| match &volume.source {
                VolumeSource::Image(layers) => used(&layers.upper()),
                VolumeSource::Host(_)
                | VolumeSource::Sandbox(_)
                | VolumeSource::Around(_)
                | VolumeSource::Memory(_) => 0,
            });
            let used = used(&plan.sandbox) + written + volumes.sum::<u64>();
            let limit = self.limits.of(container);
            let seen = Seen { used, limit, volumes: self.volumes(container) };
            self.seen.lock().insert(container.to_owned(), seen);
        }
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        self.seen.lock().remove(container);
        Ok(())
    }
}

/// What a directory and all in it takes, without what is mounted there and without following links.
/// What goes away meanwhile counts for nothing.
fn used(at: &Path) -> u64 {
    let Ok(top) = fs::symlink_metadata(at) else { return 0 };
    let mut sum = top.blocks() * BLOCK;
    // Files with several names are counted once.
    let mut counted = BTreeSet::new();
    let mut directories = vec![at.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(there) = entry.metadata() else { continue };
            if there.dev() != top.dev()
                || there.nlink() > 1 && !there.is_dir() && !counted.insert(there.ino())
            {
                continue;
            }
            sum += there.blocks() * BLOCK;
            if there.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_the_disk_is_counted_once_and_links_are_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let empty = used(dir.path());
        let file = dir.path().join("a/b/file");
        fs::create_dir_all(dir.path().join("a/b")).expect("a directory");
        fs::write(&file, vec![1; 1 << 20]).expect("a file");
        fs::hard_link(&file, dir.path().join("again")).expect("a link");
        std::os::unix::fs::symlink("/usr", dir.path().join("usr")).expect("a link");
        let hole = fs::File::create(dir.path().join("hole")).expect("a file");
        hole.set_len(1 << 30).expect("it takes nothing");
        let grown = used(dir.path()) - empty;
        assert!(((1 << 20)..(1 << 20) + (64 << 10)).contains(&grown), "{grown}");
        assert_eq!(used(&dir.path().join("none")), 0);
    }
}
