//! Where the masters are, kept in a file from one start to the next.
//!
//! Masters are replaced while a cluster runs, in time all of those that somebody was started with. Who has
//! learned of the others by [`StoreClient::watch_masters`] or [`Handle::watch_masters`] has to find them after
//! a restart too, and cannot ask the masters for that.
//!
//! [`StoreClient::watch_masters`]: crate::store::StoreClient::watch_masters
//! [`Handle::watch_masters`]: crate::Handle::watch_masters

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Bytes such a file may have: a thousand addresses. There are seven masters at most.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// How long to wait before it is tried again to write the file where that has failed.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A file that keeps where the masters are. One process has it at a time.
#[derive(Clone, Debug)]
pub struct MastersFile {
    path: PathBuf,
    given: Vec<String>,
}

/// What is in it.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Kept {
    /// By whom these masters were found.
    given: Vec<String>,
    /// The masters, as a leading one has said.
    masters: Vec<String>,
}

impl MastersFile {
    /// The file at `path`, for somebody who was started with `given` (`host:port` each). It and its directory
    /// need not be there.
    pub fn new(path: impl Into<PathBuf>, given: Vec<String>) -> Self {
        Self { path: path.into(), given }
    }

    /// Whom to ask for the leading master: those that were kept, then those given.
    ///
    /// What was learned from other masters than those given now counts for nothing, since people may have
    /// turned to another cluster. A file that cannot be read neither; the log says so.
    pub fn masters(&self) -> Vec<String> {
        let kept = match read(&self.path) {
            Ok(Some(kept)) if sorted(&kept.given) == sorted(&self.given) => kept.masters,
            Ok(_) => Vec::new(),
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "which masters there were cannot be read");
                Vec::new()
            }
        };
        let given = self.given.iter().filter(|one| !kept.contains(one)).cloned().collect();
        [kept, given].concat()
    }

    /// Keeps what `masters` says, now and whenever it changes, until nobody says any more. An empty list
    /// says nothing. What cannot be written is logged, and tried again after a minute.
    pub async fn follow(self, mut masters: watch::Receiver<Vec<String>>) {
        let mut written = None;
        loop {
            let now = masters.borrow_and_update().clone();
            let mut again = None;
            if !now.is_empty() && written.as_ref() != Some(&now) {
                let (path, given) = (self.path.clone(), self.given.clone());
                let kept = Kept { given, masters: now.clone() };
                match tokio::task::spawn_blocking(move || write(&path, &kept)).await {
                    Ok(Ok(())) => written = Some(now),
                    Ok(Err(error)) => {
                        let path = self.path.display();
                        tracing::warn!(%path, %error, "which masters there are cannot be kept");
                        again = Some(AGAIN_AFTER);
                    }
                    // The runtime is ending.
                    Err(_) => return,
                }
            }
            let is_over = match again {
                None => masters.changed().await.is_err(),
                Some(wait) => {
                    let changed = tokio::time::timeout(wait, masters.changed()).await;
                    changed.is_ok_and(|changed| changed.is_err())
                }
            };
            if is_over {
                return;
            }
        }
    }
}

fn sorted(all: &[String]) -> Vec<&String> {
    let mut all: Vec<_> = all.iter().collect();
    all.sort();
    all
}

/// What is kept at `path`, if anything is.
fn read(path: &Path) -> io::Result<Option<Kept>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let kept: Kept = serde_json::from_slice(&bytes)?;
    match kept.masters.iter().find(|address| !is_address(address)) {
        Some(bad) => Err(io::Error::other(format!("'{bad}' is not host:port"))),
        None => Ok(Some(kept)),
    }
}

/// Writes it whole or not at all, and so that a crash of the machine does not undo it.
fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(|it: char| it.is_whitespace() || "/?#@,".contains(it))
            && port.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(all: [&str; N]) -> Vec<String> {
        all.map(str::to_owned).to_vec()
    }

    /// Follows masters that are first `first` and then `then`, to the end.
    async fn follow(file: &MastersFile, first: Vec<String>, then: Vec<String>) {
        let (told, masters) = watch::channel(first);
        let following = tokio::spawn(file.clone().follow(masters));
        told.send_replace(then);
        drop(told);
        following.await.expect("it ends");
    }

    #[tokio::test]
    async fn masters_are_kept_for_who_is_started_with_the_same() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("not-there-yet/masters");
        let file = MastersFile::new(&path, texts(["a:1", "b:2"]));
        assert_eq!(file.masters(), ["a:1", "b:2"]);
        follow(&file, Vec::new(), Vec::new()).await;
        assert!(!path.exists(), "nothing was said");
        follow(&file, texts(["a:1"]), texts(["b:2", "c:3"])).await;
        assert_eq!(file.masters(), ["b:2", "c:3", "a:1"]);
        let other = MastersFile::new(&path, texts(["z:9"]));
        assert_eq!(other.masters(), ["z:9"], "of another cluster, perhaps");
    }

    #[test]
    fn a_file_that_says_nothing_of_use_leaves_those_given() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("masters");
        let file = MastersFile::new(&path, texts(["a:1"]));
        let long = " ".repeat(usize::try_from(FILE_BYTES_MAX).expect("small") + 1);
        let bad = |address: &str| format!(r#"{{"given": ["a:1"], "masters": ["{address}"]}}"#);
        for text in ["", "{}", "[", &bad("b"), &bad("b:x"), &bad("http://b:1"), &bad(":1"), &long] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(file.masters(), ["a:1"], "{text}");
        }
        std::fs::write(&path, bad("[::1]:5050")).expect("written");
        assert_eq!(file.masters(), ["[::1]:5050", "a:1"]);
    }
}
