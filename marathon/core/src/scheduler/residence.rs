//! Where instances with volumes live: reservations are made for them, found again, and given back.
//!
//! An instance that is launched for the first time has everything it takes reserved, and its volumes
//! made, with the same offer. Its tasks after that, and those of whoever takes its place, are launched on
//! what was reserved. What nobody is to have any more is given up: destroyed and unreserved as soon as
//! it is offered, as is everything with our mark that is not in the books.

use super::reservations::Released;
use super::{Due, Marathon, search};
use crate::app::{App, UnreachableStrategy};
use crate::ids::AppId;
use crate::instance::{Condition, Instance};
use crate::io::{Claim, NewVolume, OfferView, Output, Release};
use crate::matcher::{self, Fit, Mismatch, Others, Roles};
use crate::reservation::{LocalVolume, Reservation, ReservationState};
use crate::spread::Spread;
use crate::stored;
use crate::view::Change;
use model::ids::{AgentId, PersistenceId, UpdateId};
use model::resources::{Key, Resources};
use model::step::Now;
use model::task::{Status, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long offers are asked for so that what was given up can be given back.
const COLLECT_FOR: Duration = Duration::from_secs(600);

/// How long it is waited before they are asked for once more, for what was not offered by then since its
/// agent was away.
const COLLECT_AGAIN: Duration = Duration::from_secs(3_600);

/// Least time between two tries to give the same back: the first may have been refused.
const RELEASE_EVERY: Duration = Duration::from_secs(10);

/// Where an instance with volumes can be launched.
pub(super) struct Found {
    pub(super) fit: Fit,
    pub(super) claim: Claim,
    /// The reservation, as it is if the instance is launched.
    pub(super) reservation: Reservation,
}

/// What one instance of `app` takes of `offer`, of which `free` and `held` are left, or why it cannot
/// start there.
pub(super) fn find(
    marathon: &mut Marathon,
    instance: &Instance,
    app: &App,
    offer: &OfferView,
    free: &Resources,
    held: &BTreeMap<Arc<str>, Resources>,
    now: Now,
) -> Result<Found, Mismatch> {
    let own = instance.reservation.as_ref().and_then(|id| marathon.books.reservations.live(id));
    let candidates: Vec<Arc<Reservation>> = match own {
        Some(own) => vec![own.clone()],
        None => marathon.free_reservations(&app.id),
    };
    // What another one of them had may not be free as a whole yet.
    let here = || candidates.iter().filter_map(|it| Some((it.clone(), held.get(&it.id)?)));
    let is_whole = |(it, left): &(Arc<Reservation>, &Resources)| missing(it, left).is_none();
    if let Some((found, left)) = here().find(is_whole).or_else(|| here().next()) {
        return on_reserved(marathon, app, offer, &found, left);
    }
    let homeless = marathon.instances_of(&app.id).homeless();
    let is_bound = own.is_some() || candidates.len() >= homeless;
    match candidates.first().filter(|_| is_bound) {
        Some(elsewhere) => Err(Mismatch::Reservation { host: elsewhere.place.host.clone() }),
        None => anew(marathon, instance, app, offer, free, now),
    }
}

/// On what was reserved before.
fn on_reserved(
    marathon: &mut Marathon,
    app: &App,
    offer: &OfferView,
    reservation: &Arc<Reservation>,
    held: &Resources,
) -> Result<Found, Mismatch> {
    if let Some(missing) = missing(reservation, held) {
        return Err(Mismatch::Volume(missing.to_string()));
    }
    let volumes = held.filtered(|key, _| key.kind.is_persistent_volume());
    let mut fit = matcher::take(
        &app.parts(),
        held.minus(&volumes),
        &app.wanted_ports(),
        &mut marathon.ports,
    )?;
    fit.resources.add(&volumes);
    // Those of a pod are its executor's, which comes last: so all its containers can share them.
    let owner = if app.is_pod() { fit.parts.last_mut() } else { fit.parts.first_mut() };
    if let Some(owner) = owner {
        owner.add(&volumes);
    }
    Ok(Found {
        fit,
        claim: Claim { id: reservation.id.clone(), new: None },
        // Its agent may have come back under another id.
        reservation: Reservation {
            place: matcher::place(offer),
            state: ReservationState::Made,
            ..(**reservation).clone()
        },
    })
}

/// With a reservation of its own, made with the same offer.
fn anew(
    marathon: &mut Marathon,
    instance: &Instance,
    app: &App,
    offer: &OfferView,
    free: &Resources,
    now: Now,
) -> Result<Found, Mismatch> {
    // Reservations are made of what nobody else has a claim to.
    let plain = free.filtered(|key, _| key.kind.reservations.is_empty());
    let reservations = &marathon.books.reservations;
    let places = reservations.of_app(&app.id).map(|it| &it.place);
    let others = Others {
        is_one_here: places.clone().any(|place| place.agent == offer.offer.agent),
        spread: &Spread::of(&app.constraints, places),
    };
    let config = &marathon.config;
    let roles = Roles { own: &config.role, accepted: &config.accepted_roles };
    let fleet = &marathon.books.fleet;
    let fit = matcher::matches(app, roles, offer, &plain, others, fleet, &mut marathon.ports)?;
    let mut left = plain.minus(&fit.resources);
    let (mut volumes, mut new) = (Vec::new(), Vec::new());
    for wanted in app.persistent_volumes() {
        let space = matcher::take_space(&left, &wanted)?;
        left.subtract(&space);
        let volume = LocalVolume {
            container_path: wanted.container_path.as_str().into(),
            uuid: UpdateId(marathon.ids.uuid()).to_string().into(),
        };
        new.push(NewVolume {
            container_path: volume.container_path.clone(),
            id: volume.persistence_id(&app.id),
            space,
        });
        volumes.push(volume);
    }
    // An instance may need another one later, so its own id does not do.
    let id: Arc<str> = instance.id.task(instance.incarnation).as_str().into();
    let reservation = Reservation {
        id: id.clone(),
        app: app.id.clone(),
        role: offer.offer.role.as_str().into(),
        place: matcher::place(offer),
        volumes,
        asked_at: now.wall,
        state: ReservationState::Asked,
    };
    Ok(Found { fit, claim: Claim { id, new: Some(new) }, reservation })
}

/// A volume of `reservation` that is not among what of it is offered.
fn missing(reservation: &Reservation, held: &Resources) -> Option<PersistenceId> {
    let ids: BTreeSet<&PersistenceId> = held.iter().filter_map(|(key, _)| volume_id(key)).collect();
    let mut wanted = reservation.volumes.iter().map(|it| it.persistence_id(&reservation.app));
    wanted.find(|id| !ids.contains(id))
}

fn volume_id(key: &Key) -> Option<&PersistenceId> {
    key.kind.disk.as_ref()?.persistence.as_ref().map(|it| &it.id)
}

impl Marathon {
    /// What is reserved for instances of `app` and held by none.
    fn free_reservations(&self, app: &AppId) -> Vec<Arc<Reservation>> {
        let all = self.instances_of(app);
        let of_app = self.books.reservations.of_app(app);
        of_app.filter(|it| all.holders(&it.id).next().is_none()).cloned().collect()
    }

    /// Takes in a reservation, or how it is now.
    pub(super) fn put_reservation(&mut self, reservation: Reservation) {
        let id = reservation.id.clone();
        if self.books.reservations.get(&id).is_some_and(|known| **known == reservation) {
            return;
        }
        let encoded = stored::reservation(&reservation);
        self.outbox.put(stored::reservation_key(&id), Some(encoded));
        self.take_reservation(reservation);
    }

    /// Has a reservation in the books, with its role.
    pub(super) fn take_reservation(&mut self, reservation: Reservation) {
        self.books.role_counts.add(&reservation.role);
        let reservation = Arc::new(reservation);
        self.show(Change::Reservation(reservation.id.clone(), Some(reservation.clone())));
        if let Some(known) = self.books.reservations.put(reservation) {
            self.books.role_counts.remove(&known.role);
        }
    }

    /// A task of `instance` was heard of, so that what was reserved for it is there.
    pub(super) fn confirm_reservation(&mut self, instance: &Instance) {
        let id = instance.reservation.as_ref();
        let known = id.and_then(|id| self.books.reservations.get(id));
        if let Some(known) = known.filter(|it| it.state == ReservationState::Asked) {
            let made = Reservation { state: ReservationState::Made, ..(**known).clone() };
            self.put_reservation(made);
        }
    }

    /// Whether it is not known yet that what `instance` was launched with is there.
    pub(super) fn is_reservation_asked(&self, instance: &Instance) -> bool {
        let id = instance.reservation.as_ref();
        let known = id.and_then(|id| self.books.reservations.get(id));
        known.is_some_and(|it| it.state == ReservationState::Asked)
    }

    /// Has `id` undone, with all data, once nothing runs on it.
    pub(super) fn give_up(&mut self, id: &str, now: Now) {
        let Some(known) = self.books.reservations.live(id) else { return };
        let given_up = Reservation { state: ReservationState::GivenUp, ..(**known).clone() };
        self.put_reservation(given_up);
        collect_soon(self, now);
    }

    /// Has what is reserved for `instance` undone; if it waits to have something, what it waits for.
    pub(super) fn give_up_place(&mut self, instance: &Instance, now: Now) {
        let awaited = || {
            let free = self.free_reservations(&instance.app.id);
            let waits = instance.condition == Condition::Scheduled;
            free.into_iter().find(|_| waits).map(|it| it.id.clone())
        };
        if let Some(id) = instance.reservation.clone().or_else(awaited) {
            self.give_up(&id, now);
        }
    }

    /// The task of `instance` ended as `status` says. Whether its reservation is lost with it.
    pub(super) fn loses_reservation(&self, instance: &Instance, status: &Status) -> bool {
        match status.state {
            // It is not known whether there ever was one, and nothing is in it.
            TaskState::Dropped
            | TaskState::Lost
            | TaskState::Error
            | TaskState::Unknown
            | TaskState::Gone
            | TaskState::GoneByOperator => self.is_reservation_asked(instance),
            TaskState::Staging
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Finished
            | TaskState::Failed
            | TaskState::Killed
            | TaskState::Unreachable => false,
        }
    }

    /// `instance` is gone. What was reserved for it waits for the next one, unless its agent is away and
    /// the app is not to wait for that, or it was never heard that it is there.
    pub(super) fn leave_reservation(&mut self, instance: &Instance, now: Now) {
        let is_away =
            matches!(instance.condition, Condition::Unreachable | Condition::UnreachableInactive);
        let id = instance.reservation.as_ref();
        let Some(known) = id.and_then(|id| self.books.reservations.live(id)).cloned() else {
            return;
        };
        let is_in_vain = is_away && waits_for(self, &known).is_some();
        if is_in_vain || known.state == ReservationState::Asked {
            self.give_up(&known.id, now);
        }
    }

    /// What was kept for an app that is gone goes too.
    pub(super) fn give_up_if_gone(&mut self, app: &AppId, now: Now) {
        if !self.is_gone(app) {
            return;
        }
        let all: Vec<_> = self.books.reservations.of_app(app).map(|it| it.id.clone()).collect();
        for id in all {
            self.give_up(&id, now);
        }
    }
}

fn collect_soon(marathon: &mut Marathon, now: Now) {
    let until = now.time + COLLECT_FOR;
    marathon.books.reservations.collects_until = until;
    marathon.books.asking.is_revive_wanted = true;
    marathon.wake_at(until, Due::Collect);
}

/// This process leads, or the time to give things back is over: what is still to go is asked for anew.
pub(super) fn lead(marathon: &mut Marathon, now: Now) {
    let apps: BTreeSet<AppId> =
        marathon.books.reservations.values().map(|it| it.app.clone()).collect();
    for app in &apps {
        marathon.give_up_if_gone(app, now);
    }
    if marathon.books.reservations.given_up().next().is_some() {
        collect_soon(marathon, now);
    }
}

/// What of `offer` is to be given back. `held` is what of it was reserved by us.
pub(super) fn collect(
    marathon: &mut Marathon,
    offer: &OfferView,
    held: &mut BTreeMap<Arc<str>, Resources>,
    now: Now,
) -> Vec<Release> {
    let reservations = &marathon.books.reservations;
    let agent = &offer.offer.agent;
    // What was given back and is not offered any more is gone, and so is all of it: containers of a pod may
    // end one by one, but the volumes are free only when all have.
    let given_back = reservations.released.iter();
    let over = given_back.filter(|(id, it)| it.agent == *agent && !held.contains_key(*id));
    let is_all = |id: &str, it: &Released| {
        reservations.get(id).is_none_or(|known| missing(known, &it.resources).is_none())
    };
    let over: Vec<_> = over.map(|(id, it)| (id.clone(), is_all(id, it))).collect();
    for (id, is_all) in over {
        marathon.books.reservations.released.remove(&id);
        if is_all {
            marathon.forget_reservation(&id);
        }
    }
    let reservations = &mut marathon.books.reservations;
    let unwanted: Vec<_> =
        held.keys().filter(|id| reservations.live(id).is_none()).cloned().collect();
    let mut releases = Vec::new();
    for id in unwanted {
        let Some(resources) = held.remove(&id) else { continue };
        let last = reservations.released.get(&id);
        let is_repeated = |it: &Released| it.resources == resources && it.agent == *agent;
        if last.is_none_or(|it| !is_repeated(it) || it.at + RELEASE_EVERY <= now.time) {
            let (at, agent) = (now.time, agent.clone());
            let last = Released { at, agent, resources: resources.clone() };
            reservations.released.insert(id.clone(), last);
            releases.push(Release { id, resources });
        }
    }
    releases
}

/// The time to give things back is over, or has come again. What was not offered by an agent that is there
/// does not exist: the launch that was to make it never came.
pub(super) fn collected(marathon: &mut Marathon, now: Now) {
    let until = marathon.books.reservations.collects_until;
    if now.time < until {
        return;
    }
    let is_held =
        |it: &Reservation| marathon.instances_of(&it.app).holders(&it.id).next().is_some();
    let (fleet, reservations) = (&marathon.books.fleet, &marathon.books.reservations);
    let is_nothing = |it: &&Arc<Reservation>| fleet.has(&it.place.agent) && !is_held(it);
    let nothing: Vec<_> =
        reservations.given_up().filter(is_nothing).map(|it| it.id.clone()).collect();
    for id in nothing {
        marathon.books.reservations.released.remove(&id);
        marathon.forget_reservation(&id);
    }
    if marathon.books.reservations.given_up().next().is_none() {
        return;
    }
    if now.time < until + COLLECT_AGAIN {
        marathon.wake_at(until + COLLECT_AGAIN, Due::Collect);
    } else {
        collect_soon(marathon, now);
    }
}

impl Marathon {
    /// What was reserved under `id` is there no more.
    pub(super) fn forget_reservation(&mut self, id: &str) {
        // What was in no book is not stored either.
        if let Some(known) = self.books.reservations.remove(id) {
            self.books.role_counts.remove(&known.role);
            self.outbox.put(stored::reservation_key(id), None);
            self.show(Change::Reservation(known.id.clone(), None));
        }
    }
}

/// An agent is gone for good, and what was reserved there with it: whoever waits for it starts anew elsewhere.
/// Those who had a task there are told of its end.
pub(super) fn agent_gone(marathon: &mut Marathon, agent: &AgentId, now: Now) {
    let all = marathon.books.reservations.values();
    let there: Vec<_> = all.filter(|it| it.place.agent == *agent).cloned().collect();
    for reservation in there {
        let holders = marathon.instances_of(&reservation.app).holders(&reservation.id);
        let holders: Vec<_> = holders.cloned().collect();
        if holders.iter().any(|it| it.condition != Condition::Scheduled) {
            continue;
        }
        marathon.forget_reservation(&reservation.id);
        free(marathon, holders, now);
    }
}

/// Those whose reservation is no more wait for any offer.
fn free(marathon: &mut Marathon, holders: Vec<Arc<Instance>>, now: Now) {
    for instance in holders {
        marathon.put_instance(Instance { reservation: None, ..(*instance).clone() }, now);
    }
    marathon.books.asking.is_revive_wanted = true;
}

/// An agent is gone: those who do not wait for ever for it, wait from now on. Whether it is gone for good is
/// asked.
pub(super) fn agent_lost(marathon: &mut Marathon, agent: &AgentId, now: Now) {
    let questions = search::questions(marathon, Some(agent));
    if marathon.books.is_connected && !questions.is_empty() {
        marathon.outbox.push(Output::Reconcile(questions));
    }
    let here: Vec<_> = marathon.books.reservations.values().cloned().collect();
    for reservation in here.iter().filter(|it| it.is_live() && it.place.agent == *agent) {
        if let Some(wait) = waits_for(marathon, reservation) {
            marathon.wake_at(now.time + wait, Due::Reservation(reservation.id.clone()));
        }
    }
}

/// How long the agent of `reservation` is waited for; absent means without end.
fn waits_for(marathon: &Marathon, reservation: &Reservation) -> Option<Duration> {
    let app = marathon.books.tree.apps.get(&reservation.app)?;
    match app.unreachable_strategy {
        UnreachableStrategy::Disabled => None,
        UnreachableStrategy::After { expunge_after, .. } => Some(expunge_after),
    }
}

/// The time to wait for the agent of a reservation is over.
pub(super) fn waited(marathon: &mut Marathon, id: &Arc<str>, now: Now) {
    let Some(reservation) = marathon.books.reservations.live(id).cloned() else { return };
    let is_back = marathon.books.fleet.has(&reservation.place.agent);
    if is_back || waits_for(marathon, &reservation).is_none() {
        return;
    }
    let holders: Vec<_> = marathon.instances_of(&reservation.app).holders(id).cloned().collect();
    // Whoever runs there is out of contact, and its own time ends that.
    if holders.iter().any(|it| it.condition != Condition::Scheduled) {
        return;
    }
    marathon.give_up(id, now);
    free(marathon, holders, now);
}
