//! The agent: its tables, and who handles what.

use crate::due::{self, Due};
use crate::executor_calls;
use crate::executors;
use crate::input::Input;
use crate::master_messages as from_master;
use crate::operations::{self, OperationLine};
use crate::output::{Event, Output};
use crate::recovery;
use crate::runtime_events;
use crate::state::FrameworkState;
use crate::updates::Line;
use model::acl::Acls;
use model::ids::{
    AgentId, ConnectionId, ContainerId, ExecutorId, FrameworkId, OperationUuid, TaskId, Term,
    UpdateId,
};
use model::link::{AgentDescription, ToAgent};
use model::resources::Resources;
use model::rng::Rng;
use model::rules::Drain;
use model::step::{Core, Now, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How an agent behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// How it describes itself to the master.
    pub description: AgentDescription,
    /// How long an executor may take to subscribe once its processes run.
    pub executor_registration_timeout: Duration,
    /// How long executors may take to subscribe again after the agent was restarted.
    pub executor_reregistration_timeout: Duration,
    /// How long an executor may take to end when asked, if it does not say itself.
    pub executor_shutdown_grace_period: Duration,
    /// About how long to wait before registering again when the master does not answer. Doubles.
    pub registration_backoff_factor: Duration,
    /// Who may do what here. The core asks as whom frameworks may have tasks run.
    pub acls: Arc<Acls>,
}

/// An agent.
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) id: Option<AgentId>,
    pub(crate) term: Term,
    pub(crate) phase: Phase,
    pub(crate) link: Link,
    /// Where the masters are, as far as one has said so.
    pub(crate) masters: Vec<Arc<str>>,
    /// How it is being emptied; absent: it is not.
    pub(crate) drain: Option<Drain>,
    /// All it has, with what operations have made of it.
    pub(crate) total: Resources,
    /// What executors and live tasks hold; of what is shared, once for each.
    pub(crate) used: Resources,
    pub(crate) frameworks: BTreeMap<FrameworkId, FrameworkState>,
    /// Reports on their way, also of tasks that are not known here.
    pub(crate) lines: BTreeMap<FrameworkId, BTreeMap<TaskId, Line>>,
    /// Operations whose report is not acknowledged.
    pub(crate) operations: BTreeMap<OperationUuid, OperationLine>,
    pub(crate) containers: BTreeMap<ContainerId, (FrameworkId, ExecutorId)>,
    pub(crate) connections: BTreeMap<ConnectionId, (FrameworkId, ExecutorId)>,
    /// Entries may be out of date; whoever handles one looks.
    pub(crate) due: BTreeSet<(Time, Due)>,
}

/// Where the agent is in its own life.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// It does not know yet what there was before.
    Starting,
    /// Executors of an earlier run have until then to subscribe again.
    Recovering { until: Time },
    /// It does what it is for.
    Serving,
    /// All it runs is to end, and then itself.
    Ending { why: String },
    /// It has ended all.
    Over,
}

/// The link to the master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    /// There is none.
    Down,
    /// It is open, and the master is asked to register the agent; again at `retry_at`.
    Asking { link: ConnectionId, retry_at: Time, wait: Duration },
    /// The master has this agent. It is given up at `ping_by` unless a ping comes.
    Registered { link: ConnectionId, ping_timeout: Duration, ping_by: Time },
}

impl Link {
    pub(crate) fn id(self) -> Option<ConnectionId> {
        match self {
            Self::Down => None,
            Self::Asking { link, .. } | Self::Registered { link, .. } => Some(link),
        }
    }
}

impl Agent {
    /// An agent that has not been told yet what was before. `seed` makes its ids.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            id: None,
            term: Term::default(),
            phase: Phase::Starting,
            link: Link::Down,
            masters: Vec::new(),
            drain: None,
            total: config.description.resources.clone(),
            used: Resources::none(),
            frameworks: BTreeMap::new(),
            lines: BTreeMap::new(),
            operations: BTreeMap::new(),
            containers: BTreeMap::new(),
            connections: BTreeMap::new(),
            due: BTreeSet::new(),
            config,
        }
    }

    /// Its id; absent until a master has given it one.
    pub fn id(&self) -> Option<&AgentId> {
        self.id.as_ref()
    }

    /// Whether a master has it as registered.
    pub fn is_registered(&self) -> bool {
        matches!(self.link, Link::Registered { .. })
    }

    /// All it has, with what operations have made of it.
    pub fn total(&self) -> &Resources {
        &self.total
    }

    /// What its executors and live tasks hold.
    pub fn used(&self) -> &Resources {
        &self.used
    }

    /// Tasks here that are not over: of which framework, and which.
    pub fn live_tasks(&self) -> impl Iterator<Item = (&FrameworkId, &TaskId)> {
        self.frameworks.iter().flat_map(|(framework, state)| {
            let live = state.tasks.iter().filter(|(_, task)| !task.state.is_terminal());
            live.map(move |(task, _)| (framework, task))
        })
    }

    /// Whether nothing here waits for anybody: no executor, no task, no report on its way.
    pub fn is_idle(&self) -> bool {
        self.frameworks.is_empty() && self.lines.is_empty() && self.operations.is_empty()
    }

    pub(crate) fn new_update_id(&mut self) -> UpdateId {
        UpdateId(self.rng.uuid())
    }

    pub(crate) fn new_container_id(&mut self) -> ContainerId {
        let uuid = UpdateId(self.rng.uuid()).to_string();
        ContainerId::new(uuid).expect("a UUID is a well-formed id")
    }

    fn hear_master(
        &mut self,
        link: ConnectionId,
        term: Term,
        message: ToAgent,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if self.link.id() != Some(link) || self.phase == Phase::Over {
            return;
        }
        if term < self.term {
            out.push(Output::Note(Event::StaleTerm { term, seen: self.term }));
            from_master::give_up(self, out);
            return;
        }
        self.term = term;
        match message {
            ToAgent::Registered { agent, ping_timeout } => {
                from_master::registered::apply(self, agent, ping_timeout, now, out);
            }
            ToAgent::Reregistered { agent, ping_timeout, expected, completed, operations } => {
                let answer = from_master::reregistered::Answer {
                    agent,
                    ping_timeout,
                    expected,
                    completed,
                    operations,
                };
                from_master::reregistered::apply(self, answer, now, out);
            }
            ToAgent::Launch(launch) => from_master::launch::apply(self, *launch, now, out),
            ToAgent::Apply(operation) => from_master::apply::apply(self, *operation, now, out),
            ToAgent::AcknowledgeOperation { operation, status } => {
                operations::acknowledge(self, operation, status, out);
            }
            ToAgent::Kill { framework, task, grace } => {
                from_master::kill::apply(self, &framework, &task, grace, now, out);
            }
            ToAgent::ShutdownExecutor { framework, executor } => {
                from_master::shutdown_executor::apply(self, &framework, &executor, now, out);
            }
            ToAgent::ShutdownFramework(framework) => {
                from_master::shutdown_framework::apply(self, &framework, now, out);
            }
            ToAgent::UpdateFramework(framework) => {
                from_master::update_framework::apply(self, framework, now, out);
            }
            ToAgent::Acknowledge { framework, task, uuid } => {
                from_master::acknowledge::apply(self, &framework, &task, uuid, now, out);
            }
            ToAgent::Message { framework, message } => {
                from_master::message::apply(self, framework, message, out);
            }
            ToAgent::Ping { connected } => from_master::ping::apply(self, connected, now, out),
            ToAgent::Masters(masters) => from_master::masters::apply(self, masters, out),
            ToAgent::Drain(drain) => from_master::drain::apply(self, drain, now, out),
            ToAgent::Shutdown { why } => from_master::shutdown::apply(self, why, now, out),
        }
    }
}

impl Core for Agent {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Recovered(recovered) => recovery::start(self, recovered, now, out),
            Input::LinkUp { link } => from_master::link_up(self, link, now, out),
            Input::LinkDown { link } => from_master::link_down(self, link, out),
            Input::FromMaster { link, term, message } => {
                self.hear_master(link, term, message, now, out);
            }
            Input::Launched { container } => {
                runtime_events::launched::apply(self, &container, now);
            }
            Input::LaunchFailed { container, why } => {
                runtime_events::launch_failed::apply(self, &container, &why, now, out);
            }
            Input::VolumesNotShown { container, why } => {
                runtime_events::volumes_not_shown::apply(self, &container, &why, out);
            }
            Input::Exited { container, exit } => {
                runtime_events::exited::apply(self, &container, &exit, now, out);
            }
            Input::Subscribe(call) => executor_calls::subscribe::apply(self, call, now, out),
            Input::Update { request, framework, executor, status } => {
                executor_calls::update::apply(
                    self, request, &framework, &executor, status, now, out,
                );
            }
            Input::Message { request, framework, executor, data } => {
                executor_calls::message::apply(self, request, framework, executor, data, out);
            }
            Input::ExecutorGone { connection } => {
                executor_calls::gone::apply(self, connection);
            }
            Input::VolumesRemoved { operation, volumes } => {
                runtime_events::volumes_removed::apply(operation, volumes, out);
            }
            Input::StopAsked => {
                executors::end_all(self, "the operator asked for it".to_owned(), now, out);
            }
        }
        from_master::drain::settle(self, out);
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Output>) {
        due::wake(self, now, out);
        from_master::drain::settle(self, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        due::next(self)
    }
}
