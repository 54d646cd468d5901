//! A container does not show the persistent volumes that its tasks were given.

use crate::agent::Agent;
use crate::executors;
use crate::output::Output;
use crate::state::End;
use model::ids::ContainerId;
use model::task::{Reason, TaskState};
use std::sync::Arc;

/// A task without its volume would lose what it writes, so none of them goes on.
pub(crate) fn apply(
    agent: &mut Agent,
    container: &ContainerId,
    why: &Arc<str>,
    out: &mut Vec<Output>,
) {
    let Some((framework, executor)) = agent.containers.get(container).cloned() else { return };
    let end = End::new(TaskState::Failed, Reason::ContainerUpdateFailed, why.clone());
    executors::destroy(agent, &framework, &executor, Some(end), out);
}
