//! The tree of roles, in order of who is furthest behind its share.
//!
//! Siblings are ranked by dominant share over weight, then by how often they were given something,
//! then by name. A role that has both frameworks and children stands among its children as `.`.
//! Ranks are kept up to date one by one as things are given and given back; only a change of the
//! cluster's total or of a weight makes all of them stale.

use crate::allocator::Framework;
use crate::amounts::{Amounts, Kinds, Share};
use crate::settings::Weight;
use crate::slab::{Index, Slab};
use model::ids::FrameworkId;
use model::resources::Resources;
use model::role::Role;
use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::sync::Arc;

pub(crate) type RoleIx = Index<Node>;
pub(crate) type FrameworkIx = Index<Framework>;

/// Where a node or a client stands among its siblings.
type Rank<K, I> = (Share, u64, K, I);

/// What stands among a node's children.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Branch {
    /// The frameworks of the role itself.
    Own(RoleIx),
    /// A role below.
    Child(RoleIx),
}

/// What a ranked thing holds and how often it was given something.
#[derive(Debug, Default)]
struct Held {
    amounts: Amounts,
    count: u64,
}

/// One role, or a step on the path to one.
#[derive(Debug)]
pub(crate) struct Node {
    role: Role,
    name: Arc<str>,
    parent: Option<RoleIx>,
    children: BTreeMap<Arc<str>, RoleIx>,
    weight: Weight,
    /// Of the whole subtree.
    held: Held,
    /// Of the frameworks of the role itself.
    own: Held,
    clients: BTreeMap<FrameworkIx, Client>,
    /// Clients in the subtree that want offers. A branch without any is not ranked.
    active_below: usize,
    active_own: usize,
    branches: BTreeSet<Rank<Arc<str>, Branch>>,
    ranked_clients: BTreeSet<Rank<FrameworkId, FrameworkIx>>,
    /// This node's entry in its parent's `branches`.
    rank: Option<Rank<Arc<str>, Branch>>,
    /// The entry of `.` in this node's own `branches`.
    own_rank: Option<Rank<Arc<str>, Branch>>,
}

/// A framework in a role.
#[derive(Debug)]
struct Client {
    id: FrameworkId,
    held: Held,
    /// On how many agents it has something, be it only ports.
    agents: usize,
    is_subscribed: bool,
    is_active: bool,
    rank: Option<Rank<FrameworkId, FrameworkIx>>,
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Roles {
    nodes: Slab<Node>,
    root: RoleIx,
    by_role: BTreeMap<Role, RoleIx>,
    weights: BTreeMap<Role, Weight>,
    pub(crate) kinds: Kinds,
    total: Amounts,
    is_stale: bool,
}

impl Roles {
    pub(crate) fn new(weights: BTreeMap<Role, Weight>, kinds: Kinds) -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new(Role::any(), "".into(), None, Weight::ONE));
        Self {
            nodes,
            root,
            by_role: BTreeMap::new(),
            weights,
            kinds,
            total: Amounts::default(),
            is_stale: false,
        }
    }

    pub(crate) fn role(&self, at: RoleIx) -> &Role {
        &self.nodes.get(at).role
    }

    pub(crate) fn find(&self, role: &Role) -> Option<RoleIx> {
        self.by_role.get(role).copied()
    }

    pub(crate) fn grow_total(&mut self, resources: &Resources) {
        let amounts = self.kinds.amounts(resources);
        self.total.add(&amounts);
        self.is_stale = true;
    }

    pub(crate) fn shrink_total(&mut self, resources: &Resources) {
        let amounts = self.kinds.amounts(resources);
        self.total.subtract(&amounts);
        self.is_stale = true;
    }

    pub(crate) fn set_weight(&mut self, role: Role, weight: Weight) {
        if let Some(&at) = self.by_role.get(&role) {
            self.nodes.get_mut(at).weight = weight;
        }
        self.weights.insert(role, weight);
        self.is_stale = true;
    }

    /// The place of `role`, made with all the steps to it if it is new.
    pub(crate) fn place(&mut self, role: &Role) -> RoleIx {
        if let Some(&at) = self.by_role.get(role) {
            return at;
        }
        let mut at = self.root;
        let mut end = 0;
        for name in role.components() {
            end += name.len() + usize::from(end > 0);
            if let Some(&child) = self.nodes.get(at).children.get(name) {
                at = child;
                continue;
            }
            let path = Role::new(&role.as_str()[..end]).expect("a parent of a role is one");
            let weight = self.weights.get(&path).copied().unwrap_or_default();
            let name: Arc<str> = name.into();
            let child = Node::new(path.clone(), name.clone(), Some(at), weight);
            let child = self.nodes.insert(child);
            self.nodes.get_mut(at).children.insert(name, child);
            self.by_role.insert(path, child);
            at = child;
        }
        at
    }

    /// Has `framework` want offers for a role, or not, or leave it.
    pub(crate) fn set_client(
        &mut self,
        at: RoleIx,
        framework: FrameworkIx,
        id: &FrameworkId,
        is_subscribed: bool,
        is_active: bool,
    ) {
        let client = self.client(at, framework, id);
        let before = client.is_active;
        client.is_subscribed = is_subscribed;
        client.is_active = is_active;
        if before != is_active {
            let node = self.nodes.get_mut(at);
            node.active_own = node.active_own + usize::from(is_active) - usize::from(before);
            let mut step = Some(at);
            while let Some(at) = step {
                let node = self.nodes.get_mut(at);
                node.active_below =
                    node.active_below + usize::from(is_active) - usize::from(before);
                step = node.parent;
            }
            self.rank_path(at, framework);
        }
        self.prune(at, framework);
    }

    /// Books `resources` as given to `framework` in a role; `is_first` on that agent.
    pub(crate) fn give(
        &mut self,
        at: RoleIx,
        framework: FrameworkIx,
        id: &FrameworkId,
        resources: &Resources,
        is_first: bool,
    ) {
        let amounts = self.kinds.amounts(resources);
        let client = self.client(at, framework, id);
        client.agents += usize::from(is_first);
        client.held.amounts.add(&amounts);
        client.held.count += 1;
        self.change_path(at, |held| {
            held.amounts.add(&amounts);
            held.count += 1;
        });
        self.rank_path(at, framework);
    }

    /// Books `resources` as given back; `is_last` on that agent.
    pub(crate) fn take_back(
        &mut self,
        at: RoleIx,
        framework: FrameworkIx,
        resources: &Resources,
        is_last: bool,
    ) {
        let amounts = self.kinds.amounts(resources);
        let node = self.nodes.get_mut(at);
        let client = node.clients.get_mut(&framework).expect("who gives back was given");
        client.agents -= usize::from(is_last);
        client.held.amounts.subtract(&amounts);
        self.change_path(at, |held| held.amounts.subtract(&amounts));
        self.rank_path(at, framework);
        self.prune(at, framework);
    }

    /// Brings all ranks up to date after a change of the total or of a weight.
    pub(crate) fn refresh(&mut self) {
        if !self.is_stale {
            return;
        }
        self.is_stale = false;
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

    /// Every pair of role and framework that wants offers, those furthest behind first.
    pub(crate) fn walk(&self) -> Walk<'_> {
        debug_assert!(!self.is_stale, "ranks are refreshed before they are read");
        Walk { roles: self, path: vec![self.nodes.get(self.root).branches.iter()], clients: None }
    }

    /// Whether nobody wants offers.
    pub(crate) fn walk_is_empty(&self) -> bool {
        self.nodes.get(self.root).active_below == 0
    }

    fn client(&mut self, at: RoleIx, framework: FrameworkIx, id: &FrameworkId) -> &mut Client {
        self.nodes.get_mut(at).clients.entry(framework).or_insert_with(|| Client {
            id: id.clone(),
            held: Held::default(),
            agents: 0,
            is_subscribed: false,
            is_active: false,
            rank: None,
        })
    }

    fn change_path(&mut self, at: RoleIx, mut change: impl FnMut(&mut Held)) {
        change(&mut self.nodes.get_mut(at).own);
        let mut step = Some(at);
        while let Some(at) = step {
            let node = self.nodes.get_mut(at);
            change(&mut node.held);
            step = node.parent;
        }
    }

    fn rank_path(&mut self, at: RoleIx, framework: FrameworkIx) {
        if self.is_stale {
            return;
        }
        self.rank_client(at, framework);
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
        let rank = client.is_active.then(|| {
            let share = self.kinds.share(&client.held.amounts, &self.total, Weight::ONE);
            (share, client.held.count, client.id.clone(), framework)
        });
        replace_rank(&mut node.ranked_clients, &mut client.rank, rank);
    }

    fn rank_own(&mut self, at: RoleIx) {
        let node = self.nodes.get_mut(at);
        let rank = (node.active_own > 0).then(|| {
            let share = self.kinds.share(&node.own.amounts, &self.total, Weight::ONE);
            (share, node.own.count, ".".into(), Branch::Own(at))
        });
        replace_rank(&mut node.branches, &mut node.own_rank, rank);
    }

    fn rank_node(&mut self, at: RoleIx) {
        let node = self.nodes.get_mut(at);
        let Some(parent) = node.parent else { return };
        let rank = (node.active_below > 0).then(|| {
            let share = self.kinds.share(&node.held.amounts, &self.total, node.weight);
            (share, node.held.count, node.name.clone(), Branch::Child(at))
        });
        let mut before = node.rank.take();
        replace_rank(&mut self.nodes.get_mut(parent).branches, &mut before, rank);
        self.nodes.get_mut(at).rank = before;
    }

    /// Forgets a client that neither wants nor holds anything, and roles that nobody is in.
    fn prune(&mut self, at: RoleIx, framework: FrameworkIx) {
        let node = self.nodes.get_mut(at);
        let Some(client) = node.clients.get(&framework) else { return };
        if client.is_subscribed || client.agents > 0 {
            return;
        }
        if let Some(rank) = &client.rank {
            node.ranked_clients.remove(rank);
        }
        node.clients.remove(&framework);
        let mut step = at;
        loop {
            let node = self.nodes.get(step);
            let Some(parent) = node.parent else { return };
            if !node.clients.is_empty() || !node.children.is_empty() {
                return;
            }
            let node = self.nodes.remove(step);
            self.by_role.remove(&node.role);
            let parent_node = self.nodes.get_mut(parent);
            parent_node.children.remove(&node.name);
            if let Some(rank) = &node.rank {
                parent_node.branches.remove(rank);
            }
            step = parent;
        }
    }
}

fn replace_rank<K: Clone + Ord, I: Copy + Ord>(
    ranks: &mut BTreeSet<Rank<K, I>>,
    mine: &mut Option<Rank<K, I>>,
    rank: Option<Rank<K, I>>,
) {
    if *mine == rank {
        return;
    }
    if let Some(before) = mine.take() {
        ranks.remove(&before);
    }
    if let Some(rank) = &rank {
        ranks.insert(rank.clone());
    }
    *mine = rank;
}

impl Node {
    fn new(role: Role, name: Arc<str>, parent: Option<RoleIx>, weight: Weight) -> Self {
        Self {
            role,
            name,
            parent,
            children: BTreeMap::new(),
            weight,
            held: Held::default(),
            own: Held::default(),
            clients: BTreeMap::new(),
            active_below: 0,
            active_own: 0,
            branches: BTreeSet::new(),
            ranked_clients: BTreeSet::new(),
            rank: None,
            own_rank: None,
        }
    }
}

/// A walk through the tree. Without recursion, since a client decides how deep the tree is.
pub(crate) struct Walk<'a> {
    roles: &'a Roles,
    path: Vec<btree_set::Iter<'a, Rank<Arc<str>, Branch>>>,
    clients: Option<(RoleIx, btree_set::Iter<'a, Rank<FrameworkId, FrameworkIx>>)>,
}

impl Iterator for Walk<'_> {
    type Item = (RoleIx, FrameworkIx);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((role, clients)) = &mut self.clients {
                if let Some(&(_, _, _, framework)) = clients.next() {
                    return Some((*role, framework));
                }
                self.clients = None;
            }
            let Some(&(_, _, _, branch)) = self.path.last_mut()?.next() else {
                self.path.pop();
                continue;
            };
            match branch {
                Branch::Child(at) => self.path.push(self.roles.nodes.get(at).branches.iter()),
                Branch::Own(at) => {
                    self.clients = Some((at, self.roles.nodes.get(at).ranked_clients.iter()));
                }
            }
        }
    }
}
