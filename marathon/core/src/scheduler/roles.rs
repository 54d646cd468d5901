//! The roles Marathon gets offers in: its own, and those that its apps are in.

use super::Marathon;
use crate::app::App;
use crate::io::Output;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Marathon {
    /// Every role that is needed now.
    pub(super) fn roles(&self) -> BTreeSet<Arc<str>> {
        let own = [self.config.role.clone()];
        let of_apps = self.books.role_counts.keys().cloned();
        // What is being replaced is made up for in the role it had.
        let under_way = self.books.deployments.values();
        let originals = under_way.flat_map(|it| it.deployment.originals.values().flatten());
        let of_originals = originals.filter_map(|app| app.role.as_deref()).map(Arc::from);
        let of_reservations = self.books.reservations.roles().cloned();
        own.into_iter().chain(of_apps).chain(of_originals).chain(of_reservations).collect()
    }

    /// Remembers that `old` has become `new`.
    pub(super) fn note_role(&mut self, old: Option<&App>, new: Option<&App>) {
        let counts = &mut self.books.role_counts;
        if let Some(role) = new.and_then(|app| app.role.as_deref()) {
            *counts.entry(role.into()).or_default() += 1;
        }
        let Some(role) = old.and_then(|app| app.role.as_deref()) else { return };
        if let Some(count) = counts.get_mut(role) {
            *count -= 1;
            if *count == 0 {
                counts.remove(role);
            }
        }
    }
}

/// Has the master know of roles that have come or gone.
pub(super) fn settle(marathon: &mut Marathon) {
    let roles = marathon.roles();
    if roles != marathon.books.roles {
        marathon.books.roles.clone_from(&roles);
        let is_suppressed = marathon.books.asking.is_suppressed;
        marathon.outbox.push(Output::Roles { roles, is_suppressed });
    }
}
