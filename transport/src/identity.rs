//! How a client shows who it is.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;

use crate::auth::Credential;
use crate::tls::{ClientCerts, Tls};

/// What a client shows to whoever it calls. The default shows nothing.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    credential: Option<Credential>,
    tls: Option<Tls>,
}

impl Identity {
    /// An identity by name and secret, if there is one.
    pub fn of(credential: Option<Credential>) -> Self {
        Self { credential, tls: None }
    }

    /// Calls others by TLS, if there is one, and shows them its certificate if they ask for one.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// The same without name and secret: for what is passed on in somebody else's name.
    #[must_use]
    pub fn without_credential(&self) -> Self {
        Self { credential: None, tls: self.tls.clone() }
    }

    /// Who those are told that ask: the name of the credential, or else that of the certificate.
    pub fn principal(&self) -> Option<Arc<str>> {
        let named = self.credential.as_ref().map(|credential| credential.principal.clone());
        named.or_else(|| self.tls.as_ref()?.principal())
    }

    /// What others are called by, if it is TLS.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Whether nobody comes in without a certificate where this is served with.
    pub fn requires_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_certs() == ClientCerts::Required)
    }

    /// What URLs of those that are called begin with.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Where an HTTP client begins that shows this identity with each request.
    pub fn http(&self) -> reqwest::ClientBuilder {
        crate::install_tls_provider();
        let mut headers = HeaderMap::new();
        if let Some(value) = self.authorization() {
            headers.insert(header::AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder().default_headers(headers);
        match &self.tls {
            Some(tls) => client.tls_backend_preconfigured(tls.http_config()),
            None => client,
        }
    }

    /// What shows this identity with each gRPC call.
    pub(crate) fn shown(&self) -> Shown {
        let text = self.credential.as_ref().map(Credential::basic);
        Shown(text.and_then(|text| text.parse().ok()))
    }

    fn authorization(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&self.credential.as_ref()?.basic()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Adds what an identity shows to gRPC calls.
#[derive(Clone, Debug)]
pub struct Shown(Option<MetadataValue<Ascii>>);

impl Interceptor for Shown {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}
