//! Deployments as data: what steps lead from one set of apps to another.

use crate::app::App;
use crate::group::{Group, Tree, below, within};
use crate::history::GroupChanges;
use crate::ids::{AppId, DeploymentId, InstanceId};
use model::step::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A change under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The version of every app it changes.
    pub version: Timestamp,
    /// What it does.
    pub plan: Plan,
    /// What each app was before; absent means it did not exist.
    pub originals: BTreeMap<AppId, Option<Arc<App>>>,
    /// The step under way, from 0.
    pub step: usize,
    /// Whether it takes back another one. It is then not taken back in turn when it fails.
    pub is_return: bool,
    /// Whether somebody holds it where it is.
    pub is_paused: bool,
    /// How many stops of its canaries are passed.
    pub stage: usize,
}

/// How a deployment is getting on. Not stored: a new leader looks anew.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// When it last got on: an instance came to serve or went, or a step was done.
    pub at: Timestamp,
    /// How many new tasks of each app failed.
    pub failures: BTreeMap<AppId, u32>,
    /// Apps whose old instances make room before new ones start.
    pub kill_first: BTreeSet<AppId>,
}

impl Deployment {
    /// The apps it locks.
    pub fn affected(&self) -> impl Iterator<Item = &AppId> {
        self.originals.keys()
    }

    /// What is under way for `app` now, if anything.
    pub fn current_action(&self, app: &AppId) -> Option<&Action> {
        self.plan.steps.get(self.step)?.action(app)
    }

    /// Whether something is still to come for `app` after the step under way.
    pub fn is_to_come(&self, app: &AppId) -> bool {
        self.plan.steps.iter().skip(self.step + 1).any(|step| step.action(app).is_some())
    }
}

/// All that a deployment does: steps one after another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Never with an empty one among them.
    pub steps: Vec<Step>,
    /// Which of the apps it is about are pods.
    pub pods: BTreeSet<AppId>,
}

impl Plan {
    /// What the API calls `action`.
    pub fn name_of(&self, action: &Action) -> &'static str {
        match (action, self.pods.contains(action.app())) {
            (Action::Start { .. }, false) => "StartApplication",
            (Action::Stop { .. }, false) => "StopApplication",
            (Action::Scale { .. }, false) => "ScaleApplication",
            // Clients know no other word for it.
            (Action::Restart { .. } | Action::Move { .. }, false) => "RestartApplication",
            (Action::Start { .. }, true) => "StartPod",
            (Action::Stop { .. }, true) => "StopPod",
            (Action::Scale { .. }, true) => "ScalePod",
            (Action::Restart { .. } | Action::Move { .. }, true) => "RestartPod",
        }
    }
}

/// Actions that may run together.
///
/// Invariant: at most one for each app, in the order of their ids, so that one is found among thousands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Step {
    actions: Vec<Action>,
}

impl Step {
    /// These actions, of which the first counts where two are about one app.
    pub fn of(mut actions: Vec<Action>) -> Self {
        actions.sort_by(|one, other| one.app().cmp(other.app()));
        actions.dedup_by(|later, earlier| later.app() == earlier.app());
        Self { actions }
    }

    /// All of them, by the ids of their apps.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// What is done to `app`, if anything.
    pub fn action(&self, app: &AppId) -> Option<&Action> {
        let at = self.actions.binary_search_by(|action| action.app().cmp(app));
        at.ok().map(|at| &self.actions[at])
    }
}

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// A new app is taken in, with no instances yet.
    Start {
        /// Which.
        app: AppId,
    },
    /// All instances go.
    Stop {
        /// Of which app.
        app: AppId,
    },
    /// As many instances as wanted run.
    Scale {
        /// Of which app.
        app: AppId,
        /// How many.
        to: u32,
        /// Who goes first.
        victims: BTreeSet<InstanceId>,
    },
    /// Every instance is replaced by one of the new definition.
    Restart {
        /// Of which app.
        app: AppId,
    },
    /// Some instances are replaced by others elsewhere.
    Move {
        /// Of which app.
        app: AppId,
        /// Which.
        who: BTreeSet<InstanceId>,
    },
}

impl Action {
    /// Who is replaced by others elsewhere.
    pub fn moved(&self) -> impl Iterator<Item = &InstanceId> {
        let who = if let Self::Move { who, .. } = self { Some(who) } else { None };
        who.into_iter().flatten()
    }

    /// The app it is about.
    pub fn app(&self) -> &AppId {
        match self {
            Self::Start { app }
            | Self::Stop { app }
            | Self::Scale { app, .. }
            | Self::Restart { app }
            | Self::Move { app, .. } => app,
        }
    }
}

/// What is to change: of each app, what it was and what it is to be; absent means not there.
pub type Changes = BTreeMap<AppId, (Option<Arc<App>>, Option<Arc<App>>)>;

/// The steps that carry out `changes` of apps and `groups`, or an app that depends on itself.
///
/// `tree` is every app and group as it is to be. `outdated` says whether an app has instances of another
/// definition than its present one, left by a deployment that was cut short, and `is_cut_short` whether
/// one about it is now. `victims` go first where an app is scaled down.
pub fn plan(
    changes: &Changes,
    groups: &GroupChanges,
    tree: &Tree,
    outdated: impl Fn(&AppId) -> bool,
    is_cut_short: impl Fn(&AppId) -> bool,
    victims: &BTreeMap<AppId, BTreeSet<InstanceId>>,
) -> Result<Plan, Cycle> {
    let (mut stops, mut starts) = (Vec::new(), Vec::new());
    let mut layers: BTreeMap<usize, Vec<Action>> = BTreeMap::new();
    let mut depths = Depths { tree, known: BTreeMap::new() };
    let is_ordered = needs_order(changes, groups);
    for (id, _) in groups.iter().filter(|(_, change)| needs_more(change)) {
        for (_, app) in below(&tree.apps, id) {
            depths.of(app)?;
        }
    }
    for (id, (old, new)) in changes {
        let Some(new) = new else {
            stops.push(Action::Stop { app: id.clone() });
            continue;
        };
        let depth = if is_ordered { depths.of(new)? } else { 0 };
        let scale = || Action::Scale {
            app: id.clone(),
            to: new.instances,
            victims: victims.get(id).cloned().unwrap_or_default(),
        };
        let action = match old {
            None => {
                starts.push(Action::Start { app: id.clone() });
                Some(scale())
            }
            Some(_) if new.instances == 0 => Some(scale()),
            Some(old) => {
                let configs = [old, new].map(|it| it.version_info.last_config_change_at);
                let is_changed = configs[0] != configs[1] || outdated(id);
                let is_scaled = old.instances != new.instances;
                match (is_changed, is_scaled) {
                    (true, _) => Some(Action::Restart { app: id.clone() }),
                    (false, true) => Some(scale()),
                    // What the other one had not come to is for this one to do.
                    (false, false) => is_cut_short(id).then(scale),
                }
            }
        };
        layers.entry(depth).or_default().extend(action);
    }
    let all = [stops, starts].into_iter().chain(layers.into_values());
    let is_pod = |(old, new): &(Option<Arc<App>>, Option<Arc<App>>)| {
        new.as_ref().or(old.as_ref()).is_some_and(|app| app.is_pod())
    };
    let pods = changes.iter().filter(|(_, change)| is_pod(change)).map(|(id, _)| id.clone());
    let full = all.filter(|actions| !actions.is_empty());
    Ok(Plan { steps: full.map(Step::of).collect(), pods: pods.collect() })
}

/// Whether what the apps depend on has a part in it. If one alone changes, and none comes to need others, it has
/// not: there is nothing to put in order, and what was no circle is none.
fn needs_order(changes: &Changes, groups: &GroupChanges) -> bool {
    let new = || changes.values().filter_map(|(old, new)| Some((old.as_ref(), new.as_ref()?)));
    let has_new_needs = |(old, new): (Option<&Arc<App>>, &Arc<App>)| {
        old.is_none_or(|old| old.dependencies != new.dependencies)
    };
    new().nth(1).is_some() || new().any(has_new_needs) || groups.values().any(needs_more)
}

/// Whether a group comes to depend on something else than it did.
fn needs_more((old, new): &(Option<Arc<Group>>, Option<Arc<Group>>)) -> bool {
    let needs = |group: &Option<Arc<Group>>| {
        group.as_ref().map(|group| group.dependencies.clone()).unwrap_or_default()
    };
    !needs(new).is_empty() && needs(old) != needs(new)
}

/// An app that cannot be deployed before itself.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("Has cyclic dependencies: {0}")]
pub struct Cycle(pub AppId);

/// How many layers lie below each app.
struct Depths<'a> {
    tree: &'a Tree,
    /// Absent value: being counted just now, so that meeting it again is a cycle.
    known: BTreeMap<AppId, Option<usize>>,
}

impl Depths<'_> {
    fn of(&mut self, app: &App) -> Result<usize, Cycle> {
        match self.known.get(&app.id) {
            Some(Some(depth)) => return Ok(*depth),
            Some(None) => return Err(Cycle(app.id.clone())),
            None => {}
        }
        self.known.insert(app.id.clone(), None);
        let mut depth = 0;
        let tree = self.tree;
        // What a group depends on, everything in it depends on.
        let groups = app.id.ancestors().filter_map(|group| tree.groups.get(&group));
        let of_groups = groups.flat_map(|group| &group.dependencies);
        for dependency in app.dependencies.iter().chain(of_groups) {
            // A group means every app below it.
            for (id, needed) in within(&tree.apps, dependency) {
                if *id != app.id {
                    depth = depth.max(self.of(needed)? + 1);
                }
            }
        }
        self.known.insert(app.id.clone(), Some(depth));
        Ok(depth)
    }
}
