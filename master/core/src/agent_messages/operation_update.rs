//! An operation is done, or is not going to be, by its agent's word.

use super::drop_message;
use crate::io::{Done, Refusal};
use crate::note::{Note, Relayed};
use crate::state::{Books, Turn};
use model::ids::{AgentId, OperationUuid};
use model::operation::{OperationState, OperationStatus};

/// Takes the news in and passes the report on. A repeat is passed on too: the framework may not have got
/// it the first time. What is not known here was mostly acknowledged, and the agent is about to hear so.
pub(crate) fn apply(
    books: &mut Books,
    agent: &AgentId,
    uuid: OperationUuid,
    mut status: OperationStatus,
    turn: &mut Turn<'_>,
) {
    let Some(known) = books.operations.get(&uuid).filter(|known| known.agent == *agent) else {
        let why = format!("a report of operation {uuid}, which is not known");
        drop_message(Some(agent), Some(Relayed::OperationUpdate), why, turn);
        return;
    };
    // Where it comes from is what the link says, whatever the report does.
    status.agent = Some(agent.clone());
    let framework = known.what.framework.clone();
    let of = framework.clone();
    turn.note(Note::Relayed { what: Relayed::OperationUpdate, framework: of });
    if status.state.is_terminal() {
        let result = if status.state == OperationState::Finished {
            Ok(Done::Accepted)
        } else {
            let why = status.message.as_deref().unwrap_or("it has said no reason");
            Err(Refusal::Conflict(format!("The agent has not done it: {why}")))
        };
        books.answer_for_operation(uuid, result, turn);
    }
    let known = &books.operations[&uuid];
    if known.status != status {
        books.set_operation_status(uuid, status.clone(), turn);
    }
    if status.uuid.is_none() {
        if status.state.is_terminal() {
            books.take_operation(uuid, turn);
        }
        return;
    }
    books.tell_operation(framework.as_ref(), status, turn);
    books.settle_forsaken(uuid, turn);
}
