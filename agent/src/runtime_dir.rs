//! Where an agent keeps what only lives as long as the machine is up, unless it is told.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, statfs};

use crate::socket;

/// Where the system keeps what does not outlive it.
const RUN: &str = "/run";

/// Where agents have their directories there.
const AGENTS: &str = "/run/agora";

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
        return Path::new(AGENTS).join(name);
    }
    beside
}

/// Makes a runtime directory, and holds it for as long as what is returned lives: no agent that starts
/// takes it for that of one that is gone.
pub(crate) fn hold(path: &Path) -> io::Result<File> {
    loop {
        // What is in there holds secrets.
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let held = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        // Where there are no locks nobody gets the one by which directories are cleared away.
        let _ = flock(&held, FlockOperation::LockShared);
        // Somebody may have cleared it away before it was held, and another may be there by now.
        let is_it = |now: fs::Metadata| held.metadata().map(|it| it.ino() == now.ino());
        match fs::metadata(path).and_then(is_it) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(true) => return Ok(held),
            _ => {}
        }
    }
}

/// Clears away what agents left behind whose work directory is gone, if `mine` is one of those that
/// agents have by default. Blocks.
pub(crate) fn clear_gone(mine: &Path) {
    if mine.parent() != Some(Path::new(AGENTS)) {
        return;
    }
    if let Err(error) = clear_gone_in(Path::new(AGENTS)) {
        tracing::warn!(%error, "what agents that are gone left in {AGENTS} was not looked at");
    }
}

fn clear_gone_in(agents: &Path) -> io::Result<()> {
    for entry in fs::read_dir(agents)? {
        let entry = entry?;
        if let Some(work_dir) = work_dir_of(&entry.file_name())
            && is_gone(&work_dir)
            && let Err(error) = clear(&entry.path(), &work_dir)
        {
            let path = entry.path();
            tracing::warn!(path = %path.display(), %error, "it was not cleared away");
        }
    }
    Ok(())
}

/// Removes a runtime directory, if nobody holds it and nothing is in it but what each agent makes.
fn clear(runtime_dir: &Path, work_dir: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(held) = rustix::fs::open(runtime_dir, flags, Mode::empty()) else { return Ok(()) };
    if flock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    // An agent that starts makes its work directory first, and cannot hold this one now.
    if !is_gone(work_dir) || !runtime_dir.join("containers").is_dir() {
        return Ok(());
    }
    let mut found = Vec::new();
    if !is_bare(runtime_dir, &mut found)? {
        return Ok(());
    }
    for (path, is_dir) in found {
        if is_dir { fs::remove_dir(path) } else { fs::remove_file(path) }?;
    }
    tracing::info!(
        runtime_dir = %runtime_dir.display(),
        work_dir = %work_dir.display(),
        "an agent is gone with its work directory, and what it had left there was cleared away"
    );
    Ok(())
}

/// Whether there is nothing in a directory but directories and the agent's socket. All that there is
/// comes to `found`, each before the directory it is in, and with whether it is one itself.
fn is_bare(directory: &Path, found: &mut Vec<(PathBuf, bool)>) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_socket() && entry.file_name() == socket::NAME {
            found.push((entry.path(), false));
        } else if !kind.is_dir() || !is_bare(&entry.path(), found)? {
            return Ok(false);
        }
    }
    found.push((directory.to_owned(), true));
    Ok(true)
}

/// Whether it is known that nothing is there.
fn is_gone(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
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

/// The work directory whose runtime directory has this name. Absent: it is none of an agent's.
fn work_dir_of(name: &OsStr) -> Option<PathBuf> {
    let name = name.to_str()?;
    let mut path = vec![b'/'];
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if let Some(escaped) = rest.strip_prefix("\\x") {
            let (digits, after) = escaped.split_at_checked(2)?;
            path.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            let after = first.len_utf8();
            path.extend(rest[..after].bytes().map(|it| if it == b'-' { b'/' } else { it }));
            rest = &rest[after..];
        }
    }
    let path = PathBuf::from(OsString::from_vec(path));
    (name_of(&path) == name).then_some(path)
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
            assert_eq!(work_dir_of(OsStr::new(name)), Some(path.into()));
        }
        for name in ["a\\x2", "a\\xzz", "a\\x61", ".a", "ä", "a b"] {
            assert_eq!(work_dir_of(OsStr::new(name)), None, "nobody names one so: {name}");
        }
    }

    /// Runtime directories of agents, in a directory of their own.
    struct Run {
        dir: tempfile::TempDir,
    }

    impl Run {
        fn new() -> Self {
            let run = Self { dir: tempfile::tempdir().expect("a directory") };
            fs::create_dir(run.agents()).expect("it is writable");
            run
        }

        fn agents(&self) -> PathBuf {
            self.dir.path().join("agora")
        }

        fn work_dir(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Where an agent with this work directory has what it has.
        fn of(&self, name: &str) -> PathBuf {
            self.agents().join(name_of(&self.work_dir(name)))
        }

        /// Leaves behind what an agent without containers does.
        fn left_by(&self, name: &str) -> PathBuf {
            let left = self.of(name);
            drop(hold(&left).expect("it is made"));
            fs::create_dir_all(left.join("containers")).expect("a directory");
            fs::create_dir_all(left.join("isolators/network/cni")).expect("a directory");
            leave_socket(&left.join("socket"));
            left
        }
    }

    fn leave_socket(dir: &Path) {
        fs::create_dir(dir).expect("a directory");
        std::os::unix::net::UnixListener::bind(dir.join(socket::NAME)).expect("a socket");
    }

    #[test]
    fn what_agents_that_are_gone_left_is_cleared_away_and_nothing_else() {
        let run = Run::new();
        let gone = run.left_by("gone");
        let there = run.left_by("there");
        fs::create_dir(run.work_dir("there")).expect("a directory");
        let held = run.left_by("held");
        let holder = hold(&held).expect("it is there");
        let full = run.left_by("full");
        fs::create_dir(full.join("containers/one")).expect("a directory");
        fs::write(full.join("containers/one/plan"), "").expect("a file");
        let shared = run.agents().join("socket");
        leave_socket(&shared);
        let strange = run.agents().join(".strange");
        fs::create_dir_all(strange.join("containers")).expect("a directory");

        clear_gone_in(&run.agents()).expect("it can be read");
        assert!(!gone.exists(), "its work directory is not there");
        for (kept, why) in [
            (&there, "its work directory is there"),
            (&held, "an agent holds it"),
            (&full, "a container has something there"),
            (&shared, "it is not of an agent, but may be where one has its socket"),
            (&strange, "no agent has one of this name"),
        ] {
            assert!(kept.exists(), "{why}");
        }
        assert!(held.join("socket/agent.sock").exists(), "all of it is there");
        drop(holder);
        clear_gone_in(&run.agents()).expect("it can be read");
        assert!(!held.exists(), "nobody holds it any more");
    }

    #[test]
    fn an_agent_that_starts_while_others_clear_away_has_its_directory() {
        let run = Run::new();
        let (work_dir, mine) = (run.work_dir("mine"), run.of("mine"));
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clearing = scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    clear_gone_in(&run.agents()).expect("it can be read");
                }
            });
            for life in 0..500 {
                // As it starts: the work directory first.
                fs::create_dir(&work_dir).expect("a directory");
                let held = hold(&mine).expect("it is made");
                let containers = mine.join("containers");
                let made = DirBuilder::new().recursive(true).create(&containers);
                assert!(made.is_ok() && mine.exists(), "in life {life}: {made:?}");
                fs::remove_dir(&work_dir).expect("it is empty");
                assert!(containers.exists(), "it is held, in life {life}");
                drop(held);
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            clearing.join().expect("clearing away went well");
        });
    }

    #[test]
    fn what_an_earlier_version_has_put_beside_the_work_is_found_again() {
        let work_dir = tempfile::tempdir().expect("a directory");
        let beside = work_dir.path().join("run");
        fs::create_dir(&beside).expect("it is writable");
        assert_eq!(default_for(work_dir.path()), beside);
        let far = PathBuf::from("/").join("x".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(default_for(&far), far.join("run"));
    }
}
