//! What an isolator is: one aspect of a container, set up before it runs and undone after it.
//!
//! Every method but `prepare` may be called at any time, for containers that are half launched, half
//! destroyed or unknown: it does what there is to do and is content with nothing.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::amount::Ranges;
use model::ids::ContainerId;
use proto::mesos::v1::NetworkInfo;

use super::{ImageVolume, Limitation, Limits, PersistentVolume, ProjectCount, Usage, Wanted};
use crate::launcher::Plan;

/// What isolators know of the container that is to be launched.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    /// Which one.
    pub(crate) id: ContainerId,
    /// What it may use.
    pub(crate) limits: Limits,
    /// What it was asked to be like.
    pub(crate) wanted: Wanted,
    /// The ports that it may listen on.
    pub(crate) ports: Ranges,
    /// Directories of the layers of its image, the topmost first. Absent: it has none.
    pub(crate) layers: Option<Vec<PathBuf>>,
    /// Images that it sees as volumes.
    pub(crate) image_volumes: Vec<LayeredVolume>,
    /// Whether it is in another one, and shares the limits of that one.
    pub(crate) shares_limits: bool,
}

/// An image that a container sees as a volume.
#[derive(Clone, Debug)]
pub(crate) struct LayeredVolume {
    /// Directories of its layers, the topmost first.
    pub(crate) layers: Vec<PathBuf>,
    /// Where it is seen.
    pub(crate) container_path: PathBuf,
    /// Whether nobody in the container can write to it.
    pub(crate) read_only: bool,
}

impl From<&ImageVolume> for LayeredVolume {
    fn from(volume: &ImageVolume) -> Self {
        Self {
            layers: volume.image.layers.clone(),
            container_path: volume.container_path.clone(),
            read_only: volume.read_only,
        }
    }
}

impl Container {
    /// Whether limits are set for it alone.
    pub(crate) fn has_own_limits(&self) -> bool {
        !self.shares_limits
    }

    /// Whether it is in another one.
    pub(crate) fn is_nested(&self) -> bool {
        self.id.parent().is_some()
    }
}

/// One aspect of isolation.
pub(crate) trait Isolator: fmt::Debug + Send + Sync {
    /// Its name in `--isolation`.
    fn name(&self) -> &'static str;

    /// Sets up what must be there before the first process, and adds to `plan` what the launcher is
    /// to do.
    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError>;

    /// Whether it is asked to prepare containers that only look into another one, and are else like
    /// that one.
    fn joins(&self) -> bool {
        false
    }

    /// The processes of the container, as far as it keeps them together.
    fn processes(&self, _container: &str) -> Option<Vec<i32>> {
        None
    }

    /// Does what needs the first process to be there.
    fn isolate(&self, _container: &str, _pid: i32) -> Result<(), StepError> {
        Ok(())
    }

    /// Changes the limits of a running container.
    fn update(&self, _container: &str, _limits: &Limits) -> Result<(), StepError> {
        Ok(())
    }

    /// Changes the ports that a running container may listen on.
    fn update_ports(&self, _container: &str, _ports: &Ranges) -> Result<(), StepError> {
        Ok(())
    }

    /// Changes the persistent volumes that a running container shows.
    fn show_volumes(&self, _container: &str, _all: &[PersistentVolume]) -> Result<(), StepError> {
        Ok(())
    }

    /// Fills in what it knows of what the container uses.
    fn usage(&self, _container: &str, _usage: &mut Usage) {}

    /// Which of its limits the container broke, if it did.
    fn limitation(&self, _container: &str) -> Option<Limitation> {
        None
    }

    /// The networks of its own that the container is in, with its addresses. Absent: it is in the
    /// machine's.
    fn networks(&self, _container: &str) -> Option<Vec<NetworkInfo>> {
        None
    }

    /// Containers for which something is set up that may outlast their directories.
    fn strays(&self) -> Vec<String> {
        Vec::new()
    }

    /// Something that becomes readable when [`Isolator::limitation`] may have an answer.
    fn watch(&self, _container: &str) -> Option<OwnedFd> {
        None
    }

    /// How often [`Isolator::inspect`] is to be called. Absent: it does nothing.
    fn inspected_every(&self) -> Option<Duration> {
        None
    }

    /// Looks at what nothing tells of by itself, for [`Isolator::limitation`] and
    /// [`Isolator::usage`]. May take long; called from time to time.
    fn inspect(&self, _container: &str) {}

    /// Takes back what is kept for directories of containers that are over, where these have been removed
    /// since. Blocks; called from time to time.
    fn reclaim(&self) {}

    /// The projects of the disk that it may give to sandboxes and volumes. Absent: it gives none.
    fn projects(&self) -> Option<ProjectCount> {
        None
    }

    /// Ends all processes of the container, if it knows them.
    fn kill(&self, _container: &str) -> Result<(), StepError> {
        Ok(())
    }

    /// Undoes `prepare` and `isolate`. All processes have ended.
    fn cleanup(&self, _container: &str) -> Result<(), StepError> {
        Ok(())
    }
}

/// What an isolator was about to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Setting up.
    Prepare,
    /// Giving what the container was asked to have.
    Grant,
    /// Setting limits.
    Limit,
    /// Changing what a running container has.
    Change,
    /// Ending processes.
    Kill,
    /// Clearing away.
    Cleanup,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "set up",
            Self::Grant => "grant",
            Self::Limit => "set the limits in",
            Self::Change => "change",
            Self::Kill => "end the processes of",
            Self::Cleanup => "clear away",
        })
    }
}

/// An isolator could not do its part.
#[derive(Debug, thiserror::Error)]
#[error("isolator {isolator} cannot {step} {}: {source}", path.display())]
pub struct StepError {
    /// Which one.
    pub isolator: &'static str,
    /// What it was about to do.
    pub step: Step,
    /// To what.
    pub path: PathBuf,
    /// Why it could not.
    pub source: io::Error,
}

/// Makes a [`StepError`] of an error.
pub(super) fn failed(
    isolator: &'static str,
    step: Step,
    path: &Path,
) -> impl FnOnce(io::Error) -> StepError + use<> {
    let path = path.to_owned();
    move |source| StepError { isolator, step, path, source }
}

/// Says that a container is not granted `what`, and why.
pub(super) fn refused(isolator: &'static str, what: &str, why: String) -> StepError {
    failed(isolator, Step::Grant, Path::new(what))(io::Error::other(why))
}
