//! Imitated containers: tasks are timers, and their executors are imitated in this process. For
//! benchmarks with thousands of agents.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_core::Input;
use agent_core::input::{Exit, Limitation, Subscribe};
use agent_core::output::{ContainerLaunch, ContainerUpdate, ExecutorEvent};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::ids::{ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::task::{Source, Status, TaskSpec, TaskState};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::containerizer::Usage;
use crate::containers::{Containers, Found};
use crate::driver::wall;
use crate::handle::{Handle, Sink};

/// How imitated tasks behave.
#[derive(Clone, Debug, Default)]
pub struct Imitation {
    /// How long a task runs before it finishes; absent: until it is killed.
    pub runs_for: Option<Duration>,
    /// Who is told of each task that is handed over to its executor, and when that was; absent: nobody.
    pub tells: Option<mpsc::UnboundedSender<(TaskId, Instant)>>,
}

/// Imitated containers.
pub(crate) struct Simulated {
    handle: Handle,
    imitation: Imitation,
    live: Mutex<HashMap<ContainerId, Live>>,
}

#[derive(Clone)]
struct Live {
    destroy: CancellationToken,
    ended: watch::Receiver<bool>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated").field("imitation", &self.imitation).finish_non_exhaustive()
    }
}

impl Simulated {
    pub(crate) fn new(handle: Handle, imitation: Imitation) -> Self {
        Self { handle, imitation, live: Mutex::default() }
    }
}

impl Containers for Simulated {
    fn recover(&self, _known: Vec<ContainerId>) -> BoxFuture<'_, io::Result<Found>> {
        async { Ok(Found::default()) }.boxed()
    }

    fn launch(&self, launch: ContainerLaunch) -> BoxFuture<'_, Result<(), Arc<str>>> {
        let destroy = CancellationToken::new();
        let (ending, ended) = watch::channel(false);
        let live = Live { destroy: destroy.clone(), ended };
        self.live.lock().insert(launch.container.clone(), live);
        let framework = launch.framework.id.clone();
        let (handle, imitation) = (self.handle.clone(), self.imitation.clone());
        async move {
            let framework = framework.ok_or("the framework has no id")?;
            let executor = Imitated { handle, imitation, framework, executor: launch.executor.id };
            tokio::spawn(async move {
                tokio::select! {
                    () = executor.run() => {}
                    () = destroy.cancelled() => {}
                }
                let _ = ending.send(true);
            });
            Ok(())
        }
        .boxed()
    }

    fn wait(&self, container: ContainerId) -> BoxFuture<'_, Exit> {
        let live = self.live.lock().get(&container).cloned();
        async move {
            if let Some(mut live) = live {
                // An error means that the executor's task is gone, which is an end too.
                let _ = live.ended.wait_for(|ended| *ended).await;
            }
            Exit { status: Some(0), limitation: None }
        }
        .boxed()
    }

    fn update(&self, _update: ContainerUpdate) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn destroy(&self, container: ContainerId) -> BoxFuture<'_, ()> {
        if let Some(live) = self.live.lock().get(&container) {
            live.destroy.cancel();
        }
        async {}.boxed()
    }

    fn forget(&self, container: ContainerId) -> BoxFuture<'_, ()> {
        self.live.lock().remove(&container);
        async {}.boxed()
    }

    fn usage(&self, _container: ContainerId) -> BoxFuture<'_, Option<Usage>> {
        async { None }.boxed()
    }

    fn limitation(&self, _container: ContainerId) -> BoxFuture<'_, Option<Limitation>> {
        async { None }.boxed()
    }
}

/// One imitated executor.
struct Imitated {
    handle: Handle,
    imitation: Imitation,
    framework: FrameworkId,
    executor: ExecutorId,
}

impl Imitated {
    /// Runs what it is given until all of it is over, or it is told to end.
    async fn run(self) {
        let connection = self.handle.connection();
        let (events, mut heard) = mpsc::unbounded_channel();
        self.handle.open(connection, Sink::Here(events));
        let subscribed = self.handle.call(|request| {
            Input::Subscribe(Subscribe {
                request,
                connection,
                framework: self.framework.clone(),
                executor: self.executor.clone(),
                unacknowledged_updates: Vec::new(),
                unacknowledged_tasks: Vec::new(),
            })
        });
        if !matches!(subscribed.await, Ok(Ok(()))) {
            self.handle.close(connection);
            return;
        }
        let (mut running, mut has_begun) = (BTreeSet::new(), false);
        let (over, mut ends) = mpsc::unbounded_channel::<TaskId>();
        loop {
            tokio::select! {
                event = heard.recv() => match event {
                    None | Some(ExecutorEvent::Shutdown) => break,
                    Some(ExecutorEvent::Launch(task)) => {
                        running.insert(task.id.clone());
                        self.begin(&task, &over).await;
                    }
                    Some(ExecutorEvent::LaunchGroup(tasks)) => {
                        for task in tasks {
                            running.insert(task.id.clone());
                            self.begin(&task, &over).await;
                        }
                    }
                    Some(ExecutorEvent::Kill { task, .. }) => {
                        if running.remove(&task) {
                            self.report(task, TaskState::Killed).await;
                        }
                    }
                    Some(
                        ExecutorEvent::Subscribed(_)
                        | ExecutorEvent::Acknowledged { .. }
                        | ExecutorEvent::Message(_),
                    ) => {}
                },
                Some(task) = ends.recv() => {
                    if running.remove(&task) {
                        self.report(task, TaskState::Finished).await;
                    }
                }
            }
            has_begun |= !running.is_empty();
            if has_begun && running.is_empty() {
                break;
            }
        }
        self.handle.close(connection);
    }

    async fn begin(&self, task: &TaskSpec, over: &mpsc::UnboundedSender<TaskId>) {
        if let Some(tells) = &self.imitation.tells {
            let _ = tells.send((task.id.clone(), Instant::now()));
        }
        self.report(task.id.clone(), TaskState::Running).await;
        let Some(runs_for) = self.imitation.runs_for else { return };
        let (task, over) = (task.id.clone(), over.clone());
        tokio::spawn(async move {
            tokio::time::sleep(runs_for).await;
            let _ = over.send(task);
        });
    }

    async fn report(&self, task: TaskId, state: TaskState) {
        let mut status = Status::new(task, state, Source::Executor, wall());
        status.uuid = Some(UpdateId(*uuid::Uuid::new_v4().as_bytes()));
        let (framework, executor) = (self.framework.clone(), self.executor.clone());
        let reported =
            self.handle.call(|request| Input::Update { request, framework, executor, status });
        if let Ok(Err(refusal)) = reported.await {
            tracing::debug!(%refusal, "an imitated report was refused");
        }
    }
}
