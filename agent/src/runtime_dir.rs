//! Where an agent keeps what only lives as long as the machine is up, unless it is told.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// Where the system keeps what does not outlive it.
const RUN: &str = "/run";

/// The kernel's number of file systems in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// The runtime directory of the agent with this work directory: in memory, where each launch makes and
/// removes some files in microseconds, and secrets never get to a disk.
///
/// It is beside the work, in `run`, for those who cannot write to `/run`, and where an earlier version has
/// put it, whose containers may still run.
pub(crate) fn default_for(work_dir: &Path) -> PathBuf {
    let beside = work_dir.join("run");
    let is_in_memory = statfs(RUN).is_ok_and(|it| it.f_type == TMPFS_MAGIC);
    let name = name_of(work_dir);
    if nix::unistd::geteuid().is_root()
        && is_in_memory
        && !beside.exists()
        && name.len() <= NAME_BYTES_MAX
    {
        return Path::new(RUN).join("agora").join(name);
    }
    beside
}

/// A path as the name of one file, no two alike: as systemd names the units that belong to paths
/// (`systemd-escape --path`).
fn name_of(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
    let mut name = String::new();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(byte.into()),
            _ => {
                let _ = write!(name, "\\x{byte:02x}");
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_work_directory_has_a_name_of_its_own() {
        for (path, name) in [
            ("/var/lib/agora", "var-lib-agora"),
            ("/var/lib-agora", "var-lib\\x2dagora"),
            ("/.hidden/.x", "\\x2ehidden-.x"),
            ("/a b", "a\\x20b"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
        }
    }

    #[test]
    fn what_an_earlier_version_has_put_beside_the_work_is_found_again() {
        let work_dir = tempfile::tempdir().expect("a directory");
        let beside = work_dir.path().join("run");
        std::fs::create_dir(&beside).expect("it is writable");
        assert_eq!(default_for(work_dir.path()), beside);
        let far = PathBuf::from("/").join("x".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(default_for(&far), far.join("run"));
    }
}
