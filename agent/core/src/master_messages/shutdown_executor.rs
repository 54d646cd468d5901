//! End an executor.

use crate::agent::Agent;
use crate::executors;
use crate::output::Output;
use model::ids::{ExecutorId, FrameworkId};
use model::step::Now;

pub(crate) fn apply(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    now: Now,
    out: &mut Vec<Output>,
) {
    executors::shut_down(agent, framework, executor, now, out);
}
