//! The check in front of the routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::{Credentials, Principal, TokenKey};
use crate::http::Refused;
use crate::server::is_grpc;

/// A way to find out who calls.
#[derive(Clone, Debug)]
pub enum Authenticator {
    /// Name and secret, by the Basic scheme of HTTP.
    Basic(Arc<Credentials>),
    /// A signed token, by the Bearer scheme.
    Bearer(Arc<TokenKey>),
}

/// Which realm a request belongs to; absent: it is open to everybody.
pub type RealmOf = fn(&Method, &str) -> Option<&'static str>;

/// Asks whoever calls for a proof of identity, where one is required.
///
/// A client certificate is one everywhere (the server has checked it). Whoever shows credentials all
/// the same is taken for the one they name, and is refused if they are wrong.
#[derive(Debug)]
pub struct Gate {
    realm_of: RealmOf,
    realms: BTreeMap<&'static str, Realm>,
}

/// What is a proof in a realm.
#[derive(Debug)]
struct Realm {
    authenticators: Vec<Authenticator>,
    /// Whether nobody is let in without.
    is_required: bool,
}

impl Gate {
    /// A gate that is open everywhere. `realm_of` is told the method and the path in its one form.
    pub fn new(realm_of: RealmOf) -> Self {
        Self { realm_of, realms: BTreeMap::new() }
    }

    /// Requires in `realm` what one of `authenticators` takes for a proof.
    #[must_use]
    pub fn requiring(mut self, realm: &'static str, authenticators: Vec<Authenticator>) -> Self {
        self.realms.insert(realm, Realm { authenticators, is_required: true });
        self
    }

    /// Knows whoever shows in `realm` what one of `authenticators` takes for a proof, and lets in
    /// everybody else as nobody.
    #[must_use]
    pub fn knowing(mut self, realm: &'static str, authenticators: Vec<Authenticator>) -> Self {
        self.realms.insert(realm, Realm { authenticators, is_required: false });
        self
    }

    /// `router` behind this gate. One that is open everywhere costs nothing.
    pub fn guard(self, router: Router) -> Router {
        if self.realms.is_empty() {
            return router;
        }
        router.layer(from_fn_with_state(Arc::new(self), check))
    }

    /// Who sent this, or what they are to be told.
    fn admit(&self, request: &Request) -> Result<Option<Principal>, (&'static str, Vec<String>)> {
        let Some(realm) = (self.realm_of)(request.method(), request.uri().path()) else {
            return Ok(None);
        };
        let Some(Realm { authenticators, is_required }) = self.realms.get(realm) else {
            return Ok(None);
        };
        let shown = request.headers().get(header::AUTHORIZATION);
        if shown.is_none() && request.extensions().get::<Principal>().is_some() {
            return Ok(None);
        }
        let shown = shown.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let found = authenticators.iter().find_map(|one| one.check(shown));
        if found.is_none() && !is_required {
            return Ok(None);
        }
        let challenges = || authenticators.iter().map(|one| one.challenge(realm)).collect();
        found.map(Some).ok_or_else(|| (realm, challenges()))
    }
}

impl Authenticator {
    fn check(&self, authorization: &str) -> Option<Principal> {
        match self {
            Self::Basic(credentials) => {
                credentials.check_basic(authorization).map(Principal::named)
            }
            Self::Bearer(key) => {
                let claims = key.check_bearer(authorization)?;
                Some(Principal {
                    value: claims.get("sub").map(|name| name.as_str().into()),
                    claims,
                })
            }
        }
    }

    fn challenge(&self, realm: &str) -> String {
        match self {
            Self::Basic(_) => format!("Basic realm=\"{realm}\""),
            Self::Bearer(_) => format!("Bearer realm=\"{realm}\""),
        }
    }
}

async fn check(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    match gate.admit(&request) {
        Ok(None) => {}
        Ok(Some(principal)) => {
            request.extensions_mut().insert(principal);
        }
        Err((realm, challenges)) => return unauthorized(&request, realm, &challenges),
    }
    next.run(request).await
}

fn unauthorized(request: &Request, realm: &str, challenges: &[String]) -> Response {
    ::metrics::counter!("agora_requests_unauthorized", "realm" => realm.to_owned()).increment(1);
    let text = format!("Valid credentials for the realm '{realm}' are needed");
    if is_grpc(request.headers()) {
        return tonic::Status::unauthenticated(text).into_http::<axum::body::Body>();
    }
    let mut response = Refused::new(StatusCode::UNAUTHORIZED, text).into_response();
    // Where there are none only a certificate will do, for which HTTP has no challenge.
    if !challenges.is_empty()
        && let Ok(value) = HeaderValue::from_str(&challenges.join(", "))
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::super::Credential;
    use super::*;

    const CLOSED: &str = "closed-realm";
    const OPEN: &str = "open-realm";
    const KNOWING: &str = "knowing-realm";

    fn realm_of(_: &Method, path: &str) -> Option<&'static str> {
        match path {
            "/closed" => Some(CLOSED),
            "/open" => Some(OPEN),
            "/knowing" => Some(KNOWING),
            _ => None,
        }
    }

    fn router() -> Router {
        let whoami = |who: Option<Extension<Principal>>| async move {
            let who = who.and_then(|Extension(who)| who.value);
            who.as_deref().unwrap_or("nobody").to_owned()
        };
        let routes = ["/closed", "/open", "/knowing"];
        let routes =
            routes.iter().fold(Router::new(), |router, path| router.route(path, get(whoami)));
        let credentials = Credentials::new([Credential::new("web", "w")]);
        let basic = vec![Authenticator::Basic(Arc::new(credentials))];
        Gate::new(realm_of).requiring(CLOSED, basic.clone()).knowing(KNOWING, basic).guard(routes)
    }

    async fn asked(request: Request) -> (StatusCode, String, String) {
        let response = router().oneshot(request).await.expect("never fails");
        let challenge = response.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge.map(|it| it.to_str().expect("text").to_owned());
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("text");
        (status, challenge.unwrap_or_default(), body)
    }

    fn request(path: &str, authorization: Option<&str>) -> Request {
        let mut request = Request::get(path).body(Body::empty()).expect("a request");
        if let Some(value) = authorization {
            let value = value.parse().expect("a value");
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        request
    }

    #[tokio::test]
    async fn a_closed_realm_lets_in_who_knows_the_secret() {
        let right = Credential::new("web", "w").basic();
        let (status, _, body) = asked(request("/closed", Some(&right))).await;
        assert_eq!((status.as_u16(), body.as_str()), (200, "web"));
        let wrong = Credential::new("web", "x").basic();
        for shown in [None, Some(wrong.as_str()), Some("Bearer web"), Some("")] {
            let (status, challenge, body) = asked(request("/closed", shown)).await;
            assert_eq!(status, 401, "{shown:?}");
            assert_eq!(challenge, "Basic realm=\"closed-realm\"");
            assert_eq!(body, "Valid credentials for the realm 'closed-realm' are needed");
        }
    }

    #[tokio::test]
    async fn an_open_realm_does_not_look_at_credentials() {
        let wrong = Credential::new("web", "x").basic();
        for shown in [None, Some(wrong.as_str())] {
            let (status, _, body) = asked(request("/open", shown)).await;
            assert_eq!((status.as_u16(), body.as_str()), (200, "nobody"));
        }
    }

    #[tokio::test]
    async fn a_realm_that_only_knows_people_lets_in_everybody() {
        let (right, wrong) = (Credential::new("web", "w").basic(), Credential::new("web", "x"));
        let wrong = wrong.basic();
        for (shown, who) in [(None, "nobody"), (Some(&wrong), "nobody"), (Some(&right), "web")] {
            let (status, challenge, body) =
                asked(request("/knowing", shown.map(String::as_str))).await;
            assert_eq!((status.as_u16(), body.as_str()), (200, who), "{shown:?}");
            assert_eq!(challenge, "");
        }
    }

    #[tokio::test]
    async fn a_certificate_is_a_proof_unless_credentials_are_shown() {
        let certified = |authorization| {
            let mut request = request("/closed", authorization);
            request.extensions_mut().insert(Principal::named("cert"));
            request
        };
        let (status, _, body) = asked(certified(None)).await;
        assert_eq!((status.as_u16(), body.as_str()), (200, "cert"));
        let right = Credential::new("web", "w").basic();
        assert_eq!(asked(certified(Some(&right))).await.2, "web");
        let wrong = Credential::new("web", "x").basic();
        assert_eq!(asked(certified(Some(&wrong))).await.0, 401);
    }

    #[tokio::test]
    async fn a_call_over_grpc_is_refused_in_grpc() {
        let mut request = request("/closed", None);
        let kind = HeaderValue::from_static("application/grpc+proto");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        let response = router().oneshot(request).await.expect("never fails");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "16");
    }
}
