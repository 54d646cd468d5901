//! `filesystem/linux` and `filesystem/posix`: what a container sees of the file system.
//!
//! Both start the command in its sandbox, which is the launcher's doing. The first adds mounts of
//! the container's own, which vanish with it.

use super::isolator::{Container, Isolator, StepError};
use crate::launcher::Plan;

/// `filesystem/linux`: an own mount namespace.
#[derive(Debug)]
pub(super) struct Linux;

impl Isolator for Linux {
    fn name(&self) -> &'static str {
        "filesystem/linux"
    }

    fn prepare(&self, _container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        plan.namespaces.mount = true;
        Ok(())
    }
}

/// `filesystem/posix`: the host's mounts.
#[derive(Debug)]
pub(super) struct Posix;

impl Isolator for Posix {
    fn name(&self) -> &'static str {
        "filesystem/posix"
    }

    fn prepare(&self, _container: &Container, _plan: &mut Plan) -> Result<(), StepError> {
        Ok(())
    }
}
