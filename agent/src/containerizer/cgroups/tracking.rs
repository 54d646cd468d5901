//! Keeps the processes of a container together, whatever they do, so that all of them can be ended.
//!
//! It comes with any of the cgroup isolators and has no name in `--isolation`.

use std::time::{Duration, Instant};

use super::super::isolator::{Container, Isolator, Step, StepError, failed};
use super::hierarchy::{Hierarchy, Mounts, NoController, processes};
use crate::launcher::Plan;

/// How long to wait between two looks at whether the killed are gone.
const PAUSE: Duration = Duration::from_millis(2);

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
        enter(self.name(), &self.hierarchy, container, plan)
    }

    fn kill(&self, container: &str) -> Result<(), StepError> {
        let group = self.hierarchy.group(container);
        let until = Instant::now() + self.kill_within;
        loop {
            let left = processes(&group).map_err(failed(self.name(), Step::Kill, &group))?;
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
            std::thread::sleep(PAUSE);
        }
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        leave(self.name(), &self.hierarchy, container)
    }
}

/// Makes the container's group in `hierarchy` and has it started there.
pub(super) fn enter(
    name: &'static str,
    hierarchy: &Hierarchy,
    container: &Container,
    plan: &mut Plan,
) -> Result<(), StepError> {
    let id = container.id.as_str();
    let group = hierarchy.create(id).map_err(failed(name, Step::Prepare, &hierarchy.group(id)))?;
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
