//! Signed tokens (JWT, HS256): what a daemon hands out to those that it starts, and knows again.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::Value;

/// The least bytes of a key: as many as the signature has, or it is easier to guess than that.
const KEY_BYTES_MIN: usize = 32;

/// Why a key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the key in {}", path.display())]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could be guessed.
    #[error(
        "the key in {} has {bytes} bytes, and at least {KEY_BYTES_MIN} are needed; make one with \
         openssl rand -hex 32", path.display()
    )]
    Short {
        /// Where it is.
        path: PathBuf,
        /// How long it is.
        bytes: usize,
    },
}

/// Signs tokens and knows its own again.
#[derive(Clone)]
pub struct TokenKey {
    signs: EncodingKey,
    checks: DecodingKey,
    rules: Validation,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<hidden>")
    }
}

impl TokenKey {
    /// A key of these bytes.
    pub fn new(key: &[u8]) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        // A token holds as long as whoever it was made for; one that has an end is held to it.
        rules.required_spec_claims.clear();
        rules.validate_aud = false;
        Self { signs: EncodingKey::from_secret(key), checks: DecodingKey::from_secret(key), rules }
    }

    /// Reads the key from a file. A line break at its end does not count.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let key = super::credentials::read_private(path)
            .map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        let key = key.trim_ascii_end();
        if key.len() < KEY_BYTES_MIN {
            return Err(KeyError::Short { path: path.to_owned(), bytes: key.len() });
        }
        Ok(Self::new(key))
    }

    /// A token that says these things.
    pub fn sign(&self, claims: &BTreeMap<&str, &str>) -> String {
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signs);
        token.expect("texts can be written as JSON")
    }

    /// What the token in the `Authorization` header `value` says; absent if it is no token, or not of
    /// this key. Only texts are told.
    pub fn check_bearer(&self, value: &str) -> Option<BTreeMap<String, String>> {
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let claims = jsonwebtoken::decode::<BTreeMap<String, Value>>(
            token.trim(),
            &self.checks,
            &self.rules,
        );
        let texts = claims.ok()?.claims.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        });
        Some(texts.collect())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_says_what_was_signed() {
        let key = TokenKey::new(KEY);
        let token = key.sign(&BTreeMap::from([("fid", "f"), ("eid", "e")]));
        let claims = key.check_bearer(&format!("Bearer {token}")).expect("its own");
        let wanted = [("eid", "e"), ("fid", "f")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(claims, BTreeMap::from(wanted));
        let header = token.split('.').next().expect("three parts");
        let header = URL_SAFE_NO_PAD.decode(header).expect("base64");
        let header: Value = serde_json::from_slice(&header).expect("JSON");
        assert_eq!(header, serde_json::json!({"alg": "HS256", "typ": "JWT"}));
    }

    #[test]
    fn what_was_not_signed_with_the_key_says_nothing() {
        let key = TokenKey::new(KEY);
        let token = key.sign(&BTreeMap::from([("fid", "f")]));
        let parts: Vec<_> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("not three parts: {token}") };
        let other = URL_SAFE_NO_PAD.encode(r#"{"fid":"g"}"#);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let foreign = TokenKey::new(b"fedcba9876543210fedcba9876543210");
        for wrong in [
            String::new(),
            token.clone(),
            format!("Basic {token}"),
            format!("Bearer {header}.{other}.{signature}"),
            format!("Bearer {none}.{claims}."),
            format!("Bearer {header}.{claims}"),
            format!("Bearer {}", foreign.sign(&BTreeMap::from([("fid", "f")]))),
        ] {
            assert_eq!(key.check_bearer(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_that_has_an_end_is_held_to_it() {
        let key = TokenKey::new(KEY);
        let signed = |exp: u64| {
            let claims = serde_json::json!({"fid": "f", "exp": exp});
            let token = jsonwebtoken::encode(&Header::default(), &claims, &key.signs);
            format!("Bearer {}", token.expect("signed"))
        };
        assert_eq!(key.check_bearer(&signed(1_000)), None);
        assert!(key.check_bearer(&signed(1 << 40)).is_some());
    }

    #[test]
    fn a_key_that_could_be_guessed_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        std::fs::write(&path, "short\n").expect("written");
        assert!(matches!(TokenKey::load(&path), Err(KeyError::Short { bytes: 5, .. })));
        std::fs::write(&path, [KEY, b"\n"].concat()).expect("written");
        let token = TokenKey::new(KEY).sign(&BTreeMap::new());
        let key = TokenKey::load(&path).expect("long enough");
        assert!(key.check_bearer(&format!("bearer {token}")).is_some());
    }
}
