//! SUPPRESS: no offers for some roles. Open ones stay.

use super::{drop_call, foreign_role};
use crate::state::{Books, Turn};
use model::ids::FrameworkId;
use model::role::Role;
use std::collections::BTreeSet;

/// Suppresses all of the roles, or, if one is not the framework's, none.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    roles: &BTreeSet<Role>,
    turn: &mut Turn<'_>,
) {
    if let Some(role) = foreign_role(books, framework, roles) {
        drop_call(framework, "SUPPRESS", format!("the framework is not in role '{role}'"), turn);
        return;
    }
    books.suppress(framework, roles);
}
