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

use crate::framework::Framework;
use crate::role::Role;
use crate::task::{ExecutorSpec, TaskSpec};

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
        let decided = self.decided(action, principal, object);
        decided.map_or(self.permissive, |(_, may)| may)
    }

    /// Whether `principal` may do `action` as `user`, or to what is that one's.
    ///
    /// Of somebody who is called by a number only the machine knows the name, of which a rule may speak:
    /// unless one speaks of the number itself, nothing less than [`Acls::allow_whatever`] will do. What
    /// follows a colon is a group.
    pub fn allow_user(&self, action: Action, principal: Option<&str>, user: &str) -> bool {
        let (user, _) = user.split_once(':').unwrap_or((user, ""));
        let is_number = user.parse::<u32>().is_ok();
        match self.decided(action, principal, Some(user)) {
            Some((Rule { objects: Entity::Some(_), .. }, may)) => may,
            _ if is_number => self.allow_whatever(action, principal),
            decided => decided.map_or(self.permissive, |(_, may)| may),
        }
    }

    /// The first rule that speaks of both, and what it says.
    fn decided(
        &self,
        action: Action,
        principal: Option<&str>,
        object: Option<&str>,
    ) -> Option<(&Rule, bool)> {
        self.rules.get(&action)?.iter().find_map(|rule| {
            match (rule.principals.of(principal), rule.objects.of(object)) {
                (Verdict::Silent, _) | (_, Verdict::Silent) => None,
                verdicts => Some((rule, verdicts == (Verdict::Allows, Verdict::Allows))),
            }
        })
    }

    /// Whether `principal` may do `action` to whatever there is: where it is not known what it would be
    /// done to, nothing less will do.
    pub fn allow_whatever(&self, action: Action, principal: Option<&str>) -> bool {
        let rules = self.rules.get(&action).map_or(&[][..], Vec::as_slice);
        for rule in rules {
            let verdict = rule.principals.of(principal);
            if verdict == Verdict::Silent {
                continue;
            }
            let may = verdict == Verdict::Allows;
            match &rule.objects {
                Entity::Any => return may,
                // Of the others a later rule may speak.
                Entity::Some(names) if may || names.is_empty() => {}
                Entity::None | Entity::Some(_) => return false,
            }
        }
        self.permissive
    }

    /// The first user that a task of `framework` would run as, or the executor that it is for, as whom
    /// the framework may not run any.
    pub fn refused_user<'a>(
        &self,
        framework: &'a Framework,
        task: &'a TaskSpec,
        executor: Option<&'a ExecutorSpec>,
    ) -> Option<&'a str> {
        if self.allow_all_of(Action::RunTask) {
            return None;
        }
        let of_executor = executor.and_then(|executor| executor.user.as_ref());
        // Both run: the task as its user, the executor as its own.
        let both = [task.user.as_ref().or(of_executor), of_executor];
        let mut users = both.into_iter().map(|user| user.map_or(&*framework.user, |user| &**user));
        let principal = framework.principal.as_deref();
        users.find(|user| !self.allow_user(Action::RunTask, principal, user))
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

/// What somebody hears who may not do something. `what` ends the sentence "Not authorized to".
pub fn denial(principal: Option<&str>, what: &str) -> String {
    match principal {
        Some(principal) => format!("Not authorized to {what} as principal '{principal}'"),
        None => format!("Not authorized to {what} without authentication"),
    }
}

#[cfg(test)]
mod tests;
