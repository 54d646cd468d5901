//! Roles with quota have waited long enough for agents that were here before this leader.

use crate::state::{Books, Turn};

/// Lets them have offers, by what is known.
pub(crate) fn apply(books: &mut Books, turn: &Turn<'_>) {
    books.end_recovery(turn);
}
