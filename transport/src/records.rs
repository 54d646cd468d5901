//! Answers without end: one record after another, each in a chunk of its own.
//!
//! Writers never wait. A queue stands between them and the connection, and a reader that lets it
//! fill is cut off and counted: it can subscribe again, while everybody else goes on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::body::{Body, Bytes};
use axum::http::Extensions;
use futures::Stream;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::server::Cut;

/// How much may wait for one reader.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Records. The default leaves room for an update of every task of a large framework, which is
    /// what an implicit reconciliation sends in one go.
    pub records_max: usize,
    /// Bytes, of all but a first record, which may be of any size: a snapshot has to fit.
    pub bytes_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { records_max: 65_536, bytes_max: 64 << 20 }
    }
}

/// Why a reader gets nothing any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Closed {
    /// The reader has gone.
    #[error("the reader is gone")]
    Gone,
    /// The reader was too slow and is cut off.
    #[error("the reader is too slow and was cut off")]
    TooSlow,
}

/// The writer's end. Dropping it (and its clones) ends the stream properly, once all is read.
pub struct Records {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    limits: QueueLimits,
    stream: &'static str,
    cut: Option<Cut>,
    gone: CancellationToken,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    writers: usize,
    /// Nothing more is put in; what is in there is still given out.
    ended: bool,
    closed: Option<Closed>,
    reader: Option<Waker>,
}

/// A stream of records and the body it is read from. `stream` names it in counters.
///
/// The request's `extensions` are asked for the connection, so that a reader that has stopped
/// reading can be cut off.
pub fn records(
    stream: &'static str,
    limits: QueueLimits,
    extensions: &Extensions,
) -> (Records, Body) {
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue { writers: 1, ..Queue::default() }),
        limits,
        stream,
        cut: extensions.get::<Cut>().cloned(),
        gone: CancellationToken::new(),
    });
    let body = Body::from_stream(Reader { shared: shared.clone() });
    (Records { shared }, body)
}

impl Records {
    /// Queues `payload`, framed as one record.
    pub fn send(&self, payload: &[u8]) -> Result<(), Closed> {
        self.send_framed(proto::recordio::encode(payload))
    }

    /// Queues one record that is framed already. For many readers of one event it is framed once.
    pub fn send_framed(&self, record: Bytes) -> Result<(), Closed> {
        let mut queue = self.shared.queue.lock();
        if let Some(closed) = queue.closed {
            return Err(closed);
        }
        if queue.ended {
            return Err(Closed::Gone);
        }
        let limits = self.shared.limits;
        let full = queue.waiting.len() >= limits.records_max
            || !queue.waiting.is_empty() && queue.bytes + record.len() > limits.bytes_max;
        if full {
            drop(queue);
            self.cut();
            return Err(Closed::TooSlow);
        }
        queue.bytes += record.len();
        queue.waiting.push_back(record);
        if let Some(reader) = queue.reader.take() {
            drop(queue);
            reader.wake();
        }
        Ok(())
    }

    /// Cuts the reader off, who is too slow for what is to be sent. It is counted and logged, and the
    /// reader sees a stream that breaks and not one that ends.
    pub fn cut(&self) {
        let mut queue = self.shared.queue.lock();
        if queue.closed.is_some() {
            return;
        }
        queue.closed = Some(Closed::TooSlow);
        queue.waiting.clear();
        let reader = queue.reader.take();
        drop(queue);
        ::metrics::counter!("agora_streams_cut", "stream" => self.shared.stream, "reason" => "slow")
            .increment(1);
        tracing::warn!(stream = self.shared.stream, "a reader was too slow and is cut off");
        self.shared.gone.cancel();
        if let Some(cut) = &self.shared.cut {
            cut.0.cancel();
        }
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Ends the stream once what was sent is read. Later sends fail.
    pub fn end(&self) {
        self.shared.end();
    }

    /// Completes when nobody reads any more: the client went, or was cut off.
    pub async fn closed(&self) {
        self.shared.gone.cancelled().await;
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.shared.gone.is_cancelled()
    }
}

impl Shared {
    fn end(&self) {
        let reader = {
            let mut queue = self.queue.lock();
            queue.ended = true;
            queue.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Clone for Records {
    fn clone(&self) -> Self {
        self.shared.queue.lock().writers += 1;
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let last = {
            let mut queue = self.shared.queue.lock();
            queue.writers -= 1;
            queue.writers == 0
        };
        if last {
            self.shared.end();
        }
    }
}

/// The connection's end.
struct Reader {
    shared: Arc<Shared>,
}

impl Stream for Reader {
    type Item = Result<Bytes, Closed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = self.shared.queue.lock();
        if let Some(closed) = queue.closed {
            return Poll::Ready(Some(Err(closed)));
        }
        if let Some(record) = queue.waiting.pop_front() {
            queue.bytes -= record.len();
            return Poll::Ready(Some(Ok(record)));
        }
        if queue.ended {
            return Poll::Ready(None);
        }
        queue.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.closed.get_or_insert(Closed::Gone);
        queue.waiting.clear();
        drop(queue);
        self.shared.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use axum::Router;
    use axum::extract::Request;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::server::Server;

    const SOON: Duration = Duration::from_secs(20);

    /// A server that hands the writer's end of every stream to the test.
    async fn streaming(limits: QueueLimits) -> (SocketAddr, mpsc::Receiver<Records>) {
        let (handed, streams) = mpsc::channel(8);
        let router = Router::new().route(
            "/",
            get(move |request: Request| {
                let handed = handed.clone();
                async move {
                    let (records, body) = records("test", limits, request.extensions());
                    handed.send(records).await.expect("the test listens");
                    body
                }
            }),
        );
        let bound =
            Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let address = bound.local_addr();
        tokio::spawn(bound.serve(router, CancellationToken::new()));
        (address, streams)
    }

    async fn subscribed(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a write");
        stream
    }

    async fn read_until(stream: &mut TcpStream, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let byte = timeout(SOON, stream.read_u8()).await.expect("in time").expect("a byte");
            text.push(byte);
        }
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn one_record_is_one_chunk_even_when_many_wait() {
        let (address, mut streams) = streaming(QueueLimits::default()).await;
        let mut client = subscribed(address).await;
        let records = streams.recv().await.expect("a stream");
        for payload in ["{}", "", "12345"] {
            records.send(payload.as_bytes()).expect("room");
        }
        drop(records);
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
        let body = read_until(&mut client, "0\r\n\r\n").await;
        assert_eq!(body, "4\r\n2\n{}\r\n2\r\n0\n\r\n7\r\n5\n12345\r\n0\r\n\r\n");
    }

    #[tokio::test]
    async fn a_slow_reader_is_cut_off_and_others_are_not_held_up() {
        let (address, mut streams) =
            streaming(QueueLimits { records_max: 64, bytes_max: 1 << 20 }).await;
        let mut slow = subscribed(address).await;
        let to_slow = streams.recv().await.expect("a stream");
        let mut quick = subscribed(address).await;
        let to_quick = streams.recv().await.expect("a stream");
        read_until(&mut quick, "\r\n\r\n").await;

        let payload = vec![b'x'; 256 << 10];
        let mut sent = 0;
        // The sockets' buffers take some megabytes before the queue fills.
        while to_slow.send(&payload).is_ok() {
            sent += 1;
            assert!(sent < 10_000, "the queue has a bound");
            to_quick.send(b"ping").expect("the quick reader has read all");
            let chunk = read_until(&mut quick, "ping\r\n").await;
            assert_eq!(chunk, "6\r\n4\nping\r\n");
        }
        assert_eq!(to_slow.send(b"more"), Err(Closed::TooSlow));
        timeout(SOON, to_slow.closed()).await.expect("known to be gone");
        // The connection is closed, not ended: what was queued is lost and the client must know.
        let mut rest = Vec::new();
        let read = timeout(SOON, slow.read_to_end(&mut rest)).await.expect("closed in time");
        assert!(read.is_err() || !rest.ends_with(b"0\r\n\r\n"));
    }

    #[tokio::test]
    async fn a_reader_that_goes_is_noticed_without_writing() {
        let (address, mut streams) = streaming(QueueLimits::default()).await;
        let client = subscribed(address).await;
        let records = streams.recv().await.expect("a stream");
        drop(client);
        timeout(SOON, records.closed()).await.expect("noticed");
        assert_eq!(records.send(b"x"), Err(Closed::Gone));
    }
}
