//! What there is to tell of containers: what they use, how they ended, which were found again.

use std::path::PathBuf;
use std::time::Duration;

use model::ids::ContainerId;
use serde::{Deserialize, Serialize};

/// A limit that a container broke.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Limitation {
    /// The kernel killed for memory.
    Memory,
    /// The sandbox takes more of the disk.
    Disk,
    /// A persistent volume of this size takes more of the disk.
    Volume {
        /// How large it may become.
        bytes: u64,
    },
    /// It listens on this port, which it was not given.
    Port(u16),
}

/// How a container ended.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Termination {
    /// The command's status in the form of wait(2). Absent: nobody knows.
    pub status: Option<i32>,
    /// The limit that it broke.
    pub limitation: Option<Limitation>,
    /// Whether it was ended by [`super::Containerizer::destroy`].
    pub destroyed: bool,
    /// What could not be cleared away, for people. Empty: nothing is left.
    pub leftovers: String,
}

/// What a container uses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// CPU time in programs.
    pub cpus_user: Duration,
    /// CPU time in the kernel.
    pub cpus_system: Duration,
    /// CPU periods with work to do.
    pub cpu_periods: u64,
    /// Those in which the quota ran out.
    pub cpu_throttled_periods: u64,
    /// Time spent waiting for quota.
    pub cpu_throttled: Duration,
    /// Memory. Absent: nobody counts.
    pub mem_bytes: Option<u64>,
    /// Processes and threads. Absent: nobody counts.
    pub pids: Option<u64>,
    /// What the sandbox took when it was last counted. Absent: it was not.
    pub disk_used_bytes: Option<u64>,
    /// What it may take. Absent: nobody counts, or asked for any.
    pub disk_limit_bytes: Option<u64>,
    /// What its persistent volumes take. Empty: it has none, or nobody counts.
    pub volumes: Vec<VolumeUsage>,
}

/// What a persistent volume takes, whoever wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VolumeUsage {
    /// Where it is.
    pub directory: PathBuf,
    /// What it took when it was last counted.
    pub used_bytes: u64,
    /// What it may take.
    pub limit_bytes: u64,
}

/// Projects of the disk: numbers that it counts and limits by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ProjectCount {
    /// Those that an agent may give to sandboxes and volumes.
    pub total: u64,
    /// Those of them that nothing has.
    pub free: u64,
}

/// What was found of the containers an agent knows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Still running; [`super::Containerizer::wait`] tells their end.
    pub running: Vec<ContainerId>,
    /// Ended meanwhile; [`super::Containerizer::wait`] tells how.
    pub ended: Vec<ContainerId>,
    /// Nothing is known of them: never launched, or lost in a reboot.
    pub missing: Vec<ContainerId>,
    /// Containers that nobody knows and that were destroyed.
    pub orphans: Vec<ContainerId>,
}
