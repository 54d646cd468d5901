//! The explanations, as `/agora/v1` shows them.

use super::{Queued, is_at_stop, why};
use crate::app::{App, render};
use crate::clock;
use crate::ids::AppId;
use crate::instance::{Condition, Instance};
use crate::launch_queue::Unused;
use crate::pace::Pace;
use crate::planner::{Action, Deployment};
use crate::reservation::Reservation;
use crate::rollout::Bounds;
use crate::view::View;
use model::step::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

impl View {
    /// Deployments that run and the latest that are over, newest first.
    pub fn explain_deployments(&self, now: Timestamp) -> Value {
        let mut running: Vec<_> = self.deployments.values().collect();
        running.sort_by_key(|deployment| deployment.version);
        let running = running.into_iter().rev();
        let over = self.history.values().rev().filter(|past| past.end.is_some());
        json!({
            "running": running.map(|it| self.explain_running(it, now)).collect::<Vec<_>>(),
            "history": over.map(|past| past.to_json()).collect::<Vec<_>>(),
        })
    }

    /// One deployment, whether it runs or is over; absent if it is not remembered.
    pub fn explain_deployment(&self, id: &str, now: Timestamp) -> Option<Value> {
        let running = self.deployments.values().find(|it| it.id.as_str() == id);
        let past = || self.history.values().find(|past| past.deployment.as_str() == id);
        running.map(|it| self.explain_running(it, now)).or_else(|| past().map(|it| it.to_json()))
    }

    fn explain_running(&self, deployment: &Deployment, now: Timestamp) -> Value {
        let mut out = self.deployment(deployment);
        let past = self.history.get(&deployment.version);
        if let Some(past) = past {
            out["startedAt"] = clock::format(past.started_at).into();
        }
        let step = deployment.plan.steps.get(deployment.step);
        let apps = step.iter().flat_map(|step| step.actions()).map(Action::app);
        let apps: Vec<_> = apps.collect();
        let at_stop: Vec<_> = apps
            .iter()
            .filter(|app| self.is_at_stop(app, deployment))
            .map(|app| app.as_str())
            .collect();
        let waits_for: Vec<_> = apps
            .iter()
            .map(|app| json!({"app": app.as_str(), "why": self.why(app, now)}))
            .collect();
        out["isPaused"] = deployment.is_paused.into();
        out["stage"] = deployment.stage.into();
        out["waitsForContinue"] = at_stop.into();
        out["waitsFor"] = waits_for.into();
        if let Some(progress) = self.progress.get(&deployment.id) {
            let stood = u64::try_from(now.since(progress.at).as_millis()).unwrap_or(u64::MAX);
            out["lastProgressAt"] = clock::format(progress.at).into();
            out["stoodStillMillis"] = stood.into();
            let failures = progress.failures.iter();
            out["failures"] =
                failures.map(|(app, count)| (app.to_string(), Value::from(*count))).collect();
            out["killsFirst"] =
                progress.kill_first.iter().map(|app| Value::from(app.as_str())).collect();
        }
        let limits =
            apps.iter().filter_map(|app| self.tree.apps.get(*app)).map(|app| Pace::of(app));
        if let Some(limit) = limits.filter_map(|pace| pace.progress_within).min() {
            out["failsAfterSecondsWithoutProgress"] = limit.as_secs().into();
        }
        out
    }

    fn all_of(&self, app: &AppId) -> Vec<&Arc<Instance>> {
        self.instances_of(app).collect()
    }

    fn why(&self, app: &AppId, now: Timestamp) -> String {
        let queued = self.queue.get(app).map_or_else(Queued::default, |entry| Queued {
            offers: Some(&entry.offers),
            held_back: entry.backoffs.values().filter(|until| **until > now).count(),
            to_move: 0,
        });
        let actions = self.deployments_of(app).filter_map(|it| it.current_action(app));
        let to_move: BTreeSet<_> = actions.flat_map(Action::moved).collect();
        let to_move = self.instances_of(app).filter(|it| to_move.contains(&it.id)).count();
        let queued = Queued { to_move, ..queued };
        let wanted = self.tree.apps.get(app).map(|app| &**app);
        why(app, wanted, &self.all_of(app), queued)
    }

    fn is_at_stop(&self, id: &AppId, deployment: &Deployment) -> bool {
        let Some(app) = self.tree.apps.get(id) else { return false };
        if !matches!(deployment.current_action(id), Some(Action::Restart { .. })) {
            return false;
        }
        let new_max = Pace::of(app).stop_of(deployment);
        is_at_stop(&self.all_of(id), app, Bounds { new_max, ..Bounds::of(app) })
    }

    /// Why an app is as it is: each of its instances, and what came of the offers of each agent;
    /// absent if there is no such app.
    pub fn explain_app(&self, id: &AppId, now: Timestamp) -> Option<Value> {
        let app = self.tree.apps.get(id)?;
        let entry = self.queue.get(id);
        let deployments = self.deployments_of(id);
        let instances = self.instances_of(id).map(|it| {
            let mut shown = instance(it, app, now);
            if let Some(due_at) = entry.and_then(|entry| entry.backoffs.get(&it.id)) {
                shown["nextAttemptAt"] = clock::format(*due_at).into();
            }
            shown
        });
        let mut out = json!({
            "app": id.as_str(),
            "isPod": app.is_pod(),
            "instances": app.instances,
            "why": self.why(id, now),
            "all": instances.collect::<Vec<_>>(),
            "deployments":
                deployments.map(|it| self.explain_running(it, now)).collect::<Vec<_>>(),
        });
        if let Some(entry) = entry {
            let offers = &entry.offers;
            let agents: Vec<_> = offers.last_unused.values().map(|it| refused(it)).collect();
            let mut queue = json!({
                "count": entry.count,
                "since": clock::format(entry.since),
                "offersLookedAt": offers.processed,
                "agents": agents,
            });
            if let Some(at) = entry.due_at {
                queue["nextAttemptAt"] = clock::format(at).into();
            }
            out["waiting"] = queue;
        }
        let kept: Vec<_> = self.kept_for(id).map(|it| self.kept(it)).collect();
        if !kept.is_empty() {
            out["reserved"] = kept.into();
        }
        if let Some(failure) = self.failures.get(id) {
            out["lastTaskFailure"] = render::failure(failure);
        }
        Some(out)
    }

    /// What is reserved for instances of `app`.
    fn kept_for(&self, app: &AppId) -> impl Iterator<Item = &Arc<Reservation>> {
        self.reservations.values().filter(move |it| it.app == *app && it.is_live())
    }

    /// A reservation: where it is, and whose. Without an instance it waits for the next one.
    fn kept(&self, reservation: &Reservation) -> Value {
        let holds = |it: &&Arc<Instance>| it.reservation.as_ref() == Some(&reservation.id);
        let holder = self.instances_of(&reservation.app).find(holds);
        let volumes = reservation.volumes.iter().map(|it| it.persistence_id(&reservation.app));
        let is_used = holder.is_some_and(|it| it.condition != Condition::Scheduled);
        let mut out = json!({
            "id": &*reservation.id,
            "agentId": reservation.place.agent.as_str(),
            "hostname": &*reservation.place.host,
            "volumes": volumes.map(|it| it.as_str().to_owned()).collect::<Vec<_>>(),
            "isUsed": is_used,
        });
        if let Some(holder) = holder {
            out["instance"] = holder.id.as_str().into();
        }
        out
    }
}

fn refused(unused: &Unused) -> Value {
    let offer = &unused.offer.offer;
    json!({
        "agentId": offer.agent.as_str(),
        "hostname": *offer.hostname,
        "reason": unused.why.reason().name(),
        "why": unused.why.to_string(),
        "at": clock::format(unused.at),
    })
}

fn instance(instance: &Instance, app: &App, now: Timestamp) -> Value {
    let mut out = json!({
        "id": instance.id.as_str(),
        "condition": instance.condition.name(),
        "version": clock::format(instance.app.version),
        "isCurrent": instance.is_current(app),
        "isServing": instance.is_serving(),
        "tasks": instance.incarnation,
    });
    if instance.condition == Condition::Scheduled {
        let waited = u64::try_from(now.since(instance.since).as_millis()).unwrap_or(u64::MAX);
        out["waitedMillis"] = waited.into();
    }
    if let Some(task) = &instance.task {
        out["task"] = task.id.as_str().into();
        out["host"] = (*task.place.host).into();
        out["isHealthy"] = json!(task.health.is_healthy);
    }
    out
}
