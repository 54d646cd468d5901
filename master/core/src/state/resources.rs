//! Who uses what: one place where agents, frameworks and the allocator are kept alike.

use super::{Books, Turn};
use allocator::AgentFacts;
use model::capability::AgentCapability;
use model::ids::{AgentId, FrameworkId};
use model::link::AgentDescription;
use model::resources::Resources;
use model::role::Role;

/// What the allocator is to know of an agent beside its resources.
pub(crate) fn facts(description: &AgentDescription) -> AgentFacts {
    let lacks = |capability| !description.capabilities.contains(&capability);
    AgentFacts {
        hostname: description.hostname.clone(),
        attributes: description.attributes.clone(),
        domain: description.domain.clone(),
        lacks_multi_role: lacks(AgentCapability::MultiRole),
        lacks_hierarchical_roles: lacks(AgentCapability::HierarchicalRole),
    }
}

impl Books {
    /// Books what was given by an offer as used.
    pub(crate) fn use_given(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        what: &Resources,
    ) {
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.used.entry((framework.clone(), role.clone())).or_default().add(what);
        }
        self.unpublished.agent(agent);
    }

    /// Books what was used as free again, and has it offered.
    pub(crate) fn free_used(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        what: &Resources,
        turn: &Turn<'_>,
    ) {
        if let Some(agent) = self.agents.get_mut(agent) {
            let key = (framework.clone(), role.clone());
            if let Some(used) = agent.used.get_mut(&key) {
                used.subtract(what);
                if used.is_empty() {
                    agent.used.remove(&key);
                }
            }
        }
        self.allocator.give_back(framework, role, agent, what, None, turn.now.time);
        self.unpublished.agent(agent);
    }

    /// Counts anew what is used on an agent, from its tasks and executors, and tells the allocator
    /// all of it. For agents that are back: there must be no offers of it.
    pub(crate) fn recount_agent(&mut self, id: &AgentId, turn: &Turn<'_>) {
        let agent = self.agents.get_mut(id).expect("it was just put there");
        agent.used.clear();
        for ((framework, _), executor) in &agent.executors {
            let key = (framework.clone(), executor.role.clone());
            agent.used.entry(key).or_default().add(&executor.spec.resources);
        }
        for (framework, task) in &agent.tasks {
            let task = self.frameworks.get(framework).and_then(|owner| owner.tasks.get(task));
            let task = task.expect("agents name live tasks only");
            if task.uses_resources() {
                let key = (framework.clone(), task.role.clone());
                agent.used.entry(key).or_default().add(&task.spec.resources);
            }
        }
        agent.used.retain(|_, used| !used.is_empty());
        let used = agent.used.iter();
        let used =
            used.map(|((framework, role), used)| (framework.clone(), role.clone(), used.clone()));
        let total = agent.total.clone();
        self.allocator.put_agent(id, total, used, turn.now.time);
        let description = self.agents[id].description.clone();
        self.allocator.describe_agent(id, facts(&description), turn.now.time);
        if !self.rules.standing(id).is_active() || self.agents[id].is_leaving {
            self.allocator.deactivate_agent(id);
        }
        self.unpublished.agent(id);
    }
}
