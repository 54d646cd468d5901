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

/// What must hold of it. `P` is a regular expression, by default one that nobody has read yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Predicate<P = Arc<str>> {
    /// It is there.
    Exists,
    /// It is not there.
    NotExists,
    /// It is there and is this text.
    TextEquals(Arc<str>),
    /// It is not there, or is not this text.
    TextNotEquals(Arc<str>),
    /// It is there, and all of it matches.
    TextMatches(P),
    /// It is not there, or does not match as a whole.
    TextNotMatches(P),
}

/// One constraint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Constraint<P = Arc<str>> {
    /// What it is about.
    pub selector: Selector,
    /// What must hold of that.
    pub predicate: Predicate<P>,
}

impl<P> Constraint<P> {
    /// The same with its regular expression, if it has one, read.
    pub fn try_map<Q, E>(&self, read: impl Fn(&P) -> Result<Q, E>) -> Result<Constraint<Q>, E> {
        let predicate = match &self.predicate {
            Predicate::Exists => Predicate::Exists,
            Predicate::NotExists => Predicate::NotExists,
            Predicate::TextEquals(text) => Predicate::TextEquals(text.clone()),
            Predicate::TextNotEquals(text) => Predicate::TextNotEquals(text.clone()),
            Predicate::TextMatches(pattern) => Predicate::TextMatches(read(pattern)?),
            Predicate::TextNotMatches(pattern) => Predicate::TextNotMatches(read(pattern)?),
        };
        Ok(Constraint { selector: self.selector.clone(), predicate })
    }
}

/// For each role, groups of constraints: an agent is wanted that meets all of any one group.
pub type Constraints = BTreeMap<Role, Vec<Vec<Constraint>>>;
