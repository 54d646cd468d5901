//! `linux/nnp`: nobody in a container gains rights by executing a program, whatever its owner and
//! marks are.

use super::isolator::{Container, Isolator, StepError};
use crate::launcher::Plan;

/// The isolator.
#[derive(Debug)]
pub(super) struct NoNewPrivileges;

impl Isolator for NoNewPrivileges {
    fn name(&self) -> &'static str {
        "linux/nnp"
    }

    fn prepare(&self, _container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        plan.no_new_privileges = true;
        Ok(())
    }
}
