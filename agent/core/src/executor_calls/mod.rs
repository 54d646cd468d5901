//! What executors call, one file per call.

pub(crate) mod gone;
pub(crate) mod message;
pub(crate) mod subscribe;
pub(crate) mod update;

use crate::agent::{Agent, Phase};
use crate::output::Refusal;
use crate::state::ExecutorState;
use model::ids::{ExecutorId, FrameworkId};

/// Whether an executor may call anything but SUBSCRIBE.
fn check(agent: &Agent, framework: &FrameworkId, executor: &ExecutorId) -> Result<(), Refusal> {
    if matches!(agent.phase, Phase::Starting | Phase::Recovering { .. }) {
        return Err(Refusal::Recovering);
    }
    let state = agent.frameworks.get(framework).ok_or(Refusal::FrameworkUnknown)?;
    let executor = state.executors.get(executor).ok_or(Refusal::ExecutorUnknown)?;
    match executor.state {
        ExecutorState::Registering { .. } => Err(Refusal::NotSubscribed),
        ExecutorState::Running | ExecutorState::Ending { .. } => Ok(()),
    }
}
