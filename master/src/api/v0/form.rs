//! Bodies as old tools send them, whatever they call them: forms, and JSON.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use transport::http::{Refused, read_body};

/// What a form says, by name. Of a name that is there twice the last value counts.
#[derive(Debug)]
pub(super) struct Form(HashMap<String, String>);

impl Form {
    /// What stands behind `name`, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The same of what must be there.
    pub(super) fn wanted(&self, name: &str) -> Result<&str, Refused> {
        self.get(name).ok_or_else(|| {
            Refused::bad_request(format!("Missing '{name}' query parameter in the request body"))
        })
    }
}

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let body = read_body(request.into_body()).await?;
        Ok(Self(form_urlencoded::parse(&body).into_owned().collect()))
    }
}

/// A body as it is. It may be as long as a call.
#[derive(Debug)]
pub(super) struct Whole(pub Bytes);

impl<S: Sync> FromRequest<S> for Whole {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        read_body(request.into_body()).await.map(Self)
    }
}
