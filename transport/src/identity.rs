//! How a client shows who it is.

use axum::http::{HeaderMap, HeaderValue, header};
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;

use crate::auth::Credential;

/// What a client shows to whoever it calls. The default shows nothing.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    credential: Option<Credential>,
}

impl Identity {
    /// An identity by name and secret, if there is one.
    pub fn of(credential: Option<Credential>) -> Self {
        Self { credential }
    }

    /// The name that is shown, if there is one.
    pub fn principal(&self) -> Option<&str> {
        self.credential.as_ref().map(|credential| &*credential.principal)
    }

    /// What URLs of those that are called begin with.
    pub fn scheme(&self) -> &'static str {
        "http"
    }

    /// Where an HTTP client begins that shows this identity with each request.
    pub fn http(&self) -> reqwest::ClientBuilder {
        crate::install_tls_provider();
        let mut headers = HeaderMap::new();
        if let Some(value) = self.authorization() {
            headers.insert(header::AUTHORIZATION, value);
        }
        reqwest::Client::builder().default_headers(headers)
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
