//! The roles Marathon gets offers in: its own, and those that its apps are in.

use super::Marathon;
use crate::app::App;
use crate::io::Output;
use crate::planner::Deployment;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Roles that something is in: apps, apps as they were before a deployment that runs (what is being replaced is
/// made up for in the role it had), and reservations (to give them back takes offers in their role).
#[derive(Debug, Default)]
pub(super) struct RoleCounts {
    /// How much is in each.
    counts: BTreeMap<Arc<str>, usize>,
    /// Whether a role has come or gone since this was last asked.
    has_changed: bool,
}

impl RoleCounts {
    /// One more is in `role`.
    pub(super) fn add(&mut self, role: &str) {
        if let Some(count) = self.counts.get_mut(role) {
            *count += 1;
        } else {
            self.counts.insert(role.into(), 1);
            self.has_changed = true;
        }
    }

    /// One less is in `role`.
    pub(super) fn remove(&mut self, role: &str) {
        let Some(count) = self.counts.get_mut(role) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(role);
            self.has_changed = true;
        }
    }

    /// How much is in each.
    pub(super) fn counts(&self) -> &BTreeMap<Arc<str>, usize> {
        &self.counts
    }
}

/// The roles that apps had before `deployment`, as often as they had them.
pub(super) fn of_originals(deployment: &Deployment) -> impl Iterator<Item = &str> {
    deployment.originals.values().flatten().filter_map(|app| app.role.as_deref())
}

impl Marathon {
    /// Every role that is needed now.
    pub(super) fn roles(&self) -> BTreeSet<Arc<str>> {
        let own = [self.config.role.clone()];
        own.into_iter().chain(self.books.role_counts.counts.keys().cloned()).collect()
    }

    /// Remembers that `old` has become `new`.
    pub(super) fn note_role(&mut self, old: Option<&App>, new: Option<&App>) {
        if let Some(role) = new.and_then(|app| app.role.as_deref()) {
            self.books.role_counts.add(role);
        }
        if let Some(role) = old.and_then(|app| app.role.as_deref()) {
            self.books.role_counts.remove(role);
        }
    }
}

/// Has the master know of roles that have come or gone.
pub(super) fn settle(marathon: &mut Marathon) {
    if !std::mem::take(&mut marathon.books.role_counts.has_changed) {
        return;
    }
    let roles = marathon.roles();
    if roles != marathon.books.roles {
        marathon.books.roles.clone_from(&roles);
        let is_suppressed = marathon.books.asking.is_suppressed;
        marathon.outbox.push(Output::Roles { roles, is_suppressed });
    }
}
