//! Taking connections: the handshake, and those who do not speak TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{ClientCerts, Tls, principal};
use crate::auth::Principal;

/// How long a handshake may take once it has begun, its wait for a place included. It is a few
/// messages; one that takes longer will not come to an end.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Handshakes under way at once on one port; others wait their turn. Each holds some tens of kilobytes
/// and costs about a millisecond of a processor: more than this could not be done in their time.
const HANDSHAKES_MAX: usize = 1_024;

/// The first byte of every connection that speaks TLS: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Begins a connection that speaks HTTP/2 right away.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// What somebody is told who does not speak TLS.
const TELLING: &str = "This port speaks TLS: use https://, and say whom you trust\n";

/// An HTTP/2 frame of settings, with none in it.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// The code by which HTTP/2 says that the transport is not safe enough.
const INADEQUATE_SECURITY: u8 = 0xc;

/// How much of what somebody goes on sending is read after they were told off, and for how long. If
/// nobody read it, the system would cut the connection before they have read why.
const LAST_BYTES_MAX: u64 = 64 << 10;
const LAST_BYTES_WITHIN: Duration = Duration::from_secs(2);

/// What connections are taken with.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: Tls,
    /// Whether those without a certificate may say first what they want.
    is_lenient: bool,
    places: Arc<Semaphore>,
    within: Duration,
}

/// A connection whose handshake is done.
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Who is at the other end, if they have shown a certificate with a name.
    pub(crate) principal: Option<Principal>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// It does not speak TLS.
    Plain,
    /// It took too long.
    Late,
    /// The two did not agree, or one was not what the other asked for.
    Refused,
}

impl Failure {
    fn count(self) {
        let why = match self {
            Self::Plain => "plain",
            Self::Late => "late",
            Self::Refused => "refused",
        };
        ::metrics::counter!("agora_tls_handshakes_failed", "why" => why).increment(1);
    }
}

impl Acceptor {
    pub(crate) fn new(tls: Tls, is_lenient: bool) -> Self {
        Self::with_limits(tls, is_lenient, HANDSHAKES_MAX, HANDSHAKE_WITHIN)
    }

    pub(super) fn with_limits(tls: Tls, is_lenient: bool, max: usize, within: Duration) -> Self {
        Self { tls, is_lenient, places: Arc::new(Semaphore::new(max)), within }
    }

    /// Handshakes that could begin at once.
    #[cfg(test)]
    pub(super) fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Whether what a connection without a certificate may want is still to be looked at.
    pub(crate) fn asks_later(&self) -> bool {
        self.is_lenient && self.tls.client_certs() == ClientCerts::Required
    }

    /// Does the handshake, for which the first bytes may take `first_within` to come.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        first_within: Duration,
    ) -> Option<Accepted> {
        let mut first = [0; HTTP2.len()];
        let seen = timeout(first_within, stream.peek(&mut first)).await.ok()?.ok()?;
        match first[..seen] {
            [] => return None,
            [HANDSHAKE_RECORD, ..] => {}
            _ => {
                Failure::Plain.count();
                tracing::debug!(peer = ?stream.peer_addr(), "no TLS is spoken on a port of TLS");
                let telling = telling(first[..seen] == *HTTP2);
                part(stream, &telling).await;
                return None;
            }
        }
        let handshake = async {
            let _place = self.places.acquire().await.ok()?;
            let material = self.tls.0.current.get();
            let server = material.server.as_ref()?;
            let config = if self.is_lenient { &server.lenient } else { &server.strict };
            Some(TlsAcceptor::from(config.clone()).accept(stream).into_fallible().await)
        };
        let Ok(done) = timeout(self.within, handshake).await else {
            Failure::Late.count();
            return None;
        };
        match done? {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates();
                let name = shown.and_then(|chain| chain.first()).and_then(principal::of);
                Some(Accepted { stream, principal: name.map(Principal::named) })
            }
            Err((error, stream)) => {
                Failure::Refused.count();
                tracing::debug!(peer = ?stream.peer_addr(), %error, "a handshake of TLS has failed");
                // The library has said why.
                part(stream, &[]).await;
                None
            }
        }
    }
}

/// What to say to somebody who does not speak TLS.
fn telling(is_http2: bool) -> Vec<u8> {
    if is_http2 {
        // A frame that ends the connection, of the stream 0, with the code and the text.
        let size = u8::try_from(8 + TELLING.len()).expect("a short text");
        let head = [0, 0, size, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY];
        return [&SETTINGS[..], &head, TELLING.as_bytes()].concat();
    }
    let size = TELLING.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {size}\r\nConnection: close\r\n\r\n{TELLING}"
    )
    .into_bytes()
}

/// Says the last thing and leaves the other side the time to hear it.
async fn part(mut stream: TcpStream, last: &[u8]) {
    let parting = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LAST_BYTES_MAX), &mut tokio::io::sink()).await
    };
    let parted: Result<io::Result<u64>, _> = timeout(LAST_BYTES_WITHIN, parting).await;
    // They hear it or they do not.
    drop(parted);
}
