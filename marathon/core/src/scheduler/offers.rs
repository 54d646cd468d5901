//! Using offers: who waits is matched with what there is.

use super::residence::{self, Found};
use super::{Due, Marathon, agents, maintenance, secrets, settle};
use crate::app::App;
use crate::app::pod::PodContainer;
use crate::fleet::is_one_per_agent;
use crate::health::Health;
use crate::ids::{AppId, InstanceId};
use crate::instance::{Condition, Container, Instance, Place, Task};
use crate::instances;
use crate::io::{Claim, Config, Launch, OfferView, Output};
use crate::matcher::{self, Fit, Others, Roles};
use crate::reservation::Reservation;
use model::ids::AgentId;
use model::resources::Resources;
use model::step::{Now, Time};
use model::task::TaskState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Uses each offer for whoever is due, one instance of each app in turn, and gives back the rest.
pub(super) fn offers(marathon: &mut Marathon, offers: Vec<OfferView>, now: Now) {
    if !marathon.is_leading {
        return;
    }
    // All are met before any is used, so that who spreads knows what there is.
    for offer in &offers {
        let has_gpus = !offer.offer.resources.scalar("gpus").is_nothing();
        let place = matcher::place(offer);
        if marathon.books.fleet.has_changed(&place) {
            follow(marathon, &place, now);
        }
        if marathon.books.fleet.seen(place, has_gpus) {
            touch_followers(marathon);
        }
    }
    settle::converge_all(marathon, now);
    let mut unused = Vec::new();
    let mut used_by = BTreeSet::new();
    for offer in offers {
        let is_refused = maintenance::refuses(marathon, &offer, now);
        let mut held = offer.held.clone();
        let releases = residence::collect(marathon, &offer, &mut held, now);
        let launches = fill(marathon, &offer, held, is_refused, now);
        if launches.is_empty() && releases.is_empty() {
            unused.push(offer.offer.id);
            continue;
        }
        used_by.extend(launches.iter().map(|launch| launch.app.id.clone()));
        let full = launches.len() >= marathon.config.instances_per_offer_max;
        // An offer that still has room for more of the same must come back at once.
        let refuse_for = if full { Duration::ZERO } else { marathon.config.decline_for };
        marathon.outbox.push(Output::Accept {
            offer: offer.offer.id,
            agent: offer.offer.agent,
            role: offer.offer.role,
            releases,
            launches,
            refuse_for,
        });
    }
    if !unused.is_empty() {
        let refuse_for = marathon.config.decline_for;
        marathon.outbox.push(Output::Decline { offers: unused, refuse_for });
    }
    // Who spreads and has found a place may go where it could not before, and what it refused there is not
    // offered again by itself.
    if used_by.iter().any(|app| spreads(marathon, app)) {
        marathon.books.asking.is_revive_wanted = true;
    }
}

/// The agent at `place` has other attributes than before, and so have the tasks on it.
fn follow(marathon: &mut Marathon, place: &Place, now: Now) {
    let there = marathon.books.instances.values().flat_map(|all| all.on(&place.agent));
    for instance in there.cloned().collect::<Vec<_>>() {
        let mut changed = (*instance).clone();
        if let Some(task) = &mut changed.task {
            task.place = place.clone();
        }
        marathon.put_instance(changed, now);
    }
}

/// Whether something of `app` waits that may not go anywhere before others of it are elsewhere.
fn spreads(marathon: &Marathon, app: &AppId) -> bool {
    let waits = marathon.books.queue.first_of(app).is_some();
    waits && marathon.books.spread.contains(app)
}

/// An agent is gone.
pub(super) fn agent_lost(marathon: &mut Marathon, agent: &AgentId, now: Now) {
    if marathon.books.fleet.lost(agent) {
        touch_followers(marathon);
        // Nobody has to wait any more until it has its share.
        marathon.books.asking.is_revive_wanted = true;
    }
    residence::agent_lost(marathon, agent, now);
}

/// Apps with an instance on every agent are looked at when agents come and go.
fn touch_followers(marathon: &mut Marathon) {
    let followers = marathon.books.followers.iter().cloned();
    marathon.books.touched.extend(followers);
}

/// Launches that may still be made before it is waited.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    used: usize,
    until: Time,
}

impl Marathon {
    /// Whether something may be launched now. If not, it is looked again when it may.
    fn take_token(&mut self, now: Now) -> bool {
        let Config { launch_tokens, launch_token_interval, .. } = self.config;
        if launch_tokens == 0 {
            return true;
        }
        let tokens = &mut self.books.tokens;
        if tokens.until <= now.time {
            *tokens = Tokens { used: 0, until: now.time + launch_token_interval };
        }
        if tokens.used >= launch_tokens {
            let at = tokens.until;
            self.wake_at(at, Due::Tokens);
            return false;
        }
        tokens.used += 1;
        true
    }
}

/// What of an offer is not taken yet.
struct Left {
    free: Resources,
    /// What we have reserved, by the ids of the reservations.
    held: BTreeMap<Arc<str>, Resources>,
}

/// What is launched on `offer`, which `is_refused` for all if its agent is to be away. `held` is what of it
/// is reserved by us and stays so.
fn fill(
    marathon: &mut Marathon,
    offer: &OfferView,
    held: BTreeMap<Arc<str>, Resources>,
    is_refused: bool,
    now: Now,
) -> Vec<Launch> {
    let mut left = Left { free: offer.offer.resources.clone(), held };
    let mut launches = Vec::new();
    // What does not fit once does not fit later: an offer only shrinks.
    let mut asking: BTreeSet<AppId> = marathon.books.queue.due(now.time).cloned().collect();
    if agents::is_awaited(marathon, now) {
        asking.retain(|app| !marathon.books.spread.contains(app));
    }
    while !asking.is_empty() {
        for id in asking.clone() {
            if launches.len() >= marathon.config.instances_per_offer_max {
                return launches;
            }
            let next = marathon.books.queue.next_of(&id, now.time).cloned();
            if is_refused {
                let why = Err(matcher::Mismatch::Maintenance);
                marathon.books.queue.note(&id, offer, why, now);
                marathon.books.queue_shown.insert(id.clone());
                asking.remove(&id);
                continue;
            }
            match next.and_then(|next| launch(marathon, &next, offer, &mut left, now)) {
                Some(launch) => launches.push(launch),
                None => {
                    asking.remove(&id);
                }
            }
        }
    }
    launches
}

fn launch(
    marathon: &mut Marathon,
    id: &InstanceId,
    offer: &OfferView,
    left: &mut Left,
    now: Now,
) -> Option<Launch> {
    let instance = marathon.instance(id)?.clone();
    let app = latest(marathon, &instance);
    let secrets = secrets::of(marathon, &app);
    let matched =
        secrets.and_then(|it| Ok((find_place(marathon, &instance, &app, offer, left, now)?, it)));
    marathon.books.queue_shown.insert(app.id.clone());
    let (found, secrets) = match matched {
        Ok(found) => {
            marathon.books.queue.note(&app.id, offer, Ok(()), now);
            found
        }
        Err(why) => {
            marathon.books.queue.note(&app.id, offer, Err(why), now);
            return None;
        }
    };
    if !marathon.take_token(now) {
        return None;
    }
    let (fit, claim, reservation) = found;
    left.take(&fit, claim.as_ref());
    marathon.books.queue.remove(&app.id, id);
    let mut changed = (*instance).clone();
    changed.app = app.clone();
    changed.condition = Condition::Provisioned;
    changed.reservation = claim.as_ref().map(|claim| claim.id.clone());
    let containers = containers(&app, id, changed.incarnation, now);
    let first = containers.first().map(|container| container.task.clone());
    let task = first.unwrap_or_else(|| id.task(changed.incarnation));
    let mut parts = fit.parts.into_iter();
    let launched = containers.iter().map(|container| container.task.clone());
    let launched: Vec<_> = launched.zip(parts.by_ref()).collect();
    // Of an app the first part is its task; what comes after is the executor's.
    let executor = if app.is_pod() { parts.next() } else { parts.nth(1) };
    changed.task = Some(Task {
        id: task.clone(),
        containers,
        place: matcher::place(offer),
        ports: fit.ports.clone(),
        volumes: reservation.as_ref().map_or_else(Vec::new, |it| it.volumes.clone()),
        staged_at: now.wall,
        started_at: None,
        unreachable_at: None,
        addresses: Vec::new(),
        health: Health::default(),
        check: None,
        is_ready: None,
        last_response: None,
    });
    if let Some(reservation) = reservation {
        marathon.put_reservation(reservation);
    }
    marathon.watch(&changed, now);
    marathon.put_instance(changed, now);
    let is_role_enforced = marathon.books.tree.enforced(&app.id).is_some();
    Some(Launch {
        instance: id.clone(),
        task,
        app,
        host: offer.offer.hostname.clone(),
        ports: fit.ports,
        resources: fit.resources,
        claim,
        executor: executor.unwrap_or_else(Resources::none),
        containers: launched,
        secrets,
        is_role_enforced,
    })
}

/// The containers of `app`, if it is a pod, as they are before anything is heard of them.
fn containers(app: &App, id: &InstanceId, incarnation: u64, now: Now) -> Vec<Container> {
    let described = app.pod.iter().flat_map(|pod| &pod.containers);
    let container = |described: &PodContainer| Container {
        name: described.name.as_str().into(),
        task: id.container_task(&described.name, incarnation),
        state: TaskState::Staging,
        changed_at: now.wall,
        is_healthy: None,
        message: None,
        is_broken: false,
        has_failed: false,
    };
    described.map(container).collect()
}

/// The definition to launch `instance` from: its own, with what changed since and needs no restart.
fn latest(marathon: &Marathon, instance: &Instance) -> Arc<App> {
    let present = marathon.books.tree.apps.get(&instance.app.id);
    present.filter(|app| instance.is_current(app)).unwrap_or(&instance.app).clone()
}

impl Left {
    /// What is launched takes its part.
    fn take(&mut self, fit: &Fit, claim: Option<&Claim>) {
        let Some(claim) = claim else { return self.free.subtract(&fit.resources) };
        let Some(volumes) = &claim.new else { return drop(self.held.remove(&claim.id)) };
        self.free.subtract(&fit.resources);
        for volume in volumes {
            self.free.subtract(&volume.space);
        }
    }
}

/// What `instance` takes of what is left of `offer`, with the reservation that it is launched on if its
/// app has volumes that outlive it.
fn find_place(
    marathon: &mut Marathon,
    instance: &Instance,
    app: &App,
    offer: &OfferView,
    left: &Left,
    now: Now,
) -> Result<(Fit, Option<Claim>, Option<Reservation>), matcher::Mismatch> {
    if !app.is_resident() {
        return Ok((find(marathon, app, offer, &left.free)?, None, None));
    }
    let Found { fit, claim, reservation } =
        residence::find(marathon, instance, app, offer, &left.free, &left.held, now)?;
    Ok((fit, Some(claim), Some(reservation)))
}

fn find(
    marathon: &mut Marathon,
    app: &App,
    offer: &OfferView,
    free: &Resources,
) -> Result<Fit, matcher::Mismatch> {
    // Instances of another definition are on their way out and not compared with.
    let all = marathon.books.instances.get(&app.id).unwrap_or(&instances::NONE);
    let mut here = all.on(&offer.offer.agent);
    let others = Others {
        spread: all.spread_of(app.version_info.last_config_change_at),
        is_one_here: is_one_per_agent(app) && here.any(|it| it.is_current(app)),
    };
    let config = &marathon.config;
    let roles = Roles { own: &config.role, accepted: &config.accepted_roles };
    let fleet = &marathon.books.fleet;
    matcher::matches(app, roles, offer, free, others, fleet, &mut marathon.ports)
}
