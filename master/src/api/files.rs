//! `/files/*`, LIST_FILES and READ_FILE: this master's own log, if it writes one to a file.

use std::path::Path;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::any;
use model::acl::Action;
use proto::mesos::v1::master::call::{ListFiles, ReadFile};
use proto::mesos::v1::master::response;
use serde_json::{Map, json};
use transport::files::{Located, not_found};
use transport::http::{Parameters, Refused, rendered};

use super::Api;
use super::viewer::Viewer;

/// What clients know the log by.
const LOG: &str = "/master/log";

/// Endpoints that every master answers for itself.
pub(super) fn of_any() -> Router<Api> {
    Router::new()
        .route("/files/browse", any(browse))
        .route("/files/read", any(read))
        .route("/files/download", any(download))
        .route("/files/debug", any(debug))
}

/// Refuses those who may not read the log. There is nothing else to be read here.
pub(super) fn check(viewer: &Viewer) -> Result<(), Refused> {
    viewer.check(Action::AccessMesosLog, None, "read the log of the master")
}

async fn browse(
    State(api): State<Api>,
    viewer: Viewer,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Refused> {
    check(&viewer)?;
    Ok(transport::files::browse(parameters, |path| locate(&api, path)).await)
}

async fn read(
    State(api): State<Api>,
    viewer: Viewer,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Refused> {
    check(&viewer)?;
    Ok(transport::files::read(parameters, |path| locate(&api, path)).await)
}

async fn download(
    State(api): State<Api>,
    viewer: Viewer,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Refused> {
    check(&viewer)?;
    Ok(transport::files::download(parameters, |path| locate(&api, path)).await)
}

/// Which paths lead where.
async fn debug(
    State(api): State<Api>,
    viewer: Viewer,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Refused> {
    viewer.check(Action::GetEndpoint, Some("/files/debug"), "see where files lead")?;
    let real = api.facts.log_file.as_ref().map(|file| json!(file.display().to_string()));
    let all: Map<_, _> = real.into_iter().map(|real| (LOG.to_owned(), real)).collect();
    Ok(rendered(&all.into(), &parameters))
}

/// Carries out LIST_FILES.
pub(super) async fn list(api: &Api, call: ListFiles) -> Result<response::ListFiles, Refused> {
    let entries = transport::files::list(|path: &str| locate(api, path), call.path).await?;
    Ok(response::ListFiles { file_infos: entries.into_iter().map(Into::into).collect() })
}

/// Carries out READ_FILE.
pub(super) async fn part(api: &Api, call: ReadFile) -> Result<response::ReadFile, Refused> {
    let locate = |path: &str| locate(api, path);
    let part = transport::files::part(locate, call.path, call.offset, call.length).await?;
    Ok(response::ReadFile { size: part.size, data: part.data.into() })
}

fn locate(api: &Api, path: &str) -> Result<Located, Refused> {
    let path = Path::new(path.trim_end_matches('/'));
    let file = api.facts.log_file.as_deref();
    let file = file.filter(|file| path == Path::new(LOG) || path == *file);
    file.and_then(Located::file).ok_or_else(not_found)
}
