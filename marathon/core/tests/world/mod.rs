//! A master, agents, a store and a user in one: what Marathon asks for happens, in order.

#![allow(dead_code, reason = "each test binary uses a part of it")]

mod asked;
mod reconciled;
mod reports;
mod reserved;

use asked::Asked;
use marathon_core::Marathon;
use marathon_core::app::App;
use marathon_core::ids::{AppId, InstanceId};
use marathon_core::instance::{Condition, Instance, Place};
use marathon_core::io::{
    AgentView, Answer, Ask, Command, Config, FailingCheck, Input, Launch, OfferView, Output, Probe,
    PutApp, Refusal,
};
use marathon_core::matcher;
use marathon_core::view::{Embed, View};
use model::ids::{AgentId, FrameworkId, OfferId, RequestId, TaskId};
use model::offer::Offer;
use model::payload::Payload;
use model::resources::{Attributes, Resources};
use model::role::Role;
use model::rules::Unavailability;
use model::step::{Core, Now, Time, Timestamp};
use model::task::{Reason, TaskState};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// 2026-01-01T00:00:00Z: when every story begins.
pub(crate) const START: u64 = 1_767_225_600_000_000;

/// A partial update that may make the app.
pub(crate) const PUT: PutApp =
    PutApp { partial: true, create: true, force: false, null_removes: false, dry_run: false };

/// What runs somewhere.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) agent: usize,
    pub(crate) launch: Launch,
    pub(crate) state: TaskState,
    pub(crate) is_killed: bool,
    /// What it takes: of a pod, its container's part.
    pub(crate) resources: Resources,
}

/// One machine.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) host: String,
    pub(crate) total: Resources,
    pub(crate) attributes: Attributes,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) is_up: bool,
    /// Whether others have all of it, so that it makes no offers.
    pub(crate) is_full: bool,
    /// Whether an operator has taken it out of use; what runs there goes on.
    pub(crate) is_deactivated: bool,
    /// Whether an operator said that it never comes back.
    pub(crate) is_gone: bool,
    /// When it is to be away.
    pub(crate) away: Option<Unavailability>,
}

impl Agent {
    /// As the master tells of it.
    fn view(&self) -> AgentView {
        let place = Place {
            agent: self.id.clone(),
            host: self.host.as_str().into(),
            region: self.region.clone(),
            zone: None,
            attributes: matcher::written(&self.attributes),
        };
        let is_in_use = self.is_up && !self.is_deactivated;
        let allocated = if self.is_full { self.total.clone() } else { Resources::none() };
        AgentView { place, is_in_use, total: self.total.clone(), allocated }
    }
}

pub(crate) struct World {
    pub(crate) marathon: Marathon,
    pub(crate) time: Duration,
    pub(crate) store: BTreeMap<String, Vec<u8>>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) tasks: BTreeMap<TaskId, Running>,
    pub(crate) view: View,
    pub(crate) events: Vec<Value>,
    pub(crate) answers: BTreeMap<u64, Result<Answer, Refusal>>,
    pub(crate) launched: BTreeSet<TaskId>,
    pub(crate) acknowledged: u64,
    /// Whether the master tells its agents when it is asked; absent: it does not answer.
    pub(crate) tells_agents: Option<bool>,
    /// Which of several health checks the next report says to fail.
    pub(crate) failing: Vec<FailingCheck>,
    /// Whom was asked whether it is ready.
    pub(crate) probes: Vec<Probe>,
    pub(crate) is_suppressed: bool,
    pub(crate) revives: u32,
    pub(crate) declined: u32,
    pub(crate) asked: Asked,
    /// What the master has still to do, in order.
    inbox: VecDeque<Output>,
    /// Agents whose offers were refused since the last revive.
    filtered: BTreeSet<usize>,
    /// Whether tasks get to run as soon as they are launched.
    pub(crate) is_starting: bool,
    /// Whether kills are heard.
    pub(crate) is_killing: bool,
    pub(crate) most: BTreeMap<String, usize>,
    offers: BTreeMap<OfferId, usize>,
    requests: u64,
    pub(crate) numbers: u64,
    /// Roles that Marathon is in.
    pub(crate) roles: Vec<String>,
    /// The one that is its own.
    own_role: Arc<str>,
    /// The role that offers are made in.
    pub(crate) role: Role,
    pub(crate) accepted_inverse: Vec<OfferId>,
    /// What was reserved, by its id, with the agent it is on.
    pub(crate) reserved: BTreeMap<Arc<str>, (usize, Resources)>,
}

/// What is shown, read back.
pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

pub(crate) fn config(seed: u64) -> Config {
    Config { seed, revive_interval: Duration::ZERO, ..Config::default() }
}

impl World {
    /// A Marathon that leads and knows the master, with `agents` of 4 cores and 4 GiB.
    pub(crate) fn new(agents: usize) -> Self {
        Self::with(agents, config(7))
    }

    /// The same, with other settings.
    pub(crate) fn with(agents: usize, config: Config) -> Self {
        let own_role = config.role.clone();
        let role = Role::new(own_role.clone()).expect("a role");
        let mut world = Self {
            marathon: Marathon::new(config),
            time: Duration::ZERO,
            store: BTreeMap::new(),
            agents: Vec::new(),
            tasks: BTreeMap::new(),
            view: View::new("*".into()),
            events: Vec::new(),
            answers: BTreeMap::new(),
            launched: BTreeSet::new(),
            acknowledged: 0,
            probes: Vec::new(),
            failing: Vec::new(),
            tells_agents: Some(true),
            is_suppressed: false,
            revives: 0,
            declined: 0,
            asked: Asked::default(),
            inbox: VecDeque::new(),
            filtered: BTreeSet::new(),
            is_starting: true,
            is_killing: true,
            most: BTreeMap::new(),
            offers: BTreeMap::new(),
            requests: 0,
            numbers: 0,
            roles: Vec::new(),
            own_role,
            role,
            accepted_inverse: Vec::new(),
            reserved: BTreeMap::new(),
        };
        for n in 0..agents {
            let rack = format!("rack:r{};level:{n}", n % 2);
            world.add_agent(
                &format!("host{n}"),
                "cpus:4;mem:4096;disk:1000;ports:[31000-31999]",
                &rack,
            );
        }
        world.lead();
        world
    }

    pub(crate) fn add_agent(&mut self, host: &str, resources: &str, attributes: &str) {
        self.agents.push(Agent {
            id: AgentId::new(format!("S{}", self.agents.len())).expect("an id"),
            host: host.to_owned(),
            total: Resources::parse(resources, &Role::any()).expect("resources"),
            attributes: Attributes::parse(attributes).expect("attributes"),
            region: None,
            is_up: true,
            is_full: false,
            is_deactivated: false,
            is_gone: false,
            away: None,
        });
    }

    /// Takes the lead with what is stored, and meets the master.
    pub(crate) fn lead(&mut self) {
        let stored = self.store.clone().into_iter().collect();
        self.step(Input::Lead { stored });
        self.step(Input::Subscribed {
            framework: FrameworkId::new("F-0000").expect("an id"),
            master: "master:5050".into(),
            region: None,
        });
    }

    /// Dies and comes back with another seed and what the store has.
    pub(crate) fn crash(&mut self) {
        self.numbers += 1;
        let role = self.own_role.clone();
        self.marathon = Marathon::new(Config { role, ..config(1_000 + self.numbers) });
        self.view = View::new("*".into());
        self.inbox.clear();
        self.offers.clear();
        self.filtered.clear();
        self.is_suppressed = false;
        self.lead();
    }

    pub(crate) fn now(&self) -> Now {
        let micros = u64::try_from(self.time.as_micros()).expect("stories are short");
        Now { time: Time(self.time), wall: Timestamp(START + micros) }
    }

    /// Lets one thing happen, writes commit at once, and queues what the master has to do.
    pub(crate) fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.marathon.step(input, self.now(), &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Output>) {
        let mut out = VecDeque::from(out);
        while let Some(output) = out.pop_front() {
            match output {
                Output::Store { write, puts } => {
                    for (key, value) in puts {
                        match value {
                            Some(value) => self.store.insert(key, value),
                            None => self.store.remove(&key),
                        };
                    }
                    let mut more = Vec::new();
                    self.marathon.step(Input::Committed { write }, self.now(), &mut more);
                    out.extend(more);
                }
                Output::View(change) => {
                    self.view.apply(change);
                    self.count();
                }
                Output::Event(event) => self.events.push(event.to_json(true)),
                Output::Answer { request, answer } => {
                    self.answers.insert(request.0, answer);
                }
                Output::Probe(probe) => self.probes.push(probe),
                Output::Acknowledge { .. } => self.acknowledged += 1,
                Output::Subscribe { roles, .. } | Output::Roles { roles, .. } => {
                    self.roles = roles.iter().map(ToString::to_string).collect();
                }
                Output::AcceptInverse { offers } => self.accepted_inverse.extend(offers),
                Output::StepDown => panic!("no write failed"),
                Output::Accept { .. }
                | Output::Decline { .. }
                | Output::Revive
                | Output::Suppress
                | Output::AskAgents
                | Output::Kill { .. }
                | Output::Reconcile(_) => self.inbox.push_back(output),
            }
        }
    }

    /// Remembers how many tasks each app ever had at once.
    fn count(&mut self) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for task in self.tasks.values() {
            *counts.entry(task.launch.app.id.to_string()).or_default() += 1;
        }
        for (app, count) in counts {
            let most = self.most.entry(app).or_default();
            *most = (*most).max(count);
        }
    }

    /// Does one thing the master was asked for. False if there is none.
    pub(crate) fn serve(&mut self) -> bool {
        let Some(output) = self.inbox.pop_front() else { return false };
        match output {
            Output::Accept { offer, releases, launches, refuse_for, .. } => {
                self.asked.accepted.push((launches.len(), refuse_for));
                let Some(agent) = self.offers.remove(&offer) else {
                    for launch in launches {
                        self.report_of(
                            &launch.task,
                            None,
                            TaskState::Dropped,
                            Some(Reason::InvalidOffers),
                        );
                    }
                    return true;
                };
                if !refuse_for.is_zero() {
                    self.filtered.insert(agent);
                }
                // What is released was not in the offer, so no filter is on it.
                for release in &releases {
                    self.release(release);
                }
                for launch in launches {
                    self.claim(agent, &launch);
                    for (task, resources) in parts(&launch) {
                        assert!(self.launched.insert(task.clone()), "{task} twice");
                        let (launch, state, is_killed) =
                            (launch.clone(), TaskState::Staging, false);
                        let running = Running { agent, launch, state, is_killed, resources };
                        self.tasks.insert(task, running);
                    }
                    self.count();
                }
                for agent in 0..self.agents.len() {
                    let used = self.used(agent);
                    assert!(self.agents[agent].total.contains(&used), "too much: {used}");
                }
            }
            Output::Decline { offers, refuse_for } => {
                self.asked.refused_for.insert(refuse_for);
                for offer in offers {
                    self.declined += 1;
                    self.filtered.extend(self.offers.remove(&offer));
                }
            }
            Output::Revive => {
                self.is_suppressed = false;
                self.revives += 1;
                self.filtered.clear();
            }
            Output::Suppress => self.is_suppressed = true,
            Output::AskAgents => {
                let all = self.agents.iter().map(Agent::view).collect();
                if let Some(tells) = self.tells_agents {
                    self.step(Input::Agents(Some(all).filter(|_| tells)));
                }
            }
            Output::Kill { task, .. } => {
                if self.is_killing {
                    match self.tasks.get_mut(&task) {
                        Some(running) => running.is_killed = true,
                        None => self.report_of(
                            &task,
                            None,
                            TaskState::Unknown,
                            Some(Reason::Reconciliation),
                        ),
                    }
                }
            }
            Output::Reconcile(tasks) => self.reconcile(tasks),
            Output::Store { .. }
            | Output::StepDown
            | Output::Subscribe { .. }
            | Output::Roles { .. }
            | Output::AcceptInverse { .. }
            | Output::Acknowledge { .. }
            | Output::Probe(_)
            | Output::Answer { .. }
            | Output::Event(_)
            | Output::View(_) => unreachable!("done at once"),
        }
        true
    }

    fn used(&self, agent: usize) -> Resources {
        let mut used = self.reserved_on(agent);
        let plain = |it: &&Running| it.agent == agent && it.launch.claim.is_none();
        for task in self.tasks.values().filter(plain) {
            used.add(&task.resources);
        }
        used
    }

    /// Makes offers of all that is free and not refused. False if there is nothing to offer.
    pub(crate) fn offer(&mut self) -> bool {
        if self.is_suppressed {
            return false;
        }
        let mut views = Vec::new();
        for n in 0..self.agents.len() {
            let is_out = self.offers.values().any(|agent| *agent == n);
            let is_silent =
                !self.agents[n].is_up || self.agents[n].is_full || self.agents[n].is_deactivated;
            if is_silent || self.filtered.contains(&n) || is_out {
                continue;
            }
            self.numbers += 1;
            let agent = &self.agents[n];
            let id = OfferId::new(format!("O{}", self.numbers)).expect("an id");
            self.offers.insert(id.clone(), n);
            views.push(OfferView {
                held: self.held(n),
                offer: Offer {
                    id,
                    framework: FrameworkId::new("F-0000").expect("an id"),
                    role: self.role.clone(),
                    agent: agent.id.clone(),
                    hostname: agent.host.as_str().into(),
                    resources: agent.total.minus(&self.used(n)),
                    executors: BTreeSet::new(),
                    agent_info: Payload::default(),
                    agent_address: "".into(),
                    unavailability: agent.away,
                },
                attributes: agent.attributes.clone(),
                region: agent.region.clone(),
                zone: None,
            });
        }
        if views.is_empty() {
            return false;
        }
        self.step(Input::Offers(views));
        true
    }

    /// All offers are taken back.
    pub(crate) fn rescind_all(&mut self) {
        self.offers.clear();
    }

    /// What was refused is offered again, as after a while.
    pub(crate) fn offer_again(&mut self) {
        self.filtered.clear();
        self.rest();
    }

    /// Lets one task get on. False if none does.
    pub(crate) fn work(&mut self) -> bool {
        let next = self.tasks.iter().find_map(|(id, task)| {
            if !self.agents[task.agent].is_up {
                return None;
            }
            if task.is_killed {
                return Some((id.clone(), TaskState::Killed));
            }
            let starts = self.is_starting && task.state == TaskState::Staging;
            starts.then(|| (id.clone(), TaskState::Running))
        });
        let Some((task, state)) = next else { return false };
        self.report(&task, state, None);
        true
    }

    /// Lets everything happen that follows, without time passing.
    pub(crate) fn rest(&mut self) {
        for _ in 0..20_000 {
            if !(self.serve() || self.work() || self.offer()) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Lets time pass, with everything that falls due and follows.
    pub(crate) fn pass(&mut self, secs: f64) {
        let end = self.time + Duration::from_secs_f64(secs);
        loop {
            self.rest();
            match self.marathon.next_deadline().filter(|at| at.0 <= end) {
                None => break,
                Some(at) => {
                    self.time = self.time.max(at.0);
                    let mut out = Vec::new();
                    self.marathon.wake(self.now(), &mut out);
                    self.take(out);
                }
            }
        }
        self.time = end;
    }

    /// Asks, and hands back the answer.
    pub(crate) fn ask(&mut self, command: Command) -> Result<Answer, Refusal> {
        self.requests += 1;
        let request = self.requests;
        self.step(Input::Ask(Ask {
            request: RequestId(request),
            client: "127.0.0.1".into(),
            uri: "/v2/apps".into(),
            command,
        }));
        self.answers.remove(&request).expect("every request is answered")
    }

    pub(crate) fn create(&mut self, body: Value) -> Answer {
        self.ask(Command::CreateApp { body, force: false }).expect("created")
    }

    /// An app as the API shows it.
    pub(crate) fn shown(&self, id: &str, embed: Embed) -> Option<Value> {
        self.view.app(&app(id), embed).map(|text| parsed(&text))
    }

    pub(crate) fn put(&mut self, id: &str, body: Value) -> Result<Answer, Refusal> {
        self.ask(Command::PutApp { id: app(id), body, how: PUT })
    }

    pub(crate) fn force(&mut self, id: &str, body: Value) -> Answer {
        self.ask(Command::PutApp { id: app(id), body, how: PutApp { force: true, ..PUT } })
            .expect("forced")
    }

    pub(crate) fn delete(&mut self, id: &str) -> Answer {
        self.ask(Command::DeleteApp { id: app(id), force: true }).expect("deleted")
    }

    pub(crate) fn instances(&self, id: &str) -> Vec<Arc<Instance>> {
        self.view.instances_of(&app(id)).cloned().collect()
    }

    pub(crate) fn running(&self, id: &str) -> usize {
        let all = self.instances(id);
        all.iter().filter(|it| it.condition == Condition::Running).count()
    }

    pub(crate) fn tasks_of(&self, id: &str) -> Vec<TaskId> {
        let of = self.tasks.iter().filter(|(_, task)| task.launch.app.id.as_str() == id);
        of.map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn app(&self, id: &str) -> Arc<App> {
        self.view.tree.apps[&app(id)].clone()
    }

    /// Types of the events since the last time, without those of instances.
    pub(crate) fn kinds(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.events);
        let kinds = all.iter().map(|event| event["eventType"].as_str().expect("typed").to_owned());
        kinds
            .filter(|kind| !["instance_changed_event", "status_update_event"].contains(&&**kind))
            .collect()
    }
}

/// The tasks of a launch, each with what it takes; what the executor takes goes with the first.
fn parts(launch: &Launch) -> Vec<(TaskId, Resources)> {
    if launch.containers.is_empty() {
        return vec![(launch.task.clone(), launch.resources.clone())];
    }
    let mut parts = launch.containers.clone();
    parts[0].1.add(&launch.executor);
    let sum = parts.iter().fold(Resources::none(), |sum, (_, part)| sum.plus(part));
    assert_eq!(sum, launch.resources, "nothing is left over");
    parts
}

pub(crate) fn app(id: &str) -> AppId {
    AppId::parse(id).expect("an id")
}

/// A plain app of `instances`.
pub(crate) fn sleeper(id: &str, instances: u32) -> Value {
    json!({"id": id, "cmd": "sleep 1000", "cpus": 0.1, "mem": 32, "instances": instances})
}

pub(crate) fn instance_of(task: &TaskId) -> InstanceId {
    InstanceId::of_task(task.as_str()).expect("one of ours")
}
