//! The agents, and the links they are reached by.

use super::timers::Due;
use super::{Books, Turn};
use crate::note::{Note, Removal};
use crate::view::{AgentCondition, AgentView, ExecutorKey, ExecutorView, ViewChange};
use model::capability::AgentCapability;
use model::ids::{
    AgentId, ConnectionId, ContainerId, ExecutorId, FrameworkId, OfferId, OperationUuid, TaskId,
};
use model::link::{AgentDescription, ip_of};
use model::registry::AgentEntry;
use model::resources::Resources;
use model::role::Role;
use model::rules::{Standing, Unavailability};
use model::step::Timestamp;
use model::task::ExecutorSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Who is at the other end of a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    /// It has not said yet.
    Unnamed,
    /// This agent, whose record is under way.
    Admitting(AgentId),
    /// This agent.
    Agent(AgentId),
}

/// How an agent is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// Not yet, under this leader.
    Recovered,
    /// By its link.
    Connected(ConnectionId),
    /// Not any more; it may come back.
    Disconnected,
}

/// An executor that lives on an agent.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) spec: Arc<ExecutorSpec>,
    pub(crate) role: Role,
    pub(crate) container: Option<ContainerId>,
}

/// An agent that is admitted and not out of contact.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) description: Arc<AgentDescription>,
    /// All it has, with what operations have made of it.
    pub(crate) total: Resources,
    pub(crate) registered_at: Timestamp,
    pub(crate) reregistered_at: Option<Timestamp>,
    pub(crate) reach: Reach,
    /// Whether a record that ends its membership is under way.
    pub(crate) is_leaving: bool,
    /// Why it is removed, where that was decided under this leader.
    pub(crate) removal: Option<Removal>,
    /// What tasks and executors use, by framework and role.
    pub(crate) used: BTreeMap<(FrameworkId, Role), Resources>,
    pub(crate) offered: Resources,
    pub(crate) offers: BTreeSet<OfferId>,
    pub(crate) executors: BTreeMap<(FrameworkId, ExecutorId), Executor>,
    pub(crate) tasks: BTreeSet<(FrameworkId, TaskId)>,
    pub(crate) operations: BTreeSet<OperationUuid>,
    /// Kills asked for, to be repeated when it comes back, with their grace periods.
    pub(crate) kills: BTreeMap<(FrameworkId, TaskId), Option<Duration>>,
    pub(crate) pings_unanswered: u32,
    /// When it is to be away, as its offers say.
    pub(crate) unavailability: Option<Unavailability>,
    /// Whether the record that it is emptied is under way.
    pub(crate) is_settling: bool,
}

impl Agent {
    pub(crate) fn new(entry: &AgentEntry, reach: Reach) -> Self {
        Self {
            id: entry.id.clone(),
            description: Arc::new(entry.description.clone()),
            total: entry.description.resources.clone(),
            registered_at: entry.registered_at,
            reregistered_at: None,
            reach,
            is_leaving: false,
            removal: None,
            used: BTreeMap::new(),
            offered: Resources::none(),
            offers: BTreeSet::new(),
            executors: BTreeMap::new(),
            tasks: BTreeSet::new(),
            operations: BTreeSet::new(),
            kills: BTreeMap::new(),
            pings_unanswered: 0,
            unavailability: None,
            is_settling: false,
        }
    }

    /// The host it runs on: name and address.
    pub(crate) fn host(&self) -> (&str, &str) {
        (&self.description.hostname, ip_of(&self.description.address))
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.reach {
            Reach::Connected(connection) => Some(connection),
            Reach::Recovered | Reach::Disconnected => None,
        }
    }

    pub(crate) fn view(&self, condition: AgentCondition, standing: Standing) -> AgentView {
        let mut used = Resources::none();
        for some in self.used.values() {
            used.add(some);
        }
        // Used by several or by one: of what is shared there is one.
        let shared = self.total.filtered(|key, _| key.kind.is_shared && used.has(key));
        used = used.exclusive().plus(&shared);
        AgentView {
            id: self.id.clone(),
            condition,
            standing,
            description: self.description.clone(),
            total: self.total.clone(),
            registered_at: self.registered_at,
            reregistered_at: self.reregistered_at,
            used,
            used_by: self.used.clone(),
            offered: self.offered.clone(),
        }
    }

    pub(crate) fn condition(&self) -> AgentCondition {
        match self.reach {
            Reach::Recovered => AgentCondition::Recovered,
            Reach::Connected(_) => AgentCondition::Connected,
            Reach::Disconnected => AgentCondition::Disconnected,
        }
    }

    /// Whether it can do what is asked of it; `what` that is, the text says that it cannot.
    pub(crate) fn check_can(&self, capability: AgentCapability, what: &str) -> Result<(), String> {
        if self.description.capabilities.contains(&capability) {
            return Ok(());
        }
        let (id, name) = (&self.id, capability.name());
        Err(format!("Agent {id} cannot {what}: it has not the capability {name}"))
    }

    /// The executors of a framework that live here.
    pub(crate) fn executors_of(&self, framework: &FrameworkId) -> BTreeSet<ExecutorId> {
        let all = self.executors.keys();
        all.filter(|(owner, _)| owner == framework).map(|(_, id)| id.clone()).collect()
    }
}

impl Books {
    /// An agent of the books, as readers see it.
    pub(crate) fn agent_view(&self, agent: &Agent) -> AgentView {
        agent.view(agent.condition(), self.rules.standing(&agent.id))
    }

    /// Puts an agent in the books.
    pub(crate) fn insert_agent(&mut self, mut agent: Agent) {
        agent.unavailability = self.unavailability_of(&agent.description);
        self.agents_by_address.insert(agent.description.address.clone(), agent.id.clone());
        self.unpublished.agent(&agent.id);
        self.agents.insert(agent.id.clone(), agent);
    }

    /// A record that ends the agent's membership is about to be proposed, in the case of a removal for this
    /// reason: until it is decided on nothing of the agent is offered. False if one is under way already, or
    /// the agent is not in the books.
    pub(crate) fn begin_leaving(
        &mut self,
        id: &AgentId,
        removal: Option<Removal>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(agent) = self.agents.get_mut(id).filter(|agent| !agent.is_leaving) else {
            return false;
        };
        agent.is_leaving = true;
        agent.removal = removal;
        self.allocator.deactivate_agent(id);
        self.rescind_offers_on(id, turn);
        true
    }

    /// Takes an agent out of the books. What is on it must have been dealt with.
    pub(crate) fn remove_agent(&mut self, id: &AgentId) -> Option<Agent> {
        let agent = self.agents.remove(id)?;
        if self.agents_by_address.get(&agent.description.address) == Some(id) {
            self.agents_by_address.remove(&agent.description.address);
        }
        self.timers.cancel(&Due::Ping(id.clone()));
        self.timers.cancel(&Due::AgentReturn(id.clone()));
        self.recovery.settle(id);
        self.forget_inverse_answers(|agent, _| agent == id);
        self.allocator.remove_agent(id);
        Some(agent)
    }

    /// An agent is reached by a link from now on: it is pinged, and offered.
    pub(crate) fn connect_agent(
        &mut self,
        id: &AgentId,
        connection: ConnectionId,
        turn: &Turn<'_>,
    ) {
        let agent = self.agents.get_mut(id).expect("it was just put there");
        agent.reach = Reach::Connected(connection);
        agent.pings_unanswered = 0;
        self.links.insert(connection, Link::Agent(id.clone()));
        self.timers.cancel(&Due::AgentReturn(id.clone()));
        self.recovery.settle(id);
        let ping_at = turn.now.time + self.config.agent_ping_timeout;
        self.timers.set(Due::Ping(id.clone()), ping_at);
        self.unpublished.agent(id);
    }

    /// Puts an executor in the books, without booking what it uses.
    pub(crate) fn insert_executor(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        executor: Executor,
        turn: &mut Turn<'_>,
    ) {
        let id = executor.spec.id.clone();
        let view = ExecutorView {
            key: executor_key(agent, framework, &id),
            spec: executor.spec.clone(),
            role: executor.role.clone(),
            container: executor.container.clone(),
        };
        turn.view(ViewChange::PutExecutor(Arc::new(view)));
        let agent = self.agents.get_mut(agent).expect("executors are put on known agents");
        agent.executors.insert((framework.clone(), id), executor);
    }

    /// Takes an executor out of the books, without freeing what it used.
    pub(crate) fn remove_executor(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        id: &ExecutorId,
        turn: &mut Turn<'_>,
    ) -> Option<Executor> {
        let executors = &mut self.agents.get_mut(agent)?.executors;
        let executor = executors.remove(&(framework.clone(), id.clone()))?;
        turn.view(ViewChange::RemoveExecutor(executor_key(agent, framework, id)));
        turn.note(Note::ExecutorRemoved {
            framework: framework.clone(),
            agent: agent.clone(),
            executor: id.clone(),
        });
        Some(executor)
    }

    /// Takes an executor out of the books and frees what it used.
    pub(crate) fn end_executor(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        id: &ExecutorId,
        turn: &mut Turn<'_>,
    ) {
        if let Some(executor) = self.remove_executor(agent, framework, id, turn) {
            let resources = &executor.spec.resources;
            self.free_used(framework, &executor.role, agent, resources, turn);
        }
    }
}

fn executor_key(agent: &AgentId, framework: &FrameworkId, executor: &ExecutorId) -> ExecutorKey {
    ExecutorKey { agent: agent.clone(), framework: framework.clone(), executor: executor.clone() }
}
