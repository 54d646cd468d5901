//! What is to be done next so that an app gets what it is to have: whom to add, whom to stop.
//!
//! Nothing is remembered: each decision follows from the instances there are, so it can be taken
//! again after a crash, and what went missing on the way is made up for.

use crate::app::{self, App, KillSelection, Millionths};
use crate::ids::InstanceId;
use crate::instance::{Condition, Goal, Instance};
use crate::instances::Instances;
use crate::matcher;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is to be done now, and whether that was all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Moves {
    /// How many instances to add.
    pub(crate) add: u32,
    /// Whom to stop.
    pub(crate) stop: Vec<InstanceId>,
    /// Whether all is as it is to be, with nothing left on its way.
    pub(crate) is_done: bool,
}

/// Instances that fail their health check, or whose agent is to be away, and are replaced before they
/// go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ailing<'a> {
    /// Which.
    pub(crate) who: &'a BTreeSet<InstanceId>,
    /// How many are replaced at once.
    pub(crate) at_once: usize,
}

/// Brings the number of instances of `app` to `to`; `victims` go first.
pub(crate) fn scale(
    all: &Instances,
    app: &App,
    to: u32,
    victims: &BTreeSet<InstanceId>,
    ailing: Ailing<'_>,
) -> Moves {
    let (counted, wanted) = (all.counted(), to as usize);
    let ill = || ailing.who.iter().filter_map(|id| all.get(id));
    let ill_counted = ill().filter(|it| it.is_counted()).count();
    let add = (wanted + ill_counted.min(ailing.at_once)).saturating_sub(counted);
    let mut surplus = counted.saturating_sub(wanted);
    if ill_counted > 0 {
        // Nobody goes before one that serves has come in its place, and then it is an ailing one.
        let serving = all.serving() - ill().filter(|it| it.is_serving()).count();
        surplus = surplus.min((serving + ill_counted).saturating_sub(wanted));
    }
    let mut stop = Vec::new();
    // Only who goes is put in order, and nobody is if nobody goes.
    if surplus > 0 {
        let mut candidates: Vec<_> = all.values().filter(|it| it.is_counted()).collect();
        order(&mut candidates, victims, app.kill_selection);
        candidates.sort_by_key(|it| !ailing.who.contains(&it.id));
        let goes_first = |it: &Instance| {
            it.task.is_none() || victims.contains(&it.id) || ailing.who.contains(&it.id)
        };
        stop = evenly(candidates, app, surplus, goes_first);
    }
    let is_done = add == 0 && stop.is_empty() && all.is_settled();
    Moves { add: u32::try_from(add).unwrap_or(u32::MAX), stop, is_done }
}

/// Takes `count` of `candidates`, which are in order, so that where `app` is spread those who stay are
/// spread as evenly as they can be. Who `goes_first` goes wherever it is.
fn evenly(
    mut candidates: Vec<&Arc<Instance>>,
    app: &App,
    count: usize,
    goes_first: impl Fn(&Instance) -> bool,
) -> Vec<InstanceId> {
    let fields: Vec<&str> = app::spread_over(&app.constraints).collect();
    if fields.is_empty() || candidates.len() <= count {
        // Nobody has to be compared with anybody.
        return candidates.into_iter().take(count).map(|it| it.id.clone()).collect();
    }
    let group = |it: &Instance, field: &str| {
        let place = it.task.as_ref().map(|task| &task.place);
        place.and_then(|place| matcher::value_of(place, field)).cloned()
    };
    let mut sizes: BTreeMap<(&str, Option<Arc<str>>), usize> = BTreeMap::new();
    for (it, field) in candidates.iter().flat_map(|it| fields.iter().map(move |field| (it, field)))
    {
        *sizes.entry((field, group(it, field))).or_default() += 1;
    }
    let mut taken = Vec::new();
    while taken.len() < count && !candidates.is_empty() {
        let largest = |field: &str| {
            let of_field = sizes.iter().filter(|((it, _), _)| *it == field);
            of_field.map(|(_, size)| *size).max().unwrap_or(0)
        };
        let largest: Vec<(&str, usize)> =
            fields.iter().map(|field| (*field, largest(field))).collect();
        let is_one_too_many = |it: &&Arc<Instance>| {
            let mut all = largest.iter();
            all.all(|(field, size)| sizes.get(&(*field, group(it, field))) == Some(size))
        };
        let at = candidates.iter().position(|it| goes_first(it) || is_one_too_many(it));
        let next = candidates.remove(at.unwrap_or(0));
        for field in &fields {
            sizes.entry((field, group(next, field))).and_modify(|size| *size -= 1);
        }
        taken.push(next.id.clone());
    }
    taken
}

/// Ends all of them.
pub(crate) fn stop(all: &Instances) -> Moves {
    Moves { add: 0, stop: all.wanted().cloned().collect(), is_done: all.is_empty() }
}

/// Within what limits an app is replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// The least that must serve.
    pub healthy_min: usize,
    /// The most that may be there.
    pub count_max: usize,
    /// The most new ones, and the least of the old ones with them; absent means all.
    pub new_max: Option<usize>,
}

impl Bounds {
    /// What the upgrade strategy of `app` says.
    pub fn of(app: &App) -> Self {
        let (healthy_min, count_max) = capacity(app);
        Self { healthy_min, count_max, new_max: None }
    }

    /// Lets no more than `batch` be missing or too many.
    pub fn replace_at_most(&mut self, batch: usize, app: &App) {
        let wanted = app.instances as usize;
        self.healthy_min = self.healthy_min.max(wanted.saturating_sub(batch));
        self.count_max = self.count_max.min(wanted + batch).max(self.healthy_min + 1);
    }

    /// Lets one go before another comes, whatever the strategy says.
    pub fn make_room(&mut self, app: &App) {
        self.healthy_min = self.healthy_min.min((app.instances as usize).saturating_sub(1));
    }
}

/// Replaces every instance that is not of the present definition of `app`, within `bounds`.
///
/// At no time do fewer serve than they say, if as many did before; at no time are there more than
/// they say, those counted that are still on their way out.
pub(crate) fn replace(all: &Instances, app: &App, bounds: Bounds) -> Moves {
    let wanted = app.instances as usize;
    let Bounds { healthy_min, count_max, new_max } = bounds;
    let wanted_new = new_max.unwrap_or(wanted).min(wanted);
    let config = app.version_info.last_config_change_at;
    let (new, old) = (all.counted_of(config), all.outdated(config));
    // Where not all are to be new yet, the others stay as they are.
    let old_spare = old.len().saturating_sub(wanted - wanted_new);

    // Who does not serve can go at once: that takes nothing away.
    let may_stop = all.serving().saturating_sub(healthy_min);
    let mut stop: Vec<_> = old.idle().take(old_spare).cloned().collect();
    stop.extend(old.oldest(may_stop.min(old_spare - stop.len())));
    let left_to_stop = may_stop.saturating_sub(old.serving());
    // More new ones than wanted: an earlier deployment wanted more.
    if new > wanted {
        let is_new = |it: &&Arc<Instance>| it.is_counted() && it.is_current(app);
        let present = all.values().filter(is_new).collect();
        stop.extend(surplus(present, app, new - wanted, left_to_stop));
    }

    // What waits for an offer holds no place once it is stopped; a task does until it has ended.
    let holding = all.holding() - old.waiting();
    let room = count_max.saturating_sub(holding);
    let add = wanted_new.saturating_sub(new).min(room);
    // The strategy may have become stricter since they were added.
    let waiting = all.waiting_of(config).filter(|it| !stop.contains(it)).cloned();
    let too_many: Vec<_> = waiting.take(holding.saturating_sub(count_max)).collect();
    stop.extend(too_many);

    let all_new = all.serving_of(config) == all.len();
    let is_done = stop.is_empty() && new == wanted && all.len() == wanted && all_new;
    Moves { add: u32::try_from(add).unwrap_or(u32::MAX), stop, is_done }
}

/// Replaces those of `who` that are still there, within `bounds`; all others stay.
///
/// Where one more may be there nobody goes before another has come in its place: it is not known whether there is
/// room for that one.
pub(crate) fn relocate(
    all: &Instances,
    app: &App,
    who: &BTreeSet<InstanceId>,
    bounds: Bounds,
) -> Moves {
    let wanted = app.instances as usize;
    let Bounds { healthy_min, count_max, .. } = bounds;
    let healthy_min = if count_max > wanted { wanted } else { healthy_min };
    let old = || who.iter().filter_map(|id| all.get(id)).filter(|it| it.goal == Goal::Running);
    let old_counted = old().filter(|it| it.is_counted()).count();
    let new = all.counted() - old_counted;

    let idle = old().filter(|it| !it.is_serving());
    let waiting = idle.clone().filter(|it| it.condition == Condition::Scheduled).count();
    let mut stop: Vec<_> = idle.map(|it| it.id.clone()).collect();
    let mut serving: Vec<_> = old().filter(|it| it.is_serving()).collect();
    serving.sort_by_key(|it| (it.began_at(), &it.id));
    let may_stop = all.serving().saturating_sub(healthy_min);
    let left_to_stop = may_stop.saturating_sub(serving.len());
    stop.extend(serving.into_iter().take(may_stop).map(|it| it.id.clone()));
    // More than wanted: an earlier deployment wanted more.
    if new > wanted {
        let is_new = |it: &&Arc<Instance>| it.is_counted() && !who.contains(&it.id);
        let others = all.values().filter(is_new).collect();
        stop.extend(surplus(others, app, new - wanted, left_to_stop));
    }

    let room = count_max.saturating_sub(all.holding() - waiting);
    let add = wanted.saturating_sub(new).min(room);
    let none_left = who.iter().all(|id| all.get(id).is_none());
    let is_done = none_left && add == 0 && stop.is_empty() && all.is_settled();
    Moves { add: u32::try_from(add).unwrap_or(u32::MAX), stop, is_done }
}

/// Who of `all` of `app` goes where there are `too_many`; of those that serve no more than `serving_max`.
fn surplus(
    mut all: Vec<&Arc<Instance>>,
    app: &App,
    too_many: usize,
    serving_max: usize,
) -> Vec<InstanceId> {
    order(&mut all, &BTreeSet::new(), app.kill_selection);
    let mut serving_left = serving_max;
    let may_go = all.into_iter().filter(|it| {
        let may_go = !it.is_serving() || serving_left > 0;
        serving_left -= usize::from(may_go && it.is_serving());
        may_go
    });
    may_go.take(too_many).map(|it| it.id.clone()).collect()
}

/// The least that must serve and the most that may be there while `app` is replaced.
pub fn capacity(app: &App) -> (usize, usize) {
    let strategy = app.upgrade_strategy;
    let healthy_min = strategy.minimum_health_capacity.of_rounded_up(app.instances) as usize;
    let over = Millionths(strategy.maximum_over_capacity.0).of_rounded_down(app.instances);
    let count_max = app.instances as usize + over as usize;
    // Neither fewer nor more: nothing could ever move, so one more is let in. Where each needs the place
    // that another one has, one may be missing instead.
    match healthy_min >= count_max {
        true if app.is_resident() => (count_max.saturating_sub(1), count_max),
        true => (healthy_min, count_max + 1),
        false => (healthy_min, count_max),
    }
}

/// Puts those first that go first: victims, then by how little is lost, then by age.
pub(crate) fn order(
    instances: &mut [&Arc<Instance>],
    victims: &BTreeSet<InstanceId>,
    selection: KillSelection,
) {
    instances.sort_by_cached_key(|it| {
        let age = it.began_at().0;
        let by_age = match selection {
            KillSelection::YoungestFirst => Reverse(age),
            KillSelection::OldestFirst => Reverse(u64::MAX - age),
        };
        (!victims.contains(&it.id), weight(it), by_age, it.id.clone())
    });
}

/// How much is lost with an instance: nothing that waits, little that does not run yet.
fn weight(instance: &Instance) -> u8 {
    match instance.condition {
        Condition::Scheduled => 0,
        Condition::Unreachable | Condition::UnreachableInactive => 1,
        Condition::Killing => 2,
        Condition::Provisioned => 3,
        Condition::Staging => 4,
        Condition::Starting => 5,
        Condition::Running if instance.is_healthy() => 7,
        Condition::Running => 6,
    }
}
