//! Persistent volumes: directories that outlive the tasks that write to them.
//!
//! They come with whichever isolator is for the file system: mounted by `filesystem/linux`, and as
//! links in the sandbox by `filesystem/posix`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};

use super::isolator::{Container, Step, StepError, failed, refused};
use super::spec::PersistentVolume;
use crate::beneath::Root;
use crate::launcher::{Identity, Plan, Volume, VolumeSource};

/// Has the launcher mount the container's volumes.
pub(super) fn mount(
    isolator: &'static str,
    container: &Container,
    plan: &mut Plan,
) -> Result<(), StepError> {
    for volume in &container.wanted.persistent {
        give(isolator, volume, plan.identity.as_ref())?;
        plan.shown.push(Volume {
            source: VolumeSource::Host(volume.directory.clone()),
            container_path: volume.container_path.clone(),
            read_only: volume.read_only,
        });
    }
    Ok(())
}

/// Makes links to the container's volumes in its sandbox.
pub(super) fn link(
    isolator: &'static str,
    container: &Container,
    plan: &Plan,
) -> Result<(), StepError> {
    for volume in &container.wanted.persistent {
        let path = &volume.container_path;
        let what = format!("persistent volume '{}'", path.display());
        if volume.read_only || path.components().any(|it| !matches!(it, Component::Normal(_))) {
            let why = "read-only ones and absolute paths take filesystem/linux, which is not in this \
                       agent's --isolation";
            return Err(refused(isolator, &what, why.to_owned()));
        }
        give(isolator, volume, plan.identity.as_ref())?;
        let linked = || {
            let sandbox = Root::open(&plan.sandbox, plan.identity.as_ref())?;
            sandbox.symlink(path, &volume.directory)
        };
        linked().map_err(failed(isolator, Step::Prepare, Path::new(&what)))?;
    }
    Ok(())
}

/// Gives a volume to the task's user, itself and not what is in it. One that several may have stays
/// whose it became first.
fn give(
    isolator: &'static str,
    volume: &PersistentVolume,
    user: Option<&Identity>,
) -> Result<(), StepError> {
    let given = || -> io::Result<()> {
        let directory = opened(&volume.directory)?;
        let Some(user) = user else { return Ok(()) };
        let there = rustix::fs::fstat(&directory)?;
        let is_agents = there.st_uid == nix::unistd::geteuid().as_raw();
        let is_users = (there.st_uid, there.st_gid) == (user.uid, user.gid);
        if is_users || volume.is_shared && !is_agents {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        Ok(rustix::fs::fchown(&directory, Some(uid), Some(gid))?)
    };
    given().map_err(failed(isolator, Step::Prepare, &volume.directory))
}

/// A volume's directory itself: a link in its place is not what was made there.
fn opened(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, directory, flags, Mode::empty());
    opened.map_err(|errno| match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            io::Error::other("it is not there; its disk may not be mounted")
        }
        _ => errno.into(),
    })
}
