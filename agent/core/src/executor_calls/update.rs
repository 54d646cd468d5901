//! UPDATE: an executor reports on a task.

use crate::agent::Agent;
use crate::executors;
use crate::master_messages::launch;
use crate::output::{Event, ExecutorEvent, Output};
use crate::state::ExecutorState;
use crate::updates;
use model::ids::{ExecutorId, FrameworkId, RequestId};
use model::step::Now;
use model::task::{Source, Status, TaskState};

pub(crate) fn apply(
    agent: &mut Agent,
    request: RequestId,
    framework: &FrameworkId,
    executor: &ExecutorId,
    status: Status,
    now: Now,
    out: &mut Vec<Output>,
) {
    let answer = super::check(agent, framework, executor);
    out.push(Output::AnswerExecutor { request, answer });
    if answer.is_ok() {
        take(agent, framework, executor, status, now, out);
    }
}

/// Takes in one report, whether it comes as a call or is repeated in a subscription.
pub(crate) fn take(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    mut status: Status,
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some(uuid) = status.uuid else { return };
    status.source = Source::Executor;
    status.agent.clone_from(&agent.id);
    let task_id = status.task.clone();
    let state = status.state;
    if state == TaskState::Staging {
        // An executor that says so has lost its mind: only a master stages tasks.
        executors::shut_down(agent, framework, executor, now, out);
        return;
    }
    let before = updates::line(agent, framework, &task_id).map(|line| &line.record);
    let is_repeat = before.is_some_and(|record| record.seen.contains(&uuid));
    let is_over = before.is_some_and(|record| record.latest.is_terminal());
    if is_over && !is_repeat {
        out.push(Output::Note(Event::UpdateIgnored {
            framework: framework.clone(),
            task: task_id.clone(),
            state,
        }));
    }
    if !is_repeat && !is_over {
        updates::report(agent, framework, status, now, out);
        if state.is_terminal() {
            shrink(agent, framework, &task_id, out);
        }
    }
    if let Some(connection) = agent
        .frameworks
        .get(framework)
        .and_then(|state| state.executors.get(executor))
        .and_then(|executor| executor.connection)
    {
        let event = ExecutorEvent::Acknowledged { task: task_id, uuid };
        out.push(Output::ToExecutor { connection, event });
    }
}

/// A task is over: its executor's container needs less. A command task's executor is about to end.
fn shrink(
    agent: &mut Agent,
    framework: &FrameworkId,
    task: &model::ids::TaskId,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let Some(task) = state.tasks.get(task) else { return };
    let Some(executor) = state.executors.get(&task.executor) else { return };
    if !executor.is_command && executor.state == ExecutorState::Running {
        out.extend(state.update_of(&task.executor));
        let had = task.spec.resources.iter().any(|(key, _)| key.kind.is_persistent_volume());
        if had {
            launch::show_volumes(agent, framework, &task.executor, out);
        }
    }
}
