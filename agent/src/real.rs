//! Executors in real containers: sandbox, files, environment, launch.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_core::input::{Exit, Limitation};
use agent_core::output::{ContainerLaunch, ContainerUpdate};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::acl::Acls;
use model::amount::Ranges;
use model::ids::ContainerId;
use model::resources::Resources;
use model::units::format_duration;
use parking_lot::Mutex;
use proto::mesos::v1::{CommandInfo, ExecutorInfo, NetworkInfo, TaskInfo};
use tokio_util::sync::CancellationToken;
use transport::auth::TokenKey;

use crate::api::executor_token;
use crate::containerizer::{
    self, CommandLine, Containerizer, ImageVolume, Kind, LaunchSpec, Limits, Networks,
    PersistentVolume, Termination, Usage, Wanted,
};
use crate::containers::{Containers, Found};
use crate::executor::CA_VARIABLE;
use crate::fetcher::{Fetcher, Uri};
use crate::images::{Images, Provisioned, Start, WantedImage, Way};
use crate::launcher::{Io, Rootfs, Volume, VolumeSource};
use crate::limits::{explained, limits};
use crate::meters::{Count, Meters};
use crate::persistent_volumes::seen_by;
use crate::sandbox::Run;
use crate::secrets::Secrets;
use crate::socket::{self, SOCKET_VARIABLE};
use crate::whom::{self, Whom};
use crate::{nested, wanted, wire};

/// Where programs are looked for by executors that are not told.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What executors are told about their agent.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the agent by itself")]
pub(crate) struct Surroundings {
    pub(crate) work_dir: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) secrets: Secrets,
    /// Where the agent's socket is.
    pub(crate) socket_dir: PathBuf,
    pub(crate) recovery_timeout: Duration,
    pub(crate) executor_shutdown_grace_period: Duration,
    pub(crate) executor_reregistration_timeout: Duration,
    pub(crate) switch_user: bool,
    /// Who may run tasks as whom.
    pub(crate) acls: Arc<Acls>,
    /// Where those are whose word to trust on who this agent is. Absent: its port speaks no TLS.
    pub(crate) ca: Option<PathBuf>,
    /// Signs what executors show the agent. Absent: they show nothing.
    pub(crate) token_key: Option<Arc<TokenKey>>,
    /// Whether containers of type DOCKER are run.
    pub(crate) docker_containers: bool,
    /// Whether all executors come by the socket.
    pub(crate) sockets_for_all: bool,
    /// Whether containers have mounts of their own.
    pub(crate) has_mounts: bool,
}

/// What a container may use, as it was last told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Allowed {
    pub(crate) limits: Limits,
    /// The ports that it may listen on.
    pub(crate) ports: Ranges,
}

/// Runs executors in containers of this machine.
#[derive(Debug)]
pub(crate) struct Real {
    pub(crate) containerizer: Containerizer,
    pub(crate) fetcher: Fetcher,
    /// Absent: there are none on this agent.
    images: Option<Images>,
    pub(crate) around: Surroundings,
    pub(crate) meters: Arc<Meters>,
    /// Launches that have not got as far as the containerizer.
    pub(crate) preparing: Mutex<HashMap<ContainerId, CancellationToken>>,
    /// Held while the directories around a sandbox are made or removed.
    pub(crate) sandboxes: Arc<tokio::sync::Mutex<()>>,
    /// What containers may take, to tell what they went past.
    pub(crate) allowed: Mutex<HashMap<ContainerId, Allowed>>,
    /// Containers that somebody changes, each with what is held for that.
    changing: Mutex<HashMap<ContainerId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Real {
    pub(crate) fn new(
        containerizer: Containerizer,
        fetcher: Fetcher,
        images: Option<Images>,
        around: Surroundings,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            containerizer,
            fetcher,
            images,
            around,
            meters,
            preparing: Mutex::default(),
            sandboxes: Arc::default(),
            allowed: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    /// The images of this agent, if there are any.
    pub(crate) fn images(&self) -> Option<&Images> {
        self.images.as_ref()
    }

    /// Whether a container is being started, or runs, or is over and not yet forgotten.
    pub(crate) fn in_use(&self, container: &ContainerId) -> bool {
        // In the order of its life: what is in neither when it is looked at is over, or younger
        // than anything that is removed.
        self.preparing.lock().contains_key(container) || self.containerizer.has_record(container)
    }

    /// What a limit that a container broke is called.
    pub(crate) fn limitation_of(
        &self,
        container: &ContainerId,
        end: &Termination,
    ) -> Option<Limitation> {
        end.limitation.map(|broken| self.explained(container, broken))
    }

    /// What a container may use, if it was told.
    pub(crate) fn limits_of(&self, container: &ContainerId) -> Option<Limits> {
        self.allowed.lock().get(container).map(|allowed| allowed.limits)
    }

    /// Lets a container use what it was last told, and no more. One that does not run yet is told
    /// once it does.
    pub(crate) async fn apply_allowed(&self, container: &ContainerId) {
        let own = Arc::clone(self.changing.lock().entry(container.clone()).or_default());
        self.apply_latest(container, &own).await;
        let mut changing = self.changing.lock();
        // That one and the table's: nobody else waits for it.
        if Arc::strong_count(&own) == 2 {
            changing.remove(container);
        }
    }

    /// Does so one after the other of a container, so that the latest word stays, and others do not wait
    /// for the kernel to take memory back from this one.
    async fn apply_latest(&self, container: &ContainerId, changing: &tokio::sync::Mutex<()>) {
        let _changing = changing.lock().await;
        let allowed = self.allowed.lock().get(container).cloned();
        let Some(Allowed { limits, ports }) =
            allowed.filter(|_| self.containerizer.is_open(container))
        else {
            return;
        };
        let updated = match self.containerizer.update(container, limits).await {
            Ok(()) => self.containerizer.update_ports(container, ports).await,
            Err(error) => Err(error),
        };
        if let Err(error) = updated {
            tracing::warn!(%container, %error, "the limits of a container were not changed");
        }
    }

    /// Gives up a launch that has not got as far as the containerizer. Says whether there was one.
    pub(crate) fn stop_preparing(&self, container: &ContainerId) -> bool {
        let preparing = self.preparing.lock();
        preparing.get(container).inspect(|it| it.cancel()).is_some()
    }

    /// Drops what is known of a container that is over.
    pub(crate) async fn forget_now(&self, container: &ContainerId) {
        self.allowed.lock().retain(|it, _| it != container && !it.is_inside(container));
        self.containerizer.forget(container).await;
    }

    /// Makes the sandbox and puts into it what the executor wants there.
    async fn prepare(&self, launch: &ContainerLaunch) -> Result<LaunchSpec, String> {
        let framework = launch.framework.id.clone().ok_or("the framework has no id")?;
        let mut infos: Vec<TaskInfo> = launch.tasks.iter().map(wire::task_info).collect();
        if launch.is_command || launch.executor.is_default {
            // What cannot be found is to fail the launch, rather than the task later on.
            infos.iter_mut().try_for_each(|task| self.around.secrets.reveal_in_task(task))?;
        }
        let task = launch.tasks.first().filter(|_| launch.is_command);
        let mut executor = wire::executor_info(&launch.executor, &framework, task);
        if let Some(command) = &mut executor.command {
            self.around.secrets.reveal(command)?;
        }
        let command = executor.command.clone().unwrap_or_default();
        let mut wanted = wanted::read(executor.container.as_deref())?;
        let terminal = executor.container.as_deref().and_then(nested::terminal);
        if terminal.is_some() && launch.executor.is_default {
            let why =
                "the executor of a group has no use for a terminal; give 'tty_info' to its tasks";
            return Err(why.to_owned());
        }
        let image = self.image(wanted.image.as_ref()).await?;
        let by = (self.around.switch_user, &*self.around.acls);
        let whom = whom::of_executor(&command, &launch.framework, image.as_ref(), by)?;
        let Whom { identity: owner, home, known_as } = whom;
        let run = Run {
            agent: launch.agent.clone(),
            framework,
            executor: launch.executor.id.clone(),
            container: launch.container.clone(),
        };
        let sandbox = {
            let (run, owner, work_dir) = (run.clone(), owner.clone(), self.around.work_dir.clone());
            // Waited for on no thread: of the agent's memory each takes a part.
            let held = Arc::clone(&self.sandboxes).lock_owned().await;
            tokio::task::spawn_blocking(move || {
                let _held = held;
                run.create(&work_dir, owner.as_ref())
            })
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("{error}: {}", error.source))?
        };
        let uris: Vec<Uri> = command.uris.iter().map(uri).collect();
        if !uris.is_empty() {
            self.fetcher.fetch(&uris, &sandbox, owner.as_ref()).await.map_err(|error| {
                format!("Failed to fetch all URIs for container '{}': {error}", launch.container)
            })?;
        }
        if let Some(container) = &executor.container {
            wanted.secrets = self.around.secrets.volumes(container)?;
        }
        wanted.persistent = self.persistent(launch);
        let mut environment =
            self.environment(launch, &run, &sandbox, &executor, image.as_ref(), home);
        let uses_socket = self.uses_socket(launch, &wanted, image.is_some());
        if uses_socket {
            // Where it starts an image may say. Without mounts it is where it is.
            let is_mounted = self.around.has_mounts || wanted.networks != Networks::Host;
            let path = match &image {
                Some(_) => format!("{}/{}", Rootfs::SANDBOX, socket::SEEN_AT),
                None if is_mounted => socket::SEEN_AT.to_owned(),
                None => socket::path(&self.around.socket_dir).display().to_string(),
            };
            environment.push((SOCKET_VARIABLE.to_owned(), path));
        } else if let Some(ca) = &self.around.ca {
            environment.push((CA_VARIABLE.to_owned(), ca.display().to_string()));
        }
        Ok(LaunchSpec {
            container: launch.container.clone(),
            environment,
            command: command_line(launch, &command, image.as_ref())?,
            sandbox,
            user: None,
            identity: owner,
            known_as,
            workdir: image.as_ref().and_then(Provisioned::workdir),
            image,
            image_volumes: self.image_volumes(&wanted).await?,
            limits: limits(&launch.resources, &launch.executor.resources, &infos),
            ports: launch.resources.ranges("ports"),
            hostname: wanted.hostname.clone(),
            shown: self.shown(uses_socket),
            wanted,
            kind: Kind {
                io: terminal.map(|size| Io { terminal: Some(size), is_session: false }),
                ..Kind::default()
            },
        })
    }

    /// The volumes that outlive the container, of its executor and of its tasks. Tasks of a group have
    /// theirs in containers of their own.
    fn persistent(&self, launch: &ContainerLaunch) -> Vec<PersistentVolume> {
        let tasks = launch.tasks.iter().filter(|_| !launch.executor.is_default);
        let tasks = tasks.map(|task| &task.resources);
        seen_by(&self.around.work_dir, tasks.chain([&launch.executor.resources]))
    }

    /// Whether an executor is to come by the socket: from another network the way to this agent may be
    /// no other, from among other files there is none of those to check its certificate by, and what
    /// runs groups calls what is shut on the port to who shows no certificate.
    fn uses_socket(&self, launch: &ContainerLaunch, wanted: &Wanted, has_image: bool) -> bool {
        let is_without_proof = self.around.has_mounts && launch.executor.is_default;
        let is_tls = self.around.ca.is_some();
        self.around.sockets_for_all
            || wanted.networks != Networks::Host
            || is_tls && (has_image || is_without_proof)
    }

    /// What is put into the container by this agent: the way to its socket, if that is used.
    pub(crate) fn shown(&self, uses_socket: bool) -> Vec<Volume> {
        let socket = Volume {
            source: VolumeSource::Host(self.around.socket_dir.clone()),
            container_path: Path::new(socket::SEEN_AT)
                .parent()
                .expect("it is in a directory")
                .into(),
            read_only: true,
        };
        if uses_socket { vec![socket] } else { Vec::new() }
    }

    /// Has the image here that is wanted, if one is.
    pub(crate) async fn image(
        &self,
        wanted: Option<&WantedImage>,
    ) -> Result<Option<Provisioned>, String> {
        let Some(wanted) = wanted else { return Ok(None) };
        if wanted.way == Way::Docker && !self.around.docker_containers {
            return Err(format!(
                "containers of type DOCKER are not run on this agent, and '{}' is wanted; start it \
                 with --containerizers=mesos,docker, or use a container of type MESOS",
                wanted.reference
            ));
        }
        let Some(images) = &self.images else {
            // To run it on the machine's own files would be something else than what was asked for.
            return Err(format!(
                "there are no images on this agent, and '{}' is wanted; start it with \
                 --image_providers=docker and --isolation=filesystem/linux among others",
                wanted.reference
            ));
        };
        images.provision(wanted).await.map(Some).map_err(|error| error.to_string())
    }

    /// Has the images here that are wanted as volumes.
    pub(crate) async fn image_volumes(&self, wanted: &Wanted) -> Result<Vec<ImageVolume>, String> {
        let mut volumes = Vec::new();
        for volume in &wanted.image_volumes {
            let image = self.image(Some(&volume.image)).await;
            let failed = |why| format!("volume '{}': {why}", volume.container_path.display());
            if let Some(image) = image.map_err(failed)? {
                let (container_path, read_only) = (volume.container_path.clone(), volume.read_only);
                volumes.push(ImageVolume { image, container_path, read_only });
            }
        }
        Ok(volumes)
    }

    fn environment(
        &self,
        launch: &ContainerLaunch,
        run: &Run,
        sandbox: &Path,
        executor: &ExecutorInfo,
        image: Option<&Provisioned>,
        home: Option<String>,
    ) -> Vec<(String, String)> {
        let around = &self.around;
        let directory = sandbox.display().to_string();
        // As it is seen from inside.
        let sandbox = image.map_or_else(|| directory.clone(), |_| Rootfs::SANDBOX.to_owned());
        let grace = launch.executor.shutdown_grace.unwrap_or(around.executor_shutdown_grace_period);
        let flag = |yes: bool| if yes { "1" } else { "0" }.to_owned();
        let mut all = vec![
            ("PATH", PATH.to_owned()),
            ("MESOS_FRAMEWORK_ID", run.framework.to_string()),
            ("MESOS_EXECUTOR_ID", run.executor.to_string()),
            ("MESOS_AGENT_ENDPOINT", around.address.to_string()),
            ("MESOS_SLAVE_ID", run.agent.to_string()),
            ("MESOS_SLAVE_PID", format!("slave(1)@{}", around.address)),
            ("MESOS_DIRECTORY", directory),
            ("MESOS_SANDBOX", sandbox),
            ("MESOS_CHECKPOINT", flag(launch.framework.checkpoint)),
            ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", format_duration(grace)),
            ("MESOS_HTTP_COMMAND_EXECUTOR", flag(launch.is_command)),
            ("LIBPROCESS_IP", around.address.ip().to_string()),
            ("LIBPROCESS_PORT", "0".to_owned()),
        ];
        if launch.framework.checkpoint {
            // Half of the time they have to come back, so that one drawn wait does not miss it.
            let backoff = around.executor_reregistration_timeout / 2;
            all.push(("MESOS_RECOVERY_TIMEOUT", format_duration(around.recovery_timeout)));
            all.push(("MESOS_SUBSCRIPTION_BACKOFF_MAX", format_duration(backoff)));
        }
        if let Some(key) = &around.token_key {
            let token = executor_token(key, &run.framework, &run.executor, &run.container);
            all.push(("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", token));
        }
        let mut all: Vec<(String, String)> =
            all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Some(image) = image {
            all.push(("HOME".to_owned(), home.unwrap_or_else(|| "/".to_owned())));
            if image.way == Way::Docker {
                let name = format!("mesos-{}", run.container);
                all.push(("MESOS_CONTAINER_NAME".to_owned(), name));
            }
            if is_built_in(launch) {
                all.push((Start::VARIABLE.to_owned(), image.start().to_variable()));
            } else {
                add(&mut all, image.config.env.iter().cloned());
            }
        }
        let wanted = executor.command.as_ref().and_then(|command| command.environment.as_ref());
        let wanted = wanted.into_iter().flat_map(|environment| &environment.variables);
        add(&mut all, wanted.map(|it| (it.name.clone(), it.value().to_owned())));
        all
    }

    fn explained(&self, container: &ContainerId, broken: containerizer::Limitation) -> Limitation {
        explained(self.limits_of(container), broken)
    }
}

impl Containers for Real {
    fn recover(&self, known: Vec<ContainerId>) -> BoxFuture<'_, io::Result<Found>> {
        async move {
            let found = self.containerizer.recover(&known).await?;
            for orphan in &found.orphans {
                tracing::warn!(container = %orphan, "a container that nobody knows was destroyed");
            }
            Ok(Found { alive: found.running, ended: found.ended })
        }
        .boxed()
    }

    fn expect_launch(&self) {
        self.containerizer.expect_launch();
    }

    fn launch(&self, launch: ContainerLaunch) -> BoxFuture<'_, Result<(), Arc<str>>> {
        async move {
            let started = self.start_prepared(&launch.container, self.prepare(&launch)).await;
            started.map_err(|error| error.to_string().into())
        }
        .boxed()
    }

    fn wait(&self, container: ContainerId) -> BoxFuture<'_, Exit> {
        async move {
            let end = self.containerizer.wait(&container).await;
            if !end.leftovers.is_empty() {
                self.meters.count(Count::ContainerDestroyErrors);
                tracing::warn!(%container, left = end.leftovers, "a container was not cleared away");
            }
            let limitation = end.limitation.map(|broken| self.explained(&container, broken));
            Exit { status: end.status, limitation }
        }
        .boxed()
    }

    fn update(&self, update: ContainerUpdate) -> BoxFuture<'_, ()> {
        let ContainerUpdate { container, executor, tasks, resources } = update;
        let infos: Vec<TaskInfo> = tasks.iter().map(wire::task_info).collect();
        let limits = limits(&resources, &executor, &infos);
        let allowed = Allowed { limits, ports: resources.ranges("ports") };
        self.allowed.lock().insert(container.clone(), allowed);
        async move { self.apply_allowed(&container).await }.boxed()
    }

    fn show_volumes(
        &self,
        container: ContainerId,
        volumes: Resources,
    ) -> BoxFuture<'_, Result<(), Arc<str>>> {
        async move {
            let volumes = seen_by(&self.around.work_dir, std::iter::once(&volumes));
            let shown = self.containerizer.show_volumes(&container, volumes).await;
            shown.map_err(|error| error.to_string().into())
        }
        .boxed()
    }

    fn destroy(&self, container: ContainerId) -> BoxFuture<'_, ()> {
        async move {
            let preparing = self.preparing.lock().get(&container).cloned();
            match preparing {
                Some(preparing) => preparing.cancel(),
                None => {
                    self.containerizer.destroy(&container).await;
                }
            }
        }
        .boxed()
    }

    fn forget(&self, container: ContainerId) -> BoxFuture<'_, ()> {
        async move { self.forget_now(&container).await }.boxed()
    }

    fn usage(&self, container: ContainerId) -> BoxFuture<'_, Option<Usage>> {
        async move { Some(self.containerizer.usage(&container).await) }.boxed()
    }

    fn networks(&self, container: ContainerId) -> BoxFuture<'_, Option<Vec<NetworkInfo>>> {
        async move { self.containerizer.networks(&container).await }.boxed()
    }

    fn limitation(&self, container: ContainerId) -> BoxFuture<'_, Option<Limitation>> {
        async move {
            let broken = self.containerizer.limitation(&container).await?;
            Some(self.explained(&container, broken))
        }
        .boxed()
    }
}

/// What is executed for an executor.
fn command_line(
    launch: &ContainerLaunch,
    command: &CommandInfo,
    image: Option<&Provisioned>,
) -> Result<CommandLine, String> {
    if is_built_in(launch) {
        return Ok(CommandLine::Executor);
    }
    if let Some(image) = image {
        return nested::in_image(command, image);
    }
    let value = command.value().to_owned();
    Ok(if command.shell() {
        CommandLine::Shell(value)
    } else {
        CommandLine::Program { path: value, arguments: command.arguments.clone() }
    })
}

/// Whether it is the agent's own program that runs there.
fn is_built_in(launch: &ContainerLaunch) -> bool {
    launch.is_command || launch.executor.is_default
}

/// Adds variables. What the agent says of itself cannot be said otherwise; `PATH` can.
fn add(all: &mut Vec<(String, String)>, more: impl Iterator<Item = (String, String)>) {
    for (name, value) in more {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(_) if name.starts_with("MESOS_") => {}
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
}

pub(crate) fn uri(wanted: &proto::mesos::v1::command_info::Uri) -> Uri {
    Uri {
        value: wanted.value.clone(),
        executable: wanted.executable.unwrap_or(false),
        extract: wanted.extract.unwrap_or(true),
        output_file: wanted.output_file.clone(),
        cache: wanted.cache.unwrap_or(false),
    }
}
