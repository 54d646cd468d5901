//! What Marathon has reserved for apps with volumes, as masters and agents see it, and the law that nothing
//! of it is left over.

use crate::world::World;
use marathon_core::ids::AppId;
use marathon_core::io::{Command, Launch, Release};
use model::call::Operation;
use model::disk::{Disk, Persistence, Volume};
use model::operation::Conversion;
use model::payload::Payload;
use model::resources::{Key, Reservation, Resources};
use model::role::Role;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Marathon's role: what is reserved for everybody is reserved for nobody.
pub(crate) const ROLE: &str = "apps";

/// Apps with volumes that users know of. The last one is deleted when nothing breaks any more.
const APPS: [&str; 2] = ["/data-0", "/data-1"];

/// Marathon's role, as others know it.
pub(crate) fn role() -> Role {
    Role::new(ROLE).expect("well formed")
}

/// `plain`, reserved by Marathon under the id `id`.
fn reserved(plain: &Resources, id: &str) -> Resources {
    plain.with_kinds(|kind| {
        kind.reservations.push(Reservation {
            is_dynamic: true,
            role: role(),
            principal: None,
            // Nobody but Marathon reads it.
            labels: Payload::new(id.as_bytes()),
        });
    })
}

/// The reservation of Marathon's that a resource is part of.
fn id_of(key: &Key) -> Option<Arc<str>> {
    let last = key.kind.reservations.last()?;
    let id = std::str::from_utf8(last.labels.as_bytes()).ok()?;
    (last.role == role() && !id.is_empty()).then(|| id.into())
}

/// Takes out of `resources` what Marathon has reserved: all by the ids of the reservations.
pub(crate) fn take_held(resources: &mut Resources) -> BTreeMap<Arc<str>, Resources> {
    let held = held(resources);
    for of in held.values() {
        resources.subtract(of);
    }
    held
}

/// What of `resources` Marathon has reserved, by the ids of the reservations.
fn held(resources: &Resources) -> BTreeMap<Arc<str>, Resources> {
    let mut held: BTreeMap<Arc<str>, Resources> = BTreeMap::new();
    for (key, value) in resources.iter() {
        if let Some(id) = id_of(key) {
            held.entry(id).or_insert_with(Resources::none).insert(key.clone(), value.clone());
        }
    }
    held
}

/// The volumes that `launch` makes first, as they are then.
pub(crate) fn volumes(launch: &Launch) -> Resources {
    let mut all = Resources::none();
    let Some(claim) = &launch.claim else { return all };
    for new in claim.new.iter().flatten() {
        all.add(&reserved(&new.space, &claim.id).with_kinds(|kind| {
            let source = kind.disk.take().and_then(|disk| disk.source);
            kind.disk = Some(Disk {
                persistence: Some(Persistence { id: new.id.clone(), principal: None }),
                volume: Some(Volume {
                    container_path: new.container_path.clone(),
                    is_read_only: false,
                    info: Payload::default(),
                }),
                source,
            });
        }));
    }
    all
}

/// A part of what `launch` takes, as it is when what is reserved for it is.
pub(crate) fn part(launch: &Launch, part: &Resources) -> Resources {
    match launch.claim.as_ref().filter(|claim| claim.new.is_some()) {
        Some(claim) => reserved(part, &claim.id),
        None => part.clone(),
    }
}

fn convert(conversion: Conversion) -> Operation {
    Operation::Convert { id: None, role: None, conversion: Ok(conversion) }
}

/// What makes the reservation that `launch` needs, if it is yet to be made.
pub(crate) fn making(launch: &Launch) -> Vec<Operation> {
    let Some(claim) = &launch.claim else { return Vec::new() };
    let Some(new) = &claim.new else { return Vec::new() };
    let all = new.iter().fold(launch.resources.clone(), |sum, volume| sum.plus(&volume.space));
    let resources = reserved(&all, &claim.id);
    let reserve = Conversion::Reserve { source: Resources::none(), resources };
    vec![convert(reserve), convert(Conversion::Create(volumes(launch)))]
}

/// What undoes `release`.
pub(crate) fn undoing(release: &Release) -> Vec<Operation> {
    let volumes = release.resources.filtered(|key, _| key.kind.is_persistent_volume());
    let plain = release.resources.with_kinds(|kind| {
        if kind.is_persistent_volume() {
            kind.disk = kind.disk.as_ref().and_then(Disk::without_volume);
        }
    });
    let destroy = (!volumes.is_empty()).then(|| convert(Conversion::Destroy(volumes)));
    destroy.into_iter().chain([convert(Conversion::Unreserve(plain))]).collect()
}

/// An app with a volume for each instance.
pub(crate) fn app(name: &str, instances: u64, unreachable: &Value) -> Value {
    json!({
        "id": name, "cmd": "sleep 1000", "instances": instances, "cpus": 0.5, "mem": 64,
        "backoffSeconds": 1, "maxLaunchDelaySeconds": 20, "unreachableStrategy": unreachable,
        "container": {"type": "MESOS", "volumes": [
            {"containerPath": "data", "mode": "RW", "persistent": {"size": 32}}]},
    })
}

impl World {
    /// An app with volumes that a user knows of.
    pub(crate) fn a_resident(&mut self) -> &'static str {
        APPS[usize::try_from(self.users.below(APPS.len() as u64)).unwrap_or(0)]
    }

    /// How long agents are waited for that hold an app's data.
    pub(crate) fn a_strategy(&mut self) -> Value {
        if self.users.chance(50) {
            return "disabled".into();
        }
        let wait = self.users.below(60);
        json!({"inactiveAfterSeconds": wait / 2, "expungeAfterSeconds": wait})
    }

    /// Nothing breaks any more: users take back the last of their apps and pods with volumes, with all data.
    /// Whether they are gone.
    pub(crate) fn users_clear_up(&mut self) -> bool {
        let id = AppId::parse_app(APPS[APPS.len() - 1]).expect("well formed");
        let app = (id.clone(), Command::DeleteApp { id, force: true });
        for (id, delete) in [app, Self::pod_to_clear_up()] {
            let view = self.lease.map(|at| &self.marathons[at].view);
            let Some(view) = view.filter(|view| view.is_leading) else { return false };
            if view.tree.apps.contains_key(&id) {
                self.asks_as_user(delete);
                return false;
            }
        }
        true
    }

    /// Leaks: what is reserved for Marathon is in its books and of an app that there is, and what is in its
    /// books is reserved, once. No instance of an app with volumes is without.
    pub(crate) fn leaks(&self) -> Option<String> {
        let view = self.lease.map(|at| &self.marathons[at].view)?;
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let mut books: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (key, value) in self.store.iter().filter(|(key, _)| key.starts_with("reservation:")) {
            let Ok(stored) = serde_json::from_slice::<Value>(value) else {
                return Some(format!("memory: {key} cannot be read"));
            };
            books.insert(text(&stored, "id"), (text(&stored, "app"), text(&stored, "state")));
        }
        let mut there = BTreeSet::new();
        for (at, agent) in self.agents.iter().enumerate() {
            for (id, resources) in held(&agent.total) {
                if !there.insert(id.to_string()) {
                    return Some(format!("leak: agent {at} and another one have {id}"));
                }
                let known = books.get(&*id).filter(|(_, state)| state == "Made");
                let app = known.and_then(|(app, _)| AppId::parse(app).ok());
                if !app.is_some_and(|app| view.tree.apps.contains_key(&app)) {
                    return Some(format!("leak: agent {at} keeps {resources} as {id} for nobody"));
                }
            }
        }
        // What was given up may never have been made, which is found out by and by.
        let mut live = books.iter().filter(|(_, (_, state))| state != "GivenUp");
        if let Some((id, of)) = live.find(|(id, _)| !there.contains(*id)) {
            return Some(format!("leak: no agent has {id}, which is in the books: {of:?}"));
        }
        let apps = view.tree.apps.iter().filter(|(_, app)| app.is_resident());
        let instances = apps.flat_map(|(app, _)| view.instances_of(app));
        let mut claimed = BTreeSet::new();
        for instance in instances {
            let reservation = instance.reservation.as_ref().map(ToString::to_string);
            match reservation.filter(|id| there.contains(id)) {
                Some(id) if claimed.insert(id.clone()) => {}
                Some(id) => return Some(format!("one answer: two instances have {id}")),
                None => return Some(format!("truth: {} has no volume", instance.id)),
            }
        }
        None
    }
}
