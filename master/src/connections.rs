//! The open connections of one kind, and the queue to each.
//!
//! The driver writes to them and never waits. A connection whose queue is full is closed and
//! counted: what it misses it gets when it comes back, and nobody else is held up.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use model::ids::ConnectionId;
use tokio::sync::mpsc;

/// Counts connections of all kinds, so that an id names one of one kind.
#[derive(Debug, Default)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    /// A number that was not given out before.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Open connections that take messages of type `M`.
pub(crate) struct Connections<M> {
    kind: &'static str,
    queue_max: usize,
    open: DashMap<ConnectionId, mpsc::Sender<M>>,
}

impl<M> Connections<M> {
    /// None open. `kind` names them in counters; each queues up to `queue_max` messages.
    pub(crate) fn new(kind: &'static str, queue_max: usize) -> Self {
        Self { kind, queue_max, open: DashMap::new() }
    }

    /// Opens one. It is closed when the receiver's end is dropped or sees the end of messages.
    pub(crate) fn open(&self, connection: ConnectionId) -> mpsc::Receiver<M> {
        let (sender, receiver) = mpsc::channel(self.queue_max);
        self.open.insert(connection, sender);
        receiver
    }

    /// Queues `message`. False: the connection is closed, now if not before.
    pub(crate) fn send(&self, connection: ConnectionId, message: M) -> bool {
        let Some(sent) = self.open.get(&connection).map(|sender| sender.try_send(message)) else {
            return false;
        };
        match sent {
            Ok(()) => true,
            Err(error) => {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    metrics::counter!("agora_connections_cut", "kind" => self.kind).increment(1);
                    tracing::warn!(kind = self.kind, id = connection.0, "too slow, closed");
                }
                self.open.remove(&connection);
                false
            }
        }
    }

    /// Closes one: its receiver gets what is queued, and then the end.
    pub(crate) fn close(&self, connection: ConnectionId) {
        self.open.remove(&connection);
    }

    /// Closes all.
    pub(crate) fn close_all(&self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_connection_is_closed_and_others_go_on() {
        let all = Connections::new("test", 2);
        let (slow, quick) = (ConnectionId(1), ConnectionId(2));
        let (mut to_slow, mut to_quick) = (all.open(slow), all.open(quick));
        for n in 0..2 {
            assert!(all.send(slow, n));
        }
        assert!(!all.send(slow, 2), "full");
        assert!(!all.send(slow, 3), "and closed for good");
        assert!(all.send(quick, 7));
        assert_eq!(to_quick.recv().await, Some(7));
        assert_eq!((to_slow.recv().await, to_slow.recv().await), (Some(0), Some(1)));
        assert_eq!(to_slow.recv().await, None);
    }
}
