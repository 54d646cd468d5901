//! The directories of volumes on a machine.

use crate::keepers::volume_names;
use agent_core::Record;
use agent_core::record::Key;
use model::ids::{OperationUuid, PersistenceId};
use model::resources::Resources;
use model::role::Role;
use std::collections::{BTreeMap, BTreeSet};

/// What a volume is called on its machine.
type Name = (Role, PersistenceId);

/// The directories of a machine's volumes.
#[derive(Default)]
pub(crate) struct VolumeStore {
    /// Those that tasks find.
    pub(crate) there: BTreeSet<Name>,
    /// Those that were put away, by the operation that removed them.
    away: BTreeMap<OperationUuid, BTreeSet<Name>>,
    /// Volumes that have been made and not removed: their data must be there.
    promised: BTreeSet<Name>,
}

impl VolumeStore {
    /// Makes directories where there are none. Says what is wrong with what is there.
    pub(crate) fn make(&mut self, volumes: &Resources) -> Option<String> {
        let mut wrong = None;
        for name in volume_names(volumes) {
            let is_new = self.promised.insert(name.clone());
            let was_there = !self.there.insert(name.clone());
            let (role, id) = name;
            if is_new && was_there {
                wrong = Some(format!("memory: new volume {id} of {role} has data of another"));
            } else if !is_new && !was_there {
                wrong = Some(format!("memory: volume {id} of {role} has lost its data"));
            }
        }
        wrong
    }

    /// Puts directories away, unless that was done for this operation before.
    pub(crate) fn remove(&mut self, operation: OperationUuid, volumes: &Resources) {
        if self.away.contains_key(&operation) {
            return;
        }
        let names: BTreeSet<Name> = volume_names(volumes).collect();
        for name in &names {
            self.there.remove(name);
            self.promised.remove(name);
        }
        self.away.insert(operation, names);
    }

    /// Deletes what was put away for an operation.
    pub(crate) fn purge(&mut self, operation: OperationUuid) {
        self.away.remove(&operation);
    }

    /// Deletes what was put away for operations that nobody remembers any more, as the agent's shell does
    /// when it starts.
    pub(crate) fn purge_leftovers(&mut self, records: &BTreeMap<Key, Record>) {
        self.away.retain(|operation, _| records.contains_key(&Key::Doomed(*operation)));
    }

    /// Whether nothing is put away, and nothing is there but these.
    pub(crate) fn has_only(&self, volumes: &Resources) -> bool {
        self.away.is_empty() && volume_names(volumes).collect::<BTreeSet<_>>() == self.there
    }
}
