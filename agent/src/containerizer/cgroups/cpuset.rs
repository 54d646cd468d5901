//! `cgroups/cpuset`: a group for each container, on the CPUs and memory nodes of the agent's own
//! group. Operators pin all containers at once by narrowing that one before the agent starts.

use std::fs;
use std::io;
use std::path::Path;

use super::super::isolator::{Container, Isolator, Step, StepError, failed};
use super::hierarchy::{Hierarchy, Mounts, NoController};
use crate::launcher::Plan;

/// What a new v1 group lacks, and without which nobody can enter it.
const INHERITED: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// The isolator.
#[derive(Debug)]
pub(in super::super) struct Cpuset {
    hierarchy: Hierarchy,
}

impl Cpuset {
    pub(in super::super) fn new(mounts: &Mounts, root: &str) -> Result<Self, NoController> {
        let hierarchy = mounts.hierarchy("cpuset", root)?;
        if let Some(mount) = mounts.v1.get("cpuset") {
            // Each directory on the way to the agent's own.
            let mut group = mount.clone();
            for part in Path::new(root) {
                group.push(part);
                inherit(&group).map_err(|source| NoController::Setup {
                    controller: "cpuset".to_owned(),
                    path: group.clone(),
                    source,
                })?;
            }
        }
        Ok(Self { hierarchy })
    }
}

/// Gives `group` what it lacks of its parent. In the v2 tree the kernel does.
fn inherit(group: &Path) -> io::Result<()> {
    let Some(parent) = group.parent() else { return Ok(()) };
    for file in INHERITED {
        if fs::read_to_string(group.join(file))?.trim().is_empty() {
            fs::write(group.join(file), fs::read_to_string(parent.join(file))?)?;
        }
    }
    Ok(())
}

impl Isolator for Cpuset {
    fn name(&self) -> &'static str {
        "cgroups/cpuset"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        if !super::tracking::enter(self.name(), &self.hierarchy, container, plan)? {
            return Ok(());
        }
        let group = self.hierarchy.group(container.id.as_str());
        if self.hierarchy.is_v2() {
            return Ok(());
        }
        inherit(&group).map_err(failed(self.name(), Step::Prepare, &group))
    }

    fn joins(&self) -> bool {
        true
    }

    fn cleanup(&self, container: &str) -> Result<(), StepError> {
        super::tracking::leave(self.name(), &self.hierarchy, container)
    }
}
