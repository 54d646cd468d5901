//! What there is at one moment, and how it is read.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use imbl::OrdMap;
use master_core::registry::Rules;
use master_core::view::{
    AgentCondition, AgentView, ExecutorKey, ExecutorView, FrameworkCondition, FrameworkView,
    InverseAnswer, OperationView, TaskKey, TaskList, TaskView, ViewChange,
};
use model::ids::{AgentId, FrameworkId, OfferId, OperationUuid};
use model::offer::{InverseOffer, Offer};
use model::operation::OperationState;
use proto::convert::offer::inverse_to_wire;
use proto::mesos::v1;
use proto::mesos::v1::master::response::get_agents::Agent;
use proto::mesos::v1::master::response::get_executors::Executor;
use proto::mesos::v1::master::response::get_frameworks::Framework;

use super::state::{Given, State};
use super::sums::Sums;
use super::wire;

/// An entry and, once somebody has read it, its message.
pub(super) struct Entry<T, W> {
    pub(super) model: Arc<T>,
    wire: OnceLock<Arc<W>>,
}

impl<T, W> Entry<T, W> {
    fn wire(&self, make: impl FnOnce(&T) -> W) -> Arc<W> {
        self.wire.get_or_init(|| Arc::new(make(&self.model))).clone()
    }
}

/// Entries in an order that does not change from one read to the next. A copy of the table shares all
/// with it until one of the two changes, and then all but the changed part.
type Table<K, T, W> = OrdMap<K, Arc<Entry<T, W>>>;

fn put<K: Ord + Clone, T, W>(table: &mut Table<K, T, W>, key: K, model: Arc<T>) {
    table.insert(key, Arc::new(Entry { model, wire: OnceLock::new() }));
}

/// The cluster at one moment.
#[derive(Clone, Default)]
pub(crate) struct Picture {
    pub(super) agents: Table<AgentId, AgentView, Agent>,
    pub(super) frameworks: Table<FrameworkId, FrameworkView, Framework>,
    pub(super) tasks: Table<TaskKey, TaskView, v1::Task>,
    executors: Table<ExecutorKey, ExecutorView, Executor>,
    pub(super) offers: Table<OfferId, Offer, v1::Offer>,
    pub(super) inverse_offers: Table<OfferId, InverseOffer, v1::InverseOffer>,
    operations: Table<OperationUuid, OperationView, v1::Operation>,
    pub(super) rules: Arc<Rules>,
    inverse_answers: Arc<Vec<InverseAnswer>>,
}

/// What one framework is offered, and asked to leave.
#[derive(Default)]
struct Offers {
    offers: Vec<v1::Offer>,
    inverse: Vec<v1::InverseOffer>,
}

impl Picture {
    pub(super) fn apply(&mut self, change: ViewChange) {
        match change {
            ViewChange::Clear => *self = Self::default(),
            ViewChange::SetRules(rules) => self.rules = rules,
            ViewChange::SetInverseAnswers(answers) => self.inverse_answers = answers,
            ViewChange::PutAgent(agent) => put(&mut self.agents, agent.id.clone(), agent),
            ViewChange::RemoveAgent(id) => drop(self.agents.remove(&id)),
            ViewChange::PutFramework(framework) => {
                put(&mut self.frameworks, framework.id.clone(), framework);
            }
            ViewChange::RemoveFramework(id) => drop(self.frameworks.remove(&id)),
            ViewChange::PutTask(task) => put(&mut self.tasks, task.key, task),
            ViewChange::RemoveTask(key) => drop(self.tasks.remove(&key)),
            ViewChange::PutExecutor(executor) => {
                put(&mut self.executors, executor.key.clone(), executor);
            }
            ViewChange::RemoveExecutor(key) => drop(self.executors.remove(&key)),
            ViewChange::PutOffer(offer) => put(&mut self.offers, offer.id.clone(), offer),
            ViewChange::RemoveOffer(id) => drop(self.offers.remove(&id)),
            ViewChange::PutInverseOffer(offer) => {
                put(&mut self.inverse_offers, offer.id.clone(), offer);
            }
            ViewChange::RemoveInverseOffer(id) => drop(self.inverse_offers.remove(&id)),
            ViewChange::PutOperation(it) => put(&mut self.operations, it.operation.uuid, it),
            ViewChange::RemoveOperation(uuid) => drop(self.operations.remove(&uuid)),
        }
    }

    /// What operators have decided.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What frameworks have answered that were asked to leave agents.
    pub(crate) fn inverse_answers(&self) -> &[InverseAnswer] {
        &self.inverse_answers
    }

    /// Operations that are on their way, or whose report is, where all roles that they are about are
    /// seen.
    pub(crate) fn operations(&self, sees_role: impl Fn(&str) -> bool) -> Vec<Arc<v1::Operation>> {
        let is_seen = |entry: &&Arc<Entry<OperationView, v1::Operation>>| {
            entry.model.operation.conversion.is_of_roles(&sees_role)
        };
        let seen = self.operations.values().filter(is_seen);
        seen.map(|entry| entry.wire(wire::operation)).collect()
    }

    /// What operations there are, and how far each is.
    pub(crate) fn operation_states(&self) -> impl Iterator<Item = (&'static str, OperationState)> {
        self.operations.values().map(|entry| {
            let OperationView { operation, status, .. } = &*entry.model;
            (operation.conversion.name(), status.state)
        })
    }

    /// The agents that have registered with this leader and are not out of contact.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &AgentView> {
        let is_here = |agent: &&AgentView| match agent.condition {
            AgentCondition::Connected | AgentCondition::Disconnected => true,
            AgentCondition::Recovered | AgentCondition::Unreachable(_) => false,
        };
        self.agents.values().map(|entry| &*entry.model).filter(is_here)
    }

    /// The frameworks that are not over.
    pub(crate) fn frameworks(&self) -> impl Iterator<Item = &FrameworkView> {
        let is_over = |it: &FrameworkView| matches!(it.condition, FrameworkCondition::Completed(_));
        let all = self.frameworks.values().map(|entry| &*entry.model);
        all.filter(move |framework| !is_over(framework))
    }

    /// The hosts of all agents: id, name and address.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&AgentId, &str, &str)> {
        self.agents.values().map(|entry| {
            let description = &entry.model.description;
            (&entry.model.id, &*description.hostname, &*description.address)
        })
    }

    /// A framework as a message, with what it has now and without its offers.
    pub(crate) fn framework_message(&self, framework: &FrameworkView) -> Framework {
        let is_its = |id: &FrameworkId| *id == framework.id;
        let mut sums = Sums::default();
        for agent in self.agents.values() {
            sums.add_used(&agent.model, is_its);
        }
        for offer in self.offers.values() {
            sums.add_offer(&offer.model, is_its);
        }
        let Given { allocated, offered, both: _ } = given_to(&framework.id, &sums);
        Framework {
            allocated_resources: allocated,
            offered_resources: offered,
            ..wire::framework(framework)
        }
    }

    /// All of it as messages. On a large cluster this takes a while the first time.
    pub(crate) fn state(&self) -> State {
        let mut state = State::default();
        for agent in self.agents.values() {
            match agent.model.condition {
                AgentCondition::Connected | AgentCondition::Disconnected => {
                    state.agents.push(agent.wire(wire::agent));
                }
                AgentCondition::Recovered => {
                    state.recovered_agents.push(Arc::new(wire::agent_info(
                        &agent.model.id,
                        &agent.model.description,
                    )));
                }
                AgentCondition::Unreachable(_) => state.unreachable_agents += 1,
            }
        }
        let mut offers: HashMap<&FrameworkId, Offers> = HashMap::new();
        for offer in self.offers.values() {
            let message = v1::Offer::clone(&offer.wire(wire::offer));
            offers.entry(&offer.model.framework).or_default().offers.push(message);
        }
        for offer in self.inverse_offers.values() {
            let message = v1::InverseOffer::clone(&offer.wire(inverse_to_wire));
            offers.entry(&offer.model.framework).or_default().inverse.push(message);
        }
        let mut sums = Sums::default();
        for agent in self.agents.values() {
            sums.add_used(&agent.model, |_| true);
        }
        for offer in self.offers.values() {
            sums.add_offer(&offer.model, |_| true);
        }
        for framework in self.frameworks.values() {
            let completed = matches!(framework.model.condition, FrameworkCondition::Completed(_));
            let message = framework.wire(wire::framework);
            if completed {
                state.completed_frameworks.push(message);
                continue;
            }
            let id = &framework.model.id;
            let Offers { offers, inverse: inverse_offers } = offers.remove(id).unwrap_or_default();
            let Given { allocated, offered, both } = given_to(id, &sums);
            state.both.insert(id.to_string(), both);
            state.frameworks.push(Arc::new(Framework {
                offers,
                inverse_offers,
                allocated_resources: allocated,
                offered_resources: offered,
                ..(*message).clone()
            }));
        }
        for (role, has) in sums.by_role() {
            state.given.entry(role.to_string()).or_default().add(role, &has);
        }
        // In the order they were heard of.
        for task in self.tasks.values() {
            let list = match task.model.list {
                TaskList::Live => &mut state.tasks,
                TaskList::Unreachable => &mut state.unreachable_tasks,
                TaskList::Completed => &mut state.completed_tasks,
            };
            list.push(task.wire(wire::task));
        }
        state.executors =
            self.executors.values().map(|executor| executor.wire(wire::executor)).collect();
        state
    }
}

/// What a framework has for all of its roles.
fn given_to(id: &FrameworkId, sums: &Sums<'_>) -> Given {
    let mut given = Given::default();
    for (role, has) in sums.of_framework(id) {
        given.add(role, has);
    }
    given
}
