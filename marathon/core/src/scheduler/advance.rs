//! Watching over deployments: whether they get on, when they have failed, and who holds them.

use super::change;
use super::settle::{self, Target};
use super::{Due, Marathon};
use crate::app::App;
use crate::explain::{self, Queued};
use crate::fleet;
use crate::history::Outcome;
use crate::ids::{AppId, DeploymentId};
use crate::instance::{Condition, Instance};
use crate::io::{Answer, Refusal};
use crate::launch_queue::Unused;
use crate::matcher::Reason;
use crate::pace::Pace;
use crate::planner::Progress;
use crate::rollout::Bounds;
use crate::stored;
use crate::view::Change;
use model::step::Now;
use std::sync::Arc;
use std::time::Duration;

/// How long new instances wait for an agent to spare before an old one makes room for them.
///
/// By then every agent that has room has offered it, and a user who waits for an upgrade has not yet begun to
/// wonder.
const SPARE_WAIT: Duration = Duration::from_secs(5);

/// How long an agent that has the ports, and too little of something else, may still come to have enough
/// before an old instance makes room where the ports are.
const SHORTAGE_WAIT: Duration = Duration::from_secs(60);

/// Somebody holds a deployment where it is, or has it go on.
pub(super) fn hold(
    marathon: &mut Marathon,
    id: &str,
    is_paused: bool,
    now: Now,
) -> Result<Answer, Refusal> {
    let key = DeploymentId::new(id);
    let no_plan = || super::asks::refusal(404, format!("DeploymentPlan {id} does not exist"));
    let waits = waits_for_somebody(marathon, &key);
    let under_way = marathon.books.deployments.get_mut(&key).ok_or_else(no_plan)?;
    let deployment = Arc::make_mut(&mut under_way.deployment);
    if !is_paused && !deployment.is_paused && waits {
        deployment.stage += 1;
    }
    deployment.is_paused = is_paused;
    let deployment = under_way.deployment.clone();
    marathon.outbox.put(stored::deployment_key(&key), Some(stored::deployment(&deployment)));
    marathon.show(Change::Deployment(key.clone(), Some(deployment.clone())));
    got_on(marathon, &key, now);
    if let Some(step) = deployment.plan.steps.get(deployment.step) {
        marathon.books.touched.extend(step.actions().iter().map(|action| action.app().clone()));
    }
    let body = serde_json::json!({"id": id, "isPaused": is_paused, "stage": deployment.stage});
    Ok(Answer { status: 200, body: Some(body), deployment: None, location: None })
}

/// Notes that a deployment has got on.
pub(super) fn got_on(marathon: &mut Marathon, id: &DeploymentId, now: Now) {
    note(marathon, id, |progress| progress.at = now.wall);
}

/// Notes that something of `app` has got on, if a deployment is about it.
pub(super) fn app_got_on(marathon: &mut Marathon, app: &AppId, now: Now) {
    if let Some(id) = marathon.books.locks.get(app).cloned() {
        got_on(marathon, &id, now);
    }
}

fn note(marathon: &mut Marathon, id: &DeploymentId, change: impl FnOnce(&mut Progress)) {
    let Some(under_way) = marathon.books.deployments.get_mut(id) else { return };
    change(Arc::make_mut(&mut under_way.progress));
    let progress = under_way.progress.clone();
    marathon.show(Change::Progress(id.clone(), Some(progress)));
}

/// Sets the timer of a deployment that has begun, or was taken up.
pub(super) fn watch(marathon: &mut Marathon, id: &DeploymentId, now: Now) {
    got_on(marathon, id, now);
    if let Some(limit) = progress_within(marathon, id) {
        marathon.wake_at(now.time + limit, Due::Progress(id.clone()));
    }
}

/// How long `id` may stand still: what the most impatient of its apps says.
fn progress_within(marathon: &Marathon, id: &DeploymentId) -> Option<Duration> {
    paces(marathon, id).filter_map(|pace| pace.progress_within).min()
}

fn paces(marathon: &Marathon, id: &DeploymentId) -> impl Iterator<Item = Pace> {
    let under_way = marathon.books.deployments.get(id);
    let apps = under_way.into_iter().flat_map(|it| it.deployment.originals.keys());
    apps.filter_map(|app| marathon.books.tree.apps.get(app)).map(|app| Pace::of(app))
}

/// A deployment should have got on by now.
pub(super) fn progress_due(marathon: &mut Marathon, id: &DeploymentId, now: Now) {
    let Some(limit) = progress_within(marathon, id) else { return };
    let Some(under_way) = marathon.books.deployments.get(id) else { return };
    let stood = now.wall.since(under_way.progress.at);
    let is_held = under_way.deployment.is_paused || waits_for_somebody(marathon, id);
    if is_held || stood < limit {
        let wait = if is_held { limit } else { limit.saturating_sub(stood) };
        marathon.wake_at(now.time + wait, Due::Progress(id.clone()));
        return;
    }
    let apps: Vec<AppId> = under_way.waits_for.iter().cloned().collect();
    let whys: Vec<_> = apps.iter().map(|app| why(marathon, app, now)).collect();
    let why = format!("no progress for {} s: {}", limit.as_secs(), whys.join("; "));
    fail(marathon, id, &why, now);
}

/// What `app` waits for, in a sentence.
fn why(marathon: &Marathon, app: &AppId, now: Now) -> String {
    let all: Vec<_> = marathon.instances_of(app).values().collect();
    let wanted = marathon.books.tree.apps.get(app).map(|app| &**app);
    let queue = &marathon.books.queue;
    let is_held_back = |it: &&&Arc<Instance>| queue.due_at(&it.id).is_some_and(|at| at > now.time);
    let scheduled = all.iter().filter(|it| it.condition == Condition::Scheduled);
    let held_back = scheduled.filter(is_held_back).count();
    let to_move = marathon.instances_of(app).leaving();
    let to_move = all.iter().filter(|it| to_move.contains(&it.id)).count();
    explain::why(app, wanted, &all, Queued { offers: queue.offers(app), held_back, to_move })
}

/// A task of `instance` failed: does that end the deployment it was launched by?
pub(super) fn task_failed(marathon: &mut Marathon, instance: &Instance, message: &str, now: Now) {
    let app = instance.app.id.clone();
    let Some(id) = marathon.books.locks.get(&app).cloned() else { return };
    let present = marathon.books.tree.apps.get(&app).filter(|app| instance.is_current(app));
    let Some(pace) = present.map(|app| Pace::of(app)) else { return };
    let mut failures = 0;
    note(marathon, &id, |progress| {
        let of_app = progress.failures.entry(app.clone()).or_default();
        *of_app += 1;
        failures = *of_app;
    });
    if pace.failures_max.is_some_and(|max| failures > max) {
        let why = format!("{failures} new tasks of {app} failed, the last one with: {message}");
        fail(marathon, &id, &why, now);
    }
}

/// Ends a deployment that does not work out: takes it back if that is wanted, or leaves it where it is.
fn fail(marathon: &mut Marathon, id: &DeploymentId, why: &str, now: Now) {
    let Some(under_way) = marathon.books.deployments.get(id) else { return };
    let deployment = under_way.deployment.clone();
    let why: Arc<str> = why.into();
    // Taking back what takes back would go round for ever.
    if !deployment.is_return && paces(marathon, id).any(|pace| pace.rolls_back) {
        let end = (Outcome::RolledBack, Some(why.clone()));
        if change::take_back(marathon, &deployment, end.0, end.1, now).is_ok() {
            return;
        }
    }
    settle::end_deployment(marathon, id, Outcome::Failed, Some(why), now);
}

/// Whether an app of the present step has come to a stop of its canary and waits for somebody.
pub(super) fn waits_for_somebody(marathon: &Marathon, id: &DeploymentId) -> bool {
    let Some(under_way) = marathon.books.deployments.get(id) else { return false };
    under_way.waits_for.iter().any(|app| match marathon.target(app) {
        Target::Replace { app: present, bounds } => {
            let all: Vec<_> = marathon.instances_of(app).values().collect();
            explain::is_at_stop(&all, &present, bounds)
        }
        Target::Nothing | Target::Scale { .. } | Target::Move { .. } => false,
    })
}

impl Marathon {
    /// Within what bounds the instances of `app` are replaced just now.
    pub(super) fn bounds(&self, app: &Arc<App>) -> Bounds {
        let pace = Pace::of(app);
        let app = &*fleet::sized(app, &self.books.fleet);
        let mut bounds = Bounds::of(app);
        if let Some(batch) = pace.batch {
            bounds.replace_at_most(batch, app);
        }
        let id = self.books.locks.get(&app.id);
        if let Some(under_way) = id.and_then(|id| self.books.deployments.get(id)) {
            bounds.new_max = pace.stop_of(&under_way.deployment);
            if under_way.progress.kill_first.contains(&app.id) {
                bounds.make_room(app);
            }
        }
        bounds
    }

    /// Whether the deployment of `app` stands still because somebody wants it to.
    pub(super) fn is_paused(&self, app: &AppId) -> bool {
        let id = self.books.locks.get(app);
        let under_way = id.and_then(|id| self.books.deployments.get(id));
        under_way.is_some_and(|it| it.deployment.is_paused)
    }
}

/// Has an old instance make room for a new one where the new ones can go nowhere else.
///
/// That is so when host ports are fixed and every agent that has them runs an old instance: no upgrade
/// strategy that wants all old ones to stay can then come to an end. With all agents known it is seen at
/// once, by the ports of the old instances; else by offers, after a while.
pub(super) fn make_room(marathon: &mut Marathon, app: &Arc<App>, now: Now) {
    let Some(id) = marathon.books.locks.get(&app.id).cloned() else { return };
    let is_known = marathon
        .books
        .deployments
        .get(&id)
        .is_none_or(|it| it.progress.kill_first.contains(&app.id));
    if is_known || app.wanted_ports().iter().all(|port| *port == 0) {
        return;
    }
    if is_without_spare(marathon, app, now) || is_stuck(marathon, app, now) {
        note(marathon, &id, |progress| {
            progress.kill_first.insert(app.id.clone());
        });
        marathon.books.touched.insert(app.id.clone());
    }
}

/// Whether every agent that `app` may run on has an old instance on one of its ports, of the agents that
/// are known. They are once this leader has had offers for a while.
fn is_without_spare(marathon: &Marathon, app: &App, now: Now) -> bool {
    let since = marathon.books.asking.since.filter(|_| marathon.books.is_connected);
    if since.is_none_or(|since| now.time < since + SPARE_WAIT) {
        return false;
    }
    let ports = app.wanted_ports();
    let all = marathon.instances_of(&app.id);
    let is_in_the_way = |it: &Arc<Instance>| {
        let theirs = it.task.iter().flat_map(|task| &task.ports);
        !it.is_current(app) && theirs.into_iter().any(|port| *port != 0 && ports.contains(port))
    };
    let fitting = marathon.books.fleet.fitting(app);
    let mut agents = fitting.agents().iter();
    agents.len() > 0 && agents.all(|agent| all.on(agent).any(is_in_the_way))
}

/// Whether new instances have waited for a while, and offers say that they wait for the ports of old ones.
fn is_stuck(marathon: &mut Marathon, app: &App, now: Now) -> bool {
    let all = marathon.instances_of(&app.id);
    let waiting = all.waiting_of(app.version_info.last_config_change_at);
    let waits_since = waiting.filter_map(|id| all.get(id)).map(|it| it.since).min();
    let (Some(since), Some(waiting)) = (waits_since, marathon.books.queue.offers(&app.id)) else {
        return false;
    };
    let waited = now.wall.since(since);
    let lacks_no_more = |unused: &Arc<Unused>| {
        matches!(unused.why.reason(), Reason::InsufficientPorts | Reason::UnfulfilledConstraint)
    };
    let is_hopeless = waited >= SHORTAGE_WAIT || waiting.last_unused.values().all(lacks_no_more);
    let lacks_ports = |unused: &Unused| unused.why.reason() == Reason::InsufficientPorts;
    let without = waiting.last_unused.iter().filter(|(_, unused)| lacks_ports(unused));
    let is_in_the_way = without.flat_map(|(agent, _)| all.on(agent)).any(|it| !it.is_current(app));
    let is_stuck = is_hopeless && is_in_the_way && waited >= SPARE_WAIT;
    if !is_stuck && marathon.books.looked_at_later.insert(app.id.clone()) {
        marathon.wake_at(now.time + SPARE_WAIT, Due::Look(app.id.clone()));
    }
    is_stuck
}
