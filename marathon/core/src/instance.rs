//! Instances: wanted copies of an app, each with one task after another.

use crate::app::App;
use crate::backoff::Backoff;
use crate::health::Health;
use crate::ids::{AppId, InstanceId};
use crate::io::Response;
use crate::reservation::LocalVolume;
use model::ids::{AgentId, TaskId};
use model::step::Timestamp;
use model::task::TaskState;
use serde_json::Value;
use std::iter;
use std::sync::Arc;

/// How an instance is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Condition {
    /// It waits for an offer.
    Scheduled,
    /// An offer was accepted for it; nothing was heard yet.
    Provisioned,
    /// Its task is on its way.
    Staging,
    /// Its executor is starting it.
    Starting,
    /// It runs.
    Running,
    /// Its task was asked to end.
    Killing,
    /// Its agent is out of contact. It still counts.
    Unreachable,
    /// Its agent is out of contact for so long that it was replaced.
    UnreachableInactive,
}

impl Condition {
    /// Every one there is.
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Provisioned,
        Self::Staging,
        Self::Starting,
        Self::Running,
        Self::Killing,
        Self::Unreachable,
        Self::UnreachableInactive,
    ];

    /// Its name in events and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "Scheduled",
            Self::Provisioned => "Provisioned",
            Self::Staging => "Staging",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Killing => "Killing",
            Self::Unreachable => "Unreachable",
            Self::UnreachableInactive => "UnreachableInactive",
        }
    }

    /// What the API shows as the state of the task.
    pub fn task_state(self) -> TaskState {
        match self {
            Self::Scheduled | Self::Provisioned | Self::Staging => TaskState::Staging,
            Self::Starting => TaskState::Starting,
            Self::Running => TaskState::Running,
            Self::Killing => TaskState::Killing,
            Self::Unreachable | Self::UnreachableInactive => TaskState::Unreachable,
        }
    }
}

/// What is wanted of an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Goal {
    /// That it runs: when its task ends it gets another one.
    Running,
    /// That it goes: when its task has ended it is forgotten.
    Decommissioned,
}

impl Goal {
    /// Every one there is.
    pub const ALL: [Self; 2] = [Self::Running, Self::Decommissioned];

    /// Its name in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Decommissioned => "Decommissioned",
        }
    }
}

/// One wanted copy of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// What is wanted of it.
    pub goal: Goal,
    /// How it is.
    pub condition: Condition,
    /// The definition its task was, or will be, launched from.
    pub app: Arc<App>,
    /// How many tasks it has had, the present one included.
    pub incarnation: u64,
    /// When it was first wanted.
    pub since: Timestamp,
    /// When its condition changed last.
    pub changed_at: Timestamp,
    /// Its present task. Absent iff it is [`Condition::Scheduled`].
    pub task: Option<Task>,
    /// What is reserved for its tasks, if its app has volumes that outlive them.
    pub reservation: Option<Arc<str>>,
    /// What its last failure means for its next launch; absent if it has not failed.
    pub backoff: Option<Backoff>,
}

/// The present task of an instance; of a pod, all its tasks together.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id; of a pod, that of its first container.
    pub id: TaskId,
    /// The containers of a pod, in order; none for an app.
    pub containers: Vec<Container>,
    /// Where it was placed.
    pub place: Place,
    /// Host ports, in the order of [`App::wanted_ports`].
    pub ports: Vec<u16>,
    /// Its volumes that outlive it.
    pub volumes: Vec<LocalVolume>,
    /// When its offer was accepted.
    pub staged_at: Timestamp,
    /// When it first ran.
    pub started_at: Option<Timestamp>,
    /// When its agent went out of contact; absent while it is reachable.
    pub unreachable_at: Option<Timestamp>,
    /// Addresses of its container, as reported.
    pub addresses: Vec<Arc<str>>,
    /// What its health check says.
    pub health: Health,
    /// What its check says, as the API shows it. Not stored: reconciliation brings it back.
    pub check: Option<Value>,
    /// Whether it is ready; absent when nobody wants to know.
    pub is_ready: Option<bool>,
    /// What it last answered when it was asked that, where its app wants it kept. Not stored.
    pub last_response: Option<Arc<Response>>,
}

/// One container of a pod: a task of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Its name in the pod.
    pub name: Arc<str>,
    /// Its id.
    pub task: TaskId,
    /// What was last heard of it.
    pub state: TaskState,
    /// When that was news.
    pub changed_at: Timestamp,
    /// What its health check says; absent before the first verdict.
    pub is_healthy: Option<bool>,
    /// What was said about it last.
    pub message: Option<Arc<str>>,
    /// Whether it came to an end that nobody had asked for, and not a good one.
    pub is_broken: bool,
    /// Whether its end speaks against the pod.
    pub has_failed: bool,
}

/// An instance of a pod that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// Which.
    pub instance: InstanceId,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How its containers ended.
    pub containers: Vec<Container>,
}

impl Task {
    /// Whether `id` is its id or that of one of its containers.
    pub fn is(&self, id: &TaskId) -> bool {
        self.id == *id || self.containers.iter().any(|container| container.task == *id)
    }

    /// Ids of the tasks that have not ended.
    pub fn alive(&self) -> impl Iterator<Item = &TaskId> {
        let own = iter::once(&self.id).filter(|_| self.containers.is_empty());
        let containers = self.containers.iter().filter(|container| !container.state.is_terminal());
        own.chain(containers.map(|container| &container.task))
    }
}

/// Where a task is: what constraints compare.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The agent.
    pub agent: AgentId,
    /// Its host name.
    pub host: Arc<str>,
    /// Its region, where it has one.
    pub region: Option<Arc<str>>,
    /// Its zone, where it has one.
    pub zone: Option<Arc<str>>,
    /// Its attributes, written out as constraints compare them.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
}

impl Instance {
    /// The app it is of.
    pub fn app_id(&self) -> &AppId {
        &self.app.id
    }

    /// Whether it holds a place among those that are wanted.
    pub fn is_counted(&self) -> bool {
        self.goal == Goal::Running && self.condition != Condition::UnreachableInactive
    }

    /// Whether it does its work: it runs, it is to stay and, if it is checked, it was found healthy
    /// and ready.
    pub fn is_serving(&self) -> bool {
        let is_up = self.goal == Goal::Running && self.condition == Condition::Running;
        let is_unready = self.task.as_ref().is_some_and(|task| task.is_ready == Some(false));
        is_up && self.is_healthy() && !is_unready
    }

    /// Whether nothing speaks against its health: it is not checked, or was found healthy.
    pub fn is_healthy(&self) -> bool {
        let verdict = self.task.as_ref().and_then(|task| task.health.is_healthy);
        !self.app.is_checked() || verdict == Some(true)
    }

    /// Whether it is to go on, and runs, and fails its health check.
    pub fn is_unwell(&self) -> bool {
        let is_up = self.condition == Condition::Running && self.goal == Goal::Running;
        is_up && self.task.as_ref().is_some_and(|task| task.health.unhealthy_since().is_some())
    }

    /// When its task began, or it was wanted if it has none: what its age is counted from.
    pub fn began_at(&self) -> Timestamp {
        let task = self.task.as_ref();
        task.map_or(self.since, |task| task.started_at.unwrap_or(task.staged_at))
    }

    /// Whether it is of the launch-relevant definition of `app`.
    pub fn is_current(&self, app: &App) -> bool {
        self.app.version_info.last_config_change_at == app.version_info.last_config_change_at
    }
}
