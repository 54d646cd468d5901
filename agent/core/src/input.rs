//! What can happen to an agent.

use crate::record::Record;
use model::ids::{
    ConnectionId, ContainerId, ExecutorId, FrameworkId, OperationUuid, RequestId, TaskId, Term,
};
use model::link::ToAgent;
use model::payload::Payload;
use model::resources::Resources;
use model::task::{Reason, Status};
use std::sync::Arc;

/// What can happen to an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// The first input of all: what was left from before.
    Recovered(Recovered),
    /// A link to a leading master is open.
    LinkUp {
        /// Which one; later ones have higher numbers.
        link: ConnectionId,
    },
    /// A link is gone.
    LinkDown {
        /// Which one.
        link: ConnectionId,
    },
    /// The master has said something.
    FromMaster {
        /// Over which link.
        link: ConnectionId,
        /// In which reign.
        term: Term,
        /// What it said.
        message: ToAgent,
    },
    /// The executor's processes run.
    Launched {
        /// In which container.
        container: ContainerId,
    },
    /// A container could not be started. Nothing is left of it.
    LaunchFailed {
        /// Which container.
        container: ContainerId,
        /// Why, for people.
        why: Arc<str>,
    },
    /// Persistent volumes could not be shown in a container, whose tasks have lost what they need.
    VolumesNotShown {
        /// Which container.
        container: ContainerId,
        /// Why, for people.
        why: Arc<str>,
    },
    /// All processes of a container have ended.
    Exited {
        /// Which container.
        container: ContainerId,
        /// How.
        exit: Exit,
    },
    /// An executor has called SUBSCRIBE.
    Subscribe(Subscribe),
    /// An executor has called UPDATE.
    Update {
        /// Which call this is.
        request: RequestId,
        /// Of which framework.
        framework: FrameworkId,
        /// Of which executor.
        executor: ExecutorId,
        /// The report, with its id.
        status: Status,
    },
    /// An executor has called MESSAGE.
    Message {
        /// Which call this is.
        request: RequestId,
        /// Of which framework.
        framework: FrameworkId,
        /// Of which executor.
        executor: ExecutorId,
        /// What it says.
        data: Payload,
    },
    /// An executor's event stream is gone.
    ExecutorGone {
        /// Which one.
        connection: ConnectionId,
    },
    /// The directories of volumes that an operation has removed are out of the way.
    VolumesRemoved {
        /// Which operation.
        operation: OperationUuid,
        /// Which volumes.
        volumes: Resources,
    },
    /// The operator wants everything here ended and the agent gone for good.
    StopAsked,
}

/// What is left from before the agent was started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// What is in the store.
    pub records: Vec<Record>,
    /// The containers of these records whose processes still run.
    pub alive: Vec<ContainerId>,
    /// How others ended, as far as that is known.
    pub exited: Vec<(ContainerId, Exit)>,
    /// Whether the machine was booted in between, so that nothing can have survived.
    pub rebooted: bool,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exit {
    /// The wait status of its first process; absent if nobody knows.
    pub status: Option<i32>,
    /// The limit it broke, if that is why it was ended.
    pub limitation: Option<Limitation>,
}

/// A limit that a container broke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limitation {
    /// Which.
    pub reason: Reason,
    /// What happened, for people.
    pub message: Arc<str>,
    /// An encoded `mesos.v1.TaskStatus` with the limited resources; empty without.
    pub rest: Payload,
}

/// An executor wants events.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subscribe {
    /// Which call this is.
    pub request: RequestId,
    /// Where its events go, if the answer is yes.
    pub connection: ConnectionId,
    /// Of which framework it is.
    pub framework: FrameworkId,
    /// Which executor it is.
    pub executor: ExecutorId,
    /// Reports it has made without hearing that they were taken.
    pub unacknowledged_updates: Vec<Status>,
    /// Tasks it was given and has had no report taken of.
    pub unacknowledged_tasks: Vec<TaskId>,
}
