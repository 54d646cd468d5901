//! Changes what a container sees while it runs.
//!
//! Its mounts are its own, so somebody has to go in there to change them: a thread of the agent, which
//! ends in there. It executes nothing and opens nothing but the places of the mounts. What is mounted
//! was taken hold of outside, and no link is followed inside, where others have put them by now.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::mounts::mount_points_of;
use super::volumes::{anywhere, beneath, inside, put_at, take_all, unlinked};
use super::{Plan, Process, Volume, VolumeSource, shield};

/// What of volumes changes in a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    /// Not to be seen any more.
    pub(crate) gone: &'a [Volume],
    /// Seen and to be seen.
    pub(crate) kept: &'a [Volume],
    /// To be seen.
    pub(crate) new: &'a [Volume],
}

/// Changes what the container sees that was started by `plan` and whose first process is `process`.
/// Blocks.
pub(crate) fn exchange(
    plan: &Plan,
    process: Process,
    Exchange { gone, kept, new }: Exchange<'_>,
) -> Result<(), String> {
    let taken = take_all(plan, new)?;
    let gone: Vec<Gone<'_>> = gone.iter().map(|volume| Gone::new(volume, kept)).collect();
    for (volume, source) in new.iter().zip(&taken).filter(|(volume, _)| volume.read_only) {
        shield::make_read_only(source)
            .map_err(|errno| named(volume, &format!("it cannot be made read-only: {errno}")))?;
    }
    let path = format!("/proc/{}/ns/mnt", process.pid);
    let door = File::open(&path).map_err(|error| format!("cannot open {path}: {error}"))?;
    if !process.is_there() {
        // It may be that of a later process of the same number.
        return Err("the container is gone".to_owned());
    }
    // As its first process sees them.
    let mounts = match gone.as_slice() {
        [] => BTreeSet::new(),
        _ => mount_points_of(&process.pid.to_string())?,
    };
    std::thread::scope(|scope| {
        let inside = || {
            // The thread's root and directory are its own, or it could not go in.
            unshare(CloneFlags::CLONE_FS)
                .and_then(|()| setns(&door, CloneFlags::CLONE_NEWNS))
                .map_err(|errno| format!("cannot enter its mounts: {errno}"))?;
            for it in &gone {
                unmount(plan, it, &mounts).map_err(|why| named(it.volume, &why))?;
            }
            for (volume, source) in new.iter().zip(&taken) {
                mount(plan, volume, source).map_err(|why| named(volume, &why))?;
            }
            Ok(())
        };
        let changed = std::thread::Builder::new().spawn_scoped(scope, inside);
        let changed = changed.map_err(|error| format!("there is no thread for it: {error}"))?;
        changed.join().unwrap_or_else(|_| Err("the thread in it has panicked".to_owned()))
    })
}

fn named(volume: &Volume, why: &str) -> String {
    format!("volume '{}': {why}", volume.container_path.display())
}

/// Mounts a directory that was taken hold of.
fn mount(plan: &Plan, volume: &Volume, source: &OwnedFd) -> Result<(), String> {
    let path = &volume.container_path;
    let place = if !path.is_absolute() {
        inside(unlinked(plan.sandbox_inside())?, path, plan.identity.as_ref(), Some(false))
    } else if plan.rootfs.is_some() {
        inside(anywhere(Path::new("/"))?, below_root(path), None, Some(false))
    } else {
        unlinked(path)
    };
    put_at(source, &place?).map_err(|errno| errno.to_string())
}

/// Unmounts a volume. That it is not there is as good.
///
/// It is where it was put, unless somebody inside has since renamed a directory that its place is in:
/// then it is looked for in `mounts`. Where that cannot be, since nobody can tell which directory
/// it is, it is looked for in its place only.
fn unmount(plan: &Plan, volume: &Gone<'_>, mounts: &BTreeSet<PathBuf>) -> Result<(), String> {
    let path = &volume.volume.container_path;
    let (top, path) = if path.is_absolute() {
        (Path::new("/"), below_root(path))
    } else {
        (plan.sandbox_inside(), &**path)
    };
    let is_it = |place: &OwnedFd| match volume.directory {
        Some(directory) => identity(place) == Some(directory),
        None => true,
    };
    let place = beneath(&anywhere(top)?, path).ok().filter(is_it);
    if let Some(place) = place {
        return unmount_at(&place);
    }
    if volume.directory.is_none() || volume.is_shown_elsewhere {
        return Ok(());
    }
    let root = anywhere(Path::new("/"))?;
    for at in mounts {
        if let Some(place) = beneath(&root, below_root(at)).ok().filter(is_it) {
            unmount_at(&place)?;
        }
    }
    Ok(())
}

fn unmount_at(place: &OwnedFd) -> Result<(), String> {
    nix::unistd::fchdir(place).map_err(|errno| errno.to_string())?;
    match umount2(".", MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(format!("it cannot be unmounted: {errno}")),
    }
}

/// A volume that is not to be seen any more.
struct Gone<'a> {
    volume: &'a Volume,
    /// Which directory it is; absent where that is not known any more.
    directory: Option<(u64, u64)>,
    /// Whether the container is to go on seeing that directory, in another place.
    is_shown_elsewhere: bool,
}

impl<'a> Gone<'a> {
    fn new(volume: &'a Volume, kept: &[Volume]) -> Self {
        let directory = match &volume.source {
            VolumeSource::Host(path) => anywhere(path).ok().and_then(|it| identity(&it)),
            VolumeSource::Sandbox(_)
            | VolumeSource::Around(_)
            | VolumeSource::Image(_)
            | VolumeSource::Memory(_) => None,
        };
        let is_shown_elsewhere = kept.iter().any(|it| it.source == volume.source);
        Self { volume, directory, is_shown_elsewhere }
    }
}

/// Which file this is, of all of this machine.
fn identity(file: &OwnedFd) -> Option<(u64, u64)> {
    let there = rustix::fs::fstat(file).ok()?;
    Some((there.st_dev, there.st_ino))
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
