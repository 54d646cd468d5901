//! Who calls: proofs of identity, and the gate in front of the routes that asks for them.
//!
//! Whoever comes through [`Gate`] has a [`Principal`], an extension of the request that handlers of
//! both protocols find in the same place. What a principal may do is not decided here.

mod credentials;
mod gate;
mod secret;
mod token;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::Extensions;

pub use credentials::{Credential, CredentialError, Credentials};
pub use gate::{Authenticator, Gate, RealmOf};
pub use secret::Secret;
pub use token::{KeyError, TokenKey};

/// Warns, where others than this machine can reach `ip`, of the doors that are open to everybody.
///
/// Each door is what it is for, and whether it is shut. Called once, when a daemon starts.
pub fn warn_of_open_doors(daemon: &str, ip: IpAddr, doors: &[(&str, bool)]) {
    if let Some(open) = open_doors(ip, doors) {
        tracing::warn!(
            %ip,
            "{daemon}: everybody who reaches this address may {open} without authentication; see the \
             operators' page on security, or listen on 127.0.0.1"
        );
    }
}

fn open_doors(ip: IpAddr, doors: &[(&str, bool)]) -> Option<String> {
    let open: Vec<_> =
        doors.iter().filter(|(_, is_shut)| !is_shut).map(|(what, _)| *what).collect();
    (!ip.is_loopback() && !open.is_empty()).then(|| open.join(", "))
}

/// Who has proved to be at the other end: an extension of every authenticated request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Principal {
    /// The name, as credentials and certificates have it. Executors have none, only claims.
    pub value: Option<Arc<str>>,
    /// What else was proved, such as the framework that an executor belongs to.
    pub claims: BTreeMap<String, String>,
}

impl Principal {
    /// A principal with a name and nothing else.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self { value: Some(name.into()), claims: BTreeMap::new() }
    }

    /// The name of whoever sent the request with these extensions; absent without authentication.
    pub fn name_of(extensions: &Extensions) -> Option<Arc<str>> {
        extensions.get::<Self>()?.value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_doors_matter_only_where_others_come_by() {
        let ip = |text: &str| text.parse().expect("an address");
        let doors = [("read", false), ("change", true), ("register agents", false)];
        assert_eq!(open_doors(ip("127.0.0.1"), &doors), None);
        assert_eq!(open_doors(ip("::1"), &doors), None);
        let open = Some("read, register agents".to_owned());
        assert_eq!(open_doors(ip("0.0.0.0"), &doors), open);
        assert_eq!(open_doors(ip("10.0.0.1"), &doors[1..2]), None);
    }
}
