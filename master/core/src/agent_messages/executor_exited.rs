//! An executor has ended. What became of its tasks comes in updates of their own.

use crate::state::{Books, Turn};
use model::event::SchedulerEvent;
use model::ids::{AgentId, ExecutorId, FrameworkId};

/// Frees what the executor used and tells its framework.
pub(crate) fn apply(
    books: &mut Books,
    agent: &AgentId,
    framework: &FrameworkId,
    executor: ExecutorId,
    status: Option<i32>,
    turn: &mut Turn<'_>,
) {
    books.end_executor(agent, framework, &executor, turn);
    let event =
        SchedulerEvent::Failure { agent: agent.clone(), executor: Some((executor, status)) };
    books.tell(framework, event, turn);
}
