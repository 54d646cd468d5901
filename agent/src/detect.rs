//! What this machine has, as plain numbers.
//!
//! How much of it is offered follows the rule of Mesos: the system keeps a part of memory and disk
//! for itself. Flags override all of it; that is decided where flags are read.

use std::path::{Path, PathBuf};
use std::{fs, io, thread};

/// The ports an agent offers when it is not told which.
pub const PORTS_DEFAULT: (u16, u16) = (31_000, 32_000);

const GB: u64 = 1 << 30;

/// What was found on this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machine {
    /// Processors this process may use.
    pub cpus: u64,
    /// All memory, in bytes.
    pub memory_bytes: u64,
    /// The size of the file system that holds the work directory, in bytes.
    pub disk_bytes: u64,
    /// Changes with every boot: what ran under another one is gone.
    pub boot_id: String,
    /// The host's name as the kernel knows it.
    pub hostname: String,
}

/// Why something about the machine could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A file of the kernel could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the kernel had something else in it than expected.
    #[error("cannot find {wanted} in {}", path.display())]
    Parse {
        /// Which one.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A system call failed.
    #[error("cannot find out {wanted}")]
    System {
        /// What was asked for.
        wanted: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Machine {
    /// Looks around. `work_dir` must exist.
    pub fn detect(work_dir: &Path) -> Result<Self, DetectError> {
        let cpus = thread::available_parallelism()
            .map_err(|source| DetectError::System { wanted: "the number of processors", source })?;
        Ok(Self {
            cpus: cpus.get() as u64,
            memory_bytes: memory_bytes(Path::new("/proc/meminfo"))?,
            disk_bytes: disk_bytes(work_dir)?,
            boot_id: boot_id()?,
            hostname: hostname()?,
        })
    }

    /// The memory to offer: all but 1 GB, or half where there is less than 2 GB.
    pub fn memory_offered(&self) -> u64 {
        if self.memory_bytes >= 2 * GB { self.memory_bytes - GB } else { self.memory_bytes / 2 }
    }

    /// The disk to offer: all but 5 GB, or half where there is less than 10 GB.
    pub fn disk_offered(&self) -> u64 {
        if self.disk_bytes >= 10 * GB { self.disk_bytes - 5 * GB } else { self.disk_bytes / 2 }
    }
}

/// The id of the running kernel's boot.
pub fn boot_id() -> Result<String, DetectError> {
    Ok(read(Path::new("/proc/sys/kernel/random/boot_id"))?.trim().to_owned())
}

/// The host's name as the kernel knows it.
pub fn hostname() -> Result<String, DetectError> {
    let name = nix::unistd::gethostname()
        .map_err(|errno| DetectError::System { wanted: "the hostname", source: errno.into() })?;
    Ok(name.to_string_lossy().into_owned())
}

/// The size of the file system that holds `path`, in bytes.
pub fn disk_bytes(path: &Path) -> Result<u64, DetectError> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|errno| DetectError::System {
        wanted: "the size of the work directory's file system",
        source: errno.into(),
    })?;
    Ok(stat.blocks() * stat.fragment_size())
}

fn memory_bytes(path: &Path) -> Result<u64, DetectError> {
    let text = read(path)?;
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .ok_or(DetectError::Parse { path: path.to_owned(), wanted: "MemTotal" })?;
    Ok(kilobytes * 1_024)
}

fn read(path: &Path) -> Result<String, DetectError> {
    fs::read_to_string(path).map_err(|source| DetectError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_of_everything() {
        let machine = Machine::detect(Path::new("/")).expect("this is a Linux machine");
        assert!(machine.cpus >= 1);
        assert!(machine.memory_bytes > 64 << 20);
        assert!(machine.disk_bytes > 64 << 20);
        assert_eq!(machine.boot_id.len(), 36);
        assert!(!machine.hostname.is_empty());
    }

    #[test]
    fn the_system_keeps_its_part() {
        let machine = |memory, disk| Machine {
            cpus: 1,
            memory_bytes: memory * GB,
            disk_bytes: disk * GB,
            boot_id: String::new(),
            hostname: String::new(),
        };
        assert_eq!(machine(16, 100).memory_offered(), 15 * GB);
        assert_eq!(machine(16, 100).disk_offered(), 95 * GB);
        assert_eq!(machine(1, 8).memory_offered(), GB / 2);
        assert_eq!(machine(1, 8).disk_offered(), 4 * GB);
    }
}
