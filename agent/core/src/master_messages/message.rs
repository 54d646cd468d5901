//! Bytes of a scheduler for its executor.

use crate::agent::Agent;
use crate::output::{Event, ExecutorEvent, Output};
use crate::state::ExecutorState;
use model::call::Message;
use model::ids::FrameworkId;

pub(crate) fn apply(
    agent: &mut Agent,
    framework: FrameworkId,
    message: Message,
    out: &mut Vec<Output>,
) {
    let connection = agent
        .frameworks
        .get(&framework)
        .and_then(|state| state.executors.get(&message.executor))
        .filter(|executor| executor.state == ExecutorState::Running)
        .and_then(|executor| executor.connection);
    if let Some(connection) = connection {
        let event = ExecutorEvent::Message(message.data);
        out.push(Output::ToExecutor { connection, event });
        let executor = message.executor;
        out.push(Output::Note(Event::MessageRelayed { framework, executor }));
    } else {
        let executor = message.executor;
        out.push(Output::Note(Event::MessageDropped { framework, executor }));
    }
}
