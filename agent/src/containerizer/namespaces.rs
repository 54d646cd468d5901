//! `namespaces/pid` and `namespaces/ipc`: a container sees its own processes, shared memory and host
//! name only. One that is in another container has its own processes, and the other's shared memory
//! and host name, unless it asks otherwise. The kernel undoes it all with the last process.

use super::isolator::{Container, Isolator, StepError, refused};
use crate::launcher::Plan;

/// `namespaces/pid`: own process numbers, and a `/proc` that shows only them.
#[derive(Debug)]
pub(super) struct Pid {
    /// Whether no container may see the machine's processes.
    pub(super) shared_forbidden: bool,
}

impl Isolator for Pid {
    fn name(&self) -> &'static str {
        "namespaces/pid"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        if container.wanted.shares_pids && !container.is_nested() {
            if self.shared_forbidden {
                let why = "this agent forbids it by --disallow_sharing_agent_pid_namespace";
                return Err(refused(self.name(), "the machine's processes", why.to_owned()));
            }
            return Ok(());
        }
        // Either way the /proc that goes with it must not be everybody's.
        plan.namespaces.mount = true;
        plan.namespaces.pid = !container.wanted.shares_pids;
        if let Some(joined) = &mut plan.joined {
            joined.pid = container.wanted.shares_pids;
        }
        Ok(())
    }
}

/// `namespaces/ipc`: own shared memory and semaphores, and an own host name to change.
#[derive(Debug)]
pub(super) struct Ipc {
    /// Whether no container may see the machine's shared memory.
    pub(super) shared_forbidden: bool,
    /// How large shared memory may become where nobody says. Absent: as the kernel has it.
    pub(super) shm_bytes_default: Option<u64>,
}

impl Isolator for Ipc {
    fn name(&self) -> &'static str {
        "namespaces/ipc"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        let wanted = &container.wanted;
        if wanted.shares_ipc && wanted.shm_bytes.is_some() {
            let why = "a size is for shared memory of its own";
            return Err(refused(self.name(), "shm_size", why.to_owned()));
        }
        if let Some(joined) = &mut plan.joined {
            // A size is that of an own one.
            let is_own = wanted.has_own_ipc || wanted.shm_bytes.is_some();
            let has_own_name = plan.hostname.is_some();
            (joined.ipc, joined.shared_memory, joined.uts) = (!is_own, !is_own, !has_own_name);
            (plan.namespaces.ipc, plan.namespaces.uts) = (is_own, has_own_name);
            plan.namespaces.mount = true;
            plan.shm_bytes = wanted.shm_bytes.or(self.shm_bytes_default).filter(|_| is_own);
            return Ok(());
        }
        plan.namespaces.uts = true;
        if wanted.shares_ipc {
            if self.shared_forbidden {
                let why = "this agent forbids it by --disallow_sharing_agent_ipc_namespace";
                return Err(refused(self.name(), "the machine's shared memory", why.to_owned()));
            }
            return Ok(());
        }
        plan.namespaces.ipc = true;
        plan.shm_bytes = wanted.shm_bytes.or(self.shm_bytes_default);
        plan.namespaces.mount = true;
        Ok(())
    }
}
