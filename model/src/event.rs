//! What frameworks hear from the master.

use crate::call::Message;
use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId};
use crate::offer::{InverseOffer, Offer};
use crate::operation::OperationStatus;
use crate::task::Status;
use std::time::Duration;

/// One event on a framework's stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SchedulerEvent {
    /// The first on every stream.
    Subscribed {
        /// The framework's id, new or as it came.
        framework: FrameworkId,
        /// How often a heartbeat comes.
        heartbeat: Duration,
    },
    /// Resources to be had.
    Offers(Vec<Offer>),
    /// An offer is taken back.
    Rescind(OfferId),
    /// Agents are to be away: will the framework leave them?
    InverseOffers(Vec<InverseOffer>),
    /// That question does not stand any more.
    RescindInverseOffer(OfferId),
    /// A task's state.
    Update(Status),
    /// How far an operation is.
    UpdateOperation(OperationStatus),
    /// Bytes from an executor.
    Message(Message),
    /// An agent is lost, or one executor on it has ended.
    Failure {
        /// The agent.
        agent: AgentId,
        /// The executor and its wait status, if it is only that.
        executor: Option<(ExecutorId, Option<i32>)>,
    },
    /// The subscription ends here, because.
    Error(String),
    /// Nothing, so that the other side knows that the stream lives.
    Heartbeat,
}
