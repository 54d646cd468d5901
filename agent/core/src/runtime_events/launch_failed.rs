//! A container could not be started.

use crate::agent::Agent;
use crate::executors;
use crate::input::Exit;
use crate::output::Output;
use crate::state::End;
use model::ids::ContainerId;
use model::step::Now;
use model::task::{Reason, TaskState};
use std::sync::Arc;

pub(crate) fn apply(
    agent: &mut Agent,
    container: &ContainerId,
    why: &Arc<str>,
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some((framework, executor)) = agent.containers.get(container).cloned() else { return };
    if let Some(it) = agent
        .frameworks
        .get_mut(&framework)
        .and_then(|framework| framework.executors.get_mut(&executor))
    {
        let end = End::new(TaskState::Failed, Reason::ContainerLaunchFailed, why.clone());
        it.end.get_or_insert(end);
    }
    executors::over(agent, &framework, &executor, &Exit::default(), now, out);
}
