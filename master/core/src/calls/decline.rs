//! DECLINE: offers are given back, and for a while not made again.

use crate::state::{Books, Turn};
use model::call::{Decline, REFUSE_FOR_MAX};
use model::ids::FrameworkId;

/// Gives the offers back. Unknown ones, and those of others, are ignored: clients do decline what they
/// have just accepted.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    call: &Decline,
    turn: &mut Turn<'_>,
) {
    for id in &call.offers {
        if books.offers.get(id).is_some_and(|offer| offer.framework == *framework) {
            books.return_offer(id, Some(call.refuse_for.min(REFUSE_FOR_MAX)), turn);
            if let Some(framework) = books.frameworks.get_mut(framework) {
                framework.counts.offers_declined += 1;
            }
        }
    }
}
