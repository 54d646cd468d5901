//! Starting an agent, and ending it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_core::input::{Exit, Recovered};
use agent_core::record::Record;
use agent_core::{Agent, Config, Input, ReconfigurationPolicy};
use model::acl::Heeded;
use model::link::AgentDescription;
use model::resources::Resources;
use parking_lot::RwLock;
use proto::mesos::v1::AgentInfo;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transport::auth::{warn_of_open_doors, warn_of_vain_rules};
use transport::server::{BindError, Bound, Server};
use transport::tls::Tls;

use crate::api::{self, Api, Shared};
use crate::containerizer::{
    Containerizer, ContainerizerOptions, Isolation, NetworkOptions, XfsOptions,
};
use crate::containers::Containers;
use crate::description::{advertised, describe, description};
use crate::detect::Machine;
use crate::driver::{self, Ended, Shell, wall};
use crate::fetcher::{Fetcher, FetcherOptions};
use crate::gc;
use crate::handle::Handle;
use crate::images::{ImageMeters, Images, ImagesOptions};
use crate::launcher::Identity;
use crate::link::{self, Channels, Link};
use crate::meters::Meters;
use crate::mirror::Mirror;
use crate::options::{ImageSettings, Options, Recover, StartError};
use crate::persistent_volumes;
use crate::real::{Real, Surroundings};
use crate::runtime_dir;
use crate::secrets::Secrets;
use crate::simulated::{Imitation, Simulated};
use crate::socket;
use crate::store::Store;

/// The shortest wait before the agent asks a master again that took its question and has not
/// answered: it is busy, and asking more often makes it busier.
const ASK_AGAIN_MIN: Duration = Duration::from_secs(1);

/// How long the last messages may take to leave.
const GOODBYE: Duration = Duration::from_millis(500);

/// An agent that runs.
#[derive(Debug)]
pub struct Running {
    /// The address it listens on.
    pub address: SocketAddr,
    stop: CancellationToken,
    handle: Handle,
    ended: watch::Receiver<Option<String>>,
    tasks: Vec<JoinHandle<()>>,
    /// Keeps others from clearing away its runtime directory. Absent: it has none.
    _held: Option<fs::File>,
}

/// What becomes of tasks when an agent is stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopMode {
    /// They go on, and the next run of the agent takes them back.
    KeepTasks,
    /// They are ended, and the agent leaves the cluster.
    KillTasks,
}

impl Running {
    /// Completes when the agent cannot go on or is not to, with the reason. Until then it runs.
    pub async fn wait(&self) -> String {
        let mut ended = self.ended.clone();
        let fate = ended.wait_for(Option::is_some).await.map(|fate| fate.clone());
        fate.ok().flatten().unwrap_or_else(|| "the agent has been stopped".to_owned())
    }

    /// Stops the agent.
    pub async fn stop(self, mode: StopMode) {
        if mode == StopMode::KillTasks && self.handle.send(Input::StopAsked).await {
            self.wait().await;
        }
        self.stop.cancel();
        for task in self.tasks {
            // One that has panicked is over as well.
            let _ = task.await;
        }
    }
}

/// Starts an agent.
pub async fn start(options: Options) -> Result<Running, StartError> {
    let meters = Arc::<Meters>::default();
    crate::launcher::stay_small();
    transport::metrics::install();
    transport::install_tls_provider();
    let work_dir = directory(&options.work_dir, 0o755)?;
    let runtime_dir = options.runtime_dir.unwrap_or_else(|| runtime_dir::default_for(&work_dir));
    let held = runtime_dir::hold(&runtime_dir)
        .map_err(|source| StartError::WorkDir { path: runtime_dir.clone(), source })?;
    let mine = runtime_dir.clone();
    tokio::task::spawn_blocking(move || runtime_dir::clear_gone(&mine));
    let options = Options { work_dir: work_dir.clone(), runtime_dir: Some(runtime_dir), ..options };
    let machine = Machine::detect(&work_dir)?;
    if let Some(location) = &options.domain_socket_location {
        let failed = |why| StartError::Socket { location: location.clone(), why };
        socket::check(location).map_err(failed)?;
    }
    let bound = bind(&options).await?;
    // Executors have no certificates, but tokens.
    let bound = bound
        .with_tls(options.identity.tls().cloned())
        .open_without_certificate(&[api::EXECUTOR_PATH]);
    let address = advertised(&options, bound.local_addr());
    warn(&options, bound.local_addr().ip());
    let info = describe(&options, &machine, address)?;
    let description = description(&info, address);

    let meta = directory(&work_dir.join("meta"), 0o700)?;
    let (store, loaded) = Store::open(&meta.join("agent.redb"), &machine.boot_id)?;
    agent_core::check_made(&description.resources, &loaded.records).map_err(StartError::Made)?;
    let rebooted = loaded.boot_id.is_some_and(|before| before != machine.boot_id);
    let policy = options.reconfiguration_policy;
    let records = take_up(policy, &description, loaded.records, rebooted, &store)?;
    store.write(&[Record::Described(description.clone())])?;
    options.steps.reached("described");
    clear_leftovers(&work_dir, &description.resources, &records);

    let (handle, inputs) = Handle::new();
    let told = (meters.clone(), Arc::<ImageMeters>::default());
    let image_meters = told.1.clone();
    let real = Arc::new(real(&options, address, &description.resources, told)?);
    let containers: Arc<dyn Containers> = Arc::<Real>::clone(&real);
    let recovered = recover(&containers, records, rebooted, options.recover).await?;
    options.steps.reached("recovered");

    let slaves = directory(&work_dir.join("slaves"), 0o755)?;
    write_address(&work_dir, bound.local_addr())?;
    let mirror = Arc::new(RwLock::new(Mirror {
        completed_executors_max: options.max_completed_executors_per_framework,
        ..Mirror::default()
    }));
    let stop = CancellationToken::new();
    let shared = Shared {
        handle: handle.clone(),
        images: real.images().cloned(),
        mirror: mirror.clone(),
        containers: containers.clone(),
        real: Arc::clone(&real),
        meters: meters.clone(),
        image_meters,
        options: options.clone(),
        address,
        description: description.clone(),
        info: info.clone(),
        slaves,
        started_at: wall(),
        own_user: Identity::own_name(),
        stop: stop.clone(),
    };
    let api = Api { shared: Arc::new(shared) };
    let socket_dir = socket_dir(&options);
    let socket = socket::listen(&socket_dir)
        .map_err(|source| StartError::WorkDir { path: socket_dir, source })?;
    let local =
        tokio::spawn(transport::local::serve(socket, api::local_router(&api), stop.clone()));
    let served = tokio::spawn(bound.serve(api::router(&api), stop.clone()));
    let rules = gc::Rules {
        delay: options.gc_delay,
        headroom_milli: options.gc_disk_headroom_milli,
        interval: options.disk_watch_interval,
    };
    let kept = tokio::spawn(keep(real.images().cloned(), stop.clone()));
    let collected =
        tokio::spawn(gc::run(real, work_dir.clone(), rules, meters.clone(), stop.clone()));

    let shell = Shell {
        store,
        handle,
        link: Link::new(options.masters.clone(), options.registration_backoff_factor),
        containers,
        mirror,
        meters,
        info,
        secrets: Secrets { dir: options.secret_resolver.clone() },
        volumes: Some(work_dir),
        steps: options.steps.clone(),
        unwritten: Vec::new(),
    };
    let parts = Parts { config: config(&options, description), shell, recovered, inputs };
    let channels = Channels::new(options.identity);
    let mut running = run(parts, address, channels, stop).await;
    running.tasks.extend([served, local, kept, collected]);
    Ok(Running { _held: Some(held), ..running })
}

/// Warns of what is open to everybody who reaches `ip`, and of rules that do not do what they may seem to.
fn warn(options: &Options, ip: IpAddr) {
    let shut = &options.authentication;
    let all_shut = options.identity.requires_certificates();
    let doors = [
        ("read", all_shut || shut.readonly),
        ("change things", all_shut || shut.readwrite),
        ("speak for executors", shut.executors.is_some()),
    ];
    warn_of_open_doors("agent", ip, &doors, options.identity.tls().is_some());
    warn_of_vain_rules(&options.acls, |by| matches!(by, Heeded::ByAgents | Heeded::ByBoth));
    api::warn_of_kept_out_executors(options);
}

/// Keeps the images of an agent in order for as long as it runs.
async fn keep(images: Option<Images>, stop: CancellationToken) {
    if let Some(images) = images {
        images.run(stop).await;
    }
}

/// Starts an agent without a machine: its containers are imitated, it has no port and forgets
/// everything when it ends. `info` describes it; no two agents may claim one `address`. Many share
/// `channels`.
pub async fn start_simulated(
    info: AgentInfo,
    address: SocketAddr,
    masters: Vec<String>,
    imitation: Imitation,
    channels: Channels,
) -> Running {
    let options = Options::default();
    let description = description(&info, address);
    let (handle, inputs) = Handle::new();
    let containers: Arc<dyn Containers> = Arc::new(Simulated::new(handle.clone(), imitation));
    let shell = Shell {
        store: Store::Nowhere,
        handle,
        link: Link::new(masters, options.registration_backoff_factor),
        containers,
        mirror: Arc::default(),
        meters: Arc::default(),
        info,
        secrets: Secrets::default(),
        volumes: None,
        steps: options.steps.clone(),
        unwritten: Vec::new(),
    };
    let config = config(&options, description);
    let parts = Parts { config, shell, recovered: Recovered::default(), inputs };
    run(parts, address, channels, CancellationToken::new()).await
}

struct Parts {
    config: Config,
    shell: Shell,
    recovered: Recovered,
    inputs: tokio::sync::mpsc::Receiver<Input>,
}

/// Sets the loop going.
async fn run(
    parts: Parts,
    address: SocketAddr,
    channels: Channels,
    stop: CancellationToken,
) -> Running {
    let Parts { config, shell, recovered, inputs } = parts;
    let handle = shell.handle.clone();
    let alive = recovered.alive.clone();
    handle.send(Input::Recovered(recovered)).await;
    for container in alive {
        tokio::spawn(driver::watch(shell.containers.clone(), handle.clone(), container));
    }
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let linked =
        tokio::spawn(link::run(shell.link.clone(), handle.clone(), channels, stop.clone()));
    let (fate, ended) = watch::channel(None);
    let core = Agent::new(config, seed);
    let stopped = stop.clone();
    let driven = tokio::spawn(async move {
        let last = match driver::drive(core, inputs, shell, stopped).await {
            Ended::Stopped => "the agent has been stopped".to_owned(),
            Ended::Over(why) => {
                // The master should hear that the agent has left.
                tokio::time::sleep(GOODBYE).await;
                why
            }
            Ended::Failed(error) => {
                tracing::error!(%error, "the agent cannot go on");
                error.to_string()
            }
        };
        let _ = fate.send(Some(last));
    });
    Running { address, stop, handle, ended, tasks: vec![driven, linked], _held: None }
}

fn config(options: &Options, description: AgentDescription) -> Config {
    Config {
        description,
        executor_registration_timeout: options.executor_registration_timeout,
        executor_reregistration_timeout: options.executor_reregistration_timeout,
        executor_shutdown_grace_period: options.executor_shutdown_grace_period,
        registration_backoff_factor: options.registration_backoff_factor.max(ASK_AGAIN_MIN),
        acls: options.acls.clone(),
    }
}

/// Makes a directory and says where it really is.
fn directory(path: &Path, bits: u32) -> Result<PathBuf, StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(bits).create(path);
    made.and_then(|()| path.canonicalize())
        .map_err(|source| StartError::WorkDir { path: path.to_owned(), source })
}

/// Takes the port. Any free one is first of all that of the run before, if there was one: executors
/// of that run look for their agent there.
async fn bind(options: &Options) -> Result<Bound, BindError> {
    let before = fs::read_to_string(options.work_dir.join("address")).ok();
    let before = before.and_then(|text| text.trim().parse::<SocketAddr>().ok());
    if options.port == 0
        && let Some(before) = before
        && let Ok(bound) = Server::bind(SocketAddr::new(options.ip, before.port())).await
    {
        return Ok(bound);
    }
    Server::bind(SocketAddr::new(options.ip, options.port)).await
}

fn write_address(work_dir: &Path, address: SocketAddr) -> Result<(), StartError> {
    let path = work_dir.join("address");
    fs::write(&path, format!("{address}\n")).map_err(|source| StartError::WorkDir { path, source })
}

fn socket_dir(options: &Options) -> PathBuf {
    socket::dir(options.domain_socket_location.as_deref(), &runtime_dir(options))
}

fn runtime_dir(options: &Options) -> PathBuf {
    options.runtime_dir.clone().unwrap_or_else(|| runtime_dir::default_for(&options.work_dir))
}

/// How containers are isolated.
fn isolation(options: &Options) -> Result<Isolation, StartError> {
    let isolation = match &options.isolation {
        // A directory of networks is of no use without what joins containers to them.
        Some(names) if options.network_cni_config_dir.is_some() => {
            Isolation::parse(&format!("{names},network/cni"))?
        }
        Some(names) => Isolation::parse(names)?,
        None => Isolation::default_here(),
    };
    if isolation.names().contains(&"namespaces/ipc") && options.work_dir.starts_with("/dev/shm") {
        return Err(StartError::Hidden { path: options.work_dir.clone() });
    }
    Ok(isolation)
}

fn real(
    options: &Options,
    address: SocketAddr,
    offered: &Resources,
    (meters, image_meters): (Arc<Meters>, Arc<ImageMeters>),
) -> Result<Real, StartError> {
    let mut ports = options.ports.clone();
    if options.check_agent_port_range_only {
        ports.only = Some(offered.ranges("ports"));
    }
    let runtime_dir = runtime_dir(options);
    let socket_dir = socket_dir(options);
    let isolation = isolation(options)?;
    let cache_dir = options.fetcher_cache_dir.clone();
    // A directory of its own, since it is emptied.
    let cache_dir = cache_dir.unwrap_or_else(|| options.work_dir.join("fetch")).join("cache");
    let cache_dir = std::path::absolute(&cache_dir).unwrap_or(cache_dir);
    let settings = options.images.clone();
    let has_mounts = isolation.names().contains(&"filesystem/linux");
    // Nobody could give them their files.
    let settings = settings.filter(|_| has_mounts);
    let store_dir = settings.as_ref().and_then(|settings| settings.store_dir.clone());
    let store_dir = store_dir.unwrap_or_else(|| options.work_dir.join("store/docker"));
    let store_dir = std::path::absolute(&store_dir).unwrap_or(store_dir);
    let containerizer = Containerizer::new(ContainerizerOptions {
        isolation,
        cgroups_hierarchy: options.cgroups_hierarchy.clone(),
        cgroups_root: options.cgroups_root.clone(),
        cgroups_enable_cfs: options.cgroups_enable_cfs,
        capabilities_bounding: options.bounding_capabilities,
        capabilities_effective: options.effective_capabilities,
        allowed_devices: options.allowed_devices.clone(),
        enforce_disk: options.enforce_container_disk_quota,
        disk_watch_interval: options.container_disk_watch_interval,
        xfs: XfsOptions {
            places: persistent_volumes::roots(&options.work_dir, offered).collect(),
            range: options.xfs_project_range.clone(),
            kills: options.xfs_kill_containers,
        },
        logs: options.container_logs,
        gpus: options.gpus.clone(),
        ports,
        sharing: options.sharing,
        networks: NetworkOptions {
            config_dir: options.network_cni_config_dir.clone(),
            plugins_dirs: options.network_cni_plugins_dirs.clone(),
            dns: options.default_container_dns.clone(),
            root_dir: options
                .network_cni_root_dir_persist
                .then(|| options.work_dir.join("isolators/network/cni")),
        },
        // The agent's records and the downloads of others are nobody's matter in there.
        hidden: persistent_volumes::places(&options.work_dir, offered)
            .into_iter()
            .chain([
                options.work_dir.join("meta"),
                options.work_dir.join("provisioner"),
                cache_dir.clone(),
                store_dir.clone(),
            ])
            .collect(),
        provisioner_dir: options.work_dir.join("provisioner"),
        steps: options.steps.clone(),
        ..ContainerizerOptions::new(runtime_dir.clone(), options.launcher.clone())
    })?;
    let open = |settings: ImageSettings| {
        Images::open(ImagesOptions {
            store_dir,
            registries: settings.registries,
            ignore_runtime: settings.ignore_runtime,
            stall_timeout: options.fetcher_stall_timeout,
            in_use: Arc::new(move || Containerizer::layers_in_use(&runtime_dir)),
            collection: settings.collection,
            meters: image_meters,
        })
    };
    let images = settings.clone().map(open).transpose()?;
    let ca = options.identity.tls().map(Tls::ca);
    let ca = ca.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let around = Surroundings {
        work_dir: options.work_dir.clone(),
        address,
        secrets: Secrets { dir: options.secret_resolver.clone() },
        socket_dir,
        recovery_timeout: options.recovery_timeout,
        executor_shutdown_grace_period: options.executor_shutdown_grace_period,
        executor_reregistration_timeout: options.executor_reregistration_timeout,
        ca,
        token_key: options.authentication.executors.clone(),
        docker_containers: settings.as_ref().is_some_and(|it| it.docker_containers),
        has_mounts,
        sockets_for_all: options.http_executor_domain_sockets,
        acls: options.acls.clone(),
        switch_user: options.switch_user && nix::unistd::geteuid().is_root(),
    };
    let fetcher = Fetcher::new(FetcherOptions {
        stall_timeout: options.fetcher_stall_timeout,
        cache_dir: Some(cache_dir.clone()),
        cache_bytes_max: options.fetcher_cache_size,
        ..FetcherOptions::default()
    })
    .map_err(|source| StartError::WorkDir { path: cache_dir, source })?;
    Ok(Real::new(containerizer, fetcher, images, around, meters))
}

/// Has what removed volumes left behind deleted, while the agent goes on.
fn clear_leftovers(work_dir: &Path, total: &Resources, records: &[Record]) {
    let doomed: Vec<_> = records.iter().filter_map(Record::doomed).map(|it| it.operation).collect();
    let (work_dir, total) = (work_dir.to_owned(), total.clone());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = persistent_volumes::purge_leftovers(&work_dir, &total, &doomed) {
            tracing::warn!(%error, "what removed volumes left behind was not deleted");
        }
    });
}

/// The records, if an agent of this description is still the one that they are of. After a boot, which
/// nothing has outlived, it may begin anew.
fn take_up(
    policy: ReconfigurationPolicy,
    now: &AgentDescription,
    records: Vec<Record>,
    rebooted: bool,
    store: &Store,
) -> Result<Vec<Record>, StartError> {
    let Err(why) = agent_core::check_reconfigured(policy, now, &records) else {
        return Ok(records);
    };
    match agent_core::begun_anew(&records).filter(|_| rebooted) {
        Some(forgotten) => {
            tracing::warn!(
                %why,
                "the machine was booted anew and is not what it was: this becomes a new agent"
            );
            store.write(&forgotten)?;
            Ok(Vec::new())
        }
        None => Err(StartError::Reconfigured(why)),
    }
}

/// Finds out what has become of the executors in the records.
async fn recover(
    containers: &Arc<dyn Containers>,
    records: Vec<Record>,
    rebooted: bool,
    mode: Recover,
) -> Result<Recovered, StartError> {
    let known = records.iter().filter_map(Record::executor);
    let known: Vec<_> = known.map(|executor| executor.container.clone()).collect();
    let found = containers.recover(known).await.map_err(StartError::Recover)?;
    let mut exited: Vec<(model::ids::ContainerId, Exit)> = Vec::new();
    for container in found.ended {
        let exit = containers.wait(container.clone()).await;
        exited.push((container, exit));
    }
    let mut alive = found.alive;
    if mode == Recover::Cleanup {
        for container in alive.drain(..) {
            containers.destroy(container).await;
        }
    }
    Ok(Recovered { records, alive, exited, rebooted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::record::Identity;
    use model::ids::{AgentId, Term};

    fn described(cpus: f64) -> AgentDescription {
        let json = serde_json::json!({
            "hostname": "h",
            "resources": [{ "name": "cpus", "type": "SCALAR", "scalar": { "value": cpus } }],
        });
        let info = proto::json::from_slice(json.to_string().as_bytes()).expect("well formed");
        description(&info, SocketAddr::from(([10, 0, 0, 1], 5051)))
    }

    #[test]
    fn a_machine_that_was_rebuilt_becomes_a_new_agent_unless_something_was_made_of_the_old_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _) = Store::open(&dir.path().join("store"), "boot-1").expect("a new store");
        let (before, now) = (described(4.0), described(2.0));
        let identity = Identity { agent: AgentId::new("a").expect("an id"), term: Term(1) };
        let mut records = vec![Record::Described(before.clone()), Record::Identity(identity)];
        store.write(&records).expect("room on the disk");
        let policy = ReconfigurationPolicy::Equal;
        let taken_up = |now, records: &[Record], rebooted| {
            take_up(policy, now, records.to_vec(), rebooted, &store)
        };
        assert_eq!(taken_up(&before, &records, true).expect("it is the same"), records);
        let refused = taken_up(&now, &records, false).expect_err("tasks may run here");
        assert!(refused.to_string().contains("additive"), "{refused}");
        assert_eq!(taken_up(&now, &records, true).expect("it begins anew"), []);

        records.push(Record::Made(before.resources.clone()));
        assert!(taken_up(&now, &records, true).is_err(), "reservations are not given up unasked");
        drop(store);
        let (_, loaded) = Store::open(&dir.path().join("store"), "boot-2").expect("the store");
        assert_eq!(loaded.records, []);
    }
}
