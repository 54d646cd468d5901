//! `cgroups/cpu`: a weight by the CPUs asked for, and a quota where there is a limit.

use super::super::isolator::{Container, Isolator, Step, StepError, failed};
use super::super::{Limits, Usage};
use super::hierarchy::{CpuSetting, Hierarchy, Mounts, NoController};
use crate::launcher::Plan;

/// The isolator.
#[derive(Debug)]
pub(in super::super) struct Cpu {
    hierarchy: Hierarchy,
    /// Where time is counted, if not in the same place.
    accounting: Option<Hierarchy>,
    /// Whether what was asked for is also the most there is.
    quota_always: bool,
}

impl Cpu {
    pub(in super::super) fn new(
        mounts: &Mounts,
        root: &str,
        quota_always: bool,
    ) -> Result<Self, NoController> {
        let hierarchy = mounts.hierarchy("cpu", root)?;
        let apart = mounts.v1.get("cpuacct") != mounts.v1.get("cpu") && !hierarchy.is_v2();
        let accounting = if apart { Some(mounts.hierarchy("cpuacct", root)?) } else { None };
        Ok(Self { hierarchy, accounting, quota_always })
    }

    fn setting(&self, limits: &Limits) -> CpuSetting {
        let quota_milli =
            limits.cpus_limit_milli.or(self.quota_always.then_some(limits.cpus_milli));
        CpuSetting { share_milli: limits.cpus_milli, quota_milli }
    }
}

impl Isolator for Cpu {
    fn name(&self) -> &'static str {
        "cgroups/cpu"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        let is_own = super::tracking::enter(self.name(), &self.hierarchy, container, plan)?;
        if let Some(accounting) = &self.accounting {
            super::tracking::enter(self.name(), accounting, container, plan)?;
        }
        if !is_own {
            return Ok(());
        }
        self.update(container.id.as_str(), &container.limits)
    }

    fn update(&self, container: &str, limits: &Limits) -> Result<(), StepError> {
        let group = self.hierarchy.group(container);
        self.hierarchy.interface().set_cpu(&group, self.setting(limits)).map_err(failed(
            self.name(),
            Step::Limit,
            &group,
        ))
    }

    fn usage(&self, container: &str, usage: &mut Usage) {
        for hierarchy in std::iter::once(&self.hierarchy).chain(&self.accounting) {
            let Ok(time) = hierarchy.interface().cpu_time(&hierarchy.group(container)) else {
                continue;
            };
            // Each of two hierarchies tells a part.
            usage.cpus_user += time.user;
            usage.cpus_system += time.system;
            usage.cpu_periods += time.periods;
            usage.cpu_throttled_periods += time.throttled_periods;
            usage.cpu_throttled += time.throttled;
        }
    }

    fn joins(&self) -> bool {
        true
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        for hierarchy in self.accounting.iter().chain(std::iter::once(&self.hierarchy)) {
            super::tracking::leave(self.name(), hierarchy, container)?;
        }
        Ok(())
    }
}
