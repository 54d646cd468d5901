//! Endpoints that operators have shut: `--firewall_rules`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::http::Refused;
use crate::paths::normal;

/// Which endpoints nobody is answered on. By default there are none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    #[serde(default)]
    disabled_endpoints: Disabled,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disabled {
    #[serde(default)]
    paths: BTreeSet<String>,
}

impl Firewall {
    /// The paths as they are written down.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.disabled_endpoints.paths.iter().map(String::as_str)
    }

    /// `router`, without the endpoints that are shut, whichever way their path is written; its routes are
    /// written as [`normal`] has them, where `process` may stand in front.
    pub fn guard(&self, process: &str, router: Router) -> Router {
        let shut: BTreeSet<String> = self.paths().map(|path| normal(path, process)).collect();
        if shut.is_empty() {
            router
        } else {
            router.route_layer(from_fn_with_state(Arc::new(shut), heed))
        }
    }
}

async fn heed(
    State(shut): State<Arc<BTreeSet<String>>>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    // An endpoint is what its route names, whatever else the path may go on with.
    let endpoint = path.as_str().split("/{").next().unwrap_or_default();
    if shut.contains(endpoint) {
        let text = format!("Endpoint '{endpoint}' is disabled");
        return Refused::new(StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::any;
    use tower::ServiceExt;

    use super::*;
    use crate::paths::normalized;

    fn firewall(text: &str) -> Firewall {
        serde_json::from_str(text).expect("rules")
    }

    #[tokio::test]
    async fn an_endpoint_is_shut_whichever_way_it_is_called() {
        let rules =
            r#"{"disabled_endpoints": {"paths": ["/master/state.json", "/api/v1", "quota"]}}"#;
        let mut router = Router::new();
        for path in ["/state", "/state-summary", "/api/v1", "/api/v1/{*rest}", "/api/v1/scheduler"]
        {
            router = router.route(path, any(|| async { "open" }));
        }
        let router = router.route("/quota/{*role}", any(|| async { "open" }));
        let router = normalized(firewall(rules).guard("master", router), "master");
        for (path, shut) in [
            ("/state", Some("/state")),
            ("//master/state/", Some("/state")),
            ("/state.json?jsonp=f", Some("/state")),
            ("/state-summary", None),
            ("/api/v1", Some("/api/v1")),
            ("/master/api/v1/anything", Some("/api/v1")),
            ("/api/v1/scheduler", None),
            ("/quota/web/shop", Some("/quota")),
        ] {
            let request = Request::post(path).body(Body::empty()).expect("a request");
            let answer = router.clone().oneshot(request).await.expect("infallible");
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(answer.into_body(), 1_000).await.expect("a body");
            let text = String::from_utf8_lossy(&body).into_owned();
            match shut {
                Some(endpoint) => {
                    let why = format!("Endpoint '{endpoint}' is disabled");
                    assert_eq!((status, text), (403, why), "{path}");
                }
                None => assert_eq!((status, &*text), (200, "open"), "{path}"),
            }
        }
    }

    #[test]
    fn rules_that_mean_nothing_are_refused() {
        for bad in [r#"{"paths": []}"#, r#"{"disabled_endpoints": ["/state"]}"#] {
            assert!(serde_json::from_str::<Firewall>(bad).is_err(), "{bad}");
        }
        assert_eq!(firewall("{}").paths().count(), 0);
    }
}
