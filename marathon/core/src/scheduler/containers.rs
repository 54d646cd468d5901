//! Status reports of the containers of pods: what they make of the instance as a whole.
//!
//! A pod is as its containers are taken together. One that ends well leaves the others running; one
//! that ends badly takes the others with it, and the instance is over when the last has ended.

use super::{Marathon, ailing, updates};
use crate::instance::{Condition, Container, Instance, Task, Termination};
use crate::io::UpdateView;
use crate::view::Change;
use model::step::Now;
use model::task::{Status, TaskState};
use std::sync::Arc;

/// Takes in a report about one container of `instance`.
pub(super) fn heard(
    marathon: &mut Marathon,
    instance: &Arc<Instance>,
    update: &UpdateView,
    now: Now,
) {
    let status = &update.status;
    let mut changed = (**instance).clone();
    let Some(task) = changed.task.as_mut() else { return };
    let was_asked = was_asked(instance.condition, task);
    let Some(container) = task.containers.iter_mut().find(|it| it.task == status.task) else {
        return;
    };
    // Told again; its end is known.
    if container.state.is_terminal() {
        return;
    }
    if container.state != status.state || instance.condition == Condition::Provisioned {
        updates::tell_status(marathon, instance, update, now);
    }
    if status.state == TaskState::Unreachable {
        updates::unreachable(marathon, instance, status, now);
        return;
    }
    let is_over = note(container, status, was_asked);
    if !is_over {
        marathon.confirm_reservation(instance);
    }
    let is_broken = container.is_broken;
    task.unreachable_at = None;
    if !update.addresses.is_empty() {
        task.addresses.clone_from(&update.addresses);
    }
    if is_over && status.healthy == Some(false) && !was_asked {
        let why = status.message.clone();
        updates::tell_unhealthy(marathon, instance, task, why, now);
    }
    if task.containers.iter().all(|it| it.state.is_terminal()) {
        ended(marathon, changed, status, now);
        return;
    }
    changed.condition = condition(instance.condition, task);
    if changed.condition == Condition::Running {
        task.started_at = task.started_at.or(Some(status.at));
    }
    if !is_over {
        let status = Status { healthy: verdict(&changed), ..status.clone() };
        updates::health(marathon, &mut changed, &UpdateView::plain(status), now);
    }
    if changed == **instance {
        return;
    }
    if changed.condition != instance.condition {
        marathon.watch(&changed, now);
    }
    marathon.put_instance(changed.clone(), now);
    ailing::look_later(marathon, &changed, now);
    if is_broken && instance.condition != Condition::Killing {
        // Its executor ends the others by itself; whether it does is not to be relied on.
        marathon.kill(&changed, changed.goal, now);
    }
}

/// Whether somebody wanted this instance to end, before anything broke in it.
fn was_asked(condition: Condition, task: &Task) -> bool {
    condition == Condition::Killing && !task.containers.iter().any(|it| it.is_broken)
}

/// Notes a report about `container`. Whether it has ended.
fn note(container: &mut Container, status: &Status, was_asked: bool) -> bool {
    // What nobody knows any more has ended, nobody knows how.
    let state = if status.state == TaskState::Unknown { TaskState::Lost } else { status.state };
    if container.state != state || container.is_healthy != status.healthy.or(container.is_healthy) {
        container.changed_at = status.at;
    }
    container.state = state;
    container.is_healthy = status.healthy.or(container.is_healthy);
    if status.message.is_some() {
        container.message = updates::kept_message(status);
    }
    if !state.is_terminal() {
        return false;
    }
    let is_unhealthy = container.is_healthy == Some(false);
    container.is_broken = !was_asked && state != TaskState::Finished;
    container.has_failed = updates::is_failure(status, was_asked, is_unhealthy);
    true
}

/// How an instance is whose containers are so, and which was as `before`.
fn condition(before: Condition, task: &Task) -> Condition {
    let any = |state| task.containers.iter().any(|container| container.state == state);
    // Asked to end, it stays so until it has ended; a pod never goes back to an earlier state.
    if matches!(before, Condition::Killing | Condition::Running) {
        before
    } else if any(TaskState::Staging) {
        Condition::Staging
    } else if any(TaskState::Starting) {
        Condition::Starting
    } else {
        Condition::Running
    }
}

/// What the health checks of all containers say together; absent until all that are checked have said
/// something.
fn verdict(instance: &Instance) -> Option<bool> {
    let pod = instance.app.pod.as_ref()?;
    let task = instance.task.as_ref()?;
    let is_checked = |it: &&Container| {
        pod.container(&it.name).is_some_and(|it| it.health_check.is_some())
            && it.state != TaskState::Finished
    };
    let mut all = task.containers.iter().filter(is_checked).map(|it| it.is_healthy).peekable();
    all.peek()?;
    let verdicts: Vec<Option<bool>> = all.collect();
    if verdicts.contains(&Some(false)) {
        return Some(false);
    }
    verdicts.into_iter().collect::<Option<Vec<bool>>>().map(|_| true)
}

/// Every container of `instance` has ended, the last one as `last` says.
fn ended(marathon: &mut Marathon, mut instance: Instance, last: &Status, now: Now) {
    let Some(task) = instance.task.as_mut() else { return };
    let containers = task.containers.clone();
    let has_failed = containers.iter().any(|container| container.has_failed);
    // A pod that did all it had to is run again, as an app is, and not at once.
    let is_finished = containers.iter().all(|it| it.state == TaskState::Finished);
    let worst =
        containers.iter().min_by_key(|it| severity(it)).map(|it| (it.state, it.message.clone()));
    let (state, message) = worst.unwrap_or((last.state, None));
    let termination = Termination {
        instance: instance.id.clone(),
        started_at: task.started_at.unwrap_or(task.staged_at),
        ended_at: now.wall,
        containers,
    };
    let id = instance.app.id.clone();
    // Of a pod that is gone nobody can ask any more.
    if marathon.books.tree.pod(&id).is_some() {
        marathon.show(Change::Ended(id, Some(Arc::new(termination))));
    }
    let status = Status { state, message, ..last.clone() };
    updates::over(marathon, &Arc::new(instance), &status, has_failed || is_finished, now);
}

/// What of several ends stands for all of them: the first of the worst kind.
fn severity(container: &Container) -> u8 {
    let is = |state| container.state == state;
    let worse = [is(TaskState::Error), container.has_failed, container.is_broken];
    let kind = worse.iter().position(|it| *it).unwrap_or(worse.len());
    // A good end stands for all only if all are good.
    u8::try_from(kind).unwrap_or(u8::MAX) + u8::from(is(TaskState::Finished))
}
