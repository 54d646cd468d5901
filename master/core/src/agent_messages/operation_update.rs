//! An operation is done, or is not going to be, by its agent's word.

use crate::state::{Books, Turn};
use model::ids::{AgentId, OperationUuid};
use model::operation::OperationStatus;

/// Takes the news in and passes the report on. A repeat is passed on too: the framework may not have got
/// it the first time. What is not known here was acknowledged, and the agent is about to hear so.
pub(crate) fn apply(
    books: &mut Books,
    agent: &AgentId,
    uuid: OperationUuid,
    mut status: OperationStatus,
    turn: &mut Turn<'_>,
) {
    let Some(known) = books.operations.get(&uuid).filter(|known| known.agent == *agent) else {
        return;
    };
    // Where it comes from is what the link says, whatever the report does.
    status.agent = Some(agent.clone());
    let framework = known.what.framework.clone();
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
