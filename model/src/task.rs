//! Tasks: what runs, the states it goes through, and the reports of them.

use crate::ids::{AgentId, ExecutorId, TaskId, UpdateId};
use crate::payload::Payload;
use crate::resources::Resources;
use crate::role::Role;
use crate::step::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Health checks that one task may have.
pub const HEALTH_CHECKS_MAX: usize = 32;

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its number on the wire.
            pub fn number(self) -> i32 {
                match self { $(Self::$variant => $number),* }
            }

            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The one with that number on the wire.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use wire_enum;

wire_enum! {
    /// Where a task is in its life, as far as the speaker knows.
    TaskState {
        /// Accepted, and on its way to run.
        Staging = 6, "TASK_STAGING";
        /// The executor has it and is starting it.
        Starting = 0, "TASK_STARTING";
        /// It runs.
        Running = 1, "TASK_RUNNING";
        /// It was asked to end and is in its grace period.
        Killing = 8, "TASK_KILLING";
        /// It ended by itself, well.
        Finished = 2, "TASK_FINISHED";
        /// It ended by itself, badly.
        Failed = 3, "TASK_FAILED";
        /// It ended because it was asked to.
        Killed = 4, "TASK_KILLED";
        /// It never was a valid task.
        Error = 7, "TASK_ERROR";
        /// The old word for all that is gone, unknown or unreachable, for frameworks that know no better.
        Lost = 5, "TASK_LOST";
        /// It was never started.
        Dropped = 9, "TASK_DROPPED";
        /// Its agent is out of contact. It may come back.
        Unreachable = 10, "TASK_UNREACHABLE";
        /// It ran and has ended with its agent or executor.
        Gone = 11, "TASK_GONE";
        /// An operator declared its agent dead.
        GoneByOperator = 12, "TASK_GONE_BY_OPERATOR";
        /// Nobody here knows of it.
        Unknown = 13, "TASK_UNKNOWN";
    }
}

impl TaskState {
    /// Whether the task is over for good, so that its resources are free.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Finished
            | Self::Failed
            | Self::Killed
            | Self::Error
            | Self::Lost
            | Self::Dropped
            | Self::Gone
            | Self::GoneByOperator => true,
            Self::Staging
            | Self::Starting
            | Self::Running
            | Self::Killing
            | Self::Unreachable
            | Self::Unknown => false,
        }
    }

    /// Whether a report of `next` may follow `self` in the books of a master or an agent.
    pub fn can_become(self, next: Self) -> bool {
        match self {
            _ if self.is_terminal() => false,
            // Unknown is only ever an answer, never a state that is kept.
            Self::Unknown => false,
            _ if next == Self::Unknown || next == Self::Staging => false,
            // An agent that comes back brings its tasks in whatever state they are.
            Self::Unreachable => next != Self::Unreachable,
            // Running after running is a report too: a health check flipped.
            Self::Staging
            | Self::Starting
            | Self::Running
            | Self::Killing
            | Self::Finished
            | Self::Failed
            | Self::Killed
            | Self::Error
            | Self::Lost
            | Self::Dropped
            | Self::Gone
            | Self::GoneByOperator => true,
        }
    }

    /// What a framework without PARTITION_AWARE is told in place of this state.
    #[must_use]
    pub fn for_unaware(self) -> Self {
        match self {
            Self::Dropped
            | Self::Unreachable
            | Self::Gone
            | Self::GoneByOperator
            | Self::Unknown => Self::Lost,
            Self::Staging
            | Self::Starting
            | Self::Running
            | Self::Killing
            | Self::Finished
            | Self::Failed
            | Self::Killed
            | Self::Error
            | Self::Lost => self,
        }
    }
}

wire_enum! {
    /// Who made a status report.
    Source {
        /// The master.
        Master = 0, "SOURCE_MASTER";
        /// The agent.
        Agent = 1, "SOURCE_AGENT";
        /// The executor.
        Executor = 2, "SOURCE_EXECUTOR";
    }
}

#[expect(missing_docs, reason = "the names are the field's own and stand for themselves")]
mod reason {
    wire_enum! {
        /// Why a report was made, where the state alone does not say.
        Reason {
            CommandExecutorFailed = 0, "REASON_COMMAND_EXECUTOR_FAILED";
            ExecutorTerminated = 1, "REASON_EXECUTOR_TERMINATED";
            ExecutorUnregistered = 2, "REASON_EXECUTOR_UNREGISTERED";
            FrameworkRemoved = 3, "REASON_FRAMEWORK_REMOVED";
            GcError = 4, "REASON_GC_ERROR";
            InvalidFrameworkId = 5, "REASON_INVALID_FRAMEWORKID";
            InvalidOffers = 6, "REASON_INVALID_OFFERS";
            MasterDisconnected = 7, "REASON_MASTER_DISCONNECTED";
            ContainerLimitationMemory = 8, "REASON_CONTAINER_LIMITATION_MEMORY";
            Reconciliation = 9, "REASON_RECONCILIATION";
            AgentDisconnected = 10, "REASON_AGENT_DISCONNECTED";
            AgentRemoved = 11, "REASON_AGENT_REMOVED";
            AgentRestarted = 12, "REASON_AGENT_RESTARTED";
            AgentUnknown = 13, "REASON_AGENT_UNKNOWN";
            TaskInvalid = 14, "REASON_TASK_INVALID";
            TaskUnauthorized = 15, "REASON_TASK_UNAUTHORIZED";
            TaskUnknown = 16, "REASON_TASK_UNKNOWN";
            ContainerPreempted = 17, "REASON_CONTAINER_PREEMPTED";
            ResourcesUnknown = 18, "REASON_RESOURCES_UNKNOWN";
            ContainerLimitation = 19, "REASON_CONTAINER_LIMITATION";
            ContainerLimitationDisk = 20, "REASON_CONTAINER_LIMITATION_DISK";
            ContainerLaunchFailed = 21, "REASON_CONTAINER_LAUNCH_FAILED";
            ContainerUpdateFailed = 22, "REASON_CONTAINER_UPDATE_FAILED";
            ExecutorRegistrationTimeout = 23, "REASON_EXECUTOR_REGISTRATION_TIMEOUT";
            ExecutorReregistrationTimeout = 24, "REASON_EXECUTOR_REREGISTRATION_TIMEOUT";
            TaskGroupInvalid = 25, "REASON_TASK_GROUP_INVALID";
            TaskGroupUnauthorized = 26, "REASON_TASK_GROUP_UNAUTHORIZED";
            IoSwitchboardExited = 27, "REASON_IO_SWITCHBOARD_EXITED";
            TaskCheckStatusUpdated = 28, "REASON_TASK_CHECK_STATUS_UPDATED";
            TaskHealthCheckStatusUpdated = 29, "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED";
            TaskKilledDuringLaunch = 30, "REASON_TASK_KILLED_DURING_LAUNCH";
            AgentRemovedByOperator = 31, "REASON_AGENT_REMOVED_BY_OPERATOR";
            AgentReregistered = 32, "REASON_AGENT_REREGISTERED";
            MaxCompletionTimeReached = 33, "REASON_MAX_COMPLETION_TIME_REACHED";
            AgentDraining = 34, "REASON_AGENT_DRAINING";
        }
    }
}
pub use reason::Reason;

/// One report of a task's state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The task.
    pub task: TaskId,
    /// The state reported.
    pub state: TaskState,
    /// Who reports.
    pub source: Source,
    /// Why, where the state alone does not say.
    pub reason: Option<Reason>,
    /// For people.
    pub message: Option<Arc<str>>,
    /// The agent the task is on; absent if nobody knows.
    pub agent: Option<AgentId>,
    /// The executor that has it, where one says so.
    pub executor: Option<ExecutorId>,
    /// When the report was made.
    pub at: Timestamp,
    /// Present iff the report is kept until it is acknowledged.
    pub uuid: Option<UpdateId>,
    /// The latest verdict of the task's health check; absent without one.
    pub healthy: Option<bool>,
    /// Since when the task's agent is out of contact, where it is.
    pub unreachable_at: Option<Timestamp>,
    /// What the executor has to say to the framework, which may be much: see [`Self::without_data`].
    pub data: Option<Payload>,
    /// An encoded `mesos.v1.TaskStatus` for the fields not told here (labels, container status, check
    /// status, limitation). Where both have a field, this struct holds.
    pub rest: Payload,
}

impl Status {
    /// A report by the master or the agent itself, without anything optional.
    pub fn new(task: TaskId, state: TaskState, source: Source, at: Timestamp) -> Self {
        Self {
            task,
            state,
            source,
            reason: None,
            message: None,
            agent: None,
            executor: None,
            at,
            uuid: None,
            healthy: None,
            unreachable_at: None,
            data: None,
            rest: Payload::default(),
        }
    }

    /// The report as it is kept and shown once it is passed on: `data` is the framework's alone, and
    /// would fill the memory.
    #[must_use]
    pub fn without_data(self) -> Self {
        Self { data: None, ..self }
    }
}

/// One task that a framework wants run. Well formed, which does not mean that it fits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TaskSpec {
    /// Its id.
    pub id: TaskId,
    /// Its name, for people.
    pub name: Arc<str>,
    /// The agent it is for: that of the offers it is launched on.
    pub agent: AgentId,
    /// What it takes, beside its executor.
    pub resources: Resources,
    /// What runs it.
    pub runs_by: RunsBy,
    /// The user that its command names, or a parameter of its DOCKER container.
    pub user: Option<Arc<str>>,
    /// How long it may take to end when killed, where it says so.
    pub kill_grace: Option<Duration>,
    /// What else must fit where it is launched.
    pub needs: Needs,
    /// Encoded `mesos.v1.TaskInfo`, all of it.
    pub info: Payload,
}

/// What a task needs of the offers, the executor and the agent that it is launched on, beside resources.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    /// The role that its resources say they were offered for; absent where they do not say.
    pub role: Option<Role>,
    /// Whether it is to have limits of its own within its executor's container, which all tasks of the
    /// executor have, or none.
    pub own_cgroup: bool,
    /// Whether it may have more than its resources, up to limits.
    pub limits: bool,
}

/// What runs a task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RunsBy {
    /// A command, run by the built-in executor. The executor's id is the task's.
    Command,
    /// An executor of the framework's, started if it is not there yet.
    Executor(ExecutorSpec),
    /// The executor of the task group it is launched with.
    Group,
}

/// An executor that a framework wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExecutorSpec {
    /// Its id.
    pub id: ExecutorId,
    /// Whether it is the built-in one for task groups and not a command of the framework's.
    pub is_default: bool,
    /// What it takes beside its tasks.
    pub resources: Resources,
    /// The role that its resources say they were offered for; absent where they do not say.
    pub role: Option<Role>,
    /// The user that its command names, or a parameter of its DOCKER container.
    pub user: Option<Arc<str>>,
    /// How long it may take to end when asked, where it says so.
    pub shutdown_grace: Option<Duration>,
    /// Encoded `mesos.v1.ExecutorInfo`, all of it.
    pub info: Payload,
}

/// A task that can never run as it is written; its framework is told by TASK_ERROR.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidTask {
    /// Its id as given, which may itself be what is wrong.
    pub id: Arc<str>,
    /// The agent it is for, as given.
    pub agent: Arc<str>,
    /// What is wrong, for the report's message.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn every_pair_of_states_is_decided() {
        let mut table = String::new();
        for &from in TaskState::ALL {
            let to: Vec<_> = TaskState::ALL.iter().filter(|&&to| from.can_become(to)).collect();
            writeln!(table, "{from:?} -> {to:?}").expect("a string takes any write");
        }
        let live = "[Starting, Running, Killing, Finished, Failed, Killed, Error, Lost, Dropped, \
                    Unreachable, Gone, GoneByOperator]";
        let back = live.replace("Unreachable, ", "");
        let mut expected = String::new();
        for (from, to) in [
            ("Staging", live),
            ("Starting", live),
            ("Running", live),
            ("Killing", live),
            ("Finished", "[]"),
            ("Failed", "[]"),
            ("Killed", "[]"),
            ("Error", "[]"),
            ("Lost", "[]"),
            ("Dropped", "[]"),
            ("Unreachable", back.as_str()),
            ("Gone", "[]"),
            ("GoneByOperator", "[]"),
            ("Unknown", "[]"),
        ] {
            writeln!(expected, "{from} -> {to}").expect("a string takes any write");
        }
        assert_eq!(table, expected);
    }

    #[test]
    fn numbers_and_names_go_both_ways() {
        for &state in TaskState::ALL {
            assert_eq!(TaskState::from_number(state.number()), Some(state));
        }
        for &reason in Reason::ALL {
            assert_eq!(Reason::from_number(reason.number()), Some(reason));
        }
        assert_eq!(Reason::ALL.len(), 35);
        assert_eq!(TaskState::from_number(99), None);
    }
}
