//! Changes what a container sees while it runs.
//!
//! Its mounts are its own, so somebody has to go in there to change them: a thread of the agent, which
//! ends in there. It executes nothing and opens nothing but the places of the mounts. What is mounted
//! was taken hold of outside, and no link is followed inside, where others have put them by now.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::volumes::{anywhere, beneath, inside, put_at, take_all, unlinked};
use super::{Plan, Process, Volume, shield};

/// Has the container that was started by `plan`, whose first process is `process`, see `new` and not
/// `gone` any more. Blocks.
pub(crate) fn exchange(
    plan: &Plan,
    process: Process,
    gone: &[Volume],
    new: &[Volume],
) -> Result<(), String> {
    let taken = take_all(plan, new)?;
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
    std::thread::scope(|scope| {
        let inside = || {
            // The thread's root and directory are its own, or it could not go in.
            unshare(CloneFlags::CLONE_FS)
                .and_then(|()| setns(&door, CloneFlags::CLONE_NEWNS))
                .map_err(|errno| format!("cannot enter its mounts: {errno}"))?;
            for volume in gone {
                unmount(plan, volume).map_err(|why| named(volume, &why))?;
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

/// Unmounts what is at a volume's place. Nothing is as good.
fn unmount(plan: &Plan, volume: &Volume) -> Result<(), String> {
    let path = &volume.container_path;
    let (top, path) = if path.is_absolute() {
        (Path::new("/"), below_root(path))
    } else {
        (plan.sandbox_inside(), &**path)
    };
    // The container's own doing: it has nothing of the volume any more.
    let Ok(place) = beneath(&anywhere(top)?, path) else { return Ok(()) };
    nix::unistd::fchdir(&place).map_err(|errno| errno.to_string())?;
    match umount2(".", MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(format!("it cannot be unmounted: {errno}")),
    }
}

fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
