//! What frameworks ask of the master.

use crate::constraints::Constraints;
use crate::framework::Framework;
use crate::ids::{AgentId, ExecutorId, OfferId, OperationId, TaskId, UpdateId};
use crate::operation::Conversion;
use crate::payload::Payload;
use crate::role::Role;
use crate::task::{ExecutorSpec, InvalidTask, TaskSpec};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a decline holds when the framework does not say (`Filters.refuse_seconds`).
pub const REFUSE_FOR_DEFAULT: Duration = Duration::from_secs(5);

/// The longest a decline can hold: longer ones are cut, as Mesos does.
pub const REFUSE_FOR_MAX: Duration = Duration::from_secs(365 * 86_400);

/// A framework's wish to be offered resources and to hear of its tasks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subscribe {
    /// Who it is. `id` is absent the first time.
    pub framework: Framework,
    /// Roles it wants no offers for at first, as given: whether all are its own is checked in its turn.
    pub suppressed: BTreeSet<Arc<str>>,
    /// Which agents it wants offers of, for roles for which it is not any; an error says why that means
    /// nothing, which is told in its turn.
    pub constraints: Result<Constraints, String>,
}

/// One call of a subscribed framework. SUBSCRIBE and TEARDOWN stand apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Call {
    /// Use offers.
    Accept(Accept),
    /// Give offers back.
    Decline(Decline),
    /// Say whether agents that are to be away will be left.
    AnswerInverseOffers(AnswerInverseOffers),
    /// Offer to these roles again and forget their filters; none means all.
    Revive(BTreeSet<Role>),
    /// Stop offering to these roles; none means all.
    Suppress(BTreeSet<Role>),
    /// End a task.
    Kill(Kill),
    /// End an executor.
    Shutdown(Shutdown),
    /// A status update has been kept; the next may come.
    Acknowledge(Acknowledge),
    /// A report of an operation has been kept.
    AcknowledgeOperation(AcknowledgeOperation),
    /// Say the truth about these tasks; none means all that are live.
    Reconcile(Vec<ReconcileTask>),
    /// Say the truth about these operations; none means all that are known.
    ReconcileOperations(Vec<ReconcileOperation>),
    /// Hand bytes to an executor. May get lost.
    Message(Message),
    /// Describe the framework anew; why that means nothing, if it does.
    UpdateFramework(Box<Result<Subscribe, String>>),
    /// End the framework and all it runs.
    Teardown,
    /// Understood and answered, without any effect here (`REQUEST`).
    Request,
}

/// Use offers, all of one agent and one role.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accept {
    /// The offers, as given: empty, repeated or dead ones are refused by updates, not by status.
    pub offers: Vec<Arc<str>>,
    /// What to do with them, in order.
    pub operations: Vec<Operation>,
    /// For how long what is left over is not to be offered again. Zero: no filter.
    pub refuse_for: Duration,
}

/// What is done with offered resources.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Launch tasks, each by itself.
    Launch(Vec<Result<TaskSpec, InvalidTask>>),
    /// Launch tasks on one executor, all or none.
    LaunchGroup {
        /// The executor they share.
        executor: Result<ExecutorSpec, String>,
        /// The tasks.
        tasks: Vec<Result<TaskSpec, InvalidTask>>,
    },
    /// Make resources of one kind of those of another.
    Convert {
        /// Its id, if the framework wants to hear of it.
        id: Option<OperationId>,
        /// The role that its resources say they were offered for; absent where they do not say.
        role: Option<Role>,
        /// What is to be made of what; an error says why that means nothing.
        conversion: Result<Conversion, String>,
    },
    /// An operation that this master does not carry out.
    Unsupported {
        /// Its name on the wire, such as `RESERVE`.
        kind: Arc<str>,
        /// Its id, if the framework wants to hear of it.
        id: Option<OperationId>,
    },
}

/// Give offers back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decline {
    /// Which. Unknown ones are ignored.
    pub offers: BTreeSet<OfferId>,
    /// For how long they are not to be offered again. Zero: no filter.
    pub refuse_for: Duration,
}

/// Say whether agents that are to be away will be left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnswerInverseOffers {
    /// The questions. Unknown ones are ignored.
    pub offers: BTreeSet<OfferId>,
    /// Whether they will.
    pub accepts: bool,
    /// For how long it is not to be asked again. Zero: at once.
    pub refuse_for: Duration,
}

/// End a task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kill {
    /// Which.
    pub task: TaskId,
    /// Where the framework believes it to be.
    pub agent: Option<AgentId>,
    /// How long it may take; absent: as the task says, else the default.
    pub grace: Option<Duration>,
}

/// End an executor and all its tasks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shutdown {
    /// Which.
    pub executor: ExecutorId,
    /// On which agent.
    pub agent: AgentId,
}

/// A status update has been kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acknowledge {
    /// Of which agent it came.
    pub agent: AgentId,
    /// Of which task.
    pub task: TaskId,
    /// Which update.
    pub uuid: UpdateId,
}

/// A report of an operation has been kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcknowledgeOperation {
    /// Of which agent it came.
    pub agent: AgentId,
    /// Of which operation.
    pub operation: OperationId,
    /// Which report.
    pub uuid: UpdateId,
}

/// An operation whose truth is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReconcileOperation {
    /// Which.
    pub operation: OperationId,
    /// Where the framework believes it to be.
    pub agent: Option<AgentId>,
}

/// A task whose truth is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReconcileTask {
    /// Which.
    pub task: TaskId,
    /// Where the framework believes it to be.
    pub agent: Option<AgentId>,
}

/// Bytes for an executor, or from one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// On which agent.
    pub agent: AgentId,
    /// Which executor.
    pub executor: ExecutorId,
    /// What.
    pub data: Payload,
}
