//! Unpacks one layer of an image into a directory that overlayfs can take as a lower one.
//!
//! A layer is a tar archive that nobody has looked at before. Everything in it is resolved by the
//! kernel as if the layer's directory were the root of all, so nothing lands outside. A file that hides
//! one of the layers below becomes what overlayfs hides by: a device of number 0, or a mark on a
//! directory. Devices are left out: a container has its own `/dev`, and one of number 0 would hide.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::Reason;
use super::digest::{self, Hashing};
use crate::beneath::{self, Root};
use crate::fetcher::{Budget, ExtractError, inside};

/// How the name of a file begins that hides one of the layers below.
const HIDES: &str = ".wh.";

/// The name of a file that hides all that is in its directory in the layers below.
const OPAQUE: &str = ".wh..wh..opq";

/// How names of a file system's own notes begin, which are in no image on purpose.
const NOTES: &str = ".wh..wh.";

/// Memory that unpacking may take. `zstd --ultra --long=27` wants 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;

/// What overlayfs knows a directory by that shows nothing of those below.
const OPAQUE_MARK: (&str, &[u8]) = ("trusted.overlay.opaque", b"y");

/// How archives write down extended attributes.
const PAX_ATTRIBUTE: &str = "SCHILY.xattr.";

/// Extended attributes that are kept: what a program may do, and what users note. Others are the
/// host's business, overlayfs's own ones above all.
const KEPT_ATTRIBUTES: [&str; 2] = ["security.capability", "user."];

/// Where a layer comes from and what it must be.
pub(super) struct Packed {
    pub(super) content: Box<dyn Read + Send>,
    /// Its digest as it is stored. Absent: it was checked already.
    pub(super) digest: Option<String>,
    /// Its digest once unpacked: what it is known by.
    pub(super) diff_id: String,
}

/// Unpacks a layer into `directory`, which is empty. Blocks; `stop` ends it early.
pub(super) fn unpack(
    packed: Packed,
    directory: &Path,
    mut budget: Budget,
    stop: &AtomicBool,
) -> Result<(), Reason> {
    let layer = packed.diff_id.clone();
    let broken = |source: ExtractError| Reason::Layer { layer: layer.clone(), source };
    let failed = |error: io::Error| broken(error.into());
    let (content, stored) = Hashing::new(packed.content);
    let mut content = BufReader::with_capacity(256 << 10, content);
    let (mut tar, unpacked) = Hashing::new(decoder(&mut content).map_err(failed)?);
    let mut tree = Tree { root: Root::as_root(directory).map_err(failed)?, times: Vec::new() };
    tree.fill(&mut tar, &mut budget, stop).map_err(broken)?;
    // What comes behind the end of an archive belongs to its digest, too.
    budget.copy(&mut tar, &mut io::sink()).map_err(broken)?;
    drop(tar);
    budget.copy(&mut content, &mut io::sink()).map_err(broken)?;
    if let Some(wanted) = packed.digest {
        digest::compare("a layer", &wanted, stored.digest())?;
    }
    digest::compare("an unpacked layer", &packed.diff_id, unpacked.digest())
}

/// Unpacks what is packed, by how it begins and not by what it is called.
fn decoder<'a>(content: &'a mut (impl BufRead + Send)) -> io::Result<Box<dyn Read + Send + 'a>> {
    let begin = content.fill_buf()?;
    Ok(match begin {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(content)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut unpacked = zstd::stream::read::Decoder::with_buffer(content)?;
            unpacked.window_log_max(WINDOW_LOG_MAX)?;
            Box::new(unpacked)
        }
        _ => Box::new(content),
    })
}

struct Tree {
    root: Root,
    /// Times of directories, which change as long as something is put into them.
    times: Vec<(PathBuf, Timespec)>,
}

/// What an entry's header says.
struct Header {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    mtime: Timespec,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Tree {
    fn fill(
        &mut self,
        tar: &mut impl Read,
        budget: &mut Budget,
        stop: &AtomicBool,
    ) -> Result<(), ExtractError> {
        let mut left_out = 0;
        for entry in ::tar::Archive::new(tar).entries()? {
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::from(io::ErrorKind::Interrupted).into());
            }
            let mut entry = entry?;
            budget.entry()?;
            let kind = entry.header().entry_type();
            if kind.is_pax_global_extensions() {
                continue;
            }
            if kind.is_block_special() || kind.is_character_special() {
                left_out += 1;
                continue;
            }
            let path = relative(&entry.path()?)?;
            let header = header(&mut entry)?;
            self.put(&path, &header, &mut entry, budget)?;
        }
        if left_out > 0 {
            tracing::debug!(left_out, "devices of a layer were left out");
        }
        // Those above change when those below do, and were met first.
        for (path, mtime) in self.times.iter().rev() {
            if let Ok(directory) = self.root.directory(path) {
                let times = Timestamps { last_access: *mtime, last_modification: *mtime };
                let itself = OsStr::new(".");
                rustix::fs::utimensat(&directory, itself, &times, AtFlags::empty())
                    .map_err(io::Error::from)?;
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        path: &Path,
        header: &Header,
        entry: &mut ::tar::Entry<'_, impl Read>,
        budget: &mut Budget,
    ) -> Result<(), ExtractError> {
        let kind = entry.header().entry_type();
        if path.as_os_str().is_empty() {
            // The root itself.
            if kind.is_dir() {
                self.dress_directory(path, header)?;
            }
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default();
        if name.as_bytes().starts_with(HIDES.as_bytes()) {
            return Ok(self.hide(path, name)?);
        }
        if kind.is_dir() {
            self.make_directory(path)?;
            return Ok(self.dress_directory(path, header)?);
        }
        let (parent, name) = self.root.place(path)?;
        make_way(&parent, name)?;
        if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default();
            rustix::fs::symlinkat(OsStr::from_bytes(&target), &parent, name)
                .map_err(io::Error::from)?;
        } else if kind.is_hard_link() {
            let target = relative(&entry.link_name()?.unwrap_or_default())?;
            let named = |error: io::Error| {
                let (path, target) = (path.display(), target.display());
                io::Error::new(error.kind(), format!("'{path}' as a name of '{target}': {error}"))
            };
            // It is what its first name is, owner and times included.
            return Ok(self.root.hard_link(path, &target).map_err(named)?);
        } else if kind.is_fifo() {
            rustix::fs::mknodat(&parent, name, FileType::Fifo, header.mode, 0)
                .map_err(io::Error::from)?;
            rustix::fs::chmodat(&parent, name, header.mode, AtFlags::empty())
                .map_err(io::Error::from)?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(io::Error::from)?;
            let mut file = File::from(file);
            budget.copy(entry, &mut file)?;
            return Ok(dress(&OwnedFd::from(file), header)?);
        } else {
            return Err(ExtractError::Special { entry: path.display().to_string() });
        }
        let times = Timestamps { last_access: header.mtime, last_modification: header.mtime };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(&parent, name, Some(header.uid), Some(header.gid), flags)
            .and_then(|()| rustix::fs::utimensat(&parent, name, &times, flags))
            .map_err(|errno| ExtractError::Failed(errno.into()))
    }

    /// Has something of the layers below not show.
    fn hide(&self, path: &Path, name: &OsStr) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new(""));
        if name == OPAQUE {
            return mark_opaque(&self.root.directory(directory)?);
        }
        if name.as_bytes().starts_with(NOTES.as_bytes()) {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&name.as_bytes()[HIDES.len()..]);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(io::Error::other(format!("'{}' hides nothing", path.display())));
        }
        let parent = self.root.directory(directory)?;
        match kind_of(&parent, hidden)? {
            // What this layer has under the name shows, and nothing of that below.
            Some(FileType::Directory) => {
                mark_opaque(&self.root.directory(&directory.join(hidden))?)
            }
            Some(_) => Ok(()),
            None => {
                let kind = FileType::CharacterDevice;
                Ok(rustix::fs::mknodat(&parent, hidden, kind, Mode::empty(), 0)?)
            }
        }
    }

    /// Makes a directory where there may be something else of this layer.
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.root.place(path)?;
        match kind_of(&parent, name)? {
            Some(FileType::Directory) => return Ok(()),
            // It hides what is below, which a directory in its place must do in its own way.
            Some(FileType::CharacterDevice) => {
                beneath::clear(&parent, name)?;
                return mark_opaque(&self.root.directory(path)?);
            }
            Some(_) => beneath::clear(&parent, name)?,
            None => {}
        }
        self.root.directory(path).map(drop)
    }

    fn dress_directory(&mut self, path: &Path, header: &Header) -> io::Result<()> {
        let directory = self.root.directory(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        dress(&rustix::fs::openat(&directory, ".", flags, Mode::empty())?, header)?;
        self.times.push((path.to_owned(), header.mtime));
        Ok(())
    }
}

/// Takes away what has the name, a directory with all that is in it.
fn make_way(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if kind_of(parent, name)? == Some(FileType::Directory) {
        return remove_tree(parent, name);
    }
    beneath::clear(parent, name)
}

fn remove_tree(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let inner = OsStr::from_bytes(entry.file_name().to_bytes());
        if inner == "." || inner == ".." {
            continue;
        }
        if kind_of(&directory, inner)? == Some(FileType::Directory) {
            remove_tree(&directory, inner)?;
        } else {
            beneath::clear(&directory, inner)?;
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// What has the name, if anything.
fn kind_of(parent: &OwnedFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok(Some(FileType::from_raw_mode(there.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn mark_opaque(directory: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    let (name, value) = OPAQUE_MARK;
    Ok(rustix::fs::fsetxattr(&directory, name, value, XattrFlags::empty())?)
}

/// Gives a file or directory what its header says.
fn dress(file: &OwnedFd, header: &Header) -> io::Result<()> {
    // The owner first: a change of owner takes away set-user-ID and capabilities.
    rustix::fs::fchown(file, Some(header.uid), Some(header.gid))?;
    rustix::fs::fchmod(file, header.mode)?;
    for (name, value) in &header.attributes {
        match rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
            // Not every file system has them.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let times = Timestamps { last_access: header.mtime, last_modification: header.mtime };
    Ok(rustix::fs::futimens(file, &times)?)
}

fn header(entry: &mut ::tar::Entry<'_, impl Read>) -> Result<Header, ExtractError> {
    let mut attributes = Vec::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let name = extension.key().ok().and_then(|key| key.strip_prefix(PAX_ATTRIBUTE));
        if let Some(name) =
            name.filter(|name| KEPT_ATTRIBUTES.iter().any(|it| name.starts_with(it)))
        {
            attributes.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    let number = |number: io::Result<u64>| -> io::Result<u32> {
        u32::try_from(number?).map_err(|_| io::Error::other("an owner's number is too large"))
    };
    let header = entry.header();
    let seconds = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
    Ok(Header {
        uid: Uid::from_raw(number(header.uid())?),
        gid: Gid::from_raw(number(header.gid())?),
        mode: Mode::from_raw_mode(header.mode()? & 0o7777),
        mtime: Timespec { tv_sec: seconds, tv_nsec: 0 },
        attributes,
    })
}

/// A path of an archive without the slash that some begin with.
fn relative(path: &Path) -> Result<PathBuf, ExtractError> {
    inside(path.strip_prefix("/").unwrap_or(path))
}

/// Reads a small file of an image that is made of `layers`, the topmost first, as the container will
/// see it. Absent: there is none, or it is no plain file in plain directories.
pub(super) fn read_file(layers: &[PathBuf], path: &Path, bytes_max: u64) -> Option<String> {
    for layer in layers {
        match look(layer, path) {
            Look::Found(file) => {
                let mut text = String::new();
                file.take(bytes_max).read_to_string(&mut text).ok()?;
                return Some(text);
            }
            Look::Hidden => return None,
            Look::Below => {}
        }
    }
    None
}

/// What one layer says of a path.
enum Look {
    Found(File),
    /// It is not there, whatever the layers below say.
    Hidden,
    /// Ask the next one.
    Below,
}

fn look(layer: &Path, path: &Path) -> Look {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(mut at) = rustix::fs::openat(CWD, layer, flags, Mode::empty()) else {
        return Look::Below;
    };
    let mut missing = Look::Below;
    let count = path.components().count();
    for (place, name) in path.iter().enumerate() {
        let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let found = match kind_of(&at, name) {
            Ok(Some(found)) => found,
            Ok(None) => return missing,
            Err(_) => return Look::Hidden,
        };
        let is_last = place + 1 == count;
        let flags = match found {
            FileType::Directory if !is_last => OFlags::PATH | OFlags::DIRECTORY,
            FileType::RegularFile if is_last => OFlags::RDONLY,
            FileType::RegularFile
            | FileType::Directory
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Look::Hidden,
        };
        let opened = rustix::fs::openat2(&at, name, flags | OFlags::CLOEXEC, Mode::empty(), rules);
        match opened {
            Ok(opened) => at = opened,
            Err(_) => return Look::Hidden,
        }
        if !is_last && is_opaque(&at) {
            missing = Look::Hidden;
        }
    }
    Look::Found(at.into())
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::openat(directory, ".", flags, Mode::empty()) else {
        return false;
    };
    let mut value = [0; 1];
    let (name, wanted) = OPAQUE_MARK;
    rustix::fs::fgetxattr(&directory, name, &mut value).is_ok_and(|count| value[..count] == *wanted)
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
