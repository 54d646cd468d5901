//! The tree of roles, in order of who is furthest behind its share.
//!
//! Siblings are ranked by whether they have stepped back ([`waits`]), then by dominant share over
//! weight, then by how often they were given something, then by name. A role that has both
//! frameworks and children stands among its children as `.`, before all of equal rank. Ranks are kept
//! up to date one by one as things are given and given back ([`ranks`]); only a change of the cluster's
//! total or of a weight makes all of them stale.
//!
//! Where lots are drawn instead ([`lots`]), shares do not count, only weights and who has stepped back.

mod lots;
mod names;
mod ranks;
mod told;
mod waits;
mod walk;

use crate::amounts::{Amounts, Kinds, Total};
use crate::framework::Framework;
use crate::quota::QuotaIx;
use crate::settings::{Settings, Sorter};
use crate::slab::{Index, Slab};
use model::ids::FrameworkId;
use model::resources::Resources;
use model::role::Role;
use model::rules::Weight;
use model::step::Time;
use names::Names;
use ranks::{Branch, Rank, replace_rank};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use waits::Wait;

pub(crate) type RoleIx = Index<Node>;
pub(crate) type FrameworkIx = Index<Framework>;

/// What a ranked thing holds and how often it was given something.
#[derive(Debug, Default)]
struct Held {
    amounts: Amounts,
    count: u64,
}

/// Clients that want offers, and those of them that have stepped back.
#[derive(Clone, Copy, Debug, Default)]
struct Active {
    all: usize,
    stepped_back: usize,
}

impl Active {
    fn change(&mut self, before: Self, after: Self) {
        self.all = self.all + after.all - before.all;
        self.stepped_back = self.stepped_back + after.stepped_back - before.stepped_back;
    }

    fn have_all_stepped_back(self) -> bool {
        self.all == self.stepped_back
    }
}

/// One role, or a step on the path to one.
#[derive(Debug)]
pub(crate) struct Node {
    role: Role,
    name: u64,
    parent: Option<RoleIx>,
    children: BTreeMap<Arc<str>, RoleIx>,
    weight: Weight,
    /// That of the role's top-level parent, if it has one.
    quota: Option<QuotaIx>,
    /// Of the whole subtree.
    held: Held,
    /// Of the frameworks of the role itself.
    own: Held,
    clients: BTreeMap<FrameworkIx, Client>,
    /// Of the subtree. A branch without any is not ranked.
    active_below: Active,
    active_own: Active,
    /// Declines of its frameworks that still hold.
    filters: usize,
    branches: BTreeSet<Rank<Branch>>,
    ranked_clients: BTreeSet<Rank<FrameworkIx>>,
    /// This node's entry in its parent's `branches`.
    rank: Option<Rank<Branch>>,
    /// The entry of `.` in this node's own `branches`.
    own_rank: Option<Rank<Branch>>,
}

/// A framework in a role.
#[derive(Debug)]
struct Client {
    id: FrameworkId,
    name: u64,
    held: Held,
    /// On how many agents it has something, be it only ports.
    agents: usize,
    is_subscribed: bool,
    is_active: bool,
    wait: Wait,
    rank: Option<Rank<FrameworkIx>>,
}

impl Client {
    fn new(id: &FrameworkId, names: &Names<FrameworkId>) -> Self {
        Self {
            id: id.clone(),
            name: names.get(id).expect("it came before its roles"),
            held: Held::default(),
            agents: 0,
            is_subscribed: false,
            is_active: false,
            wait: Wait::default(),
            rank: None,
        }
    }

    fn active(&self) -> Active {
        let all = usize::from(self.is_active);
        Active { all, stepped_back: if self.wait.has_stepped_back() { all } else { 0 } }
    }
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Roles {
    nodes: Slab<Node>,
    root: RoleIx,
    by_role: BTreeMap<Role, RoleIx>,
    role_names: Names<Role>,
    framework_names: Names<FrameworkId>,
    weights: BTreeMap<Role, Weight>,
    quotas: BTreeMap<Role, QuotaIx>,
    pub(crate) kinds: Kinds,
    total: Total,
    role_sorter: Sorter,
    framework_sorter: Sorter,
    /// Who comes forward again when.
    waits_end: BTreeSet<(Time, RoleIx, FrameworkIx)>,
    is_stale: bool,
}

impl Roles {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new(Role::any(), None, Weight::ONE, None));
        Self {
            nodes,
            root,
            by_role: BTreeMap::new(),
            role_names: Names::new(),
            framework_names: Names::new(),
            weights: settings.weights.clone(),
            quotas: BTreeMap::new(),
            kinds: Kinds::new(settings.excluded_from_shares.clone()),
            total: Total::default(),
            role_sorter: settings.role_sorter,
            framework_sorter: settings.framework_sorter,
            waits_end: BTreeSet::new(),
            is_stale: false,
        }
    }

    pub(crate) fn role(&self, at: RoleIx) -> &Role {
        &self.nodes.get(at).role
    }

    pub(crate) fn find(&self, role: &Role) -> Option<RoleIx> {
        self.by_role.get(role).copied()
    }

    /// The quota that a role is under, if any.
    pub(crate) fn quota(&self, at: RoleIx) -> Option<QuotaIx> {
        self.nodes.get(at).quota
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

    /// Puts a top-level role and all below it under a quota, or under none.
    pub(crate) fn set_quota(&mut self, role: &Role, quota: Option<QuotaIx>) {
        match quota {
            Some(quota) => self.quotas.insert(role.clone(), quota),
            None => self.quotas.remove(role),
        };
        let mut left: Vec<RoleIx> = self.by_role.get(role).copied().into_iter().collect();
        while let Some(at) = left.pop() {
            let node = self.nodes.get_mut(at);
            node.quota = quota;
            left.extend(node.children.values());
        }
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
            at = self.add_node(at, name.into(), &path);
        }
        at
    }

    fn add_node(&mut self, parent: RoleIx, name: Arc<str>, path: &Role) -> RoleIx {
        let weight = self.weights.get(path).copied().unwrap_or_default();
        let quota = if parent == self.root {
            self.quotas.get(path).copied()
        } else {
            self.nodes.get(parent).quota
        };
        let at = self.nodes.insert(Node::new(path.clone(), Some(parent), weight, quota));
        self.nodes.get_mut(parent).children.insert(name, at);
        self.by_role.insert(path.clone(), at);
        if self.role_names.insert(path) {
            for (role, &at) in &self.by_role {
                self.nodes.get_mut(at).name = self.role_names.get(role).expect("it was put in");
            }
            self.is_stale = true;
        } else {
            self.nodes.get_mut(at).name = self.role_names.get(path).expect("it was put in");
        }
        at
    }

    /// A framework is there: its name has a place among all names from now on.
    pub(crate) fn add_framework(&mut self, id: &FrameworkId) {
        if !self.framework_names.insert(id) {
            return;
        }
        let all: Vec<RoleIx> = self.nodes.indices().collect();
        for at in all {
            for client in self.nodes.get_mut(at).clients.values_mut() {
                client.name = self.framework_names.get(&client.id).expect("it was put in");
            }
        }
        self.is_stale = true;
    }

    /// A framework is over, and in no role any more.
    pub(crate) fn remove_framework(&mut self, id: &FrameworkId) {
        self.framework_names.remove(id);
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
        let before = client.active();
        client.is_subscribed = is_subscribed;
        client.is_active = is_active;
        let after = client.active();
        if before.all != after.all {
            self.change_active(at, before, after);
            self.rank_path(at, framework);
        }
        self.prune(at, framework);
    }

    /// Books `amounts` as given to `framework` in a role, `is_first` on that agent, and offered at
    /// `offered_at` if that was now.
    pub(crate) fn give(
        &mut self,
        at: RoleIx,
        framework: FrameworkIx,
        id: &FrameworkId,
        amounts: &Amounts,
        is_first: bool,
        offered_at: Option<Time>,
    ) {
        let node = self.nodes.get_mut(at);
        let client = node.clients.entry(framework);
        let client = client.or_insert_with(|| Client::new(id, &self.framework_names));
        client.agents += usize::from(is_first);
        client.held.amounts.add(amounts);
        client.held.count += 1;
        let is_on_trial = client.wait.is_on_trial();
        if !self.is_stale {
            let rank = self.framework_sorter.rank_client(client, framework, &self.total);
            replace_rank(&mut node.ranked_clients, &mut client.rank, rank);
        }
        self.change_path(at, |held| {
            held.amounts.add(amounts);
            held.count += 1;
        });
        self.rank_branches(at);
        if is_on_trial && let Some(now) = offered_at {
            self.change_wait(at, framework, |wait| wait.after_offer(now));
        }
    }

    /// Books `amounts` as given back; `is_last` on that agent.
    pub(crate) fn take_back(
        &mut self,
        at: RoleIx,
        framework: FrameworkIx,
        amounts: &Amounts,
        is_last: bool,
    ) {
        let node = self.nodes.get_mut(at);
        let client = node.clients.get_mut(&framework).expect("who gives back was given");
        client.agents -= usize::from(is_last);
        client.held.amounts.subtract(amounts);
        self.change_path(at, |held| held.amounts.subtract(amounts));
        self.rank_path(at, framework);
        self.prune(at, framework);
    }

    /// Has nobody have been given anything before, for tests to compare with somebody new.
    #[cfg(test)]
    pub(crate) fn forget_counts(&mut self) {
        let all: Vec<RoleIx> = self.nodes.indices().collect();
        for at in all {
            let node = self.nodes.get_mut(at);
            (node.held.count, node.own.count) = (0, 0);
            for client in node.clients.values_mut() {
                client.held.count = 0;
            }
        }
        self.rank_anew();
    }

    /// Whether nobody wants offers.
    pub(crate) fn walk_is_empty(&self) -> bool {
        self.nodes.get(self.root).active_below.all == 0
    }

    fn client(&mut self, at: RoleIx, framework: FrameworkIx, id: &FrameworkId) -> &mut Client {
        let client = self.nodes.get_mut(at).clients.entry(framework);
        client.or_insert_with(|| Client::new(id, &self.framework_names))
    }

    fn change_active(&mut self, at: RoleIx, before: Active, after: Active) {
        self.nodes.get_mut(at).active_own.change(before, after);
        let mut step = Some(at);
        while let Some(at) = step {
            let node = self.nodes.get_mut(at);
            node.active_below.change(before, after);
            step = node.parent;
        }
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
        if let Some(until) = client.wait.until() {
            self.waits_end.remove(&(until, at, framework));
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
            self.role_names.remove(&node.role);
            let parent_node = self.nodes.get_mut(parent);
            let name = node.role.components().last().expect("a role has a name");
            parent_node.children.remove(name);
            if let Some(rank) = &node.rank {
                parent_node.branches.remove(rank);
            }
            step = parent;
        }
    }
}

impl Node {
    fn new(role: Role, parent: Option<RoleIx>, weight: Weight, quota: Option<QuotaIx>) -> Self {
        Self {
            role,
            name: 0,
            parent,
            children: BTreeMap::new(),
            weight,
            quota,
            held: Held::default(),
            own: Held::default(),
            clients: BTreeMap::new(),
            active_below: Active::default(),
            active_own: Active::default(),
            filters: 0,
            branches: BTreeSet::new(),
            ranked_clients: BTreeSet::new(),
            rank: None,
            own_rank: None,
        }
    }
}
