//! Ids of containers that are in other containers.
//!
//! Such an id is written with periods: `<root>.<child>.<grandchild>`, which is also how it is named in
//! logs, in directories and in cgroups. On the wire it is a chain of parents.

use crate::ids::{BadId, ContainerId, check_id};

/// The most containers that may be in each other, the outermost counted. The kernel has 32 levels of
/// PID namespaces, and the agent may be some levels down itself.
pub const NESTING_MAX: usize = 16;

/// Why a text is not the name of a container in another one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadContainerId {
    /// It breaks the rules for ids.
    #[error("'ContainerID.value' '{name}' is invalid: {why}")]
    Id {
        /// The name as it was given.
        name: String,
        /// Why.
        why: BadId,
    },
    /// It has a period or a space in it.
    #[error("'ContainerID.value' '{0}' contains invalid characters")]
    Characters(String),
    /// It is in too many others.
    #[error("Containers may be nested {NESTING_MAX} deep, the outermost counted")]
    TooDeep,
    /// With those it is in it is too long to be the name of a directory.
    #[error("The container's id with those of its parents is invalid: {0}")]
    Chain(BadId),
}

fn checked(name: &str) -> Result<(), BadContainerId> {
    check_id(name)
        .map_err(|why| BadContainerId::Id { name: name.escape_debug().to_string(), why })?;
    // A period stands between parent and child, and a space makes logs hard to read.
    if name.contains(['.', ' ']) {
        return Err(BadContainerId::Characters(name.to_owned()));
    }
    Ok(())
}

impl ContainerId {
    /// A container in no other, by a name that somebody else chose.
    pub fn outermost(name: &str) -> Result<Self, BadContainerId> {
        checked(name)?;
        Self::new(name).map_err(BadContainerId::Chain)
    }

    /// The container called `name` in this one.
    pub fn child(&self, name: &str) -> Result<Self, BadContainerId> {
        checked(name)?;
        if self.names().count() >= NESTING_MAX {
            return Err(BadContainerId::TooDeep);
        }
        Self::new(format!("{self}.{name}")).map_err(BadContainerId::Chain)
    }

    /// The one it is in, if any.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.as_str().rsplit_once('.')?;
        Self::new(parent).ok()
    }

    /// Its own name, without those of its parents.
    pub fn name(&self) -> &str {
        self.as_str().rsplit('.').next().unwrap_or_default()
    }

    /// The names of its parents and its own, the outermost first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.as_str().split('.')
    }

    /// The outermost one that it is in, or itself.
    #[must_use]
    pub fn root(&self) -> Self {
        let root = self.names().next().unwrap_or_default();
        Self::new(root).unwrap_or_else(|_| self.clone())
    }

    /// Whether it is in `other`, however deep.
    pub fn is_inside(&self, other: &Self) -> bool {
        let rest = self.as_str().strip_prefix(other.as_str());
        rest.is_some_and(|rest| rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> ContainerId {
        ContainerId::outermost("c1").expect("a name")
    }

    #[test]
    fn a_chain_is_written_with_periods_and_taken_apart_again() {
        let child = root().child("redis").expect("a name");
        let inner = child.child("backup").expect("a name");
        assert_eq!(inner.as_str(), "c1.redis.backup");
        assert_eq!(
            (inner.name(), inner.parent(), inner.root()),
            ("backup", Some(child.clone()), root())
        );
        assert_eq!((root().parent(), root().root()), (None, root()));
        assert!(inner.is_inside(&child) && inner.is_inside(&root()) && !child.is_inside(&inner));
        let sibling = ContainerId::outermost("c12").expect("a name");
        assert!(!sibling.is_inside(&root()) && !root().is_inside(&root()));
    }

    #[test]
    fn names_that_would_mean_something_else_are_refused() {
        for (name, why) in [
            ("", "'ContainerID.value' '' is invalid: ID must not be empty"),
            ("a.b", "'ContainerID.value' 'a.b' contains invalid characters"),
            ("a b", "'ContainerID.value' 'a b' contains invalid characters"),
            ("..", "'ContainerID.value' '..' is invalid: '..' is disallowed"),
            ("a/b", "'ContainerID.value' 'a/b' is invalid: 'a/b' contains invalid characters"),
        ] {
            assert_eq!(root().child(name).expect_err("no name").to_string(), why);
        }
        let long = "x".repeat(253);
        assert!(matches!(root().child(&long), Err(BadContainerId::Chain(BadId::TooLong))));
        let mut deep = root();
        while let Ok(deeper) = deep.child("d") {
            deep = deeper;
        }
        assert_eq!(deep.names().count(), NESTING_MAX);
        assert_eq!(deep.child("d"), Err(BadContainerId::TooDeep));
    }
}
