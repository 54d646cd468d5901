//! One port for HTTP/1.1, HTTP/2 and gRPC.
//!
//! The first bytes of a connection say which HTTP it speaks, and the content type of a request says
//! whether it is gRPC. With [`Bound::with_tls`] all of that is within TLS, and whoever has shown a
//! certificate comes with a [`crate::auth::Principal`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::auth::Principal;
use crate::http::Refused;
use crate::tls::{Acceptor, Tls};

/// Connections served at once. Past it a new one is closed at once and counted, so that those that
/// are there (the agents' links above all) keep their share of memory and file descriptors.
pub const CONNECTIONS_MAX: usize = 32_768;

/// How long a connection may take to say which protocol it speaks. It is long because clients open
/// connections ahead of need, and finite because each costs a descriptor.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(60);

/// How long an HTTP/1.1 connection may take for a request's head, idling before it included.
/// Clients reuse connections that were idle for a minute or so; this is well above.
pub(crate) const HEAD_WITHIN: Duration = Duration::from_secs(150);

/// How often an HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Requests under way on one HTTP/2 connection. Many simulated agents share one connection.
const STREAMS_MAX: u32 = 16_384;

/// How long requests may go on after a stop was asked. Endless responses end at once, since their
/// handlers watch the same token; what is left are short calls.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Pause after `accept` failed, which it does when descriptors have run out: without it the loop
/// would spin until some are back.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes that may be on their way to us over one HTTP/2 connection before they are read.
///
/// The HTTP library ends connections on which more small frames wait than half of this would hold, at
/// 256 bytes for each, and messages between masters and agents are small. A window that grows with the
/// traffic begins at 64 KiB, so a hundred agents on one connection that speak at once would lose it.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// The same for one request or answer.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 << 20;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a port could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: is another process using the port?")]
pub struct BindError {
    /// The address that was asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Where serving starts.
#[derive(Debug)]
pub struct Server;

/// A port that is ours. Connections wait in the system's queue until it is served.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    local_addr: SocketAddr,
    connections_max: usize,
    tls: Option<Tls>,
    /// Paths that need no certificate.
    open: &'static [&'static str],
}

/// Who is at the other end of the connection: an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Closes the connection that a request came on: an extension of every HTTP/1 request.
///
/// A response body cannot do that by itself: while the peer does not read, it is never asked.
#[derive(Clone, Debug)]
pub struct Cut(pub CancellationToken);

impl Server {
    /// Takes the port. Port 0 takes any free one: [`Bound::local_addr`] says which.
    pub async fn bind(addr: SocketAddr) -> Result<Bound, BindError> {
        let bound = async {
            let listener = TcpListener::bind(addr).await?;
            let local_addr = listener.local_addr()?;
            let (connections_max, tls, open) = (CONNECTIONS_MAX, None, &[][..]);
            Ok(Bound { listener, local_addr, connections_max, tls, open })
        };
        bound.await.map_err(|source| BindError { addr, source })
    }
}

impl Bound {
    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Sets another bound for connections at once than [`CONNECTIONS_MAX`].
    #[must_use]
    pub fn with_connections_max(mut self, connections_max: usize) -> Self {
        self.connections_max = connections_max;
        self
    }

    /// Serves within TLS, if there is one.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Where a certificate is required, answers requests to these paths without one as well. Others
    /// then are not refused by the handshake, but by 401.
    #[must_use]
    pub fn open_without_certificate(mut self, paths: &'static [&'static str]) -> Self {
        self.open = paths;
        self
    }

    /// Serves `router` until `stop` is cancelled, then lets calls under way end for a short while.
    ///
    /// Handlers of endless responses must watch `stop` too, or they are cut off at the end of it.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.connections_max));
        let connections = TaskTracker::new();
        let acceptor = self.tls.map(|tls| Acceptor::new(tls, !self.open.is_empty()));
        let router = match &acceptor {
            Some(acceptor) if acceptor.asks_later() => {
                let open = self.open;
                router.layer(from_fn(move |request, next| ask_for_certificate(open, request, next)))
            }
            Some(_) | None => router,
        };
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                ::metrics::counter!("agora_connections_refused").increment(1);
                continue;
            };
            let (router, stop, acceptor) = (router.clone(), stop.clone(), acceptor.clone());
            connections.spawn(async move {
                serve_connection(stream, peer, acceptor, router, stop).await;
                drop(place);
            });
        }
        // The port is free again before the last calls have ended.
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

/// Serves one connection to its end.
async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<Acceptor>,
    router: Router,
    stop: CancellationToken,
) {
    // Events are small and must not wait for more to come.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        return serve_stream(stream, peer, None, router, stop).await;
    };
    let accepted = acceptor.accept(stream, FIRST_BYTES_WITHIN);
    let Some(Some(accepted)) = stop.run_until_cancelled(accepted).await else { return };
    serve_stream(accepted.stream, peer, accepted.principal, router, stop).await;
}

/// Serves what is said on one connection, whatever is below.
async fn serve_stream<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    peer: SocketAddr,
    principal: Option<Principal>,
    router: Router,
    stop: CancellationToken,
) {
    let sniffed = tokio::select! {
        sniffed = timeout(FIRST_BYTES_WITHIN, sniff(stream)) => sniffed,
        () = stop.cancelled() => return,
    };
    let Ok(Ok((http2, stream))) = sniffed else { return };

    let cut = Cut(CancellationToken::new());
    let cut_token = cut.0.clone();
    let service = router.map_request(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        if let Some(principal) = &principal {
            request.extensions_mut().insert(principal.clone());
        }
        if !http2 {
            request.extensions_mut().insert(cut.clone());
        }
        request.map(axum::body::Body::new)
    });
    let builder = builder(http2);
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = cut_token.cancelled() => return,
        () = stop.cancelled() => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        let Ok(ended) = timeout(STOP_WITHIN, connection).await else { return };
        ended
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "connection ended badly");
    }
}

fn builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    if http2 { builder.http2_only() } else { builder.http1_only() }
}

/// Lets those through who have shown a certificate, and to some paths everybody.
async fn ask_for_certificate(
    open: &'static [&'static str],
    request: Request,
    next: Next,
) -> Response {
    let extensions = request.extensions();
    if extensions.get::<Principal>().is_some() || open.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let text = "A client certificate is needed, with a name in it";
    if is_grpc(request.headers()) {
        return tonic::Status::unauthenticated(text).into_http::<axum::body::Body>();
    }
    Refused::new(StatusCode::UNAUTHORIZED, text).into_response()
}

/// Reads until it is clear whether this is HTTP/2, and puts what was read back in front.
///
/// The HTTP library can tell too, but sets no time limit on it.
async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(bool, Replayed<S>)> {
    let mut head = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < head.len() {
        let read = stream.read(&mut head[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if head[..filled] != PREFACE[..filled] {
            break;
        }
    }
    let http2 = head == *PREFACE;
    Ok((http2, Replayed { head, next: 0, end: filled, stream }))
}

/// A stream whose first bytes were read already and are given out again.
struct Replayed<S> {
    head: [u8; PREFACE.len()],
    next: usize,
    end: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.next == self.end {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let size = (self.end - self.next).min(buf.remaining());
        buf.put_slice(&self.head[self.next..self.next + size]);
        self.next += size;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// HTTP routes and gRPC services on one port.
///
/// `rest` must not have a fallback: a request that nothing serves is told so in its own protocol.
pub fn one_port(rest: Router, services: tonic::service::Routes) -> Router {
    // The services' own fallback would answer plain HTTP requests in gRPC's way.
    services.into_axum_router().reset_fallback().merge(rest).fallback(nothing_here)
}

async fn nothing_here(headers: HeaderMap) -> Response {
    if is_grpc(&headers) {
        tonic::Status::unimplemented("this server has no such method")
            .into_http::<axum::body::Body>()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

/// Whether a request with these headers is one of gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::extract::Request;
    use axum::middleware::{Next, from_fn};
    use axum::routing::{get, post};
    use futures::future::join_all;
    use futures::stream::{self, StreamExt};
    use tokio::io::AsyncWriteExt;
    use tokio::sync::Semaphore;
    use tonic::service::Routes;

    use super::*;

    async fn started(router: Router, connections_max: usize) -> (SocketAddr, CancellationToken) {
        let bound = Server::bind("127.0.0.1:0".parse().expect("an address"))
            .await
            .expect("a free port")
            .with_connections_max(connections_max);
        let (address, stop) = (bound.local_addr(), CancellationToken::new());
        tokio::spawn(bound.serve(router, stop.clone()));
        (address, stop)
    }

    fn hello() -> Router {
        one_port(Router::new().route("/", get(|| async { "hello" })), Routes::default())
    }

    #[tokio::test]
    async fn both_versions_of_http_are_answered_on_one_port() {
        crate::install_tls_provider();
        let (address, _stop) = started(hello(), 8).await;
        for client in [
            reqwest::Client::builder().http1_only().build(),
            reqwest::Client::builder().http2_prior_knowledge().build(),
        ] {
            let client = client.expect("a client");
            let answer = client.get(format!("http://{address}/")).send().await.expect("an answer");
            assert!(answer.headers().contains_key("date"));
            assert_eq!(answer.text().await.expect("a body"), "hello");
            let missing =
                client.get(format!("http://{address}/x")).send().await.expect("an answer");
            assert_eq!(missing.status(), 404);
        }
    }

    /// As when all simulated agents of a process speak at once: more than a reader can keep up with.
    #[tokio::test]
    async fn many_small_frames_may_wait_on_one_connection() {
        const SENDERS: usize = 1_000;
        crate::install_tls_provider();
        let read = Arc::new(Semaphore::new(0));
        let may_read = read.clone();
        let echo = move |body: Bytes| async move { body };
        let waits = from_fn(move |request: Request, next: Next| {
            let may_read = may_read.clone();
            async move {
                let _permit = may_read.acquire().await;
                next.run(request).await
            }
        });
        let router = Router::new().route("/", post(echo)).layer(waits);
        let router = router.route("/hello", get(|| async { "hello" }));
        let (address, _stop) = started(one_port(router, Routes::default()), 8).await;
        let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
        let said = Arc::new(Semaphore::new(0));
        let sender = |_| {
            let said = said.clone();
            let words = ["one", "two", "three"].map(Ok::<_, io::Error>);
            let words = stream::iter(words).inspect(move |_| said.add_permits(1));
            let body = reqwest::Body::wrap_stream(words);
            let request = client.post(format!("http://{address}/")).body(body);
            async { request.send().await.expect("an answer").text().await.expect("a body") }
        };
        let answers = tokio::spawn(join_all((0..SENDERS).map(sender)));
        // All is on its way, and what was sent before this question is there.
        let all = u32::try_from(3 * SENDERS).expect("not many");
        said.acquire_many(all).await.expect("all speak").forget();
        let hello = client.get(format!("http://{address}/hello")).send().await.expect("an answer");
        assert_eq!(hello.text().await.expect("a body"), "hello");
        read.add_permits(SENDERS);
        let answers = answers.await.expect("no connection is lost");
        assert!(answers.iter().all(|answer| answer == "onetwothree"));
    }

    #[tokio::test]
    async fn an_unknown_grpc_method_is_refused_in_grpc() {
        crate::install_tls_provider();
        let (address, _stop) = started(hello(), 8).await;
        let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
        let answer = client
            .post(format!("http://{address}/no.Service/Method"))
            .header("content-type", "application/grpc")
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["grpc-status"], "12");
    }

    #[tokio::test]
    async fn a_head_that_comes_byte_by_byte_is_read() {
        let (address, _stop) = started(hello(), 8).await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" {
            stream.write_all(&[*byte]).await.expect("a write");
            stream.flush().await.expect("a flush");
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }

    #[tokio::test]
    async fn connections_past_the_limit_are_closed() {
        let (address, _stop) = started(hello(), 1).await;
        let mut first = TcpStream::connect(address).await.expect("a connection");
        first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a write");
        let mut byte = [0];
        first.read_exact(&mut byte).await.expect("an answer");
        let mut second = TcpStream::connect(address).await.expect("a connection");
        let read = second.read(&mut byte).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    #[tokio::test]
    async fn a_stop_frees_the_port_and_ends_open_connections() {
        let bound =
            Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let (address, stop) = (bound.local_addr(), CancellationToken::new());
        let served = tokio::spawn(bound.serve(hello(), stop.clone()));
        let mut idle = TcpStream::connect(address).await.expect("a connection");
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a write");
        let mut byte = [0];
        idle.read_exact(&mut byte).await.expect("an answer");
        stop.cancel();
        timeout(STOP_WITHIN * 2, served).await.expect("ends in time").expect("ends well");
        drop(Server::bind(address).await.expect("the port is free again"));
    }
}
