//! Groups: the tree that the ids of apps make, and what is said of a branch as a whole.
//!
//! A group exists if an app lies below it or if somebody has described it. Only described ones are
//! kept: a [`Group`] is that description without its apps.
//!
//! The tables are persistent: a copy shares all with what it was made from, and a change of either copies no
//! more than the way to what it changes. So what would be can be looked at as a whole before it is, and it costs
//! no more however many apps there are.

mod parse;

pub(crate) use parse::may_enforce;
pub use parse::{Asked, Description, read};

use crate::app::{App, render};
use crate::clock;
use crate::history::Past;
use crate::ids::AppId;
use crate::json_text::{self, ObjectText};
use imbl::OrdMap;
use model::step::Timestamp;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// What is said of a group as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its id.
    pub id: AppId,
    /// Apps or groups that are deployed before what is in it.
    pub dependencies: Vec<AppId>,
    /// Whether what is in it must be in the role of its name; absent when not said.
    pub enforce_role: Option<bool>,
    /// When this was last changed.
    pub version: Timestamp,
}

/// All apps and groups at one moment. A copy costs nothing to speak of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// Every app and every pod.
    pub apps: OrdMap<AppId, Arc<App>>,
    /// Every group that was described.
    pub groups: OrdMap<AppId, Arc<Group>>,
}

/// Stored versions of every app.
pub type Versions = OrdMap<AppId, OrdMap<Timestamp, Arc<App>>>;

/// Deployments by the version they made.
pub type History = OrdMap<Timestamp, Arc<Past>>;

impl Tree {
    /// The app `id`, if it is one and no pod.
    pub fn app(&self, id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(id).filter(|app| !app.is_pod())
    }

    /// The pod `id`, if it is one.
    pub fn pod(&self, id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(id).filter(|app| app.is_pod())
    }

    /// Whether there is a group `id`; the root always is.
    pub fn has_group(&self, id: &AppId) -> bool {
        id.is_root()
            || below(&self.apps, id).next().is_some()
            || within(&self.groups, id).next().is_some()
    }

    /// The group around `app` that has its role enforced, if one does.
    pub fn enforced(&self, app: &AppId) -> Option<AppId> {
        let enforces = |group: &Arc<Group>| group.enforce_role == Some(true);
        app.ancestors().find(|group| self.groups.get(group).is_some_and(enforces))
    }

    /// This tree as it was once `version` had come, by taking back what came later, newest first.
    #[must_use]
    pub fn at(mut self, version: Timestamp, history: &History, versions: &Versions) -> Self {
        for past in history.range(version..).rev().map(|(_, past)| past) {
            if past.version <= version {
                break;
            }
            for (id, (before, _)) in &past.apps {
                let before = before.and_then(|at| versions.get(id)?.get(&at));
                match before {
                    Some(app) => self.apps.insert(id.clone(), app.clone()),
                    None => self.apps.remove(id),
                };
            }
            for (id, (before, _)) in &past.groups {
                match before {
                    Some(group) => self.groups.insert(id.clone(), group.clone()),
                    None => self.groups.remove(id),
                };
            }
        }
        self
    }
}

/// What lies strictly below `id` in `table`.
pub fn below<'a, V>(
    table: &'a OrdMap<AppId, V>,
    id: &'a AppId,
) -> impl Iterator<Item = (&'a AppId, &'a V)> {
    // Siblings such as `/a-b` stand between `/a` and `/a/b`: begin where the slash does.
    let before = id.before_below();
    table
        .range((Bound::Excluded(before), Bound::Unbounded))
        .take_while(move |(other, _)| other.is_below(id))
}

/// `id` itself and what lies below it in `table`.
pub fn within<'a, V>(
    table: &'a OrdMap<AppId, V>,
    id: &'a AppId,
) -> impl Iterator<Item = (&'a AppId, &'a V)> {
    table.get_key_value(id).into_iter().chain(below(table, id))
}

/// Groups directly in `id`, whether described or made by what lies in them.
pub fn subgroups(tree: &Tree, id: &AppId) -> BTreeSet<AppId> {
    let depth = id.segments().count();
    let described = below(&tree.groups, id).map(|(group, _)| (group, 0));
    let implied = below(&tree.apps, id).map(|(app, _)| (app, 1));
    let names = described.chain(implied).filter_map(|(other, last)| {
        let words: Vec<_> = other.segments().collect();
        let is_deep = words.len() > depth + last;
        is_deep.then(|| AppId::parse(&words[..=depth].join("/")).ok())?
    });
    names.collect()
}

/// Versions at which something at or below `id` changed, oldest first.
///
/// They reach back as far as deployments are remembered; the present one is always among them.
pub fn versions(tree: &Tree, history: &History, id: &AppId) -> BTreeSet<Timestamp> {
    let touches = |past: &&Arc<Past>| {
        below(&past.apps, id).next().is_some() || within(&past.groups, id).next().is_some()
    };
    let apps = below(&tree.apps, id).map(|(_, app)| app.version);
    let present = apps.chain(within(&tree.groups, id).map(|(_, group)| group.version)).max();
    let past = history.values().filter(touches).map(|past| past.version);
    past.chain(present).collect()
}

/// The JSON of a group with all that is in it, of the shape that the API shows; `app` writes an app or a pod
/// where those are wanted, and `version` is what stands for the whole.
pub fn render(
    tree: &Tree,
    id: &AppId,
    wanted: Shown,
    version: &impl Fn(&AppId) -> Timestamp,
    app: &impl Fn(&App) -> String,
) -> String {
    let described = tree.groups.get(id);
    let dependencies = described.iter().flat_map(|group| &group.dependencies);
    let mut out = ObjectText::default()
        .with_value("id", id.as_str())
        .with_value("version", clock::format(version(id)))
        .with_value("dependencies", dependencies.map(AppId::as_str).collect::<Vec<_>>());
    if let Some(enforce_role) = described.and_then(|group| group.enforce_role) {
        out = out.with_value("enforceRole", enforce_role);
    }
    let written = |are_pods: bool| {
        let here = here(tree, id).filter(|it| it.is_pod() == are_pods);
        json_text::array(here.map(|it| app(it)))
    };
    if wanted.apps {
        out = out.with("apps", written(false));
    }
    if wanted.pods {
        out = out.with("pods", written(true));
    }
    if wanted.groups {
        let groups = subgroups(tree, id);
        let below = groups.iter().map(|below| render(tree, below, wanted, version, app));
        out = out.with("groups", json_text::array(below));
    }
    out.end()
}

/// Apps and pods directly in `id`.
fn here<'a>(tree: &'a Tree, id: &'a AppId) -> impl Iterator<Item = &'a Arc<App>> {
    below(&tree.apps, id).filter(move |(app, _)| app.parent() == *id).map(|(_, app)| app)
}

/// Which parts of a group are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The apps in it.
    pub apps: bool,
    /// The groups in it.
    pub groups: bool,
    /// The pods in it.
    pub pods: bool,
}

impl Shown {
    /// Everything.
    pub const ALL: Self = Self { apps: true, groups: true, pods: true };
}

/// A group as it was at `version`, as plain as it was described.
pub fn render_past(tree: &Tree, id: &AppId, version: Timestamp) -> String {
    render(tree, id, Shown::ALL, &|_| version, &|app| render::app(app).to_string())
}
