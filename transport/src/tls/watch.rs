//! Files that change while they are in use.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{Tls, TlsFiles};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How the files look from outside; each absent if it is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamps {
    pub(super) fn of(files: &TlsFiles) -> Self {
        let own = files.own.iter().flat_map(|own| [&own.cert, &own.key]);
        Self(own.chain([&files.ca]).map(|path| Stamp::of(path)).collect())
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let changed = (found.mtime(), found.mtime_nsec());
        Some(Self { inode: found.ino(), size: found.len(), changed })
    }
}

impl Tls {
    /// Reads the files anew whenever they have changed, for as long as it is polled.
    pub async fn watch(self) {
        self.watch_every(LOOK_EVERY).await;
    }

    pub(super) async fn watch_every(self, interval: Duration) {
        let mut last = self.0.read.lock().clone();
        loop {
            tokio::time::sleep(interval).await;
            let now = Stamps::of(&self.0.files);
            // Certificate and key are two files: both are to be there, and whole, before they are read.
            let is_settled = now == last;
            last = now;
            if !is_settled || last == *self.0.read.lock() {
                continue;
            }
            let read = self.reload();
            let result = if read.is_ok() { "taken" } else { "refused" };
            ::metrics::counter!("agora_tls_reloads", "result" => result).increment(1);
            match read {
                Ok(()) => tracing::info!("the files of TLS have changed and were read anew"),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(
                        error,
                        "the files of TLS have changed; those before stay in use"
                    );
                }
            }
        }
    }
}
