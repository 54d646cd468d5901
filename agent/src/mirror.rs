//! What can be read of an agent: a copy of the core's tables, kept by the driver from the changes the
//! core tells, and read by whoever serves them. History lives here only; the core forgets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use agent_core::output::{Change, Stage};
use model::framework::Framework;
use model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, OperationUuid, TaskId};
use model::link::LiveOperation;
use model::resources::Resources;
use model::task::{ExecutorSpec, Status, TaskSpec, TaskState};
use proto::mesos::v1::ExecutorInfo;

use crate::wire;

/// Frameworks that are over and are remembered.
const COMPLETED_FRAMEWORKS_MAX: usize = 50;

/// Tasks that are over and are remembered, of each executor.
const COMPLETED_TASKS_MAX: usize = 200;

/// What can be read.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    pub(crate) agent: Option<AgentId>,
    pub(crate) is_connected: bool,
    /// Whether recovery is over.
    pub(crate) is_ready: bool,
    /// All it has; absent while operations have made nothing of what it describes.
    pub(crate) total: Option<Resources>,
    /// Operations whose report is not acknowledged.
    pub(crate) operations: BTreeMap<OperationUuid, LiveOperation>,
    pub(crate) frameworks: BTreeMap<FrameworkId, FrameworkView>,
    pub(crate) completed_frameworks: VecDeque<FrameworkView>,
    /// Executors that are over and are remembered, of each framework.
    pub(crate) completed_executors_max: usize,
}

/// A framework and what it has here.
#[derive(Debug)]
pub(crate) struct FrameworkView {
    pub(crate) id: FrameworkId,
    pub(crate) framework: Framework,
    pub(crate) executors: BTreeMap<ExecutorId, ExecutorView>,
    pub(crate) completed_executors: VecDeque<ExecutorView>,
    /// Which executor has which task.
    owners: BTreeMap<TaskId, ExecutorId>,
}

/// An executor.
#[derive(Debug)]
pub(crate) struct ExecutorView {
    pub(crate) spec: ExecutorSpec,
    pub(crate) container: ContainerId,
    pub(crate) is_command: bool,
    pub(crate) stage: Stage,
    /// Its description, made up for a command task's own one.
    pub(crate) info: Arc<ExecutorInfo>,
    pub(crate) tasks: BTreeMap<TaskId, TaskView>,
    pub(crate) completed_tasks: VecDeque<TaskView>,
}

/// A task.
#[derive(Clone, Debug)]
pub(crate) struct TaskView {
    pub(crate) spec: TaskSpec,
    pub(crate) state: TaskState,
    pub(crate) statuses: Vec<Status>,
    pub(crate) is_delivered: bool,
}

impl Mirror {
    /// Takes in a change.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Ready => self.is_ready = true,
            Change::Identity { agent } => self.agent = Some(agent),
            Change::Connected(is_connected) => self.is_connected = is_connected,
            Change::Framework(framework) => {
                let Some(id) = framework.id.clone() else { return };
                match self.frameworks.get_mut(&id) {
                    Some(view) => view.framework = framework,
                    None => {
                        self.frameworks.insert(id.clone(), FrameworkView::new(id, framework));
                    }
                }
            }
            Change::FrameworkOver(id) => {
                if let Some(view) = self.frameworks.remove(&id) {
                    keep(&mut self.completed_frameworks, view, COMPLETED_FRAMEWORKS_MAX);
                }
            }
            Change::Executor { framework, executor, container, is_command } => {
                let Some(view) = self.frameworks.get_mut(&framework) else { return };
                let info = Arc::new(wire::executor_info(&executor, &framework, None));
                let id = executor.id.clone();
                let executor = ExecutorView {
                    spec: executor,
                    container,
                    is_command,
                    stage: Stage::default(),
                    info,
                    tasks: BTreeMap::new(),
                    completed_tasks: VecDeque::new(),
                };
                view.executors.insert(id, executor);
            }
            Change::ExecutorStage { framework, executor, stage } => {
                let view = self.frameworks.get_mut(&framework);
                if let Some(it) = view.and_then(|view| view.executors.get_mut(&executor)) {
                    it.stage = stage;
                }
            }
            Change::ExecutorOver { framework, executor } => {
                let max = self.completed_executors_max;
                let Some(view) = self.frameworks.get_mut(&framework) else { return };
                if let Some(over) = view.executors.remove(&executor) {
                    view.owners.retain(|_, owner| *owner != executor);
                    keep(&mut view.completed_executors, over, max);
                }
            }
            Change::Task { framework, executor, spec, accepted_at: _ } => {
                self.add_task(&framework, executor, *spec);
            }
            Change::TaskDelivered { framework, task } => {
                if let Some(task) = self.task_mut(&framework, &task) {
                    task.is_delivered = true;
                }
            }
            Change::TaskStatus { framework, status } => self.report(&framework, status),
            Change::Total(total) => self.total = Some(total),
            Change::Operation(live) => {
                self.operations.insert(live.operation.uuid, *live);
            }
            Change::OperationOver(uuid) => {
                self.operations.remove(&uuid);
            }
        }
    }

    fn add_task(&mut self, framework: &FrameworkId, executor: ExecutorId, spec: TaskSpec) {
        let Some(view) = self.frameworks.get_mut(framework) else { return };
        let Some(it) = view.executors.get_mut(&executor) else { return };
        if it.is_command {
            it.info = Arc::new(wire::executor_info(&it.spec, framework, Some(&spec)));
        }
        view.owners.insert(spec.id.clone(), executor);
        let task = TaskView {
            spec: spec.clone(),
            state: TaskState::Staging,
            statuses: Vec::new(),
            is_delivered: false,
        };
        it.tasks.insert(spec.id, task);
    }

    fn task_mut(&mut self, framework: &FrameworkId, task: &TaskId) -> Option<&mut TaskView> {
        let view = self.frameworks.get_mut(framework)?;
        let owner = view.owners.get(task)?;
        view.executors.get_mut(owner)?.tasks.get_mut(task)
    }

    fn report(&mut self, framework: &FrameworkId, status: Status) {
        let id = status.task.clone();
        let Some(task) = self.task_mut(framework, &id) else { return };
        task.state = status.state;
        if task.statuses.last().is_some_and(|last| last.state == status.state) {
            task.statuses.pop();
        }
        task.statuses.push(status);
        if !task.state.is_terminal() {
            return;
        }
        let Some(view) = self.frameworks.get_mut(framework) else { return };
        let Some(executor) = view.owners.remove(&id).and_then(|it| view.executors.get_mut(&it))
        else {
            return;
        };
        if let Some(over) = executor.tasks.remove(&id) {
            keep(&mut executor.completed_tasks, over, COMPLETED_TASKS_MAX);
        }
    }

    /// The executor whose container this is, whether it is over or not, and its framework.
    pub(crate) fn run_in(
        &self,
        container: &ContainerId,
    ) -> Option<(&FrameworkView, &ExecutorView)> {
        let frameworks = self.frameworks.values().chain(&self.completed_frameworks);
        let mut runs = frameworks.flat_map(|framework| {
            let all = framework.executors.values().chain(&framework.completed_executors);
            all.map(move |executor| (framework, executor))
        });
        runs.find(|(_, executor)| executor.container == *container)
    }

    /// The executor, if it is not over.
    pub(crate) fn executor(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> Option<&ExecutorView> {
        self.frameworks.get(framework)?.executors.get(executor)
    }
}

impl FrameworkView {
    fn new(id: FrameworkId, framework: Framework) -> Self {
        Self {
            id,
            framework,
            executors: BTreeMap::new(),
            completed_executors: VecDeque::new(),
            owners: BTreeMap::new(),
        }
    }
}

/// Puts `item` at the end of a history of at most `max`.
fn keep<T>(history: &mut VecDeque<T>, item: T, max: usize) {
    history.push_back(item);
    while history.len() > max {
        history.pop_front();
    }
}
