//! Keeping secrets, sealed.

use super::Marathon;
use super::asks::{Reply, refusal};
use crate::app::App;
use crate::io::Answer;
use crate::matcher::Mismatch;
use crate::secret::{SEALED_BYTES_MAX, SECRETS_MAX, Sealed, used};
use crate::stored;
use crate::view::Change;
use std::collections::BTreeMap;
use std::sync::Arc;

const DONE: Answer = Answer { status: 204, body: None, deployment: None, location: None };

/// Keeps a secret, or another value of one. Tasks that run keep the value they were launched with.
pub(super) fn put(marathon: &mut Marathon, path: &str, sealed: &[u8]) -> Reply {
    if sealed.len() > SEALED_BYTES_MAX {
        let message = format!("A secret may be as long as {} KiB", SEALED_BYTES_MAX >> 10);
        return Err(refusal(413, message));
    }
    let secrets = &marathon.books.secrets;
    if !secrets.contains_key(path) && secrets.len() >= SECRETS_MAX {
        let message = format!("There are {SECRETS_MAX} secrets, which is as many as may be");
        return Err(refusal(403, message));
    }
    marathon.outbox.put(stored::secret_key(path), Some(sealed.to_vec()));
    marathon.books.secrets.insert(path.into(), sealed.into());
    marathon.show(Change::Secret(path.into(), true));
    // Somebody may have waited for it.
    marathon.books.asking.is_revive_wanted = true;
    Ok(DONE)
}

/// Forgets a secret. One that is used is kept, unless that is forced.
pub(super) fn delete(marathon: &mut Marathon, path: &str, force: bool) -> Reply {
    if !marathon.books.secrets.contains_key(path) {
        return Err(refusal(404, format!("Secret '{path}' does not exist")));
    }
    let apps = marathon.books.tree.apps.values();
    let users: Vec<_> = apps
        .filter(|app| used(app).values().any(|source| source == path))
        .map(|app| app.id.as_str())
        .collect();
    if !users.is_empty() && !force {
        let message = format!(
            "Secret '{path}' is used by {}; with '?force=true' it goes nevertheless, and they \
             cannot be launched any more",
            users.join(", ")
        );
        return Err(refusal(409, message));
    }
    marathon.outbox.put(stored::secret_key(path), None);
    marathon.books.secrets.remove(path);
    marathon.show(Change::Secret(path.into(), false));
    Ok(DONE)
}

/// What `app` is launched with, by the names it has for it, or what it lacks.
pub(super) fn of(marathon: &Marathon, app: &App) -> Result<BTreeMap<String, Sealed>, Mismatch> {
    let mut out = BTreeMap::new();
    for (name, path) in used(app) {
        let Some((path, bytes)) = marathon.books.secrets.get_key_value(&*path) else {
            return Err(Mismatch::Secret(path));
        };
        out.insert(name, Sealed { path: path.clone(), bytes: bytes.clone() });
    }
    Ok(out)
}

/// Everything sealed that was kept.
pub(super) type Secrets = BTreeMap<Arc<str>, Arc<[u8]>>;
