//! What an agent's driver must do.

use crate::record::Record;
use model::framework::Framework;
use model::ids::{
    AgentId, ConnectionId, ContainerId, ExecutorId, FrameworkId, OperationUuid, RequestId, TaskId,
    Term, UpdateId,
};
use model::link::{FromAgent, LiveOperation};
use model::operation::OperationState;
use model::payload::Payload;
use model::resources::Resources;
use model::search::Masters;
use model::step::Timestamp;
use model::task::{ExecutorSpec, Reason, Status, TaskSpec, TaskState};
use std::sync::Arc;
use std::time::Duration;

/// What the driver must do, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Write to the store. What comes after it waits until it is on disk.
    Append(Record),
    /// Write to the store, all of it or nothing. What comes after it waits until it is on disk.
    AppendTogether(Vec<Record>),
    /// Write to the store with what is written next, or soon. Nothing waits for it, so all that is done up to
    /// then may be done by an agent that ends without having written it.
    AppendLazily(Record),
    /// Find the leading master and keep a link to it from now on.
    Connect,
    /// Give up the present link, if there is one, and look for the leading master again.
    Reconnect,
    /// Look among these masters as well, after those that people have named. It is from before the start.
    Remember(Vec<Arc<str>>),
    /// Look for the leading master where and when this says, which comes from one.
    Learn(Masters),
    /// Say it to the master. Lost if there is no link.
    ToMaster(FromAgent),
    /// Answer an executor's call. It says no more than that the call was heard and may be made, so it waits for
    /// no write: that a report was kept is said by [`ExecutorEvent::Acknowledged`].
    AnswerExecutor {
        /// Which call.
        request: RequestId,
        /// What is answered.
        answer: Result<(), Refusal>,
    },
    /// Send an event to an executor.
    ToExecutor {
        /// On which stream.
        connection: ConnectionId,
        /// The event.
        event: ExecutorEvent,
    },
    /// End an executor's event stream once all is sent.
    CloseExecutor {
        /// Which stream.
        connection: ConnectionId,
    },
    /// Start an executor. Answered by `Launched` or `LaunchFailed`, later by `Exited`.
    LaunchContainer(Box<ContainerLaunch>),
    /// Change what a container may take.
    UpdateContainer(Box<ContainerUpdate>),
    /// Have a running container show these persistent volumes and no others, before anything else is
    /// done. Answered by `VolumesNotShown` if that cannot be; then its executor, which is going to be
    /// destroyed, is told nothing more, since tasks would write elsewhere than they are to.
    ShowVolumes {
        /// Which.
        container: ContainerId,
        /// The event stream of its executor, if that has one.
        connection: Option<ConnectionId>,
        /// All that its executor and its tasks have now.
        volumes: Resources,
    },
    /// End all processes of a container at once. Answered by `Exited`, or by `LaunchFailed` if the
    /// launch was not over yet.
    DestroyContainer {
        /// Which.
        container: ContainerId,
    },
    /// Make the directories of these volumes, where they are not there.
    MakeVolumes(Resources),
    /// Put the directories of these volumes, with all that is in them, where no task finds them; if that
    /// was done for this operation before, leave what is there now. Answered by `VolumesRemoved`.
    RemoveVolumes {
        /// The operation that removed them.
        operation: OperationUuid,
        /// Which.
        volumes: Resources,
    },
    /// Delete what was put away for an operation.
    PurgeVolumes {
        /// Which operation.
        operation: OperationUuid,
        /// What it was.
        volumes: Resources,
    },
    /// Tell whoever watches: log and metrics.
    Note(Event),
    /// What can be read of this agent has changed.
    View(Change),
    /// All is done here: end the program.
    Exit {
        /// Why, for people.
        why: String,
    },
}

impl Output {
    /// An executor has got on with its life.
    pub(crate) fn stage(framework: &FrameworkId, executor: &ExecutorId, stage: Stage) -> Self {
        let (framework, executor) = (framework.clone(), executor.clone());
        Self::View(Change::ExecutorStage { framework, executor, stage })
    }

    /// Takes apart what is to be written and what else is to be done.
    pub fn split(all: Vec<Self>) -> Split {
        let mut split = Split::default();
        for output in all {
            split.is_awaited |= matches!(output, Self::Append(_) | Self::AppendTogether(_));
            if let Self::Append(record) | Self::AppendLazily(record) = output {
                split.records.push(record);
            } else if let Self::AppendTogether(together) = output {
                split.records.extend(together);
            } else if matches!(output, Self::AnswerExecutor { .. }) {
                split.at_once.push(output);
            } else {
                split.rest.push(output);
            }
        }
        split
    }
}

/// Outputs by what they wait for, each kind in its order.
#[derive(Debug, Default)]
pub struct Split {
    /// What waits for nothing.
    pub at_once: Vec<Output>,
    /// What is to be written.
    pub records: Vec<Record>,
    /// Whether something waits until that is on disk.
    pub is_awaited: bool,
    /// What is to be done once it is.
    pub rest: Vec<Output>,
}

/// A container to be started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContainerLaunch {
    /// Its id.
    pub container: ContainerId,
    /// This agent.
    pub agent: AgentId,
    /// Whose it is.
    pub framework: Framework,
    /// The executor in it. Of a command task its description is empty: it is the built-in one.
    pub executor: ExecutorSpec,
    /// Whether it is a command task's own executor.
    pub is_command: bool,
    /// What it is started for. Of a command task exactly that one.
    pub tasks: Vec<TaskSpec>,
    /// What the container may take: the executor and its tasks.
    pub resources: Resources,
}

/// What a container may take from now on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContainerUpdate {
    /// Which.
    pub container: ContainerId,
    /// What its executor has of its own.
    pub executor: Resources,
    /// The tasks in it that are not over.
    pub tasks: Vec<TaskSpec>,
    /// What the executor and the tasks have.
    pub resources: Resources,
}

/// What an executor is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExecutorEvent {
    /// It is known.
    Subscribed(Box<Subscribed>),
    /// Run a task.
    Launch(Box<TaskSpec>),
    /// Run several tasks together.
    LaunchGroup(Vec<TaskSpec>),
    /// End a task.
    Kill {
        /// Which.
        task: TaskId,
        /// How long it may take; absent: as the task says.
        grace: Option<Duration>,
    },
    /// A report was taken.
    Acknowledged {
        /// Of which task.
        task: TaskId,
        /// Which report.
        uuid: UpdateId,
    },
    /// Bytes of the scheduler.
    Message(Payload),
    /// End all tasks and exit.
    Shutdown,
}

/// What an executor learns of itself when it subscribes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subscribed {
    /// What it is.
    pub executor: ExecutorSpec,
    /// Whose it is.
    pub framework: Framework,
    /// Where it is.
    pub agent: AgentId,
    /// Which container it is in.
    pub container: ContainerId,
    /// Its task, if it is a command task's own executor and the task is not over.
    pub command: Option<TaskSpec>,
}

/// Why an executor's call is not carried out. The text is what clients know.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The agent has just been started.
    #[error("Agent has not finished recovery")]
    Recovering,
    /// No such framework has anything here.
    #[error("Framework cannot be found")]
    FrameworkUnknown,
    /// The framework has no such executor here.
    #[error("Executor cannot be found")]
    ExecutorUnknown,
    /// SUBSCRIBE comes first.
    #[error("Executor is not subscribed")]
    NotSubscribed,
}

/// What happened, for log and metrics.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "fields name the thing they are about")]
pub enum Event {
    /// Recovery is over.
    RecoveryFinished { executors: usize, tasks: usize },
    /// A master has admitted this agent.
    Registered { agent: AgentId, term: Term },
    /// A master knows this agent again.
    Reregistered { agent: AgentId, term: Term },
    /// The master is out of contact.
    Disconnected,
    /// The master did not ping in time.
    PingTimedOut,
    /// A message of a deposed master was ignored.
    StaleTerm { term: Term, seen: Term },
    /// Tasks were accepted.
    TaskAccepted { framework: FrameworkId, task: TaskId },
    /// A task was not started.
    TaskDropped { framework: FrameworkId, task: TaskId, reason: Reason },
    /// A task has a new state.
    TaskReported { framework: FrameworkId, task: TaskId, state: TaskState, reason: Option<Reason> },
    /// A report that cannot be was dropped.
    UpdateIgnored { framework: FrameworkId, task: TaskId, state: TaskState },
    /// A report was sent again.
    UpdateRepeated { framework: FrameworkId, task: TaskId },
    /// An executor is being started.
    ExecutorStarting { framework: FrameworkId, executor: ExecutorId, container: ContainerId },
    /// An executor has subscribed.
    ExecutorSubscribed { framework: FrameworkId, executor: ExecutorId },
    /// An executor did not subscribe in time.
    ExecutorTimedOut { framework: FrameworkId, executor: ExecutorId },
    /// An executor is over.
    ExecutorEnded {
        framework: FrameworkId,
        executor: ExecutorId,
        container: ContainerId,
        status: Option<i32>,
        reason: Option<Reason>,
    },
    /// A message between scheduler and executor was passed on.
    MessageRelayed { framework: FrameworkId, executor: ExecutorId },
    /// A message between scheduler and executor was lost, which is allowed.
    MessageDropped { framework: FrameworkId, executor: ExecutorId },
    /// A kill for what is not here.
    KillIgnored { framework: FrameworkId, task: TaskId },
    /// An operation on resources is done, or is not going to be.
    OperationReported {
        operation: OperationUuid,
        kind: &'static str,
        state: OperationState,
        why: Option<Arc<str>>,
    },
    /// The report of an operation was sent again.
    OperationRepeated { operation: OperationUuid },
    /// The agent ends all it runs and goes away.
    Ending { why: String },
}

/// Where an executor is in its life.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Stage {
    /// It has not subscribed yet.
    #[default]
    Registering,
    /// It has subscribed.
    Running,
    /// It is to end.
    Terminating,
}

/// What has changed in what can be read of an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "fields name the thing they are about")]
pub enum Change {
    /// Recovery is over.
    Ready,
    /// It has this id.
    Identity { agent: AgentId },
    /// Whether a master has it as registered.
    Connected(bool),
    /// A framework is new, or described anew.
    Framework(Framework),
    /// A framework has nothing here any more.
    FrameworkOver(FrameworkId),
    /// An executor is new.
    Executor {
        framework: FrameworkId,
        executor: ExecutorSpec,
        container: ContainerId,
        is_command: bool,
    },
    /// An executor has got on with its life. A new one is registering.
    ExecutorStage { framework: FrameworkId, executor: ExecutorId, stage: Stage },
    /// An executor is over.
    ExecutorOver { framework: FrameworkId, executor: ExecutorId },
    /// A task is new.
    Task {
        framework: FrameworkId,
        executor: ExecutorId,
        spec: Box<TaskSpec>,
        accepted_at: Timestamp,
    },
    /// The executor was given a task.
    TaskDelivered { framework: FrameworkId, task: TaskId },
    /// A task has a new report.
    TaskStatus { framework: FrameworkId, status: Status },
    /// All it has is this now.
    Total(Resources),
    /// An operation has a report that is not acknowledged.
    Operation(Box<LiveOperation>),
    /// An operation is over, and its framework knows.
    OperationOver(OperationUuid),
}
