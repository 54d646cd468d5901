//! Remembering deployments: each is noted when it begins and again when it ends.

use super::Marathon;
use crate::group::History;
use crate::history::{End, HISTORY_MAX, Outcome, Past};
use crate::ids::AppId;
use crate::stored;
use crate::view::Change;
use model::step::{Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Deployments that run and the latest that are over.
///
/// Invariant: who is over and what is named are those of the deployments that are there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Remembered {
    all: History,
    /// Those that are over, by the versions they made.
    over: BTreeSet<Timestamp>,
    /// How often each version of an app is named as the one before or after a deployment.
    named: BTreeMap<(AppId, Timestamp), usize>,
}

impl Remembered {
    /// Those that were stored.
    pub(super) fn new(all: &History) -> Self {
        let mut remembered = Self::default();
        for past in all.values() {
            remembered.put(past.clone());
        }
        remembered
    }

    /// All of them.
    pub(super) fn all(&self) -> &History {
        &self.all
    }

    /// The one that made `version`.
    pub(super) fn get(&self, version: Timestamp) -> Option<&Arc<Past>> {
        self.all.get(&version)
    }

    fn put(&mut self, past: Arc<Past>) {
        self.forget(past.version);
        for version in named(&past) {
            *self.named.entry(version).or_default() += 1;
        }
        if past.end.is_some() {
            self.over.insert(past.version);
        }
        self.all.insert(past.version, past);
    }

    fn forget(&mut self, version: Timestamp) {
        let Some(past) = self.all.remove(&version) else { return };
        self.over.remove(&version);
        for version in named(&past) {
            if let Some(count) = self.named.get_mut(&version) {
                *count -= 1;
                if *count == 0 {
                    self.named.remove(&version);
                }
            }
        }
    }
}

/// The versions of apps that `past` went from and to.
fn named(past: &Past) -> impl Iterator<Item = (AppId, Timestamp)> {
    let of = |(id, (before, after)): (&AppId, &(Option<Timestamp>, Option<Timestamp>))| {
        let id = id.clone();
        [*before, *after].into_iter().flatten().map(move |version| (id.clone(), version))
    };
    past.apps.iter().flat_map(of)
}

impl Marathon {
    /// Notes what a deployment changes.
    pub(super) fn note_start(&mut self, past: Past) {
        self.put_past(past);
        while self.books.history.all.len() > HISTORY_MAX {
            // One that runs is needed to take it back.
            let Some(old) = self.books.history.over.first().copied() else { return };
            self.forget_past(old);
        }
    }

    /// Notes how the deployment that made `version` ended.
    pub(super) fn note_end(
        &mut self,
        version: Timestamp,
        outcome: Outcome,
        why: Option<Arc<str>>,
        now: Now,
    ) {
        if let Some(past) = self.books.history.get(version) {
            let end = Some(End { at: now.wall, outcome, why });
            self.put_past(Past { end, ..(**past).clone() });
        }
    }

    fn put_past(&mut self, past: Past) {
        let version = past.version;
        self.outbox.put(stored::past_key(version), Some(stored::past(&past)));
        let past = Arc::new(past);
        self.show(Change::Past(version, Some(past.clone())));
        self.books.history.put(past);
    }

    fn forget_past(&mut self, version: Timestamp) {
        let Some(past) = self.books.history.get(version).cloned() else { return };
        self.books.history.forget(version);
        self.outbox.put(stored::past_key(version), None);
        self.show(Change::Past(version, None));
        for id in past.apps.keys() {
            self.drop_versions_if_gone(id);
        }
    }

    /// Whether a group may still go back to `version` of the app `id`.
    pub(super) fn is_remembered(&self, id: &AppId, version: Timestamp) -> bool {
        self.books.history.named.contains_key(&(id.clone(), version))
    }
}
