//! The open connections of one kind, and the queue to each.
//!
//! The driver writes to them and never waits. A connection whose queue is full is closed and
//! counted: what it misses it gets when it comes back, and nobody else is held up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use model::ids::ConnectionId;
use tokio::sync::mpsc;

use crate::leadership::{OneReign, Standing};

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
    standing: Standing,
    open: Arc<DashMap<ConnectionId, mpsc::Sender<M>>>,
}

impl<M: Send + 'static> Connections<M> {
    /// None open. `kind` names them in counters; each queues up to `queue_max` messages.
    pub(crate) fn new(kind: &'static str, queue_max: usize, standing: Standing) -> Self {
        let open = Arc::<DashMap<ConnectionId, mpsc::Sender<M>>>::default();
        let queues = open.clone();
        standing.gate.wait_for(move || queues.iter().map(|queue| queued(&queue)).sum());
        Self { kind, queue_max, standing, open }
    }

    /// Opens one. It is closed when the receiver's end is dropped or sees the end of messages.
    pub(crate) fn open(&self, connection: ConnectionId) -> Queue<M> {
        let (sender, queue) = queue(self.queue_max, &self.standing);
        self.open.insert(connection, sender);
        queue
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

/// How many messages wait to be taken out.
fn queued<M>(queue: &mpsc::Sender<M>) -> usize {
    queue.max_capacity() - queue.capacity()
}

/// What one connection is to hear.
///
/// What is queued is handed over while this master is sure that it leads in the reign it was said in, and
/// afterwards not at all: another master may have decided otherwise.
pub(crate) struct Queue<M> {
    messages: mpsc::Receiver<M>,
    /// Absent: it may be said whoever leads.
    reign: Option<OneReign>,
    /// Taken out, and waiting until it is sure who leads.
    next: Option<M>,
}

/// A queue for up to `max` messages of the present reign.
pub(crate) fn queue<M>(max: usize, standing: &Standing) -> (mpsc::Sender<M>, Queue<M>) {
    let (sender, messages) = mpsc::channel(max);
    (sender, Queue { messages, reign: Some(standing.of_this_reign()), next: None })
}

impl<M> Queue<M> {
    /// One message and no more, which is true whoever leads.
    pub(crate) fn of_one(message: M) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let _ = sender.try_send(message);
        Self { messages, reign: None, next: None }
    }

    /// The next message; `None` at the end. Nothing is lost if the wait for it is given up.
    pub(crate) async fn next(&mut self) -> Option<M> {
        if self.next.is_none() {
            self.next = Some(self.messages.recv().await?);
        }
        if let Some(reign) = &self.reign
            && !reign.lasts().await
        {
            return None;
        }
        self.next.take()
    }
}

#[cfg(test)]
mod tests {
    use model::ids::Term;

    use super::*;
    use crate::leadership::tests::leading;

    #[tokio::test]
    async fn what_is_queued_waits_for_the_lease_and_is_not_said_after_it() {
        let (standing, answer) = leading();
        let all = Connections::new("test", 3, standing);
        let mut queue = all.open(ConnectionId(1));
        for n in 0..3 {
            assert!(all.send(ConnectionId(1), n));
        }
        assert_eq!(queue.next().await, Some(0));
        answer.send_replace(None);
        let mut waits = Box::pin(queue.next());
        assert!(futures::poll!(&mut waits).is_pending());
        // Whoever waits may do something else meanwhile.
        drop(waits);
        answer.send_replace(Some(Term(1)));
        assert_eq!(queue.next().await, Some(1));
        answer.send_replace(Some(Term(2)));
        assert_eq!(queue.next().await, None);
        assert_eq!(queue.next().await, None, "for good");
    }

    #[tokio::test]
    async fn a_full_connection_is_closed_and_others_go_on() {
        let (standing, _answer) = leading();
        let all = Connections::new("test", 2, standing);
        let (slow, quick) = (ConnectionId(1), ConnectionId(2));
        let (mut to_slow, mut to_quick) = (all.open(slow), all.open(quick));
        for n in 0..2 {
            assert!(all.send(slow, n));
        }
        assert!(!all.send(slow, 2), "full");
        assert!(!all.send(slow, 3), "and closed for good");
        assert!(all.send(quick, 7));
        assert_eq!(to_quick.next().await, Some(7));
        assert_eq!((to_slow.next().await, to_slow.next().await), (Some(0), Some(1)));
        assert_eq!(to_slow.next().await, None);
    }
}
