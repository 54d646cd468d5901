//! Starting and stopping one instance.

use std::net::SocketAddr;
use std::sync::Arc;

use framework_sdk::builders;
use framework_sdk::masters_file::MastersFile;
use framework_sdk::store::StoreClient;
use marathon_core::Marathon;
use marathon_core::io::Config;
use marathon_core::view::View;
use model::role::Role;
use proto::mesos::v1::{FrameworkInfo, framework_info};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transport::auth::warn_of_open_doors;
use transport::rendering::Renderers;
use transport::server::{BindError, Server};

use crate::api::{self, Shared};
use crate::clock::Clock;
use crate::driver::{self, Parts};
use crate::election::Election;
use crate::events::Bus;
use crate::masters::Masters;
use crate::options::Options;
use crate::prober::Prober;
use crate::published::Publisher;
use crate::vault::{KeyError, Vault};

/// Features that clients may be told of. All of them are there, whether they are told of or not.
const FEATURES: [&str; 6] =
    ["external_volumes", "gpu_resources", "maintenance_mode", "secrets", "task_killing", "vips"];

/// Why an instance cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The key for secrets cannot be had.
    #[error("--secrets_key_file: {0}")]
    Key(#[from] KeyError),
    /// The system gives us no thread.
    #[error("no thread can be started: {0}")]
    Thread(#[source] std::io::Error),
    /// A flag means nothing.
    #[error("{0}")]
    Flag(String),
}

/// An instance that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    driver: JoinHandle<()>,
    election: JoinHandle<()>,
    served: JoinHandle<()>,
}

impl Running {
    /// Completes when the instance cannot go on, with the reason. Until then it runs.
    pub async fn wait(&mut self) -> String {
        match (&mut self.driver).await {
            Ok(()) => "marathon has been stopped".to_owned(),
            Err(error) => format!("marathon has failed: {error}"),
        }
    }

    /// Ends it in good order: the lease is given back, so that another instance leads at once, and
    /// the tasks run on.
    pub async fn stop(self) {
        self.stop.cancel();
        if !self.driver.is_finished() {
            let _ = self.driver.await;
        }
        let _ = self.election.await;
        let _ = self.served.await;
    }
}

/// Starts an instance. It serves once it or another one leads; the masters may come up later.
pub async fn start(options: Options) -> Result<Running, StartError> {
    if options.masters.is_empty() {
        return Err(StartError::Flag("--master must name at least one master".to_owned()));
    }
    let role = Role::new(options.mesos_role.as_str())
        .map_err(|why| StartError::Flag(format!("--mesos_role: {why}")))?;
    let known = ["*", role.as_str()];
    let accepted = options.default_accepted_resource_roles.iter();
    if let Some(other) = accepted.clone().find(|it| !known.contains(&it.as_str())) {
        let why = format!(
            "--default_accepted_resource_roles: '{other}' is neither '*' nor the --mesos_role, '{role}'"
        );
        return Err(StartError::Flag(why));
    }
    if let Some(other) = options.enable_features.iter().find(|it| !FEATURES.contains(&it.as_str()))
    {
        let known = FEATURES.join(", ");
        let why = format!("--enable_features: '{other}' is not one of {known}");
        return Err(StartError::Flag(why));
    }
    numbers(&options)?;
    let vault = options.secrets_key_file.as_deref().map(Vault::of_file).transpose()?;
    let vault = vault.map(Arc::new);
    transport::metrics::install();
    transport::install_tls_provider();
    let bound = Server::bind(SocketAddr::new(options.http_address, options.http_port)).await?;
    let bound = bound.with_tls(options.identity.tls().cloned());
    let address = bound.local_addr();
    let is_shut = options.identity.requires_certificates() || options.http_credentials.is_some();
    let (doors, is_tls) = ([("run and end apps", is_shut)], options.identity.tls().is_some());
    warn_of_open_doors("Marathon", address.ip(), &doors, is_tls);
    let own = advertised(&options, address);

    let stop = CancellationToken::new();
    let file = options.masters_file.clone();
    let file = file.map(|path| MastersFile::new(path, options.masters.clone()));
    let masters = file.as_ref().map_or_else(|| options.masters.clone(), MastersFile::masters);
    let store =
        StoreClient::identified(masters, options.framework_name.clone(), options.identity.clone());
    if let Some(file) = file {
        // It ends with the last client of the store.
        tokio::spawn(file.follow(store.watch_masters()));
    }
    let (election, candidate) =
        Election::new(store.clone(), own.clone(), options.leader_lease, stop.clone());
    let publisher = Publisher::new(View::new(options.mesos_role.as_str().into()));
    let view = publisher.reader();
    let bus = Bus::start(options.event_stream_max_outstanding_messages);
    let asked = Arc::new(Masters::new(store.clone(), &options.identity));
    let (requests, driver) = driver::start(Parts {
        core: Marathon::new(config(&options)),
        clock: Clock::start(),
        publisher,
        bus: bus.clone(),
        store,
        candidate: candidate.clone(),
        prober: Prober::new(),
        masters: asked.clone(),
        identity: options.identity.clone(),
        framework: framework(&options, &own),
        role,
        vault: vault.clone(),
        bridge: options.mesos_bridge_name.clone(),
        stop: stop.clone(),
    });
    let election = tokio::spawn(election.run());
    let http = api::client(&options.identity);
    let renderers = Renderers::start().map_err(StartError::Thread)?;
    let shared = Shared {
        own,
        options,
        view,
        candidate,
        requests,
        bus,
        vault,
        http,
        masters: asked,
        renderers,
    };
    let router = api::router(Arc::new(shared));
    let served = tokio::spawn(bound.serve(router, stop.clone()));
    Ok(Running { address, stop, driver, election, served })
}

/// Where others reach this instance: `host:port`.
fn advertised(options: &Options, bound: SocketAddr) -> String {
    let port = options.advertise_port.unwrap_or(bound.port());
    match &options.hostname {
        Some(hostname) => format!("{hostname}:{port}"),
        // Nobody can connect to the address that means all of them.
        None if bound.ip().is_unspecified() => format!("127.0.0.1:{port}"),
        None => SocketAddr::new(bound.ip(), port).to_string(),
    }
}

fn config(options: &Options) -> Config {
    let accepted = &options.default_accepted_resource_roles;
    Config {
        seed: uuid::Uuid::new_v4().as_u64_pair().0,
        role: options.mesos_role.as_str().into(),
        default_network: options.default_network_name.as_deref().map(Arc::from),
        gpus_are_kept: options.gpus_are_kept,
        decline_for: options.decline_offer_duration,
        revive_interval: options.min_revive_offers_interval,
        launch_confirm_timeout: options.task_launch_confirm_timeout,
        reservation_timeout: options.task_reservation_timeout,
        launch_timeout: options.task_launch_timeout,
        accepted_roles: accepted.iter().map(|role| Arc::from(role.as_str())).collect(),
        enforces_new_groups: options.new_group_enforce_role,
        launch_tokens: options.launch_tokens,
        launch_token_interval: options.launch_token_refresh_interval,
        reconcile_delay: options.reconciliation_initial_delay,
        scale_delay: options.scale_apps_initial_delay,
        scale_interval: options.scale_apps_interval,
        reconcile_interval: options.reconciliation_interval,
        deployments_max: options.max_running_deployments,
        instances_per_offer_max: options.max_instances_per_offer,
        service_ports: options.local_ports,
        ..Config::default()
    }
}

/// Refuses numbers with which nothing would ever be launched, or no port assigned.
fn numbers(options: &Options) -> Result<(), StartError> {
    let (lowest, highest) = options.local_ports;
    if lowest > highest {
        let why = format!("--local_port_min: {lowest} is above the --local_port_max, {highest}");
        return Err(StartError::Flag(why));
    }
    if options.max_instances_per_offer == 0 {
        return Err(StartError::Flag("--max_instances_per_offer must be at least 1".to_owned()));
    }
    Ok(())
}

fn framework(options: &Options, own: &str) -> FrameworkInfo {
    let info =
        builders::framework(&options.framework_name, &options.mesos_user, options.failover_timeout);
    let able = [
        framework_info::capability::Type::RegionAware,
        framework_info::capability::Type::GpuResources,
    ];
    let able = able.map(|able| framework_info::Capability { r#type: Some(able.into()) });
    let capabilities = info.capabilities.into_iter().chain(able).collect();
    let webui = options.webui_url.clone().unwrap_or_else(|| options.url(own));
    FrameworkInfo {
        roles: vec![options.mesos_role.clone()],
        checkpoint: Some(options.checkpoint),
        principal: options.principal.clone(),
        hostname: own.rsplit_once(':').map(|(host, _)| host.to_owned()),
        webui_url: Some(webui),
        // Apps that name no region are kept where the master is by ourselves, and those that want no GPU
        // from agents that have some.
        capabilities,
        ..info
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_core_is_told_what_options_say_of_its_pace() {
        let secs = Duration::from_secs;
        let options = Options {
            decline_offer_duration: secs(1),
            min_revive_offers_interval: secs(2),
            task_launch_confirm_timeout: secs(3),
            task_reservation_timeout: secs(4),
            task_launch_timeout: secs(5),
            launch_token_refresh_interval: secs(6),
            reconciliation_initial_delay: secs(7),
            scale_apps_initial_delay: secs(8),
            scale_apps_interval: secs(9),
            reconciliation_interval: secs(10),
            launch_tokens: 11,
            max_running_deployments: 12,
            max_instances_per_offer: 13,
            ..Options::default()
        };
        let config = config(&options);
        let times = [
            config.decline_for,
            config.revive_interval,
            config.launch_confirm_timeout,
            config.reservation_timeout,
            config.launch_timeout,
            config.launch_token_interval,
            config.reconcile_delay,
            config.scale_delay,
            config.scale_interval,
            config.reconcile_interval,
        ];
        assert_eq!(times.map(|time| time.as_secs()), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let counts = [config.launch_tokens, config.deployments_max, config.instances_per_offer_max];
        assert_eq!(counts, [11, 12, 13]);
    }

    #[tokio::test]
    async fn numbers_that_let_nothing_be_done_are_refused_by_name() {
        let ports = Options { local_ports: (20_000, 10_000), ..Options::default() };
        let none = Options { max_instances_per_offer: 0, ..Options::default() };
        for (options, why) in [
            (ports, "--local_port_min: 20000 is above the --local_port_max, 10000"),
            (none, "--max_instances_per_offer must be at least 1"),
        ] {
            let refused = start(options).await.err().expect("a refusal");
            assert_eq!(refused.to_string(), why);
        }
        let one = Options { local_ports: (10_000, 10_000), ..Options::default() };
        assert!(numbers(&one).is_ok(), "one port is a range");
    }
}
