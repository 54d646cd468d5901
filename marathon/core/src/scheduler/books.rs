//! Changing what is known: each change goes to the store, to the view and to the events at once.

use super::{Due, Marathon, advance, agents};
use crate::app::App;
use crate::backoff::Backoff;
use crate::event::{Event, Happening};
use crate::fleet::is_one_per_agent;
use crate::group::Group;
use crate::ids::{AppId, InstanceId};
use crate::instance::{Condition, Goal, Instance};
use crate::io::{Output, TaskFailure};
use crate::rendered::Rendered;
use crate::stored;
use crate::view::Change;
use imbl::OrdMap;
use model::step::{Now, Timestamp};
use std::sync::Arc;

/// Stored versions of one app. More than anybody goes back, and little to keep.
const VERSIONS_MAX: usize = 50;

impl Marathon {
    pub(super) fn show(&mut self, change: Change) {
        self.outbox.push(Output::View(change));
    }

    pub(super) fn tell(&mut self, what: Happening, now: Now) {
        self.outbox.push(Output::Event(Event { at: now.wall, what }));
    }

    /// Takes in a new definition of an app.
    pub(super) fn put_app(&mut self, app: Arc<App>) {
        let (id, version) = (app.id.clone(), app.version);
        self.outbox.put(stored::version_key(&id, version), Some(stored::version(&app)));
        self.outbox.put(stored::app_key(&id), Some(stored::app(&app)));
        self.show(Change::App(id.clone(), Some(Rendered::new(app.clone()))));
        self.show(Change::Version(id.clone(), version, Some(app.clone())));
        self.books.versions.entry(id.clone()).or_default().insert(version, app.clone());
        self.note_follower(&app);
        let old = self.books.tree.apps.get(&id).cloned();
        self.note_role(old.as_deref(), Some(&app));
        self.books.service_ports.note(old.as_deref(), Some(&app));
        self.books.tree.apps.insert(id.clone(), app);
        self.drop_old_versions(&id);
        self.books.queue_shown.insert(id);
    }

    /// Remembers whether `app` follows the agents, or is spread over them.
    pub(super) fn note_follower(&mut self, app: &App) {
        if agents::is_spread(app) {
            self.books.spread.insert(app.id.clone());
        } else {
            self.books.spread.remove(&app.id);
        }
        if is_one_per_agent(app) {
            self.books.followers.insert(app.id.clone());
        } else {
            self.books.followers.remove(&app.id);
        }
    }

    /// Takes an app out. Its versions stay while anybody needs them.
    pub(super) fn remove_app(&mut self, id: &AppId) {
        let old = self.books.tree.apps.remove(id);
        self.note_role(old.as_deref(), None);
        self.books.service_ports.note(old.as_deref(), None);
        self.books.followers.remove(id);
        self.books.spread.remove(id);
        self.outbox.put(stored::app_key(id), None);
        self.show(Change::App(id.clone(), None));
        if self.books.failed.remove(id) {
            self.outbox.put(stored::failure_key(id), None);
        }
        if self.books.resets.remove(id).is_some() {
            self.outbox.put(stored::resets_key(id), None);
        }
        self.show(Change::Failure(id.clone(), None));
        self.show(Change::Ended(id.clone(), None));
    }

    /// Takes in what is said of a group.
    pub(super) fn put_group(&mut self, group: Arc<Group>) {
        let id = group.id.clone();
        self.outbox.put(stored::group_key(&id), Some(stored::group(&group)));
        self.show(Change::Group(id.clone(), Some(group.clone())));
        self.books.tree.groups.insert(id, group);
    }

    /// Nothing is said of a group any more.
    pub(super) fn remove_group(&mut self, id: &AppId) {
        self.books.tree.groups.remove(id);
        self.outbox.put(stored::group_key(id), None);
        self.show(Change::Group(id.clone(), None));
    }

    fn drop_old_versions(&mut self, id: &AppId) {
        let Some(versions) = self.books.versions.get(id) else { return };
        let surplus = versions.len().saturating_sub(VERSIONS_MAX);
        let old: Vec<Timestamp> = versions.keys().copied().take(surplus).collect();
        for version in old {
            if !self.is_version_needed(id, version) {
                self.drop_version(id, version);
            }
        }
    }

    /// Whether `id` is no app, is not going to be one again, and nothing of it is there.
    pub(super) fn is_gone(&self, id: &AppId) -> bool {
        let is_wanted = self.books.tree.apps.contains_key(id) || self.books.locks.contains_key(id);
        !is_wanted && !self.books.instances.contains_key(id)
    }

    /// Forgets the versions of an app that is gone with all that was of it, but for those that a
    /// group may go back to.
    pub(super) fn drop_versions_if_gone(&mut self, id: &AppId) {
        if !self.is_gone(id) {
            return;
        }
        let versions = self.books.versions.get(id);
        let all: Vec<Timestamp> = versions.into_iter().flat_map(OrdMap::keys).copied().collect();
        for version in all {
            if !self.is_remembered(id, version) {
                self.drop_version(id, version);
            }
        }
    }

    fn drop_version(&mut self, id: &AppId, version: Timestamp) {
        if let Some(versions) = self.books.versions.get_mut(id) {
            versions.remove(&version);
            if versions.is_empty() {
                self.books.versions.remove(id);
            }
        }
        self.outbox.put(stored::version_key(id, version), None);
        self.show(Change::Version(id.clone(), version, None));
    }

    fn is_version_needed(&self, id: &AppId, version: Timestamp) -> bool {
        let has = |app: &Arc<App>| app.version == version;
        let original = self.books.locks.get(id).and_then(|it| self.books.deployments.get(it));
        let original = original.and_then(|it| it.deployment.originals.get(id));
        self.books.tree.apps.get(id).is_some_and(has)
            || original.is_some_and(|app| app.as_ref().is_some_and(has))
            || self.instances_of(id).values().any(|it| has(&it.app))
            || self.is_remembered(id, version)
    }

    /// A new instance of `app` waits for an offer.
    pub(super) fn add_instance(&mut self, app: Arc<App>, now: Now) {
        let id = InstanceId::draw(&app.id, &mut self.ids);
        let app_id = app.id.clone();
        self.put_instance(
            Instance {
                id: id.clone(),
                goal: Goal::Running,
                condition: Condition::Scheduled,
                app,
                incarnation: 1,
                since: now.wall,
                changed_at: now.wall,
                task: None,
                reservation: None,
                backoff: None,
            },
            now,
        );
        self.enqueue(&app_id, id, now);
    }

    /// `instance` waits for an offer, now or once its backoff is over.
    pub(super) fn enqueue(&mut self, app: &AppId, instance: InstanceId, now: Now) {
        let left = self.instance(&instance).and_then(|it| self.backoff(it));
        let left = left.map(|it| it.left(now.wall)).filter(|left| !left.is_zero());
        let due_at = left.map(|left| now.time + left);
        self.books.queue.add(app, instance.clone(), due_at, now.wall);
        self.books.queue_shown.insert(app.clone());
        match due_at {
            Some(at) => self.wake_at(at, Due::Launch(instance)),
            None => self.books.asking.is_revive_wanted = true,
        }
    }

    /// What the last failure of `instance` means for its next launch, unless its app's delays were reset since.
    pub(super) fn backoff(&self, instance: &Instance) -> Option<Backoff> {
        instance.backoff.filter(|it| it.resets == self.resets(&instance.app.id))
    }

    /// How often the delays of `app` were reset.
    pub(super) fn resets(&self, app: &AppId) -> u64 {
        self.books.resets.get(app).copied().unwrap_or_default()
    }

    /// Makes everything that waits of `app` due at once. False if nothing does.
    pub(super) fn reset_delays(&mut self, app: &AppId) -> bool {
        if !self.books.queue.reset(app) {
            return false;
        }
        let resets = self.resets(app) + 1;
        self.books.resets.insert(app.clone(), resets);
        self.outbox.put(stored::resets_key(app), Some(stored::resets(app, resets)));
        true
    }

    /// Takes in the last failure of an app.
    pub(super) fn put_failure(&mut self, failure: TaskFailure) {
        let id = failure.app.clone();
        self.outbox.put(stored::failure_key(&id), Some(stored::failure(&failure)));
        self.books.failed.insert(id.clone());
        self.show(Change::Failure(id, Some(Arc::new(failure))));
    }

    /// Takes in a new state of an instance.
    pub(super) fn put_instance(&mut self, mut instance: Instance, now: Now) {
        let (app, id) = (instance.app.id.clone(), instance.id.clone());
        let old = self.instance(&id).cloned();
        if old.as_ref().is_some_and(|old| old.condition != instance.condition) {
            instance.changed_at = now.wall;
        }
        let kept = stored::instance(&instance);
        // A verdict repeated by the health check is news to nobody and costs no write.
        if old.as_ref().is_none_or(|old| stored::instance(old) != kept) {
            self.outbox.put(stored::instance_key(&id), Some(stored::encode(&kept)));
        }
        if old.as_ref().is_none_or(|old| old.condition != instance.condition) {
            self.tell_condition(&instance, instance.condition.name(), now);
        }
        if instance.condition != Condition::Killing {
            self.books.draining.remove(&id);
        }
        let served = old.as_ref().is_some_and(|old| old.is_serving());
        let gets_on = !served && instance.is_serving();
        let instance = Arc::new(instance);
        let shown = Some(Rendered::new(instance.clone()));
        self.show(Change::Instance(app.clone(), id.clone(), shown));
        self.books.owners.insert(id.clone(), app.clone());
        self.books.instances.entry(app.clone()).or_default().insert(instance);
        if gets_on {
            advance::app_got_on(self, &app, now);
        }
        self.books.touched.insert(app);
    }

    /// Forgets an instance that ended as `condition` says.
    pub(super) fn remove_instance(&mut self, id: &InstanceId, condition: &'static str, now: Now) {
        let Some(app) = self.books.owners.remove(id) else { return };
        let Some(of_app) = self.books.instances.get_mut(&app) else { return };
        let Some(instance) = of_app.remove(id) else { return };
        if of_app.is_empty() {
            self.books.instances.remove(&app);
        }
        self.books.queue.remove(&app, id);
        self.books.draining.remove(id);
        self.books.queue_shown.insert(app.clone());
        self.outbox.put(stored::instance_key(id), None);
        self.tell_condition(&instance, condition, now);
        self.show(Change::Instance(app.clone(), id.clone(), None));
        self.leave_reservation(&instance, now);
        self.give_up_if_gone(&app, now);
        self.drop_versions_if_gone(&app);
        advance::app_got_on(self, &app, now);
        self.books.touched.insert(app);
    }

    pub(super) fn tell_condition(
        &mut self,
        instance: &Instance,
        condition: &'static str,
        now: Now,
    ) {
        let place = instance.task.as_ref().map(|task| &task.place);
        let what = Happening::InstanceChanged {
            instance: instance.id.clone(),
            condition,
            app: instance.app.id.clone(),
            agent: place.map(|place| place.agent.as_str().into()),
            host: place.map(|place| place.host.clone()),
            version: instance.app.version,
        };
        self.tell(what, now);
    }
}
