//! Container images: found, verified, unpacked once, and given to containers as layers.
//!
//! What several launches want at the same time is fetched once, and at most so many layers at a time.
//! Everything is checked against the digest it is known by before anybody may use it. Layers are shared
//! by all containers and images that have them; nobody writes to them.

mod challenge;
mod config;
mod credentials;
mod digest;
mod flights;
mod gc;
mod layer;
mod local;
mod manifest;
mod meters;
mod reason;
mod registries;
mod remote;
mod store;
mod users;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::try_join_all;
use oci_spec::distribution::Reference;
use tokio::sync::Semaphore;

pub use self::config::{Given, RunConfig, Start, Way};
pub use self::credentials::{BadCredentials, Credentials};
use self::flights::Flights;
pub use self::gc::{Collection, PruneError};
use self::layer::Packed;
use self::meters::Count;
pub use self::meters::ImageMeters;
pub use self::reason::{ImageError, Reason};
pub use self::registries::{BadRegistry, Mirror, Registries, Registry};
use self::remote::Repository;
use self::store::{Lease, Record, Store};
pub use self::users::{ImageUser, UnknownInImage};
use crate::fetcher::{Budget, ENTRIES_MAX, UNPACKED_BYTES_MAX};

/// Layers that are fetched and unpacked at the same time. One more would rather wait for the disk than
/// be there sooner.
const LAYERS_AT_ONCE: usize = 3;

/// Tells which layers containers are made of, by the directories they lie in. Blocks.
pub type InUse = Arc<dyn Fn() -> io::Result<BTreeSet<PathBuf>> + Send + Sync>;

/// Where images come from and go to.
#[derive(Clone)]
pub struct ImagesOptions {
    /// Where they are kept (`--docker_store_dir`). Belongs to one agent alone.
    pub store_dir: PathBuf,
    /// Where they come from.
    pub registries: Registries,
    /// Whether what images say of how to run them is not heeded (`--docker_ignore_runtime`).
    pub ignore_runtime: bool,
    /// How long a registry may send nothing (`--fetcher_stall_timeout`).
    pub stall_timeout: Duration,
    /// What containers are using.
    pub in_use: InUse,
    /// When images are removed without anybody asking.
    pub collection: Collection,
    /// Where it is counted what is done.
    pub meters: Arc<ImageMeters>,
}

impl fmt::Debug for ImagesOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImagesOptions")
            .field("store_dir", &self.store_dir)
            .field("registries", &self.registries)
            .finish_non_exhaustive()
    }
}

/// An image that a container is to be made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WantedImage {
    /// Its name, as people write it.
    pub reference: String,
    /// Whether what is in the store is good enough. If not, the registry is asked what it has.
    pub cached: bool,
    /// How its configuration and a command are put together.
    pub way: Way,
    /// What its registry is shown before what the agent has for it.
    pub credentials: Credentials,
    /// What counts before what the image says.
    pub overrides: Overrides,
}

/// What a container says of how its image is run, before the image is asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// What is executed. The image's cmd is nothing to it.
    pub entrypoint: Option<Vec<String>>,
    /// Where it starts.
    pub workdir: Option<String>,
    /// Whom it runs as, as the image knows users.
    pub user: Option<String>,
    /// Variables besides the image's.
    pub env: Vec<(String, String)>,
}

impl Overrides {
    fn apply(&self, config: RunConfig) -> RunConfig {
        let mut config = config;
        if let Some(entrypoint) = &self.entrypoint {
            config.entrypoint.clone_from(entrypoint);
            config.cmd.clear();
        }
        config.workdir = self.workdir.clone().or(config.workdir);
        config.user = self.user.clone().or(config.user);
        config.env.extend(self.env.iter().cloned());
        config
    }
}

/// An image that is here, and stays here as long as this does.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// Directories of its layers, the topmost first.
    pub layers: Vec<PathBuf>,
    /// How to run it.
    pub config: RunConfig,
    /// How a command is put together with that.
    pub way: Way,
    /// Whether the user there is the container's own wish rather than the image's.
    pub user_is_given: bool,
    _lease: Arc<Lease>,
}

impl Provisioned {
    /// What a command is put together with.
    pub fn start(&self) -> Start {
        Start {
            entrypoint: self.config.entrypoint.clone(),
            cmd: self.config.cmd.clone(),
            way: self.way,
            env: self.config.env.clone(),
        }
    }

    /// Where its command starts. Absent: in the sandbox.
    pub fn workdir(&self) -> Option<PathBuf> {
        let root = std::path::Path::new("/");
        match (&self.config.workdir, self.way) {
            (Some(workdir), _) => Some(root.join(workdir)),
            (None, Way::Docker) => Some(root.to_owned()),
            (None, Way::Mesos) => None,
        }
    }

    /// Looks up `user` in the image's own files.
    pub fn user(&self, user: &str) -> Result<ImageUser, UnknownInImage> {
        users::find(&self.layers, user)
    }
}

/// All images of an agent.
#[derive(Clone, Debug)]
pub struct Images {
    inner: Arc<Inner>,
}

/// What several waited for: the record, with its layers held, or why there is none.
type Pulled = Result<(Record, Arc<Lease>), Arc<Reason>>;

#[derive(Debug)]
struct Inner {
    options: ImagesOptions,
    store: Arc<Store>,
    pulls: Flights<Pull, Pulled>,
    layers: Flights<(String, String), Result<(), Arc<Reason>>>,
    slots: Semaphore,
}

/// What is one pull for all who want it: credentials are those of one, so they are not shared.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Pull {
    reference: String,
    credentials: Credentials,
}

/// What an image is made of, as its source says.
struct Found {
    /// Whose layers they are, so that those of two are not taken for each other before they are
    /// checked.
    origin: String,
    manifest: String,
    config: Vec<u8>,
    layers: Vec<Layer>,
}

/// Where a layer is to be had.
enum Layer {
    /// On this machine.
    Here(Packed),
    /// In a registry, by the digest and of the size that it has there.
    There { repository: Arc<Repository>, stored: String, size: u64 },
}

impl Images {
    /// Opens the store. Blocks.
    pub fn open(options: ImagesOptions) -> Result<Self, Reason> {
        let store = Arc::new(Store::open(&options.store_dir, &*options.in_use)?);
        let inner = Inner {
            options,
            store,
            pulls: Flights::default(),
            layers: Flights::default(),
            slots: Semaphore::new(LAYERS_AT_ONCE),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Lets the next agent have the store, though what was started here may live on. Nothing is to be
    /// provisioned any more.
    pub fn close(&self) {
        self.inner.store.close();
    }

    /// Has an image here. Dropping this gives it up, unless others want it as well.
    pub async fn provision(&self, wanted: &WantedImage) -> Result<Provisioned, ImageError> {
        let failed = |reason| ImageError { image: wanted.reference.clone(), reason };
        let reference: Reference = wanted
            .reference
            .parse()
            .map_err(|error| failed(Arc::new(Reason::Reference(format!("{error}")))))?;
        let whole = reference.whole();
        let inner = &self.inner;
        let found = Some(&inner.store).filter(|_| wanted.cached).and_then(|it| it.find(&whole));
        let (record, lease) = if let Some((record, lease)) = found {
            (record, Arc::new(lease))
        } else {
            let pull = Pull { reference: whole, credentials: wanted.credentials.clone() };
            let (flight, credentials) = (Arc::clone(inner), wanted.credentials.clone());
            let pulled =
                inner.pulls.join(pull, || pull_told(flight, reference, credentials).boxed());
            pulled.await.map_err(failed)?
        };
        Ok(Provisioned {
            layers: record.layers.iter().rev().map(|layer| inner.store.layer(layer)).collect(),
            config: wanted.overrides.apply(if inner.options.ignore_runtime {
                RunConfig::default()
            } else {
                record.config
            }),
            way: wanted.way,
            user_is_given: wanted.overrides.user.is_some(),
            _lease: lease,
        })
    }
}

/// Pulls an image, and says so.
async fn pull_told(inner: Arc<Inner>, reference: Reference, credentials: Credentials) -> Pulled {
    let began = Instant::now();
    let image = reference.whole();
    tracing::info!(image, "pulling an image");
    let meters = inner.options.meters.clone();
    let pulled = pull(inner, &reference, &credentials).await.map_err(Arc::new);
    match &pulled {
        Ok((record, _)) => {
            let took = began.elapsed();
            meters.pulls.record(took);
            let (layers, seconds) = (record.layers.len(), took.as_secs_f64());
            tracing::info!(image, manifest = record.manifest, layers, seconds, "pulled an image");
        }
        Err(error) => {
            meters.counters.count(Count::PullErrors);
            tracing::warn!(image, %error, "an image was not pulled");
        }
    }
    pulled
}

async fn pull(
    inner: Arc<Inner>,
    reference: &Reference,
    credentials: &Credentials,
) -> Result<(Record, Arc<Lease>), Reason> {
    let found = find(&inner, reference, credentials).await?;
    let (config, layers) = config::read(&found.config)?;
    as_many(found.layers.len(), &layers)?;
    let lease = Arc::new(inner.store.lease(&layers));
    let fetched = found.layers.into_iter().zip(layers.clone()).map(|(layer, diff_id)| {
        let (flight, key) = (Arc::clone(&inner), (diff_id.clone(), found.origin.clone()));
        inner.layers.join(key, || fetch_layer(flight, layer, diff_id).boxed())
    });
    try_join_all(fetched).await.map_err(Reason::Shared)?;
    let record = Record { reference: reference.whole(), manifest: found.manifest, layers, config };
    let admitted = record.clone();
    blocking(&inner, move |inner| inner.store.admit(admitted)).await?;
    Ok((record, lease))
}

async fn find(
    inner: &Arc<Inner>,
    reference: &Reference,
    credentials: &Credentials,
) -> Result<Found, Reason> {
    let registries = &inner.options.registries;
    if let Registry::Directory(dir) = &registries.default {
        let (dir, reference) = (dir.clone(), reference.clone());
        let found = blocking(inner, move |_| local::find(&dir, &reference)).await?;
        return Ok(Found {
            origin: String::new(),
            manifest: found.manifest,
            config: found.config,
            layers: found.layers.into_iter().map(Layer::Here).collect(),
        });
    }
    let endpoints = registries.endpoints(reference);
    let credentials = credentials.or(&registries.credentials);
    let within = inner.options.stall_timeout;
    let (repository, found) = remote::find(&endpoints, reference, &credentials, within).await?;
    let repository = Arc::new(repository);
    let layer = |(stored, size)| Layer::There { repository: repository.clone(), stored, size };
    Ok(Found {
        origin: repository.origin(),
        manifest: found.manifest,
        config: found.config,
        layers: found.layers.into_iter().map(layer).collect(),
    })
}

/// Brings one layer into the store, unless it is there.
async fn fetch_layer(inner: Arc<Inner>, layer: Layer, diff_id: String) -> Result<(), Arc<Reason>> {
    let path = inner.store.layer(&diff_id);
    if path.is_dir() {
        return Ok(());
    }
    let _slot = inner.slots.acquire().await.expect("nobody closes it");
    let staged = blocking(&inner, |inner| inner.store.stage()).await?;
    let packed = match layer {
        Layer::Here(packed) => packed,
        Layer::There { repository, stored, size } => {
            tracing::info!(layer = stored, size, "downloading a layer");
            let path = staged.path().join("packed");
            repository.download(&stored, size, &path).await?;
            let content = File::open(&path).map_err(|source| Reason::Store { path, source })?;
            Packed { content: Box::new(content), digest: None, diff_id: diff_id.clone() }
        }
    };
    let stop = Stop::default();
    let stopped = Arc::clone(&stop.0);
    let unpacked = blocking(&inner, move |inner| {
        let budget = Budget::new(UNPACKED_BYTES_MAX, ENTRIES_MAX);
        let directory = staged.path().join("layer");
        // The root is everybody's, whatever the agent's umask.
        let everybodys = std::fs::Permissions::from_mode(0o755);
        std::fs::create_dir(&directory)
            .and_then(|()| std::fs::set_permissions(&directory, everybodys))
            .map_err(|source| Reason::Store { path: directory.clone(), source })?;
        layer::unpack(packed, &directory, budget, &stopped)?;
        inner.store.admit_layer(&directory, &diff_id)
    });
    Ok(unpacked.await?)
}

/// Stops what blocks when nobody waits for it any more.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Refuses an image of which it is not clear which layer is which.
fn as_many(stored: usize, diff_ids: &[String]) -> Result<(), Reason> {
    if stored == diff_ids.len() {
        return Ok(());
    }
    let (named, most) = (diff_ids.len(), manifest::LAYERS_MAX);
    Err(Reason::Manifest(format!(
        "its manifest has {stored} layers and its configuration {named}; they must be as many, and \
         at most {most}"
    )))
}

async fn blocking<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl FnOnce(&Inner) -> T + Send + 'static,
) -> T {
    let inner = Arc::clone(inner);
    tokio::task::spawn_blocking(move || work(&inner)).await.expect("it does not panic")
}
