//! Who calls: proofs of identity, and the gate in front of the routes that asks for them.
//!
//! Whoever comes through [`Gate`] has a [`Principal`], an extension of the request that handlers of
//! both protocols find in the same place. What a principal may do the rules decide, of which an
//! [`Asker`] is asked.

mod asker;
mod credentials;
mod gate;
mod secret;
mod token;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::Extensions;

pub use asker::{Asker, warn_of_vain_rules};
pub(crate) use credentials::read_private;
pub use credentials::{Credential, CredentialError, Credentials};
pub use gate::{Authenticator, Gate, RealmOf};
pub use secret::Secret;
pub use token::{KeyError, TokenKey};

/// Warns, where others than this machine can reach `ip`, of the doors that are open to everybody, and of
/// what can be overheard.
///
/// Each door is what it is for, and whether it is shut. Called once, when a daemon starts.
pub fn warn_of_open_doors(daemon: &str, ip: IpAddr, doors: &[(&str, bool)], is_tls: bool) {
    if let Some(danger) = dangers(ip, doors, is_tls) {
        tracing::warn!(
            %ip,
            "{daemon}: {danger}; see the operators' page on security (credentials, --tls_cert_file, \
             --tls_client_certs=required), or listen on 127.0.0.1"
        );
    }
}

fn dangers(ip: IpAddr, doors: &[(&str, bool)], is_tls: bool) -> Option<String> {
    if ip.is_loopback() {
        return None;
    }
    let open: Vec<_> =
        doors.iter().filter(|(_, is_shut)| !is_shut).map(|(what, _)| *what).collect();
    let mut dangers = Vec::new();
    if !open.is_empty() {
        let open = open.join(", ");
        dangers
            .push(format!("everybody who reaches this address may {open} without authentication"));
    }
    if !is_tls {
        dangers
            .push("without TLS what is said there can be read and changed on the way".to_owned());
    }
    (!dangers.is_empty()).then(|| dangers.join(", and "))
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
    fn open_doors_and_open_wires_matter_only_where_others_come_by() {
        let ip = |text: &str| text.parse().expect("an address");
        let doors = [("read", false), ("change", true), ("register agents", false)];
        for is_tls in [false, true] {
            assert_eq!(dangers(ip("127.0.0.1"), &doors, is_tls), None);
            assert_eq!(dangers(ip("::1"), &doors, is_tls), None);
        }
        let open =
            "everybody who reaches this address may read, register agents without authentication";
        let heard = "without TLS what is said there can be read and changed on the way";
        assert_eq!(dangers(ip("0.0.0.0"), &doors, true).as_deref(), Some(open));
        assert_eq!(dangers(ip("0.0.0.0"), &doors, false), Some(format!("{open}, and {heard}")));
        assert_eq!(dangers(ip("10.0.0.1"), &doors[1..2], false).as_deref(), Some(heard));
        assert_eq!(dangers(ip("10.0.0.1"), &doors[1..2], true), None);
    }
}
