//! SUBSCRIBE: an executor wants events, for the first time or again.

use crate::agent::{Agent, Phase};
use crate::executor_calls::update;
use crate::executors;
use crate::input::Subscribe;
use crate::master_messages::launch;
use crate::output::{Event, ExecutorEvent, Output, Refusal, Stage, Subscribed};
use crate::record::{ExecutorRecord, Record};
use crate::recovery;
use crate::state::{End, ExecutorState, KillAsked};
use crate::updates;
use model::ids::{ConnectionId, ExecutorId, FrameworkId, TaskId};
use model::step::Now;
use model::task::{Reason, TaskState};

pub(crate) fn apply(agent: &mut Agent, call: Subscribe, now: Now, out: &mut Vec<Output>) {
    let (framework, executor) = (&call.framework, &call.executor);
    let answer = check(agent, framework, executor);
    out.push(Output::AnswerExecutor { request: call.request, answer });
    if answer.is_err() {
        return;
    }
    let connection = call.connection;
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    let Some(it) = state.executors.get_mut(executor) else { return };
    if let Some(earlier) = it.connection.replace(connection) {
        agent.connections.remove(&earlier);
        out.push(Output::CloseExecutor { connection: earlier });
    }
    agent.connections.insert(connection, (framework.clone(), executor.clone()));
    if matches!(it.state, ExecutorState::Ending { .. }) {
        out.push(Output::ToExecutor { connection, event: ExecutorEvent::Shutdown });
        out.push(Output::CloseExecutor { connection });
        it.connection = None;
        agent.connections.remove(&connection);
        return;
    }
    it.state = ExecutorState::Running;
    out.push(Output::stage(framework, executor, Stage::Running));
    let is_back = std::mem::replace(&mut it.has_subscribed, true);
    if !is_back {
        // Should that be lost, an executor that comes back says itself which tasks it was given.
        out.push(Output::AppendLazily(Record::Executor(ExecutorRecord {
            framework: framework.clone(),
            spec: it.spec.clone(),
            container: it.container.clone(),
            is_command: it.is_command,
            has_subscribed: true,
        })));
    }
    welcome(agent, framework, executor, connection, out);
    for status in call.unacknowledged_updates {
        update::take(agent, framework, executor, status, now, out);
    }
    drop_unheard(agent, framework, executor, &call.unacknowledged_tasks, now, out);
    note_heard(agent, framework, executor, &call.unacknowledged_tasks, out);
    end_given_up(agent, framework, executor, &call.unacknowledged_tasks, out);
    let state = agent.frameworks.get(framework);
    // Of one that is back also if it is to show none: an agent may have ended before it could say so.
    if is_back || state.is_some_and(|state| !state.volumes_of(executor).is_empty()) {
        launch::show_volumes(agent, framework, executor, out);
    }
    launch::hand_over(agent, framework, executor, connection, out);
    repeat_kills(agent, framework, executor, connection, out);
    recovery::finish_if_all_back(agent, now, out);
}

fn check(agent: &Agent, framework: &FrameworkId, executor: &ExecutorId) -> Result<(), Refusal> {
    if agent.phase == Phase::Starting {
        return Err(Refusal::Recovering);
    }
    let state = agent.frameworks.get(framework).ok_or(Refusal::FrameworkUnknown)?;
    state.executors.get(executor).map(|_| ()).ok_or(Refusal::ExecutorUnknown)
}

fn welcome(
    agent: &Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    connection: ConnectionId,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let Some(it) = state.executors.get(executor) else { return };
    let Some(id) = &agent.id else { return };
    out.push(Output::Note(Event::ExecutorSubscribed {
        framework: framework.clone(),
        executor: executor.clone(),
    }));
    let command = it.is_command.then(|| state.live_tasks_of(executor).next()).flatten();
    let event = Subscribed {
        executor: it.spec.clone(),
        framework: state.framework.clone(),
        agent: id.clone(),
        container: it.container.clone(),
        command: command.map(|(_, task)| task.spec.clone()),
    };
    let event = ExecutorEvent::Subscribed(Box::new(event));
    out.push(Output::ToExecutor { connection, event });
}

/// Tasks that have reached the executor, whether or not this agent knows that they were sent to it.
fn note_heard(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    heard: &[TaskId],
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    for id in heard {
        if let Some(task) = state.tasks.get_mut(id)
            && task.executor == *executor
            && !task.is_delivered
        {
            launch::delivered(framework, task, out);
        }
    }
}

/// Tasks that the executor has though they were given up: the agent before this one ended before it could
/// write that it had sent them, so that a kill did not wait for the executor.
fn end_given_up(
    agent: &Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    heard: &[TaskId],
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let Some(connection) = state.executors.get(executor).and_then(|it| it.connection) else {
        return;
    };
    for id in heard {
        if state.tasks.get(id).is_none_or(|task| task.state.is_terminal()) {
            let event = ExecutorEvent::Kill { task: id.clone(), grace: None };
            out.push(Output::ToExecutor { connection, event });
        }
    }
}

/// Tasks that were sent to the executor and never reached it: it does not name them, and no report
/// of them came.
fn drop_unheard(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    heard: &[TaskId],
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let unheard: Vec<TaskId> = state
        .live_tasks_of(executor)
        .filter(|(id, task)| {
            task.is_delivered && task.state == TaskState::Staging && !heard.contains(id)
        })
        .map(|(id, _)| id.clone())
        .collect();
    let why = "The task did not reach the executor before the agent or the connection failed";
    let end = End::new(state.word(TaskState::Dropped), Reason::AgentRestarted, why);
    let is_some = !unheard.is_empty();
    for task in unheard {
        let mut status = updates::own(agent, &task, &end, now);
        status.executor = Some(executor.clone());
        updates::report(agent, framework, status, now, out);
    }
    // The built-in executors wait for a first task, which will not come, and nobody else ends them.
    let is_idle = agent.frameworks.get(framework).is_some_and(|state| {
        let it = state.executors.get(executor);
        it.is_some_and(|it| it.is_command || it.spec.is_default)
            && state.live_tasks_of(executor).next().is_none()
    });
    if is_some && is_idle {
        executors::shut_down(agent, framework, executor, now, out);
    }
}

/// Kills that came while the executor was out of contact.
fn repeat_kills(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    connection: ConnectionId,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    for (id, task) in &mut state.tasks {
        if task.executor != *executor || task.state.is_terminal() {
            continue;
        }
        if let Some(KillAsked { grace }) = task.kill.take() {
            let event = ExecutorEvent::Kill { task: id.clone(), grace };
            out.push(Output::ToExecutor { connection, event });
        }
    }
}
