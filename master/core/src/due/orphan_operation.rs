//! The framework of an operation is over, and nobody has come to keep the operation's report.

use crate::state::{Books, Turn};
use model::ids::OperationUuid;

/// Keeps the report in the framework's place.
pub(crate) fn apply(books: &mut Books, operation: OperationUuid, turn: &mut Turn<'_>) {
    if let Some(known) = books.operations.get_mut(&operation) {
        known.is_forsaken = true;
    }
    books.settle_forsaken(operation, turn);
}
