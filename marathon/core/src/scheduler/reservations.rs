//! What was reserved for instances, found by app and by what is to be done about it.

use crate::ids::AppId;
use crate::reservation::Reservation;
use model::ids::AgentId;
use model::resources::Resources;
use model::step::{Now, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was reserved for instances, and what of it is to go.
///
/// Invariant: those of an app and those given up are those that are there.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    all: BTreeMap<Arc<str>, Arc<Reservation>>,
    /// Those that can be used, by app.
    live: BTreeMap<AppId, BTreeSet<Arc<str>>>,
    /// Those that are to go.
    given_up: BTreeSet<Arc<str>>,
    /// What of each was last given back.
    pub(super) released: BTreeMap<Arc<str>, Released>,
    /// Until when offers are asked for to give things back.
    pub(super) collects_until: Time,
    /// Until when offers are asked for to find what is in no book.
    pub(super) searches_until: Time,
}

/// What was given back of a reservation.
#[derive(Debug)]
pub(super) struct Released {
    pub(super) at: Time,
    pub(super) agent: AgentId,
    pub(super) resources: Resources,
}

impl Reservations {
    /// All of them.
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.all.values()
    }

    /// The one of this id, even if it is to go.
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Reservation>> {
        self.all.get(id)
    }

    /// The one of this id, if it can be used.
    pub(super) fn live(&self, id: &str) -> Option<&Arc<Reservation>> {
        self.all.get(id).filter(|it| it.is_live())
    }

    /// Those of `app` that can be used.
    pub(super) fn of_app(&self, app: &AppId) -> impl Iterator<Item = &Arc<Reservation>> + Clone {
        self.live.get(app).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    /// Those that are to go.
    pub(super) fn given_up(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.given_up.iter().filter_map(|id| self.all.get(id))
    }

    /// Takes one in, or how it is now. What was known of it is returned.
    pub(super) fn put(&mut self, reservation: Arc<Reservation>) -> Option<Arc<Reservation>> {
        let known = self.remove(&reservation.id);
        let id = reservation.id.clone();
        if reservation.is_live() {
            self.live.entry(reservation.app.clone()).or_default().insert(id.clone());
        } else {
            self.given_up.insert(id.clone());
        }
        self.all.insert(id, reservation);
        known
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: &str) -> Option<Arc<Reservation>> {
        let known = self.all.remove(id)?;
        self.given_up.remove(id);
        if let Some(live) = self.live.get_mut(&known.app) {
            live.remove(id);
            if live.is_empty() {
                self.live.remove(&known.app);
            }
        }
        Some(known)
    }

    /// Whether something is to be given back and may be offered soon, or what is in no book is looked for.
    pub(super) fn wants_offers(&self, now: Now) -> bool {
        let collects = now.time < self.collects_until && !self.given_up.is_empty();
        collects || now.time < self.searches_until
    }

    /// What does not follow from the reservations that are there, for those who check.
    pub(super) fn audit(&self) -> Option<&'static str> {
        let mut anew = Self::default();
        for reservation in self.all.values() {
            anew.put(reservation.clone());
        }
        let is_same = (&anew.live, &anew.given_up) == (&self.live, &self.given_up);
        (!is_same).then_some("reservations by app, or given up")
    }
}
