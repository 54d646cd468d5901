//! What was read from the files, ready to be used.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use super::{ClientCerts, OwnFiles, TlsFiles, principal, provider};
use crate::auth::read_private;

/// Why the files of TLS are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in it is not what is to be there.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key are of two pairs.
    #[error("the key in {} is not the one of the certificate in {}", key.display(), cert.display())]
    Apart {
        /// Where the certificate is.
        cert: PathBuf,
        /// Where the key is.
        key: PathBuf,
    },
    /// Others who trust the same would refuse the certificate.
    #[error(
        "the certificate in {} is not good for a {role} by what is in {}: {why}", cert.display(),
        ca.display()
    )]
    Refused {
        /// Where the certificate is.
        cert: PathBuf,
        /// Where those are that are trusted.
        ca: PathBuf,
        /// What it was to be good for.
        role: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Certificates are to be asked for where none can be shown.
    #[error("a certificate and a key are needed to ask others for theirs")]
    NothingToServe,
}

/// Everything that connections are made with.
#[derive(Debug)]
pub(super) struct Material {
    /// Checks servers.
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    pub(super) certified: Option<Arc<CertifiedKey>>,
    pub(super) principal: Option<Arc<str>>,
    pub(super) server: Option<Server>,
}

/// How connections are taken.
#[derive(Debug)]
pub(super) struct Server {
    /// As the settings say.
    pub(super) strict: Arc<ServerConfig>,
    /// Where a certificate is required: lets those without one say first what they want.
    pub(super) lenient: Arc<ServerConfig>,
}

impl Material {
    /// Reads the files and checks that they fit together.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let roots = Arc::new(roots(&files.ca)?);
        let malformed = |why: &dyn Display| TlsError::Malformed {
            path: files.ca.clone(),
            why: why.to_string(),
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| malformed(&error))?;
        let Some(own) = &files.own else {
            if files.client_certs != ClientCerts::None {
                return Err(TlsError::NothingToServe);
            }
            return Ok(Self { verifier, certified: None, principal: None, server: None });
        };
        let certified = Arc::new(certified(own)?);
        check(&certified, &roots, files, own)?;
        let clients = || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
        let strict = match files.client_certs {
            ClientCerts::None => Ok(WebPkiClientVerifier::no_client_auth()),
            ClientCerts::Accepted => clients().allow_unauthenticated().build(),
            ClientCerts::Required => clients().build(),
        };
        let strict = server(strict.map_err(|error| malformed(&error))?, &certified);
        let lenient = match files.client_certs {
            ClientCerts::None | ClientCerts::Accepted => strict.clone(),
            ClientCerts::Required => {
                let verifier = clients().allow_unauthenticated().build();
                server(verifier.map_err(|error| malformed(&error))?, &certified)
            }
        };
        let principal = certified.cert.first().and_then(principal::of);
        let server = Some(Server { strict, lenient });
        Ok(Self { verifier, certified: Some(certified), principal, server })
    }
}

/// A certificate that everybody who trusts the same refuses is told of here, where it can be seen, and
/// not to those who call.
fn check(
    certified: &CertifiedKey,
    roots: &Arc<RootCertStore>,
    files: &TlsFiles,
    own: &OwnFiles,
) -> Result<(), TlsError> {
    let refused = |role, why: &dyn Display| TlsError::Refused {
        cert: own.cert.clone(),
        ca: files.ca.clone(),
        role,
        why: why.to_string(),
    };
    let malformed = |why: String| TlsError::Malformed { path: own.cert.clone(), why };
    let Some((first, between)) = certified.cert.split_first() else {
        return Err(nothing(&own.cert, "certificate"));
    };
    let parsed = rustls::server::ParsedCertificate::try_from(first)
        .map_err(|error| malformed(error.to_string()))?;
    let algorithms = provider().signature_verification_algorithms.all;
    rustls::client::verify_server_cert_signed_by_trust_anchor(
        &parsed,
        roots,
        between,
        UnixTime::now(),
        algorithms,
    )
    .map_err(|error| refused("server", &error))?;
    if files.client_certs != ClientCerts::None {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
        let verifier = verifier.build().map_err(|error| malformed(error.to_string()))?;
        verifier
            .verify_client_cert(first, between, UnixTime::now())
            .map_err(|error| refused("client", &error))?;
    }
    Ok(())
}

pub(super) fn server(
    verifier: Arc<dyn ClientCertVerifier>,
    certified: &Arc<CertifiedKey>,
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has all of them")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified.clone())));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Connections live long, and each is to be checked by what is trusted when it is made.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Malformed {
            path: path.to_owned(),
            why: format!("a certificate cannot be used: {error}"),
        })?;
    }
    Ok(roots)
}

pub(super) fn certified(own: &OwnFiles) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(&own.cert)?;
    let text = read_private(&own.key);
    let text = text.map_err(|source| TlsError::Read { path: own.key.clone(), source })?;
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| nothing(&own.key, "private key without a passphrase"))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            return TlsError::Apart { cert: own.cert.clone(), key: own.key.clone() };
        }
        let is_of_cert = matches!(error, rustls::Error::InvalidCertificate(_));
        let path = if is_of_cert { &own.cert } else { &own.key };
        TlsError::Malformed { path: path.clone(), why: error.to_string() }
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text =
        std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| TlsError::Malformed {
        path: path.to_owned(),
        why: format!("the PEM in it is damaged: {error}"),
    })?;
    if all.is_empty() { Err(nothing(path, "certificate")) } else { Ok(all) }
}

fn nothing(path: &Path, what: &str) -> TlsError {
    TlsError::Malformed { path: path.to_owned(), why: format!("there is no {what} in PEM in it") }
}
