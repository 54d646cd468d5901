//! What containers may take of the disk, written down where it outlives the agent as they do.

use std::fs;
use std::path::{Path, PathBuf};

use crate::containerizer::PersistentVolume;
use crate::containerizer::isolator::{Step, StepError, failed};
use crate::launcher::write_atomically;

/// The limits of all containers, as one isolator keeps them.
#[derive(Debug)]
pub(super) struct DiskLimits {
    isolator: &'static str,
    /// Where the containers' runtime directories are.
    containers: PathBuf,
}

impl DiskLimits {
    pub(super) fn new(isolator: &'static str, containers: PathBuf) -> Self {
        Self { isolator, containers }
    }

    /// The runtime directory of a container.
    pub(super) fn directory(&self, container: &str) -> PathBuf {
        self.containers.join(container)
    }

    /// Notes what a sandbox may take. Absent: nobody asked for any.
    pub(super) fn set(&self, container: &str, bytes: Option<u64>) -> Result<(), StepError> {
        let text = bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
        self.write(&self.sandbox_file(container), text.as_bytes())
    }

    pub(super) fn of(&self, container: &str) -> Option<u64> {
        fs::read_to_string(self.sandbox_file(container)).ok()?.parse().ok()
    }

    /// Notes the persistent volumes that a container has.
    pub(super) fn set_volumes(
        &self,
        container: &str,
        all: &[PersistentVolume],
    ) -> Result<(), StepError> {
        let volumes: Vec<_> = all.iter().map(|it| (&it.directory, it.bytes)).collect();
        let text = serde_json::to_vec(&volumes).expect("paths and numbers");
        self.write(&self.volumes_file(container), &text)
    }

    /// The directories and sizes of the persistent volumes that a container has.
    pub(super) fn volumes(&self, container: &str) -> Vec<(PathBuf, u64)> {
        let text = fs::read(self.volumes_file(container)).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn sandbox_file(&self, container: &str) -> PathBuf {
        self.directory(container).join("disk_limit")
    }

    fn volumes_file(&self, container: &str) -> PathBuf {
        self.directory(container).join("disk_volumes")
    }

    fn write(&self, file: &Path, text: &[u8]) -> Result<(), StepError> {
        write_atomically(file, text).map_err(failed(self.isolator, Step::Limit, file))
    }
}
