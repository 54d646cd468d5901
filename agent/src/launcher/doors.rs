//! The ways into the namespaces of another container.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{Joined, Plan};

/// Namespaces that are going to be entered, held open.
#[derive(Default)]
pub(super) struct Doors {
    pid: Option<File>,
    /// The mounts come last: from there on paths mean something else.
    others: Vec<(&'static str, CloneFlags, File)>,
    /// The mounts of the container whose `/dev/shm` is shared.
    shared_memory: Option<File>,
}

impl Doors {
    /// Opens what `joined` says.
    pub(super) fn open(joined: Option<&Joined>) -> Result<Self, String> {
        let Some(joined) = joined else { return Ok(Self::default()) };
        let pid = joined.process.pid;
        let open = |wanted: bool, name: &'static str| {
            if !wanted {
                return Ok(None);
            }
            let path = format!("/proc/{pid}/ns/{name}");
            File::open(&path).map(Some).map_err(|error| format!("cannot open {path}: {error}"))
        };
        let mut others = Vec::new();
        for (wanted, name, flag) in [
            (joined.network, "net", CloneFlags::CLONE_NEWNET),
            (joined.ipc, "ipc", CloneFlags::CLONE_NEWIPC),
            (joined.uts, "uts", CloneFlags::CLONE_NEWUTS),
            (joined.mount, "mnt", CloneFlags::CLONE_NEWNS),
        ] {
            others.extend(open(wanted, name)?.map(|door| (name, flag, door)));
        }
        let doors = Self {
            pid: open(joined.pid, "pid")?,
            others,
            shared_memory: open(joined.shared_memory, "mnt")?,
        };
        // Else they may be those of a later process of the same number.
        if joined.process.is_there() {
            Ok(doors)
        } else {
            Err("the container it is in is gone".to_owned())
        }
    }

    /// Has what this process clones from here on be in the other container's process numbers.
    pub(super) fn enter_pid(&self) -> Result<(), String> {
        self.pid.iter().try_for_each(|door| enter("pid", CloneFlags::CLONE_NEWPID, door))
    }

    /// Enters all but the process numbers.
    pub(super) fn enter_others(&self) -> Result<(), String> {
        self.others.iter().try_for_each(|(name, flag, door)| enter(name, *flag, door))
    }

    /// The other container's `/dev/shm`, to be mounted in this one's own mounts.
    pub(super) fn shared_memory(&self, plan: &Plan) -> Result<Option<OwnedFd>, String> {
        let Some(theirs) = self.shared_memory.as_ref().filter(|_| plan.namespaces.mount) else {
            return Ok(None);
        };
        let own = File::open("/proc/self/ns/mnt").map_err(|error| error.to_string())?;
        enter("mnt", CloneFlags::CLONE_NEWNS, theirs)?;
        // It can be taken only by somebody who is in there.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let taken = open_tree(CWD, "/dev/shm", flags);
        enter("mnt", CloneFlags::CLONE_NEWNS, &own)?;
        taken.map(Some).map_err(|errno| format!("cannot share /dev/shm: {errno}"))
    }
}

fn enter(name: &str, flag: CloneFlags, door: &File) -> Result<(), String> {
    setns(door, flag).map_err(|errno| format!("cannot enter the {name} namespace: {errno}"))
}
