//! Schedulers that keep things on agents: they reserve, make volumes, make them larger and smaller, run
//! tasks on them, and take all of it back.

use crate::batches::short_task;
use crate::schedulers::{SchedulerNode, Work, framework};
use crate::world::World;
use model::amount::Milli;
use model::call::Operation;
use model::disk::{Disk, Persistence, Volume};
use model::framework::Capabilities;
use model::ids::{OperationId, PersistenceId};
use model::offer::Offer;
use model::operation::Conversion;
use model::payload::Payload;
use model::resources::{Key, Kind, Reservation, Resources, Value};
use model::role::Role;
use model::task::{RunsBy, TaskState};
use std::time::Duration;

/// How long its tasks outlive it.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(20);

/// What a keeper reserves: how much at once, and of how much that it sees reserved it reserves no more,
/// so that others find room.
const RESERVES: [(&str, Milli, Milli); 4] = [
    ("cpus", Milli(500), Milli::units(1)),
    ("mem", Milli::units(64), Milli::units(256)),
    ("disk", Milli::units(64), Milli::units(256)),
    ("disk", Milli::units(32), Milli::units(512)),
];

/// Names of volumes that each keeper knows: few, so that they come again.
const VOLUMES: u64 = 3;

/// A keeper. The first one is in a role, the second in one below it, so that the one may be offered what
/// the other has reserved, and reserve it once more.
pub(crate) fn keeper(nth: usize) -> SchedulerNode {
    let role = Role::new(if nth == 0 { "keep" } else { "keep/below" }).expect("well formed");
    let mut framework = framework("keeper", "nobody", role, FAILOVER_TIMEOUT);
    framework.capabilities = Capabilities {
        partition_aware: true,
        reservation_refinement: true,
        ..Capabilities::default()
    };
    SchedulerNode::new(Work::Operations, framework)
}

/// With a reservation for `role` on top.
pub(crate) fn reserved(what: &Resources, role: &Role) -> Resources {
    what.with_kinds(|kind| {
        kind.reservations.push(Reservation {
            is_dynamic: true,
            role: role.clone(),
            principal: None,
            labels: Payload::default(),
        });
    })
}

/// A volume in place of space.
pub(crate) fn volume(space: &Resources, id: &str) -> Resources {
    space.with_kinds(|kind| {
        let id = PersistenceId::new(id).expect("well formed");
        kind.disk = Some(Disk {
            persistence: Some(Persistence { id, principal: None }),
            volume: Some(Volume {
                container_path: "data".into(),
                is_read_only: false,
                info: Payload::default(),
            }),
            source: None,
        });
    })
}

/// Up to `most` of the first that is of this name and kind.
pub(crate) fn some_of(
    left: &Resources,
    name: &str,
    most: Milli,
    is_right: impl Fn(&Kind) -> bool,
) -> Resources {
    let mut some = Resources::none();
    let found = left.iter().find(|(key, _)| &*key.name == name && is_right(&key.kind));
    if let Some((key, Value::Scalar(amount))) = found {
        some.insert(key.clone(), Value::Scalar((*amount).min(most)));
    }
    some
}

/// The first volume there is.
pub(crate) fn a_volume(left: &Resources) -> Resources {
    some_of(left, "disk", Milli(i64::MAX), Kind::is_persistent_volume)
}

/// Space that was reserved and is no volume.
fn is_kept(kind: &Kind) -> bool {
    kind.is_dynamically_reserved() && !kind.is_persistent_volume()
}

impl World {
    /// A keeper answers an offer.
    pub(crate) fn keeps_things(&mut self, at: usize, offer: &Offer) {
        let refuse_for = Duration::from_secs(self.users.below(20));
        if !self.is_chaos || !self.users.chance(40) {
            return self.scheduler_declines(at, offer, refuse_for);
        }
        let mut left = offer.resources.clone();
        let mut operations = Vec::new();
        for _ in 0..=self.users.below(3) {
            let Some(conversion) = self.wants_to_keep(at, &offer.role, &left) else { continue };
            left.subtract(&conversion.consumed());
            // How large a volume has become is known when its agent has said so.
            if !matches!(conversion, Conversion::Grow { .. } | Conversion::Shrink { .. }) {
                left.add(&conversion.converted());
            }
            // Of some it does not want to hear.
            let id = self.users.chance(80).then(|| self.new_operation(at, offer));
            operations.push(Operation::Convert { id, role: None, conversion: Ok(conversion) });
        }
        if self.users.chance(40) {
            operations.extend(self.launches_on(at, offer, &left));
        }
        self.scheduler_accepts(at, offer, operations, refuse_for);
    }

    fn new_operation(&mut self, at: usize, offer: &Offer) -> OperationId {
        let node = &mut self.schedulers[at];
        node.counted += 1;
        let id = OperationId::new(format!("op-{at}-{}", node.counted)).expect("well formed");
        node.operations.insert(id.clone(), offer.agent.clone());
        id
    }

    /// Something that can be done with what is left of an offer, if what it thought of can.
    pub(crate) fn wants_to_keep(
        &mut self,
        at: usize,
        role: &Role,
        left: &Resources,
    ) -> Option<Conversion> {
        let conversion = match self.users.below(9) {
            0..=2 => {
                let (name, at_once, most) = RESERVES[self.one_of(RESERVES.len() as u64)];
                let has = left.filtered(|key, _| &*key.name == name && is_kept(&key.kind));
                if has.scalar(name) >= most {
                    return None;
                }
                // The last role in a stack cannot be reserved for once more.
                let is_open = |kind: &Kind| {
                    !kind.is_persistent_volume()
                        && kind.reserved_for().is_none_or(|of| role.is_below(of))
                };
                let what = some_of(left, name, at_once, is_open);
                Conversion::Reserve { source: Resources::none(), resources: reserved(&what, role) }
            }
            3 | 4 => {
                let space = some_of(left, "disk", Milli::units(32), is_kept);
                Conversion::Create(volume(&space, &format!("v{at}-{}", self.users.below(VOLUMES))))
            }
            5 => {
                let volume = a_volume(left);
                let space = |key: &Key| key.kind.disk.as_ref().and_then(Disk::without_volume);
                let (of, _) = volume.iter().next()?;
                let like = Kind { disk: space(of), ..(*of.kind).clone() };
                let addition = some_of(left, "disk", Milli::units(8), |kind| *kind == like);
                if addition.is_empty() {
                    return None;
                }
                Conversion::Grow { volume, addition }
            }
            6 => {
                let subtract = Milli::units(4);
                let volume = a_volume(left);
                if volume.scalar("disk") <= subtract {
                    return None;
                }
                Conversion::Shrink { volume, subtract }
            }
            7 => Conversion::Destroy(a_volume(left)),
            _ => {
                let name = ["cpus", "mem", "disk"][self.one_of(3)];
                Conversion::Unreserve(some_of(left, name, Milli::units(64), is_kept))
            }
        };
        (!conversion.consumed().is_empty()).then_some(conversion)
    }

    /// A task on whatever there is, and in half of the cases on a volume.
    fn launches_on(&mut self, at: usize, offer: &Offer, left: &Resources) -> Option<Operation> {
        let mut resources = some_of(left, "cpus", Milli(100), |_| true);
        resources.add(&some_of(left, "mem", Milli::units(16), |_| true));
        if resources.scalar("cpus") < Milli(100) || resources.scalar("mem") < Milli::units(16) {
            return None;
        }
        if self.users.chance(50) {
            resources.add(&a_volume(left));
        }
        let node = &mut self.schedulers[at];
        node.counted += 1;
        let name = format!("{at}-{}-0", node.counted);
        let task = short_task(&name, &offer.agent, &resources, RunsBy::Command);
        node.live.insert(task.id.clone(), TaskState::Staging);
        Some(Operation::Launch(vec![Ok(task)]))
    }

    pub(crate) fn one_of(&mut self, count: u64) -> usize {
        usize::try_from(self.users.below(count)).unwrap_or(0)
    }
}

/// What a volume is called on its machine; absent for what is none.
pub(crate) fn volume_name(key: &Key) -> Option<(Role, PersistenceId)> {
    let disk = key.kind.disk.as_ref()?;
    let id = disk.persistence.as_ref()?.id.clone();
    Some((key.kind.reserved_for()?.clone(), id))
}

/// What volumes are called.
pub(crate) fn volume_names(volumes: &Resources) -> impl Iterator<Item = (Role, PersistenceId)> {
    volumes.iter().filter_map(|(key, _): (&Key, _)| volume_name(key))
}

/// Whose kinds nothing has been made of.
pub(crate) fn unmade(all: &Resources) -> Resources {
    all.with_kinds(|kind| *kind = kind.unmade())
}
