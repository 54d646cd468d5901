//! How much of what blocks a thread goes on at the same time.
//!
//! A launch or an end is for the most part waiting, for the kernel and for a launcher, on a thread of
//! its own. The allocator of memory keeps something back for each thread there has been, so that five hundred
//! at once would cost the agent hundreds of MiB; and beyond some dozens they only wait for each other.

use tokio::sync::{Semaphore, SemaphorePermit};

/// So many launches wait on threads at the same time.
const LAUNCHES_MAX: usize = 64;

/// So many ends do, apart from launches: who cannot be launched must still be ended.
const ENDS_MAX: usize = 64;

/// Who wants to block a thread waits for a turn here, on none.
#[derive(Debug)]
pub(super) struct Turns {
    launches: Semaphore,
    ends: Semaphore,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { launches: Semaphore::new(LAUNCHES_MAX), ends: Semaphore::new(ENDS_MAX) }
    }

    /// For a launch, which is over when its launcher has answered.
    pub(super) async fn launch(&self) -> SemaphorePermit<'_> {
        take(&self.launches).await
    }

    /// For clearing a container away.
    pub(super) async fn end(&self) -> SemaphorePermit<'_> {
        take(&self.ends).await
    }
}

async fn take(turns: &Semaphore) -> SemaphorePermit<'_> {
    turns.acquire().await.expect("nobody closes it")
}
