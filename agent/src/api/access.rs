//! Which proof of identity each endpoint asks for, and which executor has shown one.

use axum::http::{Extensions, Method, StatusCode};
use model::ids::{ContainerId, ExecutorId, FrameworkId};
use std::collections::BTreeMap;
use transport::auth::{Authenticator, Gate, Principal, TokenKey};
use transport::http::Refused;

use super::Api;
use crate::options::Authentication;

/// What only tells something.
const READONLY: &str = "mesos-agent-readonly";
/// What changes something, and what may do both.
const READWRITE: &str = "mesos-agent-readwrite";
/// What executors call.
const EXECUTOR: &str = "mesos-agent-executor";

/// What a token says of its executor, as Mesos has it.
const FRAMEWORK_CLAIM: &str = "fid";
const EXECUTOR_CLAIM: &str = "eid";
const CONTAINER_CLAIM: &str = "cid";

/// The gate for these settings.
pub(super) fn gate(settings: &Authentication) -> Gate {
    let basic: Vec<_> = settings.credentials.iter().cloned().map(Authenticator::Basic).collect();
    let bearer: Vec<_> = settings.executors.iter().cloned().map(Authenticator::Bearer).collect();
    // Executors have containers nested in their own run by the same calls as operators.
    let both: Vec<_> = basic.iter().chain(&bearer).cloned().collect();
    let open = Gate::new(realm_of);
    // Where everybody is let in, rules may still tell executors from others.
    let open = if bearer.is_empty() { open } else { open.knowing(READWRITE, bearer.clone()) };
    let required = [
        (settings.readonly, READONLY, basic),
        (settings.readwrite, READWRITE, both),
        (settings.executors.is_some(), EXECUTOR, bearer),
    ];
    let realms = required.into_iter().filter(|(is_required, ..)| *is_required);
    realms.fold(open, |gate, (_, realm, by)| gate.requiring(realm, by))
}

/// What is not named here counts as read-only, so that nothing new is open by mistake.
fn realm_of(_: &Method, path: &str) -> Option<&'static str> {
    match path {
        "/health" | "/version" => None,
        super::EXECUTOR_PATH => Some(EXECUTOR),
        "/api/v1" | "/api/v1/operator" | "/logging/toggle" => Some(READWRITE),
        _ => Some(READONLY),
    }
}

/// The token by which an executor shows that it runs in this container.
pub(crate) fn token(
    key: &TokenKey,
    framework: &FrameworkId,
    executor: &ExecutorId,
    container: &ContainerId,
) -> String {
    key.sign(&BTreeMap::from([
        (FRAMEWORK_CLAIM, framework.as_str()),
        (EXECUTOR_CLAIM, executor.as_str()),
        (CONTAINER_CLAIM, container.as_str()),
    ]))
}

/// An executor may only speak for itself, in the container that it was started in.
pub(super) fn check_executor(
    api: &Api,
    extensions: &Extensions,
    framework: &FrameworkId,
    executor: &ExecutorId,
) -> Result<(), Refused> {
    if api.shared.options.authentication.executors.is_none() {
        return Ok(());
    }
    let claims = extensions.get::<Principal>().map(|who| &who.claims);
    let claim = |name| claims.and_then(|all| all.get(name)).map_or("", String::as_str);
    let container = {
        let mirror = api.shared.mirror.read();
        mirror.executor(framework, executor).map(|known| known.container.clone())
    };
    // Of one that is not known there is no container; it hears that further on.
    let is_its_container =
        container.is_none_or(|container| claim(CONTAINER_CLAIM) == container.as_str());
    let is_itself = claim(FRAMEWORK_CLAIM) == framework.as_str()
        && claim(EXECUTOR_CLAIM) == executor.as_str()
        && is_its_container;
    if is_itself {
        return Ok(());
    }
    let text = format!(
        "The token is not the one that executor '{executor}' of framework {framework} was started \
         with"
    );
    Err(Refused::new(StatusCode::FORBIDDEN, text))
}

/// The container of the executor whose token this principal has shown.
pub(super) fn container_of(executor: &Principal) -> Option<ContainerId> {
    ContainerId::new(executor.claims.get(CONTAINER_CLAIM)?.as_str()).ok()
}
