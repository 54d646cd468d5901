//! Opens a file of this machine on behalf of a task's user.
//!
//! The agent may read everything; what it fetches for a task must be what that task's user could
//! read itself.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::launcher::Identity;

/// Opens `path` for reading if it is a plain file that `reader` may read. Without a reader, the agent's
/// own rights count.
pub(super) fn open(path: &Path, reader: Option<&Identity>) -> io::Result<File> {
    let real = fs::canonicalize(path)?;
    // A pipe would be waited for, and a link put there meanwhile would lead elsewhere.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&real)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let Some(reader) = reader.filter(|reader| reader.uid != 0) else { return Ok(file) };
    // The directories that were really gone through, whatever has been renamed since.
    if fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))? != real {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    for directory in real.ancestors().skip(1) {
        if !may(reader, &fs::metadata(directory)?, 0o1) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    if may(reader, &metadata, 0o4) { Ok(file) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Whether the permission bits give `who` the right `bit`, as for others.
fn may(who: &Identity, metadata: &Metadata, bit: u32) -> bool {
    let shift = if metadata.uid() == who.uid {
        6
    } else if metadata.gid() == who.gid || who.groups.contains(&metadata.gid()) {
        3
    } else {
        0
    };
    metadata.mode() >> shift & bit != 0
}
