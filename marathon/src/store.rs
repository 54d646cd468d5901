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
        let is_safe = commit(&store, token, puts).await;
        if done.send(Done { token, writes, is_safe }).is_err() || !is_safe {
            return;
        }
    }
}

fn size(puts: &[(Key, Option<Vec<u8>>)]) -> usize {
    puts.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
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
