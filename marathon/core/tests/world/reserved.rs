//! What Marathon has reserved on the agents.

use super::World;
use marathon_core::io::{Launch, Release};
use model::disk::{Disk, Persistence};
use model::resources::{Key, Kind, Resources};
use std::collections::BTreeMap;
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

    /// Undoes a reservation.
    pub(super) fn release(&mut self, release: &Release) {
        let (agent, reserved) = self.reserved.remove(&release.id).expect("it was offered");
        assert_eq!(reserved, release.resources, "all of it goes");
        self.filtered.remove(&agent);
    }

    /// What is reserved on an agent and used by no task.
    pub(super) fn held(&self, agent: usize) -> BTreeMap<Arc<str>, Resources> {
        let claims = self.tasks.values().filter_map(|task| task.launch.claim.as_ref());
        let used: Vec<&Arc<str>> = claims.map(|claim| &claim.id).collect();
        let here = self.reserved.iter().filter(|(id, (at, _))| *at == agent && !used.contains(id));
        here.map(|(id, (_, resources))| (id.clone(), resources.clone())).collect()
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
