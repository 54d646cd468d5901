//! What agent and leading master say to each other.

use crate::call::Message;
use crate::capability::AgentCapability;
use crate::framework::Framework;
use crate::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, OperationUuid, TaskId, UpdateId};
use crate::operation::{Operation, OperationStatus};
use crate::payload::Payload;
use crate::resources::{Attributes, Resources};
use crate::rules::Drain;
use crate::search::Masters;
use crate::step::Timestamp;
use crate::task::{ExecutorSpec, Status, TaskSpec, TaskState};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// An agent, as it describes itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentDescription {
    /// Its host name, as frameworks should use it.
    pub hostname: Arc<str>,
    /// Where its port is reached: `ip:port`.
    pub address: Arc<str>,
    /// All it has, as its operators say: without what operations have made of it.
    pub resources: Resources,
    /// What its operators say of it.
    pub attributes: Attributes,
    /// Where its machine stands, if that is known.
    pub domain: Option<FaultDomain>,
    /// The version that it speaks: see [`crate::version`].
    pub version: Arc<str>,
    /// What it can do.
    pub capabilities: BTreeSet<AgentCapability>,
    /// Encoded `mesos.v1.AgentInfo`, all of it: attributes, domain, port. `id` set once it is known.
    pub info: Payload,
}

/// The IP address in `ip:port`, without the brackets of an IPv6 one.
pub fn ip_of(address: &str) -> &str {
    let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
    ip.trim_start_matches('[').trim_end_matches(']')
}

/// Where a machine stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FaultDomain {
    /// Far from others: frameworks must ask for offers of other regions.
    pub region: Arc<str>,
    /// What fails as one.
    pub zone: Arc<str>,
}

impl FaultDomain {
    /// Reads the flag form, `region/zone`. An error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((region, zone)) if !region.is_empty() && !zone.is_empty() => {
                Ok(Self { region: region.into(), zone: zone.into() })
            }
            _ => Err(format!("'{text}' is not region/zone, such as eu-north/rack7")),
        }
    }
}

/// What an agent says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FromAgent {
    /// It is new and wants an id.
    Register(Box<Register>),
    /// It is back and brings what it runs.
    Reregister(Box<Reregister>),
    /// A task has a new state. Repeated until acknowledged.
    StatusUpdate {
        /// Of which framework's task.
        framework: FrameworkId,
        /// The report that is to reach the framework.
        status: Status,
        /// The latest state the agent knows, which may be later than the report's.
        latest: TaskState,
    },
    /// An executor has ended.
    ExecutorExited {
        /// Of which framework.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
        /// Its wait status, if it is known.
        status: Option<i32>,
    },
    /// Bytes of an executor for its scheduler. May get lost.
    Message {
        /// For which framework.
        framework: FrameworkId,
        /// From whom, and what.
        message: Message,
    },
    /// How far an operation is. With an id, repeated until acknowledged.
    OperationUpdate {
        /// Which operation.
        operation: OperationUuid,
        /// Whose it is; absent for an operator's.
        framework: Option<FrameworkId>,
        /// The report.
        status: OperationStatus,
    },
    /// An answer to a ping.
    Pong,
    /// It goes away for good and has ended all it ran.
    Unregister,
}

/// What an agent that is new brings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Register {
    /// How it is.
    pub description: AgentDescription,
    /// All it has. One that was here under another id still has what operations made of it then.
    pub total: Resources,
}

/// What an agent that is back brings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reregister {
    /// Its id.
    pub agent: AgentId,
    /// How it is now.
    pub description: AgentDescription,
    /// Frameworks that have something here.
    pub frameworks: Vec<Framework>,
    /// Executors that live here.
    pub executors: Vec<LiveExecutor>,
    /// Tasks that are not over, or whose end is not acknowledged yet.
    pub tasks: Vec<LiveTask>,
    /// All it has, with what operations have made of it.
    pub total: Resources,
    /// Operations whose report is not acknowledged yet.
    pub operations: Vec<LiveOperation>,
}

/// An operation that an agent knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveOperation {
    /// What it is.
    pub operation: Operation,
    /// How it went.
    pub status: OperationStatus,
}

/// An executor that lives on an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveExecutor {
    /// Of which framework.
    pub framework: FrameworkId,
    /// The executor. Of a command task: the built-in one, with the task's id and no resources.
    pub executor: ExecutorSpec,
    /// Its container.
    pub container: ContainerId,
}

/// A task that an agent knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveTask {
    /// Of which framework.
    pub framework: FrameworkId,
    /// Which executor has it.
    pub executor: ExecutorId,
    /// The task.
    pub spec: TaskSpec,
    /// The latest state the agent knows.
    pub state: TaskState,
    /// The latest report handed to the master and not acknowledged; absent if there is none.
    pub unacknowledged: Option<(UpdateId, TaskState)>,
    /// The latest report of each state so far, oldest first.
    pub statuses: Vec<Status>,
}

/// What the leading master says to an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ToAgent {
    /// The agent is admitted and is this one from now on.
    Registered {
        /// Its id.
        agent: AgentId,
        /// How often the master pings, times how often it may go unanswered.
        ping_timeout: Duration,
    },
    /// The agent is known again.
    Reregistered {
        /// Its id.
        agent: AgentId,
        /// As in `Registered`.
        ping_timeout: Duration,
        /// Tasks the master has for it: those it does not know were never started.
        expected: Vec<(FrameworkId, TaskId)>,
        /// Frameworks that are over: what they run here is to be ended.
        completed: Vec<FrameworkId>,
        /// Operations the master has for it and waits to hear of: those it does not know never
        /// reached it.
        operations: Vec<Operation>,
    },
    /// Run tasks on one executor.
    Launch(Box<Launch>),
    /// Make resources of one kind of those of another.
    Apply(Box<Operation>),
    /// The report of an operation has been kept.
    AcknowledgeOperation {
        /// Which operation.
        operation: OperationUuid,
        /// Which report.
        status: UpdateId,
    },
    /// End a task.
    Kill {
        /// Of which framework.
        framework: FrameworkId,
        /// Which.
        task: TaskId,
        /// How long it may take; absent: as the task says, else the default.
        grace: Option<Duration>,
    },
    /// End an executor.
    ShutdownExecutor {
        /// Of which framework.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
    },
    /// End all that a framework runs here; it is over.
    ShutdownFramework(FrameworkId),
    /// A framework has changed its description, or is back: what it may not have heard is to be repeated.
    UpdateFramework(Framework),
    /// A status update has been kept by the framework.
    Acknowledge {
        /// Which framework.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Which update.
        uuid: UpdateId,
    },
    /// Bytes for an executor. May get lost.
    Message {
        /// From which framework.
        framework: FrameworkId,
        /// For whom, and what.
        message: Message,
    },
    /// Are you there? `connected` false: register again, I do not know you as connected.
    Ping {
        /// Whether the master has the agent as connected.
        connected: bool,
    },
    /// Where the masters are now, and how to come back to another one that leads.
    Masters(Masters),
    /// End all you run, and take nothing new until it has ended.
    Drain(Drain),
    /// End all you run and go away: you are not to come back under this id.
    Shutdown {
        /// Why, for the agent's log.
        why: String,
    },
}

/// Tasks to run on one executor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Launch {
    /// Whose they are.
    pub framework: Framework,
    /// Which executor; `None` for a command task, which has the built-in one to itself.
    pub executor: Option<ExecutorSpec>,
    /// Whether the executor is to be started if it is not there. If not, and it is gone, the
    /// tasks are dropped.
    pub starts_executor: bool,
    /// Whether the tasks are one group: started together, and all or none.
    pub is_group: bool,
    /// The tasks; exactly one without an executor.
    pub tasks: Vec<TaskSpec>,
    /// When the master accepted them.
    pub accepted_at: Timestamp,
}
