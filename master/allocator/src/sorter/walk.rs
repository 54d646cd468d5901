//! The walk through the tree, those furthest behind first.

use super::lots::Lots;
use super::ranks::{Branch, Rank};
use super::{FrameworkIx, RoleIx, Roles};
use crate::settings::Sorter;
use model::rng::Rng;
use model::rules::Weight;
use std::collections::{BTreeSet, btree_set};

/// Siblings, as they are to be visited.
enum Order<'a, I> {
    Ranked(btree_set::Iter<'a, Rank<I>>),
    /// Those in front, then those that have stepped back.
    Drawn(Box<[Lots<I>; 2]>),
}

impl<'a, I: Copy> Order<'a, I> {
    fn new(sorter: Sorter, ranks: &'a BTreeSet<Rank<I>>, weight: impl Fn(I) -> Weight) -> Self {
        let lots = |stepped_back| {
            let ranks = ranks.iter().filter(move |rank| rank.has_stepped_back == stepped_back);
            Lots::new(ranks.map(|rank| (rank.is, weight(rank.is).millionths())))
        };
        match sorter {
            Sorter::Drf => Self::Ranked(ranks.iter()),
            Sorter::Random => Self::Drawn(Box::new([lots(false), lots(true)])),
        }
    }

    fn next(&mut self, rng: &mut Rng) -> Option<I> {
        match self {
            Self::Ranked(ranks) => ranks.next().map(|rank| rank.is),
            Self::Drawn(lots) => lots.iter_mut().find_map(|lots| lots.draw(rng)),
        }
    }
}

/// A walk over every pair of role and framework that wants offers. Without recursion, since a client
/// decides how deep the tree is.
pub(crate) struct Walk<'a> {
    roles: &'a Roles,
    branches: Order<'a, Branch>,
    /// Those on the path to them, from which it goes on afterwards.
    above: Vec<Order<'a, Branch>>,
    clients: Option<(RoleIx, Order<'a, FrameworkIx>)>,
    /// Where the lots come from.
    pub(crate) rng: Rng,
}

impl Roles {
    /// Every pair of role and framework that wants offers, those furthest behind first.
    pub(crate) fn walk(&self, rng: Rng) -> Walk<'_> {
        debug_assert!(!self.is_stale, "ranks are refreshed before they are read");
        let branches = self.branches(self.root);
        Walk { roles: self, branches, above: Vec::new(), clients: None, rng }
    }

    fn branches(&self, at: RoleIx) -> Order<'_, Branch> {
        let weight = |branch| match branch {
            Branch::Own(_) => Weight::ONE,
            Branch::Child(child) => self.nodes.get(child).weight,
        };
        Order::new(self.role_sorter, &self.nodes.get(at).branches, weight)
    }

    /// Whether no role is below this one, so that its frameworks have no siblings.
    fn is_leaf(&self, at: RoleIx) -> bool {
        self.nodes.get(at).children.is_empty()
    }

    fn clients(&self, at: RoleIx) -> Order<'_, FrameworkIx> {
        let clients = &self.nodes.get(at).ranked_clients;
        Order::new(self.framework_sorter, clients, |_| Weight::ONE)
    }
}

impl Walk<'_> {
    /// Leaves out the rest of the frameworks of the role it is at.
    pub(crate) fn skip_role(&mut self) {
        self.clients = None;
    }
}

impl Iterator for Walk<'_> {
    type Item = (RoleIx, FrameworkIx);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((role, clients)) = &mut self.clients {
                if let Some(framework) = clients.next(&mut self.rng) {
                    return Some((*role, framework));
                }
                self.clients = None;
            }
            let Some(branch) = self.branches.next(&mut self.rng) else {
                self.branches = self.above.pop()?;
                continue;
            };
            match branch {
                Branch::Child(at) if !self.roles.is_leaf(at) => {
                    let below = self.roles.branches(at);
                    self.above.push(std::mem::replace(&mut self.branches, below));
                }
                Branch::Child(at) | Branch::Own(at) => {
                    self.clients = Some((at, self.roles.clients(at)));
                }
            }
        }
    }
}
