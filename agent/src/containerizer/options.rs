//! Options of single isolators.

use std::path::PathBuf;

use super::dns::ContainerDns;

/// What containers may share with the machine when they ask for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharingOptions {
    /// Not its processes (`--disallow_sharing_agent_pid_namespace`).
    pub pids_forbidden: bool,
    /// Not its shared memory and semaphores (`--disallow_sharing_agent_ipc_namespace`).
    pub ipc_forbidden: bool,
    /// How large a `/dev/shm` of its own may become where a container does not say
    /// (`--default_container_shm_size`). Absent: as the kernel has it.
    pub shm_bytes_default: Option<u64>,
}

/// Networks that containers can join, by the isolator `network/cni`.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Where they are described. Absent: there are none.
    pub config_dir: Option<PathBuf>,
    /// Where plug-ins are, the first place first.
    pub plugins_dirs: Vec<PathBuf>,
    /// What holds what is to be undone for each container. Absent: a place in the runtime directory.
    pub root_dir: Option<PathBuf>,
    /// How names are looked up where no network says it (`--default_container_dns`).
    pub dns: ContainerDns,
}

/// Where systems put the plug-ins for networks.
pub const NETWORK_PLUGINS_DIRS_DEFAULT: &str = "/usr/lib/cni:/opt/cni/bin";

impl Default for NetworkOptions {
    fn default() -> Self {
        let plugins_dirs = std::env::split_paths(NETWORK_PLUGINS_DIRS_DEFAULT).collect();
        Self { config_dir: None, plugins_dirs, root_dir: None, dns: ContainerDns::default() }
    }
}
