//! The laws: what must hold after every step, and what must hold at rest.

mod rules;

use crate::keepers::{unmade, volume_names};
use crate::schedulers::{SchedulerNode, Work};
use crate::world::World;
use agent_core::Record;
use agent_core::output::Event;
use marathon_core::instance::{Condition, Task};
use master_core::registry::Rules;
use master_core::view::{
    AgentView, ExecutorKey, ExecutorView, OperationView, TaskKey, TaskList, TaskView, ViewChange,
};
use model::ids::{AgentId, FrameworkId, OfferId, OperationId, OperationUuid, TaskId, UpdateId};
use model::offer::Offer;
use model::operation::{Operation, OperationState, OperationStatus};
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
    pub(crate) agents: BTreeMap<AgentId, Arc<AgentView>>,
    offers: BTreeMap<OfferId, Arc<Offer>>,
    tasks: BTreeMap<TaskKey, Arc<TaskView>>,
    executors: BTreeMap<ExecutorKey, Arc<ExecutorView>>,
    rules: Arc<Rules>,
    /// Offers that were made since limits were looked at.
    offered_now: Vec<OfferId>,
    operations: BTreeMap<OperationUuid, Arc<OperationView>>,
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
    /// Operations whose outcome an agent has on disk.
    kept: BTreeSet<OperationUuid>,
    /// Operations that an agent has carried out.
    pub(crate) carried_out: BTreeSet<OperationUuid>,
    /// How operations ended, as their frameworks heard, and whether an agent was named with that.
    operation_ends: BTreeMap<OperationId, (OperationState, bool)>,
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
                self.executors.clear();
                self.rules = Arc::default();
                self.operations.clear();
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
                self.offered_now.push(offer.id.clone());
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
            ViewChange::PutOperation(operation) => {
                self.operations.insert(operation.operation.uuid, operation);
            }
            ViewChange::RemoveOperation(operation) => {
                self.operations.remove(&operation);
            }
            ViewChange::PutExecutor(executor) => {
                self.executors.insert(executor.key.clone(), executor);
            }
            ViewChange::RemoveExecutor(executor) => {
                self.executors.remove(&executor);
            }
            ViewChange::SetRules(rules) => self.rules = rules,
            ViewChange::PutFramework(_)
            | ViewChange::RemoveFramework(_)
            | ViewChange::PutInverseOffer(_)
            | ViewChange::RemoveInverseOffer(_)
            | ViewChange::SetInverseAnswers(_) => {}
        }
    }

    /// Conservation: on each agent, the total is that of the `machine`, whatever operations have made of
    /// it; what is offered is not used, and what is shown as offered is what open offers
    /// hold. One answer: no two offers hold the same resource.
    pub(crate) fn check_books(&mut self, machine: &Resources) {
        for id in std::mem::take(&mut self.changed) {
            let Some(agent) = self.agents.get(&id) else { continue };
            let mut offered = Resources::none();
            for offer in self.offers.values().filter(|offer| offer.agent == id) {
                offered.add(&offer.resources);
            }
            let total = &agent.total;
            // An agent may come back without an operation whose outcome tasks were launched on that it
            // has not heard of either: until it says so more is used of a kind than there is.
            let free = total.unused(&agent.used);
            let fits = free.check_holds(&agent.offered);
            // Ports are sets: adding the same one twice would hide it from the sums.
            let counted: u64 = self
                .offers
                .values()
                .filter(|offer| offer.agent == id)
                .map(|offer| offer.resources.ranges("ports").count())
                .sum();
            let what = if unmade(total) != *machine {
                Some("that is not what the machine has".to_owned())
            } else if let Err(shortage) = fits {
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

    /// Conservation on the agent's side. One answer: a volume is in one reservation.
    pub(crate) fn agent_has(&mut self, at: usize, total: &Resources, machine: &Resources) {
        if unmade(total) != *machine {
            self.broke(format!("conservation: agent {at} has {total:?} of {machine:?}"));
        }
        let mut seen = BTreeSet::new();
        if let Some((role, id)) = volume_names(total).find(|name| !seen.insert(name.clone())) {
            self.broke(format!("one answer: agent {at} has volume {id} of {role} twice"));
        }
    }

    /// Memory: what an agent has on disk of what was made is changed by the operation that it is told of,
    /// and by nothing else.
    pub(crate) fn made_on_disk(
        &mut self,
        at: usize,
        before: &Resources,
        now: &Resources,
        told: Option<&Operation>,
    ) {
        let mut expected = before.clone();
        let applied = told.map(|told| told.conversion.apply(&mut expected));
        match told.filter(|_| applied.is_some_and(|it| it.is_ok()) && expected == *now) {
            Some(told) => {
                self.kept.insert(told.uuid);
            }
            None => self.broke(format!(
                "memory: agent {at} had {before:?} and keeps {now:?}; it was told of {told:?}"
            )),
        }
    }

    /// Whether what has come of an operation outlives every master, and every crash of its agent.
    pub(crate) fn is_kept(&self, operation: OperationUuid) -> bool {
        self.kept.contains(&operation)
    }

    /// An agent has kept an operation's end together with what came of it.
    pub(crate) fn kept_by_agent(&mut self, record: &Record) {
        if let Record::Operation(live) = record {
            self.carried_out(live.operation.uuid);
        }
    }

    /// Of an operation that nobody wants to hear of, an agent keeps only what came of it, and says that
    /// it is done. A report that was kept is noted as well.
    pub(crate) fn noted_by_agent(&mut self, note: &Event) {
        if let Event::OperationReported { operation, state: OperationState::Finished, .. } = note
            && !self.carried_out.contains(operation)
        {
            self.carried_out(*operation);
        }
    }

    fn carried_out(&mut self, operation: OperationUuid) {
        if !self.carried_out.insert(operation) {
            self.broke(format!("one answer: operation {operation} was carried out twice"));
        }
    }

    /// Delivery: an operation ends once, and never otherwise than it was said to have ended.
    ///
    /// One that was refused before any agent had it is in nobody's books. Who had asked what became of it is
    /// told of its agent after that, which may be gone.
    pub(crate) fn operation_heard(&mut self, status: &OperationStatus) {
        let Some(id) = status.id.clone().filter(|_| status.state.is_terminal()) else { return };
        let told = (status.state, status.agent.is_some());
        let (first, had_agent) = *self.operation_ends.entry(id.clone()).or_insert(told);
        let is_of_agent = !had_agent
            && first == OperationState::Error
            && status.state == OperationState::GoneByOperator;
        if first != status.state && !is_of_agent {
            let then = status.state;
            self.broke(format!("delivery: operation {id} was {first:?} and then {then:?}"));
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
        let active = self.laws.agents.values().filter(|agent| agent.is_active()).count();
        if active != self.agents.len() {
            return Some(format!("{active} of {} agents are active", self.agents.len()));
        }
        let mut wanted = match self.marathon_wants() {
            Ok(wanted) => wanted,
            Err(why) => return Some(why),
        };
        // What a scenario runs is to go on.
        let (told, others): (Vec<_>, Vec<_>) =
            self.schedulers.iter().partition(|node| node.work == Work::Told);
        wanted.extend(told.iter().flat_map(|node| node.live.keys().cloned()));
        let waits = |node: &&SchedulerNode| {
            let tasks = node.live.keys().map(ToString::to_string);
            tasks.chain(node.operations.keys().map(ToString::to_string)).next()
        };
        if let Some(what) = others.iter().find_map(waits) {
            return Some(format!("delivery: nobody tells what became of {what}"));
        }
        self.untruth(&wanted).or_else(|| self.disagreement()).or_else(|| self.leaks())
    }

    /// The tasks that Marathon wants to run, or why it is not as its users want it.
    fn marathon_wants(&self) -> Result<BTreeSet<TaskId>, String> {
        if self.marathons.is_empty() {
            return Ok(BTreeSet::new());
        }
        let at = self.lease.ok_or("no Marathon leads")?;
        let view = &self.marathons[at].view;
        if !view.is_leading {
            return Err("Marathon has not taken over yet".to_owned());
        }
        if let Some(id) = view.deployments.keys().next() {
            return Err(format!("deployment {} is under way", id.as_str()));
        }
        let mut wanted = BTreeSet::new();
        for (id, app) in &view.tree.apps {
            let instances: Vec<_> = view.instances_of(id).collect();
            let running = instances.iter().filter(|one| one.condition == Condition::Running);
            let count = running.clone().count();
            if count != instances.len() || count as u64 != u64::from(app.instances) {
                let conditions: Vec<_> = instances.iter().map(|one| one.condition).collect();
                return Err(format!(
                    "app {} wants {} instances and has {conditions:?}",
                    id.as_str(),
                    app.instances
                ));
            }
            let tasks = running.filter_map(|one| one.task.as_ref());
            wanted.extend(tasks.flat_map(Task::alive).cloned());
        }
        Ok(wanted)
    }

    /// Truth: what the master shows of an agent is what the agent has, and has directories for. Memory:
    /// no report of an operation waits for anybody.
    fn disagreement(&self) -> Option<String> {
        if let Some(one) = self.laws.operations.values().next() {
            let (what, state) = (&one.operation, one.status.state);
            return Some(format!("memory: the master waits for the end of {what:?}, {state:?}"));
        }
        for (at, agent) in self.agents.iter().enumerate() {
            let is_report = |record: &&Record| matches!(record, Record::Operation(_));
            if let Some(record) = agent.records.values().find(is_report) {
                return Some(format!("memory: agent {at} waits for somebody to hear {record:?}"));
            }
            if !agent.volumes.has_only(&agent.total) {
                let there = &agent.volumes.there;
                return Some(format!("truth: agent {at} has {:?} and {there:?}", agent.total));
            }
            if let Some(shown) = self.laws.agents.values().find(|it| !it.total.contains(&it.used)) {
                return Some(format!("conservation: more is used than there is of {shown:?}"));
            }
            let hostname = crate::agents::hostname(at);
            let shown = self.laws.agents.values().find(|it| it.description.hostname == hostname);
            if shown.is_none_or(|shown| shown.total != agent.total) {
                let shown = shown.map(|shown| &shown.total);
                let total = &agent.total;
                return Some(format!(
                    "truth: agent {at} has {total:?}, the master shows {shown:?}"
                ));
            }
        }
        None
    }

    /// Truth: what is wanted, what the master shows and what runs are the same.
    fn untruth(&self, wanted: &BTreeSet<TaskId>) -> Option<String> {
        let live = self
            .laws
            .tasks
            .values()
            .filter(|task| task.list == TaskList::Live && !task.state.is_terminal());
        let shown: BTreeSet<TaskId> = live.map(|task| task.id().clone()).collect();
        if shown != *wanted {
            return Some(format!("truth: {wanted:?} are wanted, the master shows {shown:?}"));
        }
        let running = self.running();
        (running != *wanted).then(|| format!("truth: {wanted:?} are wanted, and {running:?} run"))
    }

    /// The tasks that run.
    pub(crate) fn running(&self) -> BTreeSet<TaskId> {
        let containers = self.agents.iter().flat_map(|agent| agent.containers.values());
        let tasks = containers.flat_map(|container| container.tasks.iter());
        let running = tasks.filter(|(_, state)| **state == TaskState::Running);
        running.map(|(task, _)| task.clone()).collect()
    }
}
