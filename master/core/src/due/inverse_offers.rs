//! A framework that has answered may be asked again whether it will leave an agent.

use crate::state::{Books, Turn};

/// Asks those whose time is over.
pub(crate) fn apply(books: &mut Books, turn: &mut Turn<'_>) {
    books.make_inverse_offers(turn);
}
