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
    if agent.phase == Phase::Starting {
        return Err(Refusal::Recovering);
    }
    let state = agent.frameworks.get(framework).ok_or(Refusal::FrameworkUnknown)?;
    let executor = state.executors.get(executor).ok_or(Refusal::ExecutorUnknown)?;
    // One that has subscribed again is answered though others are awaited: it would not repeat what
    // was refused before its next subscription, and tell of later things first.
    if matches!(agent.phase, Phase::Recovering { .. }) && executor.connection.is_none() {
        return Err(Refusal::Recovering);
    }
    match executor.state {
        ExecutorState::Registering { .. } => Err(Refusal::NotSubscribed),
        ExecutorState::Running | ExecutorState::Ending { .. } => Ok(()),
    }
}
