//! ACCEPT_INVERSE_OFFERS and DECLINE_INVERSE_OFFERS: whether a framework will leave an agent. Nothing is
//! done about it but to show it.

use crate::state::{Books, Turn};
use model::call::{AnswerInverseOffers, REFUSE_FOR_MAX};
use model::ids::FrameworkId;

/// Keeps the answers. Unknown ones, and those of others, are ignored.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    call: &AnswerInverseOffers,
    turn: &Turn<'_>,
) {
    let refuse_for = call.refuse_for.min(REFUSE_FOR_MAX);
    for id in &call.offers {
        if books.inverse_offers.get(id).is_some_and(|offer| offer.framework == *framework) {
            books.answer_inverse_offer(id, call.accepts, refuse_for, turn);
        }
    }
}
