//! Agents: how they come, go and come back, and what they report.

use super::{FakeAgent, World, described};
use master_core::Input;
use model::capability::AgentCapability;
use model::ids::{
    AgentId, ConnectionId, ContainerId, ExecutorId, FrameworkId, TaskId, Term, UpdateId,
};
use model::link::{
    AgentDescription, FaultDomain, FromAgent, LiveExecutor, LiveTask, Register, Reregister,
};
use model::payload::Payload;
use model::resources::Resources;
use model::role::Role;
use model::task::{ExecutorSpec, RunsBy, Source, Status, TaskSpec, TaskState};
use model::version::SPOKEN;
use std::collections::BTreeMap;

/// What an agent has unless it is said otherwise.
const RESOURCES: &str = "cpus:4;mem:1024;ports:[31000-31009]";

impl FakeAgent {
    pub(super) fn start_executor(&mut self, framework: &FrameworkId, executor: ExecutorSpec) {
        let container = ContainerId::new(executor.id.as_str()).expect("an id");
        self.executors.push(LiveExecutor { framework: framework.clone(), executor, container });
    }

    /// All its executors have ended.
    pub(crate) fn end_executors(&mut self) {
        self.executors.clear();
    }
}

/// The executor of a task; of one of a group, whose is not told, one called `group`.
fn executor_of(task: &TaskSpec) -> ExecutorId {
    match &task.runs_by {
        RunsBy::Command => ExecutorId::new(task.id.as_str()).expect("an id"),
        RunsBy::Executor(executor) => executor.id.clone(),
        RunsBy::Group => ExecutorId::new("group").expect("an id"),
    }
}

impl World {
    /// An agent comes up with the usual resources.
    pub(crate) fn agent(&mut self, name: &'static str) {
        self.agent_with(name, RESOURCES);
    }

    pub(crate) fn agent_with(&mut self, name: &'static str, resources: &str) {
        self.agent_of(name, resources, |_| ());
    }

    pub(crate) fn agent_in(&mut self, name: &'static str, domain: Option<FaultDomain>) {
        self.agent_of(name, RESOURCES, |it| it.domain = domain);
    }

    /// An agent comes up that cannot do all that others can.
    pub(crate) fn agent_without(&mut self, name: &'static str, capability: AgentCapability) {
        self.agent_of(name, RESOURCES, |it| assert!(it.capabilities.remove(&capability)));
    }

    pub(crate) fn agent_speaking(&mut self, name: &'static str, version: &str) {
        self.agent_of(name, RESOURCES, |it| it.version = version.into());
    }

    /// An agent comes up where another one is, which is there no more.
    pub(crate) fn agent_in_place_of(&mut self, name: &'static str, other: &str) {
        let address = self.agents[other].description.address.clone();
        self.agent_of(name, RESOURCES, |it| it.address = address);
    }

    /// An agent speaks another version from now on.
    pub(crate) fn speak(&mut self, name: &str, version: &str) {
        let agent = self.agents.get_mut(name).expect("it was there");
        agent.description.version = version.into();
    }

    /// An agent has another address from now on.
    pub(crate) fn move_agent(&mut self, name: &str, address: &str) {
        let agent = self.agents.get_mut(name).expect("it was there");
        agent.description.address = address.into();
    }

    fn agent_of(
        &mut self,
        name: &'static str,
        resources: &str,
        change: impl FnOnce(&mut AgentDescription),
    ) {
        let connection = ConnectionId(self.number());
        let next = format!("10.0.0.{}:5051", self.agents.len() + 1).into();
        let before = self.agents.get(name).map(|agent| agent.description.address.clone());
        let mut description = AgentDescription {
            hostname: name.into(),
            address: before.unwrap_or(next),
            resources: Resources::parse(resources, &Role::any()).expect("well formed"),
            attributes: model::resources::Attributes::default(),
            domain: None,
            version: SPOKEN.into(),
            capabilities: AgentCapability::ALL.iter().copied().collect(),
            info: Payload::default(),
        };
        change(&mut description);
        let agent = FakeAgent {
            id: AgentId::new("none-yet").expect("an id"),
            connection,
            total: description.resources.clone(),
            loses_operations: false,
            operations: Vec::new(),
            executors: Vec::new(),
            description: description.clone(),
            tasks: BTreeMap::new(),
            heard: Vec::new(),
        };
        self.agents.insert(name, agent);
        self.step(Input::AgentConnected { connection });
        let total = description.resources.clone();
        self.say(name, FromAgent::Register(Box::new(Register { description, total })));
    }

    /// An agent says something on its link.
    pub(crate) fn say(&mut self, name: &str, message: FromAgent) {
        let connection = self.agents[name].connection;
        self.step(Input::FromAgent { connection, term_seen: Term(0), message });
    }

    /// An agent's link breaks.
    pub(crate) fn disconnect(&mut self, name: &str) {
        let connection = self.agents[name].connection;
        self.step(Input::AgentGone { connection });
    }

    /// An agent comes back with what it runs.
    pub(crate) fn reconnect(&mut self, name: &'static str) {
        self.reconnect_with(name, |_| ());
    }

    /// The same, with something other than what it has.
    pub(crate) fn reconnect_with(
        &mut self,
        name: &'static str,
        change: impl FnOnce(&mut Reregister),
    ) {
        let connection = ConnectionId(self.number());
        let frameworks: Vec<_> = self.frameworks.values().map(described).collect();
        let agent = self.agents.get_mut(name).expect("it was there");
        agent.connection = connection;
        let live = |(framework, spec, state): &(FrameworkId, TaskSpec, TaskState)| LiveTask {
            framework: framework.clone(),
            executor: executor_of(spec),
            spec: spec.clone(),
            state: *state,
            unacknowledged: None,
            statuses: Vec::new(),
        };
        let mut back = Reregister {
            agent: agent.id.clone(),
            description: agent.description.clone(),
            frameworks,
            executors: agent.executors.clone(),
            tasks: agent.tasks.values().map(live).collect(),
            total: agent.total.clone(),
            operations: agent.operations.clone(),
        };
        change(&mut back);
        self.step(Input::AgentConnected { connection });
        self.say(name, FromAgent::Reregister(Box::new(back)));
    }

    /// An agent reports on a task.
    pub(crate) fn report(&mut self, name: &str, task: &str, state: TaskState) {
        self.report_with(name, task, state, |_| ());
    }

    /// An agent reports more on a task than its state.
    pub(crate) fn report_with(
        &mut self,
        name: &str,
        task: &str,
        state: TaskState,
        say: impl FnOnce(&mut Status),
    ) {
        let number = self.number();
        let at = self.moment().wall;
        let agent = self.agents.get_mut(name).expect("it is there");
        let id = TaskId::new(task).expect("an id");
        let entry = agent.tasks.get_mut(&id).expect("it runs there");
        entry.2 = state;
        let framework = entry.0.clone();
        let mut status = Status::new(id, state, Source::Executor, at);
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&number.to_be_bytes());
        status.uuid = Some(UpdateId(uuid));
        say(&mut status);
        self.say(name, FromAgent::StatusUpdate { framework, status, latest: state });
    }
}
