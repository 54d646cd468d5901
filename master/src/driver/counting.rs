//! What the core notes, in numbers.

use std::time::Duration;

use master_core::Note;
use master_core::note::{Relayed, Removal};
use model::operation::OperationState;
use model::task::{Reason, Source, TaskState};

use crate::meters::{Count, Meters};

/// Counts one note. `woken_for` is how long the core has just taken to do what fell due.
#[expect(clippy::wildcard_enum_match_arm, reason = "most of what is noted is not counted")]
pub(super) fn count(meters: &Meters, note: &Note, woken_for: Duration) {
    match note {
        Note::AgentAdded(_) => meters.count(Count::SlaveRegistrations),
        Note::AgentReregistered(_) => meters.count(Count::SlaveReregistrations),
        Note::AgentUnreachable { was_here, .. } => unreachable(meters, *was_here),
        Note::AgentGivenUp(_) => meters.count(Count::SlaveUnreachableCompleted),
        Note::AgentBackInTime(_) => meters.count(Count::SlaveUnreachableCanceled),
        Note::AgentRemoved { why, .. } => removed(meters, *why),
        Note::TaskUpdated { status, .. } => {
            ended(meters, status.state, status.source, status.reason);
        }
        Note::TaskRefused { state, reason, .. } => {
            ended(meters, *state, Source::Master, Some(*reason));
        }
        Note::OperationUpdated { operation, state, .. } if *state != OperationState::Pending => {
            meters.operations.count((operation.conversion.name(), *state));
        }
        Note::CallDropped { call, .. } => call_dropped(meters, call),
        Note::Relayed { what, .. } => meters.count(relayed(*what)),
        Note::AgentMessageDropped { what, .. } => {
            meters.count(Count::DroppedMessages);
            if let Some(counter) = what.and_then(not_relayed) {
                meters.count(counter);
            }
        }
        Note::AllocationRan { waited, .. } => {
            meters.count(Count::AllocationRuns);
            meters.allocation_run.record(woken_for);
            meters.allocation_run_latency.record(*waited);
        }
        _ => {}
    }
}

fn unreachable(meters: &Meters, was_here: bool) {
    meters.count(Count::SlaveUnreachableScheduled);
    if was_here {
        meters.count(Count::SlaveRemovals);
        meters.count(Count::SlaveRemovalsUnhealthy);
    } else {
        meters.count(Count::RecoverySlaveRemovals);
    }
}

fn removed(meters: &Meters, why: Option<Removal>) {
    meters.count(Count::SlaveRemovals);
    match why {
        Some(Removal::Unregistered) => meters.count(Count::SlaveRemovalsUnregistered),
        Some(Removal::Replaced) => meters.count(Count::SlaveRemovalsRegistered),
        Some(Removal::Decided) | None => {}
    }
}

/// Counts how a task ended, if it did, and why.
fn ended(meters: &Meters, state: TaskState, source: Source, reason: Option<Reason>) {
    let counter = match state {
        TaskState::Finished => Some(Count::TasksFinished),
        TaskState::Failed => Some(Count::TasksFailed),
        TaskState::Killed => Some(Count::TasksKilled),
        TaskState::Error => Some(Count::TasksError),
        TaskState::Lost => Some(Count::TasksLost),
        TaskState::Dropped => Some(Count::TasksDropped),
        TaskState::Gone => Some(Count::TasksGone),
        TaskState::GoneByOperator => Some(Count::TasksGoneByOperator),
        TaskState::Staging
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Unreachable
        | TaskState::Unknown => None,
    };
    if let Some(counter) = counter {
        meters.count(counter);
    }
    if let Some(reason) = reason {
        meters.task_reasons.count((state, source, reason));
    }
}

fn call_dropped(meters: &Meters, call: &str) {
    meters.count(Count::DroppedMessages);
    let counter = match call {
        "MESSAGE" => Count::InvalidFrameworkToExecutorMessages,
        "ACKNOWLEDGE" => Count::InvalidStatusUpdateAcknowledgements,
        "ACKNOWLEDGE_OPERATION_STATUS" => Count::InvalidOperationStatusUpdateAcknowledgements,
        _ => return,
    };
    meters.count(counter);
}

fn relayed(what: Relayed) -> Count {
    match what {
        Relayed::Update => Count::ValidStatusUpdates,
        Relayed::Acknowledgement => Count::ValidStatusUpdateAcknowledgements,
        Relayed::ToExecutor => Count::ValidFrameworkToExecutorMessages,
        Relayed::ToScheduler => Count::ValidExecutorToFrameworkMessages,
        Relayed::OperationUpdate => Count::ValidOperationStatusUpdates,
        Relayed::OperationAcknowledgement => Count::ValidOperationStatusUpdateAcknowledgements,
    }
}

/// What agents say. What frameworks say is a call, and counted when that is dropped.
fn not_relayed(what: Relayed) -> Option<Count> {
    match what {
        Relayed::Update => Some(Count::InvalidStatusUpdates),
        Relayed::ToScheduler => Some(Count::InvalidExecutorToFrameworkMessages),
        Relayed::OperationUpdate => Some(Count::InvalidOperationStatusUpdates),
        Relayed::Acknowledgement | Relayed::ToExecutor | Relayed::OperationAcknowledgement => None,
    }
}
