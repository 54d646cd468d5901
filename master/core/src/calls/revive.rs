//! REVIVE: offers again for some roles, whatever was declined.

use super::{drop_call, foreign_role};
use crate::state::{Books, Turn};
use model::ids::FrameworkId;
use model::role::Role;
use std::collections::BTreeSet;

/// Revives all of the roles, or, if one is not the framework's, none.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    roles: &BTreeSet<Role>,
    turn: &mut Turn<'_>,
) {
    if let Some(role) = foreign_role(books, framework, roles) {
        drop_call(framework, "REVIVE", format!("the framework is not in role '{role}'"), turn);
        return;
    }
    books.end_inverse_filters(framework, roles, turn);
    books.revive(framework, roles, turn.now.time);
}
