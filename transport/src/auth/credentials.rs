//! Names with secrets, from files in the two forms that Mesos has.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Secret;

/// What anybody but owner and group may do with a file.
const OTHERS: u32 = 0o007;

/// Why a file of credentials is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It cannot be read.
    #[error("cannot read the credentials in {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in it makes no sense. Nothing of it is told.
    #[error("cannot use the credentials in {}: {why}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// One name with its secret: what a client shows.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The name.
    pub principal: Arc<str>,
    /// The secret.
    pub secret: Secret,
}

/// Names with their secrets: what a server checks against.
#[derive(Clone, Debug, Default)]
pub struct Credentials(HashMap<Arc<str>, Secret>);

#[derive(Deserialize)]
struct One {
    principal: String,
    secret: String,
}

#[derive(Deserialize)]
struct Many {
    credentials: Vec<One>,
}

impl Credential {
    /// A name and its secret.
    pub fn new(principal: &str, secret: &str) -> Self {
        Self { principal: principal.into(), secret: Secret::new(secret) }
    }

    /// Reads one from a file: `{"principal": "…", "secret": "…"}`, or a line `principal secret`.
    pub fn load(path: &Path) -> Result<Self, CredentialError> {
        let text = read(path)?;
        let one = if text.trim_start().starts_with('{') {
            serde_json::from_str::<One>(&text)
                .map_err(|error| position(&error))
                .and_then(|one| checked(&one))
        } else {
            lines(&text).and_then(|mut all| match (all.pop(), all.is_empty()) {
                (Some(one), true) => Ok(one),
                _ => {
                    Err("there is to be one line: a principal, a space, and its secret".to_owned())
                }
            })
        };
        one.map_err(|why| CredentialError::Malformed { path: path.to_owned(), why })
    }

    /// The value of the `Authorization` header that shows this credential.
    pub fn basic(&self) -> String {
        let pair = format!("{}:{}", self.principal, self.secret.expose());
        format!("Basic {}", STANDARD.encode(pair))
    }
}

impl Credentials {
    /// Those of a list. The last of one name counts.
    pub fn new(all: impl IntoIterator<Item = Credential>) -> Self {
        Self(all.into_iter().map(|one| (one.principal, one.secret)).collect())
    }

    /// Reads them from a file: `{"credentials": [{"principal": "…", "secret": "…"}]}`, or lines of
    /// `principal secret`. Warns if everybody on this machine can read it.
    pub fn load(path: &Path) -> Result<Self, CredentialError> {
        let text = read(path)?;
        let all = Self::parse(&text);
        all.map_err(|why| CredentialError::Malformed { path: path.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return Ok(Self::new(lines(text)?));
        }
        let many: Many = serde_json::from_str(text).map_err(|error| position(&error))?;
        let all = many.credentials.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(all))
    }

    /// Whose the `Authorization` header `value` is; absent if it is no Basic one or not right.
    pub fn check_basic(&self, value: &str) -> Option<Arc<str>> {
        let (scheme, pair) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
        let (principal, secret) = pair.split_once(':')?;
        self.check(principal, secret)
    }

    /// The principal, if this is its secret.
    pub fn check(&self, principal: &str, secret: &str) -> Option<Arc<str>> {
        let (name, right) = self.0.get_key_value(principal)?;
        right.is(secret).then(|| name.clone())
    }
}

fn checked(one: &One) -> Result<Credential, String> {
    if one.principal.is_empty() || one.principal.contains(':') {
        // HTTP's Basic scheme ends the name at the first colon.
        return Err("a principal must not be empty and not contain a colon".to_owned());
    }
    Ok(Credential::new(&one.principal, &one.secret))
}

fn lines(text: &str) -> Result<Vec<Credential>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [principal, secret] => {
                checked(&One { principal: principal.to_owned(), secret: secret.to_owned() })
            }
            _ => Err(format!("line {} is not a principal, a space, and its secret", at + 1)),
        })
        .collect()
}

/// Where JSON is wrong. What stands there may be a secret.
fn position(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!("it is not the JSON that is expected, at line {line} column {column}")
}

fn read(path: &Path) -> Result<String, CredentialError> {
    let text = read_private(path).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    text.map_err(|source| CredentialError::Read { path: path.to_owned(), source })
}

/// Reads a file with secrets, and warns if everybody on this machine can.
pub(crate) fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & OTHERS != 0 {
        let path = path.display();
        tracing::warn!(%path, "everybody on this machine has access to this file: chmod o= it");
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_file_say_the_same() {
        let json = r#"{"credentials": [{"principal": "ops", "secret": "o s"}, {"principal": "web", "secret": "w"}]}"#;
        let of_json = Credentials::parse(json).expect("whole");
        assert_eq!(of_json.check("ops", "o s").as_deref(), Some("ops"));
        let of_lines = Credentials::parse("ops  o\n\nweb w\n").expect("whole");
        for all in [&of_json, &of_lines] {
            assert_eq!(all.check("web", "w").as_deref(), Some("web"));
            assert_eq!(all.check("web", "o"), None);
            assert_eq!(all.check("nobody", "w"), None);
        }
    }

    #[test]
    fn what_a_client_shows_is_what_a_server_takes() {
        let credential = Credential::new("web", "pass:word");
        let all = Credentials::new([credential.clone()]);
        assert_eq!(all.check_basic(&credential.basic()).as_deref(), Some("web"));
        let lower = credential.basic().replace("Basic", "basic");
        assert_eq!(all.check_basic(&lower).as_deref(), Some("web"));
        for wrong in ["", "Basic", "Basic !", "Bearer d2ViOnBhc3M6d29yZA==", "Basic d2Vi"] {
            assert_eq!(all.check_basic(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_secrets() {
        for (text, says) in [
            ("ops hidden hidden", "line 1"),
            ("ops o\nhidden", "line 2"),
            (r#"{"credentials": [{"principal": "hidden"}]}"#, "line 1 column"),
            (r#"{"credentials": "hidden"}"#, "line 1 column"),
            ("a:b hidden", "colon"),
        ] {
            let why = Credentials::parse(text).expect_err(text);
            assert!(why.contains(says) && !why.contains("hidden"), "{text}: {why}");
        }
    }

    #[test]
    fn one_credential_is_read_in_both_forms() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("credential");
        for text in ["agent s\n", r#"{"principal": "agent", "secret": "s"}"#] {
            std::fs::write(&path, text).expect("written");
            let one = Credential::load(&path).expect("whole");
            assert_eq!((&*one.principal, one.secret.expose()), ("agent", "s"));
        }
        std::fs::write(&path, "a 1\nb 2").expect("written");
        assert!(Credential::load(&path).is_err());
        assert!(Credential::load(&dir.path().join("nowhere")).is_err());
    }
}
