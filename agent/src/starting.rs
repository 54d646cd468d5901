//! Launches until the containerizer has heard of them: sandboxes are made and files fetched, which takes
//! long, and all that time a container can be destroyed.

use model::ids::ContainerId;
use tokio_util::sync::CancellationToken;

use crate::containerizer::LaunchSpec;
use crate::real::{Allowed, Real};

/// Why a container was not started.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotStarted {
    /// There is one of that id.
    #[error("there is a container of that id already")]
    Exists,
    /// It cannot be; the reason is for people.
    #[error("{0}")]
    Failed(String),
}

/// A launch that has not got as far as the containerizer, until this is dropped.
struct Preparing<'a> {
    real: &'a Real,
    container: &'a ContainerId,
}

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.real.preparing.lock().remove(self.container);
    }
}

impl Real {
    /// Launches a container once it is prepared. It can be destroyed meanwhile.
    pub(crate) async fn start_prepared(
        &self,
        container: &ContainerId,
        prepare: impl Future<Output = Result<LaunchSpec, String>>,
    ) -> Result<(), NotStarted> {
        let container = container.clone();
        let destroyed = CancellationToken::new();
        {
            let mut preparing = self.preparing.lock();
            if preparing.contains_key(&container) || self.containerizer.knows(&container) {
                return Err(NotStarted::Exists);
            }
            preparing.insert(container.clone(), destroyed.clone());
        }
        // Whoever waits for this may go away.
        let not_yet_known = Preparing { real: self, container: &container };
        let prepared = tokio::select! {
            prepared = prepare => prepared,
            () = destroyed.cancelled() => Err("the container was destroyed before it ran".to_owned()),
        };
        let spec = prepared.map_err(|why| {
            self.allowed.lock().remove(&container);
            NotStarted::Failed(why)
        })?;
        let asked = Allowed { limits: spec.limits, ports: spec.ports.clone() };
        // Tasks that join it may have been told of meanwhile.
        self.allowed.lock().entry(container.clone()).or_insert_with(|| asked.clone());
        // The containerizer knows of it at the first poll of this; from then on it can be told to
        // destroy it.
        let mut launching = Box::pin(self.containerizer.launch(spec));
        let first = futures::poll!(&mut launching);
        drop(not_yet_known);
        if destroyed.is_cancelled() {
            self.containerizer.destroy(&container).await;
        }
        let launched = match first {
            std::task::Poll::Ready(launched) => launched,
            std::task::Poll::Pending => launching.await,
        };
        if let Err(error) = launched {
            self.allowed.lock().remove(&container);
            return Err(NotStarted::Failed(error.to_string()));
        }
        let latest = self.allowed.lock().get(&container).cloned();
        if latest.is_some_and(|latest| latest != asked) {
            self.apply_allowed(&container).await;
        }
        Ok(())
    }
}
