//! `cgroups/mem`: a soft limit at what was asked for, a hard one at the limit, and the news when the
//! kernel killed for it.

use std::os::fd::OwnedFd;

use super::super::isolator::{Container, Isolator, Step, StepError, failed};
use super::super::{Limitation, Limits, Usage};
use super::hierarchy::{Hierarchy, MemorySetting, Mounts, NoController};
use crate::launcher::Plan;

/// The least hard limit: below it not even the executor starts, and the failure would explain
/// nothing.
const HARD_BYTES_MIN: u64 = 32 << 20;

/// The isolator.
#[derive(Debug)]
pub(in super::super) struct Memory {
    hierarchy: Hierarchy,
}

impl Memory {
    pub(in super::super) fn new(mounts: &Mounts, root: &str) -> Result<Self, NoController> {
        Ok(Self { hierarchy: mounts.hierarchy("memory", root)? })
    }
}

impl Isolator for Memory {
    fn name(&self) -> &'static str {
        "cgroups/mem"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        super::tracking::enter(self.name(), &self.hierarchy, container, plan)?;
        self.update(container.id.as_str(), &container.limits)
    }

    fn update(&self, container: &str, limits: &Limits) -> Result<(), StepError> {
        let group = self.hierarchy.group(container);
        let hard = limits.mem_limit_bytes.unwrap_or(limits.mem_bytes).max(HARD_BYTES_MIN);
        let setting = MemorySetting {
            soft: limits.mem_bytes,
            hard: (hard != Limits::UNLIMITED).then_some(hard),
        };
        self.hierarchy.interface().set_memory(&group, setting).map_err(failed(
            self.name(),
            Step::Limit,
            &group,
        ))
    }

    fn usage(&self, container: &str, usage: &mut Usage) {
        let group = self.hierarchy.group(container);
        if let Ok(bytes) = self.hierarchy.interface().memory_bytes(&group) {
            usage.mem_bytes = Some(bytes);
        }
    }

    fn limitation(&self, container: &str) -> Option<Limitation> {
        let group = self.hierarchy.group(container);
        let kills = self.hierarchy.interface().memory_kills(&group).ok()?;
        (kills > 0).then_some(Limitation::Memory)
    }

    fn watch(&self, container: &str) -> Option<OwnedFd> {
        // Without it the limitation is still found when the container ends.
        self.hierarchy.interface().watch_memory(&self.hierarchy.group(container)).ok()
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        super::tracking::leave(self.name(), &self.hierarchy, container)
    }
}
