//! Reservations and persistent volumes, written briefly.
//!
//! An operation is done with an offer, in the same ACCEPT as the tasks that use what comes of it:
//!
//! ```
//! use framework_sdk::builders::scalar;
//! use framework_sdk::operations::{Reservation, Volume, create, reserve, with_id};
//!
//! let reservation = Reservation::for_role("db").by("dba");
//! let disk = reservation.of(scalar("disk", 64.0));
//! let volume = Volume::new("data", "data").by("dba").of(disk.clone());
//! let operations = [with_id("reserve", reserve(vec![disk])), create(vec![volume])];
//! # assert_eq!(operations[0].id.as_ref().map(|id| id.value.as_str()), Some("reserve"));
//! ```
//!
//! With an id the framework is told how an operation went, by `UPDATE_OPERATION_STATUS`; without one it
//! sees it only in later offers.

use proto::mesos::v1::offer::{Operation, operation};
use proto::mesos::v1::resource::disk_info::Persistence;
use proto::mesos::v1::resource::{DiskInfo, ReservationInfo, SharedInfo, reservation_info};
use proto::mesos::v1::value::Scalar;
use proto::mesos::v1::{Label, Labels, Offer, OperationId, Resource, Volume as Mounted, volume};

/// How resources are kept for a role.
#[derive(Clone, Debug)]
pub struct Reservation(ReservationInfo);

impl Reservation {
    /// For `role`, which must be one of the framework's, and the one that the offer is for.
    pub fn for_role(role: &str) -> Self {
        Self(ReservationInfo {
            r#type: Some(reservation_info::Type::Dynamic.into()),
            role: Some(role.to_owned()),
            ..ReservationInfo::default()
        })
    }

    /// Who makes it. A framework that has a principal must name it.
    #[must_use]
    pub fn by(mut self, principal: &str) -> Self {
        self.0.principal = Some(principal.to_owned());
        self
    }

    /// A label, for whoever looks at it later.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        let label = Label { key: key.to_owned(), value: Some(value.to_owned()) };
        self.0.labels.get_or_insert_with(Labels::default).labels.push(label);
        self
    }

    /// `resource`, reserved so: on top of the reservations that it has already.
    pub fn of(&self, mut resource: Resource) -> Resource {
        // What the old form says is said by the stack.
        (resource.role, resource.reservation) = (None, None);
        resource.reservations.push(self.0.clone());
        resource
    }
}

/// A volume whose files outlive the tasks that use it.
#[derive(Clone, Debug)]
pub struct Volume {
    persistence: Persistence,
    container_path: String,
    is_shared: bool,
}

impl Volume {
    /// `id` names it on its agent and for its role; tasks find it at `container_path`, which is below
    /// their sandbox unless it is absolute.
    pub fn new(id: &str, container_path: &str) -> Self {
        Self {
            persistence: Persistence { id: id.to_owned(), ..Persistence::default() },
            container_path: container_path.to_owned(),
            is_shared: false,
        }
    }

    /// Who makes it. A framework that has a principal must name it.
    #[must_use]
    pub fn by(mut self, principal: &str) -> Self {
        self.persistence.principal = Some(principal.to_owned());
        self
    }

    /// Tasks may use it at the same time. Takes the capability SHARED_RESOURCES.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }

    /// The volume made of `disk`, which is reserved.
    pub fn of(&self, disk: Resource) -> Resource {
        let mounted = Mounted {
            container_path: self.container_path.clone(),
            mode: volume::Mode::Rw.into(),
            ..Mounted::default()
        };
        let disk_info = DiskInfo {
            persistence: Some(self.persistence.clone()),
            volume: Some(mounted),
            // What kind of disk it is made of stays.
            ..disk.disk.as_deref().cloned().unwrap_or_default()
        };
        let shared = self.is_shared.then(SharedInfo::default);
        Resource { disk: Some(disk_info.into()), shared, ..disk }
    }
}

/// The volume with this id among what is offered.
pub fn volume_in<'a>(offer: &'a Offer, id: &str) -> Option<&'a Resource> {
    offer.resources.iter().find(|resource| {
        let persistence = resource.disk.as_ref().and_then(|disk| disk.persistence.as_ref());
        persistence.is_some_and(|persistence| persistence.id == id)
    })
}

fn of_type(kind: operation::Type) -> Operation {
    Operation { r#type: Some(kind.into()), ..Operation::default() }
}

/// Keeps resources for a role: what comes of [`Reservation::of`].
pub fn reserve(resources: Vec<Resource>) -> Operation {
    let reserve = operation::Reserve { resources, ..operation::Reserve::default() };
    Operation { reserve: Some(reserve.into()), ..of_type(operation::Type::Reserve) }
}

/// Takes the topmost reservation off, of resources as they are offered.
pub fn unreserve(resources: Vec<Resource>) -> Operation {
    let unreserve = operation::Unreserve { resources };
    Operation { unreserve: Some(unreserve.into()), ..of_type(operation::Type::Unreserve) }
}

/// Makes volumes: what comes of [`Volume::of`].
pub fn create(volumes: Vec<Resource>) -> Operation {
    let create = operation::Create { volumes };
    Operation { create: Some(create.into()), ..of_type(operation::Type::Create) }
}

/// Removes volumes that no task uses, with all that is in them.
pub fn destroy(volumes: Vec<Resource>) -> Operation {
    let destroy = operation::Destroy { volumes };
    Operation { destroy: Some(destroy.into()), ..of_type(operation::Type::Destroy) }
}

/// Makes a volume larger by `addition`: free space of the kind that the volume is made of. No task of
/// the same ACCEPT can use it.
pub fn grow(volume: Resource, addition: Resource) -> Operation {
    let grow = operation::GrowVolume { volume, addition };
    Operation { grow_volume: Some(grow.into()), ..of_type(operation::Type::GrowVolume) }
}

/// Makes a volume smaller by so many mebibytes. No task of the same ACCEPT can use it.
pub fn shrink(volume: Resource, subtract_mib: f64) -> Operation {
    let subtract = Scalar { value: subtract_mib };
    let shrink = operation::ShrinkVolume { volume, subtract };
    Operation { shrink_volume: Some(shrink.into()), ..of_type(operation::Type::ShrinkVolume) }
}

/// `operation` under an id, by which the framework is told how it went. Two that are under way must
/// not have the same.
#[must_use]
pub fn with_id(id: &str, operation: Operation) -> Operation {
    Operation { id: Some(OperationId { value: id.to_owned() }), ..operation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builders::scalar;
    use proto::convert::operation::conversion_from_wire;

    fn disk(amount: f64) -> Resource {
        Reservation::for_role("db").by("dba").label("for", "tests").of(scalar("disk", amount))
    }

    fn data(amount: f64) -> Resource {
        Volume::new("data", "data").by("dba").of(disk(amount))
    }

    #[test]
    fn every_operation_is_read_as_what_it_was_meant_to_be() {
        let cases = vec![
            (reserve(vec![disk(8.0)]), "RESERVE", vec![scalar("disk", 8.0)], vec![disk(8.0)]),
            (unreserve(vec![disk(8.0)]), "UNRESERVE", vec![disk(8.0)], vec![scalar("disk", 8.0)]),
            (create(vec![data(8.0)]), "CREATE", vec![disk(8.0)], vec![data(8.0)]),
            (destroy(vec![data(8.0)]), "DESTROY", vec![data(8.0)], vec![disk(8.0)]),
            (
                grow(data(8.0), disk(2.0)),
                "GROW_VOLUME",
                vec![data(8.0), disk(2.0)],
                vec![data(10.0)],
            ),
            (shrink(data(8.0), 2.0), "SHRINK_VOLUME", vec![data(8.0)], vec![data(6.0), disk(2.0)]),
        ];
        for (operation, kind, consumed, converted) in cases {
            let read = conversion_from_wire(&operation).expect("it makes sense");
            let read = read.expect("it is one");
            let model =
                |all: &[Resource]| proto::convert::resources::from_wire(all).expect("whole");
            assert_eq!(read.name(), kind);
            assert_eq!(read.consumed(), model(&consumed), "{kind}");
            assert_eq!(read.converted(), model(&converted), "{kind}");
        }
    }

    #[test]
    fn reservations_are_put_on_top_of_what_is_there() {
        let old = Resource { role: Some("*".to_owned()), ..scalar("cpus", 1.0) };
        let once = Reservation::for_role("db").of(old);
        let twice = Reservation::for_role("db/dev").of(once);
        assert_eq!((&twice.role, &twice.reservation), (&None, &None));
        let roles: Vec<_> = twice.reservations.iter().map(ReservationInfo::role).collect();
        assert_eq!(roles, ["db", "db/dev"]);
    }

    #[test]
    fn a_volume_is_found_by_its_id_in_an_offer() {
        let shared = Volume::new("common", "/common").shared().of(disk(1.0));
        assert!(shared.shared.is_some() && data(1.0).shared.is_none());
        let resources = vec![scalar("disk", 1.0), disk(1.0), data(2.0), shared.clone()];
        let offer = Offer { resources, ..Offer::default() };
        assert_eq!(volume_in(&offer, "data"), Some(&data(2.0)));
        assert_eq!(volume_in(&offer, "common"), Some(&shared));
        assert_eq!(volume_in(&offer, "other"), None);
    }
}
