//! Whoever issues certificates in tests.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tempfile::TempDir;

use crate::tls::{ClientCerts, OwnFiles, TlsFiles};

/// An authority with a directory for all that it issues.
pub(super) struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { dir, issuer: Issuer::new(params, key) }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The files of one that trusts this authority and shows nothing.
    pub(super) fn nobody(&self) -> TlsFiles {
        TlsFiles { own: None, ca: self.ca(), client_certs: ClientCerts::None }
    }

    /// Issues a certificate for the URI `x:<name>` on 127.0.0.1 and localhost.
    pub(super) fn issue(&self, name: &str, client_certs: ClientCerts) -> TlsFiles {
        self.issue_as(name, client_certs, |params| {
            let uri = format!("x:{name}");
            params.subject_alt_names = vec![
                SanType::IpAddress([127, 0, 0, 1].into()),
                SanType::DnsName("localhost".try_into().expect("ASCII")),
                SanType::URI(uri.as_str().try_into().expect("ASCII")),
            ];
        })
    }

    /// The same with other things in it.
    pub(super) fn issue_as(
        &self,
        name: &str,
        client_certs: ClientCerts,
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsFiles {
        let mut params = CertificateParams::default();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let own = OwnFiles {
            cert: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        };
        replace(&own.cert, &certificate.pem());
        replace(&own.key, &key.serialize_pem());
        TlsFiles { own: Some(own), ca: self.ca(), client_certs }
    }
}

/// Puts a file in the place of another, as those do who rotate certificates.
pub(super) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(&new, path).expect("renamed");
}
