//! Answers.

use std::hash::{Hash, Hasher};

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use marathon_core::io::Answer;
use serde_json::{Value, json as object};

/// An answer, or why there is none.
pub(super) type Reply = Result<Response, Refused>;

/// Why there is none: an answer too. Boxed, since it is rare and large.
pub(super) struct Refused(pub(super) Box<Response>);

/// The type of JSON bodies.
pub(super) const JSON: &str = "application/json";

/// A JSON body.
#[expect(clippy::unnecessary_wraps, reason = "what handlers end with")]
pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
    Ok(value(status, body))
}

/// A refusal, as a reply.
pub(super) fn refuse(status: StatusCode, message: &str) -> Reply {
    Err(error(status, message))
}

/// A refusal.
pub(super) fn error(status: StatusCode, message: &str) -> Refused {
    Refused(Box::new(value(status, &object!({"message": message}))))
}

/// Refuses other methods than those that are allowed.
pub(super) fn only(method: &Method, allowed: &[Method]) -> Result<(), Refused> {
    if allowed.contains(method) {
        return Ok(());
    }
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    let names = names.join(", ");
    let message = format!("{method} is not allowed here; use {names}");
    let Refused(mut response) = error(StatusCode::METHOD_NOT_ALLOWED, &message);
    let allow = HeaderValue::from_str(&names).expect("names of methods are plain");
    response.headers_mut().insert(header::ALLOW, allow);
    Err(Refused(response))
}

/// What a request says, which is JSON.
pub(super) fn parsed(body: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        let body = object!({"message": "Invalid JSON", "details": error.to_string()});
        Refused(Box::new(value(StatusCode::BAD_REQUEST, &body)))
    })
}

/// A JSON body, as a response. What was read has a tag, so that whoever polls need not fetch it again.
pub(super) fn value(status: StatusCode, body: &Value) -> Response {
    text_of_json(status, body.to_string())
}

/// The same, of what is text already.
pub(super) fn text_of_json(status: StatusCode, body: String) -> Response {
    let tag = (status == StatusCode::OK).then(|| tag(&body));
    let mut response = with(status, JSON, body);
    response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
    response
}

/// A weak tag: compressed or not, the content is the same.
pub(super) fn tag(body: &str) -> HeaderValue {
    let mut hasher = std::hash::DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("W/\"{:016x}-{:x}\"", hasher.finish(), body.len());
    HeaderValue::from_str(&tag).expect("digits and quotes are plain")
}

/// Whether the client has what `response` says, by the tags it knows.
pub(super) fn is_known(response: &Response, known: &HeaderValue) -> bool {
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let (Some(tag), Ok(known)) = (tag, known.to_str()) else { return false };
    let strip = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    response.status() == StatusCode::OK
        && known.split(',').any(|one| one.trim() == "*" || strip(one) == strip(tag))
}

/// A plain text.
#[expect(clippy::unnecessary_wraps, reason = "what handlers end with")]
pub(super) fn text(body: impl Into<String>) -> Reply {
    Ok(with(StatusCode::OK, "text/plain; charset=utf-8", body.into()))
}

/// No body.
#[expect(clippy::unnecessary_wraps, reason = "what handlers end with")]
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Ok(response)
}

pub(super) fn with(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What the core says.
pub(super) fn answer(answer: Answer) -> Reply {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = match &answer.body {
        Some(body) => value(status, body),
        None => empty(status)?,
    };
    let headers = response.headers_mut();
    if let Some(id) = answer.deployment.and_then(|id| HeaderValue::from_str(&id).ok()) {
        headers.insert("marathon-deployment-id", id);
    }
    if let Some(location) = answer.location.and_then(|it| HeaderValue::from_str(&it).ok()) {
        headers.insert(header::LOCATION, location);
    }
    Ok(response)
}
