//! Starting and stopping a master.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use master_core::{Config, Input, Master};
use model::acl::Heeded;
use model::role::Role;
use model::rules::Weight;
use model::search::Masters;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transport::auth::{warn_of_open_doors, warn_of_vain_rules};
use transport::rendering::Renderers;
use transport::server::{BindError, Server};

use crate::api::{self, Shared};
use crate::driver::Driver;
use crate::facts::{Facts, wall_clock};
use crate::gate::Gate;
use crate::leadership::{Leadership, Standing};
use crate::links::Links;
use crate::meters::Meters;
use crate::options::Options;
use crate::raft::{self, Join, RaftError, RaftOptions};
use crate::registry::{Applied, Machine, Proposer, tell, to_driver};
use crate::turns::Turns;
use crate::view::View;
use crate::whitelist;

/// Why a master cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The work directory cannot be used.
    #[error("cannot write to the work directory {}; give another with --work_dir", path.display())]
    WorkDir {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A flag means nothing.
    #[error("{0}")]
    Flag(String),
    /// The whitelist cannot be read.
    #[error("cannot read the whitelist {}; see --whitelist", path.display())]
    Whitelist {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log cannot be opened or joined.
    #[error(transparent)]
    Raft(#[from] RaftError),
    /// The system gives us no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// A master that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    leadership: watch::Receiver<Leadership>,
    stop: CancellationToken,
    raft: raft::Handle,
    served: JoinHandle<()>,
    ended: oneshot::Receiver<String>,
}

impl Running {
    /// Who leads, as this master knows it. Changes can be waited for.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Completes when the master cannot go on, with the reason. Until then it runs.
    pub async fn wait(&mut self) -> String {
        (&mut self.ended).await.unwrap_or_else(|_| "the master has been stopped".to_owned())
    }

    /// Ends it in good order: streams are closed, calls under way are answered, the log is written.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.served.await;
        self.raft.stop().await;
    }
}

/// Starts a master. It serves once it or another one leads.
pub async fn start(options: Options) -> Result<Running, StartError> {
    transport::metrics::install();
    transport::install_tls_provider();
    let started_at = wall_clock();
    let bound = Server::bind(SocketAddr::new(options.ip, options.port)).await?;
    let bound = bound.with_tls(options.identity.tls().cloned());
    let address = bound.local_addr();
    warn_of_open(&options, address);
    // One file may be for agents too.
    warn_of_vain_rules(&options.acls, |by| by != Heeded::Nowhere);
    let facts = Facts::new(&options, options.advertised(address), started_at);
    write_address(&options, address)?;
    let listed = options.whitelist.clone().map(|path| match whitelist::read(&path) {
        Ok(hosts) => Ok((path, hosts)),
        Err(source) => Err(StartError::Whitelist { path, source }),
    });
    let listed = listed.transpose()?;

    let meters = Arc::<Meters>::default();
    let (to_driver, from_log) = to_driver();
    let applied = Applied::default();
    let machine = Machine::new(applied.clone(), to_driver.clone());
    let own = own_address(&options, &facts, address);
    let raft_dir = options.work_dir.join("raft");
    let others: Vec<_> = options.join.iter().filter(|one| **one != own).cloned().collect();
    let (leadership_told, leadership) = watch::channel(Leadership::Electing);
    let gate = Gate::new(leadership.clone());
    let raft_options = RaftOptions {
        peers: options.peers.clone(),
        join: joining(&options, &others, &raft_dir).await?,
        identity: options.identity.clone(),
        gate: gate.clone(),
        ..RaftOptions::new(raft_dir, own.clone())
    };
    let log = to_driver.clone();
    let reading = Instant::now();
    let (raft, raft_services) =
        raft::start(raft_options, machine, move |event| tell(&to_driver, event))?;
    meters.state_fetch.record(reading.elapsed());

    let stop = CancellationToken::new();
    let standing = Standing::new(leadership.clone(), Arc::new(raft.clone()), gate);
    let (masters_told, masters) = watch::channel(Masters::default());
    let view = Arc::new(View::default());
    let proposer = Proposer::new(raft.clone(), applied, meters.clone());
    let driver = Driver {
        core: Master::new(config(&options)?),
        view: view.clone(),
        proposer: proposer.clone(),
        from_log,
        leadership: leadership_told,
        standing: standing.clone(),
        public_address: facts.public_address().into(),
        masters: masters_told,
        meters: meters.clone(),
        stop: stop.clone(),
    };
    let (handle, ended) = driver.start().map_err(StartError::Thread)?;
    if let Some((path, hosts)) = listed {
        handle.tell(Input::SetWhitelist(Some(hosts.clone()))).await;
        tokio::spawn(whitelist::watch(path, hosts, handle.clone(), stop.clone()));
    }
    let links = Links {
        driver: handle.clone(),
        standing: standing.clone(),
        acls: options.acls.clone(),
        meters: meters.clone(),
        stop: stop.clone(),
    };
    let shared = Arc::new(Shared {
        acls: options.acls.clone(),
        facts,
        view,
        driver: handle,
        proposer,
        standing,
        masters,
        meters,
        log,
        tells_of_frameworks: options.publish_per_framework_metrics,
        turns: Turns::new(options.rate_limits.clone()),
        renderers: Renderers::start().map_err(StartError::Thread)?,
        subscribers: api::Subscribers::new(options.max_operator_event_stream_subscribers),
        stop: stop.clone(),
    });
    api::warn_of_strange_paths(&options.firewall);
    let router = api::router(
        &shared,
        links,
        raft_services.into_routes(),
        &options.authentication,
        &options.firewall,
    );
    let served = tokio::spawn(bound.serve(router, stop.clone()));
    if !options.join.is_empty() {
        let joined = raft::ask_to_be_added(raft.clone(), own, others, options.identity);
        tokio::spawn(stop.clone().run_until_cancelled_owned(joined));
    }
    Ok(Running { address, leadership, stop, raft, served, ended })
}

/// Says what anybody may do who reaches the port, unless only this machine does.
fn warn_of_open(options: &Options, address: SocketAddr) {
    let shut = &options.authentication;
    let all_shut = options.identity.requires_certificates();
    let doors = [
        ("subscribe frameworks", all_shut || shut.frameworks),
        ("read", all_shut || shut.readonly),
        ("change things", all_shut || shut.readwrite),
        ("register agents", all_shut || shut.agents),
        ("take part as a master", all_shut || shut.masters),
    ];
    warn_of_open_doors("master", address.ip(), &doors, options.identity.tls().is_some());
}

/// Tells scripts where the master listens, above all when it chose the port itself.
fn write_address(options: &Options, address: SocketAddr) -> Result<(), StartError> {
    let path = &options.work_dir;
    let written = std::fs::create_dir_all(path)
        .and_then(|()| std::fs::write(path.join("address"), format!("{address}\n")));
    written.map_err(|source| StartError::WorkDir { path: path.clone(), source })
}

/// What is to be known of the cluster that this master joins, if it does. Waits for one of the
/// `others` to answer when it starts for the first time, and only then.
async fn joining(
    options: &Options,
    others: &[String],
    raft_dir: &Path,
) -> Result<Option<Join>, StartError> {
    let flag = |text: &str| Err(StartError::Flag(text.to_owned()));
    if options.join.is_empty() {
        return Ok(None);
    }
    if !options.peers.is_empty() {
        return flag("--join is for a new master, --peers for those that begin together: give one");
    }
    if options.port == 0 {
        return flag("a master that joins others needs a port of its own: give --port");
    }
    if raft::has_begun(raft_dir) {
        return Ok(Some(Join { cluster_id: None }));
    }
    if others.is_empty() {
        return flag("--join names nobody but this master itself");
    }
    Ok(Some(Join { cluster_id: Some(raft::ask_cluster(others, &options.identity).await) }))
}

/// The name by which the others know this master: the one among the peers that it can be.
fn own_address(options: &Options, facts: &Facts, bound: SocketAddr) -> String {
    let known = [facts.address.to_string(), facts.public_address(), bound.to_string()];
    let own = known.iter().find(|address| options.peers.contains(address));
    own.unwrap_or(&known[0]).clone()
}

fn config(options: &Options) -> Result<Config, StartError> {
    let role =
        |name: &String| Role::new(name.as_str()).map_err(|bad| StartError::Flag(bad.to_string()));
    let mut weights = std::collections::BTreeMap::new();
    for (name, weight) in &options.weights {
        let bad = || StartError::Flag(format!("the weight of role '{name}' must be above zero"));
        weights.insert(role(name)?, Weight::from_f64(*weight).ok_or_else(bad)?);
    }
    let roles = match &options.roles {
        Some(names) => Some(names.iter().map(role).collect::<Result<_, _>>()?),
        None => None,
    };
    let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
    Ok(Config {
        agent_ping_timeout: options.agent_ping_timeout,
        agent_ping_misses_max: options.max_agent_ping_timeouts,
        agent_reregister_timeout: options.agent_reregister_timeout,
        recovery_agent_removal_limit: options.recovery_agent_removal_limit,
        allocator_agent_recovery_factor: options.allocator_agent_recovery_factor,
        allocator_recovery_timeout: options.allocator_recovery_timeout,
        agent_removal_rate: options.agent_removal_rate,
        registry_gc_interval: options.registry_gc_interval,
        registry_agent_age_max: options.registry_max_agent_age,
        registry_agent_count_max: options.registry_max_agent_count,
        require_agent_domain: options.require_agent_domain,
        offer_timeout: options.offer_timeout,
        allocation_interval: options.allocation_interval,
        allocation_batching: options.allocation_batch,
        roles,
        weights,
        completed_frameworks_max: options.max_completed_frameworks,
        completed_tasks_max: options.max_completed_tasks_per_framework,
        unreachable_tasks_max: options.max_unreachable_tasks_per_framework,
        min_allocatable: options.min_allocatable.clone(),
        fair_sharing_excluded: options.fair_sharing_excluded.clone(),
        filter_gpu_resources: options.filter_gpu_resources,
        role_sorter: options.role_sorter,
        framework_sorter: options.framework_sorter,
        domain: options.domain.clone(),
        offer_constraints_pattern_bytes_max: options.offer_constraints_pattern_bytes_max,
        root_submissions: options.root_submissions,
        acls: options.acls.clone(),
        seed,
        ..Config::default()
    })
}
