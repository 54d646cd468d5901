//! `disk/xfs`: what a container's sandbox and volumes take of the disk, counted and limited by the file
//! system itself, which is XFS with quotas of projects.
//!
//! A sandbox is a project of its own and so is every persistent volume; what is made in there belongs to it
//! by itself. A sandbox keeps its project, and that its limit, until it is removed, and a volume
//! until it is destroyed. What is written to an image counts with the sandbox. A container in another one
//! has its sandbox in that one's, and counts with it; its volumes are its own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use super::calls::Quota;
use super::limits::DiskLimits;
use super::pool::ProjectRange;
use super::projects::{Projects, given_to, put};
use crate::containerizer::isolator::{Container, Isolator, Step, StepError, failed};
use crate::containerizer::{
    Limitation, Limits, PersistentVolume, ProjectCount, Usage, VolumeUsage, read_plan,
};
use crate::launcher::{Files, Plan, VolumeSource};

/// Its name in `--isolation`.
pub(crate) const NAME: &str = "disk/xfs";

/// What a container that is ended for taking too much can take more until that is seen.
const HEADROOM: u64 = 10 << 20;

/// How the disk is divided where `disk/xfs` does.
#[derive(Clone, Debug, Default)]
pub struct XfsOptions {
    /// Directories on the file systems that sandboxes and volumes are on; that of sandboxes first.
    pub places: Vec<PathBuf>,
    /// The numbers of projects that are for containers (`--xfs_project_range`).
    pub range: ProjectRange,
    /// Whether a container that takes more than it was given is ended, rather than refused more
    /// (`--xfs_kill_containers`).
    pub kills: bool,
}

/// What becomes of those who take more than they were given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rule {
    /// It is counted.
    Count,
    /// They get no more.
    Refuse,
    /// They are ended.
    End,
}

impl Rule {
    /// The limits of who was given so much, the first one soft and the other hard; 0 is none.
    fn limits(self, bytes: Option<u64>) -> (u64, u64) {
        match (self, bytes) {
            (_, None) | (Self::Count, _) => (0, 0),
            (Self::Refuse, Some(bytes)) => (bytes, bytes),
            (Self::End, Some(bytes)) => (bytes, bytes.saturating_add(HEADROOM)),
        }
    }
}

/// The isolator.
#[derive(Debug)]
pub(crate) struct Xfs {
    limits: DiskLimits,
    /// By the numbers of the file systems.
    disks: BTreeMap<u64, Projects>,
    /// The file system of sandboxes.
    sandboxes: u64,
    rule: Rule,
    /// How often it is looked who is to be ended.
    interval: Duration,
    /// What the last look found.
    broken: Mutex<BTreeMap<String, Limitation>>,
}

impl Xfs {
    /// An error says which place cannot be divided, and why.
    pub(crate) fn new(
        containers: PathBuf,
        options: &XfsOptions,
        enforced: bool,
        interval: Duration,
    ) -> Result<Self, String> {
        let mut disks = BTreeMap::new();
        let mut sandboxes = None;
        for place in &options.places {
            let opened = Projects::open(place, &options.range, enforced);
            let (number, projects) =
                opened.map_err(|why| format!("the file system of {}: {why}", place.display()))?;
            sandboxes.get_or_insert(number);
            disks.insert(number, projects);
        }
        let rule = match (enforced, options.kills) {
            (false, _) => Rule::Count,
            (true, false) => Rule::Refuse,
            (true, true) => Rule::End,
        };
        Ok(Self {
            limits: DiskLimits::new(NAME, containers),
            disks,
            sandboxes: sandboxes.ok_or("it is not told where sandboxes are")?,
            rule,
            interval,
            broken: Mutex::default(),
        })
    }

    /// The projects of the file system that a directory is on. Absent: it is not divided by projects, as a
    /// MOUNT disk, which is a volume as a whole.
    fn disk_of(&self, directory: &Path) -> io::Result<Option<&Projects>> {
        let there = rustix::fs::stat(directory)?;
        Ok(self.disks.get(&there.st_dev))
    }

    /// What the project of a directory takes and may take. Absent: it was given none.
    fn quota_of(&self, directory: &Path) -> io::Result<Option<Quota>> {
        let Some(disk) = self.disk_of(directory)? else { return Ok(None) };
        let Some(project) = given_to(directory)? else { return Ok(None) };
        disk.quota(project).map(Some)
    }

    /// Whether what is in a directory takes more than the project that it was given may.
    fn is_past(&self, directory: &Path) -> io::Result<bool> {
        match self.disk_of(directory)?.zip(given_to(directory)?) {
            Some((disk, project)) => disk.is_past(directory, project),
            None => Ok(false),
        }
    }

    fn sandbox_of(&self, container: &str) -> Option<PathBuf> {
        Some(read_plan(&Files::new(self.limits.directory(container)))?.sandbox)
    }

    /// Gives the sandbox of a container that is about to run a project.
    fn give(&self, container: &Container, plan: &Plan) -> Result<(), StepError> {
        self.limits.set(container.id.as_str(), container.limits.disk_bytes)?;
        let given = || -> io::Result<()> {
            let disk = self.disk_of(&plan.sandbox)?;
            let disk =
                disk.ok_or_else(|| io::Error::other("it is not on the work directory's disk"))?;
            let mut all = vec![plan.sandbox.as_path()];
            for directory in written_to(plan) {
                if self.disk_of(directory)?.is_some_and(|other| std::ptr::eq(other, disk)) {
                    all.push(directory);
                }
            }
            disk.give(&all, self.rule.limits(container.limits.disk_bytes)).map(drop)
        };
        given().map_err(failed(NAME, Step::Limit, &plan.sandbox))
    }

    /// Has what a container in another one writes to its image count to the outermost one.
    fn count_with_root(&self, container: &Container, plan: &Plan) -> Result<(), StepError> {
        let root = container.id.root();
        let Some(sandbox) = self.sandbox_of(root.as_str()) else { return Ok(()) };
        for directory in written_to(plan) {
            let put = || -> io::Result<()> {
                let (disk, around) = (self.disk_of(directory)?, self.disk_of(&sandbox)?);
                let disk = disk.filter(|it| around.is_some_and(|around| std::ptr::eq(*it, around)));
                // One that has run since before this isolator has none.
                match disk.zip(given_to(&sandbox)?) {
                    Some((_, project)) => put(directory, project),
                    None => Ok(()),
                }
            };
            put().map_err(failed(NAME, Step::Limit, directory))?;
        }
        Ok(())
    }

    /// Which limit a container has broken, as the file system counts it now.
    fn look(&self, container: &str) -> io::Result<Option<Limitation>> {
        if !is_nested(container)
            && let Some(sandbox) = self.sandbox_of(container)
            && self.is_past(&sandbox)?
        {
            return Ok(Some(Limitation::Disk));
        }
        for (volume, bytes) in self.limits.volumes(container) {
            if self.is_past(&volume)? {
                return Ok(Some(Limitation::Volume { bytes }));
            }
        }
        Ok(None)
    }
}

/// Directories outside of its sandbox that a container writes to, and nobody else.
fn written_to(plan: &Plan) -> impl Iterator<Item = &Path> {
    let volumes = plan.shown.iter().filter_map(|volume| match &volume.source {
        VolumeSource::Image(layers) => Some(layers.dir.as_path()),
        VolumeSource::Host(_)
        | VolumeSource::Sandbox(_)
        | VolumeSource::Around(_)
        | VolumeSource::Memory(_) => None,
    });
    plan.rootfs.as_ref().map(|rootfs| rootfs.dir.as_path()).into_iter().chain(volumes)
}

/// What is used of a volume that is a file system by itself. Absent: it is not there.
fn of_whole_disk(volume: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(volume).ok()?;
    Some(disk.f_blocks.saturating_sub(disk.f_bfree).saturating_mul(disk.f_frsize))
}

/// Whether a container is in another one.
fn is_nested(container: &str) -> bool {
    container.contains('.')
}

impl Isolator for Xfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        if container.is_nested() {
            self.count_with_root(container, plan)?;
        } else {
            self.give(container, plan)?;
        }
        if container.wanted.persistent.is_empty() {
            return Ok(());
        }
        self.show_volumes(container.id.as_str(), &container.wanted.persistent)
    }

    fn update(&self, container: &str, limits: &Limits) -> Result<(), StepError> {
        if is_nested(container) {
            return Ok(());
        }
        self.limits.set(container, limits.disk_bytes)?;
        let Some(sandbox) = self.sandbox_of(container) else { return Ok(()) };
        let limited = || -> io::Result<()> {
            match self.disk_of(&sandbox)?.zip(given_to(&sandbox)?) {
                Some((disk, project)) => disk.limit(project, self.rule.limits(limits.disk_bytes)),
                None => Ok(()),
            }
        };
        limited().map_err(failed(NAME, Step::Limit, &sandbox))
    }

    fn show_volumes(&self, container: &str, all: &[PersistentVolume]) -> Result<(), StepError> {
        self.limits.set_volumes(container, all)?;
        for volume in all {
            let held = || -> io::Result<()> {
                match self.disk_of(&volume.directory)? {
                    Some(disk) => {
                        let limits = self.rule.limits(Some(volume.bytes));
                        disk.hold(&volume.directory, limits).map(drop)
                    }
                    None => Ok(()),
                }
            };
            held().map_err(failed(NAME, Step::Limit, &volume.directory))?;
        }
        Ok(())
    }

    fn usage(&self, container: &str, usage: &mut Usage) {
        let used = |directory: &Path| Some(self.quota_of(directory).ok()??.used_bytes);
        let volumes = self.limits.volumes(container).into_iter();
        let counted = volumes.filter_map(|(directory, limit_bytes)| {
            let used_bytes = match self.disk_of(&directory).ok()? {
                Some(_) => used(&directory)?,
                None => of_whole_disk(&directory)?,
            };
            Some(VolumeUsage { directory, used_bytes, limit_bytes })
        });
        usage.volumes = counted.collect();
        if let Some(sandbox) = self.sandbox_of(container).filter(|_| !is_nested(container)) {
            usage.disk_used_bytes = used(&sandbox);
            usage.disk_limit_bytes = self.limits.of(container);
        }
    }

    fn limitation(&self, container: &str) -> Option<Limitation> {
        self.broken.lock().get(container).copied()
    }

    fn inspected_every(&self) -> Option<Duration> {
        (self.rule == Rule::End).then_some(self.interval)
    }

    fn inspect(&self, container: &str) {
        match self.look(container) {
            Ok(Some(limitation)) => {
                self.broken.lock().insert(container.to_owned(), limitation);
            }
            Ok(None) => {
                self.broken.lock().remove(container);
            }
            Err(error) => {
                tracing::warn!(container, %error, "it cannot be seen what a container takes of the disk");
            }
        }
    }

    fn reclaim(&self) {
        self.disks.values().for_each(Projects::reclaim);
    }

    fn projects(&self) -> Option<ProjectCount> {
        self.disks.get(&self.sandboxes).map(Projects::count)
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        self.broken.lock().remove(container);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_ended_can_take_a_little_more_than_was_given_and_others_cannot() {
        let given = Some(64 << 20);
        assert_eq!(Rule::Count.limits(given), (0, 0));
        assert_eq!(Rule::Refuse.limits(given), (64 << 20, 64 << 20));
        assert_eq!(Rule::End.limits(given), (64 << 20, 74 << 20));
        // Who did not ask for any is not limited.
        assert_eq!(Rule::Refuse.limits(None), (0, 0));
    }

    #[test]
    fn a_file_system_without_project_quotas_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir_in("/dev/shm").expect("memory");
        let options = XfsOptions { places: vec![dir.path().to_owned()], ..XfsOptions::default() };
        let made = Xfs::new(PathBuf::new(), &options, false, Duration::from_secs(1));
        let why = made.expect_err("it is memory");
        let expected =
            format!("the file system of {}: it is not XFS; put it", dir.path().display());
        assert!(why.starts_with(&expected), "{why}");
    }
}
