//! End all you run, and take nothing new until it has ended.

use super::kill;
use crate::agent::Agent;
use crate::output::Output;
use crate::record::{Key, Record};
use model::ids::{FrameworkId, TaskId};
use model::rules::Drain;
use model::step::Now;
use model::task::{Reason, Status, TaskState};
use std::time::Duration;

/// How long a task may take to end that does not say itself.
const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(3);

pub(crate) fn apply(agent: &mut Agent, drain: Drain, now: Now, out: &mut Vec<Output>) {
    if agent.live_tasks().next().is_none() {
        return;
    }
    if agent.drain != Some(drain) {
        agent.drain = Some(drain);
        out.push(Output::Append(Record::Drain(drain)));
    }
    let tasks: Vec<(FrameworkId, TaskId)> =
        agent.live_tasks().map(|(framework, task)| (framework.clone(), task.clone())).collect();
    for (framework, task) in tasks {
        let own = agent.frameworks[&framework].tasks.get(&task).and_then(|it| it.spec.kill_grace);
        let own = own.unwrap_or(KILL_GRACE_DEFAULT);
        let grace = drain.grace_max.map(|most| most.min(own));
        kill::apply(agent, &framework, &task, grace, now, out);
    }
}

/// Forgets the drain once all tasks have ended: the agent may be used again then. Executors that wait
/// for tasks do not count, here as with the master: nobody ends them but their framework.
pub(crate) fn settle(agent: &mut Agent, out: &mut Vec<Output>) {
    if agent.drain.is_some() && agent.live_tasks().next().is_none() {
        agent.drain = None;
        out.push(Output::Append(Record::Forget(Key::Drain)));
    }
}

/// Has a report say that its task was killed because the agent is emptied.
pub(crate) fn explain(agent: &Agent, framework: &FrameworkId, status: &mut Status) {
    let Some(drain) = agent.drain else { return };
    if !matches!(status.state, TaskState::Killing | TaskState::Killed) {
        return;
    }
    status.reason = Some(Reason::AgentDraining);
    let knows_gone = agent
        .frameworks
        .get(framework)
        .is_some_and(|state| state.framework.capabilities.partition_aware);
    if drain.marks_gone && knows_gone && status.state == TaskState::Killed {
        status.state = TaskState::GoneByOperator;
    }
}
