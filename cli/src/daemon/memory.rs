//! Huge pages for who has use for them.
//!
//! An allocator touches a few pages of each of its large regions. Where the kernel puts a huge page of
//! 2 MiB under each first touch, a master of a small cluster takes near twice the memory it needs. One of a
//! large cluster touches so many pages for the first time that it shall have few and large ones.

use std::fs;
use std::time::Duration;

use rustix::thread::disable_transparent_huge_pages;

/// The daemons that may be small or large. An agent stays small, since launchers are copies of what it
/// executes.
pub(super) const EITHER: [&str; 2] = ["master", "marathon"];

/// A daemon that has taken so many bytes takes huge pages from then on.
const LARGE_BYTES: u64 = 64 << 20;

/// How often it is looked how many it has.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Takes no huge pages from here on. To be called first of all, since what memory there is stays as it is.
pub(super) fn begin_small() {
    // A kernel that has none has nothing to be told.
    let _ = disable_transparent_huge_pages(true);
}

/// Takes huge pages again once this process has become large.
pub(super) async fn become_large() {
    become_large_at(LARGE_BYTES, LOOK_EVERY).await;
}

async fn become_large_at(bytes: u64, look_every: Duration) {
    while resident().is_some_and(|taken| taken < bytes) {
        tokio::time::sleep(look_every).await;
    }
    let _ = disable_transparent_huge_pages(false);
}

/// The bytes of memory that this process has of the machine's.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes_huge_pages() -> bool {
        let status = fs::read_to_string("/proc/self/status").expect("it can be read");
        status.contains("THP_enabled:\t1")
    }

    #[tokio::test]
    async fn a_daemon_takes_huge_pages_once_it_is_large() {
        begin_small();
        assert!(!takes_huge_pages());
        let before = resident().expect("the kernel says");
        let mut growing =
            std::pin::pin!(become_large_at(before + (32 << 20), Duration::from_millis(1)));
        let looked = tokio::time::timeout(Duration::ZERO, &mut growing).await;
        assert!(looked.is_err() && !takes_huge_pages(), "it is small yet");
        let held = vec![1_u8; 64 << 20];
        growing.await;
        assert!(takes_huge_pages());
        drop(held);
    }
}
