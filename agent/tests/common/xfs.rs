//! A file system for tests that counts by projects: XFS, in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Set where the kernel has quotas of XFS, so that whoever cannot use them fails.
const MUST: &str = "AGORA_TEST_XFS";

/// How large it is. None is made of less than 300 MiB; the file takes only what is written.
const BYTES: u64 = 512 << 20;

/// How long those who have ended may keep it from being unmounted.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file system that is there until this is dropped.
pub(crate) struct Disk {
    /// Where it is mounted.
    pub(crate) at: PathBuf,
    /// Holds the file that it is in.
    _dir: tempfile::TempDir,
}

impl Disk {
    /// One with quotas of projects. Absent: this machine has none, and that is said.
    pub(crate) fn divided() -> Option<Self> {
        Self::told("XFS with quotas of projects", Self::mount("loop,prjquota"))
    }

    /// As [`Disk::divided`], where files that grow hold 16 MiB to grow into.
    pub(crate) fn ahead() -> Option<Self> {
        Self::told("XFS with quotas of projects", Self::mount("loop,prjquota,allocsize=16m"))
    }

    /// One without. Absent: this machine has none, and that is said.
    pub(crate) fn plain() -> Option<Self> {
        Self::told("XFS", Self::mount("loop"))
    }

    fn told(what: &str, mounted: Result<Self, String>) -> Option<Self> {
        let why = match mounted {
            Ok(disk) => return Some(disk),
            Err(why) => why,
        };
        assert!(std::env::var_os(MUST).is_none(), "there must be {what} here: {why}");
        eprintln!("SKIPPED: there is no {what} here, but in 'cargo xtask vm': {why}");
        None
    }

    fn mount(options: &str) -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
        let made = fs::File::create(&image).and_then(|file| file.set_len(BYTES));
        made.expect("it takes nothing yet");
        fs::create_dir(&at).expect("a directory");
        run("mkfs.xfs", &["-q"], &[&image])?;
        run("mount", &["-t", "xfs", "-o", options], &[&image, &at])?;
        Ok(Self { at, _dir: dir })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Of a test that has failed something may still be there.
            let _ = run("umount", &["--lazy"], &[&self.at]);
            return;
        }
        unmounted_until(&self.at, Instant::now() + PATIENCE).expect("nobody uses it any more");
    }
}

/// Unmounts, if need be again: those who have just ended may still be there.
fn unmounted_until(at: &Path, until: Instant) -> Result<String, String> {
    loop {
        match run("umount", &[], &[at]) {
            Err(_) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            unmounted => return unmounted,
        }
    }
}

/// Runs a program of the machine; gives what it printed.
pub(crate) fn run(program: &str, options: &[&str], paths: &[&Path]) -> Result<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("/usr/bin/env")
        .args([&format!("PATH={path}:/usr/sbin:/sbin"), "LC_ALL=C", program])
        .args(options)
        .args(paths)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(format!("{program}: {} ({why})", output.status))
}
