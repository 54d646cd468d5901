//! The state in the masters' framework store, read once and then only written.

use std::time::Duration;

use framework_sdk::store::{CommitError, StoreClient, Write};
use marathon_core::ids::WriteId;
use marathon_core::io::Key;
use proto::agora::v1::LeaseToken;
use tokio::sync::mpsc;

use crate::election::LEASE;

/// Writes put into one commit: one round through the masters' log carries many small changes.
const WRITES_MAX: usize = 512;

/// Bytes put into one commit, far below what an entry of the masters' log may have.
const BYTES_MAX: usize = 1 << 20;

/// Pause before the store is asked again after it could not be reached.
const PAUSE: Duration = Duration::from_millis(200);

/// One write that the core asked for.
pub(crate) struct Job {
    pub(crate) write: WriteId,
    pub(crate) puts: Vec<(Key, Option<Vec<u8>>)>,
}

/// How writes went.
pub(crate) struct Done {
    /// By whose lease they were made.
    pub(crate) token: u64,
    /// Which.
    pub(crate) writes: Vec<WriteId>,
    /// Whether they are safe. If not, somebody else leads.
    pub(crate) is_safe: bool,
}

/// Reads everything. Tries for as long as it takes.
pub(crate) async fn load(store: StoreClient) -> Vec<(Key, Vec<u8>)> {
    loop {
        match store.list("").await {
            Ok(entries) => {
                let pairs = entries.into_iter().map(|entry| (entry.key, entry.value.into()));
                return pairs.collect();
            }
            Err(error) => tracing::warn!(%error, "the state cannot be read yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Writes what comes in, in order, until the lease is lost or nobody asks any more.
///
/// Writes are values and not changes of values, and nobody else writes while the lease is held. So
/// a commit of which nobody knows how it went is simply made again.
pub(crate) async fn write(
    store: StoreClient,
    token: u64,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    done: mpsc::UnboundedSender<Done>,
) {
    let mut next = None;
    loop {
        let Some(first) = (match next.take() {
            Some(job) => Some(job),
            None => jobs.recv().await,
        }) else {
            return;
        };
        let mut writes = vec![first.write];
        let mut puts = first.puts;
        let mut bytes = size(&puts);
        while let Ok(job) = jobs.try_recv() {
            bytes += size(&job.puts);
            if puts.len() + job.puts.len() > WRITES_MAX || bytes > BYTES_MAX {
                next = Some(job);
                break;
            }
            writes.push(job.write);
            puts.extend(job.puts);
        }
        let mut is_safe = true;
        for part in parts(puts) {
            is_safe = is_safe && commit(&store, token, part).await;
        }
        if done.send(Done { token, writes, is_safe }).is_err() || !is_safe {
            return;
        }
    }
}

fn size(puts: &[(Key, Option<Vec<u8>>)]) -> usize {
    puts.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
}

/// `puts` in commits that the masters take: one, or several where one would be too large, as when
/// thousands of instances are added at once.
///
/// Of several only the first may come to be, so they are ordered: what others refer to is there before
/// them, and goes after them. All else is then taken up where it stands, as after any crash.
fn parts(mut puts: Vec<(Key, Option<Vec<u8>>)>) -> Vec<Vec<(Key, Option<Vec<u8>>)>> {
    if size(&puts) <= BYTES_MAX {
        return vec![puts];
    }
    puts.sort_by_key(|(key, value)| match (key.starts_with("version:"), value) {
        (true, Some(_)) => 0,
        (false, _) => 1,
        (true, None) => 2,
    });
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for put in puts {
        let more = size(std::slice::from_ref(&put));
        if bytes > 0 && bytes + more > BYTES_MAX {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        parts.last_mut().expect("there is one").push(put);
    }
    parts
}

async fn commit(store: &StoreClient, token: u64, puts: Vec<(Key, Option<Vec<u8>>)>) -> bool {
    let writes: Vec<_> =
        puts.into_iter().map(|(key, value)| Write { key, value: value.map(Into::into) }).collect();
    loop {
        let lease = Some(LeaseToken { name: LEASE.to_owned(), token });
        match store.commit(Vec::new(), writes.clone(), lease).await {
            Ok(_) => return true,
            Err(CommitError::Conflict(why)) => {
                tracing::warn!(why, "nothing can be written any more: another instance leads");
                return false;
            }
            Err(CommitError::Refused(why)) => {
                tracing::error!(why, "the masters refuse to keep the state");
                return false;
            }
            Err(error @ (CommitError::Unavailable(_) | CommitError::Unknown(_))) => {
                tracing::warn!(%error, "writing again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_one_commit_is_written_in_an_order_that_can_be_taken_up() {
        let small = vec![("instance:a".to_owned(), None), ("version:a".to_owned(), None)];
        assert_eq!(parts(small.clone()), [small]);
        let large = |key: String| (key, Some(vec![0; BYTES_MAX / 3]));
        let mut puts: Vec<_> = (0..7).map(|n| large(format!("instance:{n}"))).collect();
        puts.extend([("version:old".to_owned(), None), large("version:new".to_owned())]);
        let parts = parts(puts.clone());
        assert!(parts.len() > 2 && parts.iter().all(|part| size(part) <= BYTES_MAX));
        let flat: Vec<_> = parts.into_iter().flatten().map(|(key, _)| key).collect();
        assert_eq!((flat.len(), &*flat[0], &*flat[8]), (9, "version:new", "version:old"));
        // What alone is more than that is tried nevertheless.
        let alone = vec![("past:1".to_owned(), Some(vec![0; BYTES_MAX * 2]))];
        assert_eq!(super::parts(alone.clone()), [alone]);
    }
}
