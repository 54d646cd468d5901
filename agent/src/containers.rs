//! What the driver needs of containers, whether they are real or imitated.

use std::fmt;
use std::io;
use std::sync::Arc;

use agent_core::input::Exit;
use agent_core::output::{ContainerLaunch, ContainerUpdate};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::ids::ContainerId;
use model::resources::Resources;
use proto::mesos::v1::NetworkInfo;

use crate::containerizer::Usage;

/// Runs executors in containers.
pub trait Containers: fmt::Debug + Send + Sync + 'static {
    /// Finds the containers of an earlier run again, and ends those that are not `known`.
    fn recover(&self, known: Vec<ContainerId>) -> BoxFuture<'_, io::Result<Found>>;

    /// Executors are about to be started: what that takes before anything else can begin. Waits for nothing.
    fn expect_launch(&self) {}

    /// Starts an executor. An error says why, for people; then nothing is left of it.
    fn launch(&self, launch: ContainerLaunch) -> BoxFuture<'_, Result<(), Arc<str>>>;

    /// Waits for the end of a container and says how it came.
    fn wait(&self, container: ContainerId) -> BoxFuture<'_, Exit>;

    /// Changes what a container may take.
    fn update(&self, update: ContainerUpdate) -> BoxFuture<'_, ()>;

    /// Has a running container show these persistent volumes and no others. An error says why it does
    /// not, for people.
    fn show_volumes(
        &self,
        _container: ContainerId,
        _volumes: Resources,
    ) -> BoxFuture<'_, Result<(), Arc<str>>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Ends a container, also one that is still being started.
    fn destroy(&self, container: ContainerId) -> BoxFuture<'_, ()>;

    /// The end of a container is noted; nobody will ask for it any more.
    fn forget(&self, container: ContainerId) -> BoxFuture<'_, ()>;

    /// What a container uses; absent if nobody counts.
    fn usage(&self, container: ContainerId) -> BoxFuture<'_, Option<Usage>>;

    /// The networks of its own that a container is in. Absent: it is in the machine's.
    fn networks(&self, _container: ContainerId) -> BoxFuture<'_, Option<Vec<NetworkInfo>>> {
        std::future::ready(None).boxed()
    }

    /// The limit that a container has broken, if it has. An executor may tell of its task's end
    /// before the end of the container is noticed.
    fn limitation(
        &self,
        container: ContainerId,
    ) -> BoxFuture<'_, Option<agent_core::input::Limitation>>;
}

/// What was found of an earlier run.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Containers that still run.
    pub alive: Vec<ContainerId>,
    /// Containers that have ended and of which it is known how.
    pub ended: Vec<ContainerId>,
}
