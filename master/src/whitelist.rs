//! The file of hosts that are offered, read again and again (`--whitelist`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use master_core::Input;
use tokio_util::sync::CancellationToken;

use crate::driver::Handle;

/// How often the file is read, as Mesos does (`WHITELIST_WATCH_INTERVAL`).
const EVERY: Duration = Duration::from_secs(5);

/// The hosts in a whitelist, one a line. Blank lines do not count.
pub(crate) fn read(path: &Path) -> std::io::Result<BTreeSet<Arc<str>>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Arc::from).collect())
}

/// Tells the core whenever other hosts are in the file, until it is to stop.
pub(crate) async fn watch(
    path: PathBuf,
    mut hosts: BTreeSet<Arc<str>>,
    driver: Handle,
    stop: CancellationToken,
) {
    let mut is_unreadable = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        match read(&path) {
            Ok(now) if now != hosts => {
                tracing::info!(hosts = now.len(), "the whitelist has changed");
                hosts = now;
                driver.tell(Input::SetWhitelist(Some(hosts.clone()))).await;
                is_unreadable = false;
            }
            Ok(_) => is_unreadable = false,
            // Once is enough: it would be said every five seconds.
            Err(error) if !is_unreadable => {
                let path = path.display();
                tracing::warn!(%path, %error, "the whitelist cannot be read; the last one holds");
                is_unreadable = true;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("whitelist");
        assert!(read(&path).is_err());
        std::fs::write(&path, "a\n\n  b.example \n").expect("room on the disk");
        let hosts: Vec<_> = read(&path).expect("it is there").into_iter().collect();
        assert_eq!(hosts, ["a".into(), "b.example".into()]);
    }
}
