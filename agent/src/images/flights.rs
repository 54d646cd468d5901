//! Work that several want at the same time is done once.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

/// What is being done, by what for. It is given up when nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Flights<K, T: Clone>(Mutex<BTreeMap<K, WeakShared<BoxFuture<'static, T>>>>);

impl<K, T: Clone> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord, T: Clone> Flights<K, T> {
    /// Joins those who wait for `key` already, or has `make` say how it is done.
    pub(super) fn join(
        &self,
        key: K,
        make: impl FnOnce() -> BoxFuture<'static, T>,
    ) -> Shared<BoxFuture<'static, T>> {
        let mut under_way = self.0.lock();
        // What is over is nobody's any more: the table is never larger than what is under way.
        under_way.retain(|_, each| each.upgrade().is_some_and(|each| each.peek().is_none()));
        if let Some(joined) = under_way.get(&key).and_then(WeakShared::upgrade) {
            return joined;
        }
        let flight = make().shared();
        if let Some(weak) = flight.downgrade() {
            under_way.insert(key, weak);
        }
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn those_who_come_meanwhile_share_and_those_who_come_later_do_not() {
        let flights = Flights::<u8, u32>::default();
        let made = Arc::new(AtomicU32::new(0));
        let (go, gate) = tokio::sync::watch::channel(false);
        let work = || {
            let (made, mut gate) = (Arc::clone(&made), gate.clone());
            async move {
                let number = made.fetch_add(1, Ordering::Relaxed);
                let _ = gate.wait_for(|open| *open).await;
                number
            }
            .boxed()
        };
        let (first, second) = (flights.join(1, work), flights.join(1, work));
        let other = flights.join(2, work);
        go.send_replace(true);
        assert_eq!(futures::join!(first, second), (0, 0));
        assert_eq!(other.await, 1);
        assert_eq!(flights.join(1, work).await, 2);
        drop(flights.join(1, work));
        assert_eq!(made.load(Ordering::Relaxed), 3, "nobody waited, so nothing was done");
    }
}
