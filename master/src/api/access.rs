//! Which proof of identity each endpoint asks for, and who has shown one.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use model::acl::{Acls, Action};
use tonic::Status;
use transport::auth::{Authenticator, Gate, Principal};

use crate::options::Authentication;

/// Calls of frameworks.
const SCHEDULER: &str = "mesos-master-scheduler";
/// What only tells something.
const READONLY: &str = "mesos-master-readonly";
/// What changes something, and what may do both.
const READWRITE: &str = "mesos-master-readwrite";
/// The links of agents.
const AGENT: &str = "agora-master-agent";
/// What masters say to each other.
const MASTER: &str = "agora-master-master";

/// First segments of paths below which something is changed.
const CHANGING: [&str; 10] = [
    "agora.v1.RaftAdmin",
    "api",
    "teardown",
    "weights",
    "quota",
    "machine",
    "reserve",
    "unreserve",
    "create-volumes",
    "destroy-volumes",
];

/// The gate for these settings.
pub(super) fn gate(settings: &Authentication) -> Gate {
    let basic: Vec<_> = settings.credentials.iter().cloned().map(Authenticator::Basic).collect();
    let required = [
        (settings.frameworks, SCHEDULER),
        (settings.readonly, READONLY),
        (settings.readwrite, READWRITE),
        (settings.agents, AGENT),
        (settings.masters, MASTER),
    ];
    let realms = required.into_iter().filter(|(is_required, _)| *is_required);
    realms.fold(Gate::new(realm_of), |gate, (_, realm)| gate.requiring(realm, basic.clone()))
}

/// Whether one who asks for this may be asked for a name. Where not, it does not matter who asks.
pub(super) fn asks_for_a_name(path: &str) -> bool {
    realm_of(&Method::GET, path).is_some()
}

/// What is not named here counts as read-only, so that nothing new is open by mistake.
fn realm_of(_: &Method, path: &str) -> Option<&'static str> {
    let mut segments = path.split('/').skip(1);
    let realm = match [(); 3].map(|()| segments.next().unwrap_or_default()) {
        ["health" | "version" | "redirect", "", _] => return None,
        ["api", "v1", "scheduler"] if segments.next().is_none() => SCHEDULER,
        ["agora.v1.Scheduler" | "agora.v1.FrameworkStore" | "agora.v1.Masters", ..] => SCHEDULER,
        ["agora.v1.AgentLink", ..] => AGENT,
        ["agora.v1.Raft", ..] => MASTER,
        ["maintenance", "schedule", _] | ["logging", "toggle", _] => READWRITE,
        [first, ..] if CHANGING.contains(&first) => READWRITE,
        _ => READONLY,
    };
    Some(realm)
}

/// Has rules heeded on who may be a master and who may change which there are.
///
/// They are ours and not of Mesos, whose files do not know them: where no rule speaks of one of them,
/// whoever has come so far may do it, also where what is not spoken of is forbidden.
pub(super) fn heed_rules_of_masters(acls: &Arc<Acls>, router: Router) -> Router {
    if [Action::ActAsMaster, Action::ChangeMasters].iter().all(|action| !acls.speak_of(*action)) {
        return router;
    }
    router.layer(from_fn_with_state(acls.clone(), heed))
}

async fn heed(State(acls): State<Arc<Acls>>, request: Request, next: Next) -> Response {
    let Some((action, what)) = action_of(request.uri().path()) else {
        return next.run(request).await;
    };
    let principal = Principal::name_of(request.extensions());
    if !acls.speak_of(action) || acls.allow(action, principal.as_deref(), None) {
        return next.run(request).await;
    }
    let who = principal.as_deref().unwrap_or("nobody");
    let text = format!("Not authorized to {what} as '{who}'");
    Status::permission_denied(text).into_http::<axum::body::Body>()
}

/// What a call between masters or about them needs to be allowed, if anything.
fn action_of(path: &str) -> Option<(Action, &'static str)> {
    match path.strip_prefix("/agora.v1.")?.split_once('/')? {
        ("Raft", _) => Some((Action::ActAsMaster, "act as a master")),
        // New masters ask which there are before anybody knows them.
        ("RaftAdmin", "ListMembers") => None,
        ("RaftAdmin", _) => Some((Action::ChangeMasters, "change the masters")),
        _ => None,
    }
}

/// The principal that a request was authenticated as; absent without authentication.
pub(super) struct Caller(pub Option<Arc<str>>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Principal::name_of(&parts.extensions)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_realm() {
        for (path, realm) in [
            ("/health", None),
            ("/version", None),
            ("/redirect", None),
            ("/", Some(READONLY)),
            ("/state", Some(READONLY)),
            ("/metrics", Some(READONLY)),
            ("/maintenance/status", Some(READONLY)),
            ("/agora/v1/explain/framework/f", Some(READONLY)),
            ("/health/x", Some(READONLY)),
            ("/api/v1/scheduler", Some(SCHEDULER)),
            ("/agora.v1.Scheduler/Subscribe", Some(SCHEDULER)),
            ("/agora.v1.FrameworkStore/Commit", Some(SCHEDULER)),
            ("/agora.v1.Masters/Watch", Some(SCHEDULER)),
            ("/api/v1/scheduler/x", Some(READWRITE)),
            ("/api/v1", Some(READWRITE)),
            ("/quota/web", Some(READWRITE)),
            ("/machine/down", Some(READWRITE)),
            ("/maintenance/schedule", Some(READWRITE)),
            ("/logging/toggle", Some(READWRITE)),
            ("/agora.v1.RaftAdmin/AddMember", Some(READWRITE)),
            ("/agora.v1.AgentLink/Connect", Some(AGENT)),
            ("/agora.v1.Raft/Deliver", Some(MASTER)),
        ] {
            assert_eq!(realm_of(&Method::GET, path), realm, "{path}");
        }
    }
}
