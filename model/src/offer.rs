//! Offers: resources of one agent, promised to one framework until answered.

use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId};
use crate::payload::Payload;
use crate::resources::Resources;
use crate::role::Role;
use crate::rules::Unavailability;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// Its id, good for one answer.
    pub id: OfferId,
    /// To whom.
    pub framework: FrameworkId,
    /// For which of the framework's roles.
    pub role: Role,
    /// Of which agent.
    pub agent: AgentId,
    /// The agent's host name.
    pub hostname: Arc<str>,
    /// What is offered.
    pub resources: Resources,
    /// The framework's executors that are on the agent already.
    pub executors: BTreeSet<ExecutorId>,
    /// Encoded `mesos.v1.AgentInfo` of the agent: attributes, domain, port.
    pub agent_info: Payload,
    /// Where the agent is reached (`host:port`), for the offer's URL.
    pub agent_address: Arc<str>,
    /// When the agent is to be away, if that is planned.
    pub unavailability: Option<Unavailability>,
}

/// A wish that a framework leaves an agent, which is to be away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InverseOffer {
    /// Its id, good for one answer.
    pub id: OfferId,
    /// Who is asked.
    pub framework: FrameworkId,
    /// Which agent.
    pub agent: AgentId,
    /// The agent's host name.
    pub hostname: Arc<str>,
    /// Where the agent is reached (`host:port`), for the offer's URL.
    pub agent_address: Arc<str>,
    /// When it is to be away.
    pub unavailability: Unavailability,
}
