//! An offer has stood long enough: others may want what it holds.

use crate::state::{Books, Turn};
use model::ids::OfferId;

/// Takes the offer back.
pub(crate) fn apply(books: &mut Books, offer: &OfferId, turn: &mut Turn<'_>) {
    books.rescind(offer, turn);
}
