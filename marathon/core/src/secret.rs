//! Secrets: values that are kept for apps and handed to their tasks alone.
//!
//! What is here is sealed: only the shell, which has the key, can open it, and only to launch with it.

use crate::app::App;
use crate::app::pod::VolumeSource;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest path of a secret.
const PATH_BYTES_MAX: usize = 200;

/// Largest secret, sealed: certificates with their chains are a tenth of it, and every launch that uses
/// one carries it.
pub const SEALED_BYTES_MAX: usize = 64 << 10;

/// Secrets in all. Each is in the memory of every Marathon.
pub const SECRETS_MAX: usize = 10_000;

/// A secret that cannot be read here.
#[derive(Clone, Eq, PartialEq)]
pub struct Sealed {
    /// Where it is kept.
    pub path: Arc<str>,
    /// The sealed value.
    pub bytes: Arc<[u8]>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({})", self.path)
    }
}

/// The path that `text` means, or why it means none. A leading slash says nothing.
pub fn path(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let path = text.trim_matches('/');
    let is_good = path
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && part.chars().all(fits));
    if !is_good || path.len() > PATH_BYTES_MAX {
        return Err(format!(
            "'{text}' is no path of a secret: words of letters, digits, '.', '_' and '-', with slashes \
             between them, at most {PATH_BYTES_MAX} characters"
        ));
    }
    Ok(path.to_owned())
}

/// Where the secrets of `app` are kept, by their names in it: those that it uses.
pub fn used(app: &App) -> BTreeMap<String, String> {
    let mut names: Vec<&str> = in_env(&app.env).collect();
    let container = app.container.as_ref();
    let volumes = container.iter().flat_map(|it| &it.volumes);
    names.extend(volumes.filter_map(|volume| volume.get("secret")?.as_str()));
    let config = container.and_then(|it| it.docker.as_ref()?.pull_config.as_ref());
    names.extend(config.and_then(|config| config.get("secret")?.as_str()));
    if let Some(pod) = &app.pod {
        for volume in &pod.volumes {
            if let VolumeSource::Secret(name) = &volume.source {
                names.push(name);
            }
        }
        for container in &pod.containers {
            names.extend(in_env(&container.env));
            names.extend(container.image.iter().filter_map(|it| it.pull_secret.as_deref()));
        }
    }
    let secrets = app.extra.get("secrets");
    let source = |name: &str| {
        let source = secrets?.get(name)?.get("source")?.as_str()?;
        Some((name.to_owned(), source.trim_matches('/').to_owned()))
    };
    names.into_iter().filter_map(source).collect()
}

/// Names of secrets among variables.
fn in_env(env: &BTreeMap<String, Value>) -> impl Iterator<Item = &str> {
    env.values().filter_map(|value| value.get("secret")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain_words_with_slashes() {
        assert_eq!(path("/shop/db_key"), Ok("shop/db_key".to_owned()));
        assert_eq!(path("a"), Ok("a".to_owned()));
        for bad in ["", "/", "a//b", "../a", "a b", "a:b", &"a".repeat(PATH_BYTES_MAX + 1)] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_sealed_is_not_even_printed() {
        let sealed = Sealed { path: "a".into(), bytes: Arc::from(&b"bytes"[..]) };
        assert_eq!(format!("{sealed:?}"), "Sealed(a)");
    }
}
