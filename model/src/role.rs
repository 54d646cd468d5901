//! Roles: whom resources are shared between.

use std::fmt;
use std::sync::Arc;

/// Names as messages list them, `{ a, b }`: clients know sets in this form.
pub fn in_braces<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| name.to_string()).collect();
    format!("{{ {} }}", names.join(", "))
}

/// A role, `*` or a path such as `eng/web`. A parent's share is its children's together.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Role(Arc<str>);

/// Why a text is no role.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRole {
    /// Nothing there.
    #[error("Role name cannot be empty")]
    Empty,
    /// Slash at an end, or two in a row.
    #[error("Role '{0}' cannot start or end with a slash, nor have two in a row")]
    Slashes(String),
    /// `.`, `..`, `*` or a leading dash in a component.
    #[error("Role '{role}' has the invalid component '{component}'")]
    Component {
        /// The whole role.
        role: String,
        /// The part that may not be.
        component: String,
    },
    /// Whitespace or control characters.
    #[error("Role '{0}' contains invalid characters")]
    Characters(String),
}

impl Role {
    /// Checks `text` against the role rules of Mesos.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, BadRole> {
        let text = text.into();
        if &*text == "*" {
            return Ok(Self(text));
        }
        if text.is_empty() {
            return Err(BadRole::Empty);
        }
        if text.chars().any(|c| matches!(c, '\x08'..='\r' | ' ' | '\x7f')) {
            return Err(BadRole::Characters(text.escape_debug().to_string()));
        }
        for component in text.split('/') {
            if component.is_empty() {
                return Err(BadRole::Slashes(text.to_string()));
            }
            if matches!(component, "." | ".." | "*") || component.starts_with('-') {
                return Err(BadRole::Component {
                    role: text.to_string(),
                    component: component.to_owned(),
                });
            }
        }
        Ok(Self(text))
    }

    /// The role `*`, of resources that are nobody's and of frameworks that name no role.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// Whether this is `*`.
    pub fn is_any(&self) -> bool {
        &*self.0 == "*"
    }

    /// The role as it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether `self` lies strictly below `other` in the tree.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_follow_the_rules() {
        for good in ["*", "web", "eng/web", "a-b", "ä.b"] {
            assert!(Role::new(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a/.", "..", "a/*", "-a", "a/-b", "a b", "a\tb"] {
            assert!(Role::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn below_means_in_the_tree_and_not_in_the_alphabet() {
        let role = |text: &str| Role::new(text).expect("a role");
        assert!(role("eng/web").is_below(&role("eng")));
        assert!(!role("engine").is_below(&role("eng")));
        assert!(!role("eng").is_below(&role("eng")));
    }
}
