//! The many ways in which clients write one path.
//!
//! Mesos matches paths loosely: repeated and trailing slashes do not count, the process name may
//! stand in front (`/master/state`, `/slave(1)/state`), and old clients append `.json`.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::from_fn;
use tower::ServiceExt;

use crate::http::explain_method;

/// The URI as the client sent it: an extension of every request that went through [`normalized`].
#[derive(Clone, Debug)]
pub struct Requested(pub Uri);

/// Endpoints that existed with `.json` at the end in old releases; clients still try these first.
const WITH_JSON: [&str; 12] = [
    "/state",
    "/state-summary",
    "/slaves",
    "/frameworks",
    "/tasks",
    "/roles",
    "/flags",
    "/files/read",
    "/files/browse",
    "/files/download",
    "/files/debug",
    "/monitor/statistics",
];

/// The one form of `path` that routes are written in. `process` is the name that may stand in
/// front, such as `master` or `slave(1)`.
pub fn normal(path: &str, process: &str) -> String {
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.first().is_some_and(|first| names(first, process)) {
        segments.remove(0);
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if let Some(bare) = normal.strip_suffix(".json").filter(|bare| WITH_JSON.contains(bare)) {
        normal.truncate(bare.len());
    }
    if normal.is_empty() {
        normal.push('/');
    }
    normal
}

/// Parentheses may come percent-encoded.
fn names(segment: &str, process: &str) -> bool {
    segment == process
        || segment.contains('%')
            && segment.replace("%28", "(").replace("%29", ")").eq_ignore_ascii_case(process)
}

/// `router` behind [`normal`]: what it sees are paths in their one form. Where it refuses a method
/// without a word the answer says which are allowed.
pub fn normalized(router: Router, process: &'static str) -> Router {
    let service = router.map_request(move |mut request: Request| {
        let uri = request.uri().clone();
        let path = normal(uri.path(), process);
        if path != uri.path() {
            *request.uri_mut() = with_path(&uri, &path);
        }
        request.extensions_mut().insert(Requested(uri));
        request
    });
    // Outside of the routes: which methods they allow is put down after all that is around them.
    Router::new()
        .fallback_service(service.map_err(|never: Infallible| match never {}))
        .layer(from_fn(explain_method))
}

fn with_path(uri: &Uri, path: &str) -> Uri {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query =
        Some(PathAndQuery::try_from(text).expect("made of parts of a valid path and query"));
    Uri::from_parts(parts).expect("only the path has changed")
}

#[cfg(test)]
mod tests {
    use axum::middleware::Next;

    use super::*;

    #[test]
    fn every_way_to_write_a_path_comes_to_one() {
        for (written, process, meant) in [
            ("/", "master", "/"),
            ("", "master", "/"),
            ("/state", "master", "/state"),
            ("/state/", "master", "/state"),
            ("//state//", "master", "/state"),
            ("/master/state", "master", "/state"),
            ("/master", "master", "/"),
            ("/master/state.json", "master", "/state"),
            ("/state.json", "master", "/state"),
            ("/files/read.json", "master", "/files/read"),
            ("/files/download/a.json", "master", "/files/download/a.json"),
            ("/slaves/s-1", "master", "/slaves/s-1"),
            ("/master/api/v1/scheduler", "master", "/api/v1/scheduler"),
            ("/slave(1)/state", "slave(1)", "/state"),
            ("/slave%281%29/api/v1", "slave(1)", "/api/v1"),
            ("/slave(2)/state", "slave(1)", "/slave(2)/state"),
            ("/masters/state", "master", "/masters/state"),
            ("/agora.v1.Link/Connect", "master", "/agora.v1.Link/Connect"),
        ] {
            assert_eq!(normal(written, process), meant, "{written}");
        }
    }

    #[tokio::test]
    async fn a_router_sees_one_form_and_the_query_is_kept() {
        let router = Router::new().route(
            "/state",
            axum::routing::get(|uri: Uri, request: Request| async move {
                let Requested(sent) = request.extensions().get().expect("is there");
                format!("{uri} {sent}")
            }),
        );
        let request = Request::get("//master/state/?a=%2F&b").body(axum::body::Body::empty());
        let answer = normalized(router, "master")
            .oneshot(request.expect("a request"))
            .await
            .expect("infallible");
        let body = axum::body::to_bytes(answer.into_body(), 1_000).await.expect("a body");
        assert_eq!(&body[..], b"/state?a=%2F&b //master/state/?a=%2F&b");
    }
    #[tokio::test]
    async fn a_refused_method_is_answered_with_those_that_are_not() {
        let router = Router::new()
            .route("/teardown", axum::routing::post(async || "down"))
            .route("/quota", axum::routing::get(async || "all").delete(async || "none"))
            .layer(from_fn(async |request: Request, next: Next| next.run(request).await));
        let router = normalized(router, "master");
        for (method, path, allow, text) in [
            ("GET", "/teardown", "POST", "Expecting one of { 'POST' }, but received 'GET'."),
            (
                "PUT",
                "/master/quota",
                "GET,HEAD,DELETE",
                "Expecting one of { 'GET', 'HEAD', 'DELETE' }, but received 'PUT'.",
            ),
        ] {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(axum::body::Body::empty()).expect("a request");
            let answer = router.clone().oneshot(request).await.expect("infallible");
            assert_eq!(answer.status(), 405);
            assert_eq!(answer.headers()["allow"], allow);
            let body = axum::body::to_bytes(answer.into_body(), 1_000).await.expect("a body");
            assert_eq!(body, format!("405 Method Not Allowed. {text}"));
        }
    }
}
