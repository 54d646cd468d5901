//! `/v2/apps`.

use axum::http::{Method, StatusCode};
use marathon_core::app::App;
use marathon_core::app::parse::{Invalid, Kind};
use marathon_core::ids::AppId;
use marathon_core::io::{Command, PutApp};
use marathon_core::json_text::{self, ObjectText};
use marathon_core::view::Embed;
use serde_json::json as object;

use super::path::{app_id, no_app};
use super::reply::{self, Refused, Reply, json};
use super::selector::Selector;
use super::tasks::{kill_how, no_task};
use super::unknown::Unknown;
use super::{Call, tasks};
use crate::clock;

pub(super) async fn route(call: &Call<'_>, rest: &[&str]) -> Reply {
    match rest {
        [] => all(call).await,
        [group @ .., "*"] => apps_below(call, group).await,
        [group @ .., "*", "tasks"] => tasks_below(call, group).await,
        [id @ .., "restart"] if !id.is_empty() => {
            call.only(&[Method::POST])?;
            let force = call.query.flag("force", false);
            call.ask(Command::RestartApp { id: existing(call, id)?, force }).await
        }
        [id @ .., "tasks"] if !id.is_empty() => tasks_of(call, app_id(id)?).await,
        [id @ .., "tasks", task] if !id.is_empty() => {
            call.only(&[Method::DELETE])?;
            let (id, how) = (existing(call, id)?, kill_how(call)?);
            if !tasks::is_known(&call.view, &id, task) {
                return Err(no_task(task));
            }
            call.ask(Command::KillTask { id, task: (*task).to_owned(), how }).await
        }
        [id @ .., "versions"] if !id.is_empty() => {
            call.only(&[Method::GET])?;
            let id = app_id(id)?;
            let versions = call.view.versions(&id).ok_or_else(|| no_app(id.as_str()))?;
            json(StatusCode::OK, &object!({"versions": versions}))
        }
        [id @ .., "versions", version] if !id.is_empty() => {
            call.only(&[Method::GET])?;
            one_version(call, &existing(call, id)?, version)
        }
        id => one(call, id).await,
    }
}

/// The id, if there is such an app.
fn existing(call: &Call<'_>, words: &[&str]) -> Result<AppId, Refused> {
    let id = app_id(words)?;
    if call.view.tree.app(&id).is_some() { Ok(id) } else { Err(no_app(id.as_str())) }
}

fn embed(call: &Call<'_>, always: Embed) -> Embed {
    let always = Embed { now: clock::wall(), ..always };
    call.query.all("embed").fold(always, Embed::and)
}

async fn all(call: &Call<'_>) -> Reply {
    call.only(&[Method::GET, Method::POST, Method::PUT, Method::PATCH])?;
    let force = call.query.flag("force", false);
    match call.parts.method {
        Method::POST => {
            let body = call.json()?;
            let unknown = Unknown::of(call, Kind::App, &body)?;
            Ok(unknown.warn(call.ask(Command::CreateApp { body, force }).await?))
        }
        Method::PUT | Method::PATCH => {
            let create = call.parts.method == Method::PUT;
            let partial = !create || call.query.flag("partialUpdate", true);
            let body = call.json()?;
            let unknown = Unknown::of(call, Kind::App, &body)?;
            Ok(unknown.warn(call.ask(Command::PutApps { body, partial, create, force }).await?))
        }
        _ => {
            let keep = filter(call)?;
            // Only what is shown is written out.
            let (embed, page) = (embed(call, Embed::LIST), call.page()?);
            call.read(move |view| {
                let apps = view.tree.apps.values().filter(|app| !app.is_pod() && keep(app));
                listed("apps", page.of(apps).map(|app| view.render(app, embed)))
            })
            .await
        }
    }
}

/// What the parameters `cmd`, `id` and `label` leave.
fn filter(call: &Call<'_>) -> Result<impl Fn(&App) -> bool + Send + use<>, Refused> {
    let lower = |name: &str| call.query.first(name).map(str::to_lowercase);
    let (cmd, id) = (lower("cmd"), lower("id"));
    let selector = match call.query.first("label") {
        Some(text) => Some(Selector::parse(text).map_err(|why| {
            let message = format!("The label selector '{text}' cannot be read: {why}");
            reply::error(StatusCode::UNPROCESSABLE_ENTITY, &message)
        })?),
        None => None,
    };
    Ok(move |app: &App| {
        let has_cmd = cmd.as_ref().is_none_or(|part| {
            app.cmd.as_ref().is_some_and(|cmd| cmd.to_lowercase().contains(part.as_str()))
        });
        let has_id = id.as_ref().is_none_or(|part| app.id.as_str().contains(part.as_str()));
        has_cmd && has_id && selector.as_ref().is_none_or(|it| it.selects(&app.labels))
    })
}

async fn one(call: &Call<'_>, words: &[&str]) -> Reply {
    call.only(&[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
    let id = app_id(words).map_err(|no_app| match call.parts.method {
        // Who wants to make it is told why that cannot be.
        Method::PUT => no_id(words),
        _ => no_app,
    })?;
    match call.parts.method {
        Method::PUT | Method::PATCH => {
            let create = call.parts.method == Method::PUT;
            let partial = !create || call.query.flag("partialUpdate", true);
            let force = call.query.flag("force", false);
            let body = call.json()?;
            let unknown = Unknown::of(call, Kind::App, &body)?;
            let null_removes = call.query.first("nulls") == Some("remove");
            let dry_run = call.query.flag("dryRun", false);
            let how = PutApp { partial, create, force, null_removes, dry_run };
            Ok(unknown.warn(call.ask(Command::PutApp { id, body, how }).await?))
        }
        Method::DELETE => {
            // Unlike everywhere else: deleting is what one does with an app that is stuck.
            let force = call.query.flag("force", true);
            call.ask(Command::DeleteApp { id, force }).await
        }
        _ => {
            let app = call.view.app(&id, embed(call, Embed::SINGLE));
            let app = app.ok_or_else(|| no_app(id.as_str()))?;
            let body = ObjectText::default().with("app", app).end();
            Ok(reply::text_of_json(StatusCode::OK, body))
        }
    }
}

/// Why these segments are no id.
fn no_id(words: &[&str]) -> Refused {
    let why = AppId::parse(&words.join("/")).err().map(|bad| bad.to_string()).unwrap_or_default();
    let refusal = Invalid::one("/id", why).refusal();
    Refused(Box::new(reply::value(StatusCode::UNPROCESSABLE_ENTITY, &refusal.body)))
}

/// An object with nothing but a list.
fn listed(name: &str, values: impl Iterator<Item: AsRef<str>>) -> String {
    ObjectText::default().with(name, json_text::array(values)).end()
}

/// Every app below a group.
async fn apps_below(call: &Call<'_>, group: &[&str]) -> Reply {
    call.only(&[Method::GET])?;
    let (group, embed) = (app_id(group)?, embed(call, Embed::SINGLE));
    call.read(move |view| {
        let apps = view.tree.apps.values().filter(|app| !app.is_pod() && app.id.is_below(&group));
        listed("*", apps.map(|app| view.render(app, embed)))
    })
    .await
}

/// All tasks below a group.
async fn tasks_below(call: &Call<'_>, group: &[&str]) -> Reply {
    call.only(&[Method::GET])?;
    let group = app_id(group)?;
    call.read(move |view| {
        let ids = view.tree.apps.keys().filter(|id| id.is_below(&group));
        listed("tasks", ids.flat_map(|id| view.tasks_of(id)))
    })
    .await
}

async fn tasks_of(call: &Call<'_>, id: AppId) -> Reply {
    call.only(&[Method::GET, Method::DELETE])?;
    if call.view.tree.app(&id).is_none() {
        return Err(no_app(id.as_str()));
    }
    if call.parts.method == Method::DELETE {
        let host = call.query.first("host").map(str::to_owned);
        let how = kill_how(call)?;
        return call.ask(Command::KillAppTasks { id, host, how }).await;
    }
    call.read(move |view| listed("tasks", view.tasks_of(&id))).await
}

fn one_version(call: &Call<'_>, id: &AppId, version: &str) -> Reply {
    let at = super::timestamp(version)?;
    let message = || format!("App '{id}' does not exist in version {version}");
    let app = call.view.version(id, at);
    let app = app.ok_or_else(|| reply::error(StatusCode::NOT_FOUND, &message()))?;
    json(StatusCode::OK, &app)
}
