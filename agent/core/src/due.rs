//! What happens when nothing happens.

use crate::agent::{Agent, Link, Phase};
use crate::executors;
use crate::master_messages;
use crate::operations;
use crate::output::{Event, Output};
use crate::recovery;
use crate::state::{End, ExecutorState};
use crate::updates;
use model::ids::{ExecutorId, FrameworkId, OperationUuid, TaskId};
use model::step::{Now, Time};
use model::task::{Reason, TaskState};

/// Something that falls due.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Due {
    /// A report that was not acknowledged.
    Repeat(FrameworkId, TaskId),
    /// The report of an operation that was not acknowledged.
    RepeatOperation(OperationUuid),
    /// An executor that should have subscribed, or ended.
    Executor(FrameworkId, ExecutorId),
}

/// When `wake` is needed next.
pub(crate) fn next(agent: &Agent) -> Option<Time> {
    let link = match agent.link {
        Link::Down => None,
        Link::Asking { retry_at, .. } => Some(retry_at),
        Link::Registered { ping_by, .. } => Some(ping_by),
    };
    let recovery = match agent.phase {
        Phase::Recovering { until } => Some(until),
        Phase::Starting | Phase::Serving | Phase::Ending { .. } | Phase::Over => None,
    };
    let due = agent.due.first().map(|(at, _)| *at);
    [link, recovery, due].into_iter().flatten().min()
}

/// Does what has fallen due.
pub(crate) fn wake(agent: &mut Agent, now: Now, out: &mut Vec<Output>) {
    if matches!(agent.phase, Phase::Recovering { until } if until <= now.time) {
        recovery::finish(agent, now, out);
    }
    match agent.link {
        Link::Asking { retry_at, .. } if retry_at <= now.time => {
            master_messages::ask_again(agent, now, out);
        }
        Link::Registered { ping_by, .. } if ping_by <= now.time => {
            out.push(Output::Note(Event::PingTimedOut));
            master_messages::give_up(agent, out);
        }
        Link::Down | Link::Asking { .. } | Link::Registered { .. } => {}
    }
    while agent.due.first().is_some_and(|(at, _)| *at <= now.time) {
        let Some((_, due)) = agent.due.pop_first() else { break };
        match due {
            Due::Repeat(framework, task) => updates::repeat(agent, &framework, &task, now, out),
            Due::RepeatOperation(operation) => operations::repeat(agent, operation, now, out),
            Due::Executor(framework, executor) => {
                executor_due(agent, &framework, &executor, now, out);
            }
        }
    }
}

fn executor_due(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent
        .frameworks
        .get(framework)
        .and_then(|framework| framework.executors.get(executor))
        .map(|executor| executor.state)
    else {
        return;
    };
    match state {
        ExecutorState::Registering { by: Some(by) } if by <= now.time => {
            out.push(Output::Note(Event::ExecutorTimedOut {
                framework: framework.clone(),
                executor: executor.clone(),
            }));
            let end = End::new(
                TaskState::Failed,
                Reason::ExecutorRegistrationTimeout,
                "Executor did not register within executor_registration_timeout",
            );
            executors::destroy(agent, framework, executor, Some(end), out);
        }
        ExecutorState::Ending { force_at: Some(at) } if at <= now.time => {
            executors::destroy(agent, framework, executor, None, out);
        }
        ExecutorState::Registering { .. }
        | ExecutorState::Running
        | ExecutorState::Ending { .. } => {}
    }
}
