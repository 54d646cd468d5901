//! The instances of one app, with counts of them, so that nobody has to look at ten thousand to find that
//! there is nothing to do.

use crate::ids::InstanceId;
use crate::instance::{Condition, Instance};
use crate::rollout::Moves;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All instances of one app.
///
/// Invariant: the counts are those of the instances that are there.
#[derive(Debug, Default)]
pub(super) struct Instances {
    all: BTreeMap<InstanceId, Arc<Instance>>,
    /// How many hold a place among those that are wanted.
    counted: usize,
    /// How many neither serve nor are given up.
    unsettled: usize,
    /// Those that fail their health check.
    unwell: BTreeSet<InstanceId>,
}

impl Instances {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The instance of this id.
    pub(super) fn get(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        self.all.get(id)
    }

    /// All of them, by their ids.
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.all.values()
    }

    /// Those that fail their health check.
    pub(super) fn unwell(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.unwell.iter().filter_map(|id| self.all.get(id))
    }

    /// Takes in an instance, or how it is now.
    pub(super) fn insert(&mut self, instance: Arc<Instance>) {
        self.remove(&instance.id);
        self.counted += usize::from(instance.is_counted());
        self.unsettled += usize::from(is_unsettled(&instance));
        if instance.is_unwell() {
            self.unwell.insert(instance.id.clone());
        }
        self.all.insert(instance.id.clone(), instance);
    }

    /// Takes an instance out.
    pub(super) fn remove(&mut self, id: &InstanceId) -> Option<Arc<Instance>> {
        let instance = self.all.remove(id)?;
        self.counted -= usize::from(instance.is_counted());
        self.unsettled -= usize::from(is_unsettled(&instance));
        self.unwell.remove(id);
        Some(instance)
    }

    /// What [`rollout::scale`](crate::rollout::scale) says when nobody is to go: absent if some are.
    pub(super) fn scaled_up(&self, to: u32) -> Option<Moves> {
        let add = u32::try_from((to as usize).checked_sub(self.counted)?).unwrap_or(u32::MAX);
        Some(Moves { add, stop: Vec::new(), is_done: add == 0 && self.unsettled == 0 })
    }
}

fn is_unsettled(instance: &Instance) -> bool {
    !instance.is_serving() && instance.condition != Condition::UnreachableInactive
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::parse::{Defaults, Update, whole};
    use crate::app::{App, KillSelection};
    use crate::ids::AppId;
    use crate::instance::{Goal, Health, Place, Task};
    use crate::rollout::{self, Ailing};
    use model::ids::AgentId;
    use model::rng::Rng;
    use model::step::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    fn app(is_checked: bool) -> Arc<App> {
        let checks = if is_checked { json!([{"protocol": "TCP"}]) } else { json!([]) };
        let body = json!({"cmd": "x", "healthChecks": checks});
        let id = AppId::parse("/web").expect("an id");
        let update = Update::read(&body, "").expect("a body");
        Arc::new(whole(&id, &update, &Defaults::default()).expect("a valid app"))
    }

    fn task(id: &InstanceId, is_healthy: Option<bool>) -> Task {
        let unwell = is_healthy == Some(false);
        Task {
            id: id.task(1),
            containers: Vec::new(),
            place: Place {
                agent: AgentId::new("S0").expect("an id"),
                host: "host".into(),
                region: None,
                zone: None,
                attributes: Vec::new(),
            },
            ports: Vec::new(),
            volumes: Vec::new(),
            staged_at: Timestamp(1),
            started_at: None,
            unreachable_at: None,
            addresses: Vec::new(),
            health: Health {
                is_healthy,
                unhealthy_since: unwell.then_some(Timestamp(1)),
                ..Health::default()
            },
            check: None,
            is_ready: None,
        }
    }

    proptest! {
        #[test]
        fn who_counts_says_what_who_looks_at_all_says(
            is_checked in any::<bool>(),
            changes in prop::collection::vec(
                (0_usize..4, prop::option::of(0..Condition::ALL.len()), any::<bool>(), 0_usize..3),
                0..24,
            ),
            to in 0_u32..6,
        ) {
            let app = app(is_checked);
            let mut rng = Rng::new(7);
            let ids: Vec<_> = (0..4).map(|_| InstanceId::draw(&app.id, &mut rng)).collect();
            let mut instances = Instances::default();
            for (which, condition, is_wanted, verdict) in changes {
                let id = &ids[which];
                let Some(condition) = condition else {
                    instances.remove(id);
                    continue;
                };
                let condition = Condition::ALL[condition];
                let verdict = [None, Some(true), Some(false)][verdict];
                let has_task = condition != Condition::Scheduled;
                instances.insert(Arc::new(Instance {
                    id: id.clone(),
                    goal: if is_wanted { Goal::Running } else { Goal::Decommissioned },
                    condition,
                    app: app.clone(),
                    incarnation: 1,
                    since: Timestamp(1),
                    changed_at: Timestamp(1),
                    task: has_task.then(|| task(id, verdict)),
                    reservation: None,
                }));
            }
            let all: Vec<_> = instances.values().collect();
            let nobody = BTreeSet::new();
            let ailing = Ailing { who: &nobody, at_once: 1 };
            let looked = rollout::scale(&all, to, &nobody, KillSelection::YoungestFirst, ailing);
            match instances.scaled_up(to) {
                Some(counted) => prop_assert_eq!(counted, looked),
                None => prop_assert!(!looked.stop.is_empty()),
            }
            let unwell = all.iter().filter(|it| it.is_unwell()).count();
            prop_assert_eq!(instances.unwell().count(), unwell);
        }
    }
}
