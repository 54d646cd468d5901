//! What this master carries out as the leading one, and that it begins nothing more when it is about to hand
//! leadership on.
//!
//! Whoever takes over begins anew: what was asked for and not answered would be answered by nobody, and what
//! was not handed to an agent would never be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use transport::http::Refused;

use crate::leadership::Leadership;

/// How long leadership is kept at most to end what was begun. Calls are answered within milliseconds
/// unless a disk or an agent is slow; a client that does not read its events costs all of this time. Nobody's
/// calls are taken meanwhile.
const END_WITHIN: Duration = Duration::from_secs(2);

/// How often it is looked whether all has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// When to try again who was turned away: by then another master leads, or this one does again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Says how many messages are queued for others and not handed over.
type Unsaid = Box<dyn Fn() -> usize + Send + Sync>;

/// The gate that calls come in by. Clones are the same gate.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<State>);

#[derive(Default)]
struct State {
    /// How many want it shut.
    shut: AtomicUsize,
    /// Calls that are not answered.
    inside: AtomicUsize,
    unsaid: Mutex<Vec<Unsaid>>,
    /// Who leads, as the driver has it; absent where nobody does.
    leadership: Option<watch::Receiver<Leadership>>,
}

/// A call that is not answered.
pub(crate) struct Inside(Arc<State>);

/// Keeps the gate shut.
pub(crate) struct Shut(Arc<State>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { shut, inside, .. } = &*self.0;
        f.debug_struct("Gate").field("shut", shut).field("inside", inside).finish_non_exhaustive()
    }
}

impl Gate {
    /// An open gate of a master whose driver says by `leadership` who leads.
    pub(crate) fn new(leadership: watch::Receiver<Leadership>) -> Self {
        Self(Arc::new(State { leadership: Some(leadership), ..State::default() }))
    }

    /// Waits until the driver has heard that this master does not lead any more, but no longer than
    /// [`END_WITHIN`]. Until then it would carry calls out that nobody is told of.
    pub(crate) async fn deposed(&self) {
        let Some(mut leadership) = self.0.leadership.clone() else { return };
        let deposed = leadership.wait_for(|it| !matches!(it, Leadership::Leading(_)));
        if timeout(END_WITHIN, deposed).await.is_err() {
            tracing::warn!("leadership was handed on, and the core has not heard of it");
        }
    }

    /// Lets a call in. It counts until what is returned is dropped.
    pub(crate) fn enter(&self) -> Result<Inside, Refused> {
        // First, so that whoever shuts the gate sees this one or is seen.
        self.0.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(self.0.clone());
        if self.0.shut.load(Ordering::SeqCst) == 0 {
            return Ok(inside);
        }
        let text = "This master is about to hand leadership on; try again";
        let refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE, text);
        Err(refused.try_again_after(TRY_AGAIN_AFTER))
    }

    /// Has whoever shuts the gate wait for these messages too.
    pub(crate) fn wait_for(&self, unsaid: impl Fn() -> usize + Send + Sync + 'static) {
        self.0.unsaid.lock().push(Box::new(unsaid));
    }

    /// Lets no more calls in until what is returned is dropped, and waits until those that are in are
    /// answered and all that came of them is handed over, but no longer than [`END_WITHIN`].
    pub(crate) async fn shut(&self) -> Shut {
        self.shut_within(END_WITHIN).await
    }

    async fn shut_within(&self, limit: Duration) -> Shut {
        self.0.shut.fetch_add(1, Ordering::SeqCst);
        let shut = Shut(self.0.clone());
        let end_by = Instant::now() + limit;
        loop {
            let inside = self.0.inside.load(Ordering::SeqCst);
            // Looked at second: what comes of a call is queued before it is answered.
            let unsaid: usize = self.0.unsaid.lock().iter().map(|count| count()).sum();
            if inside == 0 && unsaid == 0 {
                return shut;
            }
            if Instant::now() >= end_by {
                tracing::warn!(inside, unsaid, "handing on before all that was begun has ended");
                return shut;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.shut.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn who_hands_on_waits_for_who_is_in_and_lets_nobody_else_in() {
        let gate = Gate::default();
        let inside = gate.enter().expect("it is open");
        let mut shut = Box::pin(gate.shut());
        assert!(poll!(&mut shut).is_pending());
        let Err(refused) = gate.enter() else { panic!("it is shut") };
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        drop(inside);
        drop(shut.await);
        assert!(gate.enter().is_ok(), "it is open again");
    }

    #[tokio::test]
    async fn who_hands_on_waits_for_what_is_not_said_up_to_a_limit() {
        let gate = Gate::default();
        let unsaid = Arc::new(AtomicUsize::new(1));
        let count = unsaid.clone();
        gate.wait_for(move || count.load(Ordering::SeqCst));
        let (began, limit) = (Instant::now(), LOOK_EVERY * 10);
        drop(gate.shut_within(limit).await);
        assert!(began.elapsed() >= limit, "it was never said");
        let mut shut = Box::pin(gate.shut());
        assert!(poll!(&mut shut).is_pending());
        unsaid.store(0, Ordering::SeqCst);
        let _shut = shut.await;
    }
}
