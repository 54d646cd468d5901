//! Frameworks may hear of the next agent that it is lost.

use crate::state::{Books, Turn};

/// Gives up as many agents as may be by now.
pub(crate) fn apply(books: &mut Books, turn: &mut Turn<'_>) {
    books.give_up_agents(turn);
}
