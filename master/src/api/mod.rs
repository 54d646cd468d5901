//! What the master serves to the world on its port.
//!
//! Every path is written once here, without prefixes: `transport::paths` brings the many ways to
//! write them into this one. What only the leading master can answer stands behind one check.

mod access;
mod constraints;
mod event_filter;
mod explain;
mod files;
mod help;
mod leader;
mod logging;
mod masters;
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
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use model::acl::Acls;
use model::search::Masters;
use model::step::Timestamp;
use proto::mesos::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use transport::firewall::Firewall;
use transport::rendering::Renderers;

use self::access::Caller;
use self::leader::Serves;
use crate::driver::Handle;
use crate::facts::Facts;
use crate::leadership::Standing;
use crate::links::Links;
use crate::meters::Meters;
use crate::options::Authentication;
use crate::registry::{Proposer, ToDriver};
use crate::turns::Turns;
use crate::view::View;

pub(crate) use help::warn_of_strange_paths;
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
    pub standing: Standing,
    /// Where the masters are, and how frameworks come back to one that leads.
    pub masters: watch::Receiver<Masters>,
    pub meters: Arc<Meters>,
    pub log: ToDriver,
    /// Whether metrics of each framework are told.
    pub tells_of_frameworks: bool,
    pub turns: Turns,
    pub renderers: Renderers<Question>,
    pub subscribers: Subscribers,
    /// Cancelled when the master stops: endless answers end.
    pub stop: CancellationToken,
}

impl Shared {
    /// This master, as the leading one it is.
    pub(crate) fn master_info(&self) -> v1::MasterInfo {
        let id = self.standing.reign().map(|of| of.reign.to_string()).unwrap_or_default();
        self.facts.master_info(id)
    }

    /// When it began to lead.
    pub(crate) fn elected_at(&self) -> Option<Timestamp> {
        self.standing.reign().map(|of| of.since)
    }
}

/// All of it: HTTP and gRPC. `raft` are the services that masters use among themselves.
pub(crate) fn router(
    api: &Api,
    links: Links,
    raft: Routes,
    authentication: &Authentication,
    firewall: &Firewall,
) -> Router {
    let once = |from: Serves| from_fn_with_state((api.standing.clone(), from), leader::only);
    let of_registry = Router::new()
        .route("/api/v1", any(operator::call))
        // Longer paths than these lead to them too, as in Mesos.
        .route("/api/v1/{*rest}", any(operator::call))
        .merge(explain::of_leader())
        .layer(once(Serves::OnceRecovered));
    // Old tools take what there is.
    let of_leader = Router::new()
        .merge(v0::of_leader())
        .merge(constraints::of_leader())
        .layer(once(Serves::OnceElected));
    let of_operators = Router::new()
        .merge(v0::of_any())
        .merge(files::of_any())
        .merge(help::of_any())
        .merge(of_registry)
        .merge(of_leader)
        .layer(from_fn_with_state(api.clone(), operators_turn));
    // Whose turn it is with a framework's call is known when the call is read.
    let scheduler = Router::new()
        .route("/api/v1/scheduler", any(scheduler::call))
        .layer(once(Serves::OnceRecovered));
    let http = Router::new()
        .route("/redirect", any(leader::redirect))
        .merge(scheduler)
        .merge(of_operators)
        .with_state(api.clone());
    let http = firewall.guard("master", http);
    let services = raft
        .add_service(links.service())
        .add_service(scheduler_grpc::service(api.clone()))
        .add_service(masters::service(api.clone()))
        .add_service(store::service(api.clone()));
    let router = transport::server::one_port(transport::http::compressed(http), services);
    let router = access::heed_rules_of_masters(&api.acls, router);
    // Behind the paths' one form, which says what is asked for.
    transport::paths::normalized(access::gate(authentication).guard(router), "master")
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
