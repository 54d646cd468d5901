//! `namespaces/pid` and `namespaces/ipc`: a container sees its own processes, shared memory and host
//! name only. The kernel undoes it all with the last process.

use super::isolator::{Container, Isolator, StepError};
use crate::launcher::Plan;

/// `namespaces/pid`: own process numbers, and a `/proc` that shows only them.
#[derive(Debug)]
pub(super) struct Pid;

impl Isolator for Pid {
    fn name(&self) -> &'static str {
        "namespaces/pid"
    }

    fn prepare(&self, _container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        plan.namespaces.pid = true;
        // The fresh /proc must not be everybody's.
        plan.namespaces.mount = true;
        Ok(())
    }
}

/// `namespaces/ipc`: own shared memory and semaphores, and an own host name to change.
#[derive(Debug)]
pub(super) struct Ipc;

impl Isolator for Ipc {
    fn name(&self) -> &'static str {
        "namespaces/ipc"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        plan.namespaces.ipc = true;
        plan.namespaces.uts = true;
        plan.shm_bytes = container.wanted.shm_bytes;
        plan.namespaces.mount = true;
        Ok(())
    }
}
