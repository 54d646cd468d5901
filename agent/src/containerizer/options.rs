//! Where what single isolators need is on this machine.

use std::path::PathBuf;

/// Networks that containers can join, by the isolator `network/cni`.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Where they are described. Absent: there are none.
    pub config_dir: Option<PathBuf>,
    /// Where plug-ins are, the first place first.
    pub plugins_dirs: Vec<PathBuf>,
    /// What holds what is to be undone for each container. Absent: a place in the runtime directory.
    pub root_dir: Option<PathBuf>,
}

/// Where systems put the plug-ins for networks.
pub const NETWORK_PLUGINS_DIRS_DEFAULT: &str = "/usr/lib/cni:/opt/cni/bin";

impl Default for NetworkOptions {
    fn default() -> Self {
        let plugins_dirs = std::env::split_paths(NETWORK_PLUGINS_DIRS_DEFAULT).collect();
        Self { config_dir: None, plugins_dirs, root_dir: None }
    }
}
