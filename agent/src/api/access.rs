//! Which proof of identity each endpoint asks for.

use axum::http::Method;
use transport::auth::{Authenticator, Gate};

use crate::options::Authentication;

/// What only tells something.
const READONLY: &str = "mesos-agent-readonly";
/// What changes something, and what may do both.
const READWRITE: &str = "mesos-agent-readwrite";

/// The gate for these settings.
pub(super) fn gate(settings: &Authentication) -> Gate {
    let basic: Vec<_> = settings.credentials.iter().cloned().map(Authenticator::Basic).collect();
    let required = [(settings.readonly, READONLY), (settings.readwrite, READWRITE)];
    let realms = required.into_iter().filter(|(is_required, _)| *is_required);
    realms.fold(Gate::new(realm_of), |gate, (_, realm)| gate.requiring(realm, basic.clone()))
}

/// What is not named here counts as read-only, so that nothing new is open by mistake.
fn realm_of(_: &Method, path: &str) -> Option<&'static str> {
    match path {
        "/health" | "/version" | "/api/v1/executor" => None,
        "/api/v1" | "/api/v1/operator" | "/logging/toggle" => Some(READWRITE),
        _ => Some(READONLY),
    }
}
