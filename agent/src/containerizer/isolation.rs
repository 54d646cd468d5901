//! Which isolators there are, by the names that `--isolation` takes.

use std::time::Duration;
use std::{io, path::PathBuf};

use model::ids::ContainerId;
use proto::mesos::v1::NetworkInfo;

use super::cgroups::hierarchy::Mounts;
pub use super::cgroups::hierarchy::NoController;
use super::cgroups::{Cpu, Cpuset, Devices, Grouped, HeadStart, Memory, Pids, Tracking};
use super::isolator::Isolator;
use super::rootfs::Rootfses;
use super::{
    Containerizer, ContainerizerOptions, ProjectCount, Stage, capabilities, cni, devices, disk,
    filesystem, gpus, namespaces, nnp, ports, posix, rlimits, seccomp, secrets, volumes,
};

/// All names, in the order in which isolators prepare. They clean up in reverse.
pub const NAMES: [&str; 30] = [
    "cgroups/cpu",
    "cgroups/mem",
    "cgroups/pids",
    "cgroups/devices",
    // After what forbids all devices, since it allows some.
    "gpu/nvidia",
    "linux/devices",
    "cgroups/cpuset",
    "cgroups/blkio",
    "cgroups/hugetlb",
    "cgroups/net_cls",
    "cgroups/net_prio",
    "cgroups/perf_event",
    "namespaces/pid",
    "namespaces/ipc",
    "network/cni",
    "network/ports",
    "filesystem/linux",
    "filesystem/posix",
    "volume/host_path",
    "volume/sandbox_path",
    "volume/image",
    "volume/secret",
    "posix/cpu",
    "posix/mem",
    "disk/du",
    // After what makes directories that a container writes to.
    "disk/xfs",
    "posix/rlimits",
    "linux/capabilities",
    "linux/nnp",
    // After the capabilities, since it forbids less where there are more.
    "linux/seccomp",
];

/// Names of isolators that are always there or come with another one, so that a list written for
/// Mesos keeps working.
const IMPLIED: [&str; 5] = [
    "cgroups/cpuacct",
    "namespaces/uts",
    "cgroups/freezer",
    "environment_secret",
    "docker/runtime",
];

/// Every isolator on cgroups that this machine has the controller for.
const ALL_CGROUPS: &str = "cgroups/all";

/// What root isolates by when it is not told, as far as this machine has it.
pub const DEFAULT_ROOT: &str = "cgroups/cpu,cgroups/mem,cgroups/pids,cgroups/devices,\
    namespaces/pid,namespaces/ipc,network/cni,filesystem/linux,\
    volume/host_path,volume/sandbox_path,volume/image,volume/secret,posix/rlimits,\
    linux/capabilities,linux/nnp,linux/seccomp";

/// What others isolate by: nothing. Use is counted.
pub const DEFAULT_UNPRIVILEGED: &str = "posix/cpu,posix/mem,filesystem/posix,posix/rlimits";

/// A list of isolator names that all exist, in the order of [`NAMES`], each once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Isolation(Vec<&'static str>);

/// A name that no isolator has.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no isolator '{name}'; there are {}", NAMES.join(", "))]
pub struct UnknownIsolator {
    /// The name as it was given.
    pub name: String,
}

/// Why isolation cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// A cgroup controller is missing or forbidden.
    #[error(transparent)]
    Controller(#[from] NoController),
    /// Graphics processors are not to be had.
    #[error("isolator gpu/nvidia: {0}")]
    Gpus(String),
    /// The disk cannot be divided.
    #[error("isolator disk/xfs: {0}")]
    Quotas(String),
    /// Networks are not to be had.
    #[error("isolator network/cni: {0}")]
    Networks(io::Error),
    /// The mounts could not be read.
    #[error("cannot read /proc/self/mountinfo")]
    Mounts(#[source] io::Error),
    /// Namespaces take rights that this process does not have.
    #[error(
        "isolator {name} needs root; run the agent as root, or with --isolation={DEFAULT_UNPRIVILEGED}"
    )]
    NeedsRoot {
        /// Which one.
        name: &'static str,
    },
}

impl Isolation {
    /// Reads a list such as `cgroups/cpu,namespaces/pid`.
    pub fn parse(list: &str) -> Result<Self, UnknownIsolator> {
        let mut chosen = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match NAMES.into_iter().find(|&known| known == name) {
                Some(known) => chosen.push(known),
                None if name == ALL_CGROUPS => chosen.extend(cgroups_here()),
                None if IMPLIED.contains(&name) => {}
                None => return Err(UnknownIsolator { name: name.to_owned() }),
            }
        }
        Ok(Self(NAMES.into_iter().filter(|name| chosen.contains(name)).collect()))
    }

    /// What this process can do when it is not told what to.
    pub fn default_here() -> Self {
        let root = nix::unistd::geteuid().is_root();
        let mut chosen = Self::parse(if root { DEFAULT_ROOT } else { DEFAULT_UNPRIVILEGED })
            .expect("the defaults are names");
        // A machine that can do it in neither tree is not to be refused for it.
        let here = cgroups_here();
        chosen.0.retain(|name| *name != "cgroups/devices" || here.contains(name));
        chosen
    }

    /// The chosen names.
    pub fn names(&self) -> &[&'static str] {
        &self.0
    }

    /// Whether anything is limited or hidden at all.
    pub fn isolates(&self) -> bool {
        self.0.iter().any(|name| needs_root(name))
    }
}

/// The isolators on cgroups whose controllers this machine has.
fn cgroups_here() -> Vec<&'static str> {
    let mounts = Mounts::detect().unwrap_or_default();
    let here =
        |name: &&str| name.strip_prefix("cgroups/").is_some_and(|it| mounts.has(controller(it)));
    NAMES.into_iter().filter(here).collect()
}

/// The kernel's name for what an isolator on cgroups is named after.
fn controller(name: &str) -> &str {
    if name == "mem" { "memory" } else { name }
}

fn needs_root(name: &str) -> bool {
    !name.starts_with("posix/") && name != "filesystem/posix" && name != "disk/du"
}

impl Containerizer {
    /// Begins with what takes no more than that some container is going to be launched. Waits for nothing.
    pub fn expect_launch(&self) {
        if let Some(head_start) = &self.inner.head_start {
            head_start.take();
        }
    }

    /// The networks of its own that a container is in, with its addresses. Absent: it is in the
    /// machine's, or over.
    pub async fn networks(&self, container: &ContainerId) -> Option<Vec<NetworkInfo>> {
        let entry = self.inner.containers.lock().live.get(container).cloned();
        if let Some(known) = entry.as_ref().and_then(|entry| entry.networks.get()) {
            return known.clone();
        }
        let container = container.clone();
        let found = self
            .blocking(move |inner| {
                inner.isolators.iter().find_map(|it| it.networks(container.as_str()))
            })
            .await;
        // From when it runs until it is over it is in the same ones, and each report asks for them.
        if let Some(entry) = entry.filter(|entry| *entry.stage.borrow() == Stage::Running) {
            let _ = entry.networks.set(found.clone());
        }
        found
    }

    /// Takes back what was kept for sandboxes and volumes that have been removed. Blocks.
    pub fn reclaim(&self) {
        self.inner.isolators.iter().for_each(|isolator| isolator.reclaim());
    }

    /// The projects of the disk that may be given to sandboxes and volumes. Without `disk/xfs` there are
    /// none.
    pub fn projects(&self) -> ProjectCount {
        self.inner.isolators.iter().find_map(|isolator| isolator.projects()).unwrap_or_default()
    }
}

/// What isolators are made with.
pub(super) struct Setup<'a> {
    pub(super) cgroups_root: &'a str,
    pub(super) cpu_quota_always: bool,
    pub(super) pids_default: u64,
    pub(super) kill_within: Duration,
    pub(super) containers: PathBuf,
    pub(super) options: &'a ContainerizerOptions,
}

/// Makes the isolators of a list.
pub(super) fn build(
    isolation: &Isolation,
    setup: &Setup<'_>,
) -> Result<Vec<Box<dyn Isolator>>, IsolationError> {
    let root = nix::unistd::geteuid().is_root();
    if let Some(name) = isolation.0.iter().find(|name| !root && needs_root(name)) {
        return Err(IsolationError::NeedsRoot { name });
    }
    let mounts =
        Mounts::detect_below(&setup.options.cgroups_hierarchy).map_err(IsolationError::Mounts)?;
    let group = setup.cgroups_root;
    let mut made: Vec<Box<dyn Isolator>> = Vec::new();
    if isolation.0.iter().any(|name| name.starts_with("cgroups/")) {
        // First in, so that it is last out: the others have their files until then.
        made.push(Box::new(Tracking::new(&mounts, group, setup.kill_within)?));
    }
    for &name in &isolation.0 {
        made.push(match name {
            "cgroups/cpu" => Box::new(Cpu::new(&mounts, group, setup.cpu_quota_always)?),
            "cgroups/mem" => Box::new(Memory::new(&mounts, group)?),
            "cgroups/pids" => Box::new(Pids::new(&mounts, group, setup.pids_default)?),
            "cgroups/devices" => {
                Box::new(Devices::new(&mounts, group, &setup.options.allowed_devices)?)
            }
            devices::NAME => Box::new(devices::Devices::new(&setup.options.allowed_devices)),
            gpus::NAME => Box::new(graphics(isolation, setup, &mounts)?),
            "cgroups/cpuset" => Box::new(Cpuset::new(&mounts, group)?),
            "cgroups/blkio" | "cgroups/hugetlb" | "cgroups/net_cls" | "cgroups/net_prio"
            | "cgroups/perf_event" => Box::new(Grouped::new(&mounts, group, name)?),
            "namespaces/pid" => {
                Box::new(namespaces::Pid { shared_forbidden: setup.options.sharing.pids_forbidden })
            }
            "namespaces/ipc" => Box::new(namespaces::Ipc {
                shared_forbidden: setup.options.sharing.ipc_forbidden,
                shm_bytes_default: setup.options.sharing.shm_bytes_default,
            }),
            "network/cni" => Box::new(networks(setup).map_err(IsolationError::Networks)?),
            ports::NAME => {
                let options = setup.options.ports.clone();
                Box::new(ports::Ports::new(setup.containers.clone(), options))
            }
            "filesystem/linux" => Box::new(filesystem::Linux {
                hidden: std::iter::once(&setup.options.runtime_dir)
                    .chain(&setup.options.hidden)
                    .cloned()
                    .collect(),
                containers: setup.containers.clone(),
                dns: setup.options.networks.dns.clone(),
                rootfses: rootfses(setup),
            }),
            "filesystem/posix" => {
                Box::new(filesystem::Posix { containers: setup.containers.clone() })
            }
            "volume/host_path" => Box::new(volumes::HostPath),
            "volume/sandbox_path" => Box::new(volumes::SandboxPath),
            volumes::IMAGE => Box::new(volumes::Image { rootfses: rootfses(setup) }),
            secrets::NAME => {
                let root = setup.options.runtime_dir.join("isolators/volume/secret");
                Box::new(secrets::Secrets { root })
            }
            "posix/cpu" => Box::new(posix::Cpu { containers: setup.containers.clone() }),
            "posix/mem" => Box::new(posix::Memory { containers: setup.containers.clone() }),
            "disk/du" => Box::new(disk::Du::new(
                setup.containers.clone(),
                setup.options.enforce_disk,
                setup.options.disk_watch_interval,
            )),
            disk::XFS => Box::new(quotas(setup).map_err(IsolationError::Quotas)?),
            "posix/rlimits" => Box::new(rlimits::Rlimits),
            "linux/capabilities" => Box::new(capabilities::Granted {
                bounding: setup.options.capabilities_bounding,
                effective: setup.options.capabilities_effective,
            }),
            "linux/nnp" => Box::new(nnp::NoNewPrivileges),
            "linux/seccomp" => {
                Box::new(seccomp::Filter { projects_stay: isolation.0.contains(&disk::XFS) })
            }
            other => unreachable!("'{other}' is in the list of names and not made here"),
        });
    }
    Ok(made)
}

/// What spares launches a wait, where processes are moved between v1 groups.
pub(super) fn head_start(options: &ContainerizerOptions) -> Option<HeadStart> {
    let mounts = Mounts::detect_below(&options.cgroups_hierarchy).ok()?;
    let mut controllers =
        options.isolation.0.iter().filter_map(|name| name.strip_prefix("cgroups/"));
    let are_moved = controllers.any(|it| mounts.v1.contains_key(controller(it)));
    if are_moved { HeadStart::new(&mounts) } else { None }
}

fn rootfses(setup: &Setup<'_>) -> Rootfses {
    Rootfses::new(setup.options.provisioner_dir.clone(), &setup.containers)
}

fn graphics(
    isolation: &Isolation,
    setup: &Setup<'_>,
    mounts: &Mounts,
) -> Result<gpus::Gpus, IsolationError> {
    if !isolation.0.contains(&"cgroups/devices") {
        let why = "it takes cgroups/devices, without which every container can open them";
        return Err(IsolationError::Gpus(why.to_owned()));
    }
    let hierarchy = mounts.hierarchy("devices", setup.cgroups_root)?;
    gpus::Gpus::new(setup.containers.clone(), &setup.options.gpus, hierarchy)
        .map_err(IsolationError::Gpus)
}

fn quotas(setup: &Setup<'_>) -> Result<disk::Xfs, String> {
    let options = setup.options;
    let (enforced, interval) = (options.enforce_disk, options.disk_watch_interval);
    disk::Xfs::new(setup.containers.clone(), &options.xfs, enforced, interval)
}

fn networks(setup: &Setup<'_>) -> io::Result<cni::Cni> {
    let options = &setup.options.networks;
    let here = || setup.options.runtime_dir.join("isolators/network/cni");
    let root = options.root_dir.clone().unwrap_or_else(here);
    let (configs, plugins) = (options.config_dir.clone(), options.plugins_dirs.clone());
    cni::Cni::new(root, configs, plugins, options.dns.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_with_the_list() {
        let refused = Isolation::parse("cgroups/cpu,cgroups/moon").expect_err("there is none");
        let text = refused.to_string();
        assert!(text.starts_with("there is no isolator 'cgroups/moon'; there are cgroups/cpu, "));
    }

    #[test]
    fn the_order_of_a_list_does_not_matter() {
        let list = Isolation::parse(" namespaces/pid,cgroups/mem,cgroups/mem ").expect("names");
        assert_eq!(list.names(), ["cgroups/mem", "namespaces/pid"]);
        assert!(list.isolates());
        let all = Isolation::parse(ALL_CGROUPS).expect("a name");
        assert!(all.names().iter().all(|name| name.starts_with("cgroups/")), "{all:?}");
        assert!(!Isolation::parse(DEFAULT_UNPRIVILEGED).expect("names").isolates());
    }
}
