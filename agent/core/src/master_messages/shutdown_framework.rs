//! End all that a framework runs here; it is over.

use crate::agent::Agent;
use crate::executors;
use crate::output::Output;
use model::ids::FrameworkId;
use model::step::Now;

pub(crate) fn apply(agent: &mut Agent, framework: &FrameworkId, now: Now, out: &mut Vec<Output>) {
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    state.is_ending = true;
    for executor in state.executors.keys().cloned().collect::<Vec<_>>() {
        executors::shut_down(agent, framework, &executor, now, out);
    }
    executors::forget_ended_framework(agent, framework, out);
}
