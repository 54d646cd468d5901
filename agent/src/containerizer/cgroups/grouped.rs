//! `cgroups/blkio`, `cgroups/hugetlb`, `cgroups/net_cls`, `cgroups/net_prio`, `cgroups/perf_event`:
//! a group for each container, in which its use is counted and in which operators and their tools
//! may set what they want. No limit is set here. In the v2 tree `blkio` is called `io`.

use super::super::isolator::{Container, Isolator, StepError};
use super::hierarchy::{Hierarchy, Mounts, NoController};
use crate::launcher::Plan;

/// The isolator.
#[derive(Debug)]
pub(in super::super) struct Grouped {
    name: &'static str,
    hierarchy: Hierarchy,
}

impl Grouped {
    /// The isolator of this name, which ends in that of its controller.
    pub(in super::super) fn new(
        mounts: &Mounts,
        root: &str,
        name: &'static str,
    ) -> Result<Self, NoController> {
        let controller = name.rsplit('/').next().unwrap_or(name);
        Ok(Self { name, hierarchy: mounts.hierarchy(controller, root)? })
    }
}

impl Isolator for Grouped {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        super::tracking::enter(self.name, &self.hierarchy, container, plan).map(drop)
    }

    fn joins(&self) -> bool {
        true
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        super::tracking::leave(self.name, &self.hierarchy, container)
    }
}
