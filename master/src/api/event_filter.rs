//! Which events somebody may hear of that may not see everything.

use std::collections::{HashMap, HashSet};

use proto::mesos::v1;
use proto::mesos::v1::TaskState;
use proto::mesos::v1::master::Event;
use proto::mesos::v1::master::response::GetState;

use super::viewer::Viewer;

/// What a subscriber has been shown, to tell which news belong to it. What was not shown is nobody's
/// business.
pub(super) struct EventFilter {
    viewer: Viewer,
    /// The frameworks that are seen, each with its user.
    users: HashMap<String, String>,
    /// The tasks that are seen and go on, by framework and id.
    tasks: HashSet<(String, String)>,
}

impl EventFilter {
    /// The filter for one who was shown `state`; absent for one who may see everything.
    pub(super) fn of(viewer: &Viewer, state: &GetState) -> Option<Self> {
        if viewer.sees_everything() {
            return None;
        }
        let mut filter =
            Self { viewer: viewer.clone(), users: HashMap::new(), tasks: HashSet::new() };
        for framework in state.get_frameworks.iter().flat_map(|all| &all.frameworks) {
            filter.see_framework(&framework.framework_info);
        }
        if let Some(tasks) = &state.get_tasks {
            filter.tasks.extend(tasks.tasks.iter().chain(&tasks.unreachable_tasks).map(key));
        }
        Some(filter)
    }

    /// Whether the subscriber may hear of this. What it may not see of it is left out.
    pub(super) fn passes(&mut self, event: &mut Event) -> bool {
        let framework = event
            .framework_added
            .as_mut()
            .map(|it| &mut it.framework)
            .or(event.framework_updated.as_mut().map(|it| &mut it.framework));
        if let Some(framework) = framework {
            self.viewer.narrow_framework(framework);
            return self.see_framework(&framework.framework_info);
        }
        if let Some(added) = &mut event.agent_added {
            self.viewer.narrow_agent(&mut added.agent);
            return true;
        }
        if let Some(removed) = &event.framework_removed {
            let id = removed.framework_info.id.as_ref().map_or("", |id| &id.value);
            self.tasks.retain(|(framework, _)| framework != id);
            return self.users.remove(id).is_some();
        }
        if let Some(added) = &event.task_added {
            let task = &added.task;
            let user = self.users.get(&task.framework_id.value);
            let is_seen =
                user.is_some_and(|user| self.viewer.sees_task(task.user.as_deref(), user));
            if is_seen {
                self.tasks.insert(key(task));
            }
            return is_seen;
        }
        if let Some(updated) = &event.task_updated {
            let key = (updated.framework_id.value.clone(), updated.status.task_id.value.clone());
            // `updated.state` may be ahead of the status: the last one is still to come then.
            let is_over = is_terminal(updated.status.state());
            return if is_over { self.tasks.remove(&key) } else { self.tasks.contains(&key) };
        }
        true
    }

    fn see_framework(&mut self, info: &v1::FrameworkInfo) -> bool {
        let is_seen = self.viewer.sees_framework(info);
        if let (true, Some(id)) = (is_seen, &info.id) {
            self.users.insert(id.value.clone(), info.user.clone());
        }
        is_seen
    }
}

fn key(task: &v1::Task) -> (String, String) {
    (task.framework_id.value.clone(), task.task_id.value.clone())
}

fn is_terminal(state: TaskState) -> bool {
    match state {
        TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskKilled
        | TaskState::TaskError
        | TaskState::TaskLost
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator => true,
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling
        | TaskState::TaskUnreachable
        | TaskState::TaskUnknown => false,
    }
}
