//! Offer constraints as frameworks state them: which agents they want to hear of at all.

use crate::role::Role;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What of an agent a constraint is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// The first attribute of a name.
    Attribute(Arc<str>),
    /// The name of its machine.
    Hostname,
    /// The region it is in.
    Region,
    /// The zone it is in.
    Zone,
}

/// What must hold of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Predicate {
    /// It is there.
    Exists,
    /// It is not there.
    NotExists,
    /// It is this text.
    TextEquals(Arc<str>),
    /// It is not this text.
    TextNotEquals(Arc<str>),
    /// All of it matches this regular expression, which nobody has read yet.
    TextMatches(Arc<str>),
    /// It does not match this regular expression as a whole.
    TextNotMatches(Arc<str>),
}

/// One constraint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Constraint {
    /// What it is about.
    pub selector: Selector,
    /// What must hold of that.
    pub predicate: Predicate,
}

/// For each role, groups of constraints: an agent is wanted that meets all of any one group.
pub type Constraints = BTreeMap<Role, Vec<Vec<Constraint>>>;
