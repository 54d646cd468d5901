//! What the launcher is told: everything about one container's start, decided beforehand.
//!
//! A plan leaves nothing to choose to the launcher, which has no configuration of its own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Capabilities;

/// How one container is to be started.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Plan {
    /// Where the command starts unless `workdir` says otherwise, and where its output goes.
    pub sandbox: PathBuf,
    /// The sandbox of the container that it is in. Absent: it is in none.
    pub sandbox_around: Option<PathBuf>,
    /// Where the command starts, as it sees it. Absent: in its sandbox.
    pub workdir: Option<PathBuf>,
    /// What it sees instead of the machine's files. Absent: those.
    pub rootfs: Option<Rootfs>,
    /// What to execute: each is tried in turn until one exists.
    pub programs: Vec<PathBuf>,
    /// The argument vector, the program's name first.
    pub arguments: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub environment: Vec<(String, String)>,
    /// Whom to run as. Absent: as the agent does.
    pub identity: Option<Identity>,
    /// What that one is called where rules speak of users. Absent: nobody knows.
    pub known_as: Option<String>,
    /// Which namespaces are new.
    pub namespaces: Namespaces,
    /// The host name inside a new UTS namespace. Absent: as outside.
    pub hostname: Option<String>,
    /// A cgroup v2 directory to start in.
    pub cgroup_into: Option<PathBuf>,
    /// Cgroup directories (v1) to be moved into before anything runs.
    pub cgroups_joined: Vec<PathBuf>,
    /// What is hidden in a new mount namespace, where it is there.
    pub masked: Vec<PathBuf>,
    /// What can only be read in a new mount namespace, with all that is mounted below it.
    pub read_only: Vec<PathBuf>,
    /// What the agent itself has the container see, in a new mount namespace. It is mounted before
    /// anything is hidden, and may come from there.
    pub shown: Vec<Volume>,
    /// The file that holds the network namespace to start in. Absent: the machine's.
    pub network: Option<PathBuf>,
    /// What is mounted at other places in a new mount namespace.
    pub volumes: Vec<Volume>,
    /// How large `/dev/shm` may become. Absent: as the kernel has it.
    pub shm_bytes: Option<u64>,
    /// What nobody in the container can ever have more than. Absent: what the agent has.
    pub capabilities_bounding: Option<Capabilities>,
    /// What the command has exactly. Absent: what goes with its user, so all of the above for root
    /// and nothing for others.
    pub capabilities_effective: Option<Capabilities>,
    /// Whether nobody in it can gain rights by executing a program.
    pub no_new_privileges: bool,
    /// A filter of system calls, as instructions of the kernel's packet filter: code, jump if true,
    /// jump if false, operand. Empty: none are filtered.
    pub seccomp: Vec<(u16, u8, u8, u32)>,
    /// Limits of single processes.
    pub rlimits: Vec<Rlimit>,
    /// Whether the command is the built-in executor: nothing is executed then, and the process goes on
    /// as that.
    pub is_executor: bool,
    /// How much rather than others the kernel kills it when the machine has no memory left.
    /// Absent: as the agent.
    pub oom_score_adj: Option<u16>,
    /// What it shares with the container that it is in. Absent: it is in none.
    pub joined: Option<Joined>,
    /// The container whose limits it counts against, which is itself unless it shares those of the
    /// one it is in.
    pub cgroups_of: String,
    /// How its input and output are handed on to others. Absent: its output goes to files only.
    pub io: Option<Io>,
}

/// Which namespaces of another container are entered. New ones come on top of them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "one yes or no for each kind the kernel has")]
pub struct Joined {
    /// A process of that container.
    pub process: Process,
    /// All that it sees of file systems.
    pub mount: bool,
    /// Its process numbers.
    pub pid: bool,
    /// Its shared memory and semaphores.
    pub ipc: bool,
    /// Its host name.
    pub uts: bool,
    /// Its network.
    pub network: bool,
    /// Its `/dev/shm`, where the mounts are not its own.
    pub shared_memory: bool,
}

/// How input and output of a container are handed on by its launcher.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Io {
    /// A terminal for it, of this size. Absent: pipes.
    pub terminal: Option<Window>,
    /// Whether the container is there for whoever is connected: it waits for a reader of its output,
    /// nothing is written to files, and it ends with the agent.
    pub is_session: bool,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for Window {
    /// What terminals have had since they were made of glass.
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

/// Files of its own for a container: an image's layers, and on top of them what it writes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rootfs {
    /// Directories of layers, the topmost first. Nobody writes to them.
    pub layers: Vec<PathBuf>,
    /// The container's own directory, with `upper`, `work` and `rootfs` in it.
    pub dir: PathBuf,
}

impl Rootfs {
    /// Where a container with files of its own sees its sandbox.
    pub const SANDBOX: &str = "/mnt/mesos/sandbox";

    /// What the container writes.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// What overlayfs needs for itself, on the same file system.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Where all of it is mounted before it becomes the root.
    pub fn merged(&self) -> PathBuf {
        self.dir.join("rootfs")
    }
}

impl Plan {
    /// Whether the container's first process is an init that starts the command. The built-in executor is
    /// the first of its PID namespace itself.
    pub fn has_init(&self) -> bool {
        self.namespaces.pid && !self.is_executor
    }

    /// The sandbox as the command sees it.
    pub fn sandbox_inside(&self) -> &Path {
        if self.rootfs.is_some() { Path::new(Rootfs::SANDBOX) } else { &self.sandbox }
    }
}

/// Something that a container sees at another place.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Volume {
    /// What.
    pub source: VolumeSource,
    /// Where. A relative path is one in the sandbox and made; an absolute one is made in a container
    /// that has files of its own, and must be there in others.
    pub container_path: PathBuf,
    /// Whether nobody in the container can write to it.
    pub read_only: bool,
}

/// What a volume is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum VolumeSource {
    /// A path of the machine, which must be there.
    Host(PathBuf),
    /// A path in the sandbox, which is made.
    Sandbox(PathBuf),
    /// A path in the sandbox of the container that it is in, which is made.
    Around(PathBuf),
    /// The files of an image, with what is written to them kept apart.
    Image(Rootfs),
    /// A file system in memory, which is empty.
    Memory(Memory),
}

/// A file system in memory.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Memory {
    /// How large it may become. Absent: as the kernel has it.
    pub bytes: Option<u64>,
    /// Who may do what in it, as modes of directories have it.
    pub mode: u32,
    /// Whether programs in it may be executed.
    pub executable: bool,
}

/// A limit of single processes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rlimit {
    /// The kernel's number of it.
    pub resource: u32,
    /// Its name in messages, for people.
    pub name: String,
    /// What a process has. Absent: no limit.
    pub soft: Option<u64>,
    /// What it may raise that to. Absent: no limit.
    pub hard: Option<u64>,
}

/// The namespaces that a container has of its own.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "one yes or no for each kind the kernel has")]
pub struct Namespaces {
    /// Mounts made inside are not seen outside.
    pub mount: bool,
    /// Processes outside are not seen inside. Needs `mount`, for `/proc`.
    pub pid: bool,
    /// Shared memory and semaphores, and `/dev/shm` where `mount` is set.
    pub ipc: bool,
    /// The host name.
    pub uts: bool,
    /// Its groups are roots inside: nobody reads there where they are on the machine.
    #[serde(default)]
    pub cgroup: bool,
}

/// A user with its groups, looked up by the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Main group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

impl Identity {
    /// What the user is called as whom the agent runs; its number if it has no name.
    pub fn own_name() -> String {
        let uid = nix::unistd::geteuid();
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        user.map_or_else(|| uid.to_string(), |user| user.name)
    }

    /// Looks up a user of this machine by name, or by number.
    pub fn of(user: &str) -> Result<Self, UnknownUser> {
        let found = match user.parse::<u32>() {
            Ok(uid) => nix::unistd::User::from_uid(uid.into()),
            Err(_) => nix::unistd::User::from_name(user),
        };
        let unknown = || UnknownUser { user: user.to_owned() };
        let entry = found.ok().flatten().ok_or_else(unknown)?;
        let name = std::ffi::CString::new(entry.name).map_err(|_| unknown())?;
        let groups = nix::unistd::getgrouplist(&name, entry.gid).map_err(|_| unknown())?;
        Ok(Self {
            uid: entry.uid.as_raw(),
            gid: entry.gid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        })
    }
}

/// A task is to run as somebody this machine does not know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("user '{user}' does not exist on this machine; create it or name another user")]
pub struct UnknownUser {
    /// The name as it was given.
    pub user: String,
}

/// The files of one container in the runtime directory. The launcher writes them, the agent reads
/// them, and they outlive both.
#[derive(Clone, Debug)]
pub struct Files {
    dir: PathBuf,
}

impl Files {
    /// The files in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The plan. Written before the launcher starts.
    pub fn plan(&self) -> PathBuf {
        self.dir.join("plan")
    }

    /// Locked by the launcher as long as it lives, so that whoever cannot lock it knows that, and
    /// by which process.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The container's first process. Written before that process may do anything.
    pub fn pid(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// The wait status of the command. Written when it is over.
    pub fn exit_status(&self) -> PathBuf {
        self.dir.join("exit_status")
    }

    /// There once the container is to go: a launcher that starts late does nothing.
    pub fn destroyed(&self) -> PathBuf {
        self.dir.join("destroyed")
    }

    /// The socket on which the launcher hands on input and output, if it does.
    pub fn io(&self) -> PathBuf {
        self.dir.join("io")
    }

    /// There if the container is nobody's executor and in no other: nobody else's records tell of it.
    pub fn standalone(&self) -> PathBuf {
        self.dir.join("standalone")
    }

    /// How it all ended. Written by the agent before it clears away what would tell.
    pub fn termination(&self) -> PathBuf {
        self.dir.join("termination")
    }
}

/// A process that a later one of the same number is not mistaken for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in the kernel's ticks since boot.
    pub started: u64,
}

impl Process {
    /// The process that has the number `pid` now, if any has.
    pub fn find(pid: i32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }

    /// Whether it is still the one there.
    pub fn is_there(self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// When process `pid` started, if there is one.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, so count from its end: the start
    // time is the 22nd field, the state after the name the third.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Writes `bytes` to `path` so that a reader finds all of them or no file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let partial = path.with_extension("partial");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&partial)?.write_all(bytes)?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_number() {
        let pid = i32::try_from(std::process::id()).expect("pids are small");
        let this = Process::find(pid).expect("this process is there");
        assert!(this.is_there());
        assert!(!Process { started: this.started + 1, ..this }.is_there());
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = Identity::of("root").expect("there is a root");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(Identity::of("0"), Ok(root));
        let text = Identity::of("no-such-user").expect_err("nobody is called that").to_string();
        assert!(text.starts_with("user 'no-such-user' does not exist"), "{text}");
    }
}
