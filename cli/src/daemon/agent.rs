//! `agora agent`.

use super::log::LogFlags;
use super::{addresses, asked_to_end, inner, say_bound};
use agent::containerizer::{
    AllowedDevice, ContainerDns, LogLimits, PortOptions, ProjectRange, SharingOptions,
};
use agent::launcher::Capabilities;
use anyhow::Context;
use clap::{Args, ValueEnum};
use model::amount::Ranges;
use model::link::FaultDomain;
use model::resources::{Attributes, Value, parse_value};
use model::role::Role;
use model::units::{parse_bytes, parse_duration};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How an agent runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Address to listen on
    #[arg(long, env = "AGORA_IP", default_value = "0.0.0.0")]
    ip: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "AGORA_PORT", default_value_t = 5051)]
    port: u16,
    /// Address that others are told to reach this agent at
    #[arg(long, env = "AGORA_ADVERTISE_IP")]
    advertise_ip: Option<IpAddr>,
    /// Port that others are told to reach this agent at
    #[arg(long, env = "AGORA_ADVERTISE_PORT")]
    advertise_port: Option<u16>,
    /// Host name that frameworks are told; by default this machine's
    #[arg(long, env = "AGORA_HOSTNAME")]
    hostname: Option<String>,
    /// Masters as host:port with commas between them; any of them will do
    #[arg(long, env = "AGORA_MASTER")]
    master: String,
    /// Directory for checkpoints and the sandboxes of tasks
    #[arg(long, env = "AGORA_WORK_DIR")]
    work_dir: PathBuf,
    #[command(flatten)]
    access: super::access::OfAgent,
    #[command(flatten)]
    tls: crate::tls::DaemonTls,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// What of this machine is used and how; `agora local` takes it as well.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag that is a yes or no")]
pub(crate) struct Machine {
    /// Directory for what only lives as long as the machine is up; by default one for this work
    /// directory in /run/agora, or `run` in the work directory for others than root
    #[arg(long, env = "AGORA_RUNTIME_DIR")]
    runtime_dir: Option<PathBuf>,
    /// What tasks may use, such as 'cpus:4;mem:1024;ports:[31000-32000]', or a JSON array of resources,
    /// which PATH and MOUNT disks take, or a file with either, as /path or file:///path; by default what
    /// is found
    #[arg(long, env = "AGORA_RESOURCES")]
    resources: Option<String>,
    /// What frameworks may choose this agent by, such as 'rack:r1;level:2'
    #[arg(long, env = "AGORA_ATTRIBUTES")]
    attributes: Option<String>,
    /// Where this machine stands, as region/zone or as Mesos's DomainInfo in JSON, or a file with either, as
    /// /path or file:///path; frameworks may choose by it
    #[arg(long, env = "AGORA_DOMAIN", value_parser = super::given::domain)]
    domain: Option<FaultDomain>,
    /// Role of resources that name none
    #[arg(long, env = "AGORA_DEFAULT_ROLE", default_value = "*")]
    default_role: String,
    /// Isolators with commas between them; by default all that this machine can do
    #[arg(long, env = "AGORA_ISOLATION")]
    isolation: Option<String>,
    /// Where cgroups are mounted: what is mounted elsewhere is not used
    #[arg(long, env = "AGORA_CGROUPS_HIERARCHY", default_value = "/sys/fs/cgroup")]
    cgroups_hierarchy: PathBuf,
    /// Cgroup below which containers get theirs; agents of one machine must not share it
    #[arg(long, env = "AGORA_CGROUPS_ROOT", default_value = "mesos")]
    cgroups_root: String,
    /// Hold tasks to their cpus even when the machine is idle
    #[arg(long, env = "AGORA_CGROUPS_ENABLE_CFS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    cgroups_enable_cfs: bool,
    /// The most capabilities that anybody in a container can have, with commas between them
    #[arg(long, env = "AGORA_BOUNDING_CAPABILITIES", value_parser = Capabilities::parse, default_value = Capabilities::DEFAULT)]
    bounding_capabilities: Capabilities,
    /// Capabilities of tasks that ask for none; by default root has all of the bounding ones and
    /// others have none
    #[arg(long, env = "AGORA_EFFECTIVE_CAPABILITIES", value_parser = Capabilities::parse)]
    effective_capabilities: Option<Capabilities>,
    /// Devices that containers may use besides the usual ones, such as '{"allowed_devices":
    /// [{"device": {"path": "/dev/fuse"}, "access": {"read": true, "write": true}}]}'
    #[arg(long, env = "AGORA_ALLOWED_DEVICES")]
    allowed_devices: Option<String>,
    /// Have all executors come by a socket in the file system rather than by the port
    #[arg(long, env = "AGORA_HTTP_EXECUTOR_DOMAIN_SOCKETS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    http_executor_domain_sockets: bool,
    /// Where that socket is, DIR/agent.sock, in a directory for it alone; by default in the runtime
    /// directory
    #[arg(long, env = "AGORA_DOMAIN_SOCKET_LOCATION")]
    domain_socket_location: Option<PathBuf>,
    /// By which servers containers look up names where their networks do not say: JSON in the form that
    /// Mesos has, or a file with that, as /path or file:///path
    #[arg(long, env = "AGORA_DEFAULT_CONTAINER_DNS")]
    default_container_dns: Option<String>,
    /// Directory with a file for each secret that tasks may name, DIR/name or DIR/name/key
    #[arg(long, env = "AGORA_SECRET_RESOLVER")]
    secret_resolver: Option<PathBuf>,
    /// Refuse containers that ask to see the processes of this machine
    #[arg(long, env = "AGORA_DISALLOW_SHARING_AGENT_PID_NAMESPACE", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    disallow_sharing_agent_pid_namespace: bool,
    /// Refuse containers that ask to see the shared memory of this machine
    #[arg(long, env = "AGORA_DISALLOW_SHARING_AGENT_IPC_NAMESPACE", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    disallow_sharing_agent_ipc_namespace: bool,
    /// How large /dev/shm of a container may become that does not say; by default as the kernel has it
    #[arg(long, env = "AGORA_DEFAULT_CONTAINER_SHM_SIZE", value_parser = parse_bytes)]
    default_container_shm_size: Option<u64>,
    /// Numbers of the graphics processors that containers may be given, with commas between them, where
    /// the isolator gpu/nvidia does that; by default those that have a device file
    #[arg(long, env = "AGORA_NVIDIA_GPU_DEVICES", value_delimiter = ',')]
    nvidia_gpu_devices: Option<Vec<u32>>,
    /// End containers that listen on ports they were not given; needs the isolator network/ports, which
    /// else only tells of them in the log
    #[arg(long, env = "AGORA_ENFORCE_CONTAINER_PORTS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    enforce_container_ports: bool,
    /// How often the isolator network/ports looks at what containers listen on
    #[arg(long, env = "AGORA_CONTAINER_PORTS_WATCH_INTERVAL", value_parser = parse_duration, default_value = "30secs")]
    container_ports_watch_interval: Duration,
    /// Of the ports that containers listen on, let only those count that this agent offers
    #[arg(long, env = "AGORA_CHECK_AGENT_PORT_RANGE_ONLY", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set, conflicts_with = "container_ports_isolated_range")]
    check_agent_port_range_only: bool,
    /// Of the ports that containers listen on, let only these count, such as [31000-32000]
    #[arg(long, env = "AGORA_CONTAINER_PORTS_ISOLATED_RANGE", value_parser = ranges)]
    container_ports_isolated_range: Option<Ranges>,
    /// Directory with a description of each network that containers can join, in the form of the CNI
    /// specification
    #[arg(long, env = "AGORA_NETWORK_CNI_CONFIG_DIR")]
    network_cni_config_dir: Option<PathBuf>,
    /// Directories with the plug-ins of networks, with colons between them
    #[arg(long, env = "AGORA_NETWORK_CNI_PLUGINS_DIR", default_value = agent::containerizer::NETWORK_PLUGINS_DIRS_DEFAULT)]
    network_cni_plugins_dir: String,
    /// Keep in the work directory what is to be undone for containers in networks, so that addresses
    /// are given back also after a reboot
    #[arg(long, env = "AGORA_NETWORK_CNI_ROOT_DIR_PERSIST", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    network_cni_root_dir_persist: bool,
    #[command(flatten)]
    images: super::images::ImageFlags,
    /// Where downloads that may be cached are kept, in a directory 'cache' that is emptied at the
    /// start; by default 'fetch' in the work directory
    #[arg(long, env = "AGORA_FETCHER_CACHE_DIR")]
    fetcher_cache_dir: Option<PathBuf>,
    /// How much of downloads is kept; those used last stay
    #[arg(long, env = "AGORA_FETCHER_CACHE_SIZE", value_parser = parse_bytes, default_value = "2GB")]
    fetcher_cache_size: u64,
    /// How long a download may go without a byte
    #[arg(long, env = "AGORA_FETCHER_STALL_TIMEOUT", value_parser = parse_duration, default_value = "1mins")]
    fetcher_stall_timeout: Duration,
    /// How long the sandbox of a run that is over is kept on an empty disk; the fuller the disk the
    /// shorter
    #[arg(long, env = "AGORA_GC_DELAY", value_parser = parse_duration, default_value = "1weeks")]
    gc_delay: Duration,
    /// Part of the disk that counts as used in any case: sandboxes are kept for gc_delay times what
    /// is left without it
    #[arg(long, env = "AGORA_GC_DISK_HEADROOM", value_parser = milli_of_part, default_value = "0.1")]
    gc_disk_headroom: u64,
    /// How often sandboxes are looked through for old ones
    #[arg(long, env = "AGORA_DISK_WATCH_INTERVAL", value_parser = parse_duration, default_value = "1mins")]
    disk_watch_interval: Duration,
    /// Hold containers to what they were given of the disk; needs the isolator disk/du, which ends those
    /// that take more, or disk/xfs, which refuses it to them
    #[arg(long, env = "AGORA_ENFORCE_CONTAINER_DISK_QUOTA", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    enforce_container_disk_quota: bool,
    /// How often the isolator disk/du counts what containers take, disk/xfs looks for those to end, and
    /// logs are looked at
    #[arg(long, env = "AGORA_CONTAINER_DISK_WATCH_INTERVAL", value_parser = parse_duration, default_value = "15secs")]
    container_disk_watch_interval: Duration,
    /// Numbers of XFS projects that the isolator disk/xfs gives to sandboxes and volumes; nobody else may
    /// use them
    #[arg(long, env = "AGORA_XFS_PROJECT_RANGE", value_parser = projects, default_value = "[5000-10000]")]
    xfs_project_range: ProjectRange,
    /// With disk/xfs and --enforce_container_disk_quota, end containers that take more of the disk than
    /// they were given, rather than refuse it to them: they can take 10 MB more until that is seen
    #[arg(long, env = "AGORA_XFS_KILL_CONTAINERS", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    xfs_kill_containers: bool,
    /// How often those who are attached to a container are told that the connection is alive
    #[arg(long, env = "AGORA_HTTP_HEARTBEAT_INTERVAL", value_parser = parse_duration, default_value = "30secs")]
    http_heartbeat_interval: Duration,
    /// How large stdout and stderr of a task may become before their content is moved to stdout.1 and
    /// stderr.1; 0B for no limit
    #[arg(long, env = "AGORA_CONTAINER_LOG_MAX_SIZE", value_parser = parse_bytes, default_value = "100MB")]
    container_log_max_size: u64,
    /// How many such files are kept of each
    #[arg(long, env = "AGORA_CONTAINER_LOG_MAX_FILES", default_value_t = LogLimits::default().files_max)]
    container_log_max_files: u32,
    /// How long to wait before the first registration, at random up to this; doubles with each try
    #[arg(long, env = "AGORA_REGISTRATION_BACKOFF_FACTOR", value_parser = parse_duration, default_value = "100ms")]
    registration_backoff_factor: Duration,
    /// How long a started executor may take to subscribe
    #[arg(long, env = "AGORA_EXECUTOR_REGISTRATION_TIMEOUT", value_parser = parse_duration, default_value = "1mins")]
    executor_registration_timeout: Duration,
    /// How long executors may take to come back after a restart of the agent
    #[arg(long, env = "AGORA_EXECUTOR_REREGISTRATION_TIMEOUT", value_parser = parse_duration, default_value = "2secs")]
    executor_reregistration_timeout: Duration,
    /// How long an executor may take to end when asked
    #[arg(long, env = "AGORA_EXECUTOR_SHUTDOWN_GRACE_PERIOD", value_parser = parse_duration, default_value = "5secs")]
    executor_shutdown_grace_period: Duration,
    /// How long executors wait for an agent that is away before they end themselves
    #[arg(long, env = "AGORA_RECOVERY_TIMEOUT", value_parser = parse_duration, default_value = "15mins")]
    recovery_timeout: Duration,
    /// What becomes of executors of an earlier run of the agent
    #[arg(long, env = "AGORA_RECOVER", value_enum, default_value_t = Recover::Reconnect)]
    recover: Recover,
    /// What of hostname, domain, attributes and resources may be other than when the agent ran last
    #[arg(long, env = "AGORA_RECONFIGURATION_POLICY", value_enum, default_value_t = ReconfigurationPolicy::Equal)]
    reconfiguration_policy: ReconfigurationPolicy,
    /// Run tasks as the user they name
    #[arg(long, env = "AGORA_SWITCH_USER", num_args = 0..=1, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    switch_user: bool,
    /// Executors of each framework that are over and still shown
    #[arg(long, env = "AGORA_MAX_COMPLETED_EXECUTORS_PER_FRAMEWORK", default_value_t = 150)]
    max_completed_executors_per_framework: usize,
}

/// What becomes of executors of an earlier run.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Recover {
    /// They are taken back
    Reconnect,
    /// They are ended
    Cleanup,
}

/// What an agent may change and still be the same.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReconfigurationPolicy {
    /// Nothing
    Equal,
    /// It may have more: resources, attributes, a domain if it had none
    Additive,
}

/// Ports, such as `[31000-31099,31200-31299]`.
fn ranges(text: &str) -> Result<Ranges, String> {
    match parse_value(text) {
        Ok(Value::Ranges(ranges)) => Ok(ranges),
        _ => Err(format!("'{text}' is not a list of ranges such as [31000-32000]")),
    }
}

/// Numbers of projects, such as `[5000-10000]`.
fn projects(text: &str) -> Result<ProjectRange, String> {
    ProjectRange::new(ranges(text)?).map_err(|why| why.to_string())
}

/// A part of a whole, such as 0.1, in thousandths.
fn milli_of_part(text: &str) -> Result<u64, String> {
    let part: f64 = text.parse().map_err(|_| format!("'{text}' is not a number such as 0.1"))?;
    if (0.0..=1.0).contains(&part) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 1000"
        )]
        return Ok((part * 1_000.0).round() as u64);
    }
    Err(format!("{text} is not between 0 and 1"))
}

impl Machine {
    /// Sets these in `options`.
    pub(crate) fn apply(self, options: &mut agent::Options) -> anyhow::Result<()> {
        options.runtime_dir = self.runtime_dir;
        options.resources = self.resources;
        if let Some(text) = &self.attributes {
            options.attributes = Attributes::parse(text).context("--attributes")?;
        }
        options.domain = self.domain;
        options.default_role = Role::new(self.default_role).context("--default_role")?;
        options.isolation = self.isolation;
        options.cgroups_hierarchy = self.cgroups_hierarchy;
        options.cgroups_root = self.cgroups_root;
        options.cgroups_enable_cfs = self.cgroups_enable_cfs;
        options.bounding_capabilities = self.bounding_capabilities;
        options.effective_capabilities = self.effective_capabilities;
        if let Some(text) = &self.allowed_devices {
            options.allowed_devices =
                AllowedDevice::parse_list(text).context("--allowed_devices")?;
        }
        options.http_executor_domain_sockets = self.http_executor_domain_sockets;
        options.domain_socket_location = self.domain_socket_location;
        if let Some(given) = &self.default_container_dns {
            options.default_container_dns = super::given::text(given)
                .and_then(|text| Ok(ContainerDns::parse(&text)?))
                .context("--default_container_dns")?;
        }
        options.gpus.devices = self.nvidia_gpu_devices;
        options.ports = PortOptions {
            enforced: self.enforce_container_ports,
            interval: self.container_ports_watch_interval,
            only: self.container_ports_isolated_range,
        };
        options.check_agent_port_range_only = self.check_agent_port_range_only;
        options.secret_resolver = self.secret_resolver;
        options.sharing = SharingOptions {
            pids_forbidden: self.disallow_sharing_agent_pid_namespace,
            ipc_forbidden: self.disallow_sharing_agent_ipc_namespace,
            shm_bytes_default: self.default_container_shm_size,
        };
        options.network_cni_config_dir = self.network_cni_config_dir;
        options.network_cni_plugins_dirs =
            std::env::split_paths(&self.network_cni_plugins_dir).collect();
        options.network_cni_root_dir_persist = self.network_cni_root_dir_persist;
        options.images = self.images.settings()?;
        options.fetcher_cache_dir = self.fetcher_cache_dir;
        options.fetcher_cache_size = self.fetcher_cache_size;
        options.fetcher_stall_timeout = self.fetcher_stall_timeout;
        options.gc_delay = self.gc_delay;
        options.gc_disk_headroom_milli = self.gc_disk_headroom;
        options.disk_watch_interval = self.disk_watch_interval;
        options.enforce_container_disk_quota = self.enforce_container_disk_quota;
        options.container_disk_watch_interval = self.container_disk_watch_interval;
        options.xfs_project_range = self.xfs_project_range;
        options.xfs_kill_containers = self.xfs_kill_containers;
        options.http_heartbeat_interval = self.http_heartbeat_interval;
        options.container_logs = (self.container_log_max_size > 0).then_some(LogLimits {
            bytes_max: self.container_log_max_size,
            files_max: self.container_log_max_files,
        });
        options.registration_backoff_factor = self.registration_backoff_factor;
        options.executor_registration_timeout = self.executor_registration_timeout;
        options.executor_reregistration_timeout = self.executor_reregistration_timeout;
        options.executor_shutdown_grace_period = self.executor_shutdown_grace_period;
        options.recovery_timeout = self.recovery_timeout;
        options.recover = match self.recover {
            Recover::Reconnect => agent::Recover::Reconnect,
            Recover::Cleanup => agent::Recover::Cleanup,
        };
        options.reconfiguration_policy = match self.reconfiguration_policy {
            ReconfigurationPolicy::Equal => agent::ReconfigurationPolicy::Equal,
            ReconfigurationPolicy::Additive => agent::ReconfigurationPolicy::Additive,
        };
        options.switch_user = self.switch_user;
        options.max_completed_executors_per_framework = self.max_completed_executors_per_framework;
        let binary = std::env::current_exe().context("cannot find the own binary")?;
        options.launcher = (binary, vec![inner::LAUNCHER.into()]);
        Ok(())
    }
}

/// Runs an agent until it is asked to end. Its tasks run on, unless it is asked by SIGUSR1: then it ends them and
/// leaves the cluster.
pub(crate) async fn run(flags: Flags) -> anyhow::Result<()> {
    let mut options = agent::Options {
        ip: flags.ip,
        port: flags.port,
        advertise_ip: flags.advertise_ip,
        advertise_port: flags.advertise_port,
        hostname: flags.hostname,
        log_file: flags.log.file("agent"),
        work_dir: flags.work_dir,
        masters: addresses(&flags.master),
        flags: super::flag_texts("agent"),
        ..agent::Options::default()
    };
    let tls = flags.tls.start()?;
    flags.access.apply(&mut options, tls.as_ref())?;
    flags.machine.apply(&mut options)?;
    let mut asked_to_leave =
        signal(SignalKind::user_defined1()).context("cannot listen for SIGUSR1")?;
    let running = agent::start(options).await.context("the agent cannot start")?;
    say_bound("agent", tls.as_ref(), running.address);
    let mode = tokio::select! {
        asked = asked_to_end() => asked.map(|()| agent::StopMode::KeepTasks)?,
        _ = asked_to_leave.recv() => agent::StopMode::KillTasks,
        why = running.wait() => anyhow::bail!("the agent cannot go on: {why}"),
    };
    running.stop(mode).await;
    Ok(())
}
