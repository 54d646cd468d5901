//! Who the agent is to registries: credentials in the form of Docker's `config.json`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

/// What Docker's own registry is called in files, in references, and by its address.
const DOCKER_HUB: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];

/// Credentials for registries.
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Credentials {
    by_host: BTreeMap<String, Credential>,
}

/// What one registry is shown.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Credential {
    /// A user and a password.
    Basic { user: String, password: String },
    /// What tokens are got for.
    Refresh(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing secret gets into logs.
        f.debug_set().entries(self.by_host.keys()).finish()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// Credentials that cannot be read. What is in them is not told.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadCredentials {
    /// No JSON of that form.
    #[error(
        "it is not JSON of the form {{\"auths\": {{\"registry.example.com\": {{\"auth\": \"…\"}}}}}}"
    )]
    Form,
    /// The part for a registry makes no sense.
    #[error(
        "the entry of '{0}' has neither an 'auth' of base64(user:password) nor a 'username' and 'password'"
    )]
    Entry(String),
    /// They are somewhere else.
    #[error(
        "it names a credential helper, which agents do not execute; put the credentials in 'auths'"
    )]
    Helper,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    auths: Option<BTreeMap<String, Entry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// Reads Docker's `config.json`, or the older `.dockercfg` that is its `auths` alone.
    pub fn parse(text: &str) -> Result<Self, BadCredentials> {
        let whole: serde_json::Value =
            serde_json::from_str(text).map_err(|_| BadCredentials::Form)?;
        let is_older = whole.as_object().is_some_and(|members| {
            !members.is_empty()
                && members
                    .values()
                    .all(|it| it.get("auth").is_some_and(serde_json::Value::is_string))
        });
        let auths: BTreeMap<String, Entry> = if is_older {
            serde_json::from_value(whole).map_err(|_| BadCredentials::Form)?
        } else {
            let file: File = serde_json::from_value(whole).map_err(|_| BadCredentials::Form)?;
            let helped = file.creds_store.is_some() || file.cred_helpers.is_some();
            match file.auths {
                None if helped => return Err(BadCredentials::Helper),
                auths => auths.unwrap_or_default(),
            }
        };
        let mut by_host = BTreeMap::new();
        for (name, entry) in auths {
            let credential = entry.read().ok_or_else(|| BadCredentials::Entry(name.clone()))?;
            by_host.insert(host(&name), credential);
        }
        Ok(Self { by_host })
    }

    /// What `registry` is shown, a host with its port if that is not the usual one.
    pub(super) fn of(&self, registry: &str) -> Option<&Credential> {
        self.by_host.get(&host(registry))
    }

    /// These, and where these have none the others.
    pub(super) fn or(&self, others: &Self) -> Self {
        let mut by_host = others.by_host.clone();
        by_host.extend(self.by_host.clone());
        Self { by_host }
    }
}

impl Entry {
    fn read(self) -> Option<Credential> {
        if let Some(token) = self.identitytoken.filter(|token| !token.is_empty()) {
            return Some(Credential::Refresh(token));
        }
        if let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) {
            let bytes = STANDARD.decode(&auth).or_else(|_| STANDARD_NO_PAD.decode(&auth)).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (user, password) = text.split_once(':')?;
            // Docker once ended passwords like this.
            let password = password.trim_end_matches('\0').to_owned();
            return Some(Credential::Basic { user: user.to_owned(), password });
        }
        Some(Credential::Basic { user: self.username?, password: self.password? })
    }
}

/// The host of a registry's name, which files write in many ways.
fn host(name: &str) -> String {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    if DOCKER_HUB.contains(&host.as_str()) { DOCKER_HUB[1].to_owned() } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> Credential {
        Credential::Basic { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn all_forms_of_the_file_are_read() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"},
            "one.example:5000": {"username": "you", "password": "a:b"},
            "https://two.example": {"auth": "bWU6c2VjcmV0", "identitytoken": "t"}
        }, "credsStore": "desktop", "HttpHeaders": {}}"#;
        let read = Credentials::parse(text).expect("it is the usual form");
        for name in ["docker.io", "registry-1.docker.io", "INDEX.docker.io"] {
            assert_eq!(read.of(name), Some(&basic("me", "secret")), "{name}");
        }
        assert_eq!(read.of("one.example:5000"), Some(&basic("you", "a:b")));
        assert_eq!(read.of("one.example"), None, "another port is another registry");
        assert_eq!(read.of("two.example"), Some(&Credential::Refresh("t".to_owned())));
        let older =
            Credentials::parse(r#"{"one.example": {"auth": "bWU6c2VjcmV0", "email": "x"}}"#);
        let older = older.expect("it is the older form");
        assert_eq!(older.of("one.example"), Some(&basic("me", "secret")));
        assert!(!format!("{read:?} {:?}", read.of("docker.io")).contains("secret"));
        let both = older.or(&read);
        assert!(both.of("docker.io").is_some() && both.of("one.example").is_some());
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_telling_it() {
        for (text, error) in [
            ("secret", BadCredentials::Form),
            (r#"{"auths": ["secret"]}"#, BadCredentials::Form),
            (r#"{"auths": {"h": {"auth": "secret!"}}}"#, BadCredentials::Entry("h".to_owned())),
            (r#"{"auths": {"h": {"username": "secret"}}}"#, BadCredentials::Entry("h".to_owned())),
            (r#"{"credsStore": "secretservice"}"#, BadCredentials::Helper),
        ] {
            assert_eq!(Credentials::parse(text), Err(error.clone()));
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(Credentials::parse("{}"), Ok(Credentials::default()));
    }
}
