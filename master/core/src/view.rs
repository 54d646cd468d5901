//! What readers see: entries of their own, each replaced whole when it changes.
//!
//! The driver keeps them in maps that any thread may read, so that no query waits in the core's
//! line. Entries are published at the end of each turn, at most once each.
//!
//! Payloads (`info`) are as the framework or agent sent them. Where an entry and a payload both have
//! a field, the entry holds: above all ids, which the master gave out after the payload was written.

use crate::registry::Rules;
use crate::state::resources::facts;
use allocator::{AgentFacts, OfferConstraints};
use model::constraints::Constraints;
use model::framework::Framework;
use model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, OperationUuid, TaskId};
use model::link::AgentDescription;
use model::offer::{InverseOffer, Offer};
use model::operation::{Operation, OperationStatus};
use model::resources::Resources;
use model::role::Role;
use model::rules::Standing;
use model::step::Timestamp;
use model::task::{ExecutorSpec, Status, TaskSpec, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One change of what readers see.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewChange {
    /// Forget everything: a reign begins or ends.
    Clear,
    /// An agent is there or has changed.
    PutAgent(Arc<AgentView>),
    /// An agent is not there any more.
    RemoveAgent(AgentId),
    /// A framework is there or has changed.
    PutFramework(Arc<FrameworkView>),
    /// A framework is not there any more, not even among the completed.
    RemoveFramework(FrameworkId),
    /// A task is there or has changed.
    PutTask(Arc<TaskView>),
    /// A task is not there any more, not even among the completed.
    RemoveTask(TaskKey),
    /// An executor is there or has changed.
    PutExecutor(Arc<ExecutorView>),
    /// An executor is not there any more.
    RemoveExecutor(ExecutorKey),
    /// An offer is open.
    PutOffer(Arc<Offer>),
    /// An offer is answered or taken back.
    RemoveOffer(OfferId),
    /// A framework is asked to leave an agent.
    PutInverseOffer(Arc<InverseOffer>),
    /// It has answered, or is not asked any more.
    RemoveInverseOffer(OfferId),
    /// An operation is there or has changed.
    PutOperation(Arc<OperationView>),
    /// An operation is not there any more.
    RemoveOperation(OperationUuid),
    /// Operators have decided something: this is all of it.
    SetRules(Arc<Rules>),
    /// What frameworks have answered that were asked to leave agents: all of it.
    SetInverseAnswers(Arc<Vec<InverseAnswer>>),
}

/// What a framework has answered that was asked to leave an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InverseAnswer {
    /// The agent.
    pub agent: AgentId,
    /// The framework.
    pub framework: FrameworkId,
    /// Whether it will leave.
    pub accepts: bool,
    /// When it said so.
    pub at: Timestamp,
}

/// One task in the view. Ids of tasks can come again once the first is over; this never does, and
/// grows with each task the master hears of.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TaskKey(pub u64);

/// One executor in the view.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExecutorKey {
    /// On which agent.
    pub agent: AgentId,
    /// Of which framework.
    pub framework: FrameworkId,
    /// Its id.
    pub executor: ExecutorId,
}

/// How an agent stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AgentCondition {
    /// Admitted under an earlier leader and not back yet.
    Recovered,
    /// Registered; its link is up.
    Connected,
    /// Registered; its link is down.
    Disconnected,
    /// Out of contact, since when.
    Unreachable(Timestamp),
}

/// An agent, as readers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentView {
    /// Its id.
    pub id: AgentId,
    /// How it stands.
    pub condition: AgentCondition,
    /// What operators have said of it.
    pub standing: Standing,
    /// How it described itself.
    pub description: Arc<AgentDescription>,
    /// All it has, with what operations have made of it.
    pub total: Resources,
    /// When it was first admitted.
    pub registered_at: Timestamp,
    /// When it last came back; absent if it never did.
    pub reregistered_at: Option<Timestamp>,
    /// What tasks and executors use there. Of what is shared there is one, whoever uses it.
    pub used: Resources,
    /// The same by who has it for which role. What is shared is there once for each that uses it.
    pub used_by: BTreeMap<(FrameworkId, Role), Resources>,
    /// What is in open offers.
    pub offered: Resources,
}

impl AgentView {
    /// Whether it takes part in offers (`active`).
    pub fn is_active(&self) -> bool {
        self.condition == AgentCondition::Connected && self.standing.is_active()
    }
}

/// What offer constraints may ask of an agent.
#[derive(Debug)]
pub struct AskedOf(AgentFacts);

impl AgentView {
    /// What offer constraints may ask of it. Many can then ask.
    pub fn asked(&self) -> AskedOf {
        AskedOf(facts(&self.description))
    }
}

/// The agents that a framework's offer constraints let through, by role.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentFilter(pub(crate) Arc<BTreeMap<Role, OfferConstraints>>);

impl AgentFilter {
    /// Whether it keeps an agent from the role.
    pub fn excludes(&self, role: &Role, agent: &AskedOf) -> bool {
        self.0.get(role).is_some_and(|wanted| !wanted.are_met_by(&agent.0))
    }
}

/// How a framework stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameworkCondition {
    /// Known from the registry or from agents, and not back yet under this leader.
    Recovered,
    /// Subscribed.
    Connected,
    /// Its stream has ended and its failover time runs.
    Disconnected,
    /// Over, since when.
    Completed(Timestamp),
}

/// A framework, as readers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameworkView {
    /// Its id.
    pub id: FrameworkId,
    /// How it stands.
    pub condition: FrameworkCondition,
    /// How it described itself.
    pub framework: Arc<Framework>,
    /// Which agents it wants offers of, for those of its roles for which it is not any.
    pub constraints: Arc<Constraints>,
    /// The same, to be asked.
    pub filter: AgentFilter,
    /// Roles that it wants no offers for.
    pub suppressed: Arc<BTreeSet<Role>>,
    /// When it first subscribed.
    pub registered_at: Timestamp,
    /// When it last subscribed again; absent if it never did.
    pub reregistered_at: Option<Timestamp>,
}

impl FrameworkView {
    /// Whether its stream is up (`connected`, and so `active`).
    pub fn is_connected(&self) -> bool {
        self.condition == FrameworkCondition::Connected
    }

    /// Whether it has not come back since the leader changed (`recovered`).
    pub fn is_recovered(&self) -> bool {
        self.condition == FrameworkCondition::Recovered
    }
}

/// In which of a framework's lists a task stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TaskList {
    /// `tasks`: it runs, or its end is not acknowledged.
    Live,
    /// `unreachable_tasks`.
    Unreachable,
    /// `completed_tasks`.
    Completed,
}

/// A task, as readers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// What it is kept by.
    pub key: TaskKey,
    /// In which list it stands.
    pub list: TaskList,
    /// Of which framework.
    pub framework: FrameworkId,
    /// The task.
    pub spec: Arc<TaskSpec>,
    /// Which executor has it; absent for a command task.
    pub executor: Option<ExecutorId>,
    /// As whom it runs: the user that its command names, or else its executor's. Absent: its framework's.
    pub user: Option<Arc<str>>,
    /// On which agent.
    pub agent: AgentId,
    /// For which role its resources were offered.
    pub role: Role,
    /// The latest state known.
    pub state: TaskState,
    /// The reports so far, oldest first; of equal ones in a row, the last.
    pub statuses: Vec<Status>,
}

impl TaskView {
    /// Its id.
    pub fn id(&self) -> &TaskId {
        &self.spec.id
    }
}

/// An operation on resources, as readers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationView {
    /// What it is.
    pub operation: Arc<Operation>,
    /// On which agent.
    pub agent: AgentId,
    /// How far it is.
    pub status: OperationStatus,
}

/// An executor, as readers see it. Command tasks have none here.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutorView {
    /// What it is kept by.
    pub key: ExecutorKey,
    /// The executor.
    pub spec: Arc<ExecutorSpec>,
    /// For which role its resources were offered.
    pub role: Role,
    /// Its container, once the agent has told.
    pub container: Option<ContainerId>,
}
