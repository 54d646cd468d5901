//! How executors end, and what that means for their tasks.

use crate::agent::{Agent, Link, Phase};
use crate::due::Due;
use crate::input::Exit;
use crate::output::{Change, Event, ExecutorEvent, Output, Stage};
use crate::record::{Key, Record};
use crate::state::{End, ExecutorState};
use crate::updates;
use model::ids::{ExecutorId, FrameworkId, TaskId};
use model::link::FromAgent;
use model::step::Now;
use model::task::{Reason, TaskState};
use std::time::Duration;

/// Asks an executor to end its tasks and itself. What is left after its grace period is destroyed.
pub(crate) fn shut_down(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    now: Now,
    out: &mut Vec<Output>,
) {
    let default = agent.config.executor_shutdown_grace_period;
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    let grace = grace_of(state, executor, default);
    let Some(it) = state.executors.get_mut(executor) else { return };
    if matches!(it.state, ExecutorState::Ending { .. }) {
        return;
    }
    if !it.has_subscribed {
        destroy(agent, framework, executor, None, out);
        return;
    }
    // One that is out of contact may come back within its grace period, and is told then.
    if let Some(connection) = it.connection {
        out.push(Output::ToExecutor { connection, event: ExecutorEvent::Shutdown });
    }
    let at = now.time + grace;
    it.state = ExecutorState::Ending { force_at: Some(at) };
    out.push(Output::stage(framework, executor, Stage::Terminating));
    agent.due.insert((at, Due::Executor(framework.clone(), executor.clone())));
}

/// A command task's executor needs as long as its task may take, and a moment to say so.
fn grace_of(
    state: &crate::state::FrameworkState,
    executor: &ExecutorId,
    default: Duration,
) -> Duration {
    let own = state.executors.get(executor).and_then(|it| it.spec.shutdown_grace);
    let grace = own.unwrap_or(default);
    let is_command = state.executors.get(executor).is_some_and(|it| it.is_command);
    let task = state.live_tasks_of(executor).filter_map(|(_, task)| task.spec.kill_grace).max();
    match task {
        Some(task) if is_command => grace.max(task + Duration::from_secs(1)),
        Some(_) | None => grace,
    }
}

/// Ends all processes of an executor at once. `end` says what becomes of its tasks, unless the
/// container tells or something else was said before.
pub(crate) fn destroy(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    end: Option<End>,
    out: &mut Vec<Output>,
) {
    let Some(it) = agent
        .frameworks
        .get_mut(framework)
        .and_then(|framework| framework.executors.get_mut(executor))
    else {
        return;
    };
    if it.end.is_none() {
        it.end = end;
    }
    if it.state == (ExecutorState::Ending { force_at: None }) {
        return;
    }
    it.state = ExecutorState::Ending { force_at: None };
    out.push(Output::stage(framework, executor, Stage::Terminating));
    out.push(Output::DestroyContainer { container: it.container.clone() });
}

/// An executor is over: its live tasks are, too.
pub(crate) fn over(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    exit: &Exit,
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    let Some(it) = state.executors.get_mut(executor) else { return };
    let connection = it.connection.take();
    let own_end = it.end.clone();
    let end = end_of(exit, own_end);
    let is_ending = state.is_ending;
    let told = End { state: state.word(end.state), ..end };
    let live: Vec<TaskId> = state.live_tasks_of(executor).map(|(id, _)| id.clone()).collect();
    for task in live {
        if is_ending {
            updates::forget(agent, framework, &task, out);
            continue;
        }
        let mut status = updates::own(agent, &task, &told, now);
        status.executor = Some(executor.clone());
        if let Some(limitation) = &exit.limitation {
            status.rest = limitation.rest.clone();
        }
        updates::report(agent, framework, status, now, out);
    }
    let Some(gone) =
        agent.frameworks.get_mut(framework).and_then(|state| state.executors.remove(executor))
    else {
        return;
    };
    agent.used.subtract(&gone.spec.resources);
    agent.containers.remove(&gone.container);
    let key = Key::Executor(framework.clone(), executor.clone());
    out.push(Output::AppendLazily(Record::Forget(key)));
    if let Some(connection) = connection {
        agent.connections.remove(&connection);
        out.push(Output::CloseExecutor { connection });
    }
    // Of a command task's own executor nobody but the agent knows.
    if !gone.is_command && matches!(agent.link, Link::Registered { .. }) {
        out.push(Output::ToMaster(FromAgent::ExecutorExited {
            framework: framework.clone(),
            executor: executor.clone(),
            status: exit.status,
        }));
    }
    out.push(Output::Note(Event::ExecutorEnded {
        framework: framework.clone(),
        executor: executor.clone(),
        container: gone.container,
        status: exit.status,
        reason: exit.limitation.as_ref().map(|limitation| limitation.reason),
    }));
    out.push(Output::View(Change::ExecutorOver {
        framework: framework.clone(),
        executor: executor.clone(),
    }));
    if is_ending {
        forget_ended_framework(agent, framework, out);
    } else {
        updates::forget_if_idle(agent, framework, out);
    }
    finish_if_empty(agent, out);
}

/// Drops what is left of a framework that is over, once its last executor is.
pub(crate) fn forget_ended_framework(
    agent: &mut Agent,
    framework: &FrameworkId,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    if !state.executors.is_empty() {
        return;
    }
    let mut tasks: Vec<TaskId> = state.tasks.keys().cloned().collect();
    if let Some(lines) = agent.lines.get(framework) {
        tasks.extend(lines.keys().filter(|task| !state.tasks.contains_key(*task)).cloned());
    }
    for task in tasks {
        updates::forget(agent, framework, &task, out);
    }
    updates::forget_if_idle(agent, framework, out);
}

fn end_of(exit: &Exit, own: Option<End>) -> End {
    if let Some(limitation) = &exit.limitation {
        return End::new(TaskState::Failed, limitation.reason, limitation.message.clone());
    }
    own.unwrap_or_else(|| {
        End::new(TaskState::Failed, Reason::ExecutorTerminated, describe(exit.status))
    })
}

/// A wait status in words.
fn describe(status: Option<i32>) -> String {
    match status {
        None => "Executor ended".to_owned(),
        Some(status) if status & 0x7F != 0 => {
            format!("Executor was ended by signal {}", status & 0x7F)
        }
        Some(status) => format!("Executor exited with status {}", (status >> 8) & 0xFF),
    }
}

/// Ends everything, and then the agent.
pub(crate) fn end_all(agent: &mut Agent, why: String, now: Now, out: &mut Vec<Output>) {
    if matches!(agent.phase, Phase::Ending { .. } | Phase::Over) {
        return;
    }
    out.push(Output::Note(Event::Ending { why: why.clone() }));
    agent.phase = Phase::Ending { why };
    for framework in agent.frameworks.keys().cloned().collect::<Vec<_>>() {
        crate::master_messages::shutdown_framework::apply(agent, &framework, now, out);
    }
    finish_if_empty(agent, out);
}

/// The agent is over once nothing runs on it.
fn finish_if_empty(agent: &mut Agent, out: &mut Vec<Output>) {
    let Phase::Ending { why } = &agent.phase else { return };
    if !agent.containers.is_empty() {
        return;
    }
    let why = why.clone();
    // Under this id nobody comes back.
    for (framework, lines) in std::mem::take(&mut agent.lines) {
        for task in lines.into_keys() {
            out.push(Output::Append(Record::Forget(Key::Updates(framework.clone(), task))));
        }
    }
    // Nor does anybody acknowledge what was reported under it. What came of the operations stays.
    for uuid in std::mem::take(&mut agent.operations).into_keys() {
        out.push(Output::Append(Record::Forget(Key::Operation(uuid))));
        out.push(Output::View(Change::OperationOver(uuid)));
    }
    if agent.id.take().is_some() {
        out.push(Output::Append(Record::Forget(Key::Identity)));
    }
    if matches!(agent.link, Link::Registered { .. }) {
        out.push(Output::ToMaster(FromAgent::Unregister));
    }
    agent.due.clear();
    agent.link = Link::Down;
    agent.phase = Phase::Over;
    out.push(Output::Exit { why });
}
