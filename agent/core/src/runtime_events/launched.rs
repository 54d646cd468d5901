//! The executor's processes run: from now on it is expected to subscribe.

use crate::agent::Agent;
use crate::due::Due;
use crate::state::ExecutorState;
use model::ids::ContainerId;
use model::step::Now;

pub(crate) fn apply(agent: &mut Agent, container: &ContainerId, now: Now) {
    let Some((framework, executor)) = agent.containers.get(container) else { return };
    let Some(it) = agent
        .frameworks
        .get_mut(framework)
        .and_then(|framework| framework.executors.get_mut(executor))
    else {
        return;
    };
    // It may have subscribed before the news came, or be asked to end.
    if it.state == (ExecutorState::Registering { by: None }) {
        let by = now.time + agent.config.executor_registration_timeout;
        it.state = ExecutorState::Registering { by: Some(by) };
        agent.due.insert((by, Due::Executor(framework.clone(), executor.clone())));
    }
}
