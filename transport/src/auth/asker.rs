//! Whoever asks a daemon for something, and the rules of operators that hold for them.

use std::sync::Arc;

use axum::http::StatusCode;
use model::acl::{Acls, Action, Heeded, denial};
use proto::mesos::v1;

use crate::http::Refused;

/// Whoever asks, and the rules that hold for them.
#[derive(Clone, Debug)]
pub struct Asker {
    acls: Arc<Acls>,
    principal: Option<Arc<str>>,
}

impl Asker {
    /// Somebody of this name, to whom these rules are put. Absent: they have proved no name.
    pub fn new(acls: Arc<Acls>, principal: Option<Arc<str>>) -> Self {
        Self { acls, principal }
    }

    /// The rules that hold.
    pub fn acls(&self) -> &Acls {
        &self.acls
    }

    /// Their name; absent without authentication.
    pub fn principal(&self) -> Option<&Arc<str>> {
        self.principal.as_ref()
    }

    /// Whether they may; `object` is as in [`Acls::allow`].
    pub fn may(&self, action: Action, object: Option<&str>) -> bool {
        self.acls.allow(action, self.principal.as_deref(), object)
    }

    /// Whether they may do something to what is a user's. Absent: nobody knows whose it is, so that it
    /// could be anybody's.
    pub fn may_to_user(&self, action: Action, user: Option<&str>) -> bool {
        match user {
            Some(user) => self.acls.allow_user(action, self.principal.as_deref(), user),
            None => self.acls.allow_whatever(action, self.principal.as_deref()),
        }
    }

    /// Refuses them if they may not. `what` ends the sentence "Not authorized to".
    pub fn check(&self, action: Action, object: Option<&str>, what: &str) -> Result<(), Refused> {
        if self.may(action, object) { Ok(()) } else { Err(self.refused(what)) }
    }

    /// What they hear who may not.
    pub fn refused(&self, what: &str) -> Refused {
        Refused::new(StatusCode::FORBIDDEN, denial(self.principal.as_deref(), what))
    }

    /// Whether they may see a role.
    pub fn sees_role(&self, role: &str) -> bool {
        self.may(Action::ViewRole, Some(role))
    }

    /// Whether they may see a resource: every role that it is reserved or given for.
    pub fn sees_resource(&self, resource: &v1::Resource) -> bool {
        let reserved = resource.reservations.iter().filter_map(|one| one.role.as_ref());
        let in_short = resource.role.iter().filter(|role| *role != "*");
        let given = resource.allocation_info.iter().filter_map(|info| info.role.as_ref());
        reserved.chain(in_short).chain(given).all(|role| self.sees_role(role))
    }

    /// Whether they may see the frameworks of a user.
    pub fn sees_frameworks_of(&self, user: &str) -> bool {
        self.may(Action::ViewFramework, Some(user))
    }
}

/// Warns of rules that keep nobody from anything here, which whoever wrote them should know. Called
/// once, when a daemon starts; `is_heeded` says what counts.
pub fn warn_of_vain_rules(acls: &Acls, is_heeded: fn(Heeded) -> bool) {
    let vain = |action: &Action| !is_heeded(action.heeded());
    for action in acls.actions().filter(vain) {
        let why = match action.heeded() {
            Heeded::ByMasters => "masters heed them, and agents do not",
            Heeded::ByAgents => "agents heed them, and masters do not",
            Heeded::ByBoth | Heeded::Nowhere => "there are no resource providers that could do it",
        };
        tracing::warn!(action = action.name(), "--acls has rules that mean nothing here: {why}");
    }
}
