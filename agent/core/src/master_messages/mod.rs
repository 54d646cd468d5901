//! What the master says, one file per message; and the link it says it on.

pub(crate) mod acknowledge;
pub(crate) mod apply;
pub(crate) mod drain;
pub(crate) mod kill;
pub(crate) mod launch;
pub(crate) mod masters;
pub(crate) mod message;
pub(crate) mod ping;
pub(crate) mod registered;
pub(crate) mod reregistered;
pub(crate) mod shutdown;
pub(crate) mod shutdown_executor;
pub(crate) mod shutdown_framework;
pub(crate) mod update_framework;

use crate::agent::{Agent, Link, Phase};
use crate::output::{Change, Event, Output};
use crate::updates;
use model::ids::ConnectionId;
use model::link::{FromAgent, LiveExecutor, LiveTask, Register, Reregister};
use model::step::Now;
use std::time::Duration;

/// The longest wait before another try to register.
const REGISTER_AFTER_MAX: Duration = Duration::from_secs(60);

/// A link is open: register on it.
pub(crate) fn link_up(agent: &mut Agent, link: ConnectionId, now: Now, out: &mut Vec<Output>) {
    if matches!(agent.phase, Phase::Starting | Phase::Recovering { .. } | Phase::Over) {
        return;
    }
    if agent.is_registered() {
        lost(out);
    }
    ask(agent, link, now, out);
}

/// A link is gone.
pub(crate) fn link_down(agent: &mut Agent, link: ConnectionId, out: &mut Vec<Output>) {
    if agent.link.id() != Some(link) {
        return;
    }
    if agent.is_registered() {
        lost(out);
    }
    agent.link = Link::Down;
}

/// The link is of no use: give it up and look for another.
pub(crate) fn give_up(agent: &mut Agent, out: &mut Vec<Output>) {
    if agent.is_registered() {
        lost(out);
    }
    agent.link = Link::Down;
    out.push(Output::Reconnect);
}

fn lost(out: &mut Vec<Output>) {
    out.push(Output::Note(Event::Disconnected));
    out.push(Output::View(Change::Connected(false)));
}

/// Asks the master to register the agent, from now on with growing waits.
pub(crate) fn ask(agent: &mut Agent, link: ConnectionId, now: Now, out: &mut Vec<Output>) {
    let wait = agent.config.registration_backoff_factor;
    agent.link = Link::Asking { link, retry_at: now.time, wait };
    ask_again(agent, now, out);
}

/// The master has not answered.
pub(crate) fn ask_again(agent: &mut Agent, now: Now, out: &mut Vec<Output>) {
    let Link::Asking { link, wait, .. } = agent.link else { return };
    let retry_at = now.time + wait + agent.rng.up_to(wait);
    agent.link = Link::Asking { link, retry_at, wait: (wait * 2).min(REGISTER_AFTER_MAX) };
    let message = match &agent.id {
        None => {
            let description = agent.config.description.clone();
            FromAgent::Register(Box::new(Register { description, total: agent.total.clone() }))
        }
        Some(_) => FromAgent::Reregister(Box::new(all_there_is(agent))),
    };
    out.push(Output::ToMaster(message));
}

fn all_there_is(agent: &Agent) -> Reregister {
    let mut all = Reregister {
        agent: agent.id.clone().expect("only a registered agent reregisters"),
        description: agent.config.description.clone(),
        frameworks: Vec::new(),
        executors: Vec::new(),
        tasks: Vec::new(),
        total: agent.total.clone(),
        operations: agent.operations.values().map(|line| line.live.clone()).collect(),
    };
    for (framework, state) in &agent.frameworks {
        all.frameworks.push(state.framework.clone());
        all.executors.extend(state.executors.values().map(|executor| LiveExecutor {
            framework: framework.clone(),
            executor: executor.spec.clone(),
            container: executor.container.clone(),
        }));
        for (id, task) in &state.tasks {
            let record = updates::line(agent, framework, id).map(|line| &line.record);
            let first = record.and_then(|record| record.pending.front());
            all.tasks.push(LiveTask {
                framework: framework.clone(),
                executor: task.executor.clone(),
                spec: task.spec.clone(),
                state: task.state,
                unacknowledged: first.and_then(|first| Some((first.uuid?, first.state))),
                statuses: record.map(|record| record.statuses.clone()).unwrap_or_default(),
            });
        }
    }
    all
}
