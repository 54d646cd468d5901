//! Brings what a command needs into its sandbox before it starts.
//!
//! Sources are files of this machine and http(s) addresses. Archives are unpacked unless that is
//! declined. A download that may be cached is kept for the next launch; files of this machine are
//! copied each time. With `#sha256:…` behind it a URI's content must be just that.

mod cache;
mod checksum;
mod extract;
mod local;

use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use transport::counted;
use transport::metrics::{Counters, Samples};

use self::cache::Cache;
pub use self::extract::ExtractError;
use self::extract::Format;
pub(crate) use self::extract::{Budget, inside};
use crate::beneath;
use crate::launcher::Identity;

/// How many redirects are followed. Browsers follow twenty; a chain of ten is surely a circle.
pub const REDIRECTS_MAX: usize = 10;

/// The most bytes that are downloaded for one URI, so that no URL fills the disk.
pub const DOWNLOAD_BYTES_MAX: u64 = 16 << 30;

/// The most bytes that one archive may unpack to.
pub const UNPACKED_BYTES_MAX: u64 = 64 << 30;

/// The most entries that one archive may have: each takes an inode.
pub const ENTRIES_MAX: u64 = 2_000_000;

/// How long a download may go without a byte (`--fetcher_stall_timeout`).
pub const STALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// What the cache keeps (`--fetcher_cache_size`).
pub const CACHE_BYTES_MAX_DEFAULT: u64 = 2 << 30;

/// How long a server may take to answer the connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// One thing to fetch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uri {
    /// A path, `file://…`, `http://…` or `https://…`.
    pub value: String,
    /// Whether it is a program: it is made executable and not unpacked.
    pub executable: bool,
    /// Whether an archive is unpacked. What counts as one shows in the name.
    pub extract: bool,
    /// What to call it, relative to the sandbox. Absent: as the URI ends.
    pub output_file: Option<String>,
    /// Whether a download may be kept for others of the same user, and come from there.
    pub cache: bool,
}

impl Uri {
    /// A URI with nothing else said.
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            executable: false,
            extract: true,
            output_file: None,
            cache: false,
        }
    }
}

/// What the fetcher may do.
#[derive(Clone, Debug)]
pub struct FetcherOptions {
    /// How long a download may go without a byte.
    pub stall_timeout: Duration,
    /// The most bytes downloaded for one URI.
    pub download_bytes_max: u64,
    /// The most bytes one archive unpacks to.
    pub unpacked_bytes_max: u64,
    /// The most entries of one archive.
    pub entries_max: u64,
    /// Where relative paths start (`--frameworks_home`). Absent: they are refused.
    pub frameworks_home: Option<PathBuf>,
    /// Where downloads are kept (`--fetcher_cache_dir`); emptied at first. Absent: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// The most bytes kept.
    pub cache_bytes_max: u64,
}

impl Default for FetcherOptions {
    fn default() -> Self {
        Self {
            stall_timeout: STALL_TIMEOUT_DEFAULT,
            download_bytes_max: DOWNLOAD_BYTES_MAX,
            unpacked_bytes_max: UNPACKED_BYTES_MAX,
            entries_max: ENTRIES_MAX,
            frameworks_home: None,
            cache_dir: None,
            cache_bytes_max: CACHE_BYTES_MAX_DEFAULT,
        }
    }
}

/// A URI could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch '{uri}': {reason}")]
pub struct FetchError {
    /// Which one, without what may be secret in it.
    pub uri: String,
    /// Why.
    pub reason: Reason,
}

/// Why a URI could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// A scheme that nothing here speaks.
    #[error("'{0}' is no scheme this agent fetches; use a path, file://, http:// or https://")]
    Scheme(String),
    /// A relative path without a place to start from.
    #[error(
        "it is a relative path; give an absolute one, or start the agent with --frameworks_home"
    )]
    Relative,
    /// The fragment that names a checksum has none.
    #[error("'{0}' is no checksum; '#sha256:' is followed by 64 hexadecimal digits")]
    BadChecksum(String),
    /// It is not what it should be.
    #[error("its sha256 is {found}, and {wanted} was wanted")]
    Checksum {
        /// What the URI says.
        wanted: String,
        /// What came.
        found: String,
    },
    /// Nothing to call it.
    #[error("it does not end in a file name; set 'output_file'")]
    NoName,
    /// `output_file` would lead out of the sandbox.
    #[error("'output_file' {0} leads out of the sandbox; it must be relative and without '..'")]
    OutputEscapes(String),
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// The sandbox cannot be written.
    #[error("cannot write '{file}' into the sandbox: {source}")]
    Write {
        /// What.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The cache cannot be written.
    #[error("cannot write {} into the cache: {source}", path.display())]
    Cache {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The HTTP client could not be set up.
    #[error("cannot set up TLS: {0}")]
    Client(String),
    /// The transfer failed.
    #[error("{0}")]
    Transfer(String),
    /// The server answered with an error.
    #[error("the server answered {0}")]
    Status(u16),
    /// Nothing came for too long.
    #[error("nothing came for {0:?}")]
    Stalled(Duration),
    /// There is too much of it.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// It could not be unpacked.
    #[error(transparent)]
    Extract(#[from] ExtractError),
}

/// Fetches, with one HTTP client for all launches.
#[derive(Debug, Default)]
pub struct Fetcher {
    options: FetcherOptions,
    client: OnceLock<Result<reqwest::Client, String>>,
    cache: Option<Cache>,
    counters: Counters<Count>,
}

counted! {
    /// What is counted.
    enum Count {
        Failed = "containerizer/fetcher/task_fetches_failed",
        Succeeded = "containerizer/fetcher/task_fetches_succeeded",
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
fn bytes(bytes: u64) -> f64 {
    bytes as f64
}

/// Where a URI leads.
#[derive(Debug, Eq, PartialEq)]
enum Source {
    Http,
    File(PathBuf),
}

impl Fetcher {
    /// A fetcher with these limits. An error is of its cache's directory.
    pub fn new(options: FetcherOptions) -> io::Result<Self> {
        let cache = options.cache_dir.clone();
        let cache = cache.map(|dir| Cache::new(dir, options.cache_bytes_max)).transpose()?;
        Ok(Self { options, client: OnceLock::new(), cache, counters: Counters::default() })
    }

    /// Adds what is counted, and what the cache takes, to `samples`.
    pub(crate) fn tell(&self, samples: &mut Samples) {
        self.counters.tell(samples);
        let cache = self.cache.as_ref();
        let (used, total) = cache.map_or((0, 0), |cache| (cache.bytes(), cache.bytes_max()));
        samples.gauge("containerizer/fetcher/cache_size_used_bytes", bytes(used));
        samples.gauge("containerizer/fetcher/cache_size_total_bytes", bytes(total));
    }

    /// Fetches all of `uris` into `sandbox`, in order; what comes belongs to `owner`. The first that
    /// fails ends it.
    pub async fn fetch(
        &self,
        uris: &[Uri],
        sandbox: &Path,
        owner: Option<&Identity>,
    ) -> Result<(), FetchError> {
        let fetched = self.fetch_all(uris, sandbox, owner).await;
        self.counters.count(if fetched.is_ok() { Count::Succeeded } else { Count::Failed });
        fetched
    }

    async fn fetch_all(
        &self,
        uris: &[Uri],
        sandbox: &Path,
        owner: Option<&Identity>,
    ) -> Result<(), FetchError> {
        for uri in uris {
            self.fetch_one(uri, sandbox, owner)
                .await
                .map_err(|reason| FetchError { uri: shown(&uri.value), reason })?;
        }
        Ok(())
    }

    async fn fetch_one(
        &self,
        uri: &Uri,
        sandbox: &Path,
        owner: Option<&Identity>,
    ) -> Result<(), Reason> {
        let (from, checksum) = checksum::split(&uri.value)
            .map_err(|text| Reason::BadChecksum(text.escape_debug().take(80).collect()))?;
        let source = self.source(from)?;
        let name = output(from, uri.output_file.as_deref())?;
        let place = Place { sandbox: sandbox.to_owned(), owner: owner.cloned(), name };
        match (source, &self.cache) {
            (Source::File(path), _) => {
                copy(path, place.clone().create().await?, owner.cloned()).await?;
                place.clone().verify(checksum).await?;
            }
            (Source::Http, Some(cache)) if uri.cache => {
                self.cached(cache, from, checksum, &place).await?;
            }
            (Source::Http, _) => self.direct(from, checksum, &place).await?,
        }
        if uri.executable {
            return place.make_executable().await;
        }
        let format = Format::of(&place.name.to_string_lossy());
        match format.filter(|_| uri.extract) {
            Some(format) => {
                let budget = Budget::new(self.options.unpacked_bytes_max, self.options.entries_max);
                place.extract(format, budget).await
            }
            None => Ok(()),
        }
    }

    fn source(&self, uri: &str) -> Result<Source, Reason> {
        let Some((scheme, rest)) = uri.split_once("://") else {
            return match (&self.options.frameworks_home, uri.starts_with('/')) {
                (_, true) => Ok(Source::File(uri.into())),
                (Some(home), false) => Ok(Source::File(home.join(uri))),
                (None, false) => Err(Reason::Relative),
            };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => Ok(Source::Http),
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if path.starts_with('/') {
                    Ok(Source::File(path.into()))
                } else {
                    Err(Reason::Relative)
                }
            }
            other => Err(Reason::Scheme(other.to_owned())),
        }
    }

    /// Downloads into the sandbox.
    async fn direct(
        &self,
        from: &str,
        checksum: Option<String>,
        place: &Place,
    ) -> Result<(), Reason> {
        let file = place.clone().create().await?;
        let most = self.options.download_bytes_max;
        self.download(from, file, most, |source| place.failed(source)).await?;
        place.clone().verify(checksum).await
    }

    /// Brings it from the cache, and first into it if it is not there. What is too large for that is
    /// downloaded directly.
    async fn cached(
        &self,
        cache: &Cache,
        from: &str,
        checksum: Option<String>,
        place: &Place,
    ) -> Result<(), Reason> {
        let key = cache::Key {
            user: place.owner.as_ref().map(|owner| owner.uid),
            uri: from.to_owned(),
            checksum: checksum.clone(),
        };
        let most = self.options.download_bytes_max.min(cache.bytes_max());
        let wanted = checksum.clone();
        let download = async |path: &Path| {
            let path = path.to_owned();
            let failed = |source| Reason::Cache { path: path.clone(), source };
            let file = std::fs::File::create(&path).map_err(failed)?;
            let bytes = self.download(from, file, most, failed).await?;
            blocking(move || matches(std::fs::File::open(&path), wanted)).await?;
            Ok(bytes)
        };
        let kept = match cache.get(key, download).await {
            Err(Reason::TooLarge(_)) if most < self.options.download_bytes_max => {
                return self.direct(from, checksum, place).await;
            }
            kept => kept?,
        };
        copy(kept.path().to_owned(), place.clone().create().await?, None).await
    }

    /// Downloads into `file`, and gives how much it is.
    async fn download(
        &self,
        uri: &str,
        mut file: std::fs::File,
        most: u64,
        failed: impl Fn(io::Error) -> Reason,
    ) -> Result<u64, Reason> {
        let client = self.client.get_or_init(client).clone().map_err(Reason::Client)?;
        let stall = self.options.stall_timeout;
        let answered = tokio::time::timeout(stall + CONNECT_TIMEOUT, client.get(uri).send()).await;
        let mut response =
            answered.map_err(|_| Reason::Stalled(stall))?.map_err(|error| transfer(&error))?;
        if !response.status().is_success() {
            return Err(Reason::Status(response.status().as_u16()));
        }
        if response.content_length().is_some_and(|length| length > most) {
            return Err(Reason::TooLarge(most));
        }
        let mut taken = 0;
        loop {
            let chunk = tokio::time::timeout(stall, response.chunk()).await;
            let chunk = chunk.map_err(|_| Reason::Stalled(stall))?;
            let Some(chunk) = chunk.map_err(|error| transfer(&error))? else { return Ok(taken) };
            taken += chunk.len() as u64;
            if taken > most {
                return Err(Reason::TooLarge(most));
            }
            let written;
            (file, written) = blocking(move || {
                let written = file.write_all(&chunk);
                (file, written)
            })
            .await;
            written.map_err(&failed)?;
        }
    }
}

/// Whether a file is what it should be, if anybody says.
fn matches(file: io::Result<std::fs::File>, wanted: Option<String>) -> Result<(), Reason> {
    let Some(wanted) = wanted else { return Ok(()) };
    let found = file.and_then(checksum::of).map_err(Reason::Read)?;
    if found == wanted { Ok(()) } else { Err(Reason::Checksum { wanted, found }) }
}

/// Where one thing goes.
#[derive(Clone, Debug)]
struct Place {
    sandbox: PathBuf,
    owner: Option<Identity>,
    name: PathBuf,
}

impl Place {
    async fn create(self) -> Result<std::fs::File, Reason> {
        blocking(move || {
            let root = self.root()?;
            root.file(&self.name, 0o644).map_err(|source| self.failed(source))
        })
        .await
    }

    async fn verify(self, checksum: Option<String>) -> Result<(), Reason> {
        if checksum.is_none() {
            return Ok(());
        }
        blocking(move || matches(self.root()?.read(&self.name), checksum)).await
    }

    async fn make_executable(self) -> Result<(), Reason> {
        blocking(move || {
            let root = self.root()?;
            root.set_mode(&self.name, 0o755).map_err(|source| self.failed(source))
        })
        .await
    }

    async fn extract(self, format: Format, mut budget: Budget) -> Result<(), Reason> {
        blocking(move || {
            let root = self.root()?;
            let archive = root.read(&self.name).map_err(|source| self.failed(source))?;
            // Whatever name it was given, it is unpacked where commands look: in the sandbox.
            Ok(extract::extract(format, archive, &self.name, &root, &mut budget)?)
        })
        .await
    }

    fn root(&self) -> Result<beneath::Root, Reason> {
        beneath::Root::open(&self.sandbox, self.owner.as_ref())
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Reason {
        Reason::Write { file: self.name.display().to_string(), source }
    }
}

async fn copy(
    from: PathBuf,
    mut to: std::fs::File,
    reader: Option<Identity>,
) -> Result<(), Reason> {
    blocking(move || {
        let mut from = local::open(&from, reader.as_ref()).map_err(Reason::Read)?;
        io::copy(&mut from, &mut to).map_err(Reason::Read)?;
        Ok(())
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}

fn client() -> Result<reqwest::Client, String> {
    // Fails if there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
        // The file is wanted as it is, not as the server would send it to a browser.
        .user_agent("agora-fetcher")
        .build()
        .map_err(|error| error.to_string())
}

/// The error with its causes, but without the address, which the message has already.
fn transfer(error: &reqwest::Error) -> Reason {
    use std::error::Error;
    let mut text =
        if error.is_redirect() { "redirected too often" } else { "transfer failed" }.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Reason::Transfer(text)
}

/// What to call it in the sandbox.
fn output(from: &str, asked: Option<&str>) -> Result<PathBuf, Reason> {
    let path = if let Some(file) = asked {
        let clean = inside(Path::new(file));
        clean.map_err(|_| Reason::OutputEscapes(format!("'{}'", file.escape_debug())))?
    } else {
        inside(Path::new(last_segment(from))).map_err(|_| Reason::NoName)?
    };
    if path.as_os_str().is_empty() { Err(Reason::NoName) } else { Ok(path) }
}

/// What a URI's path ends in.
fn last_segment(uri: &str) -> &str {
    let path = match uri.split_once("://") {
        // A host is no file name, and a query is no part of one.
        Some((_, rest)) => {
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            path.find('/').map_or("", |slash| &path[slash..])
        }
        None => uri,
    };
    path.rsplit('/').next().unwrap_or_default()
}

/// A URI as it may stand in logs: without user, password and query, which may be secret.
fn shown(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests;
