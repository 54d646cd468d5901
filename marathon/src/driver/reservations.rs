//! Reservations of ours, as offers have them and as operations make and undo them.

use framework_sdk::operations::{self, Reservation, Volume};
use marathon_core::io::{Launch, Release};
use model::ids::FrameworkId;
use model::resources::Resources;
use model::role::Role;
use proto::convert::resources::{Form, to_wire};
use proto::mesos::v1::offer::Operation;
use proto::mesos::v1::{Labels, Resource};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label that says whose a reservation is.
const FRAMEWORK_LABEL: &str = "marathon_framework_id";

/// The label that says which one it is.
const TASK_LABEL: &str = "marathon_task_id";

/// Who reserves.
pub(crate) struct Reserver<'a> {
    /// Our id at the master, once known.
    pub(crate) framework: Option<&'a FrameworkId>,
    /// Who we are there, if that was said.
    pub(crate) principal: Option<&'a str>,
    /// The role the resources were offered to.
    pub(crate) role: &'a Role,
}

/// Takes out of `resources` what `framework` has reserved: all by the ids of the reservations.
pub(crate) fn take_held(
    resources: &mut Vec<Resource>,
    framework: Option<&str>,
) -> BTreeMap<Arc<str>, Vec<Resource>> {
    let mut held: BTreeMap<Arc<str>, Vec<Resource>> = BTreeMap::new();
    let Some(framework) = framework else { return held };
    resources.retain(|resource| match id_of(resource, framework) {
        Some(id) => {
            held.entry(id.into()).or_default().push(resource.clone());
            false
        }
        None => true,
    });
    held
}

/// The reservation of `framework` that `resource` is part of.
fn id_of<'a>(resource: &'a Resource, framework: &str) -> Option<&'a str> {
    let labels = resource.reservations.last()?.labels.as_ref()?;
    let is_ours = label(labels, FRAMEWORK_LABEL) == Some(framework);
    label(labels, TASK_LABEL).filter(|_| is_ours)
}

fn label<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.labels.iter().find(|label| label.key == key)?.value.as_deref()
}

impl Reserver<'_> {
    /// `plain`, reserved under the id `id`.
    fn reserved(&self, id: &str, plain: &Resources) -> Vec<Resource> {
        let mut reservation = Reservation::for_role(self.role.as_str()).label(TASK_LABEL, id);
        if let Some(framework) = self.framework {
            reservation = reservation.label(FRAMEWORK_LABEL, framework.as_str());
        }
        if let Some(principal) = self.principal {
            reservation = reservation.by(principal);
        }
        let plain = to_wire(plain, Form::Stack, Some(self.role));
        plain.into_iter().map(|resource| reservation.of(resource)).collect()
    }

    /// What `resources` of `launch` are to its task: those of a reservation that is yet to be made are
    /// written as if it were there.
    pub(crate) fn resources_of(&self, launch: &Launch, resources: &Resources) -> Vec<Resource> {
        match launch.claim.as_ref().filter(|claim| claim.new.is_some()) {
            Some(claim) => self.reserved(&claim.id, resources),
            None => to_wire(resources, Form::Stack, Some(self.role)),
        }
    }

    /// The volumes of a reservation that is yet to be made, as they will be.
    pub(crate) fn volumes_of(&self, launch: &Launch) -> Vec<Resource> {
        let Some(claim) = &launch.claim else { return Vec::new() };
        let volumes = claim.new.iter().flatten();
        let volumes = volumes.flat_map(|new| {
            let mut volume = Volume::new(new.id.as_str(), &new.container_path);
            if let Some(principal) = self.principal {
                volume = volume.by(principal);
            }
            let space = self.reserved(&claim.id, &new.space);
            space.into_iter().map(move |disk| volume.of(disk))
        });
        volumes.collect()
    }

    /// What makes the reservation that `launch` needs, if it is yet to be made.
    pub(crate) fn making(&self, launch: &Launch) -> Vec<Operation> {
        let Some(claim) = &launch.claim else { return Vec::new() };
        let Some(new) = &claim.new else { return Vec::new() };
        let space = new.iter().fold(Resources::none(), |sum, volume| sum.plus(&volume.space));
        let all = launch.resources.plus(&space);
        let reserve = operations::reserve(self.reserved(&claim.id, &all));
        let volumes = self.volumes_of(launch);
        let create = (!volumes.is_empty()).then(|| operations::create(volumes));
        std::iter::once(reserve).chain(create).collect()
    }

    /// What undoes `release`.
    pub(crate) fn undoing(&self, release: &Release) -> Vec<Operation> {
        let mut all = to_wire(&release.resources, Form::Stack, Some(self.role));
        let is_volume = |resource: &Resource| {
            resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some())
        };
        let volumes: Vec<_> = all.iter().filter(|it| is_volume(it)).cloned().collect();
        let destroy = (!volumes.is_empty()).then(|| operations::destroy(volumes));
        // What volumes were made of is reserved still.
        for resource in all.iter_mut().filter(|it| is_volume(it)) {
            resource.disk = resource.disk.take().and_then(|disk| {
                let source = disk.source?;
                Some(Box::new(proto::mesos::v1::resource::DiskInfo {
                    source: Some(source),
                    ..proto::mesos::v1::resource::DiskInfo::default()
                }))
            });
        }
        destroy.into_iter().chain([operations::unreserve(all)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use framework_sdk::builders::scalar;

    fn labelled(framework: &str, id: &str) -> Resource {
        let reservation =
            Reservation::for_role("db").label(TASK_LABEL, id).label(FRAMEWORK_LABEL, framework);
        reservation.of(scalar("cpus", 1.0))
    }

    #[test]
    fn only_what_we_reserved_is_ours() {
        let others = Reservation::for_role("db").of(scalar("mem", 64.0));
        let plain = scalar("cpus", 2.0);
        let mut all =
            vec![labelled("F", "one"), plain.clone(), labelled("G", "two"), others.clone()];
        assert!(take_held(&mut all.clone(), None).is_empty());
        let held = take_held(&mut all, Some("F"));
        assert_eq!(held, BTreeMap::from([("one".into(), vec![labelled("F", "one")])]));
        assert_eq!(all, [plain, labelled("G", "two"), others]);
    }
}
