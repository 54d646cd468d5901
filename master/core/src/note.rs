//! What happened, for whoever watches. The name of a note is its log line, its counter and, where
//! the operator API has one, its event.

use crate::view::{AgentView, FrameworkView, TaskView};
use model::ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId, Term};
use model::operation::{Operation, OperationState};
use model::task::{Reason, Status, TaskState};
use std::sync::Arc;
use std::time::Duration;

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A reign began here.
    ReignBegan {
        /// Its term.
        term: Term,
        /// Agents that are to come back.
        agents: usize,
        /// Frameworks that are to come back.
        frameworks: usize,
    },
    /// The reign is over.
    ReignEnded,
    /// Weights were given by flags and are not used: others were set at run time.
    WeightsIgnored,
    /// A framework is here that was not (`FRAMEWORK_ADDED`).
    FrameworkAdded(Arc<FrameworkView>),
    /// A framework is back, or has changed (`FRAMEWORK_UPDATED`).
    FrameworkUpdated(Arc<FrameworkView>),
    /// A framework's stream has ended.
    FrameworkDisconnected(FrameworkId),
    /// A framework is over (`FRAMEWORK_REMOVED`).
    FrameworkRemoved(Arc<FrameworkView>),
    /// A subscription was turned down by an event.
    SubscribeRefused {
        /// What the framework was told.
        why: String,
    },
    /// An agent is here that was not (`AGENT_ADDED`).
    AgentAdded(Arc<AgentView>),
    /// An agent that was here all the time has a new link.
    AgentReregistered(AgentId),
    /// An agent's link has ended.
    AgentDisconnected(AgentId),
    /// An agent is out of contact.
    AgentUnreachable {
        /// Which.
        agent: AgentId,
        /// Whether it was here under this leader: else it did not come back after an earlier one.
        was_here: bool,
    },
    /// Frameworks that take "out of contact" for "lost" have been told of an agent.
    AgentGivenUp(AgentId),
    /// An agent came back before such frameworks were told of it.
    AgentBackInTime(AgentId),
    /// Former agents are remembered no longer.
    AgentsForgotten {
        /// How many.
        count: usize,
    },
    /// An agent is gone for good (`AGENT_REMOVED`).
    AgentRemoved {
        /// Which.
        agent: AgentId,
        /// Why; absent if it was decided under an earlier leader.
        why: Option<Removal>,
    },
    /// An agent was not let in.
    AgentRefused {
        /// The agent, if it said.
        agent: Option<AgentId>,
        /// What it was told.
        why: String,
    },
    /// A task is here that was not (`TASK_ADDED`).
    TaskAdded(Arc<TaskView>),
    /// A task has a new state (`TASK_UPDATED`).
    TaskUpdated {
        /// Of which framework.
        framework: FrameworkId,
        /// The report.
        status: Status,
        /// The latest state known, which may be later than the report's.
        latest: TaskState,
    },
    /// An executor has ended.
    ExecutorRemoved {
        /// Of which framework.
        framework: FrameworkId,
        /// On which agent.
        agent: AgentId,
        /// Which.
        executor: ExecutorId,
    },
    /// Offers went out to a framework.
    OffersSent {
        /// To whom.
        framework: FrameworkId,
        /// How many.
        count: usize,
    },
    /// An offer was taken back.
    OfferRescinded(OfferId),
    /// A framework asked for what could not be done and is not told so.
    CallDropped {
        /// Who asked.
        framework: FrameworkId,
        /// The call's name on the wire.
        call: &'static str,
        /// Why nothing was done.
        why: String,
    },
    /// A task was not launched; its framework is told by an update.
    TaskRefused {
        /// Of which framework.
        framework: FrameworkId,
        /// The task's id as it was given.
        task: TaskId,
        /// The state its framework is told.
        state: TaskState,
        /// In a word.
        reason: Reason,
        /// Why.
        why: String,
    },
    /// An operation on resources is done, or is not going to be.
    OperationUpdated {
        /// Which.
        operation: Arc<Operation>,
        /// On which agent.
        agent: AgentId,
        /// How far it is.
        state: OperationState,
    },
    /// Something was passed on between a framework and an agent.
    Relayed {
        /// What.
        what: Relayed,
        /// Of or for which framework; absent for an operation of an operator.
        framework: Option<FrameworkId>,
    },
    /// An agent said what cannot be handled and is not told so.
    AgentMessageDropped {
        /// Which agent, if it is known.
        agent: Option<AgentId>,
        /// What it would have been passed on as, if it would have been.
        what: Option<Relayed>,
        /// Why nothing was done.
        why: String,
    },
    /// The allocator has looked for what can be offered.
    AllocationRan {
        /// How long what led to it had waited.
        waited: Duration,
        /// How many offers came of it.
        offers: usize,
    },
}

/// Why an agent is removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// It said that it goes for good.
    Unregistered,
    /// Another one registered from its address.
    Replaced,
    /// An operator declared it dead, or its machine went into maintenance.
    Decided,
}

/// What the master passes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relayed {
    /// An agent's report of a task.
    Update,
    /// A framework's word that it has kept one.
    Acknowledgement,
    /// Bytes of a framework for an executor.
    ToExecutor,
    /// Bytes of an executor for a framework.
    ToScheduler,
    /// An agent's report of an operation.
    OperationUpdate,
    /// A framework's word that it has kept one.
    OperationAcknowledgement,
}

impl Note {
    /// What the note is called in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReignBegan { .. } => "reign_began",
            Self::ReignEnded => "reign_ended",
            Self::WeightsIgnored => "weights_ignored",
            Self::FrameworkAdded(_) => "framework_added",
            Self::FrameworkUpdated(_) => "framework_updated",
            Self::FrameworkDisconnected(_) => "framework_disconnected",
            Self::FrameworkRemoved(_) => "framework_removed",
            Self::SubscribeRefused { .. } => "subscribe_refused",
            Self::AgentAdded(_) => "agent_added",
            Self::AgentReregistered(_) => "agent_reregistered",
            Self::AgentDisconnected(_) => "agent_disconnected",
            Self::AgentUnreachable { .. } => "agent_unreachable",
            Self::AgentGivenUp(_) => "agent_given_up",
            Self::AgentBackInTime(_) => "agent_back_in_time",
            Self::AgentsForgotten { .. } => "agents_forgotten",
            Self::AgentRemoved { .. } => "agent_removed",
            Self::AgentRefused { .. } => "agent_refused",
            Self::TaskAdded(_) => "task_added",
            Self::TaskUpdated { .. } => "task_updated",
            Self::ExecutorRemoved { .. } => "executor_removed",
            Self::OffersSent { .. } => "offers_sent",
            Self::OfferRescinded(_) => "offer_rescinded",
            Self::CallDropped { .. } => "call_dropped",
            Self::TaskRefused { .. } => "task_refused",
            Self::OperationUpdated { .. } => "operation_updated",
            Self::Relayed { .. } => "relayed",
            Self::AgentMessageDropped { .. } => "agent_message_dropped",
            Self::AllocationRan { .. } => "allocation_ran",
        }
    }
}
