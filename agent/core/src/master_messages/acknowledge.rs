//! The framework has kept a report.

use crate::agent::Agent;
use crate::output::Output;
use crate::updates;
use model::ids::{FrameworkId, TaskId, UpdateId};
use model::step::Now;

pub(crate) fn apply(
    agent: &mut Agent,
    framework: &FrameworkId,
    task: &TaskId,
    uuid: UpdateId,
    now: Now,
    out: &mut Vec<Output>,
) {
    updates::acknowledge(agent, framework, task, uuid, now, out);
}
