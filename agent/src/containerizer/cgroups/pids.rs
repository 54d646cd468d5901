//! `cgroups/pids`: no more processes and threads than the limit, so that a fork bomb hits only itself.

use super::super::isolator::{Container, Isolator, Step, StepError, failed};
use super::super::{Limits, Usage};
use super::hierarchy::{Hierarchy, Mounts, NoController};
use crate::launcher::Plan;

/// The isolator.
#[derive(Debug)]
pub(in super::super) struct Pids {
    hierarchy: Hierarchy,
    most_default: u64,
}

impl Pids {
    pub(in super::super) fn new(
        mounts: &Mounts,
        root: &str,
        most_default: u64,
    ) -> Result<Self, NoController> {
        Ok(Self { hierarchy: mounts.hierarchy("pids", root)?, most_default })
    }
}

impl Isolator for Pids {
    fn name(&self) -> &'static str {
        "cgroups/pids"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        if !super::tracking::enter(self.name(), &self.hierarchy, container, plan)? {
            return Ok(());
        }
        self.update(container.id.as_str(), &container.limits)
    }

    fn update(&self, container: &str, limits: &Limits) -> Result<(), StepError> {
        let group = self.hierarchy.group(container);
        self.hierarchy
            .interface()
            .set_pids(&group, limits.pids.unwrap_or(self.most_default))
            .map_err(failed(self.name(), Step::Limit, &group))
    }

    fn usage(&self, container: &str, usage: &mut Usage) {
        let group = self.hierarchy.group(container);
        if let Ok(pids) = self.hierarchy.interface().pids(&group) {
            usage.pids = Some(pids);
        }
    }

    fn joins(&self) -> bool {
        true
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        super::tracking::leave(self.name(), &self.hierarchy, container)
    }
}
