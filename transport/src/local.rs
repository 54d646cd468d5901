//! Serving on a socket in the file system, for clients on this machine that a port may not reach.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::server::{ACCEPT_PAUSE, Cut, HEAD_WITHIN, STOP_WITHIN};

/// Serves `router` until `stop` is cancelled, then lets calls under way end for a short while. It is
/// served as on a port, but without the protocol of ports, TLS.
pub async fn serve(listener: UnixListener, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, router.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a local connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve_connection(stream: UnixStream, router: Router, stop: CancellationToken) {
    let cut = Cut(CancellationToken::new());
    let cut_token = cut.0.clone();
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(cut.clone());
        let answered = router.clone().oneshot(request.map(axum::body::Body::new));
        async move { Ok::<_, Infallible>(answered.await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cut_token.cancelled() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let Ok(ended) = tokio::time::timeout(STOP_WITHIN, connection).await else { return };
            ended
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a local connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http_body_util::{BodyExt, Empty};

    use super::*;

    #[tokio::test]
    async fn a_file_is_a_way_in_until_it_is_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).expect("it is free");
        let (router, stop) =
            (Router::new().route("/", get(|| async { "hello" })), CancellationToken::new());
        let served = tokio::spawn(serve(listener, router, stop.clone()));

        let stream = TokioIo::new(UnixStream::connect(&path).await.expect("it is there"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.expect("it is spoken to");
        tokio::spawn(connection);
        let request = Request::get("/").body(Empty::<bytes::Bytes>::new()).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, "hello");

        stop.cancel();
        tokio::time::timeout(std::time::Duration::from_secs(30), served)
            .await
            .expect("it ends")
            .expect("it does not panic");
        assert!(UnixStream::connect(&path).await.is_err());
    }
}
