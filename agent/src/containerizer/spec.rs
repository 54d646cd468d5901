//! What is asked for when a container is launched.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use model::amount::Ranges;
use model::ids::ContainerId;
use proto::mesos::v1::NetworkInfo;

use crate::images::{Provisioned, WantedImage};
use crate::launcher::{Capabilities, Identity, Io, Plan, Rlimit, UnknownUser, Volume};
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
    /// The agent's built-in executor.
    Executor,
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
    /// What that one is called where rules speak of users. Absent: as the one it is in, if it is in one.
    pub known_as: Option<String>,
    /// The image whose files it sees. Absent: those of the machine.
    pub image: Option<Provisioned>,
    /// Images that it sees as volumes.
    pub image_volumes: Vec<ImageVolume>,
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
    /// What it is to others.
    pub kind: Kind,
}

/// An image whose files a container sees at some place. What is written to them goes with the container.
#[derive(Clone, Debug)]
pub struct ImageVolume {
    /// Which.
    pub image: Provisioned,
    /// Where. A relative path is one in the sandbox.
    pub container_path: PathBuf,
    /// Whether nobody in the container can write to it.
    pub read_only: bool,
}

/// An [`ImageVolume`] as it is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WantedImageVolume {
    /// Which image.
    pub image: WantedImage,
    /// Where. A relative path is one in the sandbox.
    pub container_path: PathBuf,
    /// Whether nobody in the container can write to it.
    pub read_only: bool,
}

/// What a container is to others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Kind {
    /// How it is set apart from the one that it is in, if it is in one.
    pub class: Class,
    /// Whether it is in no other and nobody's executor: no record of the agent tells of it, and it is
    /// taken back all the same.
    pub is_standalone: bool,
    /// How its input and output are handed on. Absent: its output goes to files.
    pub io: Option<Io>,
}

/// How a container is set apart from the one that it is in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Class {
    /// As any container.
    #[default]
    Default,
    /// Not at all, to look into that one: it has its namespaces, limits, rights, user and environment.
    Debug,
}

/// What can be asked of a container. Each isolator grants its part or refuses it.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
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
    /// Images that it sees as volumes.
    pub image_volumes: Vec<WantedImageVolume>,
    /// How large its `/dev/shm` may become. Absent: as the kernel has it.
    pub shm_bytes: Option<u64>,
    /// Whether it has shared memory of its own also if it is in another container.
    pub has_own_ipc: bool,
    /// Whether it has limits of its own in the container that it is in. Else it shares those.
    pub has_own_limits: bool,
    /// What nobody in it can have more than, besides the agent's own bound.
    pub capabilities_added: Capabilities,
    /// What is taken out of that before something is added.
    pub capabilities_dropped: Capabilities,
    /// What it calls itself. Absent: as the machine does, or its network.
    pub hostname: Option<String>,
    /// Names that it knows besides, with their addresses. Only where it has files of its own.
    pub hosts: Vec<(String, IpAddr)>,
    /// Which networks it is in.
    pub networks: Networks,
    /// Volumes that outlive it.
    pub persistent: Vec<PersistentVolume>,
    /// Secrets that it sees as files.
    pub secrets: Vec<SecretVolume>,
    /// Whether it sees the shared memory and semaphores of the machine rather than its own.
    pub shares_ipc: bool,
    /// Whether it sees the processes of the machine rather than only its own.
    pub shares_pids: bool,
    /// Whose files it sees. Absent: the machine's.
    pub image: Option<WantedImage>,
}

/// A volume that outlives the tasks that write to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PersistentVolume {
    /// Its directory, which must be there.
    pub directory: PathBuf,
    /// Where it is seen. A relative path is one in the sandbox.
    pub container_path: PathBuf,
    /// Whether nobody in the container can write to it.
    pub read_only: bool,
    /// Whether several containers may have it at the same time.
    pub is_shared: bool,
    /// How large it is.
    pub bytes: u64,
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

impl Networks {
    /// The network that stands for Docker's own bridge. Marathon calls it so too.
    pub(crate) const BRIDGE: &'static str = "mesos-bridge";
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

/// What the launcher is told before isolators have their say.
pub(super) fn plan(spec: LaunchSpec) -> Result<Plan, UnknownUser> {
    let identity = match spec.identity {
        Some(identity) => Some(identity),
        None => spec.user.as_deref().map(Identity::of).transpose()?,
    };
    let is_executor = spec.command == CommandLine::Executor;
    let (programs, arguments) = match spec.command {
        CommandLine::Shell(line) => {
            (vec!["/bin/sh".into()], vec!["sh".to_owned(), "-c".to_owned(), line])
        }
        CommandLine::Program { path, arguments } => {
            (candidates(&path, &spec.environment), arguments)
        }
        CommandLine::Executor => (Vec::new(), Vec::new()),
    };
    Ok(Plan {
        sandbox: spec.sandbox,
        workdir: spec.workdir,
        programs,
        arguments,
        environment: spec.environment,
        identity,
        known_as: spec.known_as.or(spec.user),
        hostname: spec.hostname,
        is_executor,
        shown: spec.shown,
        ..Plan::default()
    })
}

/// Where a program may be: as given if it has a slash in it, else in each directory of `PATH`.
fn candidates(program: &str, environment: &[(String, String)]) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![program.into()];
    }
    let path = environment.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or("/usr/local/bin:/usr/bin:/bin", |(_, path)| path);
    path.split(':').map(|directory| Path::new(directory).join(program)).collect()
}
