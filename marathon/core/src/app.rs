//! Apps: what Marathon keeps running, as the user has described it.
//!
//! One form serves the API and the store: [`render`] writes it, [`parse`] reads it. A value of
//! [`App`] has passed validation, so nobody checks again.

pub mod parse;
pub mod pod;
pub mod render;
pub mod volume;

use crate::ids::AppId;
use crate::pace;
use model::amount::Milli;
use model::step::Timestamp;
use pod::{Needs, Pod};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// Millionths: how capacities and factors are kept, since cores have no floats.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Millionths(pub u64);

impl Millionths {
    /// One whole.
    pub const ONE: Self = Self(1_000_000);

    /// `n` times this, rounded up.
    pub fn of_rounded_up(self, n: u32) -> u32 {
        let product = (u64::from(n) * self.0).div_ceil(1_000_000);
        u32::try_from(product).unwrap_or(u32::MAX)
    }

    /// `n` times this, rounded down.
    pub fn of_rounded_down(self, n: u32) -> u32 {
        u32::try_from(u64::from(n) * self.0 / 1_000_000).unwrap_or(u32::MAX)
    }
}

/// One app. Field by field what the API shows; `version` and `version_info` are the server's.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// A shell command; exclusive with `args`.
    pub cmd: Option<String>,
    /// An argument vector; empty when there is none.
    pub args: Vec<String>,
    /// The user it runs as; absent means the framework's.
    pub user: Option<String>,
    /// Variables: text, or an object that names a secret.
    pub env: BTreeMap<String, Value>,
    /// How many copies are wanted.
    pub instances: u32,
    /// Cores of one copy.
    pub cpus: Milli,
    /// Memory of one copy in MiB.
    pub mem: Milli,
    /// Disk of one copy in MiB.
    pub disk: Milli,
    /// GPUs of one copy.
    pub gpus: u32,
    /// The custom executor; empty means the built-in one.
    pub executor: String,
    /// What a custom executor takes beside the task; absent when not said.
    pub executor_needs: Option<Needs>,
    /// Where copies may go.
    pub constraints: Vec<Constraint>,
    /// What is brought into the sandbox first.
    pub fetch: Vec<Artifact>,
    /// The container it runs in; absent for a plain command.
    pub container: Option<Container>,
    /// Networks it joins; never empty.
    pub networks: Vec<Network>,
    /// Ports under host networking; empty otherwise.
    pub port_definitions: Vec<PortDefinition>,
    /// Whether the numbers of `port_definitions` are wanted as host ports too.
    pub require_ports: bool,
    /// The first delay after a failure.
    pub backoff: Duration,
    /// What the delay grows by at each further failure.
    pub backoff_factor: Millionths,
    /// Where the delay stops growing.
    pub max_launch_delay: Duration,
    /// Probes to restart by.
    pub health_checks: Vec<HealthCheck>,
    /// Probes to proceed by, as given.
    pub readiness_checks: Vec<Value>,
    /// Apps or groups that are deployed before it.
    pub dependencies: Vec<AppId>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// How many may be missing or too many while it is replaced.
    pub upgrade_strategy: UpgradeStrategy,
    /// Who goes first on a scale-down.
    pub kill_selection: KillSelection,
    /// What becomes of instances whose agent is out of contact.
    pub unreachable_strategy: UnreachableStrategy,
    /// Time between SIGTERM and SIGKILL; absent means the executor's own.
    pub kill_grace: Option<Duration>,
    /// `*` and roles whose resources it may take; empty means any that it is offered.
    pub accepted_resource_roles: Vec<String>,
    /// The role it runs in; absent means Marathon's own.
    pub role: Option<String>,
    /// Its containers, if it is a pod. Then `cmd`, `args`, `executor`, `fetch`, `container`, ports and
    /// checks are empty, and `cpus` and its kin are those of all containers and the executor.
    pub pod: Option<Box<Pod>>,
    /// Valid fields that are kept and shown and decide nothing here: secrets, resourceLimits, check,
    /// tty.
    pub extra: Map<String, Value>,
    /// When this definition was made.
    pub version: Timestamp,
    /// When it was last scaled, and last changed in a way that needs new tasks.
    pub version_info: VersionInfo,
}

/// What one task or executor takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// What it needs.
    pub needs: Needs,
    /// How many of the [`App::wanted_ports`] it has.
    pub ports: usize,
}

/// Two moments in the life of an app.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VersionInfo {
    /// When `instances` changed last.
    pub last_scaling_at: Timestamp,
    /// When something changed last that running tasks cannot take over. Tasks launched from a
    /// definition with another value here are outdated.
    pub last_config_change_at: Timestamp,
}

/// A rule on where instances may go.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Constraint {
    /// `hostname`, `@hostname`, `@region`, `@zone` or the name of an attribute.
    pub field: String,
    /// How values are judged.
    pub operator: Operator,
    /// What they are judged by; what it may be depends on the operator.
    pub value: Option<String>,
}

/// The fields that instances are spread over by `constraints`.
pub fn spread_over(constraints: &[Constraint]) -> impl Iterator<Item = &str> {
    let spread = constraints.iter().filter(|it| it.operator == Operator::GroupBy);
    spread.map(|constraint| constraint.field.as_str())
}

/// How a constraint judges the value of its field.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names are Marathon's own, explained at the matcher")]
pub enum Operator {
    Unique,
    Cluster,
    GroupBy,
    Like,
    Unlike,
    MaxPer,
    Is,
}

impl Operator {
    /// Every one there is.
    pub const ALL: [Self; 7] = [
        Self::Unique,
        Self::Cluster,
        Self::GroupBy,
        Self::Like,
        Self::Unlike,
        Self::MaxPer,
        Self::Is,
    ];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unique => "UNIQUE",
            Self::Cluster => "CLUSTER",
            Self::GroupBy => "GROUP_BY",
            Self::Like => "LIKE",
            Self::Unlike => "UNLIKE",
            Self::MaxPer => "MAX_PER",
            Self::Is => "IS",
        }
    }
}

/// One file to fetch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Artifact {
    /// Where it is.
    pub uri: String,
    /// Whether archives are unpacked.
    pub extract: bool,
    /// Whether it is made executable.
    pub executable: bool,
    /// Whether the agent may keep it for later.
    pub cache: bool,
    /// Where in the sandbox it goes; absent means by its name.
    pub dest_path: Option<String>,
}

/// What a task runs in.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Which containerizer.
    pub engine: Engine,
    /// The image; absent for a container without one.
    pub docker: Option<Docker>,
    /// What is mounted, as given.
    pub volumes: Vec<Value>,
    /// Ports under bridge and container networking; empty otherwise.
    pub port_mappings: Vec<PortMapping>,
    /// `linuxInfo`, as given.
    pub linux_info: Option<Value>,
}

/// A containerizer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// The agent's own.
    Mesos,
    /// Docker.
    Docker,
}

/// An image and how it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Docker {
    /// The image's name.
    pub image: String,
    /// Whether it is pulled even if it is there.
    pub force_pull: bool,
    /// Whether it runs with all privileges (Docker only).
    pub privileged: bool,
    /// Raw options: name and value (Docker only).
    pub parameters: Vec<(String, String)>,
    /// `pullConfig`, as given.
    pub pull_config: Option<Value>,
}

/// A network to join.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Network {
    /// Which kind.
    pub mode: NetworkMode,
    /// Its name; only and always with [`NetworkMode::Container`].
    pub name: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

/// A kind of network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NetworkMode {
    /// The host's own.
    Host,
    /// A bridge on the host.
    Bridge,
    /// A named container network.
    Container,
}

impl NetworkMode {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Bridge => "container/bridge",
            Self::Container => "container",
        }
    }
}

/// A port under host networking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PortDefinition {
    /// The service port; with `requirePorts` the host port too. Assigned, so not 0 unless the
    /// range is used up.
    pub port: u16,
    /// `tcp`, `udp` or `udp,tcp`.
    pub protocol: String,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

/// A port under bridge or container networking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PortMapping {
    /// The port inside; 0 means the same as the host port.
    pub container_port: u16,
    /// The port outside: 0 means any, absent means none.
    pub host_port: Option<u16>,
    /// The service port. Assigned, so not 0 unless the range is used up.
    pub service_port: u16,
    /// `tcp`, `udp` or `udp,tcp`.
    pub protocol: String,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// On which of its networks; empty means all.
    pub network_names: Vec<String>,
}

/// A probe to restart by. Every kind runs at the agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthCheck {
    /// How it probes.
    pub protocol: HealthProtocol,
    /// What HTTP kinds ask for; absent means `/`.
    pub path: Option<String>,
    /// Which of the app's ports; absent when `port` is given or the kind needs none.
    pub port_index: Option<usize>,
    /// A fixed port.
    pub port: Option<u16>,
    /// What [`HealthProtocol::Command`] runs.
    pub command: Option<String>,
    /// How long failures before the first success are ignored.
    pub grace_period: Duration,
    /// Time between two probes.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Time before the first probe.
    pub delay: Duration,
    /// How many failures in a row end the task.
    pub max_consecutive_failures: u32,
    /// Whether 1xx answers are neither good nor bad; absent when not said.
    pub ignore_http_1xx: Option<bool>,
    /// `IPv4` or `IPv6`.
    pub ip_protocol: String,
}

impl HealthCheck {
    /// The delay of one that says none.
    pub const DELAY: Duration = Duration::from_secs(15);

    /// Whether Marathon used to make this kind itself.
    pub fn was_made_by_marathon(&self) -> bool {
        matches!(self.protocol, HealthProtocol::Http | HealthProtocol::Https | HealthProtocol::Tcp)
    }

    /// Whether no number of failures is too many: zero means that for the kinds that Marathon used to make.
    pub fn never_ends(&self) -> bool {
        self.was_made_by_marathon() && self.max_consecutive_failures == 0
    }
}

/// How a health check probes. Kinds with and without `MESOS_` mean the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are Marathon's own")]
pub enum HealthProtocol {
    Http,
    Https,
    Tcp,
    Command,
    MesosHttp,
    MesosHttps,
    MesosTcp,
}

impl HealthProtocol {
    /// Every one there is.
    pub const ALL: [Self; 7] = [
        Self::Http,
        Self::Https,
        Self::Tcp,
        Self::Command,
        Self::MesosHttp,
        Self::MesosHttps,
        Self::MesosTcp,
    ];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tcp => "TCP",
            Self::Command => "COMMAND",
            Self::MesosHttp => "MESOS_HTTP",
            Self::MesosHttps => "MESOS_HTTPS",
            Self::MesosTcp => "MESOS_TCP",
        }
    }
}

/// How many may be missing or too many while an app is replaced, as parts of its count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UpgradeStrategy {
    /// The least healthy part.
    pub minimum_health_capacity: Millionths,
    /// The most extra part.
    pub maximum_over_capacity: Millionths,
}

/// Who goes first on a scale-down.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KillSelection {
    /// The one started last.
    #[default]
    YoungestFirst,
    /// The one started first.
    OldestFirst,
}

/// What becomes of instances whose agent is out of contact.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnreachableStrategy {
    /// They are waited for without end.
    Disabled,
    /// They are replaced after `inactive_after` and forgotten after `expunge_after`.
    After {
        /// When a replacement starts.
        inactive_after: Duration,
        /// When it is forgotten. Not before `inactive_after`.
        expunge_after: Duration,
    },
}

impl Default for UnreachableStrategy {
    /// They are replaced and forgotten at once.
    fn default() -> Self {
        Self::After { inactive_after: Duration::ZERO, expunge_after: Duration::ZERO }
    }
}

impl App {
    /// Whether it is on the host's network.
    pub fn is_host_networked(&self) -> bool {
        self.networks.iter().any(|network| network.mode == NetworkMode::Host)
    }

    /// Its port mappings; none without a container.
    pub fn port_mappings(&self) -> &[PortMapping] {
        self.container.as_ref().map_or(&[], |container| &container.port_mappings)
    }

    /// The host ports one instance wants, in order: 0 means any. A mapping that is not exposed on the
    /// host wants none and has no entry.
    pub fn wanted_ports(&self) -> Vec<u16> {
        if let Some(pod) = &self.pod {
            return pod.endpoints().filter_map(|(_, endpoint)| endpoint.host_port).collect();
        }
        if self.is_host_networked() {
            let number = |port: u16| if self.require_ports { port } else { 0 };
            self.port_definitions.iter().map(|definition| number(definition.port)).collect()
        } else {
            self.port_mappings().iter().filter_map(|mapping| mapping.host_port).collect()
        }
    }

    /// What one instance takes, by what takes it: its task, or each container of a pod, and then its
    /// executor if that takes something of its own.
    pub fn parts(&self) -> Vec<Part> {
        if let Some(pod) = &self.pod {
            let ports = |it: &pod::PodContainer| {
                it.endpoints.iter().filter(|endpoint| endpoint.host_port.is_some()).count()
            };
            let containers = pod.containers.iter();
            let containers = containers.map(|it| Part { needs: it.needs, ports: ports(it) });
            return containers.chain([Part { needs: pod.executor, ports: 0 }]).collect();
        }
        let needs = self.needs();
        let executor = self.executor_needs.filter(|_| self.has_own_executor());
        let executor = executor.map(|needs| Part { needs, ports: 0 });
        let ports = self.wanted_ports().len();
        std::iter::once(Part { needs, ports }).chain(executor).collect()
    }

    /// What its task takes, or all of a pod.
    pub fn needs(&self) -> Needs {
        Needs { cpus: self.cpus, mem: self.mem, disk: self.disk, gpus: self.gpus }
    }

    /// Whether it runs on an executor that it brings itself.
    pub fn has_own_executor(&self) -> bool {
        !matches!(&*self.executor, "" | "//cmd")
    }

    /// Its service ports, in order.
    pub fn service_ports(&self) -> Vec<u16> {
        if self.is_host_networked() {
            self.port_definitions.iter().map(|definition| definition.port).collect()
        } else {
            self.port_mappings().iter().map(|mapping| mapping.service_port).collect()
        }
    }

    /// Whether its agent fetches something before it can start: an image, or files.
    pub fn is_fetched(&self) -> bool {
        let image = self.container.as_ref().and_then(|container| container.docker.as_ref());
        let mut containers = self.pod.iter().flat_map(|pod| &pod.containers);
        image.is_some()
            || !self.fetch.is_empty()
            || containers.any(|it| it.image.is_some() || !it.artifacts.is_empty())
    }

    /// Whether it is a pod.
    pub fn is_pod(&self) -> bool {
        self.pod.is_some()
    }

    /// Whether its instances are probed, so that they count only once they were found healthy.
    pub fn is_checked(&self) -> bool {
        !self.health_checks.is_empty() || self.pod.as_ref().is_some_and(|pod| pod.is_checked())
    }

    /// Whether at most one instance may exist at any time.
    pub fn is_single_instance(&self) -> bool {
        self.labels.get("MARATHON_SINGLE_INSTANCE_APP").is_some_and(|value| value == "true")
    }

    /// Whether tasks of `other` can take over this definition as they run: nothing differs that
    /// decides how or where they were launched.
    ///
    /// Labels, health of the deployment, backoff and strategies belong to Marathon and not to the
    /// task, so changing them costs no restart. The health check that runs beside the task does: no call
    /// to an agent changes it.
    pub fn launches_like(&self, other: &Self) -> bool {
        let judged_here = pace::replaces_first(self) && pace::replaces_first(other);
        let launch_relevant = |app: &Self| {
            let mut app = app.clone();
            if judged_here {
                app.forget_unsent_checks();
            }
            app.instances = 0;
            app.labels.clear();
            app.dependencies.clear();
            app.readiness_checks.clear();
            app.backoff = Duration::ZERO;
            app.backoff_factor = Millionths::ONE;
            app.max_launch_delay = Duration::ZERO;
            app.upgrade_strategy = UpgradeStrategy {
                minimum_health_capacity: Millionths::ONE,
                maximum_over_capacity: Millionths::ONE,
            };
            app.kill_selection = KillSelection::YoungestFirst;
            app.unreachable_strategy = UnreachableStrategy::Disabled;
            app.kill_grace = None;
            app.version = Timestamp::default();
            app.version_info = VersionInfo::default();
            app
        };
        launch_relevant(self) == launch_relevant(other)
    }

    /// Takes of the health checks what agents are not told: how many failures are too many, where that is
    /// judged here.
    fn forget_unsent_checks(&mut self) {
        for check in &mut self.health_checks {
            check.max_consecutive_failures = 0;
        }
        let containers = self.pod.iter_mut().flat_map(|pod| &mut pod.containers);
        for check in containers.filter_map(|it| it.health_check.as_mut()) {
            check.max_consecutive_failures = 0;
        }
    }
}
