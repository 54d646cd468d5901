//! Who may do what: ordered rules, as operators write them down.
//!
//! The meaning is that of Mesos's local authorizer. Rules of one action are tried in order, and the
//! first that speaks of both who asks and what is asked for decides. Where none does, [`Acls::permissive`]
//! decides.

mod action;
mod file;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::role::Role;

pub use action::{Action, Heeded};
pub use file::BadAcls;

/// The principals or objects that a rule speaks of.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Entity {
    /// Whoever, and whatever: allowed.
    Any,
    /// Whoever, and whatever: not allowed.
    None,
    /// These.
    Some(BTreeSet<Arc<str>>),
}

/// Whether a rule speaks of something, and what it says of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Silent,
    Allows,
    Denies,
}

/// One rule: both have to be spoken of, and both allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Rule {
    principals: Entity,
    objects: Entity,
}

/// All rules. The default allows everything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acls {
    permissive: bool,
    rules: BTreeMap<Action, Vec<Rule>>,
}

impl Default for Acls {
    fn default() -> Self {
        Self { permissive: true, rules: BTreeMap::new() }
    }
}

impl Entity {
    fn of(&self, value: Option<&str>) -> Verdict {
        match (self, value) {
            (Self::Any, _) => Verdict::Allows,
            (Self::None, _) => Verdict::Denies,
            (Self::Some(names), Some(value)) if names.iter().any(|name| covers(name, value)) => {
                Verdict::Allows
            }
            (Self::Some(_), _) => Verdict::Silent,
        }
    }
}

/// A name covers itself, and `a/%` all roles below `a`.
fn covers(name: &str, value: &str) -> bool {
    name == value
        || name
            .strip_suffix("/%")
            .and_then(|parent| value.strip_prefix(parent))
            .is_some_and(|rest| rest.starts_with('/'))
}

impl Acls {
    /// The same rules, with another decision where none of them speaks.
    #[must_use]
    pub fn with_permissive(self, permissive: bool) -> Self {
        Self { permissive, ..self }
    }

    /// Whether something that no rule speaks of is allowed.
    pub fn permissive(&self) -> bool {
        self.permissive
    }

    /// Whether everything is allowed to everybody, so that nobody need ask.
    pub fn allow_everything(&self) -> bool {
        self.permissive && self.rules.is_empty()
    }

    /// Whether there is nothing of `action` that anybody may not do.
    pub fn allow_all_of(&self, action: Action) -> bool {
        self.permissive && !self.rules.contains_key(&action)
    }

    /// Whether any rule speaks of `action`.
    pub fn speak_of(&self, action: Action) -> bool {
        self.rules.contains_key(&action)
    }

    /// The actions that any rule speaks of.
    pub fn actions(&self) -> impl Iterator<Item = Action> {
        self.rules.keys().copied()
    }

    /// Whether `principal` may do `action` to `object`. Absent, the principal is not known, and the
    /// object is all there are or of no importance; rules that name some do not speak of these.
    pub fn allow(&self, action: Action, principal: Option<&str>, object: Option<&str>) -> bool {
        let rules = self.rules.get(&action).map_or(&[][..], Vec::as_slice);
        for rule in rules {
            match (rule.principals.of(principal), rule.objects.of(object)) {
                (Verdict::Silent, _) | (_, Verdict::Silent) => {}
                verdicts => return verdicts == (Verdict::Allows, Verdict::Allows),
            }
        }
        self.permissive
    }

    /// The first of `roles` to which `principal` may not do `action`.
    pub fn refused<'a>(
        &self,
        action: Action,
        principal: Option<&str>,
        roles: impl IntoIterator<Item = &'a Role>,
    ) -> Option<&'a Role> {
        if self.allow_all_of(action) {
            return None;
        }
        roles.into_iter().find(|role| !self.allow(action, principal, Some(role.as_str())))
    }
}

#[cfg(test)]
mod tests;
