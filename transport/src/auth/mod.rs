//! Who calls: proofs of identity, and the gate in front of the routes that asks for them.
//!
//! Whoever comes through [`Gate`] has a [`Principal`], an extension of the request that handlers of
//! both protocols find in the same place. What a principal may do is not decided here.

mod credentials;
mod gate;
mod secret;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Extensions;

pub use credentials::{Credential, CredentialError, Credentials};
pub use gate::{Authenticator, Gate, RealmOf};
pub use secret::Secret;
pub use token::{KeyError, TokenKey};

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
