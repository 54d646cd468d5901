//! What is counted and timed of images.

use transport::counted;
use transport::metrics::{Counters, Samples, Timer};

counted! {
    /// What is counted by name.
    pub(super) enum Count {
        PullErrors = "containerizer/mesos/provisioner/docker_store/image_pull_errors",
        LayersRemoved = "containerizer/mesos/provisioner/docker_store/layers_removed",
    }
}

/// What is counted and timed of images.
#[derive(Debug, Default)]
pub struct ImageMeters {
    pub(super) counters: Counters<Count>,
    /// How long pulls took that brought an image.
    pub(super) pulls: Timer,
}

impl ImageMeters {
    /// Adds all of it to `samples`.
    pub(crate) fn tell(&self, samples: &mut Samples) {
        self.counters.tell(samples);
        self.pulls.tell("containerizer/mesos/provisioner/docker_store/image_pull_ms", samples);
    }
}
