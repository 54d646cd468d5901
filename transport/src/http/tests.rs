use axum::http::HeaderName;
use axum::routing::post;
use proto::mesos::v1::scheduler::Call;
use tower::ServiceExt;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), value.parse::<HeaderValue>().expect("a value"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

#[test]
fn accept_is_read_as_mesos_reads_it() {
    use Encoding::{Json, Protobuf};
    for (values, wanted) in [
        (&[][..], Some(Json)),
        (&["application/json"], Some(Json)),
        (&["application/x-protobuf"], Some(Protobuf)),
        (&["*/*"], Some(Json)),
        (&["application/*"], Some(Json)),
        (&["text/html, application/x-protobuf"], Some(Protobuf)),
        (&["application/x-protobuf, application/json;q=0.1"], Some(Json)),
        (&["application/json;q=0, application/x-protobuf"], Some(Protobuf)),
        (&["application/json; q=0.0, */*"], Some(Protobuf)),
        (&["text/html", "application/x-protobuf"], Some(Protobuf)),
        (&["Application/JSON"], Some(Json)),
        (&["text/html"], None),
        (&["*/*;q=0"], None),
        (&["application/recordio"], None),
    ] {
        let pairs: Vec<_> = values.iter().map(|value| ("accept", *value)).collect();
        let found = accepted(&headers(&pairs));
        match wanted {
            Some(encoding) => assert_eq!(found, Ok(encoding), "{values:?}"),
            None => assert_eq!(
                found,
                Err(Refused::new(
                    StatusCode::NOT_ACCEPTABLE,
                    "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"
                )),
                "{values:?}"
            ),
        }
    }
}

/// Method, content type, body; status, and how the answer begins.
type Case = (&'static str, Option<&'static str>, &'static [u8], u16, &'static str);

/// A router with one call endpoint that answers with the type it understood.
fn endpoint() -> Router {
    compressed(Router::new().route(
        "/",
        axum::routing::any(|request: Request| async {
            let (_, encoding, call) = match read_call::<Call>(request, "Call").await {
                Ok(read) => read,
                Err(refused) => return refused.into_response(),
            };
            format!("{encoding:?} {}", call.r#type.unwrap_or_default()).into_response()
        }),
    ))
}

async fn text_of(response: Response) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

#[tokio::test]
async fn every_malformed_request_has_its_own_answer() {
    let json = "application/json";
    let protobuf = "application/x-protobuf";
    let cases: [Case; 12] = [
        (
            "GET",
            Some(json),
            b"",
            405,
            "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
        ),
        ("POST", None, b"{}", 400, "Expecting 'Content-Type' to be present"),
        (
            "POST",
            Some("text/plain"),
            b"{}",
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        ("POST", Some(json), b"{", 400, "Failed to parse body into JSON: "),
        ("POST", Some(json), b"", 400, "Failed to parse body into JSON: "),
        (
            "POST",
            Some(json),
            b"[]",
            400,
            "Failed to convert JSON into Call protobuf: Expecting a JSON object",
        ),
        (
            "POST",
            Some(json),
            br#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{}}}"#,
            400,
            "Failed to convert JSON into Call protobuf: Missing required fields: ",
        ),
        ("POST", Some(protobuf), b"\xff", 400, "Failed to parse body into Call protobuf"),
        // subscribe { framework_info {} }, whose user and name are required
        (
            "POST",
            Some(protobuf),
            b"\x1a\x02\x0a\x00",
            400,
            "Failed to parse body into Call protobuf",
        ),
        ("POST", Some(json), br#"{"type":"REVIVE"}"#, 200, "Json "),
        ("POST", Some("Application/JSON; charset=utf-8"), br#"{"type":"REVIVE"}"#, 200, "Json "),
        ("POST", Some(protobuf), b"\x10\x05", 200, "Protobuf "),
    ];
    for (method, kind, body, status, text) in cases {
        let mut request = Request::builder().method(method).uri("/");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let response = endpoint().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), status, "{method} {kind:?} {body:?}");
        if status != 200 {
            assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        }
        assert_eq!(response.headers().get("allow").is_some(), status == 405);
        let answer = text_of(response).await;
        assert!(answer.starts_with(text), "{method} {kind:?} {body:?}: {answer}");
    }
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused_even_when_it_unpacks_to_that() {
    let limited = compressed(Router::new().route(
        "/",
        post(|request: Request| async {
            match read_body_up_to(request.into_body(), 2_000).await {
                Ok(body) => body.len().to_string().into_response(),
                Err(refused) => refused.into_response(),
            }
        }),
    ));
    // 100,000 zero bytes, packed by `gzip`.
    let packed = gzip(vec![0; 100_000]).await;
    assert!(packed.len() < 2_000);
    for (body, packed_as, status) in [
        (vec![0; 2_000], None, 200),
        (vec![0; 2_001], None, 413),
        (packed, Some("gzip"), 413),
        (gzip(vec![0; 2_000]).await, Some("gzip"), 200),
    ] {
        let mut request = Request::post("/");
        if let Some(packed_as) = packed_as {
            request = request.header("content-encoding", packed_as);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let response = limited.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), status);
        if status == 413 {
            let text = text_of(response).await;
            assert_eq!(text, "The request body is larger than 2000 bytes; split the call");
        }
    }
}

/// `bytes` as the compression layer itself packs them.
async fn gzip(bytes: Vec<u8>) -> Vec<u8> {
    let echo = compressed(Router::new().route("/", post(|| async { bytes })));
    let request = Request::post("/").header("accept-encoding", "gzip").body(Body::empty());
    let response = echo.oneshot(request.expect("a request")).await.expect("infallible");
    assert_eq!(
        response.headers().get("content-encoding").map(HeaderValue::as_bytes),
        Some(&b"gzip"[..])
    );
    response.into_body().collect().await.expect("a body").to_bytes().to_vec()
}

#[tokio::test]
async fn only_whole_and_large_answers_are_compressed() {
    for (size, stream, packed) in
        [(1_023, false, false), (1_024, false, true), (9_999, true, false)]
    {
        let router = compressed(Router::new().route(
            "/",
            post(move || async move {
                if stream {
                    let chunk = Ok::<_, std::io::Error>(vec![b'x'; size]);
                    Body::from_stream(futures::stream::iter([chunk]))
                } else {
                    Body::from(vec![b'x'; size])
                }
            }),
        ));
        let request = Request::post("/").header("accept-encoding", "gzip").body(Body::empty());
        let response = router.oneshot(request.expect("a request")).await.expect("infallible");
        assert_eq!(response.headers().contains_key("content-encoding"), packed, "{size} {stream}");
    }
}

#[tokio::test]
async fn jsonp_wraps_in_a_function_and_nothing_else() {
    let wrapped = json("{}", Some("app.on_state$1")).into_response();
    assert_eq!(wrapped.headers()["content-type"], "text/javascript");
    assert_eq!(text_of(wrapped).await, "app.on_state$1({})");
    assert_eq!(json("{}", Some("alert(1)//")).into_response().status(), 400);
    assert_eq!(json("{}", None).into_response().headers()["content-type"], "application/json");
}

#[test]
fn json_leaves_in_ascii() {
    assert_eq!(ascii("\"ä€😀\"".into()), br#""\u00e4\u20ac\ud83d\ude00""#);
    assert_eq!(ascii(b"{}".to_vec()), b"{}");
}
