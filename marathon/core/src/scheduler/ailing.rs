//! Instances that fail their health check where Marathon, and not the agent, is to end them.
//!
//! The agent reports when a task turns from healthy to unhealthy and back. One that stays unhealthy for as long
//! as its allowed failures take is ailing: it is replaced, and goes when its replacement serves.

use super::{Due, Marathon, updates};
use crate::ids::{AppId, InstanceId};
use crate::instance::Instance;
use crate::pace;
use model::step::{Now, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// Ten years: longer no instance is watched.
const PATIENCE_MAX: Duration = Duration::from_secs(315_360_000);

/// Who of `app` is ailing.
pub(super) fn of(marathon: &Marathon, app: &AppId, now: Now) -> BTreeSet<InstanceId> {
    let unwell = marathon.instances_of(app).unwell();
    let ailing = unwell.filter(|it| since(marathon, it).is_some_and(|at| at <= now.wall));
    ailing.map(|it| it.id.clone()).collect()
}

/// Has the app of `instance` looked at again when that is ailing, if it stays as it is.
pub(super) fn look_later(marathon: &mut Marathon, instance: &Instance, now: Now) {
    let at = since(marathon, instance).map(|at| now.time + at.since(now.wall));
    if let Some(at) = at.filter(|at| *at > now.time) {
        marathon.wake_at(at, Due::Look(instance.app.id.clone()));
    }
}

/// What is said of `app` has changed: how many failures are too many may have, too.
pub(super) fn look_later_at_all(marathon: &mut Marathon, app: &AppId, now: Now) {
    let unwell: Vec<_> = marathon.instances_of(app).unwell().cloned().collect();
    for instance in unwell {
        look_later(marathon, &instance, now);
    }
}

/// From when on `instance` is ailing, if it stays as it is.
fn since(marathon: &Marathon, instance: &Instance) -> Option<Timestamp> {
    // What its agent was told counts for whether it is judged here, and what is said now for how.
    if !instance.is_unwell() || !pace::replaces_first(&instance.app) {
        return None;
    }
    let present = marathon.books.tree.apps.get(&instance.app.id);
    let app = present.filter(|app| instance.is_current(app)).unwrap_or(&instance.app);
    let patience = |place: usize| {
        let of_app = app.health_checks.get(place);
        let of_app = of_app.filter(|it| !it.never_ends());
        let of_app = of_app.map(|it| (it.interval, it.max_consecutive_failures));
        let of_pod = app.pod.iter().flat_map(|pod| &pod.containers).find_map(|container| {
            let check = container.health_check.as_ref()?;
            Some((check.interval, check.max_consecutive_failures))
        });
        of_app.or(of_pod)
    };
    let checks = &instance.task.as_ref()?.health.checks;
    let ailing = checks.iter().enumerate().filter_map(|(place, check)| {
        let (interval, failures_max) = patience(place)?;
        // The first failure was then; the last allowed one is so many intervals later.
        let patience = interval.checked_mul(failures_max.saturating_sub(1));
        let patience = patience.unwrap_or(PATIENCE_MAX).min(PATIENCE_MAX);
        Some(check.failing_since?.plus(patience))
    });
    ailing.min()
}

/// Tells that an ailing instance is ended.
pub(super) fn tell(marathon: &mut Marathon, id: &InstanceId, now: Now) {
    let Some(instance) = marathon.instance(id).cloned() else { return };
    if let Some(task) = &instance.task {
        let why = task.health.last_failure_cause().cloned();
        updates::tell_unhealthy(marathon, &instance, task, why, now);
    }
}
