//! UPDATE_WEIGHTS: roles get other weights. Offers are made anew by them.

use super::check_allowed;
use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::ids::RequestId;
use model::registry::Record;
use model::role::Role;
use model::rules::Weight;

/// Has the weights agreed on.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    weights: Vec<(Role, Weight)>,
    turn: &mut Turn<'_>,
) {
    for (role, _) in &weights {
        if let Err(why) = check_allowed(books, role) {
            let why = format!("Failed to validate update weights JSON: {why}");
            turn.answer(request, Err(Refusal::Invalid(why)));
            return;
        }
    }
    books.propose_for(request, Record::SetWeights(weights), turn);
}
