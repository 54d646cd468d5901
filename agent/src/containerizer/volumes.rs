//! `volume/host_path`, `volume/sandbox_path` and `volume/image`: directories and files that a container
//! sees at other places.

use super::isolator::{Container, Isolator, StepError, refused};
use super::rootfs::Rootfses;
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

/// Its name in `--isolation`.
pub(super) const IMAGE: &str = "volume/image";

/// `volume/image`: the files of an image. What is written to them goes with the container.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) rootfses: Rootfses,
}

impl Isolator for Image {
    fn name(&self) -> &'static str {
        IMAGE
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        for (number, volume) in container.image_volumes.iter().enumerate() {
            let layers = self.rootfses.make_volume(IMAGE, container, number, &volume.layers)?;
            // Of what is shown, since layers lie where containers do not see into.
            plan.shown.push(Volume {
                source: VolumeSource::Image(layers),
                container_path: volume.container_path.clone(),
                read_only: volume.read_only,
            });
            plan.namespaces.mount = true;
        }
        Ok(())
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        self.rootfses.remove(IMAGE, container)
    }
}

/// Takes file systems in memory, which need nothing of the machine.
pub(super) fn take_memory(container: &Container, plan: &mut Plan) {
    take(container, plan, |volume| matches!(volume.source, VolumeSource::Memory(_)));
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
            VolumeSource::Image(_) => IMAGE,
            VolumeSource::Memory(_) => "filesystem/linux",
        };
        let what = format!("volume '{}'", volume.container_path.display());
        Err(refused(name, &what, "it is not in this agent's --isolation".to_owned()))
    })
}
