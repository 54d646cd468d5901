//! What a master counts and times, under Mesos's names.
//!
//! Plain integers: names are put to them when somebody reads, by `api::metrics`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use model::call::Call;
use model::link::FromAgent;
use model::operation::OperationState;
use model::task::{Reason, Source, TaskState};
use transport::counted;
use transport::metrics::{Counters, KeyedCounters, Timer};

counted! {
    /// What is counted by name. Dashboards expect all of it to be there from the start.
    pub(crate) enum Count {
        DroppedMessages = "master/dropped_messages",
        InvalidExecutorToFrameworkMessages = "master/invalid_executor_to_framework_messages",
        InvalidFrameworkToExecutorMessages = "master/invalid_framework_to_executor_messages",
        InvalidOperationStatusUpdateAcknowledgements =
            "master/invalid_operation_status_update_acknowledgements",
        InvalidOperationStatusUpdates = "master/invalid_operation_status_updates",
        InvalidStatusUpdateAcknowledgements = "master/invalid_status_update_acknowledgements",
        InvalidStatusUpdates = "master/invalid_status_updates",
        MessagesDeclineOffers = "master/messages_decline_offers",
        MessagesExecutorToFramework = "master/messages_executor_to_framework",
        MessagesExitedExecutor = "master/messages_exited_executor",
        MessagesFrameworkToExecutor = "master/messages_framework_to_executor",
        MessagesKillTask = "master/messages_kill_task",
        MessagesLaunchTasks = "master/messages_launch_tasks",
        MessagesOperationStatusUpdate = "master/messages_operation_status_update",
        MessagesOperationStatusUpdateAcknowledgement =
            "master/messages_operation_status_update_acknowledgement",
        MessagesReconcileOperations = "master/messages_reconcile_operations",
        MessagesReconcileTasks = "master/messages_reconcile_tasks",
        MessagesRegisterFramework = "master/messages_register_framework",
        MessagesRegisterSlave = "master/messages_register_slave",
        MessagesReregisterFramework = "master/messages_reregister_framework",
        MessagesReregisterSlave = "master/messages_reregister_slave",
        MessagesResourceRequest = "master/messages_resource_request",
        MessagesReviveOffers = "master/messages_revive_offers",
        MessagesStatusUpdate = "master/messages_status_update",
        MessagesStatusUpdateAcknowledgement = "master/messages_status_update_acknowledgement",
        MessagesSuppressOffers = "master/messages_suppress_offers",
        MessagesUnregisterFramework = "master/messages_unregister_framework",
        MessagesUnregisterSlave = "master/messages_unregister_slave",
        RecoverySlaveRemovals = "master/recovery_slave_removals",
        SlaveRegistrations = "master/slave_registrations",
        SlaveRemovals = "master/slave_removals",
        SlaveRemovalsRegistered = "master/slave_removals/reason_registered",
        SlaveRemovalsUnhealthy = "master/slave_removals/reason_unhealthy",
        SlaveRemovalsUnregistered = "master/slave_removals/reason_unregistered",
        SlaveReregistrations = "master/slave_reregistrations",
        SlaveUnreachableCanceled = "master/slave_unreachable_canceled",
        SlaveUnreachableCompleted = "master/slave_unreachable_completed",
        SlaveUnreachableScheduled = "master/slave_unreachable_scheduled",
        TasksDropped = "master/tasks_dropped",
        TasksError = "master/tasks_error",
        TasksFailed = "master/tasks_failed",
        TasksFinished = "master/tasks_finished",
        TasksGone = "master/tasks_gone",
        TasksGoneByOperator = "master/tasks_gone_by_operator",
        TasksKilled = "master/tasks_killed",
        TasksLost = "master/tasks_lost",
        ValidExecutorToFrameworkMessages = "master/valid_executor_to_framework_messages",
        ValidFrameworkToExecutorMessages = "master/valid_framework_to_executor_messages",
        ValidOperationStatusUpdateAcknowledgements =
            "master/valid_operation_status_update_acknowledgements",
        ValidOperationStatusUpdates = "master/valid_operation_status_updates",
        ValidStatusUpdateAcknowledgements = "master/valid_status_update_acknowledgements",
        ValidStatusUpdates = "master/valid_status_updates",
        AllocationRuns = "allocator/mesos/allocation_runs",
    }
}

/// What a master counts and times.
#[derive(Default)]
pub(crate) struct Meters {
    pub(crate) counters: Counters<Count>,
    /// Reports of tasks that say why.
    pub(crate) task_reasons: KeyedCounters<(TaskState, Source, Reason)>,
    /// Operations that are over, by name and how they ended.
    pub(crate) operations: KeyedCounters<(&'static str, OperationState)>,
    pub(crate) allocation_run: Timer,
    pub(crate) allocation_run_latency: Timer,
    /// How long records took to be agreed on.
    pub(crate) state_store: Timer,
    /// How long the log took to be read at the start.
    pub(crate) state_fetch: Timer,
    /// Records that are to be agreed on.
    proposals: AtomicUsize,
}

impl Meters {
    /// Counts one more.
    pub(crate) fn count(&self, what: Count) {
        self.counters.count(what);
    }

    /// Counts a framework's call.
    pub(crate) fn call(&self, call: &Call) {
        let what = match call {
            Call::Accept(_) => Count::MessagesLaunchTasks,
            Call::Decline(_) => Count::MessagesDeclineOffers,
            Call::Revive(_) => Count::MessagesReviveOffers,
            Call::Suppress(_) => Count::MessagesSuppressOffers,
            Call::Kill(_) => Count::MessagesKillTask,
            Call::Acknowledge(_) => Count::MessagesStatusUpdateAcknowledgement,
            Call::AcknowledgeOperation(_) => Count::MessagesOperationStatusUpdateAcknowledgement,
            Call::Reconcile(_) => Count::MessagesReconcileTasks,
            Call::ReconcileOperations(_) => Count::MessagesReconcileOperations,
            Call::Message(_) => Count::MessagesFrameworkToExecutor,
            Call::Request => Count::MessagesResourceRequest,
            Call::Teardown => Count::MessagesUnregisterFramework,
            Call::Shutdown(_) | Call::UpdateFramework(_) | Call::AnswerInverseOffers(_) => return,
        };
        self.count(what);
    }

    /// Counts what an agent says.
    pub(crate) fn said(&self, message: &FromAgent) {
        let what = match message {
            FromAgent::Register(_) => Count::MessagesRegisterSlave,
            FromAgent::Reregister(_) => Count::MessagesReregisterSlave,
            FromAgent::Unregister => Count::MessagesUnregisterSlave,
            FromAgent::StatusUpdate { .. } => Count::MessagesStatusUpdate,
            FromAgent::OperationUpdate { .. } => Count::MessagesOperationStatusUpdate,
            FromAgent::ExecutorExited { .. } => Count::MessagesExitedExecutor,
            FromAgent::Message { .. } => Count::MessagesExecutorToFramework,
            FromAgent::Pong => return,
        };
        self.count(what);
    }

    /// Records are to be agreed on.
    pub(crate) fn proposed(&self) -> Proposing<'_> {
        self.proposals.fetch_add(1, Ordering::Relaxed);
        Proposing { meters: self, since: Instant::now() }
    }

    /// Records that are to be agreed on.
    pub(crate) fn proposals(&self) -> usize {
        self.proposals.load(Ordering::Relaxed)
    }
}

/// Records are on their way until this is dropped.
pub(crate) struct Proposing<'a> {
    meters: &'a Meters,
    since: Instant,
}

impl Proposing<'_> {
    /// They are agreed on.
    pub(crate) fn agreed(self) {
        self.meters.state_store.record(self.since.elapsed());
    }
}

impl Drop for Proposing<'_> {
    fn drop(&mut self) {
        self.meters.proposals.fetch_sub(1, Ordering::Relaxed);
    }
}
