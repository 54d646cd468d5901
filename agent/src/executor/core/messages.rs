//! What the executor's core is told and what it asks for.

use std::time::Duration;

use model::ids::{TaskId, UpdateId};
use model::payload::Payload;
use model::task::{Reason, Status};

use crate::prober::{Answer, Patience, Schedule};

/// What the executor knows of a task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The encoded `TaskInfo`, to be shown to an agent that may have lost it.
    pub payload: Payload,
    /// Between SIGTERM and SIGKILL, if its own kill policy says.
    pub grace: Option<Duration>,
    /// How long it may take from its launch.
    pub max_completion: Option<Duration>,
    /// Its health checks.
    pub health: Vec<(Schedule, Patience)>,
    /// Its check, if any, and what is said of it before anybody has looked: its kind.
    pub check: Option<(Schedule, Answer)>,
    /// An encoded `mesos.v1.TaskStatus` for what all its reports say besides.
    pub rest: Payload,
    /// Whether it takes long to start, so that its start can be given up.
    pub is_slow: bool,
}

/// A limit that a task's container broke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// Which kind of limit.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// Instead of what all reports of the task say.
    pub rest: Payload,
}

/// How the executor is to behave.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long to live without the agent. Absent: not at all.
    pub recovery_timeout: Option<Duration>,
    /// The longest wait before subscribing again.
    pub backoff_max: Duration,
    /// How long the agent waits after it has said SHUTDOWN.
    pub shutdown_grace: Duration,
}

/// A report, until it is acknowledged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// What it says.
    pub status: Status,
    /// The result of the task's check; absent without one.
    pub check: Option<Answer>,
    /// Which of several health checks fail, and how often in a row.
    pub failing: Vec<(u32, u32)>,
    /// It is on its way, so it must come again only if the connection is lost.
    pub(in super::super) sent: bool,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// The agent has accepted the subscription.
    Subscribed {
        /// The framework wants to hear of tasks that are about to end.
        tells_killing: bool,
    },
    /// There is no connection to the agent any more, or none came about.
    Disconnected,
    /// Run these, which are one group if they are several.
    Launch(Vec<Task>),
    /// End this one.
    Kill {
        /// Which.
        task: TaskId,
        /// Instead of its own grace period.
        grace: Option<Duration>,
    },
    /// The agent has kept a report.
    Acknowledged {
        /// Of which task.
        task: TaskId,
        /// Which.
        uuid: UpdateId,
    },
    /// End everything.
    Shutdown,
    /// A task's process runs.
    Started {
        /// Whose.
        task: TaskId,
    },
    /// A task's process could not be started.
    StartFailed {
        /// Whose.
        task: TaskId,
        /// What kept it from starting.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
    /// A task's process has ended.
    Exited {
        /// Whose.
        task: TaskId,
        /// As wait(2) has it.
        status: i32,
        /// The limit that it was ended for.
        broken: Option<Box<Broken>>,
    },
    /// A look for a health check is done.
    HealthLooked {
        /// At which task.
        task: TaskId,
        /// Which of its checks.
        place: usize,
        /// Whether it was well; absent where nobody was there to look, and where it says nothing.
        passed: Option<bool>,
    },
    /// A look for the check is done.
    CheckLooked {
        /// At which task.
        task: TaskId,
        /// What it showed; absent where nobody was there to look.
        answer: Option<Answer>,
    },
}

/// What must be done, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Connect, with these as what is not acknowledged.
    Subscribe {
        /// Encoded `TaskInfo`s.
        tasks: Vec<Payload>,
        /// In the order in which they were made.
        reports: Vec<Report>,
    },
    /// Send a report.
    Send(Box<Report>),
    /// Start a task's process.
    Start(TaskId),
    /// Give up a start that is under way. Answered as any start.
    GiveUp(TaskId),
    /// Ask a task's processes to end.
    SignalTerm(TaskId),
    /// Make a task's processes end.
    SignalKill(TaskId),
    /// Look at a task for its health check at this place.
    LookHealth(TaskId, usize),
    /// Look at a task for its check.
    LookCheck(TaskId),
    /// End the executor.
    Exit(i32),
}
