//! Requests that another instance answers.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use transport::identity::Identity;

use super::reply::{self, Reply, refuse};
use super::{Shared, remote};

/// Which instances a request went through, so that it cannot go round.
const VIA: &str = "x-marathon-via";

/// How long a connection to the leader may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long the leader may be silent. Changes wait for the masters there.
const READ_WITHIN: Duration = Duration::from_secs(65);

/// Headers of one connection, which mean nothing on the next.
const HOP_BY_HOP: [header::HeaderName; 8] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::HOST,
];

/// What requests are passed on with: in the name of whoever has sent them.
pub(crate) fn client(identity: &Identity) -> reqwest::Client {
    identity
        .without_credential()
        .http()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(READ_WITHIN)
        .tcp_nodelay(true)
        .build()
        .expect("nothing in these settings can fail")
}

/// Sends the client to the leader itself: streams are not passed on.
pub(super) fn redirect(shared: &Shared, leader: &str, uri: &Uri) -> Reply {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut response = reply::empty(StatusCode::FOUND)?;
    let location = HeaderValue::from_str(&format!("{}{path}", shared.options.url(leader)));
    let Ok(location) = location else {
        return refuse(StatusCode::BAD_GATEWAY, "the leader's address is malformed");
    };
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Has the leader answer.
pub(super) async fn forward(shared: &Shared, leader: &str, request: Request) -> Reply {
    let own = format!("1.1 {}", shared.own);
    let passed = request.headers().get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    if passed.flat_map(|value| value.split(',')).any(|step| step.trim() == own) {
        let message = "Detected a proxying loop: this request has passed here before";
        return refuse(StatusCode::BAD_GATEWAY, message);
    }
    let via: HeaderValue = own
        .parse()
        .map_err(|_| reply::error(StatusCode::BAD_GATEWAY, "the own address is malformed"))?;
    let (parts, body) = request.into_parts();
    let mut headers = end_to_end(&parts.headers);
    headers.append(VIA, via.clone());
    if let Ok(client) = remote(&parts.headers, &parts.extensions).parse() {
        headers.insert("x-forwarded-for", client);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = shared
        .http
        .request(parts.method, format!("{}{path}", shared.options.url(leader)))
        .headers(headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()))
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => {
            let message = format!("the leader at {leader} cannot be reached");
            return refuse(StatusCode::BAD_GATEWAY, &message);
        }
        Err(error) => {
            let message = format!("the leader at {leader} did not answer: {error}");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, &message);
        }
    };
    let (status, mut headers) = (answer.status(), end_to_end(answer.headers()));
    headers.append(VIA, via);
    let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in &HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}
