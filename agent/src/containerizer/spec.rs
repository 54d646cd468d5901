//! What is asked for when a container is launched.

use std::path::PathBuf;

use model::amount::Ranges;
use model::ids::ContainerId;
use proto::mesos::v1::NetworkInfo;

use crate::images::{Provisioned, WantedImage};
use crate::launcher::{Capabilities, Identity, Rlimit, Volume};
use crate::secrets::SecretVolume;

/// What a container executes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CommandLine {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// A program, searched for in the `PATH` of the environment unless it has a slash in it, and its
    /// argument vector, whose first element is its own name.
    Program {
        /// What to execute.
        path: String,
        /// Its arguments, its own name first.
        arguments: Vec<String>,
    },
}

/// What a container may use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// CPUs asked for, in thousandths: its weight against others.
    pub cpus_milli: u64,
    /// The most CPUs, in thousandths. Absent: as `--cgroups_enable_cfs` says.
    pub cpus_limit_milli: Option<u64>,
    /// Memory asked for.
    pub mem_bytes: u64,
    /// The most memory, [`Limits::UNLIMITED`] for all there is. Absent: as much as asked for.
    pub mem_limit_bytes: Option<u64>,
    /// The most processes and threads. Absent: the agent's default.
    pub pids: Option<u64>,
    /// Whole graphics processors.
    pub gpus: u64,
    /// The most its sandbox may take. Absent: nobody asked for any.
    pub disk_bytes: Option<u64>,
}

impl Limits {
    /// A limit that is none.
    pub const UNLIMITED: u64 = u64::MAX;
}

/// Everything about one launch.
#[derive(Clone, Debug)]
pub struct LaunchSpec {
    /// Its id, new on this agent.
    pub container: ContainerId,
    /// Where the command starts and its output goes; it exists.
    pub sandbox: PathBuf,
    /// What to execute.
    pub command: CommandLine,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Whom to run as. Absent: as the agent.
    pub user: Option<String>,
    /// Whom to run as, looked up already: it counts before `user`. Users of an image are those that
    /// its own files name.
    pub identity: Option<Identity>,
    /// The image whose files it sees. Absent: those of the machine.
    pub image: Option<Provisioned>,
    /// Where the command starts, as it sees it. Absent: in its sandbox.
    pub workdir: Option<PathBuf>,
    /// What it may use.
    pub limits: Limits,
    /// The ports that it may listen on.
    pub ports: Ranges,
    /// The host name it sees. Absent: the machine's.
    pub hostname: Option<String>,
    /// What its container was asked to be like.
    pub wanted: Wanted,
    /// What the agent itself has it see. Needs an isolator that gives it mounts of its own.
    pub shown: Vec<Volume>,
    /// Whether the command is the agent's own executor, which keeps its memory small.
    pub small: bool,
}

/// What can be asked of a container. Each isolator grants its part or refuses it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// What its command has exactly. Absent: what the agent says.
    pub capabilities_effective: Option<Capabilities>,
    /// What nobody in it can have more than. Absent: what the agent says.
    pub capabilities_bounding: Option<Capabilities>,
    /// Which system calls it may make.
    pub seccomp: Seccomp,
    /// Limits of its single processes.
    pub rlimits: Vec<Rlimit>,
    /// What it sees at other places.
    pub volumes: Vec<Volume>,
    /// How large its `/dev/shm` may become. Absent: as the kernel has it.
    pub shm_bytes: Option<u64>,
    /// Which networks it is in.
    pub networks: Networks,
    /// Secrets that it sees as files.
    pub secrets: Vec<SecretVolume>,
    /// Whether it sees the shared memory and semaphores of the machine rather than its own.
    pub shares_ipc: bool,
    /// Whether it sees the processes of the machine rather than only its own.
    pub shares_pids: bool,
    /// Whose files it sees. Absent: the machine's.
    pub image: Option<WantedImage>,
}

/// Which networks a container is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Networks {
    /// The machine's.
    #[default]
    Host,
    /// These, and a loopback interface of its own. With none, there is only that.
    Own(Vec<NetworkInfo>),
}

/// Which system calls a container may make.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Seccomp {
    /// All but those that reach what is outside of it.
    #[default]
    Default,
    /// Every one. Its capabilities still count.
    Unconfined,
    /// What a profile of this name says.
    Profile(String),
}
