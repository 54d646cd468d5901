//! Frameworks: what they want, and where they have something.

use crate::agent::AgentIx;
use crate::constraints::OfferConstraints;
use crate::settings::MinAllocatable;
use crate::sorter::RoleIx;
use model::framework::Capabilities;
use model::ids::FrameworkId;
use model::role::Role;
use std::collections::{BTreeMap, BTreeSet};

/// What a framework wants to be offered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FrameworkWish {
    /// The roles it is in.
    pub roles: BTreeSet<Role>,
    /// Those of them it wants no offers for.
    pub suppressed: BTreeSet<Role>,
    /// What it understands.
    pub capabilities: Capabilities,
    /// Which agents it wants offers of, for those of its roles for which it is not any.
    pub constraints: BTreeMap<Role, OfferConstraints>,
    /// The least that is worth an offer, for those of its roles for which it is not what the settings
    /// say.
    pub min_allocatable: BTreeMap<Role, MinAllocatable>,
}

/// A framework, as the allocator knows it.
#[derive(Debug)]
pub(crate) struct Framework {
    pub(crate) id: FrameworkId,
    pub(crate) capabilities: Capabilities,
    pub(crate) constraints: BTreeMap<Role, OfferConstraints>,
    pub(crate) min_allocatable: BTreeMap<Role, MinAllocatable>,
    /// The roles it is in, and whether it wants no offers for them.
    pub(crate) roles: BTreeMap<Role, bool>,
    pub(crate) is_active: bool,
    /// Where it has something.
    pub(crate) has_on: BTreeSet<(AgentIx, RoleIx)>,
    /// Where it has declined something.
    pub(crate) filtered_on: BTreeSet<(AgentIx, RoleIx)>,
}

impl Framework {
    /// One that is known by its id only.
    pub(crate) fn new(id: FrameworkId) -> Self {
        Self {
            id,
            capabilities: Capabilities::default(),
            constraints: BTreeMap::new(),
            min_allocatable: BTreeMap::new(),
            roles: BTreeMap::new(),
            is_active: false,
            has_on: BTreeSet::new(),
            filtered_on: BTreeSet::new(),
        }
    }
}
