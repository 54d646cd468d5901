//! Containers: launched, watched, found again after a restart, and cleared away.
//!
//! A container is a command with its processes, set apart by a list of isolators. Its launcher
//! ([`crate::launcher`]) is its parent and outlives the agent, so nothing here is lost with this
//! process: what is needed to find a container again lies in the runtime directory, one directory a
//! container. What runs there is decided elsewhere.
//!
//! A launch is a list of steps (record, isolators in order, launcher), and destroying undoes them
//! in reverse, however many were done. When a command ends by itself, all of it is undone at once.

mod capabilities;
mod cgroups;
mod cni;
mod devices;
mod disk;
mod dns;
mod filesystem;
mod following;
mod gpus;
mod isolation;
mod isolator;
mod launchers;
mod logs;
mod namespaces;
mod nested;
mod nnp;
mod options;
mod outcome;
mod persistent;
mod ports;
mod posix;
mod rlimits;
mod rootfs;
mod seccomp;
mod secrets;
mod spec;
mod supervise;
mod terminals;
mod turns;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::amount::Ranges;
use model::ids::ContainerId;
use parking_lot::Mutex;
use proto::mesos::v1::NetworkInfo;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::cgroups::{Access, AllowedDevice, BadDevices, DeviceKind};
pub use self::disk::{BadProjects, ProjectRange, XfsOptions};
pub use self::dns::{BadDns, ContainerDns, Dns};
pub use self::following::Following;
pub use self::gpus::GpuOptions;
pub use self::isolation::{
    DEFAULT_ROOT, DEFAULT_UNPRIVILEGED, Isolation, IsolationError, NAMES, NoController,
    UnknownIsolator,
};
use self::isolator::{Container, Isolator, LayeredVolume};
pub use self::isolator::{Step, StepError};
use self::launchers::{Launchers, OwnLauncher};
pub use self::logs::LogLimits;
pub use self::nested::{KillError, NoPlace, Outer};
pub use self::options::{NETWORK_PLUGINS_DIRS_DEFAULT, NetworkOptions, SharingOptions};
pub use self::outcome::{Limitation, ProjectCount, Recovered, Termination, Usage, VolumeUsage};
pub use self::ports::PortOptions;
pub use self::spec::{
    Class, CommandLine, ImageVolume, Kind, LaunchSpec, Limits, Networks, PersistentVolume, Seccomp,
    Wanted, WantedImageVolume,
};
pub use self::terminals::{Input, NoInput, Printed, Watching};
use self::turns::{Turn, Turns};
use crate::launcher::{
    Capabilities, Files, LAUNCHED, Plan, REFUSED, UnknownUser, write_atomically,
};
use crate::steps::Steps;

/// Processes and threads a container may have when nobody says otherwise.
///
/// A large Java server has about a thousand threads; a fork bomb would have millions and, before,
/// take the machine's last free number.
pub const PIDS_DEFAULT: u64 = 4_096;

/// How long destroying a container may wait for its processes to die. They do at once, unless the
/// kernel waits for a disk or a file server on their behalf.
pub const DESTROY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// How often it is counted what a sandbox takes. Each time all of it is walked through.
pub const DISK_WATCH_INTERVAL_DEFAULT: Duration = Duration::from_secs(15);

/// Ends of containers remembered for those who ask late. Who wants to know asks at the launch.
const ENDED_MAX: usize = 1_024;

/// How containers are run on this machine.
#[derive(Clone, Debug)]
pub struct ContainerizerOptions {
    /// Holds one directory per container. Belongs to one agent alone and outlives it.
    pub runtime_dir: PathBuf,
    /// The program that has the launcher in it, and the arguments that select it.
    pub launcher: (PathBuf, Vec<OsString>),
    /// Which isolators to use.
    pub isolation: Isolation,
    /// Where cgroups are mounted: what is mounted elsewhere is not used (`--cgroups_hierarchy`).
    pub cgroups_hierarchy: PathBuf,
    /// The directory below which containers' cgroups are made (`--cgroups_root`).
    pub cgroups_root: String,
    /// Whether CPUs asked for are also the most a container gets (`--cgroups_enable_cfs`).
    pub cgroups_enable_cfs: bool,
    /// Processes and threads a container may have by default.
    pub pids_default: u64,
    /// How long destroying may wait (`--cgroups_destroy_timeout`).
    pub destroy_timeout: Duration,
    /// The most capabilities that anybody in a container can have (`--bounding_capabilities`).
    pub capabilities_bounding: Capabilities,
    /// Those that a command has whoever it runs as, unless its container names others
    /// (`--effective_capabilities`). Absent: what goes with its user.
    pub capabilities_effective: Option<Capabilities>,
    /// Devices that containers may use besides those that everybody needs (`--allowed_devices`).
    pub allowed_devices: Vec<AllowedDevice>,
    /// Directories that nobody in a container of its own mounts sees into.
    pub hidden: Vec<PathBuf>,
    /// Which graphics processors there are, where `gpu/nvidia` gives them to containers.
    pub gpus: GpuOptions,
    /// How the ports of containers are watched, where `network/ports` does.
    pub ports: PortOptions,
    /// What containers may share with the machine.
    pub sharing: SharingOptions,
    /// Networks that containers can join.
    pub networks: NetworkOptions,
    /// Holds what containers of images write, one directory per container. On a disk: it may be much.
    pub provisioner_dir: PathBuf,
    /// Whether a container is held to what it was given of the disk, where `disk/du` or `disk/xfs`
    /// counts what it takes (`--enforce_container_disk_quota`).
    pub enforce_disk: bool,
    /// How often that is looked at, and logs are (`--container_disk_watch_interval`).
    pub disk_watch_interval: Duration,
    /// How the disk is divided, where `disk/xfs` does.
    pub xfs: XfsOptions,
    /// How much is kept of what containers print. Absent: all.
    pub logs: Option<LogLimits>,
    /// Who is told how far launches and ends have got.
    pub steps: Steps,
}

impl ContainerizerOptions {
    /// Defaults, with the two paths that have none.
    pub fn new(runtime_dir: impl Into<PathBuf>, launcher: (PathBuf, Vec<OsString>)) -> Self {
        let runtime_dir = runtime_dir.into();
        Self {
            provisioner_dir: runtime_dir.join("provisioner"),
            runtime_dir,
            launcher,
            isolation: Isolation::default_here(),
            cgroups_hierarchy: "/sys/fs/cgroup".into(),
            cgroups_root: "mesos".to_owned(),
            cgroups_enable_cfs: false,
            pids_default: PIDS_DEFAULT,
            destroy_timeout: DESTROY_TIMEOUT_DEFAULT,
            capabilities_bounding: Capabilities::parse(Capabilities::DEFAULT)
                .expect("the default is names"),
            capabilities_effective: None,
            allowed_devices: Vec::new(),
            hidden: Vec::new(),
            gpus: GpuOptions::default(),
            ports: PortOptions::default(),
            sharing: SharingOptions::default(),
            networks: NetworkOptions::default(),
            enforce_disk: false,
            disk_watch_interval: DISK_WATCH_INTERVAL_DEFAULT,
            xfs: XfsOptions::default(),
            logs: Some(LogLimits::default()),
            steps: Steps::default(),
        }
    }
}

/// Why containers cannot be run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An isolator cannot work here.
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    /// The runtime directory cannot be made.
    #[error("cannot create runtime directory {}", path.display())]
    RuntimeDir {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A container that runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Launched {
    /// Its first process, numbered as the agent sees it.
    pub pid: i32,
}

/// Why a container does not run. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The id is in use.
    #[error("there is a container {container} already")]
    Exists {
        /// Which one.
        container: ContainerId,
    },
    /// It was destroyed before it ran.
    #[error("container {container} was destroyed while it was being launched")]
    Destroyed {
        /// Which one.
        container: ContainerId,
    },
    /// It cannot be in the one that it is to be in.
    #[error(transparent)]
    Parent(#[from] NoPlace),
    /// There is no such user.
    #[error(transparent)]
    User(#[from] UnknownUser),
    /// An isolator could not do its part.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Its runtime directory could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Record {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The launcher could not be executed.
    #[error("cannot execute the launcher {}: {source}", path.display())]
    Launcher {
        /// What was executed.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The launcher could not start the command.
    #[error("{reason}")]
    Refused {
        /// Why, in its words.
        reason: String,
    },
}

/// Runs containers. Dropping it leaves them running, to be recovered by another one.
#[derive(Debug)]
pub struct Containerizer {
    inner: Arc<Inner>,
}

/// What the supervising tasks share.
#[derive(Debug)]
struct Inner {
    options: ContainerizerOptions,
    isolators: Vec<Box<dyn Isolator>>,
    launchers: Launchers,
    /// Absent: no process is to be moved between groups, or this one cannot be.
    head_start: Option<cgroups::HeadStart>,
    containers: Mutex<Table>,
    turns: Turns,
    /// Ends supervision, not containers.
    stopped: CancellationToken,
}

/// Containers that are not over yet, and the ends of the last of those that are.
#[derive(Debug, Default)]
struct Table {
    live: BTreeMap<ContainerId, Arc<Entry>>,
    ended: BTreeMap<ContainerId, Termination>,
    ended_order: VecDeque<ContainerId>,
    /// Sessions that are over, the oldest first.
    sessions_ended: VecDeque<ContainerId>,
}

/// How far a container is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Starting,
    /// Others may be launched in it.
    Running,
    /// Its end has begun, or it was never started.
    Ending,
}

/// One container that is not over.
#[derive(Debug)]
struct Entry {
    destroy: CancellationToken,
    termination: watch::Sender<Option<Termination>>,
    /// Changed only with the table locked.
    stage: watch::Sender<Stage>,
    /// Set before it is open, if it is a session.
    session: OnceLock<terminals::Session>,
    /// The networks of its own, once somebody has asked for them while it ran.
    networks: OnceLock<Option<Vec<NetworkInfo>>>,
    /// What has been cut off at the beginning of each of its logs. Held while that is done.
    cut: Mutex<[u64; 2]>,
}

impl Entry {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            destroy: CancellationToken::new(),
            termination: watch::Sender::new(None),
            stage: watch::Sender::new(Stage::Starting),
            session: OnceLock::new(),
            networks: OnceLock::new(),
            cut: Mutex::default(),
        })
    }
}

impl Drop for Containerizer {
    fn drop(&mut self) {
        self.inner.stopped.cancel();
    }
}

impl Containerizer {
    /// Sets up isolation on this machine.
    pub fn new(options: ContainerizerOptions) -> Result<Self, SetupError> {
        let containers = options.runtime_dir.join("containers");
        // Plans hold environments, and those hold secrets.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&containers)
            .map_err(|source| SetupError::RuntimeDir { path: containers.clone(), source })?;
        let setup = isolation::Setup {
            cgroups_root: &options.cgroups_root,
            cpu_quota_always: options.cgroups_enable_cfs,
            pids_default: options.pids_default,
            kill_within: options.destroy_timeout,
            containers,
            options: &options,
        };
        let isolators = isolation::build(&options.isolation, &setup)?;
        if !options.isolation.isolates() {
            tracing::warn!(
                isolation = options.isolation.names().join(","),
                "tasks are not isolated: they share all of this machine and none of their limits is kept"
            );
        }
        let inner = Inner {
            launchers: Launchers::new(options.launcher.clone()),
            head_start: isolation::head_start(&options),
            options,
            isolators,
            containers: Mutex::default(),
            turns: Turns::new(),
            stopped: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Launches a container and waits until its command runs. Launches may overlap.
    ///
    /// If it fails, or is destroyed meanwhile, nothing is left of it. Giving up waiting does not
    /// stop the launch.
    pub async fn launch(&self, spec: LaunchSpec) -> Result<Launched, LaunchError> {
        let container = spec.container.clone();
        let entry = Entry::new();
        {
            let mut table = self.inner.containers.lock();
            if table.live.contains_key(&container) || table.ended.contains_key(&container) {
                return Err(LaunchError::Exists { container });
            }
            nested::admit(&table, &container)?;
            table.live.insert(container, Arc::clone(&entry));
        }
        let inner = Arc::clone(&self.inner);
        // A task of its own: the caller may lose interest, the container's record may not.
        tokio::spawn(supervise::launch(inner, spec, entry))
            .await
            .expect("a launch does not panic, and nobody aborts it")
    }

    /// Waits until a container is over and cleared away, and says how it ended; for a container that
    /// nobody knows, at once.
    pub async fn wait(&self, container: &ContainerId) -> Termination {
        let entry = {
            let table = self.inner.containers.lock();
            if let Some(termination) = table.ended.get(container) {
                return termination.clone();
            }
            table.live.get(container).cloned()
        };
        let Some(entry) = entry else { return Termination::default() };
        let mut watched = entry.termination.subscribe();
        let seen = watched.wait_for(Option::is_some).await.map(|seen| seen.clone());
        seen.ok().flatten().unwrap_or_default()
    }

    /// Changes what a running container may use.
    pub async fn update(&self, container: &ContainerId, limits: Limits) -> Result<(), StepError> {
        let container = container.clone();
        self.blocking(move |inner| {
            inner.isolators.iter().try_for_each(|each| each.update(container.as_str(), &limits))
        })
        .await
    }

    /// Changes the ports that a running container may listen on.
    pub async fn update_ports(
        &self,
        container: &ContainerId,
        ports: Ranges,
    ) -> Result<(), StepError> {
        let container = container.clone();
        self.blocking(move |inner| {
            let all = &mut inner.isolators.iter();
            all.try_for_each(|each| each.update_ports(container.as_str(), &ports))
        })
        .await
    }

    /// Ends a container whatever it is doing, and clears it away. One that is over is as good.
    pub async fn destroy(&self, container: &ContainerId) -> Termination {
        let entry = self.inner.containers.lock().live.get(container).cloned();
        if let Some(entry) = entry {
            entry.destroy.cancel();
        }
        self.wait(container).await
    }

    /// What a container uses now.
    pub async fn usage(&self, container: &ContainerId) -> Usage {
        let container = container.clone();
        self.blocking(move |inner| {
            let mut usage = Usage::default();
            for isolator in &inner.isolators {
                isolator.usage(container.as_str(), &mut usage);
            }
            usage
        })
        .await
    }

    /// Which limit a container has broken, if it has. To be asked when its executor reports the end
    /// of a task: the executor may be quicker than this agent's own watch.
    pub async fn limitation(&self, container: &ContainerId) -> Option<Limitation> {
        if let Some(ended) = self.inner.containers.lock().ended.get(container) {
            return ended.limitation;
        }
        let container = container.clone();
        self.blocking(move |inner| inner.limitation(container.as_str())).await
    }

    /// Drops the record of a container that is over. Until then its end can be learnt again, also
    /// after a restart.
    pub async fn forget(&self, container: &ContainerId) {
        {
            let mut table = self.inner.containers.lock();
            if table.live.contains_key(container) {
                return;
            }
            table.drop_ended(container);
        }
        let container = container.clone();
        self.blocking(move |inner| {
            nested::forget_inside(inner, &container);
            supervise::remove_record(&inner.files(container.as_str()));
            inner.options.steps.reached("forgotten");
        })
        .await;
    }

    /// Whether a container has been launched and not yet been forgotten.
    pub fn has_record(&self, container: &ContainerId) -> bool {
        self.inner.containers.lock().live.contains_key(container)
            || self.inner.files(container.as_str()).dir().exists()
    }

    /// The directories of layers that containers are made of.
    pub fn layers_in_use(runtime_dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
        rootfs::layers_in_use(&runtime_dir.join("containers"))
    }

    /// Takes back the containers in `known`, the agent's own record, and destroys all others.
    pub async fn recover(&self, known: &[ContainerId]) -> io::Result<Recovered> {
        supervise::recover(&self.inner, known).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> T {
        blocking(&self.inner, Turn::Other, work).await
    }
}

/// Runs `work` where it may block, when it is its turn.
async fn blocking<T: Send + 'static>(
    inner: &Arc<Inner>,
    turn: Turn,
    work: impl FnOnce(&Inner) -> T + Send + 'static,
) -> T {
    let _turn = inner.turns.take(turn).await;
    let inner = Arc::clone(inner);
    tokio::task::spawn_blocking(move || work(&inner)).await.expect("it does not panic")
}

impl Inner {
    fn containers_dir(&self) -> PathBuf {
        self.options.runtime_dir.join("containers")
    }

    fn files(&self, container: &str) -> Files {
        Files::new(self.containers_dir().join(container))
    }

    fn limitation(&self, container: &str) -> Option<Limitation> {
        self.isolators.iter().find_map(|isolator| isolator.limitation(container))
    }

    /// The first part of a launch: all steps up to the launcher's start. Gives the launcher, and this
    /// end of a session's connection if it is one. Blocks.
    fn start(&self, spec: LaunchSpec) -> Result<(OwnLauncher, Option<UnixStream>), LaunchError> {
        let files = self.files(spec.container.as_str());
        self.options.steps.reached("to be recorded");
        // The record comes first: whatever is set up from here on can be found and cleared away.
        DirBuilder::new()
            .mode(0o700)
            .create(files.dir())
            .map_err(|source| LaunchError::Record { path: files.dir().to_owned(), source })?;
        self.options.steps.reached("recorded");
        if spec.kind.is_standalone {
            mark(&files.standalone())
                .map_err(|source| LaunchError::Record { path: files.standalone(), source })?;
        }
        let container = Container {
            id: spec.container.clone(),
            limits: spec.limits,
            wanted: spec.wanted.clone(),
            ports: spec.ports.clone(),
            layers: spec.image.as_ref().map(|image| image.layers.clone()),
            image_volumes: spec.image_volumes.iter().map(LayeredVolume::from).collect(),
            shares_limits: nested::shares_limits(&spec),
        };
        // Their layers are held until the plan says that they are in use.
        let _images = (spec.image.clone(), spec.image_volumes.clone());
        let is_debug = spec.kind.class == Class::Debug;
        let is_session = spec.kind.io.is_some_and(|io| io.is_session);
        let mut plan = nested::place(self, spec)?;
        for isolator in self.isolators.iter().filter(|it| !is_debug || it.joins()) {
            isolator.prepare(&container, &mut plan)?;
            self.options.steps.reached_by("prepared", isolator.name());
        }
        rootfs::taken(&container, &plan)?;
        volumes::all_taken(&container, &plan)?;
        for (is_wanted, name, what) in [
            (!container.wanted.secrets.is_empty(), secrets::NAME, "a volume of a secret"),
            (!container.image_volumes.is_empty(), volumes::IMAGE, "a volume of an image"),
        ] {
            if is_wanted && !self.isolators.iter().any(|it| it.name() == name) {
                let why = "it is not in this agent's --isolation".to_owned();
                return Err(isolator::refused(name, what, why).into());
            }
        }
        if container.wanted.networks != Networks::Host && plan.network.is_none() {
            let why = "it is not in this agent's --isolation".to_owned();
            return Err(isolator::refused("network/cni", "a network of its own", why).into());
        }
        let text = serde_json::to_vec(&plan).expect("a plan is plain strings and numbers");
        write_atomically(&files.plan(), &text)
            .map_err(|source| LaunchError::Record { path: files.plan(), source })?;
        self.options.steps.reached("planned");
        let failed =
            |source| LaunchError::Launcher { path: self.launchers.program().to_owned(), source };
        let (ours, theirs) = if is_session {
            let (ours, theirs) = UnixStream::pair().map_err(failed)?;
            (Some(ours), Some(OwnedFd::from(theirs)))
        } else {
            (None, None)
        };
        let launcher = self.launchers.start(files.dir(), theirs.as_ref()).map_err(failed)?;
        self.options.steps.reached("launcher started");
        Ok((launcher, ours))
    }

    /// The second part: the launcher's answer, and what isolators do to a running container. Blocks.
    fn answer(&self, container: &str, launcher: &mut OwnLauncher) -> Result<Launched, LaunchError> {
        let mut line = String::new();
        if let Some(output) = launcher.output.take() {
            // An answer that breaks off is none.
            let _ = File::from(output).read_to_string(&mut line);
        }
        let line = line.trim();
        if let Some(pid) = line.strip_prefix(LAUNCHED).and_then(|pid| pid.parse().ok()) {
            self.options.steps.reached("launched");
            for isolator in &self.isolators {
                isolator.isolate(container, pid)?;
            }
            self.options.steps.reached("isolated");
            return Ok(Launched { pid });
        }
        let reason = line.strip_prefix(REFUSED).unwrap_or("the launcher died").to_owned();
        Err(LaunchError::Refused { reason })
    }

    /// Ends what runs of a container and undoes all that was set up for it, however much that is.
    /// Says what could not be undone. Blocks.
    fn undo(&self, container: &str) -> Vec<String> {
        let files = self.files(container);
        let mut left = Vec::new();
        // From here on a launcher that starts late does nothing.
        if let Err(error) = mark(&files.destroyed())
            && files.dir().exists()
        {
            left.push(format!("cannot write {}: {error}", files.destroyed().display()));
        }
        self.options.steps.reached("marked");
        supervise::note_end(&files);
        left.extend(supervise::end_launcher(&files, self.options.destroy_timeout, || {
            self.isolators.iter().filter_map(|each| each.kill(container).err()).collect()
        }));
        self.options.steps.reached("launcher ended");
        for isolator in self.isolators.iter().rev() {
            if let Err(error) = isolator.cleanup(container) {
                left.push(error.to_string());
            }
            self.options.steps.reached_by("cleared", isolator.name());
        }
        left
    }
}

/// What a container's launcher was told.
fn read_plan(files: &Files) -> Option<Plan> {
    serde_json::from_slice(&fs::read(files.plan()).ok()?).ok()
}

fn mark(path: &Path) -> io::Result<()> {
    fs::write(path, "")
}
