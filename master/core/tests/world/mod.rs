//! A master's core with everything around it played: the log agrees at once, agents and frameworks are
//! names, and what they hear is written down as lines of text.

#![allow(dead_code, reason = "each test binary uses a part of it")]

mod agents;
mod descriptions;
pub(crate) mod operations;
mod tasks;

pub(crate) use self::tasks::task;
use master_core::explain::{Explaining, Explanation, Progress, Unknown};
use master_core::registry::Rules;
use master_core::view::{AgentView, InverseAnswer, TaskKey, TaskView, ViewChange};
use master_core::{Config, Done, Input, Master, Output, Refusal, Registry, StreamClaim};
use model::call::{Accept, Call, Operation, Subscribe};
use model::event::SchedulerEvent;
use model::framework::{Capabilities, Framework};
use model::ids::{
    AgentId, ConnectionId, FrameworkId, OfferId, Reign, RequestId, StreamId, TaskId, Term, UpdateId,
};
use model::link::{AgentDescription, FromAgent, Launch, LiveExecutor, LiveOperation, ToAgent};
use model::operation::{OperationState, OperationStatus};
use model::operator::OperatorCall;
use model::payload::Payload;
use model::registry::{Record, ReignEntry};
use model::resources::Resources;
use model::role::Role;
use model::search::Masters;
use model::step::{Core, Now, Time, Timestamp};
use model::task::{Status, TaskSpec, TaskState};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What an operator is answered whose call was carried out.
pub(crate) const OK: Option<Result<Done, Refusal>> = Some(Ok(Done::Ok));

/// What one is answered whose call makes no sense, and why.
pub(crate) fn invalid(why: &str) -> Result<Done, Refusal> {
    Err(Refusal::Invalid(why.to_owned()))
}

fn in_words(masters: &Masters) -> String {
    format!("masters {} within {:?}", masters.addresses.join(" "), masters.spread)
}

/// An agent, as its master knows it.
pub(crate) struct FakeAgent {
    pub(crate) id: AgentId,
    pub(crate) connection: ConnectionId,
    description: AgentDescription,
    /// All it has.
    pub(crate) total: Resources,
    /// Whether operations never reach it.
    pub(crate) loses_operations: bool,
    /// Operations it has done, and how it says they went.
    pub(crate) operations: Vec<LiveOperation>,
    /// Executors it was told to start.
    executors: Vec<LiveExecutor>,
    /// What it was told to run and has not ended.
    pub(crate) tasks: BTreeMap<TaskId, (FrameworkId, TaskSpec, TaskState)>,
    /// What it has heard, in words.
    pub(crate) heard: Vec<String>,
}

/// A framework, as its master knows it.
pub(crate) struct FakeFramework {
    pub(crate) id: FrameworkId,
    pub(crate) connection: ConnectionId,
    stream: Option<StreamId>,
    pub(crate) description: Framework,
    pub(crate) offers: BTreeMap<OfferId, model::offer::Offer>,
    /// Which inverse offers it has had and not answered.
    pub(crate) asked_to_leave: BTreeSet<OfferId>,
    pub(crate) heard: Vec<String>,
    pub(crate) updates: Vec<Status>,
    /// What it has heard of operations.
    pub(crate) operations: Vec<OperationStatus>,
}

/// The master and all who talk to it.
pub(crate) struct World {
    pub(crate) master: Master,
    pub(crate) registry: Registry,
    now: Duration,
    numbers: u64,
    term: u64,
    /// Whether proposals are agreed on. If not, they wait.
    pub(crate) agrees: bool,
    pub(crate) waiting: VecDeque<Vec<Record>>,
    /// What agents say of what operators have had done, at once unless they are slow.
    to_say: Vec<(ConnectionId, FromAgent)>,
    pub(crate) are_slow: bool,
    pub(crate) agents: BTreeMap<&'static str, FakeAgent>,
    pub(crate) frameworks: BTreeMap<&'static str, FakeFramework>,
    pub(crate) answers: BTreeMap<RequestId, Result<Done, Refusal>>,
    pub(crate) agent_views: BTreeMap<AgentId, Arc<AgentView>>,
    pub(crate) task_views: BTreeMap<TaskKey, Arc<TaskView>>,
    pub(crate) rules: Arc<Rules>,
    /// Why the master would not go on, if it has said so.
    pub(crate) given_up: Option<String>,
    /// What frameworks that want to know were told of masters.
    pub(crate) told_frameworks: Vec<String>,
    /// What is shown of answers to inverse offers.
    pub(crate) inverse_answers: Arc<Vec<InverseAnswer>>,
}

impl World {
    /// A master that leads an empty cluster.
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let mut world = Self {
            master: Master::new(config),
            registry: Registry::default(),
            now: Duration::from_secs(1_000),
            numbers: 0,
            term: 0,
            agrees: true,
            waiting: VecDeque::new(),
            to_say: Vec::new(),
            are_slow: false,
            agents: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            answers: BTreeMap::new(),
            agent_views: BTreeMap::new(),
            task_views: BTreeMap::new(),
            rules: Arc::default(),
            inverse_answers: Arc::default(),
            given_up: None,
            told_frameworks: Vec::new(),
        };
        world.lead();
        world
    }

    /// Another reign begins, of another master with the same registry.
    pub(crate) fn lead(&mut self) {
        self.master = Master::new(self.master.config().clone());
        self.lead_again();
    }

    /// Another reign begins, of the same master.
    pub(crate) fn lead_again(&mut self) {
        self.term += 1;
        let reign = Reign([u8::try_from(self.term).expect("few reigns"); 16]);
        self.agent_views.clear();
        self.task_views.clear();
        let at = self.moment().wall;
        let term = Term(self.term);
        let entry = ReignEntry { id: reign, term, at, address: "m:5050".into() };
        self.registry.apply(&Record::BeginReign(entry));
        let registry = Box::new(self.registry.clone());
        self.step(Input::Lead { term, reign, registry });
    }

    pub(crate) fn moment(&self) -> Now {
        let micros = u64::try_from(self.now.as_micros()).expect("a short story");
        Now { time: Time(self.now), wall: Timestamp(1_700_000_000_000_000 + micros) }
    }

    /// Why a framework has the offers that it has, found out in as many parts as it takes.
    pub(crate) fn explain(
        &self,
        framework: &FrameworkId,
        agent: Option<&AgentId>,
    ) -> Result<Explanation, Unknown> {
        let mut explaining = Explaining::new(framework.clone(), agent.cloned());
        loop {
            match self.master.explain(explaining, self.moment())? {
                Progress::Part(part) => explaining = part,
                Progress::Whole(whole) => break Ok(whole),
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Time goes by, and whatever falls due is done.
    pub(crate) fn pass(&mut self, wait: Duration) {
        let end = self.now + wait;
        while let Some(at) = self.master.next_deadline().filter(|at| at.0 <= end) {
            self.now = self.now.max(at.0);
            let (now, mut out) = (self.moment(), Vec::new());
            self.master.wake(now, &mut out);
            self.perform(out);
        }
        self.now = end;
    }

    /// Long enough that offers are made of all that can be offered.
    pub(crate) fn settle(&mut self) {
        self.pass(Duration::from_millis(100));
    }

    /// The masters agree again, and on all that waits.
    pub(crate) fn agree(&mut self) {
        self.agrees = true;
        self.perform(Vec::new());
    }

    pub(crate) fn step(&mut self, input: Input) {
        let (now, mut out) = (self.moment(), Vec::new());
        self.master.step(input, now, &mut out);
        self.perform(out);
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Propose(records) => self.waiting.push_back(records),
                Output::ToScheduler { connection, event } => self.tell_framework(connection, event),
                Output::OpenStream { connection, stream, .. } => {
                    if let Some(framework) = self.framework_at(connection) {
                        framework.stream = Some(stream);
                    }
                }
                Output::CloseScheduler { connection } => {
                    if let Some(framework) = self.framework_at(connection) {
                        framework.heard.push("closed".to_owned());
                    }
                }
                Output::ToAgent { connection, message } => self.tell_agent(connection, message),
                Output::CloseAgent { connection, why } => {
                    if let Some(agent) = self.agent_at(connection) {
                        agent.heard.push(format!("closed: {why:?}"));
                    }
                }
                Output::Answer { request, result } => {
                    self.answers.insert(request, result);
                }
                Output::View(ViewChange::PutAgent(view)) => {
                    self.agent_views.insert(view.id.clone(), view);
                }
                Output::View(ViewChange::PutTask(view)) => {
                    self.task_views.insert(view.key, view);
                }
                Output::View(ViewChange::RemoveAgent(id)) => {
                    self.agent_views.remove(&id);
                }
                Output::View(ViewChange::SetRules(rules)) => self.rules = rules,
                Output::View(ViewChange::SetInverseAnswers(all)) => self.inverse_answers = all,
                Output::GiveUp { why } => self.given_up = Some(why),
                Output::Masters(masters) => self.told_frameworks.push(in_words(&masters)),
                Output::View(_)
                | Output::Note(_)
                | Output::OpenWatch { .. }
                | Output::Outdated { .. } => {}
            }
        }
        if !self.are_slow {
            self.agents_say(|_| ());
        }
        while self.agrees
            && let Some(records) = self.waiting.pop_front()
        {
            for record in records {
                self.registry.apply(&record);
                self.step(Input::Applied(record));
            }
        }
    }

    fn framework_at(&mut self, connection: ConnectionId) -> Option<&mut FakeFramework> {
        self.frameworks.values_mut().find(|it| it.connection == connection)
    }

    fn agent_at(&mut self, connection: ConnectionId) -> Option<&mut FakeAgent> {
        self.agents.values_mut().find(|it| it.connection == connection)
    }

    fn tell_framework(&mut self, connection: ConnectionId, event: SchedulerEvent) {
        let names: BTreeMap<AgentId, &str> =
            self.agents.iter().map(|(name, agent)| (agent.id.clone(), *name)).collect();
        let Some(framework) = self.framework_at(connection) else { return };
        let name = |agent: &AgentId| names.get(agent).copied().unwrap_or("?");
        let line = match event {
            SchedulerEvent::Subscribed { framework: id, .. } => {
                framework.id = id;
                "subscribed".to_owned()
            }
            SchedulerEvent::Offers(offers) => {
                let mut lines = Vec::new();
                for offer in offers {
                    let when = offer.unavailability.map_or("", |_| ", to be away");
                    let (agent, what) = (name(&offer.agent), &offer.resources);
                    lines.push(format!("offer of {agent} for {}: {what}{when}", offer.role));
                    framework.offers.insert(offer.id.clone(), offer);
                }
                lines.sort();
                lines.join("\n")
            }
            SchedulerEvent::Rescind(id) => {
                let offer = framework.offers.remove(&id).expect("it was offered");
                format!("rescind of {}", name(&offer.agent))
            }
            SchedulerEvent::InverseOffers(offers) => {
                framework.asked_to_leave.extend(offers.iter().map(|it| it.id.clone()));
                let all = offers.iter().map(|it| format!("asked to leave {}", name(&it.agent)));
                all.collect::<Vec<_>>().join("\n")
            }
            SchedulerEvent::RescindInverseOffer(id) => {
                framework.asked_to_leave.remove(&id);
                "not asked any more".to_owned()
            }
            SchedulerEvent::Update(status) => {
                let reason = status.reason.map_or("", model::task::Reason::name);
                let line = format!("{} {} {reason}", status.task, status.state.name());
                framework.updates.push(status);
                line.trim_end().to_owned()
            }
            SchedulerEvent::UpdateOperation(status) => {
                let id = status.id.clone().expect("nobody is told of others");
                let why = status.message.as_deref().map(|why| format!(": {why}"));
                let line = format!("{id} {}{}", status.state.name(), why.unwrap_or_default());
                framework.operations.push(status);
                line
            }
            SchedulerEvent::Message(_) => "message".to_owned(),
            SchedulerEvent::Failure { agent, executor: None } => {
                format!("failure of {}", name(&agent))
            }
            SchedulerEvent::Failure { agent, executor: Some((id, _)) } => {
                format!("failure of {id} on {}", name(&agent))
            }
            SchedulerEvent::Error(why) => format!("error: {why}"),
            SchedulerEvent::Heartbeat => return,
        };
        framework.heard.push(line);
    }

    fn tell_agent(&mut self, connection: ConnectionId, message: ToAgent) {
        let Some(agent) = self.agent_at(connection) else { return };
        let line = match message {
            ToAgent::Registered { agent: id, .. } => {
                agent.id = id;
                "registered".to_owned()
            }
            ToAgent::Reregistered { expected, completed, operations, .. } => {
                let awaited: Vec<_> =
                    operations.iter().map(|operation| operation.conversion.name()).collect();
                let awaits = if awaited.is_empty() { "" } else { ", awaits " };
                let (expected, over) = (expected.len(), completed.len());
                let awaited = awaited.join(", ");
                format!("reregistered, {expected} expected, {over} over{awaits}{awaited}")
            }
            ToAgent::Apply(operation) => {
                let line = format!("apply {}", operation.conversion.name());
                if !agent.loses_operations {
                    operation.conversion.apply(&mut agent.total).expect("it is there");
                    let mut status =
                        OperationStatus::new(operation.id.clone(), OperationState::Finished);
                    if operation.framework.is_none() {
                        let (operation, framework) = (operation.uuid, None);
                        let message = FromAgent::OperationUpdate { operation, framework, status };
                        agent.heard.push(line);
                        self.to_say.push((connection, message));
                        return;
                    }
                    let uuid = operation.uuid.0;
                    status.uuid = operation.id.is_some().then_some(UpdateId(uuid));
                    agent.operations.push(LiveOperation { operation: *operation, status });
                }
                line
            }
            ToAgent::AcknowledgeOperation { operation, .. } => {
                agent.operations.retain(|live| live.operation.uuid != operation);
                "operation acknowledged".to_owned()
            }
            ToAgent::Launch(launch) => {
                let Launch { framework, tasks, executor, starts_executor, .. } = *launch;
                let id = framework.id.expect("it has one");
                if let Some(executor) = executor.filter(|_| starts_executor) {
                    agent.start_executor(&id, executor);
                }
                let names: Vec<_> = tasks.iter().map(|task| task.id.to_string()).collect();
                for task in tasks {
                    let entry = (id.clone(), task.clone(), TaskState::Staging);
                    agent.tasks.insert(task.id, entry);
                }
                format!("launch {}", names.join(" "))
            }
            ToAgent::Kill { task, grace, .. } => format!("kill {task} {grace:?}"),
            ToAgent::ShutdownExecutor { executor, .. } => format!("shut down {executor}"),
            ToAgent::ShutdownFramework(_) => "shut down framework".to_owned(),
            ToAgent::UpdateFramework(_) => "framework has changed".to_owned(),
            ToAgent::Acknowledge { task, .. } => {
                if agent.tasks.get(&task).is_some_and(|(_, _, state)| state.is_terminal()) {
                    agent.tasks.remove(&task);
                }
                return;
            }
            ToAgent::Message { .. } => "message".to_owned(),
            ToAgent::Ping { .. } => return,
            ToAgent::Masters(masters) => in_words(&masters),
            ToAgent::Drain(drain) => format!("drain {:?} {}", drain.grace_max, drain.marks_gone),
            ToAgent::Shutdown { why } => format!("shutdown: {why}"),
        };
        agent.heard.push(line);
    }

    /// A framework subscribes in role `*`, aware of partitions.
    pub(crate) fn framework(&mut self, name: &'static str) {
        let capabilities = Capabilities { partition_aware: true, ..Capabilities::default() };
        self.framework_in(name, "*", capabilities);
    }

    pub(crate) fn framework_in(
        &mut self,
        name: &'static str,
        role: &str,
        capabilities: Capabilities,
    ) {
        let description = Framework {
            id: None,
            name: name.into(),
            user: "root".into(),
            roles: BTreeSet::from([Role::new(role).expect("a role")]),
            capabilities,
            failover_timeout: Duration::from_secs(60),
            checkpoint: true,
            principal: None,
            min_allocatable: BTreeMap::new(),
            info: Payload::default(),
        };
        let framework = FakeFramework {
            id: FrameworkId::new("none-yet").expect("an id"),
            connection: ConnectionId(0),
            stream: None,
            description,
            offers: BTreeMap::new(),
            asked_to_leave: BTreeSet::new(),
            heard: Vec::new(),
            updates: Vec::new(),
            operations: Vec::new(),
        };
        self.frameworks.insert(name, framework);
        self.subscribe(name, None);
    }

    /// A framework opens its stream, under its id if it has one.
    pub(crate) fn subscribe(&mut self, name: &str, id: Option<FrameworkId>) {
        let framework = Framework { id, ..self.frameworks[name].description.clone() };
        let constraints = Ok(BTreeMap::new());
        self.subscribe_by(name, Subscribe { framework, suppressed: BTreeSet::new(), constraints });
    }

    /// A framework opens its stream by this call.
    pub(crate) fn subscribe_by(&mut self, name: &str, call: Subscribe) {
        let (connection, request) = (ConnectionId(self.number()), RequestId(self.number()));
        let framework = self.frameworks.get_mut(name).expect("it was made");
        framework.connection = connection;
        framework.offers.clear();
        self.step(Input::Subscribe { connection, request, call, principal: None });
    }

    /// A framework comes back under its id.
    pub(crate) fn resubscribe(&mut self, name: &str) {
        let id = self.frameworks[name].id.clone();
        self.subscribe(name, Some(id));
    }

    /// A framework's call, and what it is answered, if it is.
    pub(crate) fn ask(&mut self, name: &str, call: Call) -> Option<Result<Done, Refusal>> {
        let request = RequestId(self.number());
        let framework = &self.frameworks[name];
        let stream = StreamClaim::Connection(framework.connection);
        let framework = framework.id.clone();
        self.step(Input::Call { request, framework, stream, call, principal: None });
        self.answers.get(&request).cloned()
    }

    /// A framework's call, which must be taken in.
    pub(crate) fn call(&mut self, name: &str, call: Call) {
        assert_eq!(self.ask(name, call), Some(Ok(Done::Accepted)));
    }

    /// A framework launches tasks of one core each on its first offer of an agent.
    pub(crate) fn launch(&mut self, name: &str, agent: &str, tasks: &[&str]) {
        let agent_id = self.agents[agent].id.clone();
        let framework = self.frameworks.get_mut(name).expect("it is there");
        let offer = framework.offers.values().find(|offer| offer.agent == agent_id);
        let offer = offer.expect("something is offered").id.clone();
        framework.offers.remove(&offer);
        let tasks = tasks.iter().map(|id| Ok(task(id, &agent_id))).collect();
        let accept = Accept {
            offers: vec![offer.as_str().into()],
            operations: vec![Operation::Launch(tasks)],
            refuse_for: Duration::ZERO,
        };
        self.call(name, Call::Accept(accept));
    }

    /// A framework keeps every update it has heard and not kept.
    pub(crate) fn acknowledge_all(&mut self, name: &str) {
        let updates = std::mem::take(&mut self.frameworks.get_mut(name).expect("there").updates);
        for status in updates {
            let (Some(agent), Some(uuid)) = (status.agent, status.uuid) else { continue };
            let call = model::call::Acknowledge { agent, task: status.task, uuid };
            self.call(name, Call::Acknowledge(call));
        }
    }

    /// An operator asks for a change; what it is answered, if it is.
    pub(crate) fn operate(&mut self, call: OperatorCall) -> Option<Result<Done, Refusal>> {
        self.operate_by(None, call)
    }

    fn operate_by(
        &mut self,
        principal: Option<&str>,
        call: OperatorCall,
    ) -> Option<Result<Done, Refusal>> {
        let request = RequestId(self.number());
        let principal = principal.map(Into::into);
        self.step(Input::Operate { request, principal, call });
        self.answers.get(&request).cloned()
    }

    /// What a framework has heard since it was last asked.
    pub(crate) fn heard(&mut self, name: &str) -> Vec<String> {
        std::mem::take(&mut self.frameworks.get_mut(name).expect("it is there").heard)
    }

    /// What an agent has heard since it was last asked.
    pub(crate) fn told(&mut self, name: &str) -> Vec<String> {
        std::mem::take(&mut self.agents.get_mut(name).expect("it is there").heard)
    }

    pub(crate) fn id(&self, agent: &str) -> AgentId {
        self.agents[agent].id.clone()
    }
}

fn described(framework: &FakeFramework) -> Framework {
    Framework { id: Some(framework.id.clone()), ..framework.description.clone() }
}
