//! What an agent counts and times, under Mesos's names.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agent_core::output::Event;
use model::operation::OperationState;
use model::task::TaskState;
use transport::counted;
use transport::metrics::{Counters, Samples, double};

counted! {
    /// What is counted by name. Dashboards expect all of it to be there from the start.
    pub(crate) enum Count {
        ContainerDestroyErrors = "containerizer/mesos/container_destroy_errors",
        PathRemovalsFailed = "gc/path_removals_failed",
        PathRemovalsSucceeded = "gc/path_removals_succeeded",
        ContainerLaunchErrors = "slave/container_launch_errors",
        ExecutorsTerminated = "slave/executors_terminated",
        InvalidFrameworkMessages = "slave/invalid_framework_messages",
        InvalidStatusUpdates = "slave/invalid_status_updates",
        OperationsDropped = "slave/operations_dropped",
        OperationsFinished = "slave/operations_finished",
        Registrations = "slave/registrations",
        Reregistrations = "slave/reregistrations",
        TasksAccepted = "slave/tasks_accepted",
        TasksDropped = "slave/tasks_dropped",
        TasksError = "slave/tasks_error",
        TasksFailed = "slave/tasks_failed",
        TasksFinished = "slave/tasks_finished",
        TasksGone = "slave/tasks_gone",
        TasksKilled = "slave/tasks_killed",
        TasksLost = "slave/tasks_lost",
        ValidFrameworkMessages = "slave/valid_framework_messages",
        ValidStatusUpdates = "slave/valid_status_updates",
    }
}

/// What an agent counts and times.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) counters: Counters<Count>,
    since: Instant,
    /// How long it took to take up what was before.
    recovered_after: OnceLock<Duration>,
    /// How long sandboxes are kept as full as the disk is, in milliseconds.
    sandbox_age_max: AtomicU64,
    /// Sandboxes of runs that are over.
    sandboxes: AtomicUsize,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            counters: Counters::default(),
            since: Instant::now(),
            recovered_after: OnceLock::new(),
            sandbox_age_max: AtomicU64::new(0),
            sandboxes: AtomicUsize::new(0),
        }
    }
}

impl Meters {
    /// Counts one more.
    pub(crate) fn count(&self, what: Count) {
        self.counters.count(what);
    }

    /// Counts what the core notes.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most of what is noted is not counted")]
    pub(crate) fn note(&self, event: &Event) {
        let what = match event {
            Event::RecoveryFinished { .. } => {
                self.recovered_after.get_or_init(|| self.since.elapsed());
                return;
            }
            Event::Registered { .. } => Count::Registrations,
            Event::Reregistered { .. } => Count::Reregistrations,
            Event::TaskAccepted { .. } => Count::TasksAccepted,
            Event::TaskReported { state, .. } => {
                self.ended(*state);
                Count::ValidStatusUpdates
            }
            Event::UpdateIgnored { .. } => Count::InvalidStatusUpdates,
            Event::ExecutorEnded { .. } => Count::ExecutorsTerminated,
            Event::MessageRelayed { .. } => Count::ValidFrameworkMessages,
            Event::MessageDropped { .. } => Count::InvalidFrameworkMessages,
            Event::OperationReported { state: OperationState::Finished, .. } => {
                Count::OperationsFinished
            }
            Event::OperationReported { .. } => Count::OperationsDropped,
            _ => return,
        };
        self.count(what);
    }

    fn ended(&self, state: TaskState) {
        let counter = match state {
            TaskState::Finished => Count::TasksFinished,
            TaskState::Failed => Count::TasksFailed,
            TaskState::Killed => Count::TasksKilled,
            TaskState::Error => Count::TasksError,
            TaskState::Lost => Count::TasksLost,
            TaskState::Dropped => Count::TasksDropped,
            TaskState::Gone => Count::TasksGone,
            // That an operator declares it, no agent says.
            TaskState::GoneByOperator
            | TaskState::Staging
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Unreachable
            | TaskState::Unknown => return,
        };
        self.count(counter);
    }

    /// How long sandboxes are kept as full as the disk is.
    pub(crate) fn sandboxes_are_kept_for(&self, age_max: Duration) {
        let millis = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
        self.sandbox_age_max.store(millis, Ordering::Relaxed);
    }

    /// What came of a look at sandboxes of runs that are over.
    pub(crate) fn sandboxes_were_looked_at(&self, removed: usize, failed: usize, kept: usize) {
        self.counters.add(Count::PathRemovalsSucceeded, removed as u64);
        self.counters.add(Count::PathRemovalsFailed, failed as u64);
        self.sandboxes.store(kept, Ordering::Relaxed);
    }

    /// Adds all of it to `samples`.
    pub(crate) fn tell(&self, samples: &mut Samples) {
        self.counters.tell(samples);
        samples.gauge("slave/uptime_secs", self.since.elapsed().as_secs_f64());
        let recovered_after = self.recovered_after.get().copied().unwrap_or_default();
        samples.gauge("slave/recovery_time_secs", recovered_after.as_secs_f64());
        let age_max = Duration::from_millis(self.sandbox_age_max.load(Ordering::Relaxed));
        samples.gauge("slave/executor_directory_max_allowed_age_secs", age_max.as_secs_f64());
        let pending = self.sandboxes.load(Ordering::Relaxed);
        samples.gauge("gc/path_removals_pending", double(pending));
    }
}
