//! What operators ask of the master that changes something.

use crate::ids::{AgentId, FrameworkId};
use crate::operation::Conversion;
use crate::role::Role;
use crate::rules::{Drain, Machine, Quota, Weight, Window};

/// A change that an operator asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OperatorCall {
    /// End a framework and all it runs.
    TeardownFramework(FrameworkId),
    /// Declare an agent dead.
    MarkAgentGone(AgentId),
    /// Give roles other weights. The others keep theirs.
    UpdateWeights(Vec<(Role, Weight)>),
    /// Give roles other quotas; an empty one is none.
    UpdateQuota {
        /// Each replaces all that the role had.
        quotas: Vec<(Role, Quota)>,
        /// Whether it is done even if it cannot be kept at the moment.
        force: bool,
    },
    /// Give a role that has no quota one, in the old form.
    SetQuota {
        /// The role.
        role: Role,
        /// What it gets.
        quota: Quota,
        /// Whether it is done even if it cannot be kept at the moment.
        force: bool,
    },
    /// Take a role's quota away, in the old form.
    RemoveQuota(Role),
    /// Offer nothing of an agent; what runs there goes on.
    DeactivateAgent(AgentId),
    /// Offer an agent again that was deactivated or drained.
    ReactivateAgent(AgentId),
    /// End all that runs on an agent, and offer nothing of it.
    DrainAgent {
        /// Which.
        agent: AgentId,
        /// How.
        drain: Drain,
    },
    /// Make resources of one kind of those of another, on one agent.
    Convert {
        /// Which.
        agent: AgentId,
        /// What is to be made of what.
        conversion: Conversion,
    },
    /// Plan maintenance. This is all there is from now on.
    UpdateSchedule(Vec<Window>),
    /// Maintenance begins: the machines leave the cluster.
    StartMaintenance(Vec<Machine>),
    /// Maintenance is over: the machines may come back.
    StopMaintenance(Vec<Machine>),
}
