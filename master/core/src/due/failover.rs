//! A framework has not come back in time: it is over.

use crate::state::{Books, Turn};
use model::ids::FrameworkId;

/// Ends the framework.
pub(crate) fn apply(books: &mut Books, framework: &FrameworkId, turn: &mut Turn<'_>) {
    books.propose_end(framework, turn);
}
