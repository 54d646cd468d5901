//! How much of what blocks a thread goes on at the same time.
//!
//! A launch or an end is for the most part waiting, for the kernel and for a launcher, on a thread of
//! its own. The allocator of memory keeps something back for each thread there has been, so that five hundred
//! at once would cost the agent hundreds of MiB; and beyond some dozens they only wait for each other.

use tokio::sync::{Semaphore, SemaphorePermit};

/// So much of each kind goes on at the same time.
const EACH_MAX: usize = 16;

/// What a thread is blocked for. Each kind has its own turns: who cannot be launched must still be ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// A launch, up to what its launcher answers.
    Launch,
    /// Clearing a container away.
    End,
    /// Whatever else takes no longer than the kernel takes for it.
    Other,
}

/// Who wants to block a thread waits for a turn here, on none.
#[derive(Debug)]
pub(super) struct Turns {
    launches: Semaphore,
    ends: Semaphore,
    others: Semaphore,
}

impl Turns {
    pub(super) fn new() -> Self {
        let turns = || Semaphore::new(EACH_MAX);
        Self { launches: turns(), ends: turns(), others: turns() }
    }

    /// Waits for a turn, which lasts until what is given is dropped.
    pub(super) async fn take(&self, turn: Turn) -> SemaphorePermit<'_> {
        let turns = match turn {
            Turn::Launch => &self.launches,
            Turn::End => &self.ends,
            Turn::Other => &self.others,
        };
        turns.acquire().await.expect("nobody closes it")
    }
}
