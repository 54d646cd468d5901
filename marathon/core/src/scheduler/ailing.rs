//! Instances that fail their health check where Marathon, and not the agent, is to end them.
//!
//! The agent reports when a task turns from healthy to unhealthy and back. One that stays unhealthy for as long
//! as its allowed failures take is ailing: it is replaced, and goes when its replacement serves.

use super::{Marathon, updates};
use crate::ids::{AppId, InstanceId};
use crate::instance::{Condition, Goal, Instance};
use crate::pace;
use model::step::{Now, Time, Timestamp};
use std::collections::BTreeSet;

/// Who of `app` is ailing.
pub(super) fn of(marathon: &Marathon, app: &AppId, now: Now) -> BTreeSet<InstanceId> {
    let all = marathon.instances_of(app).into_iter();
    let ailing = all.filter(|it| since(it).is_some_and(|at| at <= now.wall));
    ailing.map(|it| it.id.clone()).collect()
}

/// When `instance` is ailing, if it stays as it is.
pub(super) fn due_at(instance: &Instance, now: Now) -> Option<Time> {
    since(instance).map(|at| now.time + at.since(now.wall))
}

/// From when on `instance` is ailing, if it stays as it is.
fn since(instance: &Instance) -> Option<Timestamp> {
    let is_up = instance.condition == Condition::Running && instance.goal == Goal::Running;
    if !is_up || !pace::replaces_first(&instance.app) {
        return None;
    }
    let app = &instance.app;
    let of_app = app.health_checks.first().map(|it| (it.interval, it.max_consecutive_failures));
    let of_pod = app.pod.iter().flat_map(|pod| &pod.containers).find_map(|container| {
        let check = container.health_check.as_ref()?;
        Some((check.interval, check.max_consecutive_failures))
    });
    let (interval, failures_max) = of_app.or(of_pod)?;
    let since = instance.task.as_ref()?.health.unhealthy_since?;
    // The first failure was at `since`; the last allowed one is so many intervals later.
    Some(since.plus(interval * failures_max.saturating_sub(1)))
}

/// Tells that an ailing instance is ended.
pub(super) fn tell(marathon: &mut Marathon, id: &InstanceId, now: Now) {
    let Some(instance) = marathon.instance(id).cloned() else { return };
    if let Some(task) = &instance.task {
        let why = task.health.last_failure_cause.clone();
        updates::tell_unhealthy(marathon, &instance, task, why, now);
    }
}
