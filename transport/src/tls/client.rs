//! Connecting to others, with what the files say at that moment.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::material::Material;
use super::{Tls, provider};

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speaks {
    /// HTTP/1.1, as without TLS.
    Http1,
    /// gRPC, which is HTTP/2.
    Grpc,
}

/// What was read last. Clients are made once and ask here for each connection.
#[derive(Debug)]
pub(super) struct Current(RwLock<Arc<Material>>);

impl Current {
    pub(super) fn new(material: Material) -> Self {
        Self(RwLock::new(Arc::new(material)))
    }

    pub(super) fn get(&self) -> Arc<Material> {
        self.0.read().clone()
    }

    pub(super) fn replace(&self, material: Material) {
        *self.0.write() = Arc::new(material);
    }
}

impl ServerCertVerifier for Current {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.get().verifier.clone();
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.get().verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.get().verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.get().verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.get().certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.get().certified.is_some()
    }
}

/// How connections are made on which this is spoken.
pub(super) fn config(current: &Arc<Current>, speaks: Speaks) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has all of them")
        .dangerous()
        .with_custom_certificate_verifier(current.clone())
        .with_client_cert_resolver(current.clone());
    config.alpn_protocols = match speaks {
        Speaks::Http1 => vec![b"http/1.1".to_vec()],
        Speaks::Grpc => vec![b"h2".to_vec()],
    };
    config.resumption = Resumption::disabled();
    config
}

impl Tls {
    /// Connects to `address` (`host:port`), whose certificate must be for that host.
    pub async fn connect(&self, address: &str, speaks: Speaks) -> io::Result<TlsStream<TcpStream>> {
        let (host, _) = address
            .rsplit_once(':')
            .ok_or_else(|| io::Error::other(format!("'{address}' is not of the form host:port")))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = match speaks {
            Speaks::Http1 => Arc::new(self.0.http.clone()),
            Speaks::Grpc => self.0.grpc.clone(),
        };
        TlsConnector::from(config).connect(name, stream).await
    }
}
