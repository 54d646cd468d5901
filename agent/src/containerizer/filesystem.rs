//! `filesystem/linux` and `filesystem/posix`: what a container sees of the file system.
//!
//! Both start the command in its sandbox, which is the launcher's doing. The first adds mounts of
//! the container's own, which vanish with it, and where it is made of an image that image's files.

use std::path::PathBuf;

use super::dns::ContainerDns;
use super::isolator::{Container, Isolator, StepError};
use super::rootfs::Rootfses;
use super::volumes;
use super::{PersistentVolume, persistent};
use crate::launcher::{Files, Plan};

/// Files of the kernel that tell of other containers or of the machine.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Files of the kernel that change the machine. Root may write to most of them whatever its
/// capabilities, and the cgroups that hold a container are among them.
const READ_ONLY: [&str; 6] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys"];

/// `filesystem/linux`: an own mount namespace, in which the kernel's files are mostly read-only.
#[derive(Debug)]
pub(super) struct Linux {
    /// Directories of the agent that are nobody else's matter.
    pub(super) hidden: Vec<PathBuf>,
    /// Where the containers' runtime directories are.
    pub(super) containers: PathBuf,
    /// What counts for names in containers of images that are in the machine's network.
    pub(super) dns: ContainerDns,
    /// Where containers of images have their files.
    pub(super) rootfses: Rootfses,
}

impl Isolator for Linux {
    fn name(&self) -> &'static str {
        "filesystem/linux"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        plan.namespaces.mount = true;
        plan.masked.extend(MASKED.iter().map(PathBuf::from));
        plan.masked.extend(self.hidden.iter().cloned());
        plan.read_only.extend(READ_ONLY.iter().map(PathBuf::from));
        if let Some(layers) = &container.layers {
            let dns = self.dns.of(&container.wanted);
            self.rootfses.make(self.name(), container, (layers, dns), plan)?;
        }
        volumes::take_memory(container, plan);
        persistent::mount(self.name(), &self.files(container.id.as_str()), container, plan)
    }

    fn show_volumes(&self, container: &str, all: &[PersistentVolume]) -> Result<(), StepError> {
        persistent::remount(self.name(), &self.files(container), all)
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        self.rootfses.remove(self.name(), container)
    }
}

impl Linux {
    fn files(&self, container: &str) -> Files {
        Files::new(self.containers.join(container))
    }
}

/// `filesystem/posix`: the host's mounts.
#[derive(Debug)]
pub(super) struct Posix {
    /// Where the containers' runtime directories are.
    pub(super) containers: PathBuf,
}

impl Isolator for Posix {
    fn name(&self) -> &'static str {
        "filesystem/posix"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        // With the other one it is mounted.
        if !plan.masked.is_empty() {
            return Ok(());
        }
        persistent::link(self.name(), &self.files(container.id.as_str()), container, plan)
    }

    fn show_volumes(&self, container: &str, all: &[PersistentVolume]) -> Result<(), StepError> {
        persistent::relink(self.name(), &self.files(container), all)
    }
}

impl Posix {
    fn files(&self, container: &str) -> Files {
        Files::new(self.containers.join(container))
    }
}
