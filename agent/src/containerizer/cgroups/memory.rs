//! `cgroups/mem`: a soft limit at what was asked for, a hard one at the limit, and the news when the
//! kernel killed for it.

use std::os::fd::OwnedFd;

use procfs::Current;

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
    /// All memory of the machine.
    machine_bytes: u64,
}

/// The least and the most that a container which may grow is marked with: the kernel never prefers
/// to kill below 0, and from 1000 on it kills whatever the size.
const OOM_SCORE_ADJ: (u64, u64) = (2, 999);

/// How much rather than others a container goes that may take more than it asked for, when the
/// machine has no memory left: the less it asked for the rather. Those that may not grow are as
/// everybody else.
fn oom_score_adj(limits: &Limits, machine_bytes: u64) -> Option<u16> {
    limits.mem_limit_bytes.filter(|limit| *limit > limits.mem_bytes)?;
    let asked = u128::from(limits.mem_bytes) * 1_000 / u128::from(machine_bytes.max(1));
    let asked = u64::try_from(asked).unwrap_or(u64::MAX);
    let score = 1_000_u64.saturating_sub(asked).clamp(OOM_SCORE_ADJ.0, OOM_SCORE_ADJ.1);
    u16::try_from(score).ok()
}

impl Memory {
    pub(in super::super) fn new(mounts: &Mounts, root: &str) -> Result<Self, NoController> {
        // Unknown it counts as endless: then growing containers go first of all.
        let machine_bytes = procfs::Meminfo::current().map_or(u64::MAX, |memory| memory.mem_total);
        Ok(Self { hierarchy: mounts.hierarchy("memory", root)?, machine_bytes })
    }
}

impl Isolator for Memory {
    fn name(&self) -> &'static str {
        "cgroups/mem"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        if !super::tracking::enter(self.name(), &self.hierarchy, container, plan)? {
            return Ok(());
        }
        plan.oom_score_adj = oom_score_adj(&container.limits, self.machine_bytes);
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

    fn joins(&self) -> bool {
        true
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        super::tracking::leave(self.name(), &self.hierarchy, container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_grow_goes_first_and_the_rather_the_less_was_asked_for() {
        let score = |asked: u64, limit: Option<u64>| {
            let limits = Limits { mem_bytes: asked, mem_limit_bytes: limit, ..Limits::default() };
            oom_score_adj(&limits, 1_000)
        };
        assert_eq!(score(100, None), None);
        assert_eq!(score(100, Some(100)), None);
        assert_eq!(score(100, Some(200)), Some(900));
        assert_eq!(score(0, Some(Limits::UNLIMITED)), Some(999));
        assert_eq!(score(1_000, Some(Limits::UNLIMITED)), Some(2));
    }
}
