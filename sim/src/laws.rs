//! The laws: what must hold after every step, and what must hold at rest.

use crate::batches::BatchNode;
use crate::world::World;
use marathon_core::instance::Condition;
use master_core::view::{AgentView, TaskKey, TaskList, TaskView, ViewChange};
use model::ids::{AgentId, FrameworkId, OfferId, TaskId, UpdateId};
use model::offer::Offer;
use model::resources::Resources;
use model::task::{Status, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the laws are checked against.
#[derive(Default)]
pub(crate) struct Laws {
    /// The first law that was broken.
    pub(crate) broken: Option<String>,
    /// What the leading master shows.
    agents: BTreeMap<AgentId, Arc<AgentView>>,
    offers: BTreeMap<OfferId, Arc<Offer>>,
    tasks: BTreeMap<TaskKey, Arc<TaskView>>,
    /// Agents whose books have changed since they were checked.
    changed: BTreeSet<AgentId>,
    launched: BTreeSet<TaskId>,
    /// Tasks that were on a machine when it went down: nobody may know of them any more.
    pub(crate) went_down: BTreeSet<TaskId>,
    /// Frameworks that have ended, so that nobody hears of their tasks.
    pub(crate) ended: BTreeSet<FrameworkId>,
    /// The order in which an executor made its reports.
    order: BTreeMap<UpdateId, u64>,
    reported: u64,
    /// The last report of each task that was heard.
    heard: BTreeMap<TaskId, u64>,
}

impl Laws {
    /// Notes that a law is broken; the first one counts.
    pub(crate) fn broke(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// The leading master shows something.
    pub(crate) fn master_shows(&mut self, change: ViewChange) {
        match change {
            ViewChange::Clear => {
                self.agents.clear();
                self.offers.clear();
                self.tasks.clear();
            }
            ViewChange::PutAgent(agent) => {
                self.changed.insert(agent.id.clone());
                self.agents.insert(agent.id.clone(), agent);
            }
            ViewChange::RemoveAgent(agent) => {
                self.agents.remove(&agent);
            }
            ViewChange::PutOffer(offer) => {
                self.changed.insert(offer.agent.clone());
                self.offers.insert(offer.id.clone(), offer);
            }
            ViewChange::RemoveOffer(offer) => {
                if let Some(offer) = self.offers.remove(&offer) {
                    self.changed.insert(offer.agent.clone());
                }
            }
            ViewChange::PutTask(task) => {
                self.changed.insert(task.agent.clone());
                self.tasks.insert(task.key, task);
            }
            ViewChange::RemoveTask(task) => {
                self.tasks.remove(&task);
            }
            ViewChange::PutFramework(_)
            | ViewChange::RemoveFramework(_)
            | ViewChange::PutExecutor(_)
            | ViewChange::RemoveExecutor(_)
            | ViewChange::PutOperation(_)
            | ViewChange::RemoveOperation(_)
            | ViewChange::SetRules(_)
            | ViewChange::SetInverseAnswers(_) => {}
        }
    }

    /// Conservation: on each agent, offered + used never exceeds the total, and what is shown as
    /// offered is what open offers hold. One answer: no two offers hold the same resource.
    pub(crate) fn check_books(&mut self) {
        for id in std::mem::take(&mut self.changed) {
            let Some(agent) = self.agents.get(&id) else { continue };
            let mut offered = Resources::none();
            for offer in self.offers.values().filter(|offer| offer.agent == id) {
                offered.add(&offer.resources);
            }
            let total = &agent.total;
            let mut free = total.clone();
            let fits = free.take(&agent.used).and_then(|()| free.take(&agent.offered));
            // Ports are sets: adding the same one twice would hide it from the sums.
            let counted: u64 = self
                .offers
                .values()
                .filter(|offer| offer.agent == id)
                .map(|offer| offer.resources.ranges("ports").count())
                .sum();
            let what = if let Err(shortage) = fits {
                Some(format!("{shortage}; used {:?}, offered {:?}", agent.used, agent.offered))
            } else if offered != agent.offered {
                Some(format!("offers hold {offered:?}, shown is {:?}", agent.offered))
            } else if counted != offered.ranges("ports").count() {
                Some("two offers hold the same port".to_owned())
            } else {
                None
            };
            if let Some(what) = what {
                self.broke(format!("conservation: agent {id} with {total:?}: {what}"));
            }
        }
    }

    /// A container is started for a task.
    pub(crate) fn launched(&mut self, task: &TaskId) {
        if !self.launched.insert(task.clone()) {
            self.broke(format!("one answer: task {task} was launched twice"));
        }
    }

    /// An executor makes a report.
    pub(crate) fn reported(&mut self, status: &Status) {
        self.reported += 1;
        if let Some(uuid) = status.uuid {
            self.order.insert(uuid, self.reported);
        }
    }

    /// Delivery: reports of one executor on one task arrive in order.
    pub(crate) fn heard(&mut self, status: &Status) {
        let Some(number) = status.uuid.and_then(|uuid| self.order.get(&uuid)).copied() else {
            return;
        };
        let last = self.heard.entry(status.task.clone()).or_insert(0);
        if number < *last {
            let (task, state) = (&status.task, status.state);
            self.broken.get_or_insert(format!("delivery: {task} {state:?} came after a later one"));
        }
        *last = number;
    }
}

impl World {
    /// Why the cluster is not at rest as its users want it, if it is not.
    pub(crate) fn unrest(&self) -> Option<String> {
        if self.raft.leader.is_none() {
            return Some("no master leads".to_owned());
        }
        let Some(at) = self.lease else { return Some("no Marathon leads".to_owned()) };
        let view = &self.marathons[at].view;
        if !view.is_leading {
            return Some("Marathon has not taken over yet".to_owned());
        }
        if let Some(id) = view.deployments.keys().next() {
            return Some(format!("deployment {} is under way", id.as_str()));
        }
        let active = self.laws.agents.values().filter(|agent| agent.is_active()).count();
        if active != self.agents.len() {
            return Some(format!("{active} of {} agents are active", self.agents.len()));
        }
        let mut wanted = BTreeSet::new();
        for (id, app) in &view.tree.apps {
            let instances: Vec<_> = view.instances_of(id).collect();
            let running = instances.iter().filter(|one| one.condition == Condition::Running);
            let count = running.clone().count();
            if count != instances.len() || count as u64 != u64::from(app.instances) {
                let conditions: Vec<_> = instances.iter().map(|one| one.condition).collect();
                return Some(format!(
                    "app {} wants {} instances and has {conditions:?}",
                    id.as_str(),
                    app.instances
                ));
            }
            wanted.extend(running.filter_map(|one| Some(one.task.as_ref()?.id.clone())));
        }
        let waits = |batch: &BatchNode| batch.live.keys().next().cloned();
        if let Some(task) = self.batches.iter().find_map(waits) {
            return Some(format!("delivery: nobody tells what became of {task}"));
        }
        self.untruth(&wanted)
    }

    /// Truth: what Marathon wants, what the master shows and what runs are the same.
    fn untruth(&self, wanted: &BTreeSet<TaskId>) -> Option<String> {
        let live = self
            .laws
            .tasks
            .values()
            .filter(|task| task.list == TaskList::Live && !task.state.is_terminal());
        let shown: BTreeSet<TaskId> = live.map(|task| task.id().clone()).collect();
        if shown != *wanted {
            return Some(format!("truth: Marathon wants {wanted:?}, the master shows {shown:?}"));
        }
        let containers = self.agents.iter().flat_map(|agent| agent.containers.values());
        let running: BTreeSet<TaskId> = containers
            .flat_map(|container| container.tasks.iter())
            .filter(|(_, state)| **state == TaskState::Running)
            .map(|(task, _)| task.clone())
            .collect();
        (running != *wanted)
            .then(|| format!("truth: Marathon wants {wanted:?}, and {running:?} run"))
    }
}
