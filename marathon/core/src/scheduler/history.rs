//! Remembering deployments: each is noted when it begins and again when it ends.

use super::Marathon;
use crate::history::{End, HISTORY_MAX, Outcome, Past};
use crate::ids::AppId;
use crate::stored;
use crate::view::Change;
use model::step::{Now, Timestamp};
use std::sync::Arc;

impl Marathon {
    /// Notes what a deployment changes.
    pub(super) fn note_start(&mut self, past: Past) {
        self.put_past(past);
        while self.books.history.len() > HISTORY_MAX {
            // One that runs is needed to take it back.
            let old = self.books.history.values().find(|past| past.end.is_some());
            let Some(old) = old.cloned() else { return };
            self.forget_past(&old);
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
        if let Some(past) = self.books.history.get(&version) {
            let end = Some(End { at: now.wall, outcome, why });
            self.put_past(Past { end, ..(**past).clone() });
        }
    }

    fn put_past(&mut self, past: Past) {
        let version = past.version;
        self.outbox.put(stored::past_key(version), Some(stored::past(&past)));
        let past = Arc::new(past);
        self.show(Change::Past(version, Some(past.clone())));
        self.books.history.insert(version, past);
    }

    fn forget_past(&mut self, past: &Past) {
        self.books.history.remove(&past.version);
        self.outbox.put(stored::past_key(past.version), None);
        self.show(Change::Past(past.version, None));
        for id in past.apps.keys() {
            self.drop_versions_if_gone(id);
        }
    }

    /// Whether a group may still go back to `version` of the app `id`.
    pub(super) fn is_remembered(&self, id: &AppId, version: Timestamp) -> bool {
        let of_app = self.books.history.values().filter_map(|past| past.apps.get(id));
        let mut versions = of_app.flat_map(|(before, after)| [before, after]);
        versions.any(|it| *it == Some(version))
    }
}
