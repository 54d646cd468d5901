//! Where this machine's cgroups are, and how each version of the kernel's interface is spoken to.
//!
//! A controller is either in a v1 hierarchy or in the v2 tree, never in both. A machine that has some
//! here and some there (hybrid) is no case of its own: each isolator asks for its controller and
//! gets the place and the [`Interface`] that goes with it. What is mounted where is read from
//! `mountinfo`: that there is a v2 mount does not mean that it controls anything.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::v1::V1;
use super::v2::V2;
use super::v2_tree;

/// How long a removed cgroup may stay busy: its last process counts as inside for some
/// milliseconds after its end, longer on a loaded machine.
const REMOVE_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait before trying again to remove a busy cgroup.
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

/// Between the group of a container and those of the ones in it, as Mesos has it.
const NESTED: &str = "mesos";

/// Where the processes of a container are whose group is divided among others.
const LEAF: &str = "leaf";

/// What a container's CPU time is set to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CpuSetting {
    /// The weight against others, in thousandths of a core.
    pub(crate) share_milli: u64,
    /// The most it may use, in thousandths of a core. Absent: as much as there is.
    pub(crate) quota_milli: Option<u64>,
}

/// What a container's memory is set to, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MemorySetting {
    /// What it should be left with when memory is short. Absent: as `hard`.
    pub(crate) soft: u64,
    /// What it can never exceed. Absent: as much as there is.
    pub(crate) hard: Option<u64>,
}

/// CPU time used so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct CpuTime {
    /// In the program itself.
    pub(crate) user: Duration,
    /// In the kernel on its behalf.
    pub(crate) system: Duration,
    /// How many periods there were with work to do.
    pub(crate) periods: u64,
    /// In how many of them the quota ran out.
    pub(crate) throttled_periods: u64,
    /// For how long it was kept waiting.
    pub(crate) throttled: Duration,
}

/// How one version of the kernel's cgroup files is read and written. `group` is always the
/// directory of one container in the right hierarchy.
pub(crate) trait Interface: Debug + Send + Sync {
    /// Sets weight and quota.
    fn set_cpu(&self, group: &Path, cpu: CpuSetting) -> io::Result<()>;
    /// What has been used.
    fn cpu_time(&self, group: &Path) -> io::Result<CpuTime>;
    /// Sets soft and hard limit.
    fn set_memory(&self, group: &Path, memory: MemorySetting) -> io::Result<()>;
    /// What is in use, in bytes.
    fn memory_bytes(&self, group: &Path) -> io::Result<u64>;
    /// How many processes the kernel has killed because this group was at its limit.
    fn memory_kills(&self, group: &Path) -> io::Result<u64>;
    /// Something that becomes readable when the group runs out of memory.
    fn watch_memory(&self, group: &Path) -> io::Result<OwnedFd>;
    /// Sets how many processes and threads there may be.
    fn set_pids(&self, group: &Path, most: u64) -> io::Result<()>;
    /// How many there are.
    fn pids(&self, group: &Path) -> io::Result<u64>;
    /// Has only these devices be opened from the group. They are lines such as `c 1:3 rw`.
    fn set_devices(&self, group: &Path, allowed: &[String]) -> io::Result<()>;
    /// Has more devices be opened from the group, and others that were allowed no more.
    fn change_devices(&self, group: &Path, more: &[String], fewer: &[String]) -> io::Result<()>;
    /// Kills every process in the group. Those that start meanwhile may be missed: ask again until
    /// [`processes`] is empty.
    fn kill(&self, group: &Path) -> io::Result<()>;
}

/// One tree of cgroups, with the directory all containers of this agent are under.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    root: PathBuf,
    interface: Arc<dyn Interface>,
    v2: bool,
    /// Absent where only processes are kept together.
    controller: Option<String>,
}

impl Hierarchy {
    /// The directory of a container. Of one in another it is below the other's, so that what it
    /// takes counts there too.
    pub(crate) fn group(&self, container: &str) -> PathBuf {
        let mut names = container.split('.');
        let root = self.root.join(names.next().unwrap_or_default());
        names.fold(root, |group, name| group.join(NESTED).join(name))
    }

    /// The directory in which the processes of a container are.
    pub(crate) fn seat(&self, container: &str) -> PathBuf {
        let group = self.group(container);
        let leaf = group.join(LEAF);
        if self.v2 && leaf.is_dir() { leaf } else { group }
    }

    /// How its files are spoken to.
    pub(crate) fn interface(&self) -> &dyn Interface {
        &*self.interface
    }

    /// Whether this is the v2 tree, where a process can be born in its group.
    pub(crate) fn is_v2(&self) -> bool {
        self.v2
    }

    /// Makes the directory of a container. One that is there is kept.
    pub(crate) fn create(&self, container: &str) -> io::Result<PathBuf> {
        let group = self.group(container);
        fs::create_dir_all(&group)?;
        Ok(group)
    }

    /// Lets a container in another one have limits of its own, which in the v2 tree takes that nobody
    /// is where the other's limits are set.
    pub(crate) fn divide(&self, container: &str) -> io::Result<()> {
        let Some((parent, _)) = container.rsplit_once('.') else { return Ok(()) };
        let Some(controller) = self.controller.as_deref().filter(|_| self.v2) else {
            return Ok(());
        };
        let group = self.group(parent);
        let leaf = group.join(LEAF);
        fs::create_dir_all(&leaf)?;
        let until = Instant::now() + REMOVE_WITHIN;
        loop {
            let inside = processes(&group)?;
            if inside.is_empty() {
                break;
            }
            for pid in inside {
                match fs::write(leaf.join("cgroup.procs"), pid.to_string()) {
                    // It has ended meanwhile.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    moved => moved?,
                }
            }
            if Instant::now() >= until {
                return Err(io::Error::other(
                    "its parent starts processes faster than they are moved",
                ));
            }
        }
        for at in [group.clone(), group.join(NESTED)] {
            fs::create_dir_all(&at)?;
            fs::write(at.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
        Ok(())
    }

    /// Removes the directory of a container and what is nested in it. None there is as good.
    pub(crate) fn remove(&self, container: &str) -> io::Result<()> {
        remove_tree(&self.group(container), Instant::now() + REMOVE_WITHIN)
    }
}

fn remove_tree(group: &Path, until: Instant) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path(), until)?;
        }
    }
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                std::thread::sleep(REMOVE_PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}

/// The processes in a group, not those nested below it.
pub(crate) fn processes(group: &Path) -> io::Result<Vec<i32>> {
    match fs::read_to_string(group.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        // The group went away while it was read.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The processes of a container, also if its group is divided; not those of containers in it.
pub(crate) fn members(group: &Path) -> io::Result<Vec<i32>> {
    let mut members = processes(group)?;
    members.extend(processes(&group.join(LEAF))?);
    Ok(members)
}

/// What cgroup file systems are mounted, and where.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mounts {
    /// The v1 hierarchy of each controller.
    pub(crate) v1: BTreeMap<String, PathBuf>,
    /// The v2 tree.
    pub(crate) v2: Option<PathBuf>,
}

impl Mounts {
    /// Reads `mountinfo`, as of `/proc/self/mountinfo`.
    pub(crate) fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            // Before the dash: id, parent, device, root, mount point, options, optional fields;
            // after it: type, source, options of the file system.
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(at) = left.split(' ').nth(4) else { continue };
            let at = PathBuf::from(at.replace("\\040", " "));
            let mut right = right.split(' ');
            match right.next() {
                // Of several mounts of one tree the first is as good as any.
                Some("cgroup2") => _ = mounts.v2.get_or_insert(at),
                Some("cgroup") => {
                    for option in right.next_back().unwrap_or_default().split(',') {
                        mounts.v1.entry(option.to_owned()).or_insert_with(|| at.clone());
                    }
                }
                Some(_) | None => {}
            }
        }
        mounts.v1.retain(|option, _| option != "rw" && option != "ro");
        mounts
    }

    /// Those of this process.
    pub(crate) fn detect() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// Those of this process that are at or below a directory.
    pub(crate) fn detect_below(directory: &Path) -> io::Result<Self> {
        Ok(Self::detect()?.below(directory))
    }

    fn below(mut self, directory: &Path) -> Self {
        self.v1.retain(|_, mount| mount.starts_with(directory));
        self.v2 = self.v2.filter(|mount| mount.starts_with(directory));
        self
    }

    /// Whether any tree has `controller`.
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.v1.contains_key(controller)
            || self.v2.as_deref().is_some_and(|mount| v2_tree::has(mount, controller))
    }

    /// The tree that has `controller`, with the directory `root` in it made ready for containers.
    pub(crate) fn hierarchy(
        &self,
        controller: &str,
        root: &str,
    ) -> Result<Hierarchy, NoController> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| NoController::Setup { controller: controller.to_owned(), path, source }
        };
        if let Some(mount) = self.v1.get(controller) {
            let root = mount.join(root);
            fs::create_dir_all(&root).map_err(failed(&root))?;
            let controller = Some(controller.to_owned());
            return Ok(Hierarchy { root, interface: Arc::new(V1), v2: false, controller });
        }
        let absent = || NoController::Absent { controller: controller.to_owned() };
        let mount = self.v2.as_deref().ok_or_else(absent)?;
        if !v2_tree::has(mount, controller) {
            return Err(absent());
        }
        let handed = v2_tree::handed_down(controller);
        let root = v2_tree::root(mount, root, handed).map_err(failed(&mount.join(root)))?;
        let controller = handed.map(str::to_owned);
        Ok(Hierarchy { root, interface: Arc::new(V2), v2: true, controller })
    }

    /// The tree to keep track of processes in: v2 where there is one, since it can kill a whole
    /// group at once, else the v1 freezer.
    pub(crate) fn tracking(&self, root: &str) -> Result<Hierarchy, NoController> {
        if let Some(mount) = &self.v2
            && let Ok(root) = v2_tree::root(mount, root, None)
        {
            return Ok(Hierarchy { root, interface: Arc::new(V2), v2: true, controller: None });
        }
        self.hierarchy("freezer", root)
    }
}

/// Why a controller cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoController {
    /// The kernel or the mounts do not have it.
    #[error(
        "this machine has no cgroup controller '{controller}' mounted below --cgroups_hierarchy; mount it there, \
         name where it is, or leave its isolator out of --isolation"
    )]
    Absent {
        /// Which one.
        controller: String,
    },
    /// The agent's own directory could not be made.
    #[error(
        "cannot set up {} for cgroup controller '{controller}'; run the agent as root, or use --isolation=posix/cpu,posix/mem",
        path.display()
    )]
    Setup {
        /// Which one.
        controller: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_is_read_from_its_mounts() {
        let mounts = Mounts::parse(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(mounts.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        for controller in ["cpu", "cpuacct"] {
            assert_eq!(mounts.v1[controller], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        }
        assert_eq!(mounts.v1["memory"], Path::new("/sys/fs/cgroup/memory"));
        assert!(!mounts.v1.contains_key("pids"));
        assert_eq!(mounts.clone().below(Path::new("/sys/fs/cgroup")), mounts);
        let part = mounts.clone().below(Path::new("/sys/fs/cgroup/memory"));
        assert_eq!((part.v1.len(), &part.v2), (1, &None));
        assert!(part.v1.contains_key("memory"));
        assert_eq!(mounts.below(Path::new("/cgroup")), Mounts::default());
    }

    #[test]
    fn a_v2_tree_hands_its_controllers_down() {
        let mount = tempfile::tempdir().expect("a directory");
        fs::write(mount.path().join("cgroup.controllers"), "cpu memory pids\n").expect("a file");
        let mounts = Mounts { v1: BTreeMap::new(), v2: Some(mount.path().to_owned()) };

        let memory = mounts.hierarchy("memory", "mesos").expect("it is there");
        assert!(memory.is_v2());
        for at in ["cgroup.subtree_control", "mesos/cgroup.subtree_control"] {
            let handed = fs::read_to_string(mount.path().join(at)).expect("it was written");
            assert_eq!(handed, "+memory");
        }
        let group = memory.create("c1").expect("a group");
        assert_eq!(group, mount.path().join("mesos/c1"));
        memory.remove("c1").expect("it is empty");
        assert!(!group.exists());
        memory.remove("c1").expect("removing it again is as good");

        let absent = mounts.hierarchy("hugetlb", "mesos").expect_err("it is not there");
        assert!(absent.to_string().contains("no cgroup controller 'hugetlb'"));
    }
}
