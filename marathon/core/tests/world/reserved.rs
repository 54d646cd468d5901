//! What Marathon has reserved on the agents.

use super::{Running, World};
use marathon_core::io::{Launch, Release};
use model::disk::{Disk, Persistence};
use model::resources::{Key, Kind, Resources};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl World {
    /// Reserves what `launch` wants reserved first, or checks that what it is launched on is there.
    pub(super) fn claim(&mut self, agent: usize, launch: &Launch) {
        let Some(claim) = &launch.claim else { return };
        let Some(volumes) = &claim.new else {
            let (there, reserved) = &self.reserved[&claim.id];
            assert_eq!(*there, agent, "it stays where its volumes are");
            assert!(reserved.contains(&launch.resources), "{reserved} has not all it takes");
            let others = self.tasks.values().filter_map(|task| task.launch.claim.as_ref());
            assert!(others.into_iter().all(|it| it.id != claim.id), "two tasks on one volume");
            return;
        };
        let mut all = launch.resources.clone();
        for volume in volumes {
            for (key, value) in volume.space.iter() {
                let persistence = Persistence { id: volume.id.clone(), principal: None };
                let source = key.kind.disk.as_ref().and_then(|disk| disk.source.clone());
                let disk = Some(Disk { persistence: Some(persistence), volume: None, source });
                let kind = Arc::new(Kind { disk, ..(*key.kind).clone() });
                all.insert(Key { name: key.name.clone(), kind }, value.clone());
            }
        }
        let other = self.reserved.insert(claim.id.clone(), (agent, all));
        assert_eq!(other, None, "{} is reserved twice", claim.id);
    }

    /// Undoes a reservation, or what is offered of it.
    pub(super) fn release(&mut self, release: &Release) {
        let (agent, _) = self.reserved[&release.id];
        assert_eq!(self.held(agent).get(&release.id), Some(&release.resources), "all of it goes");
        let (_, reserved) = self.reserved.get_mut(&release.id).expect("it was offered");
        reserved.subtract(&release.resources);
        if reserved.is_empty() {
            self.reserved.remove(&release.id);
        }
        self.filtered.remove(&agent);
    }

    /// What is reserved on an agent and used by no task.
    pub(super) fn held(&self, agent: usize) -> BTreeMap<Arc<str>, Resources> {
        let here = self.reserved.iter().filter(|(_, (at, _))| *at == agent);
        let held = here.map(|(id, (_, resources))| (id.clone(), self.unused(id, resources)));
        held.filter(|(_, left)| !left.is_empty()).collect()
    }

    /// What of the reservation `id` no task has. A pod has what is its executor's until its last container
    /// has ended.
    fn unused(&self, id: &Arc<str>, reserved: &Resources) -> Resources {
        let mut left = reserved.clone();
        let is_user = |task: &&Running| task.launch.claim.as_ref().is_some_and(|it| it.id == *id);
        for (n, (task, running)) in self.tasks.iter().filter(|(_, task)| is_user(task)).enumerate()
        {
            let launch = &running.launch;
            let Some((_, own)) = launch.containers.iter().find(|(it, _)| it == task) else {
                return Resources::none();
            };
            left.subtract(own);
            if n == 0 {
                left.subtract(&launch.executor);
                left = left.filtered(|key, _| !key.kind.is_persistent_volume());
            }
        }
        left
    }

    /// The ids of all reservations.
    pub(crate) fn reservations(&self) -> BTreeSet<Arc<str>> {
        self.reserved.keys().cloned().collect()
    }

    /// How many reservations are in the books.
    pub(crate) fn stored_reservations(&self) -> usize {
        self.store.keys().filter(|key| key.starts_with("reservation:")).count()
    }

    /// What is reserved on an agent, as space that nothing else can have.
    pub(super) fn reserved_on(&self, agent: usize) -> Resources {
        let mut all = Resources::none();
        for (_, resources) in self.reserved.values().filter(|(at, _)| *at == agent) {
            all.add(&resources.with_kinds(|kind| *kind = kind.unmade()));
        }
        all
    }
}
