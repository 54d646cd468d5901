//! Calling a daemon, wherever its leader is.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode, header};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;

use crate::identity::Identity;

/// Redirects and candidates tried for one request. A cluster has at most five masters; twice round
/// is enough to find a leader that is there.
const TRIES_MAX: usize = 12;

/// How long a connection attempt may take. A dead host must not hold up the search for the leader.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Why a call could not be made, or its answer not be read.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No master that could be reached knows a leader.
    #[error("no leading master found among {candidates}: {last}")]
    NoLeader {
        /// Who was asked.
        candidates: String,
        /// What the last one said.
        last: String,
    },
    /// The connection failed after the request had left, so nobody knows whether it was carried out.
    #[error("the call to {address} was interrupted")]
    Interrupted {
        /// Who was asked.
        address: String,
        /// What the client library said.
        source: reqwest::Error,
    },
    /// The request itself cannot be sent.
    #[error("cannot make a request to {address}")]
    Request {
        /// Who was to be asked.
        address: String,
        /// What the client library said.
        source: reqwest::Error,
    },
}

/// Why a stream of records ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The connection failed.
    #[error("the connection was lost")]
    Lost(#[source] reqwest::Error),
    /// What came is no stream of records.
    #[error("malformed record stream")]
    Malformed(#[source] proto::recordio::RecordError),
}

/// Several addresses of one service, of which one leads.
///
/// Remembers who led last, follows redirects, and asks the others when it is gone. It does not wait
/// between rounds: a caller that gets [`CallError::NoLeader`] backs off and calls again.
pub struct Leader {
    http: reqwest::Client,
    scheme: &'static str,
    candidates: Vec<String>,
    current: Mutex<Current>,
}

struct Current {
    address: String,
    /// Index of the candidate to ask next.
    next: usize,
}

impl Leader {
    /// A client for `candidates` (`host:port` each), which shows them who it is.
    ///
    /// # Panics
    ///
    /// Without any candidate.
    pub fn new(candidates: Vec<String>, identity: &Identity) -> Self {
        let http = identity
            .http()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .build()
            .expect("nothing in these settings can fail");
        let address = candidates.first().expect("at least one address").clone();
        let scheme = identity.scheme();
        Self { http, scheme, candidates, current: Mutex::new(Current { address, next: 1 }) }
    }

    /// Who led last, or is asked first: `host:port`.
    pub fn address(&self) -> String {
        self.current.lock().address.clone()
    }

    /// Notes that `address` (`host:port`) leads, learnt some other way.
    pub fn found(&self, address: &str) {
        address.clone_into(&mut self.current.lock().address);
    }

    /// Turns to the next candidate: the present one is of no use. Returns its address.
    pub fn next_candidate(&self) -> String {
        let mut current = self.current.lock();
        let next = current.next % self.candidates.len();
        current.next = next + 1;
        current.address.clone_from(&self.candidates[next]);
        current.address.clone()
    }

    /// The HTTP client below, for requests that need no leader.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Sends one request to the leader, following redirects and passing over those that are down.
    ///
    /// Any answer but a redirect and 503 is returned as it is. A request that may have arrived is
    /// not sent again.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, CallError> {
        let mut last = String::new();
        for _ in 0..TRIES_MAX.max(2 * self.candidates.len()) {
            let (scheme, address) = (self.scheme, self.address());
            let request = self
                .http
                .request(method.clone(), format!("{scheme}://{address}{path}"))
                .headers(headers.clone())
                .body(body.clone());
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::TEMPORARY_REDIRECT => {
                    let location = answer.headers().get(header::LOCATION);
                    let leader = location.and_then(|location| location.to_str().ok());
                    if let Some(leader) = leader.and_then(location_address) {
                        self.found(&leader);
                    } else {
                        last = format!("{address} redirects without an address");
                        self.next_candidate();
                    }
                }
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    let text = answer.text().await.unwrap_or_default();
                    last = format!("{address}: {text}");
                    self.next_candidate();
                    if self.candidates.len() == 1 {
                        break;
                    }
                }
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_connect() => {
                    last = format!("{address} cannot be reached");
                    self.next_candidate();
                    if self.candidates.len() == 1 && self.address() == address {
                        break;
                    }
                }
                Err(source) if source.is_builder() => {
                    return Err(CallError::Request { address, source });
                }
                Err(source) => {
                    self.next_candidate();
                    return Err(CallError::Interrupted { address, source });
                }
            }
        }
        Err(CallError::NoLeader { candidates: self.candidates.join(", "), last })
    }
}

/// `host:port` of a `Location`, which is scheme-relative (`//host:port/path`) from masters of all
/// but the oldest kind.
pub fn location_address(location: &str) -> Option<String> {
    let schemeless = location.strip_prefix("https:").or_else(|| location.strip_prefix("http:"));
    let rest = schemeless.unwrap_or(location).strip_prefix("//")?;
    let address = rest.split(['/', '?']).next()?;
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| address.to_owned())
}

/// The records of a streaming answer, one by one.
pub struct RecordStream {
    body: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    decoder: proto::recordio::Decoder,
    ended: bool,
}

impl RecordStream {
    /// Reads `answer`'s body as records.
    pub fn new(answer: reqwest::Response) -> Self {
        Self {
            body: answer.bytes_stream().boxed(),
            decoder: proto::recordio::Decoder::default(),
            ended: false,
        }
    }
}

impl Stream for RecordStream {
    type Item = Result<Bytes, RecordError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            match self.decoder.next() {
                Ok(Some(record)) => return Poll::Ready(Some(Ok(record))),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(RecordError::Malformed(error))));
                }
            }
            match std::task::ready!(self.body.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => self.decoder.push(&chunk),
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(RecordError::Lost(error))));
                }
                None => self.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::extract::Request;
    use axum::response::IntoResponse;
    use axum::routing::{get, post};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::records::{QueueLimits, records};
    use crate::server::Server;

    async fn serving(router: Router) -> SocketAddr {
        let bound =
            Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let address = bound.local_addr();
        tokio::spawn(bound.serve(router, CancellationToken::new()));
        address
    }

    #[test]
    fn locations_have_an_address_with_or_without_a_scheme() {
        for (location, address) in [
            ("//m1:5050/api/v1", Some("m1:5050")),
            ("//m1:5050", Some("m1:5050")),
            ("http://10.0.0.1:5050/x", Some("10.0.0.1:5050")),
            ("https://m1:5050/x", Some("m1:5050")),
            ("//[::1]:5050/x", Some("[::1]:5050")),
            ("/relative", None),
            ("//m1/no-port", None),
            ("", None),
        ] {
            assert_eq!(location_address(location).as_deref(), address, "{location}");
        }
    }

    #[tokio::test]
    async fn the_leader_is_found_past_the_dead_and_the_redirecting() {
        let leader =
            serving(Router::new().route("/call", post(|body: String| async { body }))).await;
        let follower = serving(Router::new().fallback(move |request: Request| async move {
            let location = format!("//{leader}{}", request.uri());
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
        }))
        .await;
        let electing = serving(
            Router::new()
                .fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, "No leader elected") }),
        )
        .await;
        // A port that was free a moment ago: nobody listens there.
        let dead = Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
        let addresses =
            [dead.local_addr(), electing, follower].iter().map(ToString::to_string).collect();
        drop(dead);
        let client = Leader::new(addresses, &Identity::default());
        let answer = client
            .send(Method::POST, "/call", HeaderMap::new(), Bytes::from_static(b"hello"))
            .await
            .expect("an answer");
        assert_eq!(answer.text().await.expect("a body"), "hello");
        assert_eq!(client.address(), leader.to_string());
    }

    #[tokio::test]
    async fn without_a_leader_the_last_word_is_told() {
        let electing = serving(
            Router::new()
                .fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, "No leader elected") }),
        )
        .await;
        let client = Leader::new(vec![electing.to_string()], &Identity::default());
        let error = client
            .send(Method::GET, "/", HeaderMap::new(), Bytes::new())
            .await
            .expect_err("nobody leads");
        assert!(error.to_string().ends_with("No leader elected"), "{error}");
    }

    #[tokio::test]
    async fn records_are_read_one_by_one_until_the_end() {
        let address = serving(Router::new().route(
            "/",
            get(|request: Request| async move {
                let (records, body) = records("test", QueueLimits::default(), request.extensions());
                for payload in ["one", "", "three"] {
                    records.send(payload.as_bytes()).expect("room");
                }
                body
            }),
        ))
        .await;
        let answer = reqwest_get(address).await;
        let read: Vec<_> =
            RecordStream::new(answer).map(|record| record.expect("whole")).collect().await;
        assert_eq!(read, ["one", "", "three"]);
    }

    #[tokio::test]
    async fn what_is_no_record_ends_the_stream_with_an_error() {
        let address = serving(Router::new().route("/", get(|| async { "3\nonex\n" }))).await;
        let mut stream = RecordStream::new(reqwest_get(address).await);
        let mut last = None;
        while let Some(record) = stream.next().await {
            last = Some(record);
        }
        assert!(matches!(last, Some(Err(RecordError::Malformed(_)))));
    }

    async fn reqwest_get(address: SocketAddr) -> reqwest::Response {
        let client = Leader::new(vec![address.to_string()], &Identity::default());
        client.send(Method::GET, "/", HeaderMap::new(), Bytes::new()).await.expect("an answer")
    }
}
