//! `/v2/groups`: the tree that the ids of apps make.

use axum::http::{Method, StatusCode};
use marathon_core::app::parse::Kind;
use marathon_core::clock;
use marathon_core::group::{self, Shown};
use marathon_core::ids::AppId;
use marathon_core::io::{Command, PutGroup};
use marathon_core::json_text;
use marathon_core::view::{Embed, View};

use super::Call;
use super::path::app_id;
use super::reply::{self, Refused, Reply, json};
use super::unknown::Unknown;

pub(super) async fn route(call: &Call<'_>, rest: &[&str]) -> Reply {
    match rest {
        [id @ .., "apps"] => {
            call.only(&[Method::GET])?;
            let id = existing(call, id)?;
            let embed = Wanted::of(call).apps.unwrap_or_default();
            call.read(move |view| {
                let apps = group::below(&view.tree.apps, &id).map(|(_, app)| app);
                let apps = apps.filter(|app| !app.is_pod());
                json_text::array(apps.map(|app| view.render(app, embed)))
            })
            .await
        }
        [id @ .., "versions"] => {
            call.only(&[Method::GET])?;
            let versions = call.view.group_versions(&existing(call, id)?);
            let versions: Vec<_> = versions.into_iter().rev().map(clock::format).collect();
            json(StatusCode::OK, &versions.into())
        }
        [id @ .., "versions", version] => {
            call.only(&[Method::GET, Method::PUT])?;
            let id = existing(call, id)?;
            if call.parts.method == Method::PUT {
                // What some clients take for the way back.
                let force = call.query.flag("force", false);
                let body = serde_json::json!({"version": version});
                let how = PutGroup { force, ..PutGroup::default() };
                return call.ask(Command::PutGroup { id, body, how }).await;
            }
            one_version(call, &id, version)
        }
        id => one(call, id).await,
    }
}

async fn one(call: &Call<'_>, id: &[&str]) -> Reply {
    let all = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
    // What can be patched only groups on top have, which the root is not.
    call.only(if id.is_empty() { &all[..4] } else { &all })?;
    let flag = |name| call.query.flag(name, false);
    let force = flag("force");
    match call.parts.method {
        Method::POST | Method::PUT => {
            let how = PutGroup {
                is_new: call.parts.method == Method::POST,
                force,
                dry_run: flag("dryRun"),
                diff: flag("diff"),
                merge: flag("merge"),
            };
            let id = app_id(id).map_err(|_| no_group(id))?;
            let body = call.json()?;
            let unknown = Unknown::of(call, Kind::Group, &body)?;
            Ok(unknown.warn(call.ask(Command::PutGroup { id, body, how }).await?))
        }
        Method::PATCH => {
            let id = existing(call, id)?;
            call.ask(Command::PatchGroup { id, body: call.json()? }).await
        }
        Method::DELETE => {
            let id = existing(call, id)?;
            call.ask(Command::DeleteGroup { id, force }).await
        }
        _ => {
            let (id, wanted) = (existing(call, id)?, Wanted::of(call));
            call.read(move |view| group(view, &id, wanted)).await
        }
    }
}

fn one_version(call: &Call<'_>, id: &AppId, version: &str) -> Reply {
    let at = super::timestamp(version)?;
    let message = || format!("Group '{id}' does not exist in version {version}");
    let group = call.view.group_at(id, at);
    let group = group.ok_or_else(|| reply::error(StatusCode::NOT_FOUND, &message()))?;
    Ok(reply::text_of_json(StatusCode::OK, group))
}

/// The id, if there is such a group. The root always is.
fn existing(call: &Call<'_>, words: &[&str]) -> Result<AppId, Refused> {
    let id = app_id(words).map_err(|_| no_group(words))?;
    if call.view.tree.has_group(&id) { Ok(id) } else { Err(no_group(words)) }
}

fn no_group(words: &[&str]) -> Refused {
    let message = format!("Group '/{}' does not exist", words.join("/"));
    reply::error(StatusCode::NOT_FOUND, &message)
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
                    let now = crate::clock::wall();
                    let apps = wanted.apps.unwrap_or(Embed { now, ..Embed::default() });
                    wanted.apps = Some(apps.and(embed));
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

fn group(view: &View, id: &AppId, wanted: Wanted) -> String {
    let embed = wanted.apps.unwrap_or_default();
    let shown = Shown { apps: wanted.apps.is_some(), groups: wanted.groups, pods: wanted.pods };
    let version = |id: &AppId| view.group_versions(id).pop_last().unwrap_or_default();
    group::render(&view.tree, id, shown, &version, &|app| {
        if app.is_pod() { view.status_of(app).to_string() } else { view.render(app, embed) }
    })
}
