//! `/v2/groups`: the tree that the ids of apps make.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use marathon_core::clock;
use marathon_core::ids::AppId;
use marathon_core::io::Command;
use marathon_core::view::{Embed, View};
use model::step::Timestamp;
use serde_json::{Value, json as object};

use super::Call;
use super::path::app_id;
use super::reply::{self, Refused, Reply, json, refuse};

pub(super) async fn route(call: &Call<'_>, rest: &[&str]) -> Reply {
    if call.parts.method == Method::DELETE {
        let id = existing(call, rest)?;
        let force = call.query.flag("force", false);
        return call.ask(Command::DeleteGroup { id, force }).await;
    }
    if call.parts.method != Method::GET {
        return refuse(
            StatusCode::NOT_IMPLEMENTED,
            "Groups cannot be changed as a whole; change the apps in them by /v2/apps",
        );
    }
    match rest {
        [id @ .., "apps"] => {
            let id = existing(call, id)?;
            let embed = Wanted::of(call).apps.unwrap_or_default();
            let apps = call.view.apps(embed, |app| app.id.is_below(&id));
            json(StatusCode::OK, &apps.into())
        }
        [id @ .., "versions"] => {
            let id = existing(call, id)?;
            let versions = versions(&call.view, &id).into_iter().rev().map(clock::format);
            json(StatusCode::OK, &versions.collect::<Vec<_>>().into())
        }
        id => json(StatusCode::OK, &group(&call.view, &existing(call, id)?, Wanted::of(call))),
    }
}

/// The id, if there is such a group. The root always is.
fn existing(call: &Call<'_>, words: &[&str]) -> Result<AppId, Refused> {
    let no_group =
        |id: &str| reply::error(StatusCode::NOT_FOUND, &format!("Group '{id}' does not exist"));
    let id = app_id(words).map_err(|_| no_group(&format!("/{}", words.join("/"))))?;
    let is_group = id.is_root() || call.view.apps.keys().any(|app| app.is_below(&id));
    if is_group { Ok(id) } else { Err(no_group(id.as_str())) }
}

/// What of a group is shown.
#[derive(Clone, Copy)]
struct Wanted {
    apps: Option<Embed>,
    groups: bool,
    pods: bool,
}

impl Wanted {
    /// All three, unless some are asked for by name.
    fn of(call: &Call<'_>) -> Self {
        let mut wanted = Self { apps: None, groups: false, pods: false };
        for embed in call.query.all("embed") {
            match embed {
                "group.groups" => wanted.groups = true,
                _ if embed.starts_with("group.pods") => wanted.pods = true,
                _ if embed.starts_with("group.apps") => {
                    wanted.apps = Some(wanted.apps.unwrap_or_default().and(embed));
                }
                _ => {}
            }
        }
        if wanted.apps.is_none() && !wanted.groups && !wanted.pods {
            return Self { apps: Some(Embed::default()), groups: true, pods: true };
        }
        wanted
    }
}

fn group(view: &View, id: &AppId, wanted: Wanted) -> Value {
    let version = versions(view, id).pop_last().unwrap_or_default();
    let mut out = object!({
        "id": id.as_str(),
        "version": clock::format(version),
        "dependencies": [],
    });
    if let Some(embed) = wanted.apps {
        out["apps"] = view.apps(embed, |app| app.id.parent() == *id).into();
    }
    if wanted.pods {
        out["pods"] = object!([]);
    }
    if wanted.groups {
        let groups = subgroups(view, id);
        out["groups"] = groups.iter().map(|below| group(view, below, wanted)).collect();
    }
    out
}

/// Groups directly in `id`.
fn subgroups(view: &View, id: &AppId) -> BTreeSet<AppId> {
    let depth = id.segments().count();
    let below = view.apps.keys().filter(|app| app.is_below(id));
    below
        .filter_map(|app| {
            let words: Vec<_> = app.segments().collect();
            let is_deeper = words.len() > depth + 1;
            is_deeper.then(|| AppId::parse(&words[..=depth].join("/")).ok())?
        })
        .collect()
}

/// Versions of all apps in a group.
fn versions(view: &View, id: &AppId) -> BTreeSet<Timestamp> {
    let apps = view.versions.iter().filter(|(app, _)| app.is_below(id));
    let stored = apps.flat_map(|(_, versions)| versions.keys().copied());
    let present = view.apps.values().filter(|app| app.id.is_below(id)).map(|app| app.version);
    stored.chain(present).collect()
}
