//! `volume/host_path` and `volume/sandbox_path`: directories and files that a container sees at
//! other places.

use super::isolator::{Container, Isolator, StepError, refused};
use crate::launcher::{Plan, Volume, VolumeSource};

/// `volume/host_path`: something of the machine, which is there already.
#[derive(Debug)]
pub(super) struct HostPath;

impl Isolator for HostPath {
    fn name(&self) -> &'static str {
        "volume/host_path"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        let is_ours = |volume: &&Volume| matches!(volume.source, VolumeSource::Host(_));
        take(container, plan, is_ours);
        Ok(())
    }
}

/// `volume/sandbox_path`: something of the container's own sandbox or of that of the container it is
/// in, made if it is not there.
#[derive(Debug)]
pub(super) struct SandboxPath;

impl Isolator for SandboxPath {
    fn name(&self) -> &'static str {
        "volume/sandbox_path"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        let is_around = |volume: &&Volume| matches!(volume.source, VolumeSource::Around(_));
        if let Some(volume) = container.wanted.volumes.iter().find(is_around)
            && !container.is_nested()
        {
            let what = format!("volume '{}'", volume.container_path.display());
            let why = "it is to be in the sandbox of a parent, and this container has none";
            return Err(refused(self.name(), &what, why.to_owned()));
        }
        let is_own = |volume: &&Volume| matches!(volume.source, VolumeSource::Sandbox(_));
        take(container, plan, |volume| is_own(volume) || is_around(volume));
        Ok(())
    }
}

fn take(container: &Container, plan: &mut Plan, is_ours: impl Fn(&&Volume) -> bool) {
    let before = plan.volumes.len();
    plan.volumes.extend(container.wanted.volumes.iter().filter(is_ours).cloned());
    // Nobody else is to see them.
    plan.namespaces.mount |= plan.volumes.len() > before;
}

/// Refuses a container of whose volumes one is nobody's matter here: to run without would be worse.
pub(super) fn all_taken(container: &Container, plan: &Plan) -> Result<(), StepError> {
    let left = container.wanted.volumes.iter().find(|volume| !plan.volumes.contains(volume));
    left.map_or(Ok(()), |volume| {
        let name = match volume.source {
            VolumeSource::Host(_) => "volume/host_path",
            VolumeSource::Sandbox(_) | VolumeSource::Around(_) => "volume/sandbox_path",
        };
        let what = format!("volume '{}'", volume.container_path.display());
        Err(refused(name, &what, "it is not in this agent's --isolation".to_owned()))
    })
}
