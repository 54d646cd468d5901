//! End a task.

use crate::agent::Agent;
use crate::executors;
use crate::output::{Event, ExecutorEvent, Output};
use crate::state::{End, ExecutorState, KillAsked};
use crate::updates;
use model::ids::{ExecutorId, FrameworkId, TaskId};
use model::step::Now;
use model::task::{Reason, TaskState};
use std::time::Duration;

pub(crate) fn apply(
    agent: &mut Agent,
    framework: &FrameworkId,
    task: &TaskId,
    grace: Option<Duration>,
    now: Now,
    out: &mut Vec<Output>,
) {
    let ignored =
        || Output::Note(Event::KillIgnored { framework: framework.clone(), task: task.clone() });
    let Some(state) = agent.frameworks.get_mut(framework) else {
        out.push(ignored());
        return;
    };
    let word = state.word(TaskState::Dropped);
    let Some(it) = state.tasks.get_mut(task) else {
        if updates::line(agent, framework, task).is_none() {
            let end = End::new(word, Reason::ExecutorTerminated, "Cannot find executor");
            let status = updates::own(agent, task, &end, now);
            updates::report(agent, framework, status, now, out);
        }
        return;
    };
    if it.state.is_terminal() {
        out.push(ignored());
        return;
    }
    let executor_id = it.executor.clone();
    let Some(executor) = state.executors.get(&executor_id) else { return };
    match (executor.state, it.is_delivered, executor.connection) {
        // All its tasks are about to end anyway.
        (ExecutorState::Ending { .. }, _, _) => out.push(ignored()),
        (ExecutorState::Running, true, Some(connection)) => {
            let event = ExecutorEvent::Kill { task: task.clone(), grace };
            out.push(Output::ToExecutor { connection, event });
        }
        // It hears of it when it is back in contact.
        (ExecutorState::Running | ExecutorState::Registering { .. }, true, _) => {
            it.kill = Some(KillAsked { grace });
        }
        (ExecutorState::Running | ExecutorState::Registering { .. }, false, _) => {
            before_delivery(agent, framework, task, &executor_id, now, out);
        }
    }
}

/// The executor never hears of it, nor of the others of its group.
fn before_delivery(
    agent: &mut Agent,
    framework: &FrameworkId,
    task: &TaskId,
    executor: &ExecutorId,
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let group = state.tasks.get(task).and_then(|task| task.group);
    let doomed: Vec<TaskId> = state
        .live_tasks_of(executor)
        .filter(|(id, other)| *id == task || group.is_some() && other.group == group)
        .map(|(id, _)| id.clone())
        .collect();
    for task in doomed {
        let end = End::new(
            TaskState::Killed,
            Reason::TaskKilledDuringLaunch,
            "Killed before delivery to the executor",
        );
        let mut status = updates::own(agent, &task, &end, now);
        status.executor = Some(executor.clone());
        updates::report(agent, framework, status, now, out);
    }
    let Some(state) = agent.frameworks.get(framework) else { return };
    let is_unused = state.executors.get(executor).is_some_and(|it| !it.has_subscribed)
        && state.live_tasks_of(executor).next().is_none();
    if is_unused {
        executors::destroy(agent, framework, executor, None, out);
    }
}
