//! Agents that come up, as what they say they are.

use super::{FakeAgent, RESOURCES, World};
use master_core::Input;
use model::ids::{AgentId, ConnectionId};
use model::link::{AgentDescription, FaultDomain, FromAgent};
use model::payload::Payload;
use model::resources::Resources;
use model::role::Role;
use model::version::SPOKEN;
use std::collections::BTreeMap;

impl World {
    /// An agent comes up with the usual resources.
    pub(crate) fn agent(&mut self, name: &'static str) {
        self.agent_with(name, RESOURCES);
    }

    pub(crate) fn agent_with(&mut self, name: &'static str, resources: &str) {
        self.agent_of(name, resources, None, SPOKEN);
    }

    pub(crate) fn agent_in(&mut self, name: &'static str, domain: Option<FaultDomain>) {
        self.agent_of(name, RESOURCES, domain, SPOKEN);
    }

    pub(crate) fn agent_speaking(&mut self, name: &'static str, version: &str) {
        self.agent_of(name, RESOURCES, None, version);
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
        domain: Option<FaultDomain>,
        version: &str,
    ) {
        let connection = ConnectionId(self.number());
        let next = format!("10.0.0.{}:5051", self.agents.len() + 1).into();
        let before = self.agents.get(name).map(|agent| agent.description.address.clone());
        let description = AgentDescription {
            hostname: name.into(),
            address: before.unwrap_or(next),
            resources: Resources::parse(resources, &Role::any()).expect("well formed"),
            attributes: model::resources::Attributes::default(),
            domain,
            version: version.into(),
            info: Payload::default(),
        };
        let agent = FakeAgent {
            id: AgentId::new("none-yet").expect("an id"),
            connection,
            total: description.resources.clone(),
            loses_operations: false,
            operations: Vec::new(),
            description: description.clone(),
            tasks: BTreeMap::new(),
            heard: Vec::new(),
        };
        self.agents.insert(name, agent);
        self.step(Input::AgentConnected { connection });
        self.say(name, FromAgent::Register(description));
    }
}
