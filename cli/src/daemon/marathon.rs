//! `agora marathon`.

use super::log::LogFlags;
use super::{addresses, asked_to_end, say_bound, write_address};
use anyhow::Context;
use clap::Args;
use model::units::parse_duration;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How Marathon runs.
///
/// Several of them may run for one cluster: one leads, the others hand requests on to it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Masters as host:port with commas between them; any of them will do
    #[arg(long, env = "AGORA_MASTER")]
    master: String,
    /// Address to listen on
    #[arg(long, env = "AGORA_HTTP_ADDRESS", default_value = "0.0.0.0")]
    http_address: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "AGORA_HTTP_PORT", default_value_t = 8080)]
    http_port: u16,
    /// Name or address that others reach this Marathon by; by default the address
    #[arg(long, env = "AGORA_HOSTNAME")]
    hostname: Option<String>,
    /// Directory for the bound address and for the addresses of masters that are not in --master, which
    /// are then found after a restart too; all other state is kept by the masters
    #[arg(long, env = "AGORA_WORK_DIR")]
    work_dir: Option<PathBuf>,
    #[command(flatten)]
    conduct: Conduct,
    #[command(flatten)]
    access: super::access::OfMarathon,
    #[command(flatten)]
    tls: crate::tls::DaemonTls,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// How it treats apps, masters and clients; `agora local` takes it as well.
#[derive(Args, Clone, Debug)]
pub(crate) struct Conduct {
    /// Name of the framework, and of its state: Marathons of one name share their apps
    #[arg(long, env = "AGORA_FRAMEWORK_NAME", default_value = "marathon")]
    framework_name: String,
    /// Role of apps that name none
    #[arg(long, env = "AGORA_MESOS_ROLE", default_value = "*")]
    mesos_role: String,
    /// Network that container networks without a name mean
    #[arg(long, env = "AGORA_DEFAULT_NETWORK_NAME")]
    default_network_name: Option<String>,
    /// Network that bridges of containers mean
    #[arg(long, env = "AGORA_MESOS_BRIDGE_NAME", default_value = "mesos-bridge")]
    mesos_bridge_name: String,
    /// File with the key that secrets are kept under: 32 bytes, or 64 hexadecimal digits
    #[arg(long, env = "AGORA_SECRETS_KEY_FILE")]
    secrets_key_file: Option<PathBuf>,
    /// User that tasks run as whose app names none
    #[arg(long, env = "AGORA_MESOS_USER", default_value = "root")]
    mesos_user: String,
    /// How long tasks outlive the absence of every Marathon
    #[arg(long, env = "AGORA_FAILOVER_TIMEOUT", value_parser = parse_seconds, default_value = "604800")]
    failover_timeout: Duration,
    /// Where a person finds this Marathon; by default its own address
    #[arg(long, env = "AGORA_WEBUI_URL")]
    webui_url: Option<String>,
    /// How long a leading Marathon that is not heard of keeps the others waiting
    #[arg(long, env = "AGORA_LEADER_LEASE", value_parser = parse_duration, default_value = marathon::LEADER_LEASE_DEFAULT)]
    leader_lease: Duration,
    /// Whether tasks outlive a restart of their agent
    #[arg(long, env = "AGORA_CHECKPOINT", default_value_t = true, action = clap::ArgAction::Set)]
    checkpoint: bool,
    /// Roles whose resources apps take that do not say, with commas between them: * and the role
    /// of --mesos_role; both, if none is given
    #[arg(long, env = "AGORA_DEFAULT_ACCEPTED_RESOURCE_ROLES")]
    default_accepted_resource_roles: Option<String>,
    /// Whether new top-level groups have their apps run in the role of their name: off or top
    #[arg(long, env = "AGORA_NEW_GROUP_ENFORCE_ROLE", value_parser = ["off", "top"], default_value = "off")]
    new_group_enforce_role: String,
    /// What agents with GPUs are used for: restricted, for apps that want some only, or unrestricted; the
    /// label GPU_SCHEDULING_BEHAVIOR of an app says it for that one
    #[arg(long, env = "AGORA_GPU_SCHEDULING_BEHAVIOR",
          value_parser = ["restricted", "unrestricted"], default_value = "restricted")]
    gpu_scheduling_behavior: String,
    /// Names of features for clients that look for them in /v2/info, with commas between them
    #[arg(long, env = "AGORA_ENABLE_FEATURES")]
    enable_features: Option<String>,
    /// Launches on one offer
    #[arg(long, env = "AGORA_MAX_INSTANCES_PER_OFFER", default_value_t = 100)]
    max_instances_per_offer: usize,
    /// Launches in each --launch_token_refresh_interval; 0 sets no limit
    #[arg(long, env = "AGORA_LAUNCH_TOKENS", default_value_t = 0)]
    launch_tokens: usize,
    /// How long launch tokens last, in milliseconds
    #[arg(long, env = "AGORA_LAUNCH_TOKEN_REFRESH_INTERVAL", value_parser = parse_millis, default_value = "30000")]
    launch_token_refresh_interval: Duration,
    /// Least time between two requests for offers, in milliseconds
    #[arg(long, env = "AGORA_MIN_REVIVE_OFFERS_INTERVAL", value_parser = parse_millis, default_value = "100")]
    min_revive_offers_interval: Duration,
    /// Time between meeting the master and reconciling all tasks, in milliseconds
    #[arg(long, env = "AGORA_RECONCILIATION_INITIAL_DELAY", value_parser = parse_millis, default_value = "0")]
    reconciliation_initial_delay: Duration,
    /// Time between coming to lead and looking at every app anew, in milliseconds
    #[arg(long, env = "AGORA_SCALE_APPS_INITIAL_DELAY", value_parser = parse_millis, default_value = "15000")]
    scale_apps_initial_delay: Duration,
    /// Time between two looks at every app, in milliseconds
    #[arg(long, env = "AGORA_SCALE_APPS_INTERVAL", value_parser = parse_interval, default_value = "300000")]
    scale_apps_interval: Duration,
    /// Messages that may wait for one reader of events; one that is further behind is cut off
    #[arg(long, env = "AGORA_EVENT_STREAM_MAX_OUTSTANDING_MESSAGES", default_value_t = 1024)]
    event_stream_max_outstanding_messages: usize,
    /// Deployments that may run at once; what would be one more is answered with 403
    #[arg(long, env = "AGORA_MAX_RUNNING_DEPLOYMENTS", default_value_t = 10_000)]
    max_running_deployments: usize,
    /// How long an offer that was not used is not to come again, in milliseconds
    #[arg(long, env = "AGORA_DECLINE_OFFER_DURATION", value_parser = parse_millis, default_value = "120000")]
    decline_offer_duration: Duration,
    /// How long nothing may be heard of a launch, in milliseconds
    #[arg(long, env = "AGORA_TASK_LAUNCH_CONFIRM_TIMEOUT", value_parser = parse_millis, default_value = "300000")]
    task_launch_confirm_timeout: Duration,
    /// How long a task may take from staging to running, in milliseconds; what it downloads before does not count
    #[arg(long, env = "AGORA_TASK_LAUNCH_TIMEOUT", value_parser = parse_millis, default_value = "300000")]
    task_launch_timeout: Duration,
    /// How long nothing may be heard of a reservation before the master is asked what became of it, in
    /// milliseconds
    #[arg(long, env = "AGORA_TASK_RESERVATION_TIMEOUT", value_parser = parse_millis, default_value = "20000")]
    task_reservation_timeout: Duration,
    /// Of Marathon, and without effect: unreachableStrategy is kept to the second
    #[arg(long, env = "AGORA_TASK_LOST_EXPUNGE_INITIAL_DELAY", value_parser = parse_millis)]
    task_lost_expunge_initial_delay: Option<Duration>,
    /// Of Marathon, and without effect: unreachableStrategy is kept to the second
    #[arg(long, env = "AGORA_TASK_LOST_EXPUNGE_INTERVAL", value_parser = parse_millis)]
    task_lost_expunge_interval: Option<Duration>,
    /// Time between two reconciliations of all tasks, in milliseconds
    #[arg(long, env = "AGORA_RECONCILIATION_INTERVAL", value_parser = parse_interval, default_value = "600000")]
    reconciliation_interval: Duration,
    /// Lowest service port that is assigned
    #[arg(long, env = "AGORA_LOCAL_PORT_MIN", default_value_t = 10000)]
    local_port_min: u16,
    /// Highest service port that is assigned
    #[arg(long, env = "AGORA_LOCAL_PORT_MAX", default_value_t = 20000)]
    local_port_max: u16,
    /// Origins that browsers may call from, with commas between them; * means any
    #[arg(long, env = "AGORA_ACCESS_CONTROL_ALLOW_ORIGIN")]
    access_control_allow_origin: Option<String>,
}

/// Marathon's flags of time are plain numbers, here of milliseconds; a unit may be given.
fn parse_millis(text: &str) -> Result<Duration, model::units::BadUnit> {
    text.parse().map(Duration::from_millis).or_else(|_| parse_duration(text))
}

/// The same, of a time between two things, which cannot be nothing.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_millis(text).map_err(|bad| bad.to_string())?;
    if interval.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(interval) }
}

/// What stands between commas; nothing without a text.
fn list(text: Option<&str>) -> Vec<String> {
    text.map(addresses).unwrap_or_default()
}

/// The same in seconds.
fn parse_seconds(text: &str) -> Result<Duration, model::units::BadUnit> {
    text.parse().map(Duration::from_secs).or_else(|_| parse_duration(text))
}

/// The flags that were given and change nothing.
fn idle_flags(flags: &Conduct) -> impl Iterator<Item = &'static str> {
    [
        ("--task_lost_expunge_initial_delay", flags.task_lost_expunge_initial_delay),
        ("--task_lost_expunge_interval", flags.task_lost_expunge_interval),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|_| name))
}

impl Conduct {
    /// Sets these in `options`, and tells of those that change nothing.
    pub(crate) fn apply(self, options: &mut marathon::Options) {
        for flag in idle_flags(&self) {
            tracing::warn!(
                flag,
                "the flag changes nothing: unreachableStrategy is kept to the second"
            );
        }
        let base = std::mem::take(options);
        *options = marathon::Options {
            framework_name: self.framework_name,
            mesos_role: self.mesos_role,
            mesos_user: self.mesos_user,
            default_network_name: self.default_network_name,
            mesos_bridge_name: self.mesos_bridge_name,
            secrets_key_file: self.secrets_key_file,
            failover_timeout: self.failover_timeout,
            webui_url: self.webui_url,
            leader_lease: self.leader_lease,
            checkpoint: self.checkpoint,
            default_accepted_resource_roles: list(self.default_accepted_resource_roles.as_deref()),
            new_group_enforce_role: self.new_group_enforce_role == "top",
            gpus_are_kept: self.gpu_scheduling_behavior == "restricted",
            enable_features: list(self.enable_features.as_deref()),
            max_instances_per_offer: self.max_instances_per_offer,
            launch_tokens: self.launch_tokens,
            launch_token_refresh_interval: self.launch_token_refresh_interval,
            min_revive_offers_interval: self.min_revive_offers_interval,
            reconciliation_initial_delay: self.reconciliation_initial_delay,
            scale_apps_initial_delay: self.scale_apps_initial_delay,
            scale_apps_interval: self.scale_apps_interval,
            event_stream_max_outstanding_messages: self.event_stream_max_outstanding_messages,
            max_running_deployments: self.max_running_deployments,
            decline_offer_duration: self.decline_offer_duration,
            task_launch_confirm_timeout: self.task_launch_confirm_timeout,
            task_launch_timeout: self.task_launch_timeout,
            task_reservation_timeout: self.task_reservation_timeout,
            reconciliation_interval: self.reconciliation_interval,
            local_ports: (self.local_port_min, self.local_port_max),
            access_control_allow_origin: list(self.access_control_allow_origin.as_deref()),
            ..base
        };
    }
}

/// Runs Marathon until it is asked to end. Its tasks run on.
pub(crate) async fn run(flags: Flags) -> anyhow::Result<()> {
    let mut options = marathon::Options {
        masters: addresses(&flags.master),
        masters_file: flags.work_dir.as_deref().map(|dir| dir.join("masters")),
        http_address: flags.http_address,
        http_port: flags.http_port,
        hostname: flags.hostname,
        flags: super::flag_texts("marathon"),
        ..marathon::Options::default()
    };
    flags.conduct.apply(&mut options);
    let tls = flags.tls.start()?;
    flags.access.apply(&mut options, tls.as_ref())?;
    let mut running = marathon::start(options).await.context("Marathon cannot start")?;
    if let Some(dir) = &flags.work_dir {
        write_address(dir, running.address)?;
    }
    say_bound("marathon", tls.as_ref(), running.address);
    tokio::select! {
        asked = asked_to_end() => asked?,
        why = running.wait() => anyhow::bail!("Marathon cannot go on: {why}"),
    }
    running.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        conduct: Conduct,
    }

    #[test]
    fn without_flags_the_options_are_as_who_embeds_marathon_gets_them() {
        let line = Line::try_parse_from(["marathon"]).expect("a command line");
        let mut options = marathon::Options::default();
        line.conduct.apply(&mut options);
        assert_eq!(format!("{options:#?}"), format!("{:#?}", marathon::Options::default()));
    }

    #[test]
    fn each_flag_of_paces_is_handed_on() {
        let flags = [
            ("max_running_deployments", "7", "max_running_deployments: 7,"),
            ("max_instances_per_offer", "7", "max_instances_per_offer: 7,"),
            ("launch_tokens", "7", "launch_tokens: 7,"),
            ("launch_token_refresh_interval", "7000", "launch_token_refresh_interval: 7s,"),
            ("decline_offer_duration", "7000", "decline_offer_duration: 7s,"),
            ("min_revive_offers_interval", "7000", "min_revive_offers_interval: 7s,"),
            ("task_launch_timeout", "7000", "task_launch_timeout: 7s,"),
            ("task_launch_confirm_timeout", "7000", "task_launch_confirm_timeout: 7s,"),
            ("task_reservation_timeout", "7000", "task_reservation_timeout: 7s,"),
            ("reconciliation_initial_delay", "7000", "reconciliation_initial_delay: 7s,"),
            ("reconciliation_interval", "7000", "reconciliation_interval: 7s,"),
            ("scale_apps_initial_delay", "7000", "scale_apps_initial_delay: 7s,"),
            ("scale_apps_interval", "7000", "scale_apps_interval: 7s,"),
        ];
        for (flag, value, shown) in flags {
            let given = format!("--{}={value}", flag.replace('_', "-"));
            let line = Line::try_parse_from(["marathon", &given]).expect(flag);
            let mut options = marathon::Options::default();
            line.conduct.apply(&mut options);
            assert!(format!("{options:?}").contains(&format!(" {shown}")), "{flag}: {options:?}");
        }
    }

    #[test]
    fn flags_that_change_nothing_are_taken_and_told() {
        let told = |more: &[&str]| -> Vec<&str> {
            let line = ["marathon"].iter().chain(more);
            let line = Line::try_parse_from(line).expect("a command line");
            idle_flags(&line.conduct).collect()
        };
        assert_eq!(told(&["--reconciliation-interval=600000"]), [""; 0]);
        let both =
            ["--task-lost-expunge-initial-delay=300000", "--task-lost-expunge-interval=30000"];
        let names = ["--task_lost_expunge_initial_delay", "--task_lost_expunge_interval"];
        assert_eq!(told(&both), names);
        assert_eq!(told(&both[1..]), names[1..]);
    }
}
