//! What a master is told when it starts.

use master_core::{MinAllocatable, PATTERN_BYTES_DEFAULT, RemovalRate, Sorter};
use model::acl::Acls;
use model::amount::Milli;
use model::link::FaultDomain;
use model::rate_limits::RateLimits;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use transport::auth::Credentials;
use transport::firewall::Firewall;
use transport::identity::Identity;

/// Settings of one master, already parsed.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags that are yes or no")]
pub struct Options {
    /// Address to listen on.
    pub ip: IpAddr,
    /// Port to listen on; 0 takes a free one, which only a master without peers may do.
    pub port: u16,
    /// Address that others reach this master by, if it is not the one it listens on.
    pub advertise_ip: Option<IpAddr>,
    /// Port that others reach this master by, if it is not the one it listens on.
    pub advertise_port: Option<u16>,
    /// Host name for clients; without one, the advertised address.
    pub hostname: Option<String>,
    /// Where the log is kept. Made if it is not there.
    pub work_dir: PathBuf,
    /// The file this daemon writes its log to, which is then served; absent: there is none.
    pub log_file: Option<PathBuf>,
    /// All masters of the cluster, `host:port` each, this one among them. Empty: this one alone.
    pub peers: Vec<String>,
    /// Masters of the cluster that this new one joins, `host:port` each, instead of `peers`.
    pub join: Vec<String>,
    /// Name of the cluster, for people.
    pub cluster: Option<String>,
    /// How often all agents are looked at for offers, beside those where something has changed.
    pub allocation_interval: Duration,
    /// How long changes are gathered before offers are made of them.
    pub allocation_batch: Duration,
    /// How long an agent may take to answer a ping.
    pub agent_ping_timeout: Duration,
    /// How many pings in a row an agent may miss before it counts as unreachable.
    pub max_agent_ping_timeouts: u32,
    /// How long an agent may take to come back after a change of leader.
    pub agent_reregister_timeout: Duration,
    /// Which part of the agents may stay away then, in thousandths; if it is more, the master ends.
    pub recovery_agent_removal_limit: Milli,
    /// Which part of the agents must be back before roles with quota are offered anything by a new
    /// leader, in thousandths.
    pub allocator_agent_recovery_factor: Milli,
    /// How long such roles wait for that.
    pub allocator_recovery_timeout: Duration,
    /// How fast agents out of contact are given up towards frameworks that do not know what it means to
    /// be out of contact; absent: at once.
    pub agent_removal_rate: Option<RemovalRate>,
    /// How often former agents are looked at that need not be remembered any more.
    pub registry_gc_interval: Duration,
    /// For how long agents out of contact or declared dead are remembered.
    pub registry_max_agent_age: Duration,
    /// How many agents out of contact are remembered, and as many declared dead.
    pub registry_max_agent_count: usize,
    /// How long an offer may stay unanswered; absent: for ever.
    pub offer_timeout: Option<Duration>,
    /// The only roles frameworks may have; absent: all.
    pub roles: Option<Vec<String>>,
    /// Weights of roles in a cluster for which none were ever set.
    pub weights: BTreeMap<String, f64>,
    /// The least that is worth an offer.
    pub min_allocatable: MinAllocatable,
    /// Names of resources that do not count as a share.
    pub fair_sharing_excluded: BTreeSet<Arc<str>>,
    /// Whether agents with GPUs are kept for frameworks that can use them.
    pub filter_gpu_resources: bool,
    /// How roles take turns.
    pub role_sorter: Sorter,
    /// How frameworks of one role take turns.
    pub framework_sorter: Sorter,
    /// Where this master stands; absent: no agent counts as of another region.
    pub domain: Option<FaultDomain>,
    /// Whether agents that do not say where they stand are turned away.
    pub require_agent_domain: bool,
    /// A file with the hosts that are offered, one a line; absent: all are.
    pub whitelist: Option<PathBuf>,
    /// How many bytes a pattern of offer constraints may take once it is read.
    pub offer_constraints_pattern_bytes_max: usize,
    /// Whether frameworks may run tasks as root.
    pub root_submissions: bool,
    /// Frameworks that are over and are remembered.
    pub max_completed_frameworks: usize,
    /// Tasks that are over and are remembered, of each framework.
    pub max_completed_tasks_per_framework: usize,
    /// Unreachable tasks that are remembered, of each framework.
    pub max_unreachable_tasks_per_framework: usize,
    /// Operator event streams at once. The oldest is closed for a new one past it.
    pub max_operator_event_stream_subscribers: usize,
    /// Whether metrics of each framework are told.
    pub publish_per_framework_metrics: bool,
    /// Who must prove to be who they are.
    pub authentication: Authentication,
    /// Who may do what.
    pub acls: Arc<Acls>,
    /// Endpoints that nobody is answered on.
    pub firewall: Firewall,
    /// How fast calls of each principal are taken in.
    pub rate_limits: RateLimits,
    /// What shows the other masters who this one is.
    pub identity: Identity,
    /// All flags as text, for `/flags`. Nothing secret may be in it.
    pub flags: BTreeMap<String, String>,
}

/// Who must prove to be who they are. By default nobody.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one door, and any may be shut")]
pub struct Authentication {
    /// The names that are known, with their secrets.
    pub credentials: Option<Arc<Credentials>>,
    /// Whether frameworks must, over HTTP and gRPC.
    pub frameworks: bool,
    /// Whether those must who only read.
    pub readonly: bool,
    /// Whether those must who change something.
    pub readwrite: bool,
    /// Whether agents must.
    pub agents: bool,
    /// Whether other masters must.
    pub masters: bool,
}

impl Default for Options {
    /// A master alone on a free port of the loopback address, with Mesos's defaults.
    fn default() -> Self {
        Self {
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            advertise_ip: None,
            advertise_port: None,
            hostname: None,
            work_dir: PathBuf::new(),
            log_file: None,
            peers: Vec::new(),
            join: Vec::new(),
            cluster: None,
            allocation_interval: Duration::from_secs(1),
            allocation_batch: Duration::from_millis(20),
            agent_ping_timeout: Duration::from_secs(15),
            max_agent_ping_timeouts: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            recovery_agent_removal_limit: Milli::units(1),
            allocator_agent_recovery_factor: Milli(800),
            allocator_recovery_timeout: Duration::from_secs(600),
            agent_removal_rate: None,
            registry_gc_interval: Duration::from_secs(15 * 60),
            registry_max_agent_age: Duration::from_secs(14 * 86_400),
            registry_max_agent_count: 102_400,
            offer_timeout: None,
            roles: None,
            weights: BTreeMap::new(),
            min_allocatable: MinAllocatable::default(),
            fair_sharing_excluded: BTreeSet::new(),
            filter_gpu_resources: true,
            role_sorter: Sorter::default(),
            framework_sorter: Sorter::default(),
            domain: None,
            require_agent_domain: false,
            whitelist: None,
            offer_constraints_pattern_bytes_max: PATTERN_BYTES_DEFAULT,
            root_submissions: true,
            max_completed_frameworks: 50,
            max_completed_tasks_per_framework: 1_000,
            max_unreachable_tasks_per_framework: 1_000,
            max_operator_event_stream_subscribers: 1_000,
            publish_per_framework_metrics: true,
            authentication: Authentication::default(),
            acls: Arc::default(),
            firewall: Firewall::default(),
            rate_limits: RateLimits::default(),
            identity: Identity::default(),
            flags: BTreeMap::new(),
        }
    }
}

impl Options {
    /// The address others reach a master by that listens on `bound`.
    pub(crate) fn advertised(&self, bound: SocketAddr) -> SocketAddr {
        let mut ip = self.advertise_ip.unwrap_or(bound.ip());
        if ip.is_unspecified() {
            // Nobody can connect to "any address"; this machine's own is the best guess there is.
            ip = local_ip().unwrap_or(Ipv4Addr::LOCALHOST.into());
        }
        SocketAddr::new(ip, self.advertise_port.unwrap_or(bound.port()))
    }
}

/// The address this machine would use to reach others. Nothing is sent.
fn local_ip() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address for documentation: it need not exist, only the route to it is looked up.
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}
