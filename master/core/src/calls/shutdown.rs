//! SHUTDOWN: an executor is to end, with all its tasks.

use super::drop_call;
use crate::state::{Books, Turn};
use model::call::Shutdown;
use model::ids::FrameworkId;
use model::link::ToAgent;

/// Passes it on, if the agent is there.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    call: &Shutdown,
    turn: &mut Turn<'_>,
) {
    let message =
        ToAgent::ShutdownExecutor { framework: framework.clone(), executor: call.executor.clone() };
    if !books.send(&call.agent, message, turn) {
        let why = format!("agent '{}' is not connected", call.agent);
        drop_call(framework, "SHUTDOWN", why, turn);
    }
}
