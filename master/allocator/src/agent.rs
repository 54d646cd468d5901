//! Agents: what they have, and who has it.

use crate::facts::AgentFacts;
use crate::filters::Filters;
use crate::slab::Index;
use crate::sorter::{FrameworkIx, RoleIx};
use model::amount::Milli;
use model::ids::AgentId;
use model::resources::{Key, Resources};
use model::step::Time;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) type AgentIx = Index<Agent>;

/// What one framework has of an agent in one role.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) what: Resources,
    /// Since when it has an offer that it has not answered, as far as is known.
    pub(crate) offered_at: Option<Time>,
}

/// An agent, as the allocator knows it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact")]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) facts: AgentFacts,
    pub(crate) total: Resources,
    pub(crate) given: BTreeMap<(FrameworkIx, RoleIx), Given>,
    /// `total` without what is given; what is shared stays free however often it is given.
    pub(crate) free: Resources,
    /// Whether more is given than there is, so that what comes back may not be free.
    is_overcommitted: bool,
    pub(crate) is_active: bool,
    /// Whether its machine is one that may be offered.
    pub(crate) is_listed: bool,
    /// Whether it is of another region than the master.
    pub(crate) is_remote: bool,
    pub(crate) has_gpus: bool,
    /// Whether it has nothing that is reserved, revocable, shared or hidden.
    pub(crate) is_plain: bool,
    has_shared: bool,
    /// What is shared and was offered in this pass: once is enough.
    pub(crate) shared_offered: Resources,
    pub(crate) filters: BTreeMap<(FrameworkIx, RoleIx), Filters>,
    pub(crate) last_declined: Option<Arc<Resources>>,
}

impl Agent {
    /// One of which nothing is given.
    pub(crate) fn new(id: AgentId, total: Resources) -> Self {
        let mut agent = Self {
            id,
            facts: AgentFacts::default(),
            total: Resources::none(),
            given: BTreeMap::new(),
            free: Resources::none(),
            is_overcommitted: false,
            is_active: true,
            is_listed: true,
            is_remote: false,
            has_gpus: false,
            is_plain: true,
            has_shared: false,
            shared_offered: Resources::none(),
            filters: BTreeMap::new(),
            last_declined: None,
        };
        agent.set_total(total);
        agent
    }

    /// Has another total; what is given stays given.
    pub(crate) fn set_total(&mut self, total: Resources) {
        self.has_gpus = total.scalar("gpus") > Milli::ZERO;
        self.has_shared = total.iter().any(|(key, _)| key.kind.is_shared);
        self.is_plain = total.iter().all(|(key, _)| is_plain(key));
        self.total = total;
        self.count_free();
    }

    /// Whether its free resources are there to be offered.
    pub(crate) fn is_offered(&self) -> bool {
        self.is_active && self.is_listed
    }

    /// Books `what` as taken from what is free.
    pub(crate) fn take(&mut self, what: &Resources) {
        let what = self.exclusive(what).into_owned();
        self.is_overcommitted |= !self.free.contains(&what);
        self.free.subtract(&what);
    }

    /// Takes all that is free, which must not be shared.
    pub(crate) fn take_all(&mut self) -> Resources {
        std::mem::take(&mut self.free)
    }

    /// Books `what`, which is not given any more, as free.
    pub(crate) fn put_back(&mut self, what: &Resources) {
        if self.is_overcommitted {
            self.count_free();
        } else if self.free.is_empty() && !self.has_shared {
            self.free = what.clone();
        } else {
            let what = self.exclusive(what).into_owned();
            self.free.add(&what);
        }
    }

    /// Whether this is shared and `given` holds a copy of it, so that one more takes nothing.
    pub(crate) fn is_copy(key: &Key, given: Option<&Given>) -> bool {
        let given = given.map(|given| &given.what);
        key.kind.is_shared && given.is_some_and(|what| what.iter().any(|(have, _)| have == key))
    }

    /// `what` with one copy of each thing that is shared.
    pub(crate) fn single<'a>(&self, what: &'a Resources) -> Cow<'a, Resources> {
        if !self.has_shared {
            return Cow::Borrowed(what);
        }
        let mut single = what.filtered(|key, _| !key.kind.is_shared);
        single.add(
            &self
                .total
                .filtered(|key, _| key.kind.is_shared && what.iter().any(|(have, _)| have == key)),
        );
        Cow::Owned(single)
    }

    fn exclusive<'a>(&self, what: &'a Resources) -> Cow<'a, Resources> {
        if self.has_shared {
            Cow::Owned(what.filtered(|key, _| !key.kind.is_shared))
        } else {
            Cow::Borrowed(what)
        }
    }

    fn count_free(&mut self) {
        let mut given = Resources::none();
        for one in self.given.values() {
            given.add(&self.exclusive(&one.what));
        }
        self.is_overcommitted = !self.total.contains(&given);
        self.free = self.total.minus(&given);
    }
}

/// Whether a resource is never offered: the agent itself deals out which ports its containers may
/// connect from.
pub(crate) fn is_hidden(key: &Key) -> bool {
    &*key.name == "ephemeral_ports"
}

/// Whether a resource is one that anybody may be offered and only one can have.
fn is_plain(key: &Key) -> bool {
    let kind = &key.kind;
    kind.reservations.is_empty() && !kind.is_revocable && !kind.is_shared && !is_hidden(key)
}

/// Whether a resource, if it is an amount, is one that quota is about: unreserved and not revocable.
pub(crate) fn is_under_quota(key: &Key) -> bool {
    is_plain(key)
}
