//! Status reports: what they say of an instance, and what follows.

use super::settle::Target;
use super::{Marathon, advance, ailing, containers, readiness, residence, search};
use crate::app::UnreachableStrategy;
use crate::backoff::Backoff;
use crate::event::Happening;
use crate::health::Verdict;
use crate::ids::InstanceId;
use crate::instance::{Condition, Goal, Instance, Task};
use crate::io::{Output, TaskFailure, UpdateView};
use model::step::Now;
use model::task::{Reason, Status, TaskState};
use std::sync::Arc;
use std::time::Duration;

/// What is kept of a message, in bytes. An executor may say any number of them, and a record that is larger than
/// the masters take would cost the lead, of every leader in turn.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Takes in one report.
pub(super) fn update(marathon: &mut Marathon, update: &UpdateView, now: Now) {
    if !marathon.is_leading {
        return;
    }
    let status = &update.status;
    let instance = InstanceId::of_task(status.task.as_str())
        .and_then(|id| marathon.instance(&id).cloned())
        .filter(|it| it.task.as_ref().is_some_and(|task| task.is(&status.task)));
    match instance {
        Some(instance) if instance.app.is_pod() => {
            containers::heard(marathon, &instance, update, now);
        }
        Some(instance) => known(marathon, &instance, update, now),
        None if search::is_answer(marathon, status) => {}
        None => unknown(marathon, status, now),
    }
    // Who only waits to run there has no task of which it could be told.
    if let (TaskState::GoneByOperator, Some(agent)) = (status.state, &status.agent) {
        residence::agent_gone(marathon, agent, now);
    }
    // Last of all, so that it goes out only when what it led to is stored.
    if let (Some(uuid), Some(agent)) = (status.uuid, status.agent.clone()) {
        let task = status.task.clone();
        marathon.outbox.push(Output::Acknowledge { agent, task, uuid });
    }
}

/// A task that no instance has: ours of old, or nobody's. If it lives, it must not.
fn unknown(marathon: &mut Marathon, status: &Status, now: Now) {
    match status.state {
        TaskState::Staging | TaskState::Starting | TaskState::Running => {
            marathon.kill_orphan(status.task.clone(), status.agent.clone());
        }
        // On its way out already, or out of reach. If it comes back it is reported again.
        TaskState::Killing | TaskState::Unreachable | TaskState::Unknown => {}
        TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed
        | TaskState::Error
        | TaskState::Lost
        | TaskState::Dropped
        | TaskState::Gone
        | TaskState::GoneByOperator => {
            if let Some(instance) = InstanceId::of_task(status.task.as_str()) {
                let known = marathon.instance(&instance).map(|it| it.app.id.clone());
                let safe = instance.as_str().split(".instance-").next().unwrap_or_default();
                let app = known.or_else(|| crate::ids::AppId::parse(&safe.replace('_', "/")).ok());
                let app = app.unwrap_or_else(crate::ids::AppId::root);
                let condition = end_name(status.state);
                let what = Happening::UnknownInstanceTerminated { instance, app, condition };
                marathon.tell(what, now);
            }
        }
    }
}

fn known(marathon: &mut Marathon, instance: &Arc<Instance>, update: &UpdateView, now: Now) {
    let status = &update.status;
    let state = status.state;
    if state.is_terminal() || state == TaskState::Unknown {
        tell_status(marathon, instance, update, now);
        ended(marathon, instance, status, now);
        return;
    }
    if !matches!(state, TaskState::Staging | TaskState::Unreachable) {
        marathon.confirm_reservation(instance);
    }
    let was = instance.condition.task_state();
    if was != state || instance.condition == Condition::Provisioned {
        tell_status(marathon, instance, update, now);
    }
    if state == TaskState::Unreachable {
        unreachable(marathon, instance, status, now);
        return;
    }
    let mut changed = (**instance).clone();
    let task = changed.task.as_mut().expect("it was found by its task");
    task.unreachable_at = None;
    if update.check.is_some() {
        task.check.clone_from(&update.check);
    }
    if !update.addresses.is_empty() {
        task.addresses.clone_from(&update.addresses);
    }
    changed.condition = match (instance.condition, state) {
        // Asked to end, it stays so until it has ended, whatever it does meanwhile.
        (Condition::Killing, _) | (_, TaskState::Killing) => Condition::Killing,
        // Reports may come late or twice; a task never goes back.
        (_, TaskState::Running) | (Condition::Running, _) => Condition::Running,
        (_, TaskState::Starting) | (Condition::Starting, _) => Condition::Starting,
        (_, _) => Condition::Staging,
    };
    if state == TaskState::Running {
        task.started_at = task.started_at.or(Some(status.at));
    }
    health(marathon, &mut changed, update, now);
    let is_asked = instance.condition == Condition::Killing;
    if let Some(task) = changed.task.as_mut().filter(|_| !is_asked && state == TaskState::Killing) {
        task.health.ends_task = task.health.is_healthy == Some(false);
    }
    readiness::begin(marathon, &mut changed, now);
    if changed == **instance {
        return;
    }
    if changed.condition != instance.condition {
        marathon.watch(&changed, now);
    }
    ailing::look_later(marathon, &changed, now);
    marathon.put_instance(changed, now);
}

/// Takes in what the health checks say, if the report has it.
pub(super) fn health(
    marathon: &mut Marathon,
    instance: &mut Instance,
    update: &UpdateView,
    now: Now,
) {
    let status = &update.status;
    let (Some(is_healthy), Some(task)) = (status.healthy, instance.task.as_mut()) else { return };
    let was = task.health.is_healthy;
    let verdict = Verdict {
        is_healthy,
        failing: &update.failing,
        // Several reports say the same, one for each state.
        is_fresh: status.reason == Some(Reason::TaskHealthCheckStatusUpdated),
        at: status.at.min(now.wall),
        cause: status.message.as_ref(),
    };
    let checks = &instance.app.health_checks;
    for place in task.health.hear(verdict, checks.len()) {
        if let Some(check) = checks.get(place) {
            let (app, instance) = (instance.app.id.clone(), instance.id.clone());
            let what = Happening::HealthCheckFailed { app, instance, check: check.clone() };
            marathon.tell(what, now);
        }
    }
    if was != Some(is_healthy) {
        let (app, id) = (instance.app.id.clone(), instance.id.clone());
        let version = instance.app.version;
        let what = Happening::InstanceHealthChanged {
            instance: id.clone(),
            app: app.clone(),
            is_healthy,
            version,
        };
        marathon.tell(what, now);
        let what =
            Happening::HealthStatusChanged { app, instance: id, version, is_alive: is_healthy };
        marathon.tell(what, now);
    }
}

/// The agent of an instance is out of contact.
pub(super) fn unreachable(
    marathon: &mut Marathon,
    instance: &Arc<Instance>,
    status: &Status,
    now: Now,
) {
    let is_noted = instance.task.as_ref().is_some_and(|task| task.unreachable_at.is_some());
    if is_noted {
        return;
    }
    if instance.goal == Goal::Decommissioned {
        marathon.remove_instance(&instance.id, Condition::Unreachable.name(), now);
        return;
    }
    let mut changed = (**instance).clone();
    changed.condition = Condition::Unreachable;
    if let Some(task) = changed.task.as_mut() {
        task.unreachable_at = Some(status.at.min(now.wall));
    }
    let id = changed.id.clone();
    marathon.put_instance(changed, now);
    unreachable_due(marathon, &id, now);
}

/// Does with an unreachable instance what its time has come for.
pub(super) fn unreachable_due(marathon: &mut Marathon, id: &InstanceId, now: Now) {
    let Some(instance) = marathon.instance(id).cloned() else { return };
    let since = instance.task.as_ref().and_then(|task| task.unreachable_at);
    let Some(since) = since else { return };
    let strategy = marathon.unreachable_strategy(&instance);
    let UnreachableStrategy::After { inactive_after, expunge_after } = strategy else { return };
    let passed = now.wall.since(since);
    if passed >= expunge_after {
        marathon.remove_instance(id, instance.condition.name(), now);
        return;
    }
    if passed >= inactive_after && instance.condition == Condition::Unreachable {
        let mut changed = (*instance).clone();
        changed.condition = Condition::UnreachableInactive;
        marathon.put_instance(changed.clone(), now);
        marathon.watch(&changed, now);
        return;
    }
    marathon.watch(&instance, now);
}

/// The task of an instance has ended: on with the next one, or with none.
fn ended(marathon: &mut Marathon, instance: &Arc<Instance>, status: &Status, now: Now) {
    let Some(task) = &instance.task else { return };
    let was_asked = instance.condition == Condition::Killing && !task.health.ends_task;
    let is_unhealthy = status.healthy == Some(false) || task.health.is_healthy == Some(false);
    if is_unhealthy && !was_asked {
        tell_unhealthy(marathon, instance, task, status.message.clone(), now);
    }
    let has_failed = is_failure(status, was_asked, is_unhealthy);
    over(marathon, instance, status, has_failed, now);
}

/// Nothing of `instance` runs any more, and `status` says how that came.
pub(super) fn over(
    marathon: &mut Marathon,
    instance: &Arc<Instance>,
    status: &Status,
    has_failed: bool,
    now: Now,
) {
    let Some(task) = &instance.task else { return };
    note_failure(marathon, instance, task, status, now);
    let app = instance.app.id.clone();
    let kept = keep_reservation(marathon, instance, status, now);
    let end = end_name(status.state);
    let target = marathon.target(&app);
    let is_dropped = match &target {
        Target::Nothing => true,
        // While it is held the old ones are to go on as they were.
        Target::Replace { app, bounds } => {
            let is_held = marathon.is_paused(&app.id) || bounds.new_max.is_some();
            !instance.is_current(app) && !is_held
        }
        Target::Move { app, who, .. } => who.contains(&instance.id) && !marathon.is_paused(&app.id),
        Target::Scale { .. } => false,
    };
    let is_replaced = instance.condition == Condition::UnreachableInactive;
    if instance.goal == Goal::Decommissioned || is_dropped || is_replaced {
        marathon.remove_instance(&instance.id, end, now);
        return;
    }
    marathon.tell_condition(instance, end, now);
    let mut changed = (**instance).clone();
    if has_failed {
        let ran_for = task.started_at.map_or(Duration::ZERO, |at| now.wall.since(at));
        let (before, resets) = (marathon.backoff(instance), marathon.resets(&app));
        let backoff = Backoff::after(before, &instance.app, ran_for, resets, now.wall);
        changed.backoff = Some(backoff);
    }
    changed.condition = Condition::Scheduled;
    changed.incarnation += 1;
    changed.task = None;
    changed.reservation = kept;
    changed.app = match target {
        Target::Scale { app, .. } => app,
        Target::Replace { app, .. } | Target::Move { app, .. } if instance.is_current(&app) => app,
        Target::Replace { .. } | Target::Move { .. } | Target::Nothing => changed.app,
    };
    let id = changed.id.clone();
    marathon.put_instance(changed, now);
    marathon.enqueue(&app, id, now);
    if has_failed {
        advance::task_failed(marathon, instance, status.message.as_deref().unwrap_or("-"), now);
    }
}

/// What is still reserved for `instance` after its task ended as `status` says.
fn keep_reservation(
    marathon: &mut Marathon,
    instance: &Instance,
    status: &Status,
    now: Now,
) -> Option<Arc<str>> {
    let id = instance.reservation.clone()?;
    if is_agent_gone(instance, status) {
        marathon.forget_reservation(&id);
        return None;
    }
    if marathon.loses_reservation(instance, status) {
        marathon.give_up(&id, now);
        return None;
    }
    marathon.confirm_reservation(instance);
    Some(id)
}

/// Whether the task of `instance` ended because its agent is gone for good, with all that was reserved there.
fn is_agent_gone(instance: &Instance, status: &Status) -> bool {
    // Of a pod one container may have ended before its agent was given up, and in a worse way.
    let mut containers = instance.task.iter().flat_map(|task| &task.containers);
    status.state == TaskState::GoneByOperator
        || containers.any(|it| it.state == TaskState::GoneByOperator)
}

/// Whether an end speaks against the app, so that the next launch has to wait.
///
/// What was asked for does not, and what befell the agent does not.
pub(super) fn is_failure(status: &Status, was_asked: bool, is_unhealthy: bool) -> bool {
    if was_asked || status.reason == Some(Reason::AgentDraining) {
        return false;
    }
    match status.state {
        TaskState::Failed | TaskState::Error | TaskState::Finished => true,
        TaskState::Killed => is_unhealthy,
        TaskState::Dropped | TaskState::Lost => !matches!(
            status.reason,
            Some(
                Reason::InvalidOffers
                    | Reason::AgentRemoved
                    | Reason::AgentDisconnected
                    | Reason::AgentUnknown
                    | Reason::AgentRemovedByOperator
                    | Reason::AgentRestarted
                    | Reason::MasterDisconnected
                    | Reason::Reconciliation
            )
        ),
        TaskState::Staging
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Unreachable
        | TaskState::Gone
        | TaskState::GoneByOperator
        | TaskState::Unknown => false,
    }
}

/// Of the message of `status` what is kept.
pub(super) fn kept_message(status: &Status) -> Option<Arc<str>> {
    let message = status.message.as_ref()?;
    let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
    Some(if end < message.len() { message[..end].into() } else { message.clone() })
}

fn note_failure(
    marathon: &mut Marathon,
    instance: &Instance,
    task: &Task,
    status: &Status,
    now: Now,
) {
    let is_bad = !matches!(status.state, TaskState::Killed | TaskState::Finished);
    if !is_bad || !marathon.books.tree.apps.contains_key(&instance.app.id) {
        return;
    }
    let failure = TaskFailure {
        app: instance.app.id.clone(),
        host: task.place.host.clone(),
        message: kept_message(status).unwrap_or_else(|| "".into()),
        state: status.state.name(),
        task: task.id.clone(),
        agent: task.place.agent.clone(),
        at: now.wall,
        version: instance.app.version,
    };
    marathon.put_failure(failure);
}

pub(super) fn tell_unhealthy(
    marathon: &mut Marathon,
    instance: &Instance,
    task: &Task,
    why: Option<Arc<str>>,
    now: Now,
) {
    let what = Happening::UnhealthyInstanceKill {
        app: instance.app.id.clone(),
        task: task.id.as_str().into(),
        instance: instance.id.clone(),
        version: instance.app.version,
        reason: why.unwrap_or_else(|| "health check failed".into()),
        host: task.place.host.clone(),
        agent: task.place.agent.as_str().into(),
    };
    marathon.tell(what, now);
}

pub(super) fn tell_status(
    marathon: &mut Marathon,
    instance: &Instance,
    update: &UpdateView,
    now: Now,
) {
    let Some(task) = &instance.task else { return };
    let status = &update.status;
    let what = Happening::StatusUpdate {
        agent: Some(task.place.agent.as_str().into()),
        task: status.task.as_str().into(),
        state: status.state,
        message: status.message.clone().unwrap_or_else(|| "".into()),
        app: instance.app.id.clone(),
        host: task.place.host.clone(),
        addresses: if update.addresses.is_empty() {
            task.addresses.clone()
        } else {
            update.addresses.clone()
        },
        ports: task.ports.clone(),
        version: instance.app.version,
    };
    marathon.tell(what, now);
}

/// Tells that `instance` is to end, before its agent hears of it: whoever balances load can look elsewhere. Its
/// agent says the same, and is not repeated.
pub(super) fn tell_killing(marathon: &mut Marathon, instance: &Instance, why: &str, now: Now) {
    let Some(task) = &instance.task else { return };
    let what = Happening::StatusUpdate {
        agent: Some(task.place.agent.as_str().into()),
        task: task.id.as_str().into(),
        state: TaskState::Killing,
        message: why.into(),
        app: instance.app.id.clone(),
        host: task.place.host.clone(),
        addresses: task.addresses.clone(),
        ports: task.ports.clone(),
        version: instance.app.version,
    };
    marathon.tell(what, now);
}

/// How an ended instance is called in events.
fn end_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Finished => "Finished",
        TaskState::Failed => "Failed",
        TaskState::Killed => "Killed",
        TaskState::Error => "Error",
        TaskState::Dropped => "Dropped",
        TaskState::Gone | TaskState::GoneByOperator => "Gone",
        TaskState::Lost
        | TaskState::Unknown
        | TaskState::Staging
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Unreachable => "Unknown",
    }
}
