//! ACKNOWLEDGE_OPERATION_STATUS: a framework has kept the report of an operation.

use super::drop_call;
use crate::note::{Note, Relayed};
use crate::state::{Books, Turn};
use model::call::AcknowledgeOperation;
use model::ids::FrameworkId;
use model::link::ToAgent;

/// Passes it on, and forgets an operation that is over. If the agent is away the call is dropped: the
/// agent will report again.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    call: &AcknowledgeOperation,
    turn: &mut Turn<'_>,
) {
    let AcknowledgeOperation { agent, operation, uuid } = call;
    let drop = |why: String, turn: &mut Turn<'_>| {
        drop_call(framework, "ACKNOWLEDGE_OPERATION_STATUS", why, turn);
    };
    let known = books.frameworks[framework].operations.get(operation);
    let known = known.and_then(|uuid| books.operations.get(uuid)).filter(|it| it.agent == *agent);
    let Some(known) = known else {
        drop(format!("operation '{operation}' is not known on agent '{agent}'"), turn);
        return;
    };
    if known.status.uuid != Some(*uuid) {
        drop(format!("it is not the latest report of operation '{operation}'"), turn);
        return;
    }
    let (name, is_over) = (known.what.uuid, known.status.state.is_terminal());
    let message = ToAgent::AcknowledgeOperation { operation: name, status: *uuid };
    if !books.send(agent, message, turn) {
        drop(format!("agent '{agent}' is not connected"), turn);
        return;
    }
    let of = Some(framework.clone());
    turn.note(Note::Relayed { what: Relayed::OperationAcknowledgement, framework: of });
    if is_over {
        books.take_operation(name, turn);
    }
}
