//! `/v2/pods`. What is wanted of a pod stands behind `::`, so that no id can be taken for it.

use axum::http::{Method, StatusCode};
use marathon_core::app::parse::Kind;
use marathon_core::ids::AppId;
use marathon_core::io::Command;
use serde_json::Value;

use super::Call;
use super::reply::{self, Refused, Reply, json, refuse};
use super::unknown::Unknown;

pub(super) async fn route(call: &Call<'_>, rest: &[&str]) -> Reply {
    let path = rest.join("/");
    let (id, verb) = match path.split_once("::") {
        Some((id, verb)) => (id.trim_end_matches('/'), Some(verb.trim_start_matches('/'))),
        None => (path.as_str(), None),
    };
    match (id, verb) {
        ("", None) => all(call).await,
        ("", Some("status")) => {
            call.only(&[Method::GET])?;
            json(StatusCode::OK, &call.view.pod_statuses().into())
        }
        (id, None) => one(call, id).await,
        (id, Some(verb)) => {
            let words: Vec<&str> = verb.splitn(2, '/').collect();
            part(call, id, &words).await
        }
    }
}

async fn all(call: &Call<'_>) -> Reply {
    call.only(&[Method::GET, Method::POST])?;
    if call.parts.method == Method::POST {
        let force = call.query.flag("force", false);
        let body = call.json()?;
        let unknown = Unknown::of(call, Kind::Pod, &body)?;
        return Ok(unknown.warn(call.ask(Command::CreatePod { body, force }).await?));
    }
    let pods: Vec<_> = call.page()?.of(call.view.pods().into_iter()).collect();
    json(StatusCode::OK, &pods.into())
}

async fn one(call: &Call<'_>, id: &str) -> Reply {
    call.only(&[Method::GET, Method::PUT, Method::DELETE])?;
    let force = call.query.flag("force", false);
    let id = existing(call, id)?;
    match call.parts.method {
        Method::PUT => {
            let body = call.json()?;
            let unknown = Unknown::of(call, Kind::Pod, &body)?;
            Ok(unknown.warn(call.ask(Command::PutPod { id, body, force }).await?))
        }
        Method::DELETE => call.ask(Command::DeletePod { id, force }).await,
        _ => found(call.view.pod(&id), &id),
    }
}

async fn part(call: &Call<'_>, id: &str, verb: &[&str]) -> Reply {
    let id = existing(call, id)?;
    match verb {
        ["status"] => {
            call.only(&[Method::GET])?;
            found(call.view.pod_status(&id), &id)
        }
        ["versions"] => {
            call.only(&[Method::GET])?;
            found(call.view.pod_versions(&id).map(Value::from), &id)
        }
        ["versions", version] => {
            call.only(&[Method::GET])?;
            let at = super::timestamp(version)?;
            let message = || format!("Pod '{id}' does not exist in version {version}");
            let pod = call.view.pod_version(&id, at);
            let pod = pod.ok_or_else(|| reply::error(StatusCode::NOT_FOUND, &message()))?;
            json(StatusCode::OK, &pod)
        }
        ["instances"] => {
            call.only(&[Method::DELETE])?;
            kill(call, id, named(&call.json()?)?, false).await
        }
        ["instances", instance] => {
            call.only(&[Method::DELETE])?;
            kill(call, id, vec![(*instance).to_owned()], true).await
        }
        _ => refuse(StatusCode::NOT_FOUND, "URI not found"),
    }
}

async fn kill(call: &Call<'_>, id: AppId, instances: Vec<String>, is_single: bool) -> Reply {
    let wipe = call.query.flag("wipe", false);
    call.ask(Command::KillPodInstances { id, instances, is_single, wipe }).await
}

/// The body of a kill: an array of ids.
fn named(body: &Value) -> Result<Vec<String>, Refused> {
    let ids = body.as_array().and_then(|ids| {
        ids.iter().map(|id| id.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    ids.ok_or_else(|| {
        let message = "The body must be an array of ids of instances";
        reply::error(StatusCode::BAD_REQUEST, message)
    })
}

fn existing(call: &Call<'_>, id: &str) -> Result<AppId, Refused> {
    let known = AppId::parse(id).ok().filter(|id| call.view.tree.pod(id).is_some());
    known.ok_or_else(|| no_pod(&format!("/{}", id.trim_start_matches('/'))))
}

/// What was found, or that there is no such pod any more.
fn found(body: Option<Value>, id: &AppId) -> Reply {
    json(StatusCode::OK, &body.ok_or_else(|| no_pod(id.as_str()))?)
}

fn no_pod(id: &str) -> Refused {
    reply::error(StatusCode::NOT_FOUND, &format!("Pod '{id}' does not exist"))
}
