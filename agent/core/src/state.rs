//! The tables: frameworks, their executors and tasks.

use crate::output::{ContainerUpdate, Output};
use model::framework::Framework;
use model::ids::{ConnectionId, ContainerId, ExecutorId, FrameworkId, TaskId};
use model::resources::Resources;
use model::step::{Time, Timestamp};
use model::task::{ExecutorSpec, Reason, TaskSpec, TaskState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A framework that has something here.
pub(crate) struct FrameworkState {
    pub(crate) framework: Framework,
    pub(crate) executors: BTreeMap<ExecutorId, Executor>,
    /// Tasks that are not over, or whose end is not acknowledged.
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    /// Whether all of it is to go: then nobody is told of ends any more.
    pub(crate) is_ending: bool,
}

/// An executor that was started or is about to be.
pub(crate) struct Executor {
    pub(crate) spec: ExecutorSpec,
    pub(crate) container: ContainerId,
    pub(crate) is_command: bool,
    pub(crate) state: ExecutorState,
    /// Where its events go; absent while it is out of contact.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) has_subscribed: bool,
    /// The number of its next task group.
    pub(crate) groups_next: u32,
    /// How its tasks end, if its container does not say why it ended.
    pub(crate) end: Option<End>,
}

/// Where an executor is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ExecutorState {
    /// It has not subscribed yet. Once its processes run, it has until `by`.
    Registering { by: Option<Time> },
    /// It has subscribed, perhaps to an earlier run of this agent.
    Running,
    /// It is to end. What is left at `force_at` is destroyed; absent: it is being destroyed.
    Ending { force_at: Option<Time> },
}

/// A task.
pub(crate) struct Task {
    pub(crate) spec: TaskSpec,
    pub(crate) executor: ExecutorId,
    pub(crate) group: Option<u32>,
    pub(crate) state: TaskState,
    /// Whether its executor was given it.
    pub(crate) is_delivered: bool,
    /// A kill that the executor may not have heard of: it was out of contact.
    pub(crate) kill: Option<KillAsked>,
    pub(crate) accepted_at: Timestamp,
}

/// A kill that was asked for: how long the task may take, where that was said.
pub(crate) struct KillAsked {
    pub(crate) grace: Option<Duration>,
}

/// What is said of a task that the agent itself declares over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct End {
    pub(crate) state: TaskState,
    pub(crate) reason: Reason,
    pub(crate) message: Arc<str>,
}

impl End {
    pub(crate) fn new(state: TaskState, reason: Reason, message: impl Into<Arc<str>>) -> Self {
        Self { state, reason, message: message.into() }
    }
}

impl FrameworkState {
    pub(crate) fn new(framework: Framework) -> Self {
        Self { framework, executors: BTreeMap::new(), tasks: BTreeMap::new(), is_ending: false }
    }

    /// Tasks of `executor` that are not over, in the order of their ids.
    pub(crate) fn live_tasks_of<'a>(
        &'a self,
        executor: &'a ExecutorId,
    ) -> impl Iterator<Item = (&'a TaskId, &'a Task)> {
        self.tasks
            .iter()
            .filter(move |(_, task)| task.executor == *executor && !task.state.is_terminal())
    }

    /// What the container of `executor` may take: the executor and its live tasks.
    pub(crate) fn resources_of(&self, executor: &ExecutorId) -> Resources {
        let mut sum =
            self.executors.get(executor).map(|it| it.spec.resources.clone()).unwrap_or_default();
        for (_, task) in self.live_tasks_of(executor) {
            sum.add(&task.spec.resources);
        }
        sum
    }

    /// What the container of an executor may take from now on.
    pub(crate) fn update_of(&self, executor: &ExecutorId) -> Option<Output> {
        let it = self.executors.get(executor)?;
        let tasks = self.live_tasks_of(executor).map(|(_, task)| task.spec.clone());
        Some(Output::UpdateContainer(Box::new(ContainerUpdate {
            container: it.container.clone(),
            executor: it.spec.resources.clone(),
            tasks: tasks.collect(),
            resources: self.resources_of(executor),
        })))
    }

    /// The persistent volumes of an executor and of its tasks that are not over.
    pub(crate) fn volumes_of(&self, executor: &ExecutorId) -> Resources {
        self.resources_of(executor).filtered(|key, _| key.kind.is_persistent_volume())
    }

    /// The word for `state` that this framework knows.
    pub(crate) fn word(&self, state: TaskState) -> TaskState {
        if self.framework.capabilities.partition_aware { state } else { state.for_unaware() }
    }
}

/// The id that every framework has once it gets here.
pub(crate) fn id_of(framework: &Framework) -> FrameworkId {
    framework.id.clone().expect("the master gives frameworks their id before it names them")
}
