//! Keeps the processes of a container together, whatever they do, so that all of them can be ended.
//!
//! It comes with any of the cgroup isolators and has no name in `--isolation`.

use std::time::{Duration, Instant};

use super::super::isolator::{Container, Isolator, Step, StepError, failed};
use super::hierarchy::{Hierarchy, Mounts, NoController, members};
use crate::launcher::Plan;

/// How long to wait before the second look at whether the killed are gone; twice as long each time.
const PAUSE: Duration = Duration::from_millis(2);

/// The longest wait between two looks. Each kills again, which holds up all cgroups of the machine for a
/// moment, and with it the end of the killed when many containers are ended at once.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The isolator.
#[derive(Debug)]
pub(in super::super) struct Tracking {
    hierarchy: Hierarchy,
    kill_within: Duration,
}

impl Tracking {
    pub(in super::super) fn new(
        mounts: &Mounts,
        root: &str,
        kill_within: Duration,
    ) -> Result<Self, NoController> {
        Ok(Self { hierarchy: mounts.tracking(root)?, kill_within })
    }
}

impl Isolator for Tracking {
    fn name(&self) -> &'static str {
        "cgroups"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        plan.namespaces.cgroup = true;
        // Whoever's limits it shares, its processes are to be told from theirs.
        own(self.name(), &self.hierarchy, container, plan)
    }

    fn joins(&self) -> bool {
        true
    }

    fn processes(&self, container: &str) -> Option<Vec<i32>> {
        members(&self.hierarchy.group(container)).ok()
    }

    fn kill(&self, container: &str) -> Result<(), StepError> {
        let group = self.hierarchy.group(container);
        let until = Instant::now() + self.kill_within;
        let mut pause = PAUSE;
        loop {
            let left = members(&group).map_err(failed(self.name(), Step::Kill, &group))?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                let error = std::io::Error::other(format!("{} processes do not die", left.len()));
                return Err(failed(self.name(), Step::Kill, &group)(error));
            }
            self.hierarchy.interface().kill(&group).map_err(failed(
                self.name(),
                Step::Kill,
                &group,
            ))?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        leave(self.name(), &self.hierarchy, container)
    }
}

/// Has the container started in its own group in `hierarchy`, or in that of the container whose limits
/// it shares. Says whether it has one of its own, which is made.
pub(super) fn enter(
    name: &'static str,
    hierarchy: &Hierarchy,
    container: &Container,
    plan: &mut Plan,
) -> Result<bool, StepError> {
    if container.has_own_limits() {
        let id = container.id.as_str();
        hierarchy.divide(id).map_err(failed(name, Step::Prepare, &hierarchy.group(id)))?;
        own(name, hierarchy, container, plan)?;
        return Ok(true);
    }
    // In the v2 tree the group by which it is told from others counts as part of that one.
    if !hierarchy.is_v2() {
        let group = hierarchy.group(&plan.cgroups_of);
        if !plan.cgroups_joined.contains(&group) {
            plan.cgroups_joined.push(group);
        }
    }
    Ok(false)
}

/// Makes the container's group in `hierarchy` and has it started there.
fn own(
    name: &'static str,
    hierarchy: &Hierarchy,
    container: &Container,
    plan: &mut Plan,
) -> Result<(), StepError> {
    let id = container.id.as_str();
    hierarchy.create(id).map_err(failed(name, Step::Prepare, &hierarchy.group(id)))?;
    let group = hierarchy.seat(id);
    if hierarchy.is_v2() {
        // There is one v2 tree, so this is the same directory for every isolator.
        plan.cgroup_into = Some(group);
    } else if !plan.cgroups_joined.contains(&group) {
        plan.cgroups_joined.push(group);
    }
    Ok(())
}

/// Removes the container's group from `hierarchy`. Another isolator may have done it.
pub(super) fn leave(
    name: &'static str,
    hierarchy: &Hierarchy,
    container: &str,
) -> Result<(), StepError> {
    let group = hierarchy.group(container);
    hierarchy.remove(container).map_err(failed(name, Step::Cleanup, &group))
}
