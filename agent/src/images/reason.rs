//! Why an image is not there.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fetcher::ExtractError;

/// An image cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot use image '{image}': {reason}")]
pub struct ImageError {
    /// Its reference, as it was given.
    pub image: String,
    /// Why. Shared by all who waited for the same pull.
    pub reason: Arc<Reason>,
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The reference is none.
    #[error("it is no reference such as 'name:tag' or 'host:port/name@sha256:…': {0}")]
    Reference(String),
    /// There is no such image.
    #[error("there is no such image {0}; check its name and tag")]
    NotFound(String),
    /// The registry wants to know who asks, or does not like them.
    #[error(
        "{registry} does not let this agent have it ({answer}); give credentials by --docker_config \
         or in the image's own 'config'"
    )]
    Unauthorised {
        /// Who.
        registry: String,
        /// What it said.
        answer: String,
    },
    /// It is not what it should be.
    #[error("{what} has digest {found}, and {wanted} was wanted")]
    Digest {
        /// What of it.
        what: String,
        /// By what it was asked for.
        wanted: String,
        /// What came.
        found: String,
    },
    /// There is too much of it.
    #[error("{what} is larger than {most} bytes")]
    TooLarge {
        /// What of it.
        what: String,
        /// The limit.
        most: u64,
    },
    /// As another pull that waited for the same layer was told.
    #[error(transparent)]
    Shared(Arc<Reason>),
    /// Its description makes no sense.
    #[error("{0}")]
    Manifest(String),
    /// It is for other machines.
    #[error("it is not made for {wanted}; there is it for {there}")]
    Platform {
        /// What this machine is.
        wanted: String,
        /// What it is made for.
        there: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {layer}: {source}")]
    Layer {
        /// Which.
        layer: String,
        /// Why.
        source: ExtractError,
    },
    /// The store cannot be read or written.
    #[error("cannot use {} of the image store: {source}", path.display())]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A local image cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The credentials make no sense. What they are is not told.
    #[error("its credentials cannot be read: {0}")]
    Credentials(String),
    /// The transfer failed.
    #[error("{registry}: {error}")]
    Transfer {
        /// With whom.
        registry: String,
        /// How.
        error: String,
    },
    /// Nothing came for too long.
    #[error("{registry} sent nothing for {within:?}")]
    Stalled {
        /// Who.
        registry: String,
        /// For how long.
        within: Duration,
    },
}
