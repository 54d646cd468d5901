//! What the core notes, for people: a log line each.

use master_core::Note;
use model::ids::{AgentId, FrameworkId};
use model::operation::{Operation, OperationState};
use model::task::Status;

const WEIGHTS_IGNORED: &str = "--weights is ignored, since other weights were set before: GET_WEIGHTS \
                               tells them, UPDATE_WEIGHTS changes them";

/// Whether an operator's event stream has an event for it.
pub(super) fn is_watched(note: &Note) -> bool {
    match note {
        Note::FrameworkAdded(_)
        | Note::FrameworkUpdated(_)
        | Note::FrameworkRemoved(_)
        | Note::AgentAdded(_)
        | Note::AgentRemoved { .. }
        | Note::TaskAdded(_)
        | Note::TaskUpdated { .. } => true,
        Note::ReignBegan { .. }
        | Note::ReignEnded
        | Note::WeightsIgnored
        | Note::FrameworkDisconnected(_)
        | Note::SubscribeRefused { .. }
        | Note::AgentReregistered(_)
        | Note::AgentDisconnected(_)
        | Note::AgentUnreachable { .. }
        | Note::AgentGivenUp(_)
        | Note::AgentBackInTime(_)
        | Note::AgentsForgotten { .. }
        | Note::AgentRefused { .. }
        | Note::ExecutorRemoved { .. }
        | Note::OffersSent { .. }
        | Note::OfferRescinded(_)
        | Note::CallDropped { .. }
        | Note::TaskRefused { .. }
        | Note::OperationUpdated { .. }
        | Note::Relayed { .. }
        | Note::AgentMessageDropped { .. }
        | Note::AllocationRan { .. } => false,
    }
}

/// Writes one note to the log.
pub(super) fn log(note: &Note) {
    let name = note.name();
    match note {
        Note::ReignBegan { term, agents, frameworks } => {
            tracing::info!(name, term = term.0, agents, frameworks, "this master leads");
        }
        Note::ReignEnded => tracing::info!(name, "this master leads no more"),
        Note::WeightsIgnored => tracing::warn!(name, "{WEIGHTS_IGNORED}"),
        Note::FrameworkAdded(framework) => {
            tracing::info!(name, framework = %framework.id, "a framework has subscribed");
        }
        Note::FrameworkUpdated(framework) => {
            tracing::info!(name, framework = %framework.id, "a framework is back or changed");
        }
        Note::FrameworkDisconnected(framework) => {
            tracing::info!(name, %framework, "a framework's stream has ended");
        }
        Note::FrameworkRemoved(framework) => {
            tracing::info!(name, framework = %framework.id, "a framework is over");
        }
        Note::SubscribeRefused { why } => {
            tracing::info!(name, why, "a subscription was refused");
        }
        Note::AgentAdded(agent) => {
            tracing::info!(name, agent = %agent.id, "an agent has joined");
        }
        Note::AgentReregistered(agent) => {
            tracing::info!(name, %agent, "an agent is back");
        }
        Note::AgentDisconnected(agent) => {
            tracing::info!(name, %agent, "an agent's link has ended");
        }
        Note::AgentUnreachable { agent, .. } => {
            tracing::warn!(name, %agent, "an agent is out of contact");
        }
        Note::AgentGivenUp(agent) => {
            tracing::info!(name, %agent, "frameworks were told that the agent's tasks are lost");
        }
        Note::AgentBackInTime(agent) => {
            tracing::info!(name, %agent, "an agent came back before its tasks counted as lost");
        }
        Note::AgentsForgotten { count } => {
            tracing::info!(name, count, "former agents are remembered no longer");
        }
        Note::AgentRemoved { agent, .. } => {
            tracing::info!(name, %agent, "an agent is gone");
        }
        Note::AgentRefused { agent, why } => {
            tracing::warn!(name, ?agent, why, "an agent was refused");
        }
        Note::TaskAdded(task) => {
            tracing::debug!(name, framework = %task.framework, task = %task.id(), "a task");
        }
        Note::TaskUpdated { framework, status, latest: _ } => {
            task_updated(framework, status);
        }
        Note::ExecutorRemoved { framework, agent, executor } => {
            tracing::debug!(name, %framework, %agent, %executor, "an executor has ended");
        }
        Note::OffersSent { framework, count } => {
            tracing::debug!(name, %framework, count, "offers");
        }
        Note::OfferRescinded(offer) => tracing::debug!(name, %offer, "an offer is taken back"),
        Note::CallDropped { framework, call, why } => {
            tracing::warn!(name, %framework, call, why, "a call had no effect");
        }
        Note::TaskRefused { framework, task, why, .. } => {
            tracing::info!(name, %framework, %task, why, "a task was not launched");
        }
        Note::OperationUpdated { operation, agent, state } => {
            operation_updated(operation, agent, *state);
        }
        Note::Relayed { what, framework } => {
            let framework = framework.as_ref().map(tracing::field::display);
            tracing::trace!(name, framework, ?what, "passed on");
        }
        Note::AgentMessageDropped { agent, why, .. } => {
            tracing::warn!(name, ?agent, why, "an agent's message had no effect");
        }
        Note::AllocationRan { waited, offers } => {
            tracing::trace!(name, ?waited, offers, "looked for what can be offered");
        }
    }
}

fn task_updated(framework: &FrameworkId, status: &Status) {
    let (task, state) = (&status.task, status.state.name());
    tracing::debug!(name = "task_updated", %framework, %task, state, "a task's state");
}

fn operation_updated(operation: &Operation, agent: &AgentId, state: OperationState) {
    tracing::info!(
        name = "operation_updated",
        operation = %operation.uuid,
        id = operation.id.as_ref().map(tracing::field::display),
        kind = operation.conversion.name(),
        %agent,
        state = state.name(),
        "an operation on resources is done, or is not going to be"
    );
}
