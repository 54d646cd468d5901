//! `agora master`.

use super::log::LogFlags;
use super::{addresses, asked_to_end, say_bound};
use anyhow::Context;
use clap::{Args, ValueEnum};
use master::{MinAllocatable, RemovalRate, Sorter};
use model::amount::Milli;
use model::link::FaultDomain;
use model::units::{parse_bytes, parse_duration};
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
    /// Where this master stands, as region/zone or as Mesos's DomainInfo in JSON, or a file with either,
    /// as /path or file:///path; agents of other regions go to region-aware frameworks
    #[arg(long, env = "AGORA_DOMAIN", value_parser = super::given::domain)]
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
    /// How often an agent is pinged, and how long it may take to answer; from 1secs to 15mins
    #[arg(long, env = "AGORA_AGENT_PING_TIMEOUT", value_parser = ping_timeout, default_value = "15secs")]
    agent_ping_timeout: Duration,
    /// How many pings in a row may go unanswered before an agent is unreachable
    #[arg(long, env = "AGORA_MAX_AGENT_PING_TIMEOUTS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    max_agent_ping_timeouts: u32,
    /// How long a new leader waits for an agent it knows of before that is unreachable; from 10mins
    #[arg(long, env = "AGORA_AGENT_REREGISTER_TIMEOUT", value_parser = reregister_timeout, default_value = "10mins")]
    agent_reregister_timeout: Duration,
    /// Which part of the agents a new leader may write off that have not come back then, such as 50%
    ///
    /// If it were more, the master ends instead and says so: rather than that half of a cluster is gone,
    /// the network is.
    #[arg(long, env = "AGORA_RECOVERY_AGENT_REMOVAL_LIMIT", value_parser = percentage, default_value = "100%")]
    recovery_agent_removal_limit: Milli,
    /// Which part of the agents must be back before a new leader offers roles with quota anything
    ///
    /// Before that it is not known what they have. Roles without quota wait for nobody.
    #[arg(long, env = "AGORA_ALLOCATOR_AGENT_RECOVERY_FACTOR", value_parser = fraction, default_value = "0.8")]
    allocator_agent_recovery_factor: Milli,
    /// How long roles with quota wait for that
    #[arg(long, env = "AGORA_ALLOCATOR_RECOVERY_TIMEOUT", value_parser = parse_duration, default_value = "10mins")]
    allocator_recovery_timeout: Duration,
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
    /// Weights of roles, such as web=2,batch=1, in a cluster for which none were ever set
    ///
    /// Roles that have none weigh 1. From then on weights are changed at run time, and the flag is
    /// ignored.
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
    /// Memory that a pattern in offer constraints may take once it is read; larger ones are refused
    ///
    /// Patterns have the syntax of RE2 and are read by another engine, which needs more memory than RE2
    /// does, and counts no instructions.
    #[arg(long, env = "AGORA_OFFER_CONSTRAINTS_RE2_MAX_MEM", value_parser = pattern_bytes, default_value = "128KB")]
    offer_constraints_re2_max_mem: usize,
    /// Whether frameworks may run tasks as root
    #[arg(long, env = "AGORA_ROOT_SUBMISSIONS", action = clap::ArgAction::Set, default_value_t = true)]
    root_submissions: bool,
    /// Operator event streams at once; the oldest is closed for a new one past it
    #[arg(long, env = "AGORA_MAX_OPERATOR_EVENT_STREAM_SUBSCRIBERS", default_value_t = 1000)]
    max_operator_event_stream_subscribers: usize,
    /// Whether metrics of each framework are told; for clusters with more frameworks than their readers bear
    #[arg(long, env = "AGORA_PUBLISH_PER_FRAMEWORK_METRICS", action = clap::ArgAction::Set, default_value_t = true)]
    publish_per_framework_metrics: bool,
    /// File with the hosts that are offered, one a line, read every five seconds, also as file:///path; by
    /// default all are
    #[arg(long, env = "AGORA_WHITELIST", value_parser = super::given::path)]
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

/// A ping that comes too often is load for nothing, and one that comes too rarely hides that an agent
/// is away.
fn ping_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text).map_err(|bad| bad.to_string())?;
    let allowed = Duration::from_secs(1)..=Duration::from_mins(15);
    if allowed.contains(&timeout) {
        Ok(timeout)
    } else {
        Err("must be from 1secs to 15mins".to_owned())
    }
}

/// Agents that many wait for come back one after the other: if they had less time, a new leader would
/// write off those that are on their way.
fn reregister_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text).map_err(|bad| bad.to_string())?;
    if timeout >= Duration::from_mins(10) {
        Ok(timeout)
    } else {
        Err("must be 10mins or more".to_owned())
    }
}

/// A size that memory can have.
fn pattern_bytes(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text).map_err(|bad| bad.to_string())?;
    usize::try_from(bytes).map_err(|_| "must be a size that memory can have".to_owned())
}

/// A part of all, as a number from 0 to 1.
fn fraction(text: &str) -> Result<Milli, String> {
    let value = text.trim().parse::<f64>().ok().filter(|value| (0.0..=1.0).contains(value));
    value.and_then(Milli::from_f64).ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// A part of all, as a number of percent.
fn percentage(text: &str) -> Result<Milli, String> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let number = number.filter(|number| (0.0..=100.0).contains(number));
    let part = number.and_then(|number| Milli::from_f64(number / 100.0));
    part.ok_or_else(|| "must be from 0% to 100%".to_owned())
}

impl Tuning {
    /// Sets these in `options`.
    pub(crate) fn apply(self, options: &mut master::Options) -> anyhow::Result<()> {
        options.allocation_interval = self.allocation_interval;
        options.allocation_batch = self.allocation_batching_window;
        options.agent_ping_timeout = self.agent_ping_timeout;
        options.max_agent_ping_timeouts = self.max_agent_ping_timeouts;
        options.agent_reregister_timeout = self.agent_reregister_timeout;
        options.recovery_agent_removal_limit = self.recovery_agent_removal_limit;
        options.allocator_agent_recovery_factor = self.allocator_agent_recovery_factor;
        options.allocator_recovery_timeout = self.allocator_recovery_timeout;
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
        options.offer_constraints_pattern_bytes_max = self.offer_constraints_re2_max_mem;
        options.root_submissions = self.root_submissions;
        options.max_operator_event_stream_subscribers = self.max_operator_event_stream_subscribers;
        options.publish_per_framework_metrics = self.publish_per_framework_metrics;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        tuning: Tuning,
    }

    fn parsed(flag: &str) -> Result<Tuning, String> {
        let only = Only::try_parse_from(["master", flag]);
        only.map(|only| only.tuning).map_err(|bad| bad.to_string())
    }

    #[test]
    fn times_and_parts_have_bounds() {
        for good in [
            "--agent-ping-timeout=1secs",
            "--agent-ping-timeout=15mins",
            "--agent-reregister-timeout=10mins",
            "--recovery-agent-removal-limit=0%",
            "--allocator-agent-recovery-factor=1",
        ] {
            assert!(parsed(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("--agent-ping-timeout=999ms", "must be from 1secs to 15mins"),
            ("--agent-ping-timeout=16mins", "must be from 1secs to 15mins"),
            ("--agent-ping-timeout=15", "'15' is not a duration"),
            ("--agent-reregister-timeout=599secs", "must be 10mins or more"),
            ("--max-agent-ping-timeouts=0", "0 is not in 1.."),
            ("--recovery-agent-removal-limit=50", "must be from 0% to 100%"),
            ("--recovery-agent-removal-limit=101%", "must be from 0% to 100%"),
            ("--allocator-agent-recovery-factor=1.5", "must be a number from 0 to 1"),
            ("--allocator-agent-recovery-factor=NaN", "must be a number from 0 to 1"),
        ] {
            let told = parsed(bad).expect_err(bad);
            assert!(told.contains(why), "{bad}: {told}");
        }
        let part = parsed("--recovery-agent-removal-limit=12.5%").expect("a part");
        assert_eq!(part.recovery_agent_removal_limit, Milli(125));
    }
}
