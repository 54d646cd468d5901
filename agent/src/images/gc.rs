//! Which images go: those that an operator wants gone, and on a full disk those that were not used for
//! longest. What containers are made of stays in any case.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use oci_spec::distribution::Reference;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::store::Record;
use super::{Count, Images, Inner, Reason, blocking};
use crate::gc::used_milli;

/// When images are removed without anybody asking (`--image_gc_config`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Collection {
    /// Thousandths of the disk that are to stay free; when fewer are, images go.
    pub headroom_milli: u64,
    /// How often that is looked at.
    pub interval: Duration,
    /// References that stay.
    pub excluded: Vec<String>,
}

impl Default for Collection {
    fn default() -> Self {
        Self { headroom_milli: 100, interval: Duration::from_secs(3_600), excluded: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    image_disk_headroom: Option<f64>,
    image_disk_watch_interval: Option<Nanoseconds>,
    excluded_images: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Nanoseconds {
    nanoseconds: u64,
}

impl Collection {
    /// Reads the form of Mesos: `{"image_disk_headroom": 0.1, "image_disk_watch_interval":
    /// {"nanoseconds": 3600000000000}, "excluded_images": ["name:tag"]}`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Config = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut collection = Self::default();
        if let Some(part) = config.image_disk_headroom {
            if !(0.0..=1.0).contains(&part) {
                return Err(format!("image_disk_headroom {part} is not between 0 and 1"));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 0 and 1000"
            )]
            let milli = (part * 1_000.0).round() as u64;
            collection.headroom_milli = milli;
        }
        if let Some(interval) = config.image_disk_watch_interval {
            if interval.nanoseconds == 0 {
                return Err("image_disk_watch_interval is zero".to_owned());
            }
            collection.interval = Duration::from_nanos(interval.nanoseconds);
        }
        if let Some(excluded) = config.excluded_images {
            excluded.iter().try_for_each(|name| whole(name).map(drop))?;
            collection.excluded = excluded;
        }
        Ok(collection)
    }
}

/// A reference in full. An error says that it is none.
fn whole(name: &str) -> Result<String, String> {
    let reference: Reference =
        name.parse().map_err(|error| format!("'{name}' is no reference: {error}"))?;
    Ok(reference.whole())
}

impl Images {
    /// Removes all images but those in `excluded` and those that containers are made of; gives how many
    /// layers went.
    pub async fn prune(&self, excluded: &[String]) -> Result<usize, PruneError> {
        let excluded: Result<BTreeSet<String>, String> =
            excluded.iter().map(|name| whole(name)).collect();
        let excluded = excluded.map_err(PruneError::Reference)?;
        let removed = blocking(&self.inner, move |inner| inner.prune(&excluded, usize::MAX));
        Ok(removed.await?)
    }

    /// Keeps the disk from filling up until it is stopped; then the next agent may have the store.
    pub async fn run(self, stop: CancellationToken) {
        let collection = self.inner.options.collection.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(collection.interval) => {}
                () = stop.cancelled() => break,
            }
            if let Err(error) = self.make_room(&collection).await {
                tracing::warn!(%error, "unused images cannot be removed");
            }
        }
        self.close();
    }

    /// Removes images, those first that were not used for longest, until there is as much room as is
    /// wanted or nothing can go. Gives how many layers went.
    pub async fn make_room(&self, collection: &Collection) -> Result<usize, Reason> {
        let Collection { headroom_milli, excluded, .. } = collection.clone();
        blocking(&self.inner, move |inner| {
            let excluded = excluded.iter().filter_map(|name| whole(name).ok()).collect();
            let mut removed = 0;
            while inner.used_milli()? > 1_000_u64.saturating_sub(headroom_milli) {
                let before = inner.store.by_last_use().len();
                removed += inner.prune(&excluded, 1)?;
                if inner.store.by_last_use().len() == before {
                    break;
                }
            }
            Ok(removed)
        })
        .await
    }
}

/// Images were not removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// What is to stay is no image.
    #[error("{0}")]
    Reference(String),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] Reason),
}

impl Inner {
    fn failed(&self) -> impl Fn(io::Error) -> Reason + use<'_> {
        |source| Reason::Store { path: self.options.store_dir.clone(), source }
    }

    fn used_milli(&self) -> Result<u64, Reason> {
        used_milli(&self.options.store_dir).map_err(self.failed())
    }

    /// Removes up to `most` images that may go, the longest unused first, and the layers that nobody
    /// needs then. Blocks.
    fn prune(&self, excluded: &BTreeSet<String>, most: usize) -> Result<usize, Reason> {
        let in_use = (self.options.in_use)().map_err(self.failed())?;
        let may_go = |record: &Record| {
            let is_used = |layer: &String| {
                in_use.contains(&self.store.layer(layer)) || self.store.is_leased(layer)
            };
            !excluded.contains(&record.reference) && !record.layers.iter().all(is_used)
        };
        let all = self.store.by_last_use();
        let going: Vec<&Record> = all.iter().filter(|record| may_go(record)).take(most).collect();
        for record in &going {
            self.store.forget(&record.reference).map_err(self.failed())?;
            tracing::info!(image = record.reference, "removed an image that nobody uses");
        }
        let removed = self.store.sweep(&*self.options.in_use).map_err(self.failed())?;
        self.options.meters.counters.add(Count::LayersRemoved, removed.len() as u64);
        Ok(removed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_mesos_is_read_or_refused() {
        let text = r#"{"image_disk_headroom": 0.25, "image_disk_watch_interval":
                       {"nanoseconds": 60000000000}, "excluded_images": ["busybox"]}"#;
        let expected = Collection {
            headroom_milli: 250,
            interval: Duration::from_secs(60),
            excluded: vec!["busybox".to_owned()],
        };
        assert_eq!(Collection::parse(text), Ok(expected));
        assert_eq!(Collection::parse("{}"), Ok(Collection::default()));
        for text in [
            "",
            r#"{"image_disk_headroom": 2}"#,
            r#"{"image_disk_watch_interval": {"nanoseconds": 0}}"#,
            r#"{"excluded_images": ["No Image"]}"#,
            r#"{"image_disk_headrom": 0.1}"#,
        ] {
            assert!(Collection::parse(text).is_err(), "{text}");
        }
    }
}
