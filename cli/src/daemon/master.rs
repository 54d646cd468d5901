//! `agora master`.

use super::log::LogFlags;
use super::{addresses, asked_to_end, say_bound};
use anyhow::Context;
use clap::{Args, ValueEnum};
use master::{MinAllocatable, RemovalRate, Sorter};
use model::link::FaultDomain;
use model::units::parse_duration;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a master runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Address to listen on
    #[arg(long, env = "AGORA_IP", default_value = "0.0.0.0")]
    ip: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "AGORA_PORT", default_value_t = 5050)]
    port: u16,
    /// Address that others are told to reach this master at
    #[arg(long, env = "AGORA_ADVERTISE_IP")]
    advertise_ip: Option<IpAddr>,
    /// Port that others are told to reach this master at
    #[arg(long, env = "AGORA_ADVERTISE_PORT")]
    advertise_port: Option<u16>,
    /// Host name that clients are told and redirected to; by default the address
    #[arg(long, env = "AGORA_HOSTNAME")]
    hostname: Option<String>,
    /// Directory for the Raft log and the registry
    #[arg(long, env = "AGORA_WORK_DIR")]
    work_dir: PathBuf,
    /// All masters as host:port with commas between them, this one among them; 1, 3 or 5
    ///
    /// Without it this master is the only one.
    #[arg(long, env = "AGORA_PEERS", default_value = "")]
    peers: String,
    /// Masters of a running cluster, as host:port with commas between them, which this new one joins
    ///
    /// Instead of --peers. It asks them to be added, gets the registry from the leading one, and votes
    /// once it has caught up. Its identity is in the work directory: later starts only continue.
    #[arg(long, env = "AGORA_JOIN", default_value = "", conflicts_with = "peers")]
    join: String,
    /// Name of the cluster, for people
    #[arg(long, env = "AGORA_CLUSTER")]
    cluster: Option<String>,
    /// Where this master stands, as region/zone; agents of other regions go to region-aware frameworks
    #[arg(long, env = "AGORA_DOMAIN", value_parser = FaultDomain::parse)]
    domain: Option<FaultDomain>,
    /// Turn away agents that have no --domain
    #[arg(long, env = "AGORA_REQUIRE_AGENT_DOMAIN", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    require_agent_domain: bool,
    #[command(flatten)]
    access: super::access::OfMaster,
    #[command(flatten)]
    tls: crate::tls::DaemonTls,
    #[command(flatten)]
    tuning: Tuning,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// How siblings take turns.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SorterName {
    /// The smallest dominant share over weight comes first
    Drf,
    /// Lots are drawn anew for each offer, a heavier role being likelier to come early
    Random,
}

impl From<SorterName> for Sorter {
    fn from(name: SorterName) -> Self {
        match name {
            SorterName::Drf => Self::Drf,
            SorterName::Random => Self::Random,
        }
    }
}

/// What `agora local` takes as well.
#[derive(Args, Clone, Debug)]
pub(crate) struct Tuning {
    /// How often all agents are looked at anew for offers; changes are acted on at once
    #[arg(long, env = "AGORA_ALLOCATION_INTERVAL", value_parser = parse_duration, default_value = "1secs")]
    allocation_interval: Duration,
    /// How long changes are gathered before offers are made of them
    #[arg(long, env = "AGORA_ALLOCATION_BATCHING_WINDOW", value_parser = parse_duration, default_value = "20ms")]
    allocation_batching_window: Duration,
    /// How often an agent is pinged, and how long it may take to answer
    #[arg(long, env = "AGORA_AGENT_PING_TIMEOUT", value_parser = parse_duration, default_value = "15secs")]
    agent_ping_timeout: Duration,
    /// How many pings in a row may go unanswered before an agent is unreachable
    #[arg(long, env = "AGORA_MAX_AGENT_PING_TIMEOUTS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    max_agent_ping_timeouts: u32,
    /// How long a new leader waits for an agent it knows of before that is unreachable
    #[arg(long, env = "AGORA_AGENT_REREGISTER_TIMEOUT", value_parser = parse_duration, default_value = "10mins")]
    agent_reregister_timeout: Duration,
    /// How fast frameworks hear of agents out of contact that take them for lost, such as 1/10mins
    ///
    /// Those that know PARTITION_AWARE are told at once, and no agent out of contact is offered. By
    /// default the others are told at once as well.
    #[arg(long, env = "AGORA_AGENT_REMOVAL_RATE_LIMIT", value_parser = RemovalRate::parse)]
    agent_removal_rate_limit: Option<RemovalRate>,
    /// How often agents are forgotten that were out of contact or gone for long enough
    #[arg(long, env = "AGORA_REGISTRY_GC_INTERVAL", value_parser = parse_duration, default_value = "15mins")]
    registry_gc_interval: Duration,
    /// How long agents are remembered that are out of contact or gone
    #[arg(long, env = "AGORA_REGISTRY_MAX_AGENT_AGE", value_parser = parse_duration, default_value = "2weeks")]
    registry_max_agent_age: Duration,
    /// How many agents are remembered that are out of contact, and as many that are gone
    #[arg(long, env = "AGORA_REGISTRY_MAX_AGENT_COUNT", default_value_t = 102_400)]
    registry_max_agent_count: usize,
    /// How long an offer may go unanswered before it is taken back; by default for ever
    #[arg(long, env = "AGORA_OFFER_TIMEOUT", value_parser = parse_duration)]
    offer_timeout: Option<Duration>,
    /// Roles that frameworks may have, with commas between them; by default any
    #[arg(long, env = "AGORA_ROLES")]
    roles: Option<String>,
    /// Weights of roles, such as web=2,batch=1; 1 for those not named
    #[arg(long, env = "AGORA_WEIGHTS")]
    weights: Option<String>,
    /// The least that is worth an offer: sets of amounts with | between them, any one of which will do
    #[arg(long, env = "AGORA_MIN_ALLOCATABLE_RESOURCES", value_parser = MinAllocatable::parse, default_value = "cpus:0.01|mem:32")]
    min_allocatable_resources: MinAllocatable,
    /// How roles take turns: who is furthest behind its share, or by lot
    #[arg(long, env = "AGORA_ROLE_SORTER", default_value = "drf")]
    role_sorter: SorterName,
    /// How frameworks of one role take turns
    #[arg(long, env = "AGORA_FRAMEWORK_SORTER", default_value = "drf")]
    framework_sorter: SorterName,
    /// Resources that do not count as a share, with commas between them, such as gpus
    #[arg(long, env = "AGORA_FAIR_SHARING_EXCLUDED_RESOURCE_NAMES")]
    fair_sharing_excluded_resource_names: Option<String>,
    /// Whether agents with GPUs are offered only to frameworks that say that they can use them
    #[arg(long, env = "AGORA_FILTER_GPU_RESOURCES", action = clap::ArgAction::Set, default_value_t = true)]
    filter_gpu_resources: bool,
    /// Whether frameworks may run tasks as root
    #[arg(long, env = "AGORA_ROOT_SUBMISSIONS", action = clap::ArgAction::Set, default_value_t = true)]
    root_submissions: bool,
    /// Operator event streams at once; the oldest is closed for a new one past it
    #[arg(long, env = "AGORA_MAX_OPERATOR_EVENT_STREAM_SUBSCRIBERS", default_value_t = 1000)]
    max_operator_event_stream_subscribers: usize,
    /// File with the hosts that are offered, one a line, read every five seconds; by default all are
    #[arg(long, env = "AGORA_WHITELIST")]
    whitelist: Option<PathBuf>,
    /// Frameworks that are over and still shown
    #[arg(long, env = "AGORA_MAX_COMPLETED_FRAMEWORKS", default_value_t = 50)]
    max_completed_frameworks: usize,
    /// Tasks of each framework that are over and still shown
    #[arg(long, env = "AGORA_MAX_COMPLETED_TASKS_PER_FRAMEWORK", default_value_t = 1000)]
    max_completed_tasks_per_framework: usize,
    /// Unreachable tasks of each framework that are kept
    #[arg(long, env = "AGORA_MAX_UNREACHABLE_TASKS_PER_FRAMEWORK", default_value_t = 1000)]
    max_unreachable_tasks_per_framework: usize,
}

impl Tuning {
    /// Sets these in `options`.
    pub(crate) fn apply(self, options: &mut master::Options) -> anyhow::Result<()> {
        options.allocation_interval = self.allocation_interval;
        options.allocation_batch = self.allocation_batching_window;
        options.agent_ping_timeout = self.agent_ping_timeout;
        options.max_agent_ping_timeouts = self.max_agent_ping_timeouts;
        options.agent_reregister_timeout = self.agent_reregister_timeout;
        options.agent_removal_rate = self.agent_removal_rate_limit;
        options.registry_gc_interval = self.registry_gc_interval;
        options.registry_max_agent_age = self.registry_max_agent_age;
        options.registry_max_agent_count = self.registry_max_agent_count;
        options.offer_timeout = self.offer_timeout;
        options.min_allocatable = self.min_allocatable_resources;
        options.role_sorter = self.role_sorter.into();
        options.framework_sorter = self.framework_sorter.into();
        let excluded = self.fair_sharing_excluded_resource_names.as_deref().map(addresses);
        options.fair_sharing_excluded = excluded.into_iter().flatten().map(Into::into).collect();
        options.whitelist = self.whitelist;
        options.filter_gpu_resources = self.filter_gpu_resources;
        options.root_submissions = self.root_submissions;
        options.max_operator_event_stream_subscribers = self.max_operator_event_stream_subscribers;
        options.roles = self.roles.as_deref().map(addresses);
        for part in self.weights.as_deref().map(addresses).unwrap_or_default() {
            let weight = part.split_once('=').and_then(|(role, weight)| {
                Some((role.to_owned(), weight.parse::<f64>().ok().filter(|weight| *weight > 0.0)?))
            });
            let (role, weight) = weight.with_context(|| {
                format!(
                    "--weights: '{part}' is not role=weight with a weight above 0, such as web=2"
                )
            })?;
            options.weights.insert(role, weight);
        }
        options.max_completed_frameworks = self.max_completed_frameworks;
        options.max_completed_tasks_per_framework = self.max_completed_tasks_per_framework;
        options.max_unreachable_tasks_per_framework = self.max_unreachable_tasks_per_framework;
        Ok(())
    }
}

/// Runs a master until it is asked to end.
pub(crate) async fn run(flags: Flags) -> anyhow::Result<()> {
    let mut options = master::Options {
        ip: flags.ip,
        port: flags.port,
        advertise_ip: flags.advertise_ip,
        advertise_port: flags.advertise_port,
        hostname: flags.hostname,
        log_file: flags.log.file("master"),
        work_dir: flags.work_dir,
        peers: addresses(&flags.peers),
        join: addresses(&flags.join),
        cluster: flags.cluster,
        domain: flags.domain,
        require_agent_domain: flags.require_agent_domain,
        flags: super::flag_texts("master"),
        ..master::Options::default()
    };
    let tls = flags.tls.start()?;
    flags.access.apply(&mut options, tls.as_ref())?;
    flags.tuning.apply(&mut options)?;
    let mut running = master::start(options).await.context("the master cannot start")?;
    say_bound("master", tls.as_ref(), running.address);
    tokio::select! {
        asked = asked_to_end() => asked?,
        why = running.wait() => anyhow::bail!("the master cannot go on: {why}"),
    }
    running.stop().await;
    Ok(())
}
