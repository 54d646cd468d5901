//! The agents that the master has: what spreading has to spread over, beside those that make offers.

use super::{Due, Marathon};
use crate::app::{self, App};
use crate::fleet::Listed;
use crate::io::{AgentView, Output};
use model::amount::Milli;
use model::resources::Resources;
use model::role::Role;
use model::step::{Now, Time};
use std::time::Duration;

/// How often the master is asked, while some app is spread. Agents that come make offers, so what is not met
/// for so long are those that are full.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// By how much it may be later than that without the answer being old.
const LATE_MAX: Duration = Duration::from_secs(1);

/// How long what is spread waits for an answer.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// With fewer CPUs left an agent makes no offers for them.
const CPUS_MIN: Milli = Milli(10);

/// Whether instances of `app` are spread over what agents there are.
pub(super) fn is_spread(app: &App) -> bool {
    app::spread_over(&app.constraints).next().is_some()
}

/// What the master was asked for on this subscription.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// When it was last; absent if it never was.
    at: Option<Time>,
    is_answered: bool,
    /// Whether what is spread waits for the answer: it was not asked for long.
    is_waited_for: bool,
}

/// Asks for the agents, once after each subscription, and as long as some app is spread from time to time.
pub(super) fn ask(marathon: &mut Marathon, now: Now) {
    if !marathon.books.is_connected {
        return;
    }
    let is_wanted = !marathon.books.spread.is_empty();
    let due = marathon.books.agents_asked.at.map(|at| at + ASK_EVERY);
    if due.is_none_or(|due| is_wanted && due <= now.time) {
        let is_steady = due.is_some_and(|due| now.time <= due + LATE_MAX);
        marathon.books.agents_asked =
            Asked { at: Some(now.time), is_answered: false, is_waited_for: !is_steady };
        marathon.books.fleet.ask();
        marathon.outbox.push(Output::AskAgents);
        marathon.wake_at(now.time + WAIT_MAX, Due::Agents);
    }
    if let Some(at) = marathon.books.agents_asked.at.filter(|_| is_wanted) {
        marathon.wake_at(at + ASK_EVERY, Due::Agents);
    }
}

/// Whether nothing is spread yet, since the master is about to tell what there is.
pub(super) fn is_awaited(marathon: &Marathon, now: Now) -> bool {
    let Asked { at, is_answered, is_waited_for } = marathon.books.agents_asked;
    is_waited_for && !is_answered && at.is_some_and(|at| now.time < at + WAIT_MAX)
}

/// Those of `all` that may make offers to us: in use, and with CPUs for nobody or for our roles.
fn listed(marathon: &Marathon, all: Vec<AgentView>) -> Vec<Listed> {
    let roles: Vec<Role> = marathon.books.roles.iter().flat_map(|it| Role::new(&**it)).collect();
    let ours =
        |of: &Resources| of.filtered(|key, _| roles.iter().any(|it| key.kind.is_offerable_to(it)));
    let in_use = all.into_iter().filter(|view| view.is_in_use);
    let one = |AgentView { place, total, allocated, .. }| {
        let (total, allocated) = (ours(&total), ours(&allocated));
        let cpus = total.scalar("cpus");
        let has_room = cpus - allocated.scalar("cpus") >= CPUS_MIN;
        let has_gpus = !total.scalar("gpus").is_nothing();
        (!cpus.is_nothing()).then_some(Listed { place, has_gpus, has_room })
    };
    in_use.filter_map(one).collect()
}

/// The master has told which agents there are, or has not.
pub(super) fn heard(marathon: &mut Marathon, agents: Option<Vec<AgentView>>) {
    if !marathon.is_leading {
        return;
    }
    let agents = agents.map(|agents| listed(marathon, agents));
    let are_gone = agents.is_some_and(|agents| marathon.books.fleet.heard_of(agents));
    let asked = &mut marathon.books.agents_asked;
    if std::mem::replace(&mut asked.is_answered, true) {
        return;
    }
    if let Some(at) = asked.at {
        marathon.books.timers.remove(&(at + WAIT_MAX, Due::Agents));
    }
    // Those who are spread waited for this, or for agents that are gone.
    let may_go = asked.is_waited_for || are_gone;
    if may_go && !marathon.books.spread.is_empty() {
        marathon.books.asking.is_revive_wanted = true;
    }
}

/// The time to wait for an answer may be over.
pub(super) fn due(marathon: &mut Marathon, now: Now) {
    let Asked { is_answered, is_waited_for, .. } = marathon.books.agents_asked;
    if is_waited_for && !is_answered && !is_awaited(marathon, now) {
        marathon.books.asking.is_revive_wanted = true;
    }
}
