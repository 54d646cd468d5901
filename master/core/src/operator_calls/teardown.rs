//! An operator ends a framework.

use crate::calls;
use crate::io::{Done, Refusal};
use crate::state::{Books, Turn};
use model::ids::{FrameworkId, RequestId};

/// Has it ended, if it is there; answered when it is over.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    framework: &FrameworkId,
    turn: &mut Turn<'_>,
) {
    if books.frameworks.contains_key(framework) {
        calls::teardown::apply(books, request, framework, Done::Ok, turn);
    } else {
        turn.answer(request, Err(Refusal::NoSuchFramework));
    }
}
