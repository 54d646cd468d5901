//! What is known of an agent beside its resources.

use model::link::FaultDomain;
use model::resources::Attributes;
use std::sync::Arc;

/// What is known of an agent beside its resources.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgentFacts {
    /// The name of its machine, which the whitelist is about.
    pub hostname: Arc<str>,
    /// What its operator says of it.
    pub attributes: Attributes,
    /// Where it stands, if that is known.
    pub domain: Option<FaultDomain>,
    /// Whether it is of a version that knows no frameworks in several roles.
    pub lacks_multi_role: bool,
    /// Whether it is of a version that knows no roles below others.
    pub lacks_hierarchical_roles: bool,
}
