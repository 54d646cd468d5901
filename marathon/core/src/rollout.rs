//! What is to be done next so that an app gets what it is to have: whom to add, whom to stop.
//!
//! Nothing is remembered: each decision follows from the instances there are, so it can be taken
//! again after a crash, and what went missing on the way is made up for.

use crate::app::{App, KillSelection, Millionths};
use crate::ids::InstanceId;
use crate::instance::{Condition, Goal, Instance};
use model::step::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is to be done now, and whether that was all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Moves {
    /// How many instances to add.
    pub add: u32,
    /// Whom to stop.
    pub stop: Vec<InstanceId>,
    /// Whether all is as it is to be, with nothing left on its way.
    pub is_done: bool,
}

/// Instances that fail their health check, or whose agent is to be away, and are replaced before they
/// go.
#[derive(Clone, Copy, Debug)]
pub struct Ailing<'a> {
    /// Which.
    pub who: &'a BTreeSet<InstanceId>,
    /// How many are replaced at once.
    pub at_once: usize,
}

/// Brings the number of instances to `to`; `victims` go first.
pub fn scale(
    all: &[&Arc<Instance>],
    to: u32,
    victims: &BTreeSet<InstanceId>,
    selection: KillSelection,
    ailing: Ailing<'_>,
) -> Moves {
    let mut counted: Vec<_> = all.iter().copied().filter(|it| it.is_counted()).collect();
    let wanted = to as usize;
    let is_ailing = |it: &Instance| ailing.who.contains(&it.id);
    let ill = counted.iter().filter(|it| is_ailing(it)).count();
    let add = (wanted + ill.min(ailing.at_once)).saturating_sub(counted.len());
    let serving = counted.iter().filter(|it| it.is_serving() && !is_ailing(it)).count();
    let mut surplus = counted.len().saturating_sub(wanted);
    if surplus > 0 {
        order(&mut counted, victims, selection);
    }
    if ill > 0 && surplus > 0 {
        // Nobody goes before one that serves has come in its place, and then it is an ailing one.
        counted.sort_by_key(|it| !is_ailing(it));
        surplus = surplus.min((serving + ill).saturating_sub(wanted));
    }
    let stop: Vec<_> = counted.iter().take(surplus).map(|it| it.id.clone()).collect();
    let is_done = add == 0
        && stop.is_empty()
        && all.iter().all(|it| it.is_serving() || it.condition == Condition::UnreachableInactive);
    Moves { add: u32::try_from(add).unwrap_or(u32::MAX), stop, is_done }
}

/// Ends all of them.
pub fn stop(all: &[&Arc<Instance>]) -> Moves {
    let stop = all.iter().filter(|it| it.goal == Goal::Running).map(|it| it.id.clone()).collect();
    Moves { add: 0, stop, is_done: all.is_empty() }
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
pub fn replace(all: &[&Arc<Instance>], app: &App, bounds: Bounds) -> Moves {
    let wanted = app.instances as usize;
    let Bounds { healthy_min, count_max, new_max } = bounds;
    let wanted_new = new_max.unwrap_or(wanted).min(wanted);
    let is_new = |it: &Instance| it.is_counted() && it.is_current(app);
    let mut new: Vec<_> = all.iter().copied().filter(|it| is_new(it)).collect();
    let old: Vec<&Arc<Instance>> =
        all.iter().copied().filter(|it| it.goal == Goal::Running && !it.is_current(app)).collect();
    let serving = all.iter().filter(|it| it.is_serving()).count();
    // Where not all are to be new yet, the others stay as they are.
    let old_spare = old.len().saturating_sub(wanted - wanted_new);

    // Who does not serve can go at once: that takes nothing away.
    let (mut spare, idle): (Vec<&Arc<Instance>>, Vec<&Arc<Instance>>) =
        old.into_iter().partition(|it| it.is_serving());
    let may_stop = serving.saturating_sub(healthy_min);
    let mut stop: Vec<_> = idle.iter().take(old_spare).map(|it| it.id.clone()).collect();
    let may_stop_old = may_stop.min(old_spare - stop.len());
    if may_stop_old > 0 {
        spare.sort_by_key(|it| (started_at(it), it.id.clone()));
    }
    stop.extend(spare.iter().take(may_stop_old).map(|it| it.id.clone()));
    let left_to_stop = may_stop.saturating_sub(spare.len());

    // More new ones than wanted: an earlier deployment wanted more. Those that serve count.
    let mut surplus = new.len().saturating_sub(wanted);
    if surplus > 0 {
        order(&mut new, &BTreeSet::new(), app.kill_selection);
    }
    let mut left = left_to_stop;
    for it in &new {
        if surplus > 0 && (!it.is_serving() || left > 0) {
            left -= usize::from(it.is_serving());
            surplus -= 1;
            stop.push(it.id.clone());
        }
    }

    // What waits for an offer holds no place once it is stopped; a task does until it has ended.
    let gone_at_once = idle.iter().filter(|it| it.condition == Condition::Scheduled).count();
    let holding = all.iter().filter(|it| it.condition != Condition::UnreachableInactive).count();
    let holding = holding - gone_at_once;
    let room = count_max.saturating_sub(holding);
    let add = wanted_new.saturating_sub(new.len()).min(room);
    // The strategy may have become stricter since they were added.
    let waiting = new.iter().filter(|it| it.condition == Condition::Scheduled);
    let waiting = waiting.filter(|it| !stop.contains(&it.id)).map(|it| it.id.clone());
    let too_many: Vec<_> = waiting.take(holding.saturating_sub(count_max)).collect();
    stop.extend(too_many);

    let all_new = all.iter().all(|it| it.is_serving() && it.is_current(app));
    let is_done = stop.is_empty() && new.len() == wanted && all.len() == wanted && all_new;
    Moves { add: u32::try_from(add).unwrap_or(u32::MAX), stop, is_done }
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
fn order(
    instances: &mut [&Arc<Instance>],
    victims: &BTreeSet<InstanceId>,
    selection: KillSelection,
) {
    instances.sort_by_cached_key(|it| {
        let age = started_at(it).0;
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

fn started_at(instance: &Instance) -> Timestamp {
    let task = instance.task.as_ref();
    task.map_or(instance.since, |task| task.started_at.unwrap_or(task.staged_at))
}
