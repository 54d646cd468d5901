//! What an agent is told when it starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_core::{ReconfigurationPolicy, Reconfigured};
use model::acl::Acls;
use model::link::FaultDomain;
use model::resources::{Attributes, Shortage};
use model::role::Role;
use transport::auth::{Credentials, TokenKey};
use transport::firewall::Firewall;
use transport::identity::Identity;
use transport::server::BindError;

use crate::containerizer::{
    AllowedDevice, ContainerDns, DISK_WATCH_INTERVAL_DEFAULT, GpuOptions, LogLimits,
    NetworkOptions, PortOptions, ProjectRange, SetupError, SharingOptions, UnknownIsolator,
};
use crate::detect::DetectError;
use crate::fetcher::{CACHE_BYTES_MAX_DEFAULT, STALL_TIMEOUT_DEFAULT};
use crate::images::{Collection, Registries};
use crate::launcher::Capabilities;
use crate::resources_flag::ResourcesError;
use crate::steps::Steps;
use crate::store::StoreError;

/// How often those who are attached to a container are told that the connection is alive, unless
/// somebody says otherwise.
const HEARTBEAT_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);

/// Settings of one agent, already parsed.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag that is a yes or no")]
pub struct Options {
    /// Address to listen on.
    pub ip: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Address that others reach this agent by, if it is not the one it listens on.
    pub advertise_ip: Option<IpAddr>,
    /// Port that others reach this agent by, if it is not the one it listens on.
    pub advertise_port: Option<u16>,
    /// Host name for frameworks; without one, the machine's.
    pub hostname: Option<String>,
    /// Where checkpoints and sandboxes are kept. Made if it is not there.
    pub work_dir: PathBuf,
    /// The file this daemon writes its log to, which is then served; absent: there is none.
    pub log_file: Option<PathBuf>,
    /// What only lives as long as the machine is up. Made if it is not there; without one it is in `/run`,
    /// or `run` in the work directory for others than root.
    pub runtime_dir: Option<PathBuf>,
    /// All masters, `host:port` each. Any of them will do to find the leading one.
    pub masters: Vec<String>,
    /// What is offered: the short text, a JSON array, or a file of either. What it does not name is
    /// detected.
    pub resources: Option<String>,
    /// What operators say of this agent.
    pub attributes: Attributes,
    /// Where this machine stands, if that is known.
    pub domain: Option<FaultDomain>,
    /// The role of resources that name none.
    pub default_role: Role,
    /// Names of isolators with commas between them; without, all that this machine can do.
    pub isolation: Option<String>,
    /// Where cgroups are mounted. What is mounted elsewhere is not used.
    pub cgroups_hierarchy: PathBuf,
    /// The cgroup below which containers get theirs.
    pub cgroups_root: String,
    /// Whether tasks are held to their CPUs even if the machine is idle.
    pub cgroups_enable_cfs: bool,
    /// The most capabilities that anybody in a container can have.
    pub bounding_capabilities: Capabilities,
    /// What commands have that ask for none. Absent: what goes with their user.
    pub effective_capabilities: Option<Capabilities>,
    /// Devices that containers may use besides those that everybody needs.
    pub allowed_devices: Vec<AllowedDevice>,
    /// Holds a file for each secret that tasks may name. Absent: they name none.
    pub secret_resolver: Option<PathBuf>,
    /// Whether all executors are told to come by the agent's socket.
    pub http_executor_domain_sockets: bool,
    /// Where that socket is. Absent: in the runtime directory.
    pub domain_socket_location: Option<PathBuf>,
    /// How containers look up names where their networks do not say.
    pub default_container_dns: ContainerDns,
    /// Which graphics processors there are, where `gpu/nvidia` gives them to containers.
    pub gpus: GpuOptions,
    /// How the ports of containers are watched, where `network/ports` does.
    pub ports: PortOptions,
    /// Whether of these only ports count that this agent offers.
    pub check_agent_port_range_only: bool,
    /// What containers may share with the machine.
    pub sharing: SharingOptions,
    /// Where networks are described that containers can join. Absent: there are none.
    pub network_cni_config_dir: Option<PathBuf>,
    /// Where the plug-ins for them are, the first place first.
    pub network_cni_plugins_dirs: Vec<PathBuf>,
    /// Whether what is to be undone for containers in networks is kept over a boot of the machine.
    pub network_cni_root_dir_persist: bool,
    /// How containers come by images. Absent: they do not.
    pub images: Option<ImageSettings>,
    /// Where downloads are kept for the next launch, in `cache` there; without one, `fetch` in the
    /// work directory. Agents of one machine must not share it.
    pub fetcher_cache_dir: Option<PathBuf>,
    /// The most bytes of downloads that are kept.
    pub fetcher_cache_size: u64,
    /// How long a download may go without a byte.
    pub fetcher_stall_timeout: Duration,
    /// How long the sandbox of a run that is over is kept on an empty disk. On one that is used up
    /// to some part it is kept for the part of that time that is left.
    pub gc_delay: Duration,
    /// Thousandths of the disk that count as used in any case.
    pub gc_disk_headroom_milli: u64,
    /// How often sandboxes are looked through for old ones.
    pub disk_watch_interval: Duration,
    /// Whether a container is held to what it was given of the disk, where the isolator `disk/du` or
    /// `disk/xfs` counts what it takes.
    pub enforce_container_disk_quota: bool,
    /// How often that is looked at, and logs are.
    pub container_disk_watch_interval: Duration,
    /// The numbers of projects that are for containers, where `disk/xfs` divides the disk.
    pub xfs_project_range: ProjectRange,
    /// Whether containers are ended there that take too much, rather than refused more.
    pub xfs_kill_containers: bool,
    /// How often those who are attached to a container are told that the connection is alive.
    pub http_heartbeat_interval: Duration,
    /// How much is kept of what tasks print. Absent: all.
    pub container_logs: Option<LogLimits>,
    /// The longest first wait before another try to find or ask a master. It doubles.
    pub registration_backoff_factor: Duration,
    /// How long an executor may take to subscribe.
    pub executor_registration_timeout: Duration,
    /// How long executors may take to come back after a restart of the agent.
    pub executor_reregistration_timeout: Duration,
    /// How long an executor may take to end when asked.
    pub executor_shutdown_grace_period: Duration,
    /// How long executors wait for an agent that is away.
    pub recovery_timeout: Duration,
    /// What becomes of executors of an earlier run.
    pub recover: Recover,
    /// What of itself the agent may change and still come back as itself.
    pub reconfiguration_policy: ReconfigurationPolicy,
    /// Whether tasks run as the user they name, which only root may do.
    pub switch_user: bool,
    /// The program that has the container launcher in it, with the built-in executor, and the arguments
    /// that select it.
    pub launcher: (PathBuf, Vec<OsString>),
    /// Executors that are over and are remembered, of each framework.
    pub max_completed_executors_per_framework: usize,
    /// Who must prove to be who they are.
    pub authentication: Authentication,
    /// Who may do what.
    pub acls: Arc<Acls>,
    /// Endpoints that nobody is answered on.
    pub firewall: Firewall,
    /// What shows the masters who this is.
    pub identity: Identity,
    /// Who is told how far launches, ends and records have got. No flag says so: it is for tests.
    pub steps: Steps,
    /// All flags as text, for `/flags`. Nothing secret may be in it.
    pub flags: BTreeMap<String, String>,
}

/// Who must prove to be who they are. By default nobody.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    /// The names that are known, with their secrets.
    pub credentials: Option<Arc<Credentials>>,
    /// Whether those must who only read.
    pub readonly: bool,
    /// Whether those must who change something, or may.
    pub readwrite: bool,
    /// Whether executors must, by the token that they are started with. Signed with this key.
    pub executors: Option<Arc<TokenKey>>,
}

/// How containers come by images.
#[derive(Clone, Debug)]
pub struct ImageSettings {
    /// Where images come from.
    pub registries: Registries,
    /// Whether what images say of how to run them is not heeded.
    pub ignore_runtime: bool,
    /// Whether containers of type DOCKER are run, too.
    pub docker_containers: bool,
    /// When images are removed without anybody asking.
    pub collection: Collection,
    /// Where images are kept; without one, `store/docker` in the work directory. Agents of one machine
    /// must not share it.
    pub store_dir: Option<PathBuf>,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            registries: Registries::default(),
            ignore_runtime: false,
            docker_containers: true,
            collection: Collection::default(),
            store_dir: None,
        }
    }
}

/// What becomes of executors of an earlier run of the agent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Recover {
    /// They are taken back.
    #[default]
    Reconnect,
    /// They are ended.
    Cleanup,
}

impl Default for Options {
    /// An agent on a free port of the loopback address, with Mesos's defaults. Paths, masters and
    /// programs are to be set.
    fn default() -> Self {
        Self {
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            advertise_ip: None,
            advertise_port: None,
            hostname: None,
            work_dir: PathBuf::new(),
            log_file: None,
            runtime_dir: None,
            masters: Vec::new(),
            resources: None,
            attributes: Attributes::default(),
            domain: None,
            default_role: Role::any(),
            isolation: None,
            cgroups_hierarchy: "/sys/fs/cgroup".into(),
            cgroups_root: "mesos".to_owned(),
            cgroups_enable_cfs: false,
            bounding_capabilities: Capabilities::parse(Capabilities::DEFAULT)
                .expect("the default is names"),
            effective_capabilities: None,
            allowed_devices: Vec::new(),
            secret_resolver: None,
            http_executor_domain_sockets: false,
            domain_socket_location: None,
            default_container_dns: ContainerDns::default(),
            gpus: GpuOptions::default(),
            ports: PortOptions::default(),
            check_agent_port_range_only: false,
            sharing: SharingOptions::default(),
            network_cni_config_dir: None,
            network_cni_plugins_dirs: NetworkOptions::default().plugins_dirs,
            network_cni_root_dir_persist: false,
            images: Some(ImageSettings::default()),
            fetcher_cache_dir: None,
            fetcher_cache_size: CACHE_BYTES_MAX_DEFAULT,
            fetcher_stall_timeout: STALL_TIMEOUT_DEFAULT,
            gc_delay: Duration::from_secs(7 * 24 * 3_600),
            gc_disk_headroom_milli: 100,
            disk_watch_interval: Duration::from_secs(60),
            enforce_container_disk_quota: false,
            container_disk_watch_interval: DISK_WATCH_INTERVAL_DEFAULT,
            xfs_project_range: ProjectRange::default(),
            xfs_kill_containers: false,
            http_heartbeat_interval: HEARTBEAT_INTERVAL_DEFAULT,
            container_logs: Some(LogLimits::default()),
            registration_backoff_factor: Duration::from_millis(100),
            executor_registration_timeout: Duration::from_secs(60),
            executor_reregistration_timeout: Duration::from_secs(2),
            executor_shutdown_grace_period: Duration::from_secs(5),
            recovery_timeout: Duration::from_secs(15 * 60),
            recover: Recover::Reconnect,
            reconfiguration_policy: ReconfigurationPolicy::Equal,
            switch_user: true,
            launcher: (PathBuf::new(), vec!["launch".into()]),
            max_completed_executors_per_framework: 150,
            authentication: Authentication::default(),
            acls: Arc::default(),
            firewall: Firewall::default(),
            identity: Identity::default(),
            steps: Steps::default(),
            flags: BTreeMap::new(),
        }
    }
}

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The socket cannot be where it is to be.
    #[error("--domain_socket_location={}: {why}", location.display())]
    Socket {
        /// Where.
        location: PathBuf,
        /// Why not, and what to do.
        why: String,
    },
    /// The port is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A directory could not be made, or a file in it not written.
    #[error("cannot create {}", path.display())]
    WorkDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Containers have something of their own where the sandboxes would be.
    #[error(
        "--work_dir={}: containers have a /dev/shm of their own by `namespaces/ipc`, and would not see \
         their sandboxes there. Choose a directory elsewhere; on a tmpfs it may be",
        path.display()
    )]
    Hidden {
        /// The work directory.
        path: PathBuf,
    },
    /// The resources make no sense.
    #[error("--resources: {0}")]
    Resources(ResourcesError),
    /// The graphics processors are not as they are said to be.
    #[error("graphics processors: {0}")]
    Gpus(String),
    /// An isolator that does not exist.
    #[error("--isolation")]
    Isolation(#[from] UnknownIsolator),
    /// Containers cannot be run here.
    #[error(transparent)]
    Containers(#[from] SetupError),
    /// Images cannot be kept.
    #[error(transparent)]
    Images(#[from] crate::images::Reason),
    /// The machine does not tell what it has.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The checkpoints cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was reserved, or made a volume of, is not there any more.
    #[error(
        "--resources: {0}: reservations and volumes that were made at run time need it. Give the agent \
         back what it had, or unreserve first, or remove `meta` in the work directory to start as a new \
         agent without them"
    )]
    Made(Shortage),
    /// Flags say that this is another agent than the one whose tasks may run here.
    #[error(
        "this is not the agent that ran here before: {0}. Give it back what it had; or, if it only has \
         more now, start it with --reconfiguration_policy=additive; or drain it, and remove `meta` in \
         the work directory to start as a new agent"
    )]
    Reconfigured(Reconfigured),
    /// What was run before could not be found again.
    #[error("cannot recover containers")]
    Recover(#[source] io::Error),
}
