//! What the master serves to the world on its port.
//!
//! Every path is written once here, without prefixes: `transport::paths` brings the many ways to
//! write them into this one. What only the leading master can answer stands behind one check.

mod access;
mod event_filter;
mod explain;
mod files;
mod logging;
mod metrics;
mod operator;
mod operator_events;
mod scheduler;
mod scheduler_grpc;
mod scheduler_stream;
mod store;
mod v0;
mod viewer;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use model::acl::Acls;
use model::ids::{Reign, Term};
use model::step::Timestamp;
use proto::mesos::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use transport::paths::Requested;
use transport::rendering::Renderers;

use self::access::Caller;
use crate::driver::Handle;
use crate::facts::Facts;
use crate::leadership::{Leadership, NotServing, serving};
use crate::links::Links;
use crate::meters::Meters;
use crate::options::Authentication;
use crate::registry::{Proposer, ToDriver};
use crate::turns::Turns;
use crate::view::View;

pub(crate) use operator_events::Subscribers;
pub(crate) use viewer::Question;

/// What handlers share.
pub(crate) type Api = Arc<Shared>;

pub(crate) struct Shared {
    pub acls: Arc<Acls>,
    pub facts: Facts,
    pub view: Arc<View>,
    pub driver: Handle,
    pub proposer: Proposer,
    pub leadership: watch::Receiver<Leadership>,
    pub meters: Arc<Meters>,
    pub log: ToDriver,
    pub turns: Turns,
    pub renderers: Renderers<Question>,
    pub subscribers: Subscribers,
    /// Cancelled when the master stops: endless answers end.
    pub stop: CancellationToken,
}

impl Shared {
    /// The reign in which this master serves, or why it does not.
    pub(crate) fn serving(&self) -> Result<(Term, Reign, Timestamp), NotServing> {
        serving(&self.leadership)
    }

    /// This master, as the leading one it is.
    pub(crate) fn master_info(&self) -> v1::MasterInfo {
        let id = self.serving().map_or_else(|_| String::new(), |(_, reign, _)| reign.to_string());
        self.facts.master_info(id)
    }

    /// When it began to lead.
    pub(crate) fn elected_at(&self) -> Option<Timestamp> {
        self.serving().ok().map(|(_, _, since)| since)
    }
}

/// All of it: HTTP and gRPC. `raft` are the services that masters use among themselves.
pub(crate) fn router(
    api: &Api,
    links: Links,
    raft: Routes,
    authentication: &Authentication,
) -> Router {
    let of_leader = Router::new()
        .route("/api/v1", any(operator::call))
        // Longer paths than these lead to them too, as in Mesos.
        .route("/api/v1/{*rest}", any(operator::call))
        .merge(v0::of_leader())
        .merge(explain::of_leader())
        .layer(from_fn_with_state(api.clone(), leader_only));
    let of_operators = Router::new()
        .merge(v0::of_any())
        .merge(files::of_any())
        .merge(of_leader)
        .layer(from_fn_with_state(api.clone(), operators_turn));
    // Whose turn it is with a framework's call is known when the call is read.
    let scheduler = Router::new()
        .route("/api/v1/scheduler", any(scheduler::call))
        .layer(from_fn_with_state(api.clone(), leader_only));
    let http = Router::new()
        .route("/redirect", any(redirect))
        .merge(scheduler)
        .merge(of_operators)
        .with_state(api.clone());
    let services = raft
        .add_service(links.service())
        .add_service(scheduler_grpc::service(api.clone()))
        .add_service(store::service(api.clone()));
    let router = transport::server::one_port(transport::http::compressed(http), services);
    let router = access::heed_rules_of_masters(&api.acls, router);
    // Behind the paths' one form, which says what is asked for.
    transport::paths::normalized(access::gate(authentication).guard(router), "master")
}

/// Lets a request through if this master leads, and says where to go if not.
async fn leader_only(State(api): State<Api>, request: Request, next: Next) -> Response {
    match api.serving() {
        Ok(_) => next.run(request).await,
        Err(NotServing::Later(why)) => NotServing::refused(why).into_response(),
        Err(NotServing::Ask(leader)) => {
            let uri = request
                .extensions()
                .get::<Requested>()
                .map_or_else(|| request.uri().clone(), |Requested(uri)| uri.clone());
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            redirect_to(&format!("//{leader}{path}"))
        }
    }
}

/// Lets a request through when those of its principal have a turn.
async fn operators_turn(
    State(api): State<Api>,
    Caller(principal): Caller,
    request: Request,
    next: Next,
) -> Response {
    if let Some(principal) = principal
        && access::asks_for_a_name(request.uri().path())
        && let Err(refused) = api.turns.of_operator(&principal).await
    {
        return refused.into_response();
    }
    next.run(request).await
}

/// Where the leading master is, itself if it is this one.
async fn redirect(State(api): State<Api>) -> Response {
    let leader = match &*api.leadership.borrow() {
        Leadership::Electing => return NotServing::refused("No leader elected").into_response(),
        Leadership::Following { leader } => leader.to_string(),
        Leadership::Leading(_) => api.facts.public_address(),
    };
    redirect_to(&format!("//{leader}"))
}

/// Clients parse this by hand: no scheme, always a port, and no body.
fn redirect_to(location: &str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
}

/// The roles a framework is in, however it says so.
fn roles_of(info: &v1::FrameworkInfo) -> Vec<&str> {
    let multi_role = v1::framework_info::capability::Type::MultiRole as i32;
    if info.capabilities.iter().any(|capability| capability.r#type == Some(multi_role)) {
        info.roles.iter().map(String::as_str).collect()
    } else {
        let role = info.role.as_deref();
        vec![role.unwrap_or("*")]
    }
}
