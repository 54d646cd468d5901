//! Agents, and the disk that outlives them.

use crate::containers::{Container, ContainerEvent};
use crate::volumes::VolumeStore;
use crate::world::{Arrival, Event, Life, Node, World, deadline};
use agent_core::input::Recovered;
use agent_core::output::Change;
use agent_core::record::Key;
use agent_core::{Agent, Config, Input, Output, Record};
use model::capability::AgentCapability;
use model::ids::{AgentId, ConnectionId, ContainerId, TaskId, Term};
use model::link::{AgentDescription, ToAgent};
use model::operation::Operation;
use model::payload::Payload;
use model::resources::Resources;
use model::search::Search;
use model::step::{Core, Time};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A machine: the agent on it if it is up, its disk, its containers.
#[derive(Default)]
pub(crate) struct AgentNode {
    pub(crate) core: Option<Agent>,
    pub(crate) life: Life,
    /// What is on disk.
    pub(crate) records: BTreeMap<Key, Record>,
    /// What is to be written and nothing waits for, and since when.
    unwritten: Vec<Record>,
    unwritten_since: Time,
    pub(crate) containers: BTreeMap<ContainerId, Container>,
    pub(crate) link: Option<ConnectionId>,
    /// The highest term a master has spoken to it in, as its shell keeps it.
    term_seen: Term,
    /// When it looks for a master again that it has lost.
    search: Option<Search>,
    /// Whether it keeps looking for a master.
    is_connecting: bool,
    /// Whether it is to crash in the middle of what it does next.
    pub(crate) is_doomed: bool,
    /// Whether the machine is booted before the agent starts again.
    pub(crate) is_rebooting: bool,
    /// All tasks that were started here, as long as it was known under one id.
    pub(crate) ran: Vec<TaskId>,
    /// All it has, with what operations have made of it.
    pub(crate) total: Resources,
    /// The operation that it is just being told of.
    told: Option<Operation>,
    pub(crate) volumes: VolumeStore,
}

/// How long records wait for others to be written with, if nothing waits for them.
const LAZY: Duration = Duration::from_millis(100);

/// What its machine is called.
pub(crate) fn hostname(at: usize) -> Arc<str> {
    format!("host-{at}").into()
}

/// A machine with what operations have made of it.
fn made_of(machine: &Resources, made: &Resources) -> Resources {
    machine.with_made(made).expect("an agent keeps what its machine can have")
}

impl AgentNode {
    /// What masters know it by; absent until one has let it in.
    pub(crate) fn id(&self) -> Option<&AgentId> {
        let Some(Record::Identity(identity)) = self.records.get(&Key::Identity) else {
            return None;
        };
        Some(&identity.agent)
    }

    /// How long it lets others come back before it does so itself.
    pub(crate) fn turn(&mut self) -> Duration {
        self.search.as_mut().map_or(Duration::ZERO, Search::turn)
    }

    /// Writes a record, and what has waited to be written with it.
    fn keep(&mut self, record: Record) {
        self.unwritten.push(record);
        self.write(self.unwritten.len());
    }

    fn keep_lazily(&mut self, record: Record, now: Time) {
        if self.unwritten.is_empty() {
            self.unwritten_since = now;
        }
        self.unwritten.push(record);
    }

    /// Writes so many of those that wait.
    fn write(&mut self, count: usize) {
        for record in self.unwritten.drain(..count) {
            if record.is_forget() {
                self.records.remove(&record.key());
            } else {
                self.records.insert(record.key(), record);
            }
        }
    }

    /// What has waited for too long has been written.
    fn write_old(&mut self, now: Time) {
        if now.0 >= self.unwritten_since.0 + LAZY {
            self.write(self.unwritten.len());
        }
    }
}

impl World {
    pub(crate) fn start_agent(&mut self, at: usize) {
        if self.agents[at].core.is_some() {
            return;
        }
        let resources = self.settings.machine.clone();
        self.agents[at].total = resources.clone();
        let config = Config {
            description: AgentDescription {
                hostname: hostname(at),
                address: format!("10.0.0.{at}:5051").into(),
                resources,
                attributes: model::resources::Attributes::default(),
                domain: None,
                version: model::version::SPOKEN.into(),
                capabilities: AgentCapability::ALL.iter().copied().collect(),
                info: Payload::default(),
            },
            executor_registration_timeout: Duration::from_secs(60),
            executor_reregistration_timeout: Duration::from_secs(2),
            executor_shutdown_grace_period: Duration::from_secs(5),
            registration_backoff_factor: Duration::from_millis(100),
            acls: Arc::default(),
        };
        let seed = self.ids.next_u64();
        let node = &mut self.agents[at];
        node.core = Some(Agent::new(config, seed));
        node.search = Some(Search::new(Vec::new(), Duration::ZERO, Duration::ZERO, seed));
        node.volumes.purge_leftovers(&node.records);
        node.is_connecting = false;
        let rebooted = std::mem::take(&mut node.is_rebooting);
        let mut recovered = Recovered { rebooted, ..Recovered::default() };
        recovered.records = node.records.values().cloned().collect();
        if rebooted {
            node.containers.clear();
        }
        for (id, container) in &node.containers {
            match &container.exit {
                None => recovered.alive.push(id.clone()),
                Some(exit) => recovered.exited.push((id.clone(), exit.clone())),
            }
        }
        // What has ended was told just now.
        node.containers.retain(|_, container| container.exit.is_none());
        let life = node.life;
        self.step_agent(at, life, Input::Recovered(recovered));
        self.executors_look_again(at);
    }

    /// A master has said something.
    pub(crate) fn agent_hears(&mut self, at: usize, life: Life, input: Input) {
        if let Input::FromMaster { term, .. } = &input {
            let seen = &mut self.agents[at].term_seen;
            *seen = (*seen).max(*term);
        }
        self.step_agent(at, life, input);
    }

    pub(crate) fn step_agent(&mut self, at: usize, life: Life, input: Input) {
        let now = self.clocks();
        let node = &mut self.agents[at];
        if node.life != life {
            return;
        }
        let Some(core) = &mut node.core else { return };
        let mut out = Vec::new();
        core.wake(now, &mut out);
        if let Input::FromMaster { message: ToAgent::Apply(operation), .. } = &input {
            node.told = Some((**operation).clone());
        }
        core.step(input, now, &mut out);
        self.after_agent(at, out);
        self.agents[at].told = None;
    }

    pub(crate) fn wake_agent(&mut self, at: usize, life: Life) {
        let now = self.clocks();
        let node = &mut self.agents[at];
        if node.life != life {
            return;
        }
        let Some(core) = &mut node.core else { return };
        let mut out = Vec::new();
        core.wake(now, &mut out);
        self.after_agent(at, out);
    }

    fn after_agent(&mut self, at: usize, mut out: Vec<Output>) {
        let now = self.now;
        self.agents[at].write_old(now);
        let is_doomed = self.agents[at].is_doomed && !out.is_empty();
        if is_doomed {
            // Outputs are done in order, so any first part of them may have been done.
            let done = self.faults.below(out.len() as u64 + 1);
            out.truncate(usize::try_from(done).unwrap_or(0));
        }
        let life = self.agents[at].life;
        for output in out {
            if self.settings.is_traced && !matches!(output, Output::View(_)) {
                println!("{:>12.6}   agent {at}: {output:?}", self.now.0.as_secs_f64());
            }
            self.perform_for_agent(at, life, output);
        }
        if is_doomed {
            self.crash_agent(at);
            let back = self.some_time(Duration::from_secs(20));
            self.after(back, Event::Start(Node::Agent(at)));
            return;
        }
        let wake = deadline(self.agents[at].core.as_ref());
        self.schedule_wake(Node::Agent(at), life, wake);
    }

    fn perform_for_agent(&mut self, at: usize, life: Life, output: Output) {
        match output {
            Output::Append(record) => self.agents[at].keep(record),
            Output::AppendLazily(record) => self.agents[at].keep_lazily(record, self.now),
            Output::AppendTogether(records) => {
                for record in records {
                    if let Record::Made(made) = &record {
                        self.made_on_disk(at, made);
                    }
                    self.laws.kept_by_agent(&record);
                    self.agents[at].keep(record);
                }
            }
            Output::MakeVolumes(volumes) => {
                if let Some(what) = self.agents[at].volumes.make(&volumes) {
                    self.laws.broke(what);
                }
            }
            Output::RemoveVolumes { operation, volumes } => {
                self.agents[at].volumes.remove(operation, &volumes);
                let input = Box::new(Input::VolumesRemoved { operation, volumes });
                let wait = self.some_time(Duration::from_millis(20));
                self.after(wait, Event::ToAgent(at, life, input));
            }
            Output::PurgeVolumes { operation, .. } => self.agents[at].volumes.purge(operation),
            Output::Note(note) => self.laws.noted_by_agent(&note),
            Output::View(Change::Total(total)) => {
                if total != self.on_disk(at) {
                    let what = format!("memory: agent {at} has {total:?}, and not that on disk");
                    self.laws.broke(what);
                }
                self.laws.agent_has(at, &total, &self.settings.machine);
                self.agents[at].total = total;
            }
            Output::Connect => {
                self.agents[at].is_connecting = true;
                let wait = self.some_time(Duration::from_millis(50));
                self.after(wait, Event::AgentDials(at, life));
            }
            Output::Reconnect => {
                if let Some(link) = self.agents[at].link.take() {
                    self.hang_up(link);
                }
                let wait = self.some_time(Duration::from_millis(500)) + self.agents[at].turn();
                self.after(wait, Event::AgentDials(at, life));
            }
            Output::Learn(masters) => {
                if let Some(search) = &mut self.agents[at].search {
                    search.learn(&masters);
                }
            }
            Output::ToMaster(message) => {
                let Some(connection) = self.agents[at].link else { return };
                let term_seen = self.agents[at].term_seen;
                let input = master_core::Input::FromAgent { connection, term_seen, message };
                self.send(connection, Arrival::AtMaster(input), true);
            }
            Output::AnswerExecutor { request, answer } => {
                self.executor_answered(at, request, answer.is_ok());
            }
            Output::ToExecutor { connection, event } => self.tell_executor(at, connection, event),
            Output::CloseExecutor { connection } => self.executor_closed(at, connection),
            Output::LaunchContainer(launch) => self.launch_container(at, &launch),
            Output::DestroyContainer { container } => {
                let wait = self.some_time(Duration::from_millis(100));
                self.after(wait, Event::Container(at, container, ContainerEvent::Destroyed));
            }
            Output::Remember(_)
            | Output::UpdateContainer(_)
            | Output::ShowVolumes { .. }
            | Output::View(_) => {}
            Output::Exit { .. } => {
                // Nobody who leads later needs to know of what it ran under this id.
                let ran = std::mem::take(&mut self.agents[at].ran);
                self.laws.went_down.extend(ran);
                self.crash_agent(at);
                // Whoever looks after the machine starts it again.
                if !self.settings.is_told {
                    self.back_after(Node::Agent(at), Duration::from_secs(20));
                }
            }
        }
    }

    /// What an agent has by what is on its disk.
    fn on_disk(&self, at: usize) -> Resources {
        let machine = &self.settings.machine;
        let made = self.agents[at].records.get(&Key::Made).and_then(Record::made);
        made.map_or_else(|| machine.clone(), |made| made_of(machine, made))
    }

    fn made_on_disk(&mut self, at: usize, made: &Resources) {
        let (before, now) = (self.on_disk(at), made_of(&self.settings.machine, made));
        self.laws.made_on_disk(at, &before, &now, self.agents[at].told.as_ref());
    }

    /// Looks for the leading master, again and again until there is one.
    pub(crate) fn agent_dials(&mut self, at: usize, life: Life) {
        let node = &self.agents[at];
        let is_up = node.life == life && node.core.is_some() && node.is_connecting;
        let has_link = node.link.is_some_and(|link| self.network.wires.contains_key(&link));
        if !is_up || has_link {
            return;
        }
        let Some(connection) = self.connect(Node::Agent(at), life) else {
            let wait = Duration::from_millis(100) + self.some_time(Duration::from_millis(900));
            let wait = wait + self.agents[at].turn();
            self.after(wait, Event::AgentDials(at, life));
            return;
        };
        self.agents[at].link = Some(connection);
        let hello = master_core::Input::AgentConnected { connection };
        self.send(connection, Arrival::AtMaster(hello), true);
        self.step_agent(at, life, Input::LinkUp { link: connection });
    }

    pub(crate) fn crash_agent(&mut self, at: usize) {
        let now = self.now;
        let (node, faults) = (&mut self.agents[at], &mut self.faults);
        node.is_doomed = false;
        if node.core.take().is_none() {
            return;
        }
        node.write_old(now);
        if !node.unwritten.is_empty() {
            // Of what nothing waited for, any first part may have been written.
            let written = faults.below(node.unwritten.len() as u64 + 1);
            node.write(usize::try_from(written).unwrap_or(0));
            node.unwritten.clear();
        }
        node.life += 1;
        node.link = None;
        for container in node.containers.values_mut() {
            container.connection = None;
        }
        self.break_all(Node::Agent(at));
    }
}
