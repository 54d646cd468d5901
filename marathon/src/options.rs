//! What Marathon is told when it starts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::units::parse_duration;
use transport::auth::Credentials;
use transport::identity::Identity;

/// [`Options::leader_lease`] unless somebody says otherwise, as flags have it: longer than an election of
/// the masters takes.
pub const LEADER_LEASE_DEFAULT: &str = "5secs";

/// Settings of one Marathon instance, already parsed. Names are those of Marathon's flags.
#[derive(Clone, Debug)]
pub struct Options {
    /// The masters, `host:port` each, in any order. At least one.
    pub masters: Vec<String>,
    /// File that keeps where the masters are from one start to the next. Absent: a start knows those in
    /// `masters` only.
    pub masters_file: Option<PathBuf>,
    /// What shows the masters who this is.
    pub identity: Identity,
    /// The principal of the framework (`--mesos_authentication_principal`). Absent: as the masters
    /// find it.
    pub principal: Option<String>,
    /// Who may use the API, with their secrets (`--http_credentials`). Absent: everybody.
    pub http_credentials: Option<Arc<Credentials>>,
    /// Address to listen on (`--http_address`).
    pub http_address: IpAddr,
    /// Port to listen on; 0 takes a free one (`--http_port`).
    pub http_port: u16,
    /// Name or address that other instances and clients reach this one by (`--hostname`). Absent:
    /// the address it listens on.
    pub hostname: Option<String>,
    /// Port that others reach this one by, if it is not the one it listens on.
    pub advertise_port: Option<u16>,
    /// Name of the framework, for people (`--framework_name`). Instances that share their state
    /// must agree on it: it is also the name the state is kept under.
    pub framework_name: String,
    /// The role apps run in that name none (`--mesos_role`).
    pub mesos_role: String,
    /// The user tasks run as whose app names none (`--mesos_user`).
    pub mesos_user: String,
    /// How long tasks outlive the absence of every instance (`--failover_timeout`).
    pub failover_timeout: Duration,
    /// Whether tasks outlive a restart of their agent (`--checkpoint`).
    pub checkpoint: bool,
    /// Where a person finds this Marathon (`--webui_url`). Absent: its own address.
    pub webui_url: Option<String>,
    /// The network that container networks without a name mean (`--default_network_name`).
    pub default_network_name: Option<String>,
    /// The network that bridges mean (`--mesos_bridge_name`).
    pub mesos_bridge_name: String,
    /// File with the key that secrets are sealed with (`--secrets_key_file`). Absent: there are none.
    /// Instances that share their state must have the same one.
    pub secrets_key_file: Option<PathBuf>,
    /// How long an instance keeps leading after it was last heard of by the masters. The others take
    /// over after that at the latest.
    pub leader_lease: Duration,
    /// Roles whose resources apps take that do not say (`--default_accepted_resource_roles`): `*` and
    /// `mesos_role`. Empty: both.
    pub default_accepted_resource_roles: Vec<String>,
    /// Whether new top-level groups enforce their role (`--new_group_enforce_role`).
    pub new_group_enforce_role: bool,
    /// Launches in each interval (`--launch_tokens`); 0 sets no limit.
    pub launch_tokens: usize,
    /// How long launch tokens last (`--launch_token_refresh_interval`).
    pub launch_token_refresh_interval: Duration,
    /// Time between meeting the master and reconciling (`--reconciliation_initial_delay`).
    pub reconciliation_initial_delay: Duration,
    /// Time between coming to lead and looking at every app (`--scale_apps_initial_delay`).
    pub scale_apps_initial_delay: Duration,
    /// Time between two looks at every app (`--scale_apps_interval`).
    pub scale_apps_interval: Duration,
    /// Whether agents with GPUs are kept for apps that want some, unless an app says otherwise
    /// (`--gpu_scheduling_behavior=restricted`).
    pub gpus_are_kept: bool,
    /// Names of features that `/v2/info` tells clients of (`--enable_features`).
    pub enable_features: Vec<String>,
    /// Deployments that may run at once (`--max_running_deployments`).
    pub max_running_deployments: usize,
    /// Launches on one offer (`--max_instances_per_offer`). As many as fit, within reason.
    pub max_instances_per_offer: usize,
    /// How long an offer that was not used is not to come again (`--decline_offer_duration`).
    pub decline_offer_duration: Duration,
    /// Least time between two requests for offers (`--min_revive_offers_interval`).
    pub min_revive_offers_interval: Duration,
    /// How long nothing may be heard of a launch (`--task_launch_confirm_timeout`).
    pub task_launch_confirm_timeout: Duration,
    /// How long nothing may be heard of a reservation (`--task_reservation_timeout`).
    pub task_reservation_timeout: Duration,
    /// How long a task may take from staging to running (`--task_launch_timeout`).
    pub task_launch_timeout: Duration,
    /// Time between two reconciliations of everything (`--reconciliation_interval`).
    pub reconciliation_interval: Duration,
    /// Service ports that are assigned, both ends included (`--local_port_min`, `--local_port_max`).
    pub local_ports: (u16, u16),
    /// Origins that browsers may call from (`--access_control_allow_origin`); `*` means any.
    pub access_control_allow_origin: Vec<String>,
    /// Messages that may wait for one reader of events
    /// (`--event_stream_max_outstanding_messages`).
    pub event_stream_max_outstanding_messages: usize,
    /// All flags as text, for `/v2/info`. Nothing secret may be in it.
    pub flags: BTreeMap<String, String>,
}

impl Options {
    /// Where a person or a client finds the instance at `address` (`host:port`).
    pub(crate) fn url(&self, address: &str) -> String {
        format!("{}://{address}", self.identity.scheme())
    }
}

impl Default for Options {
    /// On a free port of the loopback address, with a master on this machine.
    fn default() -> Self {
        let core = marathon_core::io::Config::default();
        Self {
            masters: vec!["127.0.0.1:5050".to_owned()],
            masters_file: None,
            identity: Identity::default(),
            principal: None,
            http_credentials: None,
            http_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            http_port: 0,
            hostname: None,
            advertise_port: None,
            framework_name: "marathon".to_owned(),
            mesos_role: core.role.to_string(),
            mesos_user: "root".to_owned(),
            failover_timeout: Duration::from_secs(604_800),
            checkpoint: true,
            webui_url: None,
            default_network_name: None,
            secrets_key_file: None,
            mesos_bridge_name: "mesos-bridge".to_owned(),
            leader_lease: parse_duration(LEADER_LEASE_DEFAULT).expect("a duration"),
            default_accepted_resource_roles: Vec::new(),
            new_group_enforce_role: core.enforces_new_groups,
            launch_tokens: core.launch_tokens,
            launch_token_refresh_interval: core.launch_token_interval,
            reconciliation_initial_delay: core.reconcile_delay,
            scale_apps_initial_delay: core.scale_delay,
            scale_apps_interval: core.scale_interval,
            gpus_are_kept: core.gpus_are_kept,
            enable_features: Vec::new(),
            max_running_deployments: core.deployments_max,
            max_instances_per_offer: core.instances_per_offer_max,
            decline_offer_duration: core.decline_for,
            min_revive_offers_interval: core.revive_interval,
            task_launch_confirm_timeout: core.launch_confirm_timeout,
            task_reservation_timeout: core.reservation_timeout,
            task_launch_timeout: core.launch_timeout,
            reconciliation_interval: core.reconcile_interval,
            local_ports: core.service_ports,
            access_control_allow_origin: Vec::new(),
            event_stream_max_outstanding_messages: 1_024,
            flags: BTreeMap::new(),
        }
    }
}
