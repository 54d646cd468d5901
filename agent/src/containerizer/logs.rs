//! Keeps what a container prints from filling the disk: `stdout` and `stderr` are cut into files of
//! about one size, the newest of which are kept as `stdout.1`, `stdout.2` and so on.
//!
//! The container has its file open and goes on writing to its end, so the file stays and its beginning
//! is moved away. Where the file system can take a piece out of a file nothing is lost; elsewhere what
//! is written between the copy and the cut is. Whatever the container's user put there instead of its
//! log is left alone: only a plain file with one name is touched.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

/// What a container prints into, in its sandbox.
pub(super) const LOGS: [&str; 2] = ["stdout", "stderr"];

/// How much is kept of what containers print.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogLimits {
    /// How large a file may be before its content is moved away.
    pub bytes_max: u64,
    /// How many of those are kept beside the one that is written to.
    pub files_max: u32,
}

impl Default for LogLimits {
    /// Half a gigabyte of each output: more is searched by nobody in this form.
    fn default() -> Self {
        Self { bytes_max: 100 << 20, files_max: 4 }
    }
}

/// Cuts the logs of a sandbox that are too large, and adds to `cut` what goes of each. Blocks.
pub(super) fn rotate(sandbox: &Path, limits: LogLimits, cut: &mut [u64; 2]) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(sandbox, flags, Mode::empty())?;
    let mut logs = LOGS.iter().zip(cut);
    logs.try_for_each(|(name, cut)| rotate_one(&directory, name, limits, cut))
}

/// Opens a log in its sandbox, unless it is no file any more.
pub(super) fn open_log(
    directory: &OwnedFd,
    name: &str,
    access: OFlags,
) -> io::Result<Option<OwnedFd>> {
    // A pipe put there would be waited for.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// Whether it is a file with one name, which nobody's else can be.
pub(super) fn is_plain(there: &Stat) -> bool {
    FileType::from_raw_mode(there.st_mode).is_file() && there.st_nlink == 1
}

fn rotate_one(directory: &OwnedFd, name: &str, limits: LogLimits, cut: &mut u64) -> io::Result<()> {
    let Some(log) = open_log(directory, name, OFlags::RDWR)? else { return Ok(()) };
    let there = rustix::fs::fstat(&log)?;
    let size = u64::try_from(there.st_size).unwrap_or(0);
    if !is_plain(&there) || size <= limits.bytes_max {
        return Ok(());
    }
    let log = File::from(log);
    let moved = whole_blocks(&there, size);
    let older = if limits.files_max > 0 {
        shift(directory, name, limits.files_max)?;
        let older = create(directory, &format!("{name}.1"), &there)?;
        io::copy(&mut (&log).take(moved), &mut &older)?;
        Some(older)
    } else {
        None
    };
    match rustix::fs::fallocate(&log, FallocateFlags::COLLAPSE_RANGE, 0, moved) {
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
            if let Some(older) = older {
                io::copy(&mut &log, &mut &older)?;
            }
            *cut += log.metadata()?.len();
            log.set_len(0)
        }
        done => {
            done?;
            *cut += moved;
            Ok(())
        }
    }
}

/// As much of a file as can be taken out of it: whole blocks, and never all.
fn whole_blocks(there: &Stat, size: u64) -> u64 {
    let block = u64::try_from(there.st_blksize).unwrap_or(0).max(1);
    (size - 1) / block * block
}

/// Gives each older file the next number. The last one goes.
fn shift(directory: &OwnedFd, name: &str, files_max: u32) -> io::Result<()> {
    for number in (1..files_max).rev() {
        let (from, to) = (format!("{name}.{number}"), format!("{name}.{}", number + 1));
        match rustix::fs::renameat(directory, from, directory, to) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    match rustix::fs::unlinkat(directory, format!("{name}.1"), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes a new file that belongs to whom `like` does.
fn create(directory: &OwnedFd, name: &str, like: &Stat) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?;
    let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    #[test]
    fn whoever_writes_goes_on_and_the_newest_files_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let limits = LogLimits { bytes_max: 10_000, files_max: 2 };
        let mut writer =
            OpenOptions::new().append(true).create(true).open(at("stdout")).expect("a file");
        let (mut all, mut kept) = (String::new(), Vec::new());
        for number in 0..4_000 {
            let line = format!("line {number}\n");
            writer.write_all(line.as_bytes()).expect("there is room");
            all.push_str(&line);
            if number % 100 == 0 {
                rotate(dir.path(), limits, &mut [0; 2]).expect("it can be cut");
                kept.push(fs::read_to_string(at("stdout")).expect("it is there").len());
            }
        }
        assert!(kept.iter().all(|bytes| *bytes <= 10_000), "{kept:?}");
        // What is left is the end of what was written, without a gap.
        let read = |name: &str| fs::read_to_string(at(name)).expect("it is there");
        let left = [read("stdout.2"), read("stdout.1"), read("stdout")].concat();
        assert!(left.len() > 16_000, "{}", left.len());
        assert!(all.ends_with(&left), "{left}");
        assert!(!at("stdout.3").exists());
    }

    #[test]
    fn what_is_not_a_log_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let sandbox = dir.path().join("sandbox");
        fs::create_dir(&sandbox).expect("a directory");
        let outside = dir.path().join("outside");
        fs::write(&outside, vec![b'x'; 50_000]).expect("a file");
        let limits = LogLimits { bytes_max: 10_000, files_max: 2 };
        std::os::unix::fs::symlink(&outside, sandbox.join("stdout")).expect("a link");
        fs::hard_link(&outside, sandbox.join("stderr")).expect("a link");
        rotate(&sandbox, limits, &mut [0; 2]).expect("nothing is done");
        fs::remove_file(sandbox.join("stdout")).expect("it is ours");
        fs::remove_file(sandbox.join("stderr")).expect("it is ours");
        nix::unistd::mkfifo(&sandbox.join("stdout"), nix::sys::stat::Mode::S_IRWXU)
            .expect("a pipe");
        fs::create_dir(sandbox.join("stderr")).expect("a directory");
        rotate(&sandbox, limits, &mut [0; 2]).expect("nothing is done");
        assert_eq!(fs::metadata(&outside).expect("it is there").len(), 50_000);
        assert_eq!(fs::read_dir(&sandbox).expect("it is there").count(), 2);
    }
}
