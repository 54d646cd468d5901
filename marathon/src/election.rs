//! Who of several instances leads: whoever holds the lease in the framework store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_sdk::store::{Lease, StoreClient};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The lease's name.
pub(crate) const LEASE: &str = "leader";

/// How long an instance that stepped down by itself leaves the lease to others.
const STEP_DOWN_FOR: Duration = Duration::from_millis(500);

/// How often an instance that does not lead looks whether the lease is free, at least.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

/// Who leads, as far as this instance knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Leadership {
    /// Nobody, or the store cannot be asked.
    Unclear,
    /// The instance at this address.
    Follows(String),
    /// This instance, by the lease with this token.
    Leads(u64),
}

/// One instance's part in it.
pub(crate) struct Election {
    store: StoreClient,
    /// Unique to this process.
    holder: String,
    /// Where this instance is reached: what others are told.
    address: String,
    ttl: Duration,
    told: watch::Sender<Leadership>,
    step_down: Arc<Notify>,
    stop: CancellationToken,
}

/// How the rest of the instance takes part.
#[derive(Clone)]
pub(crate) struct Candidate {
    /// Who leads.
    pub(crate) leadership: watch::Receiver<Leadership>,
    step_down: Arc<Notify>,
}

impl Candidate {
    /// Gives the lease back, if it is held, so that another instance may lead.
    pub(crate) fn step_down(&self) {
        self.step_down.notify_one();
    }
}

impl Election {
    pub(crate) fn new(
        store: StoreClient,
        address: String,
        ttl: Duration,
        stop: CancellationToken,
    ) -> (Self, Candidate) {
        let (told, leadership) = watch::channel(Leadership::Unclear);
        let step_down = Arc::new(Notify::new());
        let holder = format!("{address}/{}", uuid::Uuid::new_v4());
        let candidate = Candidate { leadership, step_down: step_down.clone() };
        (Self { store, holder, address, ttl, told, step_down, stop }, candidate)
    }

    /// Takes part until stopped.
    pub(crate) async fn run(self) {
        while !self.stop.is_cancelled() {
            let lease = tokio::select! {
                lease = self.acquire(self.ttl) => lease,
                () = self.stop.cancelled() => return,
            };
            match lease {
                Some(lease) if lease.is_ours => self.lead(lease).await,
                Some(lease) => {
                    let left = lease.until.saturating_duration_since(Instant::now());
                    let leader = String::from_utf8_lossy(&lease.note).into_owned();
                    self.tell(Leadership::Follows(leader));
                    // Not before it can be free, but also not blindly: it may be given back early.
                    self.pause(left.min(LOOK_EVERY_MAX).max(self.ttl / 20)).await;
                }
                None => {
                    self.tell(Leadership::Unclear);
                    self.pause(self.ttl / 10).await;
                }
            }
        }
    }

    /// Holds the lease for as long as possible.
    async fn lead(&self, mut lease: Lease) {
        tracing::info!(token = lease.token, "this instance leads");
        self.tell(Leadership::Leads(lease.token));
        loop {
            let renew_at = Instant::now() + self.ttl / 3;
            let is_asked_to_go = tokio::select! {
                () = tokio::time::sleep_until(renew_at.into()) => false,
                () = self.step_down.notified() => true,
                () = self.stop.cancelled() => true,
            };
            if is_asked_to_go {
                // First nobody here acts as the leader any more, then somebody else may.
                self.tell(Leadership::Unclear);
                let store = self.store.with_patience(self.ttl);
                if let Err(error) = store.release_lease(LEASE, lease.token).await {
                    tracing::warn!(%error, "the lease could not be given back; it will run out");
                }
                self.pause(STEP_DOWN_FOR).await;
                return;
            }
            let left = lease.until.saturating_duration_since(Instant::now());
            let renewed = tokio::time::timeout(left, self.acquire(left)).await;
            match renewed {
                Ok(Some(renewed)) if renewed.is_ours && renewed.token == lease.token => {
                    lease = renewed;
                }
                Ok(Some(_)) => {
                    tracing::warn!("another instance has taken the lease");
                    return self.tell(Leadership::Unclear);
                }
                Ok(None) | Err(_) => {
                    if Instant::now() >= lease.until {
                        tracing::warn!("the lease could not be renewed in time");
                        return self.tell(Leadership::Unclear);
                    }
                }
            }
        }
    }

    async fn acquire(&self, patience: Duration) -> Option<Lease> {
        let store = self.store.with_patience(patience);
        let note = self.address.clone().into();
        match store.acquire_lease(LEASE, &self.holder, self.ttl, note).await {
            Ok(lease) => Some(lease),
            Err(error) => {
                tracing::debug!(%error, "the lease could not be asked for");
                None
            }
        }
    }

    fn tell(&self, leadership: Leadership) {
        self.told.send_if_modified(|told| {
            let is_new = *told != leadership;
            *told = leadership;
            is_new
        });
    }

    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
impl Candidate {
    /// One that leads, with who is told that it steps down. It leads for as long as the sender is kept.
    pub(crate) fn leading() -> (Self, watch::Sender<Leadership>, Arc<Notify>) {
        let (told, leadership) = watch::channel(Leadership::Leads(1));
        let step_down = Arc::new(Notify::new());
        (Self { leadership, step_down: step_down.clone() }, told, step_down)
    }
}
