//! Letting apps come closer to what they are to have, and deployments on with their steps.

use super::{Due, Marathon, UnderWay, advance, agents, ailing, maintenance, roles};
use crate::app::App;
use crate::event::{Happening, deployment_info};
use crate::fleet;
use crate::history::Outcome;
use crate::ids::{AppId, DeploymentId, InstanceId};
use crate::io::Output;
use crate::pace::Pace;
use crate::planner::{Action, Deployment, Step};
use crate::rollout::{self, Ailing, Bounds, Moves};
use crate::stored;
use crate::view::Change;
use model::step::Now;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What an app is to have just now.
pub(super) enum Target {
    /// No instances.
    Nothing,
    /// So many, whatever they are of; new ones are of `app`.
    Scale { app: Arc<App>, to: u32, victims: BTreeSet<InstanceId> },
    /// All of this definition, within bounds.
    Replace { app: Arc<App>, bounds: Bounds },
    /// Others instead of some, within bounds.
    Move { app: Arc<App>, who: BTreeSet<InstanceId>, bounds: Bounds },
}

/// Does all that follows from what happened in this turn.
pub(super) fn settle(marathon: &mut Marathon, now: Now) {
    if !marathon.is_leading {
        return;
    }
    converge_all(marathon, now);
    show_queue(marathon, now);
    roles::settle(marathon);
    agents::ask(marathon, now);
    ask_for_offers(marathon, now);
}

/// Lets every app that was touched come closer to what it is to have.
pub(super) fn converge_all(marathon: &mut Marathon, now: Now) {
    while let Some(app) = marathon.books.touched.pop_first() {
        converge(marathon, &app, now);
    }
}

impl Marathon {
    /// What `app` is to have just now: what the deployment it is part of says, as far as that has come.
    pub(super) fn target(&self, app: &AppId) -> Target {
        let present = self.books.tree.apps.get(app);
        let scale = |app: &Arc<App>| Target::Scale {
            app: app.clone(),
            to: app.instances,
            victims: BTreeSet::new(),
        };
        let under_way = self.books.locks.get(app).and_then(|it| self.books.deployments.get(it));
        let Some(deployment) = under_way.map(|it| &it.deployment) else {
            return present.map_or(Target::Nothing, scale);
        };
        match (deployment.current_action(app), present) {
            (Some(Action::Stop { .. } | Action::Start { .. }), _) | (Some(_), None) => {
                Target::Nothing
            }
            (Some(Action::Restart { .. }), Some(present)) => {
                Target::Replace { app: present.clone(), bounds: self.bounds(present) }
            }
            (Some(Action::Move { who, .. }), Some(present)) => Target::Move {
                app: present.clone(),
                who: who.clone(),
                bounds: self.bounds(present),
            },
            (Some(Action::Scale { to, victims, .. }), Some(present)) => {
                Target::Scale { app: present.clone(), to: *to, victims: victims.clone() }
            }
            // Its turn is still to come: it stays as it was.
            (None, _) if deployment.is_to_come(app) => {
                let original = deployment.originals.get(app).and_then(Option::as_ref);
                original.map_or(Target::Nothing, scale)
            }
            (None, present) => present.map_or(Target::Nothing, scale),
        }
    }

    fn moves(
        &self,
        app: &AppId,
        ailing: &BTreeSet<InstanceId>,
        leaving: &BTreeSet<InstanceId>,
    ) -> (Moves, Option<Arc<App>>) {
        match self.target(app) {
            Target::Nothing => (rollout::stop(self.instances_of(app)), None),
            Target::Replace { app, bounds } => {
                let sized = fleet::sized(&app, &self.books.fleet);
                (rollout::replace(self.instances_of(&app.id), &sized, bounds), Some(app))
            }
            Target::Move { app, who, bounds } => {
                // Who is ailing goes meanwhile as ever, or it would be waited for.
                let ailing = ailing.iter().take(Pace::of(&app).ailing_at_once);
                let who = who.iter().chain(ailing).cloned().collect();
                (rollout::relocate(self.instances_of(&app.id), &app, &who, bounds), Some(app))
            }
            Target::Scale { app, to, victims } => {
                // Nobody else says how many it is to have, but that it is to have none.
                let follows = fleet::is_one_per_agent(&app) && to > 0;
                let to = if follows { self.books.fleet.count_for(&app) } else { to };
                let all = self.instances_of(&app.id);
                // Who is to leave an agent goes like who is unwell: not before another has come.
                let who = &ailing.union(leaving).cloned().collect();
                let at_once = Pace::of(&app).ailing_at_once + leaving.len();
                let ailing = Ailing { who, at_once };
                (rollout::scale(all, &app, to, &victims, ailing), Some(app))
            }
        }
    }
}

fn converge(marathon: &mut Marathon, app: &AppId, now: Now) {
    // What is held stays as it is; whoever has it go on touches it again.
    if marathon.is_paused(app) {
        return;
    }
    if let Target::Replace { app, .. } = marathon.target(app) {
        advance::make_room(marathon, &app, now);
    }
    let ailing = ailing::of(marathon, app, now);
    let leaving = maintenance::leaving(marathon, app, now);
    let (moves, definition) = marathon.moves(app, &ailing, &leaving);
    for instance in &moves.stop {
        if ailing.contains(instance) {
            ailing::tell(marathon, instance, now);
        }
        marathon.decommission(instance, now);
    }
    if let Some(definition) = definition {
        for _ in 0..moves.add {
            marathon.add_instance(definition.clone(), now);
        }
    }
    // Its own moves touch it once more; only then can it be done.
    if !moves.is_done || marathon.books.touched.contains(app) {
        if let Some(under_way) = under_way(marathon, app)
            && under_way.deployment.current_action(app).is_some()
        {
            under_way.waits_for.insert(app.clone());
        }
        return;
    }
    let Some(id) = marathon.books.locks.get(app).cloned() else { return };
    let Some(under_way) = under_way(marathon, app) else { return };
    under_way.waits_for.remove(app);
    if under_way.waits_for.is_empty() {
        end_step(marathon, &id, now);
    }
}

fn under_way<'a>(marathon: &'a mut Marathon, app: &AppId) -> Option<&'a mut UnderWay> {
    let id = marathon.books.locks.get(app)?;
    marathon.books.deployments.get_mut(id)
}

impl Marathon {
    /// A deployment runs from now on: what it changes is its own until it ends.
    pub(super) fn take_up(&mut self, deployment: Deployment) {
        for app in deployment.originals.keys() {
            self.books.locks.insert(app.clone(), deployment.id.clone());
        }
        for role in roles::of_originals(&deployment) {
            self.books.role_counts.add(role);
        }
        for action in deployment.plan.steps.iter().flat_map(Step::actions) {
            if let Action::Move { app, who } = action
                && let Some(all) = self.books.instances.get_mut(app)
            {
                all.set_leaving(who.clone());
            }
        }
        self.books.deployments.insert(deployment.id.clone(), UnderWay::new(deployment));
    }
}

/// Starts the step a deployment stands at; ends the deployment when there is none left.
pub(super) fn begin_step(marathon: &mut Marathon, id: &DeploymentId, now: Now) {
    let Some(under_way) = marathon.books.deployments.get_mut(id) else { return };
    let deployment = under_way.deployment.clone();
    let Some(step) = deployment.plan.steps.get(deployment.step) else {
        end_deployment(marathon, id, Outcome::Succeeded, None, now);
        return;
    };
    under_way.waits_for = step.actions().iter().map(|action| action.app().clone()).collect();
    let apps = under_way.waits_for.clone();
    marathon.show(Change::Deployment(id.clone(), Some(deployment.clone())));
    if let Some(what) = deployment_info(&deployment) {
        marathon.tell(what, now);
    }
    marathon.books.touched.extend(apps);
}

fn end_step(marathon: &mut Marathon, id: &DeploymentId, now: Now) {
    let Some(under_way) = marathon.books.deployments.get_mut(id) else { return };
    let deployment = under_way.deployment.clone();
    let Some(step) = deployment.plan.steps.get(deployment.step).cloned() else { return };
    let mut next = (*deployment).clone();
    next.step += 1;
    if next.step < next.plan.steps.len() {
        marathon.outbox.put(stored::deployment_key(id), Some(stored::deployment(&next)));
    }
    under_way.deployment = Arc::new(next);
    for action in step.actions() {
        if let Action::Stop { app } = action {
            marathon.tell(Happening::AppTerminated { app: app.clone() }, now);
        }
    }
    let what = Happening::DeploymentStepSuccess {
        id: id.clone(),
        version: deployment.version,
        plan: deployment.plan.clone(),
        step,
    };
    marathon.tell(what, now);
    advance::got_on(marathon, id, now);
    begin_step(marathon, id, now);
}

/// Ends a deployment with `outcome`, and says `why` if it did not succeed.
pub(super) fn end_deployment(
    marathon: &mut Marathon,
    id: &DeploymentId,
    outcome: Outcome,
    why: Option<Arc<str>>,
    now: Now,
) {
    let Some(under_way) = marathon.books.deployments.remove(id) else { return };
    let (version, plan) = (under_way.deployment.version, under_way.deployment.plan.clone());
    marathon.note_end(version, outcome, why.clone(), now);
    let at = under_way.deployment.plan.steps.get(under_way.deployment.step).cloned();
    if let (Outcome::Failed | Outcome::RolledBack, Some(step)) = (outcome, at) {
        let (id, plan) = (id.clone(), plan.clone());
        marathon.tell(Happening::DeploymentStepFailure { id, version, plan, step }, now);
    }
    let what = match outcome {
        Outcome::Succeeded => Happening::DeploymentSuccess { id: id.clone(), version, plan },
        Outcome::Cancelled
        | Outcome::Overridden
        | Outcome::Reverted
        | Outcome::Failed
        | Outcome::RolledBack => Happening::DeploymentFailed { id: id.clone(), version, plan, why },
    };
    marathon.outbox.put(stored::deployment_key(id), None);
    marathon.show(Change::Deployment(id.clone(), None));
    marathon.show(Change::Progress(id.clone(), None));
    marathon.tell(what, now);
    for role in roles::of_originals(&under_way.deployment) {
        marathon.books.role_counts.remove(role);
    }
    for app in under_way.deployment.originals.keys() {
        marathon.books.locks.remove(app);
        if let Some(all) = marathon.books.instances.get_mut(app) {
            all.set_leaving(BTreeSet::new());
        }
        marathon.give_up_if_gone(app, now);
        marathon.drop_versions_if_gone(app);
        marathon.books.touched.insert(app.clone());
    }
}

fn show_queue(marathon: &mut Marathon, now: Now) {
    for id in std::mem::take(&mut marathon.books.queue_shown) {
        let waiting = marathon.books.queue.first_of(&id).cloned();
        let of_instance = waiting.and_then(|it| marathon.instance(&it).map(|it| it.app.clone()));
        let app = marathon.books.tree.apps.get(&id).cloned().or(of_instance);
        let entry = app.and_then(|app| marathon.books.queue.entry(&app, now)).map(Arc::new);
        marathon.show(Change::Queue(id, entry));
    }
}

/// Offers are wanted exactly while an instance is due.
fn ask_for_offers(marathon: &mut Marathon, now: Now) {
    if !marathon.books.is_connected {
        return;
    }
    // Agents that are new are met by their offers, so who follows them goes on listening.
    let follows = !marathon.books.followers.is_empty();
    let collects = marathon.books.reservations.wants_offers(now);
    let has_due = marathon.books.queue.has_due(now.time) || follows || collects;
    let asking = &mut marathon.books.asking;
    if !has_due {
        asking.is_revive_wanted = false;
        if !asking.is_suppressed {
            asking.is_suppressed = true;
            marathon.outbox.push(Output::Suppress);
        }
        return;
    }
    if !asking.is_revive_wanted && !asking.is_suppressed {
        return;
    }
    let may_at = asking.last_revive.map(|at| at + marathon.config.revive_interval);
    if let Some(at) = may_at.filter(|at| *at > now.time) {
        marathon.wake_at(at, Due::Revive);
        return;
    }
    asking.is_revive_wanted = false;
    asking.is_suppressed = false;
    asking.last_revive = Some(now.time);
    marathon.outbox.push(Output::Revive);
}
