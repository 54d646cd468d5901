//! RECONCILE_OPERATIONS: a framework asks for the truth about some operations, or about all.

use crate::state::agents::Reach;
use crate::state::operations::Operation;
use crate::state::{Books, Turn};
use model::call::ReconcileOperation;
use model::ids::FrameworkId;
use model::operation::{OperationState, OperationStatus};

/// Answers each question by an update that need not be acknowledged.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    asked: &[ReconcileOperation],
    turn: &mut Turn<'_>,
) {
    let known = &books.frameworks[framework].operations;
    let answers: Vec<OperationStatus> = if asked.is_empty() {
        known.values().filter_map(|uuid| books.operations.get(uuid)).map(latest).collect()
    } else {
        asked.iter().map(|one| answer(books, framework, one)).collect()
    };
    for status in answers {
        books.tell_operation(Some(framework), status, turn);
    }
}

fn answer(
    books: &Books,
    framework: &FrameworkId,
    question: &ReconcileOperation,
) -> OperationStatus {
    let known = books.frameworks[framework].operations.get(&question.operation);
    if let Some(operation) = known.and_then(|uuid| books.operations.get(uuid)) {
        return latest(operation);
    }
    let (state, what) = match &question.agent {
        None => (OperationState::Unknown, "is unknown"),
        Some(agent) => match books.agents.get(agent) {
            Some(agent) if agent.reach == Reach::Recovered => {
                (OperationState::Recovering, "may be on an agent that is still to come back")
            }
            Some(_) => (OperationState::Unknown, "is unknown to the agent"),
            None if books.members.unreachable.contains_key(agent) => {
                (OperationState::Unreachable, "is on an agent that is unreachable")
            }
            None if books.members.gone.contains_key(agent) => {
                (OperationState::GoneByOperator, "is on an agent that is gone")
            }
            None => (OperationState::Unknown, "is unknown"),
        },
    };
    let mut status = OperationStatus::new(Some(question.operation.clone()), state);
    status.agent.clone_from(&question.agent);
    status.message = Some(format!("Reconciliation: Operation {what}").into());
    status
}

fn latest(operation: &Operation) -> OperationStatus {
    let message = "Reconciliation: Latest operation state";
    operation.report(operation.status.state, message)
}
