//! Stories, and what holds over all of them.
#![expect(clippy::wildcard_enum_match_arm, reason = "tests look at the outputs they are about")]

mod crashes;
mod draining;
mod operations;
mod stories;

use crate::agent::{Agent, Config};
use crate::input::{Input, Recovered, Subscribe};
use crate::output::Output;
use crate::record::Record;
use model::amount::Milli;
use model::capability::AgentCapability;
use model::framework::{Capabilities, Framework};
use model::ids::{
    AgentId, ConnectionId, ContainerId, ExecutorId, FrameworkId, RequestId, TaskId, Term, UpdateId,
};
use model::link::{AgentDescription, FromAgent, Launch, ToAgent};
use model::payload::Payload;
use model::resources::Resources;
use model::role::Role;
use model::step::{Core, Now, Time, Timestamp};
use model::task::{ExecutorSpec, Needs, RunsBy, Source, Status, TaskSpec, TaskState};
use std::time::Duration;

pub(super) const LINK: ConnectionId = ConnectionId(1);
pub(super) const STREAM: ConnectionId = ConnectionId(7);
pub(super) const REQUEST: RequestId = RequestId(3);

pub(super) fn fid() -> FrameworkId {
    FrameworkId::new("f").expect("an id")
}

pub(super) fn tid(name: &str) -> TaskId {
    TaskId::new(name).expect("an id")
}

pub(super) fn eid(name: &str) -> ExecutorId {
    ExecutorId::new(name).expect("an id")
}

pub(super) fn aid() -> AgentId {
    AgentId::new("m-S0").expect("an id")
}

pub(super) fn cpus(milli: i64) -> Resources {
    Resources::scalars([("cpus", Milli(milli))])
}

pub(super) fn framework() -> Framework {
    Framework {
        id: Some(fid()),
        name: "f".into(),
        user: "".into(),
        roles: [Role::any()].into(),
        capabilities: Capabilities { partition_aware: true, ..Capabilities::default() },
        failover_timeout: Duration::ZERO,
        checkpoint: true,
        principal: None,
        min_allocatable: std::collections::BTreeMap::new(),
        info: Payload::default(),
    }
}

pub(super) fn task(name: &str, milli: i64) -> TaskSpec {
    TaskSpec {
        id: tid(name),
        name: name.into(),
        agent: aid(),
        resources: cpus(milli),
        runs_by: RunsBy::Command,
        user: None,
        kill_grace: None,
        needs: Needs::default(),
        info: Payload::default(),
    }
}

pub(super) fn executor(name: &str, milli: i64) -> ExecutorSpec {
    ExecutorSpec {
        id: eid(name),
        is_default: false,
        resources: cpus(milli),
        role: None,
        user: None,
        shutdown_grace: None,
        info: Payload::default(),
    }
}

pub(super) fn command(task: TaskSpec) -> ToAgent {
    ToAgent::Launch(Box::new(Launch {
        framework: framework(),
        executor: None,
        starts_executor: true,
        is_group: false,
        tasks: vec![task],
        accepted_at: Timestamp(0),
    }))
}

pub(super) fn on_executor(executor: ExecutorSpec, tasks: Vec<TaskSpec>, is_group: bool) -> ToAgent {
    ToAgent::Launch(Box::new(Launch {
        framework: framework(),
        executor: Some(executor),
        starts_executor: true,
        is_group,
        tasks,
        accepted_at: Timestamp(0),
    }))
}

pub(super) fn status(name: &str, state: TaskState, uuid: u8) -> Status {
    let mut status = Status::new(tid(name), state, Source::Executor, Timestamp(5));
    status.uuid = Some(UpdateId([uuid; 16]));
    status
}

pub(super) fn update(name: &str, executor: &str, state: TaskState, uuid: u8) -> Input {
    Input::Update {
        request: REQUEST,
        framework: fid(),
        executor: eid(executor),
        status: status(name, state, uuid),
    }
}

pub(super) fn subscribe(executor: &str, connection: ConnectionId) -> Subscribe {
    Subscribe {
        request: REQUEST,
        connection,
        framework: fid(),
        executor: eid(executor),
        unacknowledged_updates: Vec::new(),
        unacknowledged_tasks: Vec::new(),
    }
}

pub(super) fn config() -> Config {
    Config {
        description: AgentDescription {
            hostname: "host".into(),
            address: "127.0.0.1:5051".into(),
            resources: cpus(4_000),
            attributes: model::resources::Attributes::default(),
            domain: None,
            version: "0.1.0".into(),
            capabilities: AgentCapability::ALL.iter().copied().collect(),
            info: Payload::default(),
        },
        executor_registration_timeout: Duration::from_secs(60),
        executor_reregistration_timeout: Duration::from_secs(2),
        executor_shutdown_grace_period: Duration::from_secs(5),
        registration_backoff_factor: Duration::from_secs(1),
        acls: std::sync::Arc::default(),
    }
}

/// An agent, the clock, and the store that its records go to.
pub(super) struct Story {
    pub(super) agent: Agent,
    pub(super) secs: u64,
    pub(super) store: Vec<Record>,
    /// What is to be written and nothing waits for.
    pub(super) unwritten: Vec<Record>,
}

impl Story {
    /// An agent without a past, registered.
    pub(super) fn registered() -> Self {
        let mut story = Self::restarted(Vec::new(), Recovered::default(), 1);
        story.step(Input::LinkUp { link: LINK });
        story.hear(ToAgent::Registered { agent: aid(), ping_timeout: Duration::from_secs(75_000) });
        assert!(story.agent.is_registered());
        story
    }

    /// An agent that has not been told of its past.
    pub(super) fn with_store(store: Vec<Record>, seed: u64) -> Self {
        Self { agent: Agent::new(config(), seed), secs: 0, store, unwritten: Vec::new() }
    }

    /// An agent with a past.
    pub(super) fn restarted(records: Vec<Record>, mut was: Recovered, seed: u64) -> Self {
        let mut story = Self::with_store(records, seed);
        was.records.clone_from(&story.store);
        story.step(Input::Recovered(was));
        story
    }

    pub(super) fn now(&self) -> Now {
        Now { time: Time(Duration::from_secs(self.secs)), wall: Timestamp(self.secs * 1_000_000) }
    }

    /// What comes of `input`, without notes and views. Records go to the store as well.
    pub(super) fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.agent.step(input, self.now(), &mut out);
        self.keep(out)
    }

    pub(super) fn hear(&mut self, message: ToAgent) -> Vec<Output> {
        self.step(Input::FromMaster { link: LINK, term: Term(1), message })
    }

    pub(super) fn hear_all(&mut self, messages: impl IntoIterator<Item = ToAgent>) {
        for message in messages {
            self.hear(message);
        }
    }

    pub(super) fn wait(&mut self, secs: u64) -> Vec<Output> {
        self.secs += secs;
        let mut out = Vec::new();
        self.agent.wake(self.now(), &mut out);
        self.keep(out)
    }

    fn keep(&mut self, out: Vec<Output>) -> Vec<Output> {
        for output in &out {
            match output {
                Output::AppendLazily(record) => self.unwritten.push(record.clone()),
                Output::Append(record) => {
                    self.unwritten.push(record.clone());
                    self.write();
                }
                Output::AppendTogether(records) => {
                    self.unwritten.extend(records.iter().cloned());
                    self.write();
                }
                _ => {}
            }
        }
        out.into_iter().filter(|it| !matches!(it, Output::Note(_) | Output::View(_))).collect()
    }

    /// What is to be written is.
    pub(super) fn write(&mut self) {
        for record in std::mem::take(&mut self.unwritten) {
            let key = record.key();
            self.store.retain(|old| old.key() != key);
            if !record.is_forget() {
                self.store.push(record);
            }
        }
    }

    /// The only container there is.
    pub(super) fn container(&self) -> ContainerId {
        let mut all = self.agent.containers.keys();
        let one = all.next().expect("a container").clone();
        assert_eq!(all.next(), None);
        one
    }

    pub(super) fn subscribed(&mut self, executor: &str) -> Vec<Output> {
        self.step(Input::Subscribe(subscribe(executor, STREAM)))
    }
}

/// The states in the status updates among `out`, with their tasks.
pub(super) fn told(out: &[Output]) -> Vec<(String, TaskState)> {
    out.iter()
        .filter_map(|output| match output {
            Output::ToMaster(FromAgent::StatusUpdate { status, .. }) => {
                Some((status.task.to_string(), status.state))
            }
            _ => None,
        })
        .collect()
}

/// `out` in short: what happens, without the contents.
pub(super) fn short(out: &[Output]) -> Vec<String> {
    out.iter()
        .map(|output| match output {
            Output::Append(record) if record.is_forget() => format!("forget {:?}", record.key()),
            Output::Append(record) => format!("append {:?}", record.key()),
            Output::AppendLazily(record) if record.is_forget() => {
                format!("lazily forget {:?}", record.key())
            }
            Output::AppendLazily(record) => format!("lazily append {:?}", record.key()),
            Output::AppendTogether(records) => {
                let keys: Vec<_> = records.iter().map(Record::key).collect();
                format!("append {keys:?}")
            }
            Output::LaunchContainer(launch) => {
                format!("launch {} with {}", launch.executor.id, launch.resources)
            }
            Output::UpdateContainer(update) => format!("update container {}", update.resources),
            Output::ShowVolumes { volumes, .. } => {
                let all = volumes.iter().filter_map(|(key, _)| key.kind.disk.as_ref());
                let ids = all.filter_map(|disk| disk.persistence.as_ref()).map(|it| it.id.as_str());
                format!("show volumes {}", ids.collect::<Vec<_>>().join(","))
            }
            Output::DestroyContainer { .. } => "destroy container".to_owned(),
            Output::AnswerExecutor { answer, .. } => format!("answer {answer:?}"),
            Output::ToExecutor { event, .. } => {
                let event = format!("{event:?}");
                let end = event.find(['(', ' ']).unwrap_or(event.len());
                format!("event {}", &event[..end])
            }
            Output::ToMaster(FromAgent::StatusUpdate { status, latest, .. }) => {
                let reason = status.reason.map_or(String::new(), |it| format!(" {}", it.name()));
                format!("update {} {:?}{reason}, latest {latest:?}", status.task, status.state)
            }
            Output::ToMaster(message) => {
                let message = format!("{message:?}");
                let end = message.find(['(', ' ']).unwrap_or(message.len());
                format!("say {}", &message[..end])
            }
            other => format!("{other:?}"),
        })
        .collect()
}
