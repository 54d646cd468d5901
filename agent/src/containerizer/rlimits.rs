//! `posix/rlimits`: limits of single processes, as the container was asked to have them.

use super::isolator::{Container, Isolator, StepError, refused};
use crate::launcher::Plan;

/// The isolator.
#[derive(Debug)]
pub(super) struct Rlimits;

impl Isolator for Rlimits {
    fn name(&self) -> &'static str {
        "posix/rlimits"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        for limit in &container.wanted.rlimits {
            // Absent is no limit, so more than any number.
            let (soft, hard) = (limit.soft.unwrap_or(u64::MAX), limit.hard.unwrap_or(u64::MAX));
            if soft > hard {
                let why = "its soft limit is above its hard one".to_owned();
                return Err(refused(self.name(), &limit.name, why));
            }
        }
        plan.rlimits.clone_from(&container.wanted.rlimits);
        Ok(())
    }
}
