//! The records the masters agree on, one by one, through their Raft log.

use crate::framework::Framework;
use crate::ids::{AgentId, FrameworkId, Reign, Term};
use crate::link::AgentDescription;
use crate::payload::Payload;
use crate::role::Role;
use crate::rules::{Machine, Quota, Standing, Weight, Window};
use crate::step::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// One change of the registry. Applying it is deterministic: times come with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// A leader begins its reign.
    BeginReign(ReignEntry),
    /// An agent is admitted, changed, or reachable again.
    PutAgent(AgentEntry),
    /// An agent is out of contact.
    MarkUnreachable {
        /// Which.
        agent: AgentId,
        /// Since when.
        at: Timestamp,
    },
    /// An operator declared an agent dead. Its id never comes back.
    MarkGone {
        /// Which.
        agent: AgentId,
        /// Since when.
        at: Timestamp,
    },
    /// An agent has left.
    RemoveAgent {
        /// Which.
        agent: AgentId,
        /// When.
        at: Timestamp,
    },
    /// Agents out of contact or declared dead are remembered no longer.
    ForgetAgents(Vec<AgentId>),
    /// A framework has subscribed or changed.
    PutFramework(FrameworkEntry),
    /// A framework's stream is gone: its failover time runs. It ends with its next
    /// [`Record::PutFramework`].
    MarkFrameworkAway {
        /// Which.
        framework: FrameworkId,
        /// Since when.
        at: Timestamp,
    },
    /// A framework is over.
    CompleteFramework {
        /// Which.
        framework: FrameworkId,
        /// When.
        at: Timestamp,
    },
    /// Roles have other weights; those not named keep theirs.
    SetWeights(Vec<(Role, Weight)>),
    /// Roles have other quotas; an empty one is none. Those not named keep theirs.
    SetQuotas(Vec<(Role, Quota)>),
    /// Operators have another word for an agent.
    SetStanding {
        /// Which.
        agent: AgentId,
        /// The word.
        standing: Standing,
    },
    /// Maintenance is planned; this is all of it.
    SetSchedule(Vec<Window>),
    /// Machines of the schedule leave the cluster for it, or may come back and leave the schedule.
    SetMachines {
        /// Which.
        machines: Vec<Machine>,
        /// Whether they leave.
        are_down: bool,
    },
    /// Writes to the framework store, all or none.
    StoreCommit(StoreCommit),
    /// A lease is asked for.
    LeaseAcquire(LeaseAcquire),
    /// A lease is given back.
    LeaseRelease {
        /// Whose lease.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// The token it was taken with.
        token: u64,
    },
}

/// The reign of a leader.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReignEntry {
    /// Its id.
    pub id: Reign,
    /// Its number; 0 in records of before.
    pub term: Term,
    /// When it began.
    pub at: Timestamp,
    /// Where clients reach the leader: `host:port`. Empty in records of before.
    pub address: Arc<str>,
}

/// An agent as admitted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentEntry {
    /// Its id.
    pub id: AgentId,
    /// How it described itself.
    pub description: AgentDescription,
    /// When it was first admitted.
    pub registered_at: Timestamp,
}

/// A framework as subscribed. Its `id` is set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrameworkEntry {
    /// How it described itself.
    pub framework: Framework,
    /// When it first subscribed.
    pub registered_at: Timestamp,
    /// Since when it has had no stream; absent while it has one.
    pub away_since: Option<Timestamp>,
}

/// Writes to the framework store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreCommit {
    /// Whose keys.
    pub namespace: Arc<str>,
    /// Keys with the revision of their last write; 0: must not exist.
    pub conditions: Vec<(Arc<str>, u64)>,
    /// Keys with their new value; `None` deletes.
    pub writes: Vec<(Arc<str>, Option<Payload>)>,
    /// A lease and the token it must be held by.
    pub lease: Option<(Arc<str>, u64)>,
    /// The leader's clock when it proposed this.
    pub at: Timestamp,
}

/// A lease is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseAcquire {
    /// Whose lease.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Who asks.
    pub holder: Arc<str>,
    /// For how long.
    pub ttl: Duration,
    /// What others are to know of the holder.
    pub note: Payload,
    /// The leader's clock when it proposed this.
    pub at: Timestamp,
}
