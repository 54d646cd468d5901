//! Why things are as they are: what an app or a deployment waits for, in words and in parts.

mod json;

use crate::app::App;
use crate::fleet::is_one_per_agent;
use crate::ids::AppId;
use crate::instance::{Condition, Goal, Instance};
use crate::launch_queue::Offers;
use crate::matcher::Reason;
use crate::rollout::Bounds;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of those that are not launched yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queued<'a> {
    /// What came of offers; absent if nobody waits.
    pub offers: Option<&'a Offers>,
    /// How many want no offer yet, since they have failed not long ago.
    pub held_back: usize,
    /// How many are to be replaced by others elsewhere.
    pub to_move: usize,
}

/// What `id` waits for, in a sentence. `wanted` is absent for an app that is to go.
pub fn why(id: &AppId, wanted: Option<&App>, all: &[&Arc<Instance>], queued: Queued<'_>) -> String {
    let count = |is: &dyn Fn(&Instance) -> bool| all.iter().filter(|it| is(it)).count();
    let mut parts = Vec::new();
    let mut say = |count: usize, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    let is_new = |it: &Instance| wanted.is_some_and(|app| it.is_current(app));
    let is = |condition| move |it: &Instance| it.condition == condition;
    let scheduled = count(&is(Condition::Scheduled));
    let held_back = queued.held_back.min(scheduled);
    say(queued.to_move, "to be moved");
    say(scheduled - held_back, &waits(queued.offers));
    say(held_back, "held back for a while after failures");
    say(count(&is(Condition::Provisioned)), "accepted but not heard of yet");
    say(count(&is(Condition::Staging)), "being staged");
    say(count(&is(Condition::Starting)), "starting");
    let is_ill = |it: &Instance| {
        it.condition == Condition::Running && it.goal == Goal::Running && !it.is_healthy()
    };
    say(
        count(&|it| is_ill(it) && verdict(it).is_none()),
        "running but without a health result yet",
    );
    say(count(&|it| is_ill(it) && verdict(it) == Some(false)), "running but unhealthy");
    let is_unready = |it: &Instance| {
        it.goal == Goal::Running
            && it.is_healthy()
            && it.condition == Condition::Running
            && !it.is_serving()
    };
    say(count(&is_unready), "running but not ready");
    say(count(&is(Condition::Killing)), "being ended");
    let is_lost = |it: &Instance| {
        matches!(it.condition, Condition::Unreachable | Condition::UnreachableInactive)
    };
    say(count(&is_lost), "on agents out of contact");
    let serving = count(&|it| it.is_serving() && is_new(it));
    let rest = if parts.is_empty() { "nothing is under way".to_owned() } else { parts.join(", ") };
    match wanted {
        Some(app) if is_one_per_agent(app) => {
            format!("{id} has {serving}, one on each agent that fits: {rest}")
        }
        Some(app) => format!("{id} has {serving} of {} as wanted: {rest}", app.instances),
        None => format!("{id} is to go: {rest}"),
    }
}

fn verdict(instance: &Instance) -> Option<bool> {
    instance.task.as_ref().and_then(|task| task.health.is_healthy)
}

/// What those wait for that are not launched yet.
fn waits(offers: Option<&Offers>) -> String {
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    for unused in offers.iter().flat_map(|offers| offers.last_unused.values()) {
        *reasons.entry(unused.why.reason()).or_default() += 1;
    }
    if reasons.is_empty() {
        return "waiting for an offer".to_owned();
    }
    let on = |(why, agents): (&Reason, &usize)| match agents {
        1 => format!("{} on 1 agent", why.name()),
        many => format!("{} on {many} agents", why.name()),
    };
    let reasons: Vec<_> = reasons.iter().map(on).collect();
    format!("waiting for an offer that fits ({})", reasons.join(", "))
}

/// Whether `app` has as many new instances as it may have until somebody has it go on.
pub fn is_at_stop(all: &[&Arc<Instance>], app: &App, bounds: Bounds) -> bool {
    let Some(new_max) = bounds.new_max.filter(|max| *max < app.instances as usize) else {
        return false;
    };
    let serving = all.iter().filter(|it| it.is_serving() && it.is_current(app)).count();
    let new = all.iter().filter(|it| it.goal == Goal::Running && it.is_current(app)).count();
    let going = all.iter().any(|it| it.condition == Condition::Killing);
    serving >= new_max && new == serving && !going
}
