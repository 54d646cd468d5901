//! The tasks, and what their frameworks are told of them.

use super::{Books, Turn};
use crate::note::Note;
use crate::view::{TaskKey, TaskList, TaskView, ViewChange};
use model::event::SchedulerEvent;
use model::ids::{AgentId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::role::Role;
use model::task::{Source, Status, TaskSpec, TaskState};
use std::sync::Arc;

/// How many reports are kept of one task. A task that flips between reachable and unreachable for
/// ever must not fill the memory.
const STATUSES_MAX: usize = 32;

/// A task of a framework.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) key: TaskKey,
    pub(crate) spec: Arc<TaskSpec>,
    /// Absent for a command task.
    pub(crate) executor: Option<ExecutorId>,
    /// As whom it runs, if it or its executor names a user.
    pub(crate) user: Option<Arc<str>>,
    pub(crate) agent: AgentId,
    pub(crate) role: Role,
    /// The latest state known.
    pub(crate) state: TaskState,
    /// The state last reported by the agent, and the report's id.
    pub(crate) reported: Option<(TaskState, UpdateId)>,
    pub(crate) statuses: Vec<Status>,
}

impl Task {
    /// Whether it counts as using its resources.
    pub(crate) fn uses_resources(&self) -> bool {
        !self.state.is_terminal() && self.state != TaskState::Unreachable
    }

    /// Keeps a report, without its data; of several with one state in a row, the last.
    pub(crate) fn keep(&mut self, status: Status) {
        if self.statuses.last().is_some_and(|last| last.state == status.state) {
            self.statuses.pop();
        }
        if self.statuses.len() >= STATUSES_MAX {
            self.statuses.remove(0);
        }
        self.statuses.push(status.without_data());
    }

    /// A report by the master itself.
    pub(crate) fn report(&self, state: TaskState, turn: &Turn<'_>) -> Status {
        let mut status = Status::new(self.spec.id.clone(), state, Source::Master, turn.now.wall);
        status.agent = Some(self.agent.clone());
        status.executor.clone_from(&self.executor);
        status
    }

    pub(crate) fn view(&self, framework: &FrameworkId, list: TaskList) -> TaskView {
        TaskView {
            key: self.key,
            list,
            framework: framework.clone(),
            spec: self.spec.clone(),
            executor: self.executor.clone(),
            user: self.user.clone(),
            agent: self.agent.clone(),
            role: self.role.clone(),
            state: self.state,
            statuses: self.statuses.clone(),
        }
    }
}

impl Books {
    /// The next key for a task.
    pub(crate) fn task_key(&mut self) -> TaskKey {
        self.tasks_seen += 1;
        TaskKey(self.tasks_seen)
    }

    /// Puts a live task in the books, without booking what it uses.
    pub(crate) fn insert_task(&mut self, framework: &FrameworkId, task: Task, turn: &mut Turn<'_>) {
        let view = Arc::new(task.view(framework, TaskList::Live));
        turn.note(Note::TaskAdded(view.clone()));
        turn.view(ViewChange::PutTask(view));
        let id = task.spec.id.clone();
        let agent = self.agents.get_mut(&task.agent).expect("tasks are put on known agents");
        agent.tasks.insert((framework.clone(), id.clone()));
        let owner = self.frameworks.get_mut(framework).expect("tasks are of known frameworks");
        owner.tasks.insert(id, task);
    }

    /// Takes a live task out of the books, without freeing what it used.
    pub(crate) fn take_task(&mut self, framework: &FrameworkId, id: &TaskId) -> Option<Task> {
        let task = self.frameworks.get_mut(framework)?.tasks.remove(id)?;
        if let Some(agent) = self.agents.get_mut(&task.agent) {
            let name = (framework.clone(), id.clone());
            agent.kills.remove(&name);
            agent.tasks.remove(&name);
        }
        Some(task)
    }

    /// Gives a live task another state, and frees what it used if it is over.
    pub(crate) fn set_state(
        &mut self,
        framework: &FrameworkId,
        id: &TaskId,
        state: TaskState,
        turn: &Turn<'_>,
    ) {
        let Some(owner) = self.frameworks.get_mut(framework) else { return };
        let Some(task) = owner.tasks.get_mut(id) else { return };
        let used = task.uses_resources();
        task.state = state;
        self.unpublished.task(framework, id);
        if used && !task.uses_resources() {
            owner.counts.end(state);
            let (role, agent, spec) = (task.role.clone(), task.agent.clone(), task.spec.clone());
            if let Some(agent) = self.agents.get_mut(&agent) {
                agent.kills.remove(&(framework.clone(), id.clone()));
            }
            self.free_used(framework, &role, &agent, &spec.resources, turn);
        }
    }

    /// Ends a live task by the master's own word: its framework is told, once, and it is over. A task
    /// that had ended is over without a word.
    pub(crate) fn end_task(
        &mut self,
        framework: &FrameworkId,
        id: &TaskId,
        state: TaskState,
        turn: &mut Turn<'_>,
        explain: impl FnOnce(&mut Status),
    ) {
        let owner = self.frameworks.get_mut(framework);
        let Some(task) = owner.and_then(|owner| owner.tasks.get_mut(id)) else { return };
        let had_ended = task.state.is_terminal();
        let mut status = task.report(state, turn);
        explain(&mut status);
        if !had_ended {
            task.keep(status.clone());
            self.set_state(framework, id, state, turn);
            turn.note(Note::TaskUpdated {
                framework: framework.clone(),
                status: status.clone(),
                latest: state,
            });
            self.tell_update(framework, status, turn);
        }
        if let Some(task) = self.take_task(framework, id) {
            self.complete_task(framework, &task, turn);
        }
    }

    /// Shows a task among those that are over.
    pub(crate) fn complete_task(
        &mut self,
        framework: &FrameworkId,
        task: &Task,
        turn: &mut Turn<'_>,
    ) {
        let view = task.view(framework, TaskList::Completed);
        turn.view(ViewChange::PutTask(Arc::new(view)));
        let Some(owner) = self.frameworks.get_mut(framework) else { return };
        owner.completed.push_back(task.key);
        while owner.completed.len() > self.config.completed_tasks_max {
            let oldest = owner.completed.pop_front().expect("there are more than the limit");
            turn.view(ViewChange::RemoveTask(oldest));
        }
    }

    /// Puts a task among those out of contact. The oldest give way when there are too many.
    pub(crate) fn insert_unreachable(
        &mut self,
        framework: &FrameworkId,
        task: Task,
        turn: &mut Turn<'_>,
    ) {
        turn.view(ViewChange::PutTask(Arc::new(task.view(framework, TaskList::Unreachable))));
        let Some(owner) = self.frameworks.get_mut(framework) else { return };
        let name = (framework.clone(), task.spec.id.clone());
        self.unreachable_on.entry(task.agent.clone()).or_default().insert(name);
        owner.unreachable.insert(task.spec.id.clone(), task);
        while owner.unreachable.len() > self.config.unreachable_tasks_max {
            let oldest = owner.unreachable.iter().min_by_key(|(_, task)| task.key);
            let id = oldest.map(|(id, _)| id.clone()).expect("there are more than the limit");
            let task = owner.unreachable.remove(&id).expect("it was just found");
            turn.view(ViewChange::RemoveTask(task.key));
            if let Some(names) = self.unreachable_on.get_mut(&task.agent) {
                names.remove(&(framework.clone(), id));
            }
        }
    }

    /// Takes out the tasks that went out of contact with an agent and have not come back otherwise.
    pub(crate) fn take_unreachable_on(&mut self, agent: &AgentId) -> Vec<(FrameworkId, Task)> {
        // Whoever is over, or came back, is named there still.
        let names = self.unreachable_on.remove(agent).unwrap_or_default();
        let mut taken = Vec::new();
        for (framework, id) in names {
            let Some(owner) = self.frameworks.get_mut(&framework) else { continue };
            if owner.unreachable.get(&id).is_some_and(|task| task.agent == *agent) {
                let task = owner.unreachable.remove(&id).expect("it was just found");
                taken.push((framework, task));
            }
        }
        taken
    }

    /// Remembers of an agent only those tasks that are out of contact still.
    pub(crate) fn forget_ended_on(&mut self, agent: &AgentId) {
        let Some(names) = self.unreachable_on.get_mut(agent) else { return };
        names.retain(|(framework, id)| {
            let owner = self.frameworks.get(framework);
            owner.is_some_and(|owner| owner.unreachable.contains_key(id))
        });
        if names.is_empty() {
            self.unreachable_on.remove(agent);
        }
    }

    /// Tells a framework of a task, in words it knows, if it is connected.
    pub(crate) fn tell_update(
        &mut self,
        framework: &FrameworkId,
        mut status: Status,
        turn: &mut Turn<'_>,
    ) {
        let Some(owner) = self.frameworks.get(framework) else { return };
        if !owner.is_partition_aware() {
            status.state = status.state.for_unaware();
        }
        self.tell(framework, SchedulerEvent::Update(status), turn);
    }
}
