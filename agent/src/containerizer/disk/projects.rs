//! The projects of one file system: given to directories, limited, and given back.
//!
//! A project is taken for as long as the file system counts a file of it, so nothing is forgotten with the
//! agent, and what is removed slowly is not mixed up with what comes next. Which project a directory was
//! given is also written on it where only the agent can write: its owner can change the project itself.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::calls::{self, Quota, State};
use super::pool::{Pool, ProjectRange};
use crate::containerizer::ProjectCount;

/// What `statfs` says of XFS.
const XFS: i64 = 0x5846_5342;

/// Where it is written which project a directory was given.
const MARK: &str = "trusted.agora.project";

/// Directories in each other that are gone through. Each is held open meanwhile; nobody nests deeper on
/// purpose.
const DEPTH_MAX: usize = 256;

/// Why a file system cannot hold directories to limits.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoQuotas {
    #[error("it is not XFS; put it on an XFS that is mounted with 'prjquota', or use disk/du")]
    NotXfs,
    #[error(
        "project quotas are not on there; mount it with 'prjquota' (a root file system is told so on the \
         kernel's command line, by 'rootflags=prjquota'). The kernel must have them (CONFIG_XFS_QUOTA)"
    )]
    Off,
    #[error(
        "project quotas are only counted there and --enforce_container_disk_quota is set; mount it with \
         'prjquota' instead of 'pqnoenforce'"
    )]
    NotEnforced,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// The projects of one file system.
#[derive(Debug)]
pub(super) struct Projects {
    device: CString,
    pool: Mutex<Pool>,
    /// Held while it is found out whether a volume has one, and it is given one if not.
    volumes: Mutex<()>,
}

impl Projects {
    /// Those of the file system that `at` is on, and the number of that.
    pub(super) fn open(
        at: &Path,
        range: &ProjectRange,
        enforced: bool,
    ) -> Result<(u64, Self), NoQuotas> {
        let number = rustix::fs::stat(at).map_err(io::Error::from)?.st_dev;
        if rustix::fs::statfs(at).map_err(io::Error::from)?.f_type != XFS {
            return Err(NoQuotas::NotXfs);
        }
        let device = device(number)?;
        match calls::state(&device)? {
            State { is_counted: false, .. } => return Err(NoQuotas::Off),
            State { is_enforced: false, .. } if enforced => return Err(NoQuotas::NotEnforced),
            State { .. } => {}
        }
        let mut pool = Pool::new(range.clone());
        for (begin, end) in range.parts() {
            let mut from = begin;
            while from <= end
                && let Some(found) = calls::next_project(&device, from)?.filter(|it| *it <= end)
            {
                pool.note(found);
                // There is one after it: the largest is not one of a project.
                from = found + 1;
            }
        }
        let projects = Self { device, pool: Mutex::new(pool), volumes: Mutex::default() };
        projects.reclaim();
        Ok((number, projects))
    }

    /// Has directories, with all that is in them, count to a project of their own, and limits it. The
    /// first one is what the project is found by. Blocks.
    pub(super) fn give(&self, directories: &[&Path], limits: (u64, u64)) -> io::Result<u32> {
        let project = self.take()?;
        let given = || {
            calls::set_limits(&self.device, project, limits)?;
            directories.iter().rev().try_for_each(|directory| put(directory, project))
        };
        let given = given();
        self.pool.lock().settle(project);
        given.map(|()| project)
    }

    /// As [`Projects::give`] for a volume, which keeps the project that it has.
    pub(super) fn hold(&self, volume: &Path, limits: (u64, u64)) -> io::Result<u32> {
        let _held = self.volumes.lock();
        let has = calls::project_of(opened(volume)?)?;
        // Whose volume it is may have changed the one, and not the other.
        let was_given = given_to(volume)?.filter(|project| *project == has);
        let is_ours = |project: &u32| self.pool.lock().note(*project);
        match was_given.filter(is_ours) {
            None => self.give(&[volume], limits),
            Some(project) => self.limit(project, limits).map(|()| project),
        }
    }

    /// Limits a project.
    pub(super) fn limit(&self, project: u32, limits: (u64, u64)) -> io::Result<()> {
        calls::set_limits(&self.device, project, limits)
    }

    /// What a project takes and may take.
    pub(super) fn quota(&self, project: u32) -> io::Result<Quota> {
        calls::quota(&self.device, project)
    }

    /// Whether what is in a directory takes more than the soft limit of its project. What is held for files
    /// to grow into, which may be as much again, is given up before anybody is judged by it.
    pub(super) fn is_past(&self, directory: &Path, project: u32) -> io::Result<bool> {
        let is_past = || {
            let Quota { used_bytes, soft_bytes, .. } = self.quota(project)?;
            Ok(soft_bytes > 0 && used_bytes > soft_bytes)
        };
        if !is_past()? {
            return Ok(false);
        }
        calls::free_ahead(opened(directory)?, project)?;
        is_past()
    }

    pub(super) fn count(&self) -> ProjectCount {
        let pool = self.pool.lock();
        ProjectCount { total: pool.range().count(), free: pool.free() }
    }

    /// Takes back those that nothing on the disk has any more.
    pub(super) fn reclaim(&self) {
        // All that time, so that none is given that has just been looked at.
        let mut pool = self.pool.lock();
        for project in pool.settled() {
            let unused = || -> io::Result<bool> {
                let is_unused = self.quota(project)?.files == 0;
                if is_unused {
                    self.limit(project, (0, 0))?;
                }
                Ok(is_unused)
            };
            match unused() {
                Ok(true) => pool.give_back(project),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(project, %error, "a project of the disk was not taken back");
                }
            }
        }
    }

    /// Takes one that nothing has.
    fn take(&self) -> io::Result<u32> {
        loop {
            let taken = self.pool.lock().take();
            let project = if let Some(project) = taken {
                project
            } else {
                self.reclaim();
                self.pool.lock().take().ok_or_else(none_left)?
            };
            // Somebody else on this machine may have taken it since it was last looked at.
            match self.quota(project) {
                Ok(quota) if quota.files == 0 => return Ok(project),
                Ok(_) => self.pool.lock().settle(project),
                Err(error) => {
                    self.pool.lock().settle(project);
                    return Err(error);
                }
            }
        }
    }
}

/// Has a directory, with all that is in it, count to a project. If that breaks off the directory is as one
/// that was given none.
pub(super) fn put(directory: &Path, project: u32) -> io::Result<()> {
    let top = opened(directory)?;
    put_inside(&top, &rustix::fs::fstat(&top)?, project, DEPTH_MAX)?;
    calls::set_project(&top, project, true)?;
    let text = project.to_string();
    Ok(rustix::fs::fsetxattr(&top, MARK, text.as_bytes(), XattrFlags::empty())?)
}

/// The project that a directory was given. Absent: none, or it is not there.
pub(super) fn given_to(directory: &Path) -> io::Result<Option<u32>> {
    let mut text = [0; 16];
    match rustix::fs::lgetxattr(directory, MARK, &mut text) {
        Ok(length) => {
            let text = text.get(..length).and_then(|text| str::from_utf8(text).ok());
            Ok(text.and_then(|text| text.parse().ok()))
        }
        Err(Errno::NODATA | Errno::NOENT | Errno::RANGE) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn none_left() -> io::Error {
    io::Error::other(
        "all projects of --xfs_project_range are in use: by containers, by sandboxes that are kept \
         (--gc_delay) and by volumes. Give the agent a larger range",
    )
}

/// The device file of a file system.
fn device(number: u64) -> io::Result<CString> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let at = format!("/sys/dev/block/{major}:{minor}/uevent");
    let text = std::fs::read_to_string(&at)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {at}: {error}")))?;
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    let name = name.ok_or_else(|| io::Error::other(format!("{at} names no device")))?;
    Ok(CString::new(format!("/dev/{name}"))?)
}

/// A directory itself: a link in its place is another matter.
fn opened(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, directory, flags, Mode::empty())?)
}

/// Has all that is in a directory count to a project, but not what is mounted there. What goes away
/// meanwhile has no need of it. Links and the like have no project of their own and take nothing.
fn put_inside(directory: &OwnedFd, top: &Stat, project: u32, depth: usize) -> io::Result<()> {
    if depth == 0 {
        let why = format!("there are more than {DEPTH_MAX} directories in each other");
        return Err(io::Error::other(why));
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let of_its_kind = match entry.file_type() {
            FileType::Directory => OFlags::DIRECTORY,
            // If it becomes something else meanwhile, that is not waited for.
            FileType::RegularFile | FileType::Unknown => OFlags::NONBLOCK | OFlags::NOCTTY,
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => continue,
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | of_its_kind;
        let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let there = rustix::fs::fstat(&file)?;
        let kind = FileType::from_raw_mode(there.st_mode);
        if there.st_dev != top.st_dev
            || !matches!(kind, FileType::Directory | FileType::RegularFile)
        {
            continue;
        }
        calls::set_project(&file, project, kind == FileType::Directory)?;
        if kind == FileType::Directory {
            put_inside(&file, top, project, depth - 1)?;
        }
    }
    Ok(())
}
