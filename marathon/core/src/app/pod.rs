//! Pods: apps of several containers that are launched together on one executor and share its
//! network and its volumes.
//!
//! A pod is an [`App`](super::App) with a [`Pod`] in it: how many, where, and how it is replaced is
//! said of pods as of apps, and decided by the same code.

use super::Artifact;
use model::amount::Milli;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What makes a pod of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// What runs in it. Never empty; names differ.
    pub containers: Vec<PodContainer>,
    /// What its containers can mount. Names differ.
    pub volumes: Vec<PodVolume>,
    /// What its executor takes beside the containers.
    pub executor: Needs,
    /// `linuxInfo` of the executor's container, as given.
    pub linux_info: Option<Value>,
    /// `legacySharedCgroups`, as given.
    pub legacy_shared_cgroups: Option<bool>,
}

/// Resources that are taken together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    /// Cores.
    pub cpus: Milli,
    /// Memory in MiB.
    pub mem: Milli,
    /// Disk in MiB.
    pub disk: Milli,
    /// GPUs.
    pub gpus: u32,
}

impl Needs {
    /// What an executor takes unless something else is said.
    pub const EXECUTOR: Self =
        Self { cpus: Milli(100), mem: Milli(32_000), disk: Milli(10_000), gpus: 0 };

    /// By the names that resources have.
    pub fn named(self) -> [(&'static str, Milli); 4] {
        let gpus = Milli::units(i64::from(self.gpus));
        [("cpus", self.cpus), ("mem", self.mem), ("disk", self.disk), ("gpus", gpus)]
    }

    /// This and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            cpus: self.cpus + other.cpus,
            mem: self.mem + other.mem,
            disk: self.disk + other.disk,
            gpus: self.gpus.saturating_add(other.gpus),
        }
    }
}

/// One container of a pod. Field by field what the API shows.
#[derive(Clone, Debug, PartialEq)]
pub struct PodContainer {
    /// Its name in the pod.
    pub name: String,
    /// What it runs; absent means what its image says.
    pub exec: Option<Exec>,
    /// What it takes.
    pub needs: Needs,
    /// `resourceLimits`, as given.
    pub resource_limits: Option<Value>,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// `linuxInfo`, as given.
    pub linux_info: Option<Value>,
    /// Its image; absent means the agent's own files.
    pub image: Option<PodImage>,
    /// Variables beside those of the pod: text, or an object that names a secret.
    pub env: BTreeMap<String, Value>,
    /// The user it runs as; absent means the pod's.
    pub user: Option<String>,
    /// The probe to restart by.
    pub health_check: Option<PodHealthCheck>,
    /// `check`, as given: a probe whose result is only shown.
    pub check: Option<Value>,
    /// Which volumes of the pod it sees, and where.
    pub mounts: Vec<VolumeMount>,
    /// What is brought into its sandbox first.
    pub artifacts: Vec<Artifact>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Time between SIGTERM and SIGKILL; absent means the executor's own.
    pub kill_grace: Option<Duration>,
    /// Whether it has a terminal; absent when not said.
    pub tty: Option<bool>,
}

/// What a container runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exec {
    /// The command.
    pub command: PodCommand,
    /// Whether the command takes the place of the image's entry point; absent when not said.
    pub override_entrypoint: Option<bool>,
}

/// A command, in one of two forms.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PodCommand {
    /// Run by a shell.
    Shell(String),
    /// Run as it is. Never empty.
    Argv(Vec<String>),
}

/// A port of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Its name, of which there is one in the pod.
    pub name: String,
    /// The port inside; always with a network of its own, never on the host's.
    pub container_port: Option<u16>,
    /// The port outside: 0 means any, absent means none. Always on the host's network.
    pub host_port: Option<u16>,
    /// `tcp`, `udp`, both or none said.
    pub protocol: Vec<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// On which of the pod's networks; empty means all.
    pub network_names: Vec<String>,
}

/// An image of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodImage {
    /// Its name.
    pub id: String,
    /// Whether it is pulled even if it is there; absent when not said.
    pub force_pull: Option<bool>,
    /// The secret that opens its registry.
    pub pull_secret: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

/// A probe to restart a container by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodHealthCheck {
    /// How it probes.
    pub probe: Probe,
    /// How long failures before the first success are ignored.
    pub grace_period: Duration,
    /// Time between two probes.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Time before the first probe.
    pub delay: Duration,
    /// How many failures in a row end the pod.
    pub max_consecutive_failures: u32,
}

/// How a container is probed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// A GET.
    Http {
        /// Of which endpoint.
        endpoint: String,
        /// Absent means `/`.
        path: Option<String>,
        /// Whether it is encrypted.
        is_https: bool,
    },
    /// A connection.
    Tcp {
        /// To which endpoint.
        endpoint: String,
    },
    /// A command inside.
    Command(PodCommand),
}

impl Probe {
    /// The endpoint that is probed, if it is one.
    pub fn endpoint(&self) -> Option<&str> {
        match self {
            Self::Http { endpoint, .. } | Self::Tcp { endpoint } => Some(endpoint),
            Self::Command(_) => None,
        }
    }
}

/// Something that containers of a pod can mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodVolume {
    /// Its name in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume of a pod is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VolumeSource {
    /// A directory that lives and goes with the instance.
    Ephemeral,
    /// A path of the agent's machine.
    Host(String),
    /// The value of a secret, by its name in the pod.
    Secret(String),
    /// A directory that outlives the tasks of the instance: `persistent`, as given.
    Persistent(Value),
}

/// A volume as one container sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VolumeMount {
    /// Which volume.
    pub name: String,
    /// Where in the container.
    pub path: String,
    /// Whether it cannot be written to; absent when not said.
    pub read_only: Option<bool>,
}

impl Pod {
    /// What one instance takes in all.
    pub fn needs(&self) -> Needs {
        self.containers.iter().fold(self.executor, |sum, container| sum.and(container.needs))
    }

    /// Every endpoint, in order, with its container.
    pub fn endpoints(&self) -> impl Iterator<Item = (&PodContainer, &Endpoint)> {
        self.containers
            .iter()
            .flat_map(|container| container.endpoints.iter().map(move |it| (container, it)))
    }

    /// Every endpoint, in order, with its container and the host port that it was given. `ports` are
    /// those of the instance, in the order of [`App::wanted_ports`](super::App::wanted_ports).
    pub fn given_ports<'a>(
        &'a self,
        ports: &'a [u16],
    ) -> impl Iterator<Item = (&'a PodContainer, &'a Endpoint, Option<u16>)> {
        let mut given = ports.iter().copied();
        self.endpoints().map(move |(container, endpoint)| {
            (container, endpoint, endpoint.host_port.and_then(|_| given.next()))
        })
    }

    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&PodContainer> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// Whether any container has a probe to restart by.
    pub fn is_checked(&self) -> bool {
        self.containers.iter().any(|container| container.health_check.is_some())
    }
}
