//! What there is, in numbers: without turning anything into messages.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use master_core::view::{AgentCondition, FrameworkCondition, TaskList};
use model::amount::Milli;
use model::ids::FrameworkId;
use model::resources::{Resources, Value};
use model::task::TaskState;

use super::Picture;

/// Numbers of one moment.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Agents that have registered with this leader and are not out of contact.
    pub agents: usize,
    /// Those of them whose link is up.
    pub agents_connected: usize,
    /// Those of them that take part in offers.
    pub agents_active: usize,
    /// Agents out of contact.
    pub agents_unreachable: usize,
    /// What the agents have.
    pub total: Amounts,
    /// What tasks and executors use of it.
    pub used: Amounts,
    /// Frameworks that are not over.
    pub frameworks: usize,
    /// Those of them that are subscribed.
    pub frameworks_connected: usize,
    /// As whom they have subscribed.
    pub principals: BTreeSet<Arc<str>>,
    /// Offers that stand.
    pub offers: usize,
    /// Tasks that are not over, by framework and state.
    tasks: HashMap<FrameworkId, HashMap<TaskState, usize>>,
}

impl Counts {
    /// Tasks in a state that is not the end of them.
    pub(crate) fn tasks_in(&self, state: TaskState) -> usize {
        self.tasks.values().filter_map(|of| of.get(&state)).sum()
    }

    /// The same of one framework.
    pub(crate) fn tasks_of(&self, framework: &FrameworkId, state: TaskState) -> usize {
        self.tasks.get(framework).and_then(|of| of.get(&state)).copied().unwrap_or_default()
    }

    fn add_task(&mut self, framework: &FrameworkId, state: TaskState) {
        // Most tasks are of few frameworks, whose ids need not be copied for each.
        if let Some(of) = self.tasks.get_mut(framework) {
            *of.entry(state).or_default() += 1;
        } else {
            self.tasks.insert(framework.clone(), HashMap::from([(state, 1)]));
        }
    }
}

/// Sums of scalars.
#[derive(Debug, Default)]
pub(crate) struct Amounts(HashMap<(Arc<str>, bool), Milli>);

impl Amounts {
    fn add(&mut self, resources: &Resources) {
        for (key, value) in resources.iter() {
            if let Value::Scalar(amount) = value {
                *self.0.entry((key.name.clone(), key.kind.is_revocable)).or_default() += *amount;
            }
        }
    }

    /// How much there is of a name, either of what agents may take back or of the rest.
    pub(crate) fn of(&self, name: &str, is_revocable: bool) -> f64 {
        self.0.get(&(name.into(), is_revocable)).copied().unwrap_or_default().as_f64()
    }
}

impl Picture {
    /// Counts what there is.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { offers: self.offers.len(), ..Counts::default() };
        for agent in self.agents.values() {
            let agent = &agent.model;
            match agent.condition {
                AgentCondition::Recovered => continue,
                AgentCondition::Unreachable(_) => {
                    counts.agents_unreachable += 1;
                    continue;
                }
                AgentCondition::Connected => counts.agents_connected += 1,
                AgentCondition::Disconnected => {}
            }
            counts.agents += 1;
            counts.agents_active += usize::from(agent.is_active());
            counts.total.add(&agent.total);
            counts.used.add(&agent.used);
        }
        for framework in self.frameworks.values() {
            let framework = &framework.model;
            if matches!(framework.condition, FrameworkCondition::Completed(_)) {
                continue;
            }
            counts.frameworks += 1;
            counts.frameworks_connected += usize::from(framework.is_connected());
            counts.principals.extend(framework.framework.principal.clone());
        }
        for task in self.tasks.values() {
            let task = &task.model;
            match task.list {
                TaskList::Live => counts.add_task(&task.framework, task.state),
                TaskList::Unreachable => counts.add_task(&task.framework, TaskState::Unreachable),
                TaskList::Completed => {}
            }
        }
        counts
    }
}
