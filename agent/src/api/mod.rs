//! What an agent answers on its port.

mod access;
mod allowed;
mod attach;
mod caller;
mod containers;
mod disks;
mod executor;
mod files;
mod images;
mod metrics;
mod operator;
mod read;
mod state;
mod streamed;

pub(crate) use access::token as executor_token;
pub(crate) use allowed::warn_of_kept_out_executors;
pub(crate) use executor::PATH as EXECUTOR_PATH;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use model::ids::ContainerId;
use model::link::AgentDescription;
use model::step::Timestamp;
use parking_lot::RwLock;
use proto::mesos::v1::{AgentInfo, NetworkInfo};
use tokio_util::sync::CancellationToken;

use crate::containers::Containers;
use crate::handle::Handle;
use crate::images::{ImageMeters, Images};
use crate::meters::Meters;
use crate::mirror::Mirror;
use crate::options::Options;
use crate::real::Real;
use crate::wire;

/// What paths may begin with.
const PROCESS: &str = "slave(1)";

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) shared: Arc<Shared>,
}

/// As [`Api`], shared by all requests.
pub(crate) struct Shared {
    pub(crate) handle: Handle,
    pub(crate) images: Option<Images>,
    pub(crate) mirror: Arc<RwLock<Mirror>>,
    pub(crate) containers: Arc<dyn Containers>,
    /// The same, with what operators and executors launch themselves.
    pub(crate) real: Arc<Real>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) image_meters: Arc<ImageMeters>,
    pub(crate) options: Options,
    pub(crate) address: SocketAddr,
    pub(crate) description: AgentDescription,
    pub(crate) info: AgentInfo,
    /// The directory of all sandboxes, absolute and without links in it.
    pub(crate) slaves: PathBuf,
    pub(crate) started_at: Timestamp,
    /// What the user is called as whom the agent runs.
    pub(crate) own_user: String,
    pub(crate) stop: CancellationToken,
}

/// The networks that a container is in.
async fn networks(api: &Api, container: &ContainerId) -> Vec<NetworkInfo> {
    let own = api.shared.containers.networks(container.clone()).await;
    own.unwrap_or_else(|| wire::of_machine(api.shared.address.ip()))
}

/// The routes that are also there for who comes by the socket in the file system: for executors.
fn for_executors() -> Router<Api> {
    Router::new().route(EXECUTOR_PATH, any(executor::call)).route("/api/v1", any(operator::call))
}

/// What is served by the socket in the file system. Containers see it where nobody has asked who they are.
pub(crate) fn local_router(api: &Api) -> Router {
    guarded(api, for_executors().with_state(api.clone()))
}

/// All routes.
pub(crate) fn router(api: &Api) -> Router {
    let routes = for_executors()
        .route("/api/v1/operator", any(operator::call))
        .route("/health", any(|| async { axum::http::StatusCode::OK }))
        .route("/version", any(read::version))
        .route("/flags", any(read::flags))
        .route("/state", any(read::state))
        .route("/containers", any(read::containers))
        .route("/monitor/statistics", any(read::statistics))
        .route("/metrics/snapshot", any(read::metrics_snapshot))
        .route("/metrics", get(read::metrics_text))
        .route("/files/browse", any(files::browse))
        .route("/files/read", any(files::read))
        .route("/files/download", any(files::download))
        .route("/files/debug", any(files::debug))
        .with_state(api.clone());
    guarded(api, routes)
}

fn guarded(api: &Api, routes: Router) -> Router {
    let gate = access::gate(&api.shared.options.authentication);
    let open = api.shared.options.firewall.clone().guard(PROCESS, routes);
    transport::paths::normalized(gate.guard(transport::http::compressed(open)), PROCESS)
}
