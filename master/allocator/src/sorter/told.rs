//! What the tree can tell of itself in numbers.

use super::{RoleIx, Roles};
use crate::amounts::Amounts;
use crate::figures::OfRole;

impl Roles {
    /// What the agents have, and what of it somebody has.
    pub(crate) fn sums(&self) -> (&Amounts, &Amounts) {
        (self.total.amounts(), &self.nodes.get(self.root).held.amounts)
    }

    /// What a role and those below it have.
    pub(crate) fn given(&self, at: RoleIx) -> &Amounts {
        &self.nodes.get(at).held.amounts
    }

    /// Each role, in the order of names.
    pub(crate) fn told(&self) -> impl Iterator<Item = OfRole> {
        self.by_role.iter().map(|(role, &at)| {
            let node = self.nodes.get(at);
            OfRole {
                role: role.clone(),
                dominant_share: self.total.dominant(&node.held.amounts, &self.kinds, node.weight),
                filters: node.filters,
            }
        })
    }

    /// One decline more holds in a role.
    pub(crate) fn filter_begins(&mut self, at: RoleIx) {
        self.nodes.get_mut(at).filters += 1;
    }

    /// One decline less does.
    pub(crate) fn filter_ends(&mut self, at: RoleIx) {
        self.nodes.get_mut(at).filters -= 1;
    }
}
