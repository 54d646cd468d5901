//! TLS: one set of files for what a process serves and for whom it calls.
//!
//! [`Tls`] holds a certificate with its key, and the certificates of those who may issue some. It
//! opens connections as a client, [`crate::server::Server`] takes them with it, and the name in a
//! client's certificate becomes its [`crate::auth::Principal`]. The files may change while the process
//! runs: connections that are open stay, new ones are made with what is there then.

mod accept;
mod client;
mod explain;
mod material;
mod principal;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;

pub(crate) use accept::Acceptor;
pub use client::Speaks;
pub use explain::explain;
pub use material::TlsError;

use client::Current;
use material::Material;
use watch::Stamps;

/// Whether those who connect are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientCerts {
    /// Nobody is asked.
    #[default]
    None,
    /// Who has one may show it, and is then known by it. One that is not right is refused.
    Accepted,
    /// Nobody comes in without one.
    Required,
}

/// The files that TLS is made of, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// What is shown to others; without it nothing can be served.
    pub own: Option<OwnFiles>,
    /// Certificates of those who issue the certificates that are trusted.
    pub ca: PathBuf,
    /// What those who connect are asked for.
    pub client_certs: ClientCerts,
}

/// A certificate and the key that belongs to it.
#[derive(Clone, Debug)]
pub struct OwnFiles {
    /// The certificate first, then those between it and the one that is trusted.
    pub cert: PathBuf,
    /// The key, without a passphrase.
    pub key: PathBuf,
}

/// TLS of one process. Clones share what was read from the files.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    current: Arc<Current>,
    /// How the files were when they were last read.
    read: Mutex<Stamps>,
    http: ClientConfig,
    grpc: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files and checks that they fit together.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is read again.
        let read = Mutex::new(Stamps::of(&files));
        let current = Arc::new(Current::new(Material::read(&files)?));
        Ok(Self(Arc::new(Inner {
            http: client::config(&current, Speaks::Http1),
            grpc: Arc::new(client::config(&current, Speaks::Grpc)),
            files,
            current,
            read,
        })))
    }

    /// Reads the files again. If they are of no use, what was read before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let stamps = Stamps::of(&self.0.files);
        let material = Material::read(&self.0.files);
        *self.0.read.lock() = stamps;
        self.0.current.replace(material?);
        Ok(())
    }

    /// What those who connect are asked for.
    pub fn client_certs(&self) -> ClientCerts {
        self.0.files.client_certs
    }

    /// Whether who connects can be known by a certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.client_certs() != ClientCerts::None
    }

    /// The file with the certificates of those who are trusted to issue some.
    pub fn ca(&self) -> &Path {
        &self.0.files.ca
    }

    /// The name that others know this process by, if it has a certificate with one.
    pub fn principal(&self) -> Option<Arc<str>> {
        self.0.current.get().principal.clone()
    }

    /// How an HTTP client connects.
    pub(crate) fn http_config(&self) -> ClientConfig {
        self.0.http.clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
