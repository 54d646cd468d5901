//! Coming into the lead and losing it, meeting the master and losing it.

use super::history::Remembered;
use super::{
    Books, Due, Marathon, advance, agents, ailing, kills, readiness, residence, search, settle,
};
use crate::event::Happening;
use crate::fleet::Fleet;
use crate::ids::{AppId, WriteId};
use crate::instance::{Condition, Instance};
use crate::instances::Instances;
use crate::io::{Key, Output, TaskFailure};
use crate::rendered::Rendered;
use crate::service_ports::ServicePorts;
use crate::stored;
use crate::view::Change;
use imbl::OrdMap;
use model::ids::{FrameworkId, UpdateId};
use model::step::Now;
use std::collections::BTreeMap;
use std::sync::Arc;

/// This process leads: take up everything where it was left.
pub(super) fn lead(
    marathon: &mut Marathon,
    stored: &[(Key, Vec<u8>)],
    now: Now,
    out: &mut Vec<Output>,
) {
    marathon.outbox.abandon(out);
    let loaded = stored::load(stored);
    let fleet = Fleet::new(marathon.config.gpus_are_kept);
    marathon.books = Books { fleet, ..Books::default() };
    marathon.is_leading = true;
    marathon.show(Change::Clear { is_leading: true });
    let framework = loaded.framework.clone();
    if let Some(framework) = &framework {
        marathon.show(Change::Framework(framework.clone()));
    }
    let books = &mut marathon.books;
    books.service_ports = ServicePorts::new(marathon.config.service_ports);
    books.framework.clone_from(&framework);
    let versions = loaded.versions.values().flat_map(OrdMap::keys);
    let deployed = loaded.deployments.iter().map(|deployment| &deployment.version);
    let past = loaded.history.keys();
    books.last_version = versions.chain(deployed).chain(past).copied().max().unwrap_or_default();
    books.tree = loaded.tree;
    books.history = Remembered::new(&loaded.history);
    books.secrets = loaded.secrets;
    books.versions = loaded.versions;
    show_tree(marathon);
    setbacks(marathon, loaded.failures, loaded.resets);
    for reservation in loaded.reservations {
        marathon.take_reservation(reservation);
    }
    for instance in loaded.instances {
        let (app, id) = (instance.app.id.clone(), instance.id.clone());
        let instance = Arc::new(instance);
        let shown = Some(Rendered::new(instance.clone()));
        marathon.show(Change::Instance(app.clone(), id.clone(), shown));
        marathon.books.owners.insert(id.clone(), app.clone());
        marathon.books.instances.entry(app.clone()).or_default().insert(instance.clone());
        if let Some(task) = &instance.task {
            let has_gpus = instance.app.gpus > 0;
            marathon.books.fleet.seen(task.place.clone(), has_gpus);
        }
        if instance.condition == Condition::Scheduled {
            marathon.enqueue(&app, id, now);
        } else {
            marathon.watch(&instance, now);
            ailing::look_later(marathon, &instance, now);
        }
        marathon.books.touched.insert(app);
    }
    for deployment in loaded.deployments {
        let id = deployment.id.clone();
        marathon.take_up(deployment);
        advance::watch(marathon, &id, now);
        settle::begin_step(marathon, &id, now);
    }
    readiness::begin_all(marathon, now);
    residence::lead(marathon, now);
    // Apps without instances are looked at too: they may want some.
    let apps: Vec<_> = marathon.books.tree.apps.keys().cloned().collect();
    marathon.books.touched.extend(apps);
    marathon.wake_at(now.time + marathon.config.scale_delay, Due::Check);
    let roles = marathon.roles();
    marathon.books.roles.clone_from(&roles);
    let framework = Some(framework.unwrap_or_else(|| choose_id(marathon)));
    marathon.outbox.push(Output::Subscribe { framework, roles });
}

/// What has gone wrong before. What is kept of apps that are gone goes: a large write is made in parts, and its
/// writer may have ended between them.
fn setbacks(marathon: &mut Marathon, failures: Vec<TaskFailure>, resets: BTreeMap<AppId, u64>) {
    for failure in failures {
        if marathon.books.tree.apps.contains_key(&failure.app) {
            marathon.books.failed.insert(failure.app.clone());
            marathon.show(Change::Failure(failure.app.clone(), Some(Arc::new(failure))));
        } else {
            marathon.outbox.put(stored::failure_key(&failure.app), None);
        }
    }
    for (app, resets) in resets {
        if marathon.books.tree.apps.contains_key(&app) {
            marathon.books.resets.insert(app, resets);
        } else {
            marathon.outbox.put(stored::resets_key(&app), None);
        }
    }
}

/// The id to subscribe under for the first time. It is chosen here and kept before any master hears of
/// it: one that a master gives would be lost with a leader that ends before it is kept, and a framework
/// that nobody comes back to would stay behind.
fn choose_id(marathon: &mut Marathon) -> FrameworkId {
    let id = format!("{}-0000", UpdateId(marathon.ids.uuid()));
    let id = FrameworkId::new(id).expect("a UUID and digits");
    marathon.outbox.put(stored::framework_key(), Some(stored::framework(&id)));
    id
}

fn show_tree(marathon: &mut Marathon) {
    let secrets: Vec<_> = marathon.books.secrets.keys().cloned().collect();
    for path in secrets {
        marathon.show(Change::Secret(path, true));
    }
    let groups: Vec<_> = marathon.books.tree.groups.values().cloned().collect();
    for group in groups {
        marathon.show(Change::Group(group.id.clone(), Some(group)));
    }
    let history: Vec<_> = marathon.books.history.all().values().cloned().collect();
    for past in history {
        marathon.show(Change::Past(past.version, Some(past)));
    }
    let apps: Vec<_> = marathon.books.tree.apps.values().cloned().collect();
    for app in apps {
        marathon.note_follower(&app);
        marathon.note_role(None, Some(&app));
        marathon.books.service_ports.note(None, Some(&app));
        marathon.show(Change::App(app.id.clone(), Some(Rendered::new(app))));
    }
    let versions: Vec<_> =
        marathon.books.versions.values().flat_map(|versions| versions.values().cloned()).collect();
    for app in versions {
        marathon.show(Change::Version(app.id.clone(), app.version, Some(app)));
    }
}

/// Somebody else leads.
pub(super) fn depose(marathon: &mut Marathon, out: &mut Vec<Output>) {
    marathon.outbox.abandon(out);
    marathon.books = Books::default();
    marathon.is_leading = false;
    out.push(Output::View(Change::Clear { is_leading: false }));
}

/// What is in memory does not follow from the store any more: give up the lead.
pub(super) fn commit_failed(marathon: &mut Marathon, write: WriteId, out: &mut Vec<Output>) {
    if marathon.outbox.is_under_way(write) {
        depose(marathon, out);
        out.push(Output::StepDown);
    }
}

/// The master knows us: ask it about everything.
pub(super) fn subscribed(
    marathon: &mut Marathon,
    framework: FrameworkId,
    master: Arc<str>,
    now: Now,
) {
    if !marathon.is_leading {
        return;
    }
    let is_known = marathon.books.framework.as_ref() == Some(&framework);
    let what = if is_known {
        Happening::SchedulerReregistered { master }
    } else {
        Happening::SchedulerRegistered { framework: framework.as_str().into(), master }
    };
    if !is_known {
        // Written before anything is launched under this id: a successor must come back under it.
        marathon.outbox.put(stored::framework_key(), Some(stored::framework(&framework)));
        marathon.show(Change::Framework(framework.clone()));
        marathon.books.framework = Some(framework);
    }
    marathon.tell(what, now);
    marathon.books.is_connected = true;
    marathon.books.asking.is_suppressed = false;
    marathon.books.asking.is_revive_wanted = true;
    marathon.books.asking.since = Some(now.time);
    marathon.books.agents_asked = agents::Asked::default();
    let draining = &marathon.books.draining;
    let is_due = |it: &Instance| it.condition == Condition::Killing && !draining.contains(&it.id);
    for instance in marathon.all_instances(is_due) {
        marathon.send_kill(&instance);
    }
    if marathon.config.reconcile_delay.is_zero() {
        reconcile(marathon, now);
    } else {
        marathon.wake_at(now.time + marathon.config.reconcile_delay, Due::Reconcile);
    }
}

/// Asks about every task there should be, and about all there are; and for offers, which tell what is reserved.
pub(super) fn reconcile(marathon: &mut Marathon, now: Now) {
    let next = now.time + marathon.config.reconcile_interval;
    marathon.books.timers.retain(|(_, due)| *due != Due::Reconcile);
    marathon.wake_at(next, Due::Reconcile);
    search::search(marathon, now);
    let tasks: Vec<_> = marathon
        .books
        .instances
        .values()
        .flat_map(Instances::values)
        .filter_map(|it| it.task.as_ref())
        .flat_map(kills::alive)
        .chain(search::questions(marathon, None))
        .collect();
    if !tasks.is_empty() {
        marathon.outbox.push(Output::Reconcile(tasks));
    }
    marathon.outbox.push(Output::Reconcile(Vec::new()));
}

/// The connection is gone; the shell will make another.
pub(super) fn disconnected(marathon: &mut Marathon, now: Now) {
    if marathon.is_leading && marathon.books.is_connected {
        marathon.books.is_connected = false;
        marathon.tell(Happening::SchedulerDisconnected, now);
    }
}
