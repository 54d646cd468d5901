//! Writes files below a directory and never elsewhere.
//!
//! Names come from tasks, archives and images. Every path is resolved by the kernel with the rule that
//! it may not leave the directory, by `..`, links or otherwise.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::launcher::Identity;

/// Directories below each other that a name may have. File systems allow 4096 bytes of path, and
/// nobody nests deeper on purpose.
const DEPTH_MAX: usize = 256;

/// A directory that files are written into.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
    owner: Option<(Uid, Gid)>,
    rules: ResolveFlags,
}

impl Root {
    /// Opens `directory`; what is made in it will belong to `owner`. What would lead out of it is
    /// refused.
    pub(crate) fn open(directory: &Path, owner: Option<&Identity>) -> io::Result<Self> {
        let owner = owner.map(|id| (Uid::from_raw(id.uid), Gid::from_raw(id.gid)));
        Self::ruled(directory, owner, ResolveFlags::BENEATH)
    }

    /// Opens `directory` as the root that everything in it takes it for: an absolute link leads to
    /// what lies there below this directory.
    pub(crate) fn as_root(directory: &Path) -> io::Result<Self> {
        Self::ruled(directory, None, ResolveFlags::IN_ROOT)
    }

    fn ruled(directory: &Path, owner: Option<(Uid, Gid)>, rules: ResolveFlags) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        Ok(Self { directory, owner, rules })
    }

    /// Creates or replaces a file, and the directories it is in.
    pub(crate) fn file(&self, path: &Path, mode: u32) -> io::Result<File> {
        let (parent, name) = self.place(path)?;
        clear(&parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let file = rustix::fs::openat(&parent, name, flags, mode)?;
        // The process's umask has had its say; the archive's mode is what was meant.
        rustix::fs::fchmod(&file, mode)?;
        self.give(&parent, name)?;
        Ok(file.into())
    }

    /// Opens a file that is there.
    pub(crate) fn read(&self, path: &Path) -> io::Result<File> {
        Ok(self.resolve(path, OFlags::RDONLY)?.into())
    }

    /// Makes a directory and those it is in. One that is there is kept.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        if path.components().count() > DEPTH_MAX {
            return Err(io::Error::other(format!("more than {DEPTH_MAX} directories deep")));
        }
        if path.as_os_str().is_empty() {
            return self.directory.try_clone();
        }
        let mut made = PathBuf::new();
        let mut last = None;
        for component in path.components() {
            let Component::Normal(name) = component else { return Err(Errno::XDEV.into()) };
            let parent = self.resolve(&made, OFlags::PATH | OFlags::DIRECTORY)?;
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => self.give(&parent, name)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            made.push(name);
            last = Some(self.resolve(&made, OFlags::PATH | OFlags::DIRECTORY)?);
        }
        last.ok_or_else(|| Errno::XDEV.into())
    }

    /// Makes a symbolic link. Whether its target is wanted is for the caller to judge; following it
    /// cannot lead this out.
    pub(crate) fn symlink(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        clear(&parent, name)?;
        rustix::fs::symlinkat(target, &parent, name)?;
        self.give(&parent, name)
    }

    /// Removes a symbolic link to `target`. What else has its name by now stays.
    pub(crate) fn remove_link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or(Errno::XDEV)?;
        let above = path.parent().unwrap_or(Path::new(""));
        let parent = match self.resolve(above, OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            parent => parent?,
        };
        match rustix::fs::readlinkat(&parent, name, Vec::new()) {
            Ok(there) if there.as_bytes() == target.as_os_str().as_bytes() => clear(&parent, name),
            Ok(_) | Err(Errno::NOENT | Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes `path` another name of the file `target`.
    pub(crate) fn hard_link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        let (from, old_name) = self.place(target)?;
        clear(&parent, name)?;
        Ok(rustix::fs::linkat(&from, old_name, &parent, name, AtFlags::empty())?)
    }

    /// Sets the permissions of a file that is there.
    pub(crate) fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(self.read(path)?, Mode::from_raw_mode(mode))?)
    }

    /// The directory a path is in, made if need be, and its last name.
    pub(crate) fn place<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::XDEV)?;
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.directory.try_clone();
        }
        let rules = self.rules | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), rules)?)
    }

    fn give(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(parent.as_fd(), name, Some(uid), Some(gid), flags)?)
    }
}

/// Takes away what has the name, unless it is a directory.
pub(crate) fn clear(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
