//! All processes of a container have ended.

use crate::agent::Agent;
use crate::executors;
use crate::input::Exit;
use crate::output::Output;
use crate::recovery;
use model::ids::ContainerId;
use model::step::Now;

pub(crate) fn apply(
    agent: &mut Agent,
    container: &ContainerId,
    exit: &Exit,
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some((framework, executor)) = agent.containers.get(container).cloned() else { return };
    executors::over(agent, &framework, &executor, exit, now, out);
    recovery::finish_if_all_back(agent, now, out);
}
