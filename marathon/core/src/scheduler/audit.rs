//! Checking that what is counted and indexed is what looking at everything finds.

use super::history::Remembered;
use super::{Books, Marathon, agents, roles};
use crate::app::App;
use crate::fleet::is_one_per_agent;
use crate::ids::{AppId, InstanceId};
use crate::instance::Condition;
use crate::instances::Instances;
use crate::planner::Action;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Marathon {
    /// What of the books does not follow from the rest of them: nothing, whatever has happened.
    ///
    /// Changes keep sums and indices as they go and look at no more than they change. This looks at everything
    /// there is, for those who test that the two agree.
    pub fn audit(&self) -> Vec<&'static str> {
        let books = &self.books;
        let checks = [
            ("roles", roles_of(books) == *books.role_counts.counts()),
            (
                "service ports",
                books.service_ports.is_of(books.tree.apps.values().map(|app| &**app)),
            ),
            ("history", Remembered::new(books.history.all()) == books.history),
            ("followers", apps_of(books, is_one_per_agent) == books.followers),
            ("spread", apps_of(books, agents::is_spread) == books.spread),
            ("instances", books.instances.values().all(Instances::is_sound)),
            ("leaving", books.instances.iter().all(|(app, all)| leave_rightly(books, app, all))),
            ("owners", owners_of(books) == books.owners),
            (
                "queue",
                books.queue.is_sound() && waiting_of(books) == books.queue.all().cloned().collect(),
            ),
            ("setbacks", setbacks_of(books).all(|app| books.tree.apps.contains_key(app))),
            ("locks", locks_of(books) == books.locks.keys().cloned().collect()),
        ];
        let wrong = checks.into_iter().filter(|(_, is_right)| !is_right).map(|(what, _)| what);
        wrong.chain(books.reservations.audit()).collect()
    }
}

fn roles_of(books: &Books) -> BTreeMap<Arc<str>, usize> {
    let of_apps = books.tree.apps.values().filter_map(|app| app.role.as_deref());
    let of_originals =
        books.deployments.values().flat_map(|it| roles::of_originals(&it.deployment));
    let of_reservations = books.reservations.values().map(|it| &*it.role);
    let mut counts = BTreeMap::new();
    for role in of_apps.chain(of_originals).chain(of_reservations) {
        *counts.entry(role.into()).or_default() += 1;
    }
    counts
}

/// Whether those of `app` leave that a deployment moves.
fn leave_rightly(books: &Books, app: &AppId, all: &Instances) -> bool {
    let under_way = books.locks.get(app).and_then(|id| books.deployments.get(id));
    let steps = under_way.iter().flat_map(|it| &it.deployment.plan.steps);
    let moved: BTreeSet<_> =
        steps.filter_map(|step| step.action(app)).flat_map(Action::moved).collect();
    all.values().all(|it| all.leaving().contains(&it.id) == moved.contains(&it.id))
}

fn owners_of(books: &Books) -> BTreeMap<InstanceId, AppId> {
    let all = books.instances.iter();
    let all = all.flat_map(|(app, of_app)| of_app.values().map(|it| (it.id.clone(), app.clone())));
    all.collect()
}

fn waiting_of(books: &Books) -> BTreeSet<InstanceId> {
    let all = books.instances.values().flat_map(Instances::values);
    let waiting = all.filter(|it| it.condition == Condition::Scheduled);
    waiting.map(|it| it.id.clone()).collect()
}

fn apps_of(books: &Books, is_one: fn(&App) -> bool) -> BTreeSet<AppId> {
    let all = books.tree.apps.iter().filter(|(_, app)| is_one(app));
    all.map(|(id, _)| id.clone()).collect()
}

/// Apps of which something that has gone wrong is kept.
fn setbacks_of(books: &Books) -> impl Iterator<Item = &AppId> {
    books.failed.iter().chain(books.resets.keys())
}

fn locks_of(books: &Books) -> BTreeSet<AppId> {
    books.deployments.values().flat_map(|it| it.deployment.originals.keys()).cloned().collect()
}
