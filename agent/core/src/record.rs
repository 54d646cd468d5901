//! What an agent keeps on disk.
//!
//! Each record stands under a [`Key`]; a later one under the same key replaces it. So the store
//! holds what is true and nothing else, and reading all of it brings the agent back.

use model::framework::Framework;
use model::ids::{
    AgentId, ContainerId, ExecutorId, FrameworkId, OperationUuid, TaskId, Term, UpdateId,
};
use model::link::{AgentDescription, LiveOperation};
use model::resources::Resources;
use model::rules::Drain;
use model::step::Timestamp;
use model::task::{ExecutorSpec, Status, TaskSpec, TaskState};
use std::collections::VecDeque;
use std::sync::Arc;

/// One thing to remember, or to forget.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// Who the agent is.
    Identity(Identity),
    /// What it is, as its flags say.
    Described(AgentDescription),
    /// A framework that has something here.
    Framework(Framework),
    /// An executor that was started or is about to be.
    Executor(ExecutorRecord),
    /// A task that was accepted.
    Task(TaskRecord),
    /// What was reported of a task.
    Updates(UpdatesRecord),
    /// Where the masters are: `host:port` each.
    Masters(Vec<Arc<str>>),
    /// The agent is being emptied.
    Drain(Drain),
    /// What operations have made of what flags say.
    Made(Resources),
    /// An operation whose report is not acknowledged.
    Operation(LiveOperation),
    /// Volumes whose directories are still to be removed.
    Doomed(DoomedVolumes),
    /// Nothing stands under this key any more.
    Forget(Key),
}

/// What records are kept under.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Key {
    /// The agent's identity.
    Identity,
    /// What the agent is.
    Described,
    /// A framework.
    Framework(FrameworkId),
    /// An executor.
    Executor(FrameworkId, ExecutorId),
    /// A task.
    Task(FrameworkId, TaskId),
    /// The reports of a task.
    Updates(FrameworkId, TaskId),
    /// Where the masters are.
    Masters,
    /// How the agent is being emptied.
    Drain,
    /// What operations have made of what flags say.
    Made,
    /// An operation.
    Operation(OperationUuid),
    /// The volumes that an operation has removed.
    Doomed(OperationUuid),
}

/// Who the agent is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The id a master gave it.
    pub agent: AgentId,
    /// The highest term it has obeyed.
    pub term: Term,
}

/// An executor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExecutorRecord {
    /// Whose it is.
    pub framework: FrameworkId,
    /// What it is.
    pub spec: ExecutorSpec,
    /// Its container.
    pub container: ContainerId,
    /// Whether it is a command task's own.
    pub is_command: bool,
    /// Whether it has ever subscribed: if so, it was given its tasks.
    pub has_subscribed: bool,
}

/// A task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TaskRecord {
    /// Whose it is.
    pub framework: FrameworkId,
    /// Which executor has it.
    pub executor: ExecutorId,
    /// The task.
    pub spec: TaskSpec,
    /// The group it was launched with, counted per executor; absent if it was launched alone.
    pub group: Option<u32>,
    /// When it was accepted here.
    pub accepted_at: Timestamp,
}

/// Volumes that an operation has removed, and whose directories may still be there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DoomedVolumes {
    /// Which operation.
    pub operation: OperationUuid,
    /// Which volumes.
    pub volumes: Resources,
}

/// The reports of one task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpdatesRecord {
    /// Whose task.
    pub framework: FrameworkId,
    /// Which.
    pub task: TaskId,
    /// The latest state.
    pub latest: TaskState,
    /// The latest report of each state, in the order they came.
    pub statuses: Vec<Status>,
    /// Reports that are not acknowledged, oldest first.
    pub pending: VecDeque<Status>,
    /// Ids of the last reports that came, to know a repeated one by.
    pub seen: VecDeque<UpdateId>,
}

impl Record {
    /// What it is kept under, or what is to be removed.
    pub fn key(&self) -> Key {
        match self {
            Self::Identity(_) => Key::Identity,
            Self::Described(_) => Key::Described,
            Self::Framework(framework) => {
                let id = framework.id.clone().expect("frameworks have their id when they get here");
                Key::Framework(id)
            }
            Self::Executor(executor) => {
                Key::Executor(executor.framework.clone(), executor.spec.id.clone())
            }
            Self::Task(task) => Key::Task(task.framework.clone(), task.spec.id.clone()),
            Self::Updates(updates) => Key::Updates(updates.framework.clone(), updates.task.clone()),
            Self::Masters(_) => Key::Masters,
            Self::Drain(_) => Key::Drain,
            Self::Made(_) => Key::Made,
            Self::Operation(it) => Key::Operation(it.operation.uuid),
            Self::Doomed(it) => Key::Doomed(it.operation),
            Self::Forget(key) => key.clone(),
        }
    }

    /// What the agent is, if that is what this says.
    pub fn described(&self) -> Option<&AgentDescription> {
        if let Self::Described(description) = self { Some(description) } else { None }
    }

    /// The executor, if this is one.
    pub fn executor(&self) -> Option<&ExecutorRecord> {
        if let Self::Executor(executor) = self { Some(executor) } else { None }
    }

    /// What operations have made, if that is what this says.
    pub fn made(&self) -> Option<&Resources> {
        if let Self::Made(made) = self { Some(made) } else { None }
    }

    /// Volumes whose directories may still be there, if that is what this says.
    pub fn doomed(&self) -> Option<&DoomedVolumes> {
        if let Self::Doomed(doomed) = self { Some(doomed) } else { None }
    }

    /// Whether this removes what stands under its key.
    pub fn is_forget(&self) -> bool {
        matches!(self, Self::Forget(_))
    }
}
