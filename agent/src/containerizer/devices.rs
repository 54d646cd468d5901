//! `linux/devices`: files for the devices that containers may use besides those that everybody needs, in
//! containers that do not see the machine's.
//!
//! Whether a device may be opened is not decided here: that is for `cgroups/devices` and for the owner and
//! mode of the machine's file, which is the one that is seen.

use std::path::PathBuf;

use super::cgroups::AllowedDevice;
use super::isolator::{Container, Isolator, StepError};
use crate::launcher::{Plan, Volume, VolumeSource};

/// Its name in `--isolation`.
pub(super) const NAME: &str = "linux/devices";

/// The isolator.
#[derive(Debug)]
pub(super) struct Devices {
    /// Files of devices that may be read or written.
    files: Vec<PathBuf>,
}

impl Devices {
    /// For those of `allowed` that were named by a path.
    pub(super) fn new(allowed: &[AllowedDevice]) -> Self {
        let usable = allowed.iter().filter(|it| it.access.read || it.access.write);
        Self { files: usable.filter_map(|it| it.path.clone()).collect() }
    }
}

impl Isolator for Devices {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        // A container with the machine's files sees them all.
        if container.layers.is_some() {
            plan.shown.extend(self.files.iter().map(|file| shown(file.clone(), file.clone())));
        }
        Ok(())
    }
}

/// A device's file, seen at `place`.
pub(super) fn shown(file: PathBuf, place: PathBuf) -> Volume {
    Volume { source: VolumeSource::Host(file), container_path: place, read_only: false }
}
