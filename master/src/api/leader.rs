//! What only the leading master answers, and where it is.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use transport::paths::Requested;

use super::Api;
use crate::leadership::{Leadership, NotServing, Standing};

/// From when on a leading master answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Serves {
    /// As soon as it leads, with what it knows so far.
    OnceElected,
    /// When it knows all that was agreed on before.
    OnceRecovered,
}

/// Lets a request through if this master leads, and says where to go if not.
pub(super) async fn only(
    State((standing, serves)): State<(Standing, Serves)>,
    request: Request,
    next: Next,
) -> Response {
    let may = match serves {
        Serves::OnceElected => standing.leading().await,
        Serves::OnceRecovered => standing.serving().await.map(|_| ()),
    };
    match may {
        Ok(()) => next.run(request).await,
        Err(NotServing::Later(why)) => NotServing::refused(why).into_response(),
        Err(NotServing::Ask { public, .. }) => {
            let uri = request
                .extensions()
                .get::<Requested>()
                .map_or_else(|| request.uri().clone(), |Requested(uri)| uri.clone());
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            redirect_to(&format!("//{public}{path}"))
        }
    }
}

/// Where the leading master is, itself if it is this one.
pub(super) async fn redirect(State(api): State<Api>) -> Response {
    let leader = match api.standing.heard() {
        Leadership::Electing => return NotServing::refused("No leader elected").into_response(),
        Leadership::Following { public, .. } => public.to_string(),
        Leadership::Leading(_) => api.facts.public_address(),
    };
    redirect_to(&format!("//{leader}"))
}

/// Clients parse this by hand: no scheme, always a port, and no body.
fn redirect_to(location: &str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use model::ids::{Reign, Term};
    use model::step::Timestamp;
    use tower::ServiceExt;

    use super::*;
    use crate::leadership::Leading;
    use crate::leadership::tests::standing;

    #[tokio::test]
    async fn a_master_that_recovers_answers_old_tools_only() {
        let reign = Some(Reign([1; 16]));
        let leading =
            |reign| Leadership::Leading(Leading { term: Term(1), reign, since: Timestamp(0) });
        let elsewhere = Leadership::Following {
            leader: "10.0.0.1:5050".into(),
            public: "master-1:5051".into(),
        };
        for (leadership, once_elected, once_recovered) in [
            (Leadership::Electing, (503, "No leader elected"), (503, "No leader elected")),
            (elsewhere, (307, ""), (307, "")),
            (leading(None), (200, "here"), (503, "Master has not finished recovery")),
            (leading(reign), (200, "here"), (200, "here")),
        ] {
            let (standing, _answer) = standing(leadership.clone());
            for (serves, (status, text)) in
                [(Serves::OnceElected, once_elected), (Serves::OnceRecovered, once_recovered)]
            {
                let router = Router::new()
                    .route("/state", get(|| async { "here" }))
                    .layer(from_fn_with_state((standing.clone(), serves), only));
                let request = Request::get("/state?a=b").body(Body::empty()).expect("a request");
                let answer = router.oneshot(request).await.expect("infallible");
                assert_eq!(answer.status(), status, "{leadership:?} {serves:?}");
                if status == 307 {
                    assert_eq!(answer.headers()["location"], "//master-1:5051/state?a=b");
                }
                let body = axum::body::to_bytes(answer.into_body(), 1_000).await.expect("a body");
                assert_eq!(body, text, "{leadership:?} {serves:?}");
            }
        }
    }
}
