//! The rules of the Mesos v1 HTTP API that hold for every call.
//!
//! What a request may be written in, what an answer is written in, and the exact refusals that
//! clients know. The checks come in a fixed order: method, content type, body, and only then, when
//! the call is understood, what the client accepts.

use std::collections::HashMap;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Router, http};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use proto::json::JsonError;
use proto::schema::Described;
use std::time::Duration;
use tokio::time::timeout;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;
use tower_http::decompression::RequestDecompressionLayer;

use crate::rendering::Whole;

/// Bytes of a request's body, after decompression. The largest calls are launches of many tasks
/// with their whole environment; a megabyte is rare. Past it the call is refused with 413.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// Bytes of a refused body that are read past the limit, so that its sender comes to hear why. Whoever
/// sends more than this by mistake is cut off instead.
const REST_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

/// How long the rest of a refused body may take.
const REST_WITHIN: Duration = Duration::from_secs(10);

/// Whole answers from this size on are compressed if the client takes it. Below, it costs more than
/// it saves.
pub(crate) const COMPRESSED_FROM_BYTES: u64 = 1_024;

/// What plain texts are labelled.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The two ways to write a message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Encoding {
    /// The Mesos JSON mapping, in ASCII on one line.
    Json,
    /// Binary protobuf.
    Protobuf,
}

impl Encoding {
    /// The content type.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// `message` in this encoding.
    pub fn encode<M: Described>(self, message: &M) -> Bytes {
        match self {
            Self::Json => proto::json::to_vec(message).into(),
            Self::Protobuf => message.encode_to_vec().into(),
        }
    }
}

/// A refusal as clients see it: a status and one line of text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The status code.
    pub status: StatusCode,
    /// The whole body.
    pub text: String,
    /// How long to wait before asking again, where that is known.
    pub retry_after: Option<Duration>,
    /// The methods that are allowed, as an `Allow` header has them; absent where it is not the method.
    pub allow: Option<&'static str>,
}

impl Refused {
    /// A refusal with `status` and `text`.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after: None, allow: None }
    }

    /// The request is wrong, and sending it again will not help.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// The same, with how long to wait before asking again; told in whole seconds.
    #[must_use]
    pub fn try_again_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(header::CONTENT_TYPE, TEXT)], self.text).into_response();
        if let Some(allow) = self.allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}

/// Refuses every method but POST.
pub fn post_only(method: &Method) -> Result<(), Refused> {
    if method == Method::POST {
        return Ok(());
    }
    Err(not_allowed(method, "POST"))
}

/// Refuses a method where only `allowed` is.
pub fn not_allowed(method: &Method, allowed: &'static str) -> Refused {
    let text = expecting(allowed, method);
    Refused { allow: Some(allowed), ..Refused::new(StatusCode::METHOD_NOT_ALLOWED, text) }
}

/// What Mesos says of a method that is not one of `allowed`, which is as in an `Allow` header.
fn expecting(allowed: &str, method: &Method) -> String {
    let allowed: Vec<String> = allowed.split(',').map(|it| format!("'{}'", it.trim())).collect();
    let allowed = allowed.join(", ");
    format!("405 Method Not Allowed. Expecting one of {{ {allowed} }}, but received '{method}'.")
}

/// Says what is wrong where a route has refused a method without a word.
pub async fn explain_method(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let is_silent = response.status() == StatusCode::METHOD_NOT_ALLOWED
        && response.body().size_hint().exact() == Some(0);
    let allow =
        response.headers().get(header::ALLOW).filter(|_| is_silent && method != Method::HEAD);
    if let Some(text) = allow.and_then(|it| it.to_str().ok()).map(|it| expecting(it, &method)) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
        *response.body_mut() = text.into();
    }
    response
}

/// What the body is written in. Case and parameters of the content type do not matter here, although
/// Mesos is stricter.
pub fn content_type(headers: &HeaderMap) -> Result<Encoding, Refused> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Err(Refused::bad_request("Expecting 'Content-Type' to be present"));
    };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    [Encoding::Json, Encoding::Protobuf]
        .into_iter()
        .find(|encoding| kind.eq_ignore_ascii_case(encoding.mime()))
        .ok_or_else(|| {
            Refused::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Expecting 'Content-Type' of application/json or application/x-protobuf",
            )
        })
}

/// What the answer is to be written in: JSON if the client takes it at all, otherwise protobuf.
pub fn accepted(headers: &HeaderMap) -> Result<Encoding, Refused> {
    [Encoding::Json, Encoding::Protobuf]
        .into_iter()
        .find(|encoding| accepts(headers, encoding.mime()))
        .ok_or_else(|| {
            Refused::new(
                StatusCode::NOT_ACCEPTABLE,
                "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
            )
        })
}

/// Whether the `Accept` headers allow `mime`. None at all allow everything.
pub fn accepts(headers: &HeaderMap, mime: &str) -> bool {
    let (main, _) = mime.split_once('/').unwrap_or((mime, ""));
    let mut seen = false;
    // The entry that names the type most closely decides.
    let mut best: Option<(u8, bool)> = None;
    for entry in headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
        for range in entry.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            seen = true;
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let closeness = if kind.eq_ignore_ascii_case(mime) {
                2
            } else if kind.strip_suffix("/*").is_some_and(|kind| kind.eq_ignore_ascii_case(main)) {
                1
            } else if kind == "*/*" || kind == "*" {
                0
            } else {
                continue;
            };
            let refused = parts
                .filter_map(|part| part.split_once('='))
                .any(|(name, value)| name.trim() == "q" && value.trim().parse() == Ok(0.0_f32));
            if best.is_none_or(|(best, _)| closeness > best) {
                best = Some((closeness, !refused));
            }
        }
    }
    !seen || best.is_some_and(|(_, allowed)| allowed)
}

/// Reads a body up to [`BODY_BYTES_MAX`].
pub async fn read_body(body: Body) -> Result<Bytes, Refused> {
    read_body_up_to(body, BODY_BYTES_MAX).await
}

/// Reads a body up to `bytes_max`.
pub async fn read_body_up_to(mut body: Body, bytes_max: usize) -> Result<Bytes, Refused> {
    match Limited::new(&mut body, bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            // Whoever is still sending does not listen: an answer now would be lost with the
            // connection. How the rest ends does not matter any more.
            let _ = timeout(REST_WITHIN, pass_over(body)).await;
            Err(Refused::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("The request body is larger than {bytes_max} bytes; split the call"),
            ))
        }
        Err(error) => Err(Refused::bad_request(format!("Failed to read the body: {error}"))),
    }
}

/// Reads what is left of a body and forgets it, up to [`REST_BYTES_MAX`].
async fn pass_over(mut body: Body) {
    let mut passed = 0;
    while passed <= REST_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        passed += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// Reads one call: checks method and content type, reads the body and decodes it.
///
/// `name` is the message's short name, as it stands in the refusals.
pub async fn read_call<M: Described>(
    request: Request,
    name: &str,
) -> Result<(Parts, Encoding, M), Refused> {
    post_only(request.method())?;
    let encoding = content_type(request.headers())?;
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let call = decode(encoding, &body, name)?;
    Ok((parts, encoding, call))
}

/// Decodes one message and makes sure that what must be there is.
pub fn decode<M: Described>(encoding: Encoding, body: &[u8], name: &str) -> Result<M, Refused> {
    let text = match encoding {
        Encoding::Protobuf => match proto::wire::decode(body) {
            Ok(message) => return Ok(message),
            // Nothing is told of what was wrong, as Mesos does not.
            Err(_) => format!("Failed to parse body into {name} protobuf"),
        },
        Encoding::Json => match proto::json::from_slice(body) {
            Ok(message) => return Ok(message),
            Err(JsonError::Syntax(detail)) => format!("Failed to parse body into JSON: {detail}"),
            Err(JsonError::Conversion(detail)) => {
                format!("Failed to convert JSON into {name} protobuf: {detail}")
            }
        },
    };
    Err(Refused::bad_request(text))
}

/// An answer with one message in it.
pub fn answer<M: Described>(encoding: Encoding, message: &M) -> Response {
    message_of(encoding, message).into_response()
}

/// The same, before it is sent.
pub fn message_of<M: Described>(encoding: Encoding, message: &M) -> Whole {
    Whole::new(encoding.mime(), encoding.encode(message))
}

/// JSON that was made already; wrapped in a call to `callback` if there is one, for pages that fetch
/// by script tags.
pub fn json(body: impl Into<Bytes>, callback: Option<&str>) -> Result<Whole, Refused> {
    let body = body.into();
    let Some(callback) = callback.filter(|callback| !callback.is_empty()) else {
        return Ok(Whole::new(Encoding::Json.mime(), body));
    };
    // Anything else could carry markup or code of its own.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    if !callback.chars().all(plain) {
        return Err(Refused::bad_request(
            "'jsonp' must be a function's name: letters, digits, '_', '$' and '.'",
        ));
    }
    let mut wrapped = Vec::with_capacity(body.len() + callback.len() + 2);
    wrapped.extend_from_slice(callback.as_bytes());
    wrapped.push(b'(');
    wrapped.extend_from_slice(&body);
    wrapped.push(b')');
    Ok(Whole::new("text/javascript", wrapped))
}

/// The query of a request.
pub type Parameters = HashMap<String, String>;

/// A value as the answer to a question with these parameters, one of which may be `jsonp`.
pub fn rendered(value: &serde_json::Value, parameters: &Parameters) -> Response {
    whole(value, parameters).into_response()
}

/// The same, before it is sent.
pub fn whole(value: &serde_json::Value, parameters: &Parameters) -> Result<Whole, Refused> {
    let body = serde_json::to_vec(value).expect("values can be written");
    json(ascii(body), parameters.get("jsonp").map(String::as_str))
}

/// JSON text with every other character than ASCII escaped: some clients count UTF-16 units where
/// bytes are meant.
pub fn ascii(json: Vec<u8>) -> Vec<u8> {
    if json.is_ascii() {
        return json;
    }
    let text = String::from_utf8_lossy(&json);
    let mut out = Vec::with_capacity(json.len() * 2);
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c as u8);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        }
    }
    out
}

/// Compression both ways for plain HTTP routes. Streams pass untouched: a record must leave when it
/// is written. Not for gRPC, which has its own.
pub fn compressed(router: Router) -> Router {
    router
        .layer(CompressionLayer::new().compress_when(WholeAndLarge))
        .layer(RequestDecompressionLayer::new())
}

/// Answers whose size is known, which no stream's is.
#[derive(Clone, Copy)]
struct WholeAndLarge;

impl Predicate for WholeAndLarge {
    fn should_compress<B: hyper::body::Body>(&self, response: &http::Response<B>) -> bool {
        response.body().size_hint().exact().is_some_and(|size| size >= COMPRESSED_FROM_BYTES)
    }
}

#[cfg(test)]
mod tests;
