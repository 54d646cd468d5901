//! Where roles and frameworks stand among their siblings, kept up to date as shares change.

use super::{Client, FrameworkIx, Held, RoleIx, Roles};
use crate::amounts::{Share, Total};
use crate::settings::Sorter;
use model::rules::Weight;
use std::collections::BTreeSet;

/// Where a node or a client stands among its siblings. Fields in the order they count.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank<I> {
    pub(super) has_stepped_back: bool,
    pub(super) share: Share,
    /// How often it was given something.
    pub(super) count: u64,
    /// Its name's place among all names.
    pub(super) name: u64,
    pub(super) is: I,
}

/// What stands among a node's children.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Branch {
    /// The frameworks of the role itself.
    Own(RoleIx),
    /// A role below.
    Child(RoleIx),
}

impl Roles {
    /// Brings all ranks up to date after a change of the total or of a weight.
    pub(crate) fn refresh(&mut self) {
        if !self.is_stale {
            return;
        }
        self.is_stale = false;
        self.total.settle(&self.kinds);
        let all: Vec<RoleIx> = self.nodes.indices().collect();
        for at in all {
            let clients: Vec<_> = self.nodes.get(at).clients.keys().copied().collect();
            for framework in clients {
                self.rank_client(at, framework);
            }
            self.rank_own(at);
            self.rank_node(at);
        }
    }

    /// Ranks everything anew, for tests to compare with what was kept up to date.
    #[cfg(test)]
    pub(crate) fn rank_anew(&mut self) {
        self.is_stale = true;
        self.refresh();
    }

    /// By which shares frameworks are ranked, for tests to compare: their order alone is mostly right by
    /// chance.
    #[cfg(test)]
    pub(crate) fn ranked_shares(&self) -> Vec<(RoleIx, FrameworkIx, Share)> {
        let of_role = |at: RoleIx| {
            let ranks = self.nodes.get(at).ranked_clients.iter();
            ranks.map(move |rank| (at, rank.is, rank.share))
        };
        self.nodes.indices().flat_map(of_role).collect()
    }

    pub(super) fn rank_path(&mut self, at: RoleIx, framework: FrameworkIx) {
        if self.is_stale {
            return;
        }
        self.rank_client(at, framework);
        self.rank_branches(at);
    }

    /// Ranks a role, and those above it, among their siblings.
    pub(super) fn rank_branches(&mut self, at: RoleIx) {
        if self.is_stale {
            return;
        }
        self.rank_own(at);
        let mut step = Some(at);
        while let Some(at) = step {
            self.rank_node(at);
            step = self.nodes.get(at).parent;
        }
    }

    fn rank_client(&mut self, at: RoleIx, framework: FrameworkIx) {
        let node = self.nodes.get_mut(at);
        let client = node.clients.get_mut(&framework).expect("only clients are ranked");
        let rank = self.framework_sorter.rank_client(client, framework, &self.total);
        replace_rank(&mut node.ranked_clients, &mut client.rank, rank);
    }

    fn rank_own(&mut self, at: RoleIx) {
        let node = self.nodes.get_mut(at);
        let is_active = node.active_own.all > 0;
        if is_active && is_alone(&node.branches, node.own_rank.as_ref()) {
            return;
        }
        let rank = is_active.then(|| Rank {
            has_stepped_back: node.active_own.have_all_stepped_back(),
            ..self.role_sorter.rank(&node.own, &self.total, Weight::ONE, Branch::Own(at))
        });
        replace_rank(&mut node.branches, &mut node.own_rank, rank);
        self.rank_first_sibling(at, Branch::Own(at));
    }

    fn rank_node(&mut self, at: RoleIx) {
        let node = self.nodes.get(at);
        let Some(parent) = node.parent else { return };
        let is_active = node.active_below.all > 0;
        if is_active && is_alone(&self.nodes.get(parent).branches, node.rank.as_ref()) {
            return;
        }
        self.rank_node_anew(at, parent);
        self.rank_first_sibling(parent, Branch::Child(at));
    }

    fn rank_node_anew(&mut self, at: RoleIx, parent: RoleIx) {
        let node = self.nodes.get_mut(at);
        let rank = (node.active_below.all > 0).then(|| Rank {
            has_stepped_back: node.active_below.have_all_stepped_back(),
            name: node.name,
            ..self.role_sorter.rank(&node.held, &self.total, node.weight, Branch::Child(at))
        });
        let mut before = node.rank.take();
        replace_rank(&mut self.nodes.get_mut(parent).branches, &mut before, rank);
        self.nodes.get_mut(at).rank = before;
    }

    /// A branch that was alone is not kept ranked. Now that `second` stands beside it, it must be.
    fn rank_first_sibling(&mut self, parent: RoleIx, second: Branch) {
        let branches = &self.nodes.get(parent).branches;
        if branches.len() != 2 {
            return;
        }
        let first = branches.iter().map(|rank| rank.is).find(|is| *is != second);
        match first.expect("there are two") {
            Branch::Child(at) => self.rank_node_anew(at, parent),
            Branch::Own(at) => {
                let node = self.nodes.get_mut(at);
                let rank = Rank {
                    has_stepped_back: node.active_own.have_all_stepped_back(),
                    ..self.role_sorter.rank(&node.own, &self.total, Weight::ONE, Branch::Own(at))
                };
                replace_rank(&mut node.branches, &mut node.own_rank, Some(rank));
            }
        }
    }
}

impl Sorter {
    /// Where a client stands among those of its role, if it wants offers.
    pub(super) fn rank_client(
        self,
        client: &Client,
        is: FrameworkIx,
        total: &Total,
    ) -> Option<Rank<FrameworkIx>> {
        client.is_active.then(|| Rank {
            has_stepped_back: client.wait.has_stepped_back(),
            name: client.name,
            ..self.rank(&client.held, total, Weight::ONE, is)
        })
    }

    /// Where something of no name stands by what it holds.
    fn rank<I>(self, held: &Held, total: &Total, weight: Weight, is: I) -> Rank<I> {
        let (share, count) = match self {
            Self::Drf => (total.share(&held.amounts, weight), held.count),
            // All alike: the lots decide.
            Self::Random => (Share::default(), 0),
        };
        Rank { has_stepped_back: false, share, count, name: 0, is }
    }
}

/// Whether what has this rank has no siblings, so that its place does not depend on the rank.
fn is_alone<I: Ord>(ranks: &BTreeSet<Rank<I>>, mine: Option<&Rank<I>>) -> bool {
    mine.is_some() && ranks.len() == 1
}

pub(super) fn replace_rank<I: Copy + Ord>(
    ranks: &mut BTreeSet<Rank<I>>,
    mine: &mut Option<Rank<I>>,
    rank: Option<Rank<I>>,
) {
    if *mine == rank {
        return;
    }
    if let Some(before) = mine.take() {
        ranks.remove(&before);
    }
    if let Some(rank) = rank {
        ranks.insert(rank);
    }
    *mine = rank;
}
