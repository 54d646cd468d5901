//! The loop around the core: inputs in batches, records to disk, then everything else in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agent_core::output::Event;
use agent_core::output::Split;
use agent_core::{Agent, Input, Output, Record};
use model::ids::{ConnectionId, ContainerId, OperationUuid};
use model::operation::OperationState;
use model::resources::Resources;
use model::step::{Core, Now, Time, Timestamp};
use parking_lot::RwLock;
use proto::mesos::v1::AgentInfo;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::containers::Containers;
use crate::handle::Handle;
use crate::link::Link;
use crate::meters::{Count, Meters};
use crate::mirror::Mirror;
use crate::persistent_volumes;
use crate::secrets::Secrets;
use crate::steps::Steps;
use crate::store::{Store, StoreError};
use crate::wire;

/// Inputs taken in before outputs are performed, so that one write to disk serves them all.
const BATCH_MAX: usize = 1_024;

/// How long to sleep when the core waits for nothing. Any long time will do.
const IDLE: Duration = Duration::from_secs(3_600);

/// How long records wait for others to be written with, if nothing waits for them. A write costs about as much
/// for many records as for one.
const LAZY: Duration = Duration::from_millis(100);

/// How often executors get a sign of life.
const BEAT: Duration = Duration::from_secs(30 * 60);

/// Everything outputs are performed on.
pub(crate) struct Shell {
    pub(crate) store: Store,
    pub(crate) handle: Handle,
    pub(crate) link: Link,
    pub(crate) containers: Arc<dyn Containers>,
    pub(crate) mirror: Arc<RwLock<Mirror>>,
    pub(crate) meters: Arc<Meters>,
    /// How the agent describes itself to executors; the id is filled in.
    pub(crate) info: AgentInfo,
    /// What the built-in executors are given in the place of names.
    pub(crate) secrets: Secrets,
    /// The work directory, where persistent volumes are; absent: they are imitated.
    pub(crate) volumes: Option<PathBuf>,
    /// Who is told how far things have got.
    pub(crate) steps: Steps,
    /// What is to be written and nothing waits for.
    pub(crate) unwritten: Vec<Record>,
}

/// Why the loop has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to.
    Stopped,
    /// The core has ended all and says why.
    Over(String),
    /// A promise cannot be kept.
    Failed(StoreError),
}

/// Owns `core` until it is over or `stop` is given.
pub(crate) async fn drive(
    mut core: Agent,
    mut inputs: mpsc::Receiver<Input>,
    mut shell: Shell,
    stop: CancellationToken,
) -> Ended {
    let start = Instant::now();
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut beat_at = BEAT;
    let mut write_at = None;
    let ended = loop {
        let due = core.next_deadline().map_or(start.elapsed() + IDLE, |at| at.0).min(beat_at);
        let due = write_at.map_or(due, |at| due.min(at));
        tokio::select! {
            taken = inputs.recv_many(&mut batch, BATCH_MAX) => if taken == 0 {
                break Ended::Stopped;
            },
            () = tokio::time::sleep_until((start + due).into()) => {}
            () = stop.cancelled() => break Ended::Stopped,
        }
        let now = Now { time: Time(start.elapsed()), wall: wall() };
        if now.time.0 >= beat_at {
            shell.handle.beat();
            beat_at = now.time.0 + BEAT;
        }
        let mut out = Vec::new();
        core.wake(now, &mut out);
        for input in batch.drain(..) {
            core.step(input, now, &mut out);
        }
        match shell.perform(out, write_at.is_some_and(|at| now.time.0 >= at)).await {
            Ok(None) => {}
            Ok(Some(why)) => break Ended::Over(why),
            Err(error) => break Ended::Failed(error),
        }
        write_at = match write_at {
            _ if shell.unwritten.is_empty() => None,
            None => Some(now.time.0 + LAZY),
            waiting => waiting,
        };
    };
    shell.handle.abandon();
    match shell.write_all().await {
        Err(error) if !matches!(ended, Ended::Failed(_)) => Ended::Failed(error),
        _ => ended,
    }
}

/// The wall clock.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

impl Shell {
    /// Does what the core asks. All records of the batch go first, in one write: they may be on disk
    /// sooner than asked for, never later. Those that nothing waits for are written with the next that something
    /// waits for, or if it `is_time` for them.
    async fn perform(
        &mut self,
        out: Vec<Output>,
        is_time: bool,
    ) -> Result<Option<String>, StoreError> {
        let Split { at_once, records, is_awaited, rest } = Output::split(out);
        self.perform_all(at_once).await;
        if rest.iter().any(|output| matches!(output, Output::LaunchContainer(_))) {
            self.containers.expect_launch();
        }
        self.unwritten.extend(records);
        if is_awaited || is_time || self.unwritten.len() >= BATCH_MAX {
            self.write_all().await?;
        }
        Ok(self.perform_all(rest).await)
    }

    /// Writes what is to be written, and returns when it is on disk.
    async fn write_all(&mut self) -> Result<(), StoreError> {
        let records = std::mem::take(&mut self.unwritten);
        if records.is_empty() || !self.store.is_durable() {
            return Ok(());
        }
        let (store, steps) = (self.store.clone(), self.steps.clone());
        let write = move || {
            steps.reached_with("to write", &records);
            store.write(&records)?;
            steps.reached_with("written", &records);
            Ok(())
        };
        tokio::task::spawn_blocking(write)
            .await
            .expect("writing does not panic, and nobody aborts it")
    }

    /// Does what is not to be written. Gives why all is over, if it is.
    async fn perform_all(&mut self, outputs: Vec<Output>) -> Option<String> {
        let mut over = None;
        for output in outputs {
            self.steps.reached_output(&output);
            match output {
                Output::Append(_) | Output::AppendTogether(_) | Output::AppendLazily(_) => {}
                Output::Connect => self.link.connect(),
                Output::Reconnect => self.link.reconnect(),
                Output::Remember(masters) => self.link.remember(&masters),
                Output::Learn(masters) => self.link.learn(&masters),
                Output::ToMaster(message) => self.link.send(message),
                Output::AnswerExecutor { request, answer } => self.handle.answer(request, answer),
                Output::ToExecutor { connection, event } => {
                    self.handle.tell(connection, event, |event| {
                        wire::event(event, &self.info, &self.secrets)
                    });
                }
                Output::CloseExecutor { connection } => self.handle.close(connection),
                Output::LaunchContainer(launch) => self.launch(*launch),
                Output::UpdateContainer(update) => {
                    let containers = self.containers.clone();
                    tokio::spawn(async move { containers.update(*update).await });
                }
                Output::ShowVolumes { container, connection, volumes } => {
                    self.show_volumes(container, connection, volumes).await;
                }
                Output::DestroyContainer { container } => {
                    let containers = self.containers.clone();
                    tokio::spawn(async move { containers.destroy(container).await });
                }
                Output::MakeVolumes(volumes) => self.make_volumes(volumes).await,
                Output::RemoveVolumes { operation, volumes } => {
                    self.remove_volumes(operation, volumes).await;
                }
                Output::PurgeVolumes { operation, volumes } => {
                    self.purge_volumes(operation, volumes);
                }
                Output::Note(event) => self.note(&event),
                Output::View(change) => self.mirror.write().apply(change),
                Output::Exit { why } => over = Some(why),
            }
        }
        over
    }

    /// Before anything else is done: tasks that the executor is told of next need them.
    async fn show_volumes(
        &self,
        container: ContainerId,
        connection: Option<ConnectionId>,
        volumes: Resources,
    ) {
        if let Err(why) = self.containers.show_volumes(container.clone(), volumes).await {
            tracing::error!(%container, %why, "persistent volumes are not shown in a container");
            if let Some(connection) = connection {
                self.handle.close(connection);
            }
            // The driver must not wait for room among its own inputs.
            let handle = self.handle.clone();
            tokio::spawn(
                async move { handle.send(Input::VolumesNotShown { container, why }).await },
            );
        }
    }

    /// Before anything else is done: launches that follow need them.
    async fn make_volumes(&self, volumes: Resources) {
        let Some(work_dir) = self.volumes.clone() else { return };
        let made = move || persistent_volumes::make(&work_dir, &volumes);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(made).await {
            tracing::error!(%error, "a persistent volume has no directory; tasks on it will fail");
        }
    }

    /// Before anything else is done: what is made anew must not be what was removed.
    async fn remove_volumes(&self, operation: OperationUuid, volumes: Resources) {
        if let Some(work_dir) = self.volumes.clone() {
            let volumes = volumes.clone();
            let removed = move || persistent_volumes::remove(&work_dir, operation, &volumes);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(removed).await {
                tracing::error!(%operation, %error, "a persistent volume's directory was not removed; \
                    it is tried again when the agent starts");
                return;
            }
        }
        // The driver must not wait for room among its own inputs.
        let handle = self.handle.clone();
        tokio::spawn(
            async move { handle.send(Input::VolumesRemoved { operation, volumes }).await },
        );
    }

    fn purge_volumes(&self, operation: OperationUuid, volumes: Resources) {
        let Some(work_dir) = self.volumes.clone() else { return };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = persistent_volumes::purge(&work_dir, operation, &volumes) {
                tracing::warn!(%operation, %error, "a removed volume's data was not deleted yet");
            }
        });
    }

    fn launch(&self, launch: agent_core::output::ContainerLaunch) {
        let (containers, handle) = (self.containers.clone(), self.handle.clone());
        let meters = self.meters.clone();
        tokio::spawn(async move {
            let container = launch.container.clone();
            match containers.launch(launch).await {
                Ok(()) => {
                    handle.send(Input::Launched { container: container.clone() }).await;
                    watch(containers, handle, container).await;
                }
                Err(why) => {
                    meters.count(Count::ContainerLaunchErrors);
                    tracing::warn!(%container, %why, "a container was not started");
                    handle.send(Input::LaunchFailed { container, why }).await;
                }
            }
        });
    }

    /// Logs and counts what has happened.
    fn note(&self, event: &Event) {
        self.meters.note(event);
        log(event);
        if let Event::ExecutorEnded { container, .. } = event {
            let (containers, container) = (self.containers.clone(), container.clone());
            tokio::spawn(async move { containers.forget(container).await });
        }
    }
}

/// Waits for a container's end and tells the core.
pub(crate) async fn watch(containers: Arc<dyn Containers>, handle: Handle, container: ContainerId) {
    let exit = containers.wait(container.clone()).await;
    handle.send(Input::Exited { container, exit }).await;
}

/// Writes one line to the log.
fn log(event: &Event) {
    match event {
        Event::RecoveryFinished { executors, tasks } => {
            tracing::info!(executors, tasks, "recovery finished");
        }
        Event::Registered { agent, term } => {
            tracing::info!(%agent, term = term.0, "registered");
        }
        Event::Reregistered { agent, term } => {
            tracing::info!(%agent, term = term.0, "reregistered");
        }
        Event::Disconnected => {
            tracing::info!("the master is out of contact; tasks go on");
        }
        Event::PingTimedOut => tracing::warn!("the master does not ping any more"),
        Event::StaleTerm { term, seen } => {
            tracing::warn!(term = term.0, seen = seen.0, "a deposed master was not obeyed");
        }
        Event::TaskAccepted { framework, task } => {
            tracing::info!(%framework, %task, "task accepted");
        }
        Event::TaskDropped { framework, task, reason } => {
            tracing::warn!(%framework, %task, reason = reason.name(), "task dropped");
        }
        Event::TaskReported { framework, task, state, reason } => {
            let reason = reason.map_or("", model::task::Reason::name);
            tracing::info!(%framework, %task, state = state.name(), reason, "task reported");
        }
        Event::UpdateIgnored { framework, task, state } => {
            tracing::warn!(%framework, %task, state = state.name(), "a report after the end was ignored");
        }
        Event::UpdateRepeated { framework, task } => {
            tracing::debug!(%framework, %task, "report sent again");
        }
        Event::ExecutorStarting { framework, executor, container } => {
            tracing::info!(%framework, %executor, %container, "executor starting");
        }
        Event::ExecutorSubscribed { framework, executor } => {
            tracing::info!(%framework, %executor, "executor subscribed");
        }
        Event::ExecutorTimedOut { framework, executor } => {
            tracing::warn!(%framework, %executor, "executor did not subscribe in time");
        }
        Event::ExecutorEnded { framework, executor, container, status, reason } => {
            let reason = reason.map_or("", model::task::Reason::name);
            tracing::info!(%framework, %executor, %container, status, reason, "executor ended");
        }
        Event::MessageRelayed { framework, executor } => {
            tracing::trace!(%framework, %executor, "message passed on");
        }
        Event::MessageDropped { framework, executor } => {
            tracing::debug!(%framework, %executor, "message dropped");
        }
        Event::KillIgnored { framework, task } => {
            tracing::debug!(%framework, %task, "kill of what is not here");
        }
        Event::OperationReported { operation, kind, state, why } => {
            let why = why.as_deref().unwrap_or_default();
            if *state == OperationState::Finished {
                tracing::info!(%operation, kind, "operation done");
            } else {
                tracing::warn!(%operation, kind, state = state.name(), why, "operation not done");
            }
        }
        Event::OperationRepeated { operation } => {
            tracing::debug!(%operation, "an operation's report was sent again");
        }
        Event::Ending { why } => tracing::warn!(why, "ending all tasks"),
    }
}

#[cfg(test)]
mod tests {
    use agent_core::input::{Exit, Limitation};
    use agent_core::output::{ContainerLaunch, ContainerUpdate, ExecutorEvent};
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;
    use crate::containerizer::Usage;
    use crate::containers::Found;
    use crate::handle::Sink;

    /// Containers that cannot be changed any more.
    #[derive(Debug)]
    struct Rigid;

    impl Containers for Rigid {
        fn recover(&self, _: Vec<ContainerId>) -> BoxFuture<'_, std::io::Result<Found>> {
            std::future::ready(Ok(Found::default())).boxed()
        }

        fn launch(&self, _: ContainerLaunch) -> BoxFuture<'_, Result<(), Arc<str>>> {
            std::future::ready(Ok(())).boxed()
        }

        fn wait(&self, _: ContainerId) -> BoxFuture<'_, Exit> {
            std::future::pending().boxed()
        }

        fn update(&self, _: ContainerUpdate) -> BoxFuture<'_, ()> {
            std::future::ready(()).boxed()
        }

        fn show_volumes(
            &self,
            _: ContainerId,
            _: Resources,
        ) -> BoxFuture<'_, Result<(), Arc<str>>> {
            std::future::ready(Err("it is rigid".into())).boxed()
        }

        fn destroy(&self, _: ContainerId) -> BoxFuture<'_, ()> {
            std::future::ready(()).boxed()
        }

        fn forget(&self, _: ContainerId) -> BoxFuture<'_, ()> {
            std::future::ready(()).boxed()
        }

        fn usage(&self, _: ContainerId) -> BoxFuture<'_, Option<Usage>> {
            std::future::ready(None).boxed()
        }

        fn limitation(&self, _: ContainerId) -> BoxFuture<'_, Option<Limitation>> {
            std::future::ready(None).boxed()
        }
    }

    #[tokio::test]
    async fn an_executor_without_its_volumes_is_given_no_tasks() {
        let (handle, mut inputs) = Handle::new();
        let mut shell = Shell {
            store: Store::Nowhere,
            handle: handle.clone(),
            link: Link::new(Vec::new(), Duration::from_secs(1)),
            containers: Arc::new(Rigid),
            mirror: Arc::default(),
            meters: Arc::default(),
            info: AgentInfo::default(),
            secrets: Secrets::default(),
            volumes: None,
            steps: Steps::default(),
            unwritten: Vec::new(),
        };
        let (connection, other) = (handle.connection(), handle.connection());
        let (sink, mut told) = mpsc::unbounded_channel();
        handle.open(connection, Sink::Here(sink));
        let (sink, mut others) = mpsc::unbounded_channel();
        handle.open(other, Sink::Here(sink));
        let container = ContainerId::new("c1").expect("an id");
        let show = Output::ShowVolumes {
            container: container.clone(),
            connection: Some(connection),
            volumes: Resources::default(),
        };
        let event = ExecutorEvent::LaunchGroup(Vec::new());
        let launch = |connection| Output::ToExecutor { connection, event: event.clone() };
        let over = shell.perform(vec![show, launch(connection), launch(other)], false).await;
        assert_eq!(over.expect("nothing is written"), None);
        assert_eq!(told.recv().await, None);
        assert_eq!(others.recv().await, Some(event.clone()));
        let Some(Input::VolumesNotShown { container: which, why }) = inputs.recv().await else {
            panic!("the core is told");
        };
        assert_eq!((which, &*why), (container, "it is rigid"));
    }
}
