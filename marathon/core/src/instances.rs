//! The instances of one app, with all that is asked about them kept as they change: nobody has to look at ten
//! thousand to find what there is to do about one.

use crate::ids::InstanceId;
use crate::instance::{Condition, Goal, Instance};
use crate::spread::{Spread, are_compared};
use model::ids::AgentId;
use model::step::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All instances of one app.
///
/// Invariant: the index is that of the instances that are there.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    all: BTreeMap<InstanceId, Arc<Instance>>,
    /// Those that are to be replaced by others elsewhere, with which these are not compared.
    leaving: BTreeSet<InstanceId>,
    index: Index,
}

/// Those of an app that has none.
pub(crate) static NONE: Instances =
    Instances { all: BTreeMap::new(), leaving: BTreeSet::new(), index: Index::NEW };

/// Where those of a definition are that has no tasks, or compares none.
static NOWHERE: Spread = Spread::NONE;

/// Ids under something that several can share.
type Sets<K> = BTreeMap<K, BTreeSet<InstanceId>>;

#[derive(Debug, Default, PartialEq)]
struct Index {
    /// By the launch-relevant definition they are of.
    by_config: BTreeMap<Timestamp, OfConfig>,
    /// By where their tasks are.
    by_agent: Sets<AgentId>,
    /// Where the tasks of each launch-relevant definition are, for the constraints that compare them.
    spreads: BTreeMap<Timestamp, Spread>,
    /// By what is reserved for them.
    by_reservation: Sets<Arc<str>>,
    /// Those that fail their health check.
    unwell: BTreeSet<InstanceId>,
    /// How many wait for an offer and have nothing reserved.
    homeless: usize,
    /// How many are out of contact for so long that they were replaced.
    inactive: usize,
    /// How many neither serve nor are given up.
    unsettled: usize,
}

/// Those of one definition that are to go on, each in one of the two sets.
#[derive(Debug, Default, PartialEq)]
struct OfConfig {
    /// Those that serve, by when they began to.
    serving: BTreeSet<(Timestamp, InstanceId)>,
    /// Those that do not.
    idle: BTreeSet<InstanceId>,
    /// Of the idle ones, those that wait for an offer.
    waiting: BTreeSet<InstanceId>,
    /// Of the idle ones, how many were replaced since they are out of contact.
    inactive: usize,
}

impl OfConfig {
    fn len(&self) -> usize {
        self.serving.len() + self.idle.len()
    }
}

impl Instances {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The instance of this id.
    pub(crate) fn get(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        self.all.get(id)
    }

    /// All of them, by their ids.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.all.values()
    }

    /// Those that fail their health check.
    pub(crate) fn unwell(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.index.unwell.iter().filter_map(|id| self.all.get(id))
    }

    /// Those with a task on `agent`.
    pub(crate) fn on(&self, agent: &AgentId) -> impl Iterator<Item = &Arc<Instance>> {
        let ids = self.index.by_agent.get(agent).into_iter().flatten();
        ids.filter_map(|id| self.all.get(id))
    }

    /// Where those of the definition `config` have their tasks, as its constraints compare that, but for those
    /// that leave. All of one definition have the same constraints.
    pub(crate) fn spread_of(&self, config: Timestamp) -> &Spread {
        self.index.spreads.get(&config).unwrap_or(&NOWHERE)
    }

    /// Those for which `reservation` was made, or which took it over.
    pub(crate) fn holders(&self, reservation: &str) -> impl Iterator<Item = &Arc<Instance>> {
        let ids = self.index.by_reservation.get(reservation).into_iter().flatten();
        ids.filter_map(|id| self.all.get(id))
    }

    /// How many wait for an offer and have nothing reserved.
    pub(crate) fn homeless(&self) -> usize {
        self.index.homeless
    }

    /// How many hold a place among those that are wanted.
    pub(crate) fn counted(&self) -> usize {
        self.index.by_config.values().map(|it| it.len() - it.inactive).sum()
    }

    /// How many of the definition `config` hold a place among those that are wanted.
    pub(crate) fn counted_of(&self, config: Timestamp) -> usize {
        self.index.by_config.get(&config).map_or(0, |it| it.len() - it.inactive)
    }

    /// How many have a place that nobody else was given, those that are on their way out included.
    pub(crate) fn holding(&self) -> usize {
        self.all.len() - self.index.inactive
    }

    /// How many serve.
    pub(crate) fn serving(&self) -> usize {
        self.index.by_config.values().map(|it| it.serving.len()).sum()
    }

    /// How many of the definition `config` serve.
    pub(crate) fn serving_of(&self, config: Timestamp) -> usize {
        self.index.by_config.get(&config).map_or(0, |it| it.serving.len())
    }

    /// Whether each serves, or was replaced since it is out of contact.
    pub(crate) fn is_settled(&self) -> bool {
        self.index.unsettled == 0
    }

    /// Those that are to go on.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &InstanceId> {
        let all = self.index.by_config.values();
        all.flat_map(|it| it.serving.iter().map(|(_, id)| id).chain(&it.idle))
    }

    /// Those of the definition `config` that wait for an offer.
    pub(crate) fn waiting_of(&self, config: Timestamp) -> impl Iterator<Item = &InstanceId> {
        self.index.by_config.get(&config).into_iter().flat_map(|it| &it.waiting)
    }

    /// Those that are to go on though they are of another definition than `config`.
    pub(crate) fn outdated(&self, config: Timestamp) -> Outdated<'_> {
        let all = self.index.by_config.iter().filter(|(of, _)| **of != config);
        Outdated(all.map(|(_, it)| it).collect())
    }

    /// Takes in an instance, or how it is now.
    pub(crate) fn insert(&mut self, instance: Arc<Instance>) {
        self.remove(&instance.id);
        self.index.add(&instance, self.leaving.contains(&instance.id));
        self.all.insert(instance.id.clone(), instance);
    }

    /// Takes an instance out.
    pub(crate) fn remove(&mut self, id: &InstanceId) -> Option<Arc<Instance>> {
        let instance = self.all.remove(id)?;
        self.index.remove(&instance, self.leaving.contains(id));
        Some(instance)
    }

    /// Has those of `ids` leave, and nobody else.
    pub(crate) fn set_leaving(&mut self, ids: BTreeSet<InstanceId>) {
        let before = std::mem::take(&mut self.leaving);
        let changed = before.symmetric_difference(&ids).filter_map(|id| self.all.get(id));
        let changed: Vec<_> = changed.cloned().collect();
        for instance in &changed {
            self.index.remove(instance, before.contains(&instance.id));
            self.index.add(instance, ids.contains(&instance.id));
        }
        self.leaving = ids;
    }

    /// Those that leave.
    pub(crate) fn leaving(&self) -> &BTreeSet<InstanceId> {
        &self.leaving
    }

    /// Whether the index is what looking at all of them finds.
    pub(crate) fn is_sound(&self) -> bool {
        let mut anew = Index::default();
        for instance in self.all.values() {
            anew.add(instance, self.leaving.contains(&instance.id));
        }
        anew == self.index
    }
}

/// Instances that are to go on though they are of another definition than the one that is wanted.
pub(crate) struct Outdated<'a>(Vec<&'a OfConfig>);

impl<'a> Outdated<'a> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|it| it.len()).sum()
    }

    /// All of them.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &'a InstanceId> {
        self.0.iter().flat_map(|it| it.serving.iter().map(|(_, id)| id).chain(&it.idle))
    }

    /// How many hold a place among those that are wanted.
    pub(crate) fn counted(&self) -> usize {
        self.0.iter().map(|it| it.len() - it.inactive).sum()
    }

    /// How many serve.
    pub(crate) fn serving(&self) -> usize {
        self.0.iter().map(|it| it.serving.len()).sum()
    }

    /// How many wait for an offer.
    pub(crate) fn waiting(&self) -> usize {
        self.0.iter().map(|it| it.waiting.len()).sum()
    }

    /// Those that do not serve.
    pub(crate) fn idle(&self) -> impl Iterator<Item = &'a InstanceId> {
        self.0.iter().flat_map(|it| &it.idle)
    }

    /// The `count` of those that serve which began first.
    pub(crate) fn oldest(&self, count: usize) -> Vec<InstanceId> {
        let first = self.0.iter().flat_map(|it| it.serving.iter().take(count));
        let mut first: Vec<_> = first.collect();
        first.sort();
        first.into_iter().take(count).map(|(_, id)| id.clone()).collect()
    }
}

impl Index {
    const NEW: Self = Self {
        by_config: BTreeMap::new(),
        by_agent: BTreeMap::new(),
        spreads: BTreeMap::new(),
        by_reservation: BTreeMap::new(),
        unwell: BTreeSet::new(),
        homeless: 0,
        inactive: 0,
        unsettled: 0,
    };

    fn add(&mut self, it: &Instance, is_leaving: bool) {
        let id = || it.id.clone();
        if let Some(task) = &it.task {
            self.by_agent.entry(task.place.agent.clone()).or_default().insert(id());
            if are_compared(&it.app.constraints) && !is_leaving {
                let spread = self.spreads.entry(config(it)).or_default();
                spread.add(&it.app.constraints, &task.place);
            }
        }
        if let Some(reservation) = &it.reservation {
            self.by_reservation.entry(reservation.clone()).or_default().insert(id());
        }
        if it.is_unwell() {
            self.unwell.insert(id());
        }
        self.homeless += usize::from(is_homeless(it));
        self.inactive += usize::from(is_inactive(it));
        self.unsettled += usize::from(is_unsettled(it));
        if it.goal != Goal::Running {
            return;
        }
        let of_config = self.by_config.entry(config(it)).or_default();
        if it.is_serving() {
            of_config.serving.insert((it.began_at(), id()));
            return;
        }
        of_config.idle.insert(id());
        of_config.inactive += usize::from(is_inactive(it));
        if it.condition == Condition::Scheduled {
            of_config.waiting.insert(id());
        }
    }

    fn remove(&mut self, it: &Instance, is_leaving: bool) {
        if let Some(task) = &it.task {
            take(&mut self.by_agent, &task.place.agent, &it.id);
            if let Some(spread) = self.spreads.get_mut(&config(it)).filter(|_| !is_leaving) {
                spread.remove(&it.app.constraints, &task.place);
                if spread.count() == 0 {
                    self.spreads.remove(&config(it));
                }
            }
        }
        if let Some(reservation) = &it.reservation {
            take(&mut self.by_reservation, reservation, &it.id);
        }
        self.unwell.remove(&it.id);
        self.homeless -= usize::from(is_homeless(it));
        self.inactive -= usize::from(is_inactive(it));
        self.unsettled -= usize::from(is_unsettled(it));
        if it.goal != Goal::Running {
            return;
        }
        let Some(of_config) = self.by_config.get_mut(&config(it)) else { return };
        if it.is_serving() {
            of_config.serving.remove(&(it.began_at(), it.id.clone()));
        } else {
            of_config.idle.remove(&it.id);
            of_config.waiting.remove(&it.id);
            of_config.inactive -= usize::from(is_inactive(it));
        }
        if of_config.len() == 0 {
            self.by_config.remove(&config(it));
        }
    }
}

fn take<K: Ord>(sets: &mut Sets<K>, key: &K, id: &InstanceId) {
    let Some(set) = sets.get_mut(key) else { return };
    set.remove(id);
    if set.is_empty() {
        sets.remove(key);
    }
}

fn config(instance: &Instance) -> Timestamp {
    instance.app.version_info.last_config_change_at
}

fn is_homeless(instance: &Instance) -> bool {
    instance.condition == Condition::Scheduled && instance.reservation.is_none()
}

fn is_inactive(instance: &Instance) -> bool {
    instance.condition == Condition::UnreachableInactive
}

fn is_unsettled(instance: &Instance) -> bool {
    !instance.is_serving() && !is_inactive(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::app::parse::{Defaults, Update, whole};
    use crate::health::{Health, Probed};
    use crate::ids::AppId;
    use crate::instance::{Place, Task};
    use model::rng::Rng;
    use proptest::prelude::*;
    use serde_json::json;

    fn app(is_checked: bool) -> Arc<App> {
        let checks = if is_checked { json!([{"protocol": "TCP"}]) } else { json!([]) };
        let constraints =
            json!([["hostname", "UNIQUE"], ["rack", "GROUP_BY"], ["rack", "MAX_PER", "2"]]);
        let body = json!({"cmd": "x", "healthChecks": checks, "constraints": constraints});
        let id = AppId::parse("/web").expect("an id");
        let update = Update::read(&body, "").expect("a body");
        Arc::new(whole(&id, &update, &Defaults::default()).expect("a valid app"))
    }

    fn task(id: &InstanceId, is_healthy: Option<bool>, when: u64) -> Task {
        let unwell = is_healthy == Some(false);
        Task {
            id: id.task(1),
            containers: Vec::new(),
            place: Place {
                agent: AgentId::new(format!("S{}", when % 2)).expect("an id"),
                host: format!("host{}", when % 2).into(),
                region: None,
                zone: None,
                attributes: (when > 1).then(|| ("rack".into(), "r1".into())).into_iter().collect(),
            },
            ports: Vec::new(),
            volumes: Vec::new(),
            staged_at: Timestamp(when),
            started_at: None,
            unreachable_at: None,
            addresses: Vec::new(),
            health: Health {
                is_healthy,
                checks: vec![Probed {
                    failing_since: unwell.then_some(Timestamp(1)),
                    ..Probed::default()
                }],
                ..Health::default()
            },
            check: None,
            is_ready: None,
            last_response: None,
        }
    }

    /// An instance as some numbers say.
    fn instance(app: &Arc<App>, id: &InstanceId, seed: (usize, bool, usize, u64)) -> Instance {
        let (condition, is_wanted, verdict, when) = seed;
        let condition = Condition::ALL[condition];
        let verdict = [None, Some(true), Some(false)][verdict];
        let mut app = (**app).clone();
        app.version_info.last_config_change_at = Timestamp(when % 3);
        let has_task = condition != Condition::Scheduled;
        Instance {
            id: id.clone(),
            goal: if is_wanted { Goal::Running } else { Goal::Decommissioned },
            condition,
            app: Arc::new(app),
            incarnation: 1,
            since: Timestamp(when),
            changed_at: Timestamp(when),
            task: has_task.then(|| task(id, verdict, when)),
            reservation: (when % 2 == 0).then(|| format!("r{when}").into()),
            backoff: None,
        }
    }

    proptest! {
        #[test]
        fn who_counts_says_what_who_looks_at_all_says(
            is_checked in any::<bool>(),
            changes in prop::collection::vec(
                (0_usize..5, prop::option::of((0..Condition::ALL.len(), any::<bool>(), 0_usize..3, 0_u64..6))),
                0..32,
            ),
            config in (0_u64..3).prop_map(Timestamp),
            leaving in prop::collection::vec(0_usize..5, 0..3),
        ) {
            let app = app(is_checked);
            let mut rng = Rng::new(7);
            let ids: Vec<_> = (0..5).map(|_| InstanceId::draw(&app.id, &mut rng)).collect();
            let mut instances = Instances::default();
            let leaving: BTreeSet<_> = leaving.into_iter().map(|at| ids[at].clone()).collect();
            for (at, (which, change)) in changes.into_iter().enumerate() {
                if at % 8 == 4 {
                    instances.set_leaving(leaving.clone());
                }
                match change {
                    None => drop(instances.remove(&ids[which])),
                    Some(seed) => instances.insert(Arc::new(instance(&app, &ids[which], seed))),
                }
                prop_assert!(instances.is_sound());
            }
            let count = |is: &dyn Fn(&Instance) -> bool| instances.values().filter(|it| is(it)).count();
            let is_of = |it: &Instance| it.app.version_info.last_config_change_at == config;
            let at = |host: &str| count(&|it| {
                let stays = !instances.leaving().contains(&it.id);
                is_of(it) && stays && it.task.as_ref().is_some_and(|task| &*task.place.host == host)
            });
            let spread = instances.spread_of(config);
            prop_assert_eq!(spread.with("hostname", "host0"), at("host0"));
            prop_assert_eq!(spread.count(), at("host0") + at("host1"));
            let is_old = |it: &Instance| it.goal == Goal::Running && !is_of(it);
            prop_assert_eq!(instances.counted(), count(&Instance::is_counted));
            prop_assert_eq!(instances.counted_of(config), count(&|it| it.is_counted() && is_of(it)));
            prop_assert_eq!(instances.serving(), count(&Instance::is_serving));
            prop_assert_eq!(instances.serving_of(config), count(&|it| it.is_serving() && is_of(it)));
            prop_assert_eq!(instances.holding(), count(&|it| !is_inactive(it)));
            prop_assert_eq!(instances.homeless(), count(&is_homeless));
            prop_assert_eq!(instances.is_settled(), count(&is_unsettled) == 0);
            prop_assert_eq!(instances.unwell().count(), count(&Instance::is_unwell));
            prop_assert_eq!(instances.wanted().count(), count(&|it| it.goal == Goal::Running));
            let outdated = instances.outdated(config);
            prop_assert_eq!(outdated.len(), count(&is_old));
            prop_assert_eq!(outdated.counted(), count(&|it| it.is_counted() && is_old(it)));
            let mut serving: Vec<_> =
                instances.values().filter(|it| is_old(it) && it.is_serving()).collect();
            serving.sort_by_key(|it| (it.began_at(), it.id.clone()));
            let serving: Vec<_> = serving.into_iter().map(|it| it.id.clone()).collect();
            prop_assert_eq!(outdated.serving(), serving.len());
            for many in 0..=serving.len() {
                prop_assert_eq!(&outdated.oldest(many), &serving[..many]);
            }
        }
    }
}
