//! What the core notes, for people: a log line and counters.

use master_core::Note;
use model::ids::{AgentId, FrameworkId};
use model::operation::{Operation, OperationState};
use model::task::{Status, TaskState};
use transport::metrics::Table;

const WEIGHTS_IGNORED: &str = "--weights is ignored, since other weights were set before: GET_WEIGHTS \
                               tells them, UPDATE_WEIGHTS changes them";

/// Turns notes into log lines and counters.
pub(super) struct Notes {
    metrics: Table,
}

/// Whether an operator's event stream has an event for it.
pub(super) fn is_watched(note: &Note) -> bool {
    match note {
        Note::FrameworkAdded(_)
        | Note::FrameworkUpdated(_)
        | Note::FrameworkRemoved(_)
        | Note::AgentAdded(_)
        | Note::AgentRemoved(_)
        | Note::TaskAdded(_)
        | Note::TaskUpdated { .. } => true,
        Note::ReignBegan { .. }
        | Note::ReignEnded
        | Note::WeightsIgnored
        | Note::FrameworkDisconnected(_)
        | Note::SubscribeRefused { .. }
        | Note::AgentReregistered(_)
        | Note::AgentDisconnected(_)
        | Note::AgentUnreachable(_)
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
        | Note::UpdateForwarded { .. }
        | Note::AgentMessageDropped { .. } => false,
    }
}

impl Notes {
    pub(super) fn new(metrics: Table) -> Self {
        Self { metrics }
    }

    /// Logs and counts one note.
    pub(super) fn take(&self, note: &Note) {
        let name = note.name();
        let count = |name: &str| self.metrics.count(name);
        match note {
            Note::ReignBegan { term, agents, frameworks } => {
                tracing::info!(name, term = term.0, agents, frameworks, "this master leads");
            }
            Note::ReignEnded => tracing::info!(name, "this master leads no more"),
            Note::WeightsIgnored => tracing::warn!(name, "{WEIGHTS_IGNORED}"),
            Note::FrameworkAdded(framework) => {
                count("master/messages_register_framework");
                tracing::info!(name, framework = %framework.id, "a framework has subscribed");
            }
            Note::FrameworkUpdated(framework) => {
                count("master/messages_reregister_framework");
                tracing::info!(name, framework = %framework.id, "a framework is back or changed");
            }
            Note::FrameworkDisconnected(framework) => {
                tracing::info!(name, %framework, "a framework's stream has ended");
            }
            Note::FrameworkRemoved(framework) => {
                count("master/messages_unregister_framework");
                tracing::info!(name, framework = %framework.id, "a framework is over");
            }
            Note::SubscribeRefused { why } => {
                tracing::info!(name, why, "a subscription was refused");
            }
            Note::AgentAdded(agent) => {
                count("master/messages_register_slave");
                count("master/slave_registrations");
                tracing::info!(name, agent = %agent.id, "an agent has joined");
            }
            Note::AgentReregistered(agent) => {
                count("master/messages_reregister_slave");
                count("master/slave_reregistrations");
                tracing::info!(name, %agent, "an agent is back");
            }
            Note::AgentDisconnected(agent) => {
                tracing::info!(name, %agent, "an agent's link has ended");
            }
            Note::AgentUnreachable(agent) => {
                count("master/slave_unreachable_scheduled");
                tracing::warn!(name, %agent, "an agent is out of contact");
            }
            Note::AgentGivenUp(agent) => {
                count("master/slave_unreachable_completed");
                count("master/slave_removals/reason_unhealthy");
                tracing::info!(name, %agent, "frameworks were told that the agent's tasks are lost");
            }
            Note::AgentBackInTime(agent) => {
                count("master/slave_unreachable_canceled");
                tracing::info!(name, %agent, "an agent came back before its tasks counted as lost");
            }
            Note::AgentsForgotten { count } => {
                tracing::info!(name, count, "former agents are remembered no longer");
            }
            Note::AgentRemoved(agent) => {
                count("master/slave_removals");
                tracing::info!(name, %agent, "an agent is gone");
            }
            Note::AgentRefused { agent, why } => {
                tracing::warn!(name, ?agent, why, "an agent was refused");
            }
            Note::TaskAdded(task) => {
                tracing::debug!(name, framework = %task.framework, task = %task.id(), "a task");
            }
            Note::TaskUpdated { framework, status, latest: _ } => {
                task_updated(&self.metrics, framework, status);
            }
            Note::ExecutorRemoved { framework, agent, executor } => {
                count("master/messages_exited_executor");
                tracing::debug!(name, %framework, %agent, %executor, "an executor has ended");
            }
            Note::OffersSent { framework, count } => {
                tracing::debug!(name, %framework, count, "offers");
            }
            Note::OfferRescinded(offer) => tracing::debug!(name, %offer, "an offer is taken back"),
            Note::CallDropped { framework, call, why } => {
                count("master/dropped_messages");
                tracing::warn!(name, %framework, call, why, "a call had no effect");
            }
            Note::TaskRefused { framework, task, why } => {
                tracing::info!(name, %framework, %task, why, "a task was not launched");
            }
            Note::OperationUpdated { operation, agent, state } => {
                operation_updated(&self.metrics, operation, agent, *state);
            }
            Note::UpdateForwarded { framework, task, state } => {
                count("master/valid_status_updates");
                tracing::trace!(name, %framework, %task, state = state.name(), "an update");
            }
            Note::AgentMessageDropped { agent, why } => {
                count("master/dropped_messages");
                tracing::warn!(name, ?agent, why, "an agent's message had no effect");
            }
        }
    }
}

fn task_updated(metrics: &Table, framework: &FrameworkId, status: &Status) {
    metrics.count("master/messages_status_update");
    if let Some(counter) = ended(status.state) {
        metrics.count(counter);
    }
    if let Some(reason) = status.reason {
        metrics.count(&reason_counter(status.state, status.source, reason));
    }
    let (task, state) = (&status.task, status.state.name());
    tracing::debug!(name = "task_updated", %framework, %task, state, "a task's state");
}

fn operation_updated(
    metrics: &Table,
    operation: &Operation,
    agent: &AgentId,
    state: OperationState,
) {
    metrics.count("master/messages_operation_status_update");
    if state != OperationState::Pending {
        let kind = operation.conversion.name().to_lowercase();
        let state = state.name().trim_start_matches("OPERATION_").to_lowercase();
        metrics.count(&format!("master/operations/{state}"));
        metrics.count(&format!("master/operations/{kind}/{state}"));
    }
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

/// The counter of tasks that ended so.
fn ended(state: TaskState) -> Option<&'static str> {
    match state {
        TaskState::Finished => Some("master/tasks_finished"),
        TaskState::Failed => Some("master/tasks_failed"),
        TaskState::Killed => Some("master/tasks_killed"),
        TaskState::Error => Some("master/tasks_error"),
        TaskState::Lost => Some("master/tasks_lost"),
        TaskState::Dropped => Some("master/tasks_dropped"),
        TaskState::Gone => Some("master/tasks_gone"),
        TaskState::GoneByOperator => Some("master/tasks_gone_by_operator"),
        TaskState::Staging
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Unreachable
        | TaskState::Unknown => None,
    }
}

/// Mesos still says "slave" where it counts.
fn reason_counter(
    state: TaskState,
    source: model::task::Source,
    reason: model::task::Reason,
) -> String {
    let source = match source {
        model::task::Source::Master => "source_master",
        model::task::Source::Agent => "source_slave",
        model::task::Source::Executor => "source_executor",
    };
    let reason = reason.name().to_lowercase().replace("agent", "slave");
    format!("master/{}/{source}/{reason}", state.name().to_lowercase())
}
