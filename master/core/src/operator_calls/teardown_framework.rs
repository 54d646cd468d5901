//! TEARDOWN by an operator.

use crate::calls::teardown;
use crate::io::{Done, Refusal};
use crate::state::{Books, Turn};
use model::ids::{FrameworkId, RequestId};

/// Ends the framework; answered when it is over.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    framework: &FrameworkId,
    turn: &mut Turn<'_>,
) {
    if books.frameworks.contains_key(framework) {
        teardown::apply(books, request, framework, Done::Ok, turn);
    } else {
        turn.answer(request, Err(Refusal::NoSuchFramework));
    }
}
