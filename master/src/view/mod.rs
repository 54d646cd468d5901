//! What reads are answered from, so that no query waits in the core's line.
//!
//! The driver puts in what the core says has changed; any thread reads. An entry is turned into a
//! message when it is first read, and not again until it changes.

mod counts;
mod state;
mod sums;
mod wire;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use master_core::registry::Rules;
use master_core::view::{
    AgentCondition, AgentView, ExecutorKey, ExecutorView, FrameworkCondition, FrameworkView,
    InverseAnswer, OperationView, TaskKey, TaskList, TaskView, ViewChange,
};
use model::ids::{AgentId, FrameworkId, OfferId, OperationUuid};
use model::offer::{InverseOffer, Offer};
use model::operation::OperationState;
use model::resources::Resources;
use model::role::Role;
use proto::convert::offer::inverse_to_wire;
use proto::mesos::v1;
use proto::mesos::v1::master::response::get_agents::Agent;
use proto::mesos::v1::master::response::get_executors::Executor;
use proto::mesos::v1::master::response::get_frameworks::Framework;

pub(crate) use counts::Counts;
pub(crate) use state::{Given, State};
use sums::Sums;

/// An entry and, once somebody has read it, its message.
struct Entry<T, W> {
    model: Arc<T>,
    wire: OnceLock<Arc<W>>,
}

type Table<K, T, W> = DashMap<K, Arc<Entry<T, W>>>;

/// Parts of a table, each with a lock of its own. A reader of all holds one of them at a time, and may be
/// made to wait meanwhile by whoever is more urgent: the fewer entries in it, the less that holds up
/// the driver.
const PARTS: usize = 1_024;

fn table<K: Eq + Hash, T, W>() -> Table<K, T, W> {
    DashMap::with_shard_amount(PARTS)
}

fn put<K: Eq + Hash, T, W>(table: &Table<K, T, W>, key: K, model: Arc<T>) {
    table.insert(key, Arc::new(Entry { model, wire: OnceLock::new() }));
}

/// Entries as they came.
type Unsorted<K, T, W> = Vec<(K, Arc<Entry<T, W>>)>;

fn unsorted<K: Eq + Hash + Clone, T, W>(table: &Table<K, T, W>) -> Unsorted<K, T, W> {
    table.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect()
}

/// In an order that does not change from one read to the next.
fn sorted<K: Ord, T, W>(mut all: Unsorted<K, T, W>) -> Vec<Arc<Entry<T, W>>> {
    all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    all.into_iter().map(|(_, entry)| entry).collect()
}

fn entries<K: Eq + Hash + Ord + Clone, T, W>(table: &Table<K, T, W>) -> Vec<Arc<Entry<T, W>>> {
    sorted(unsorted(table))
}

impl<T, W> Entry<T, W> {
    fn wire(&self, make: impl FnOnce(&T) -> W) -> Arc<W> {
        self.wire.get_or_init(|| Arc::new(make(&self.model))).clone()
    }
}

/// The cluster, as the leading master sees it. Empty on others.
pub(crate) struct View {
    agents: Table<AgentId, AgentView, Agent>,
    frameworks: Table<FrameworkId, FrameworkView, Framework>,
    tasks: Table<TaskKey, TaskView, v1::Task>,
    executors: Table<ExecutorKey, ExecutorView, Executor>,
    offers: Table<OfferId, Offer, v1::Offer>,
    inverse_offers: Table<OfferId, InverseOffer, v1::InverseOffer>,
    operations: Table<OperationUuid, OperationView, v1::Operation>,
    rules: ArcSwap<Rules>,
    inverse_answers: ArcSwap<Vec<InverseAnswer>>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            agents: table(),
            frameworks: table(),
            tasks: table(),
            executors: table(),
            offers: table(),
            inverse_offers: table(),
            operations: table(),
            rules: ArcSwap::default(),
            inverse_answers: ArcSwap::default(),
        }
    }
}

impl View {
    /// What operators have decided.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// What frameworks have answered that were asked to leave agents.
    pub(crate) fn inverse_answers(&self) -> Arc<Vec<InverseAnswer>> {
        self.inverse_answers.load_full()
    }

    /// Operations that are on their way, or whose report is, where all roles that they are about are
    /// seen.
    pub(crate) fn operations(&self, sees_role: impl Fn(&str) -> bool) -> Vec<Arc<v1::Operation>> {
        let is_seen = |entry: &Arc<Entry<OperationView, v1::Operation>>| {
            let conversion = &entry.model.operation.conversion;
            let both = [conversion.consumed(), conversion.converted()];
            let mut roles = both.iter().flat_map(Resources::iter).map(|(key, _)| &key.kind);
            roles.all(|kind| kind.reserved_for().is_none_or(|role| sees_role(role.as_str())))
        };
        let seen = entries(&self.operations).into_iter().filter(is_seen);
        seen.map(|entry| entry.wire(wire::operation)).collect()
    }

    /// What operations there are, and how far each is.
    pub(crate) fn operation_states(&self) -> Vec<(&'static str, OperationState)> {
        let state = |entry: &Arc<Entry<OperationView, v1::Operation>>| {
            let OperationView { operation, status, .. } = &*entry.model;
            (operation.conversion.name(), status.state)
        };
        self.operations.iter().map(|entry| state(&entry)).collect()
    }

    /// The agents that have registered with this leader and are not out of contact.
    pub(crate) fn agents(&self) -> Vec<Arc<AgentView>> {
        let is_here = |agent: &Arc<AgentView>| match agent.condition {
            AgentCondition::Connected | AgentCondition::Disconnected => true,
            AgentCondition::Recovered | AgentCondition::Unreachable(_) => false,
        };
        let all = entries(&self.agents).into_iter().map(|entry| entry.model.clone());
        all.filter(is_here).collect()
    }

    /// The frameworks that are not over.
    pub(crate) fn frameworks(&self) -> Vec<Arc<FrameworkView>> {
        let is_over = |it: &FrameworkView| matches!(it.condition, FrameworkCondition::Completed(_));
        let all = entries(&self.frameworks).into_iter().map(|entry| entry.model.clone());
        all.filter(|framework| !is_over(framework)).collect()
    }

    /// For which role an offer is that stands.
    pub(crate) fn role_of(&self, offer: &OfferId) -> Option<Role> {
        self.offers.get(offer).map(|entry| entry.model.role.clone())
    }

    /// The user of a framework.
    pub(crate) fn user_of(&self, id: &FrameworkId) -> Option<Arc<str>> {
        self.frameworks.get(id).map(|entry| entry.model.framework.user.clone())
    }

    /// The principal of a framework, where it has one.
    pub(crate) fn principal_of(&self, id: &FrameworkId) -> Option<Arc<str>> {
        self.frameworks.get(id).and_then(|entry| entry.model.framework.principal.clone())
    }

    /// The hosts of all agents: id, name and address.
    pub(crate) fn hosts(&self) -> Vec<(AgentId, Arc<str>, Arc<str>)> {
        let all = entries(&self.agents);
        let host = |entry: Arc<Entry<AgentView, Agent>>| {
            let description = &entry.model.description;
            (entry.model.id.clone(), description.hostname.clone(), description.address.clone())
        };
        all.into_iter().map(host).collect()
    }

    /// Puts one change in.
    pub(crate) fn apply(&self, change: ViewChange) {
        match change {
            ViewChange::Clear => {
                self.agents.clear();
                self.frameworks.clear();
                self.tasks.clear();
                self.executors.clear();
                self.offers.clear();
                self.inverse_offers.clear();
                self.operations.clear();
                self.rules.store(Arc::default());
                self.inverse_answers.store(Arc::default());
            }
            ViewChange::SetRules(rules) => self.rules.store(rules),
            ViewChange::SetInverseAnswers(answers) => self.inverse_answers.store(answers),
            ViewChange::PutAgent(agent) => put(&self.agents, agent.id.clone(), agent),
            ViewChange::RemoveAgent(id) => {
                self.agents.remove(&id);
            }
            ViewChange::PutFramework(framework) => {
                put(&self.frameworks, framework.id.clone(), framework);
            }
            ViewChange::RemoveFramework(id) => {
                self.frameworks.remove(&id);
            }
            ViewChange::PutTask(task) => put(&self.tasks, task.key, task),
            ViewChange::RemoveTask(key) => {
                self.tasks.remove(&key);
            }
            ViewChange::PutExecutor(executor) => {
                put(&self.executors, executor.key.clone(), executor);
            }
            ViewChange::RemoveExecutor(key) => {
                self.executors.remove(&key);
            }
            ViewChange::PutOffer(offer) => put(&self.offers, offer.id.clone(), offer),
            ViewChange::RemoveOffer(id) => {
                self.offers.remove(&id);
            }
            ViewChange::PutInverseOffer(offer) => {
                put(&self.inverse_offers, offer.id.clone(), offer);
            }
            ViewChange::RemoveInverseOffer(id) => {
                self.inverse_offers.remove(&id);
            }
            ViewChange::PutOperation(it) => put(&self.operations, it.operation.uuid, it),
            ViewChange::RemoveOperation(uuid) => {
                self.operations.remove(&uuid);
            }
        }
    }

    /// All of it, as it is now. What changes meanwhile is in it as it was or as it is; each entry is
    /// whole. Taken by the driver itself, between two changes, it is exact.
    pub(crate) fn picture(&self) -> Picture {
        Picture {
            agents: unsorted(&self.agents),
            frameworks: unsorted(&self.frameworks),
            tasks: unsorted(&self.tasks),
            executors: unsorted(&self.executors),
            offers: unsorted(&self.offers),
            inverse_offers: unsorted(&self.inverse_offers),
        }
    }

    /// A framework as a message, with what it has now and without its offers.
    pub(crate) fn framework_message(&self, framework: &FrameworkView) -> Framework {
        let (agents, offers) = (entries(&self.agents), entries(&self.offers));
        let is_its = |id: &FrameworkId| *id == framework.id;
        let mut sums = Sums::default();
        for agent in &agents {
            sums.add_used(&agent.model, is_its);
        }
        for offer in &offers {
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
        self.picture().state()
    }
}

/// The entries there were at one moment. Cheap to take, since whoever takes it may be the driver;
/// [`Picture::state`] does the work.
pub(crate) struct Picture {
    agents: Unsorted<AgentId, AgentView, Agent>,
    frameworks: Unsorted<FrameworkId, FrameworkView, Framework>,
    tasks: Unsorted<TaskKey, TaskView, v1::Task>,
    executors: Unsorted<ExecutorKey, ExecutorView, Executor>,
    offers: Unsorted<OfferId, Offer, v1::Offer>,
    inverse_offers: Unsorted<OfferId, InverseOffer, v1::InverseOffer>,
}

/// What one framework is offered, and asked to leave.
#[derive(Default)]
struct Offers {
    offers: Vec<v1::Offer>,
    inverse: Vec<v1::InverseOffer>,
}

impl Picture {
    /// As messages.
    pub(crate) fn state(self) -> State {
        let mut state = State::default();
        let (agents, frameworks) = (sorted(self.agents), sorted(self.frameworks));
        let (all_offers, inverse) = (sorted(self.offers), sorted(self.inverse_offers));
        for agent in &agents {
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
        for offer in &all_offers {
            let message = v1::Offer::clone(&offer.wire(wire::offer));
            offers.entry(&offer.model.framework).or_default().offers.push(message);
        }
        for offer in &inverse {
            let message = v1::InverseOffer::clone(&offer.wire(inverse_to_wire));
            offers.entry(&offer.model.framework).or_default().inverse.push(message);
        }
        let mut sums = Sums::default();
        for agent in &agents {
            sums.add_used(&agent.model, |_| true);
        }
        for offer in &all_offers {
            sums.add_offer(&offer.model, |_| true);
        }
        for framework in &frameworks {
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
        for task in sorted(self.tasks) {
            let list = match task.model.list {
                TaskList::Live => &mut state.tasks,
                TaskList::Unreachable => &mut state.unreachable_tasks,
                TaskList::Completed => &mut state.completed_tasks,
            };
            list.push(task.wire(wire::task));
        }
        state.executors =
            sorted(self.executors).iter().map(|executor| executor.wire(wire::executor)).collect();
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

/// Messages of single entries, for events.
pub(crate) use wire::{agent as agent_message, framework_info, task as task_message};
