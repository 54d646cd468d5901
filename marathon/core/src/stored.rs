//! What is kept in the framework store, and how: one small JSON document for each thing.
//!
//! Every document says its form, so that a later version can tell old ones apart.

mod past;
mod place;
mod reservation;
mod setback;

pub(crate) use past::{group, group_key, past, past_key};
pub(crate) use reservation::{reservation, reservation_key};
pub(crate) use setback::{failure, failure_key, resets, resets_key};

use crate::app::{App, parse, render};
use crate::group::{History, Tree, Versions};
use crate::health::Health;
use crate::ids::{AppId, DeploymentId, InstanceId};
use crate::instance::{Condition, Container, Goal, Instance, Task};
use crate::io::{Key, TaskFailure};
use crate::planner::{Action, Deployment, Plan, Step};
use crate::reservation::Reservation;
use model::ids::{FrameworkId, TaskId};
use model::step::Timestamp;
use model::task::TaskState;
use place::StoredPlace;
use reservation::{StoredReservation, StoredVolume};
use serde::{Deserialize, Serialize};
use setback::StoredBackoff;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The form written today.
const FORM: u32 = 1;

/// Everything that was stored, read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) framework: Option<FrameworkId>,
    pub(crate) tree: Tree,
    pub(crate) versions: Versions,
    pub(crate) instances: Vec<Instance>,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) history: History,
    pub(crate) secrets: BTreeMap<Arc<str>, Arc<[u8]>>,
    pub(crate) reservations: Vec<Reservation>,
    pub(crate) failures: Vec<TaskFailure>,
    pub(crate) resets: BTreeMap<AppId, u64>,
}

pub(crate) fn framework_key() -> Key {
    "framework".to_owned()
}

pub(crate) fn app_key(id: &AppId) -> Key {
    format!("app:{id}")
}

pub(crate) fn version_key(id: &AppId, version: Timestamp) -> Key {
    format!("version:{id}@{}", version.0)
}

pub(crate) fn secret_key(path: &str) -> Key {
    format!("secret:{path}")
}

pub(crate) fn instance_key(id: &InstanceId) -> Key {
    format!("instance:{id}")
}

pub(crate) fn deployment_key(id: &DeploymentId) -> Key {
    format!("deployment:{id}")
}

#[derive(Serialize, Deserialize)]
struct StoredFramework {
    form: u32,
    id: String,
}

pub(crate) fn framework(id: &FrameworkId) -> Vec<u8> {
    encode(&StoredFramework { form: FORM, id: id.to_string() })
}

/// An app is stored as the number of its present version.
#[derive(Serialize, Deserialize)]
struct StoredApp {
    form: u32,
    id: String,
    version: u64,
}

pub(crate) fn app(app: &App) -> Vec<u8> {
    encode(&StoredApp { form: FORM, id: app.id.to_string(), version: app.version.0 })
}

#[derive(Serialize, Deserialize)]
struct StoredVersion {
    form: u32,
    app: serde_json::Value,
}

pub(crate) fn version(app: &App) -> Vec<u8> {
    encode(&StoredVersion { form: FORM, app: render::stored(app) })
}

/// What outlives a crash of an instance.
#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredInstance {
    form: u32,
    id: String,
    app: String,
    version: u64,
    goal: String,
    condition: String,
    incarnation: u64,
    since: u64,
    #[serde(default)]
    changed_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<StoredTask>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reservation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff: Option<StoredBackoff>,
}

#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
struct StoredTask {
    id: String,
    #[serde(flatten)]
    place: StoredPlace,
    ports: Vec<u16>,
    staged_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable_at: Option<u64>,
    addresses: Vec<String>,
    /// Kept so that a deployment that is taken up again knows who serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
    /// Kept so that one that stays unhealthy is replaced when its time has come: its agent says so no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failing: Vec<(usize, u64)>,
    /// Kept so that an end for ill health is not taken for one that was asked for.
    #[serde(default, skip_serializing_if = "is_false")]
    ends_task: bool,
    /// Kept so that nobody goes for one that is not ready yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    containers: Vec<StoredContainer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<StoredVolume>,
}

#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
struct StoredContainer {
    name: String,
    task: String,
    state: String,
    changed_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default)]
    is_broken: bool,
    #[serde(default)]
    has_failed: bool,
}

fn container(container: &Container) -> StoredContainer {
    StoredContainer {
        name: container.name.to_string(),
        task: container.task.to_string(),
        state: container.state.name().to_owned(),
        changed_at: container.changed_at.0,
        healthy: container.is_healthy,
        message: container.message.as_deref().map(str::to_owned),
        is_broken: container.is_broken,
        has_failed: container.has_failed,
    }
}

pub(crate) fn instance(instance: &Instance) -> StoredInstance {
    let text = |text: &Arc<str>| text.to_string();
    StoredInstance {
        form: FORM,
        id: instance.id.to_string(),
        app: instance.app.id.to_string(),
        version: instance.app.version.0,
        goal: instance.goal.name().to_owned(),
        condition: instance.condition.name().to_owned(),
        incarnation: instance.incarnation,
        since: instance.since.0,
        changed_at: instance.changed_at.0,
        task: instance.task.as_ref().map(|task| StoredTask {
            id: task.id.to_string(),
            place: StoredPlace::of(&task.place),
            ports: task.ports.clone(),
            staged_at: task.staged_at.0,
            started_at: task.started_at.map(|at| at.0),
            unreachable_at: task.unreachable_at.map(|at| at.0),
            addresses: task.addresses.iter().map(text).collect(),
            healthy: task.health.is_healthy,
            failing: task.health.failing().map(|(place, at)| (place, at.0)).collect(),
            ends_task: task.health.ends_task,
            ready: task.is_ready,
            containers: task.containers.iter().map(container).collect(),
            volumes: task.volumes.iter().map(StoredVolume::of).collect(),
        }),
        reservation: instance.reservation.as_ref().map(text),
        backoff: instance.backoff.as_ref().map(StoredBackoff::of),
    }
}

#[derive(Serialize, Deserialize)]
struct StoredDeployment {
    form: u32,
    id: String,
    version: u64,
    steps: Vec<Vec<StoredAction>>,
    /// The version each app had; absent means it did not exist.
    originals: BTreeMap<String, Option<u64>>,
    #[serde(default)]
    is_return: bool,
    #[serde(default)]
    is_paused: bool,
    #[serde(default)]
    stage: usize,
    /// The step it stands at. Those before are done, and doing them again would end what they began.
    #[serde(default)]
    step: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pods: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "action")]
enum StoredAction {
    Start { app: String },
    Stop { app: String },
    Scale { app: String, to: u32, victims: Vec<String> },
    Restart { app: String },
    Move { app: String, who: Vec<String> },
}

pub(crate) fn deployment(deployment: &Deployment) -> Vec<u8> {
    let action = |action: &Action| match action {
        Action::Start { app } => StoredAction::Start { app: app.to_string() },
        Action::Stop { app } => StoredAction::Stop { app: app.to_string() },
        Action::Restart { app } => StoredAction::Restart { app: app.to_string() },
        Action::Scale { app, to, victims } => StoredAction::Scale {
            app: app.to_string(),
            to: *to,
            victims: victims.iter().map(ToString::to_string).collect(),
        },
        Action::Move { app, who } => StoredAction::Move {
            app: app.to_string(),
            who: who.iter().map(ToString::to_string).collect(),
        },
    };
    let originals = deployment.originals.iter();
    encode(&StoredDeployment {
        form: FORM,
        id: deployment.id.to_string(),
        version: deployment.version.0,
        steps: deployment
            .plan
            .steps
            .iter()
            .map(|step| step.actions().iter().map(action).collect())
            .collect(),
        originals: originals
            .map(|(id, app)| (id.to_string(), app.as_ref().map(|app| app.version.0)))
            .collect(),
        is_return: deployment.is_return,
        is_paused: deployment.is_paused,
        stage: deployment.stage,
        step: deployment.step,
        pods: deployment.plan.pods.iter().map(ToString::to_string).collect(),
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_false(is: &bool) -> bool {
    !is
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs with text keys are JSON")
}

/// Reads everything back. What cannot be read is left out: a definition that nobody can use must not
/// keep all others from running, and tasks without a record are ended when the master names them.
pub(crate) fn load(stored: &[(Key, Vec<u8>)]) -> Loaded {
    let mut loaded = Loaded::default();
    for (key, value) in stored {
        if key.starts_with("version:")
            && let Some(app) =
                decode::<StoredVersion>(value).and_then(|it| parse::stored(&it.app).ok())
        {
            loaded.versions.entry(app.id.clone()).or_default().insert(app.version, Arc::new(app));
        }
    }
    for (key, value) in stored {
        match key.split_once(':').map_or(key.as_str(), |(kind, _)| kind) {
            "framework" => {
                let id = decode::<StoredFramework>(value).map(|it| it.id);
                loaded.framework = id.and_then(|id| FrameworkId::new(id).ok());
            }
            "app" => {
                let app = decode::<StoredApp>(value)
                    .and_then(|it| find(&loaded.versions, &AppId::parse(&it.id).ok()?, it.version));
                loaded.tree.apps.extend(app.map(|app| (app.id.clone(), app)));
            }
            "instance" => {
                let instance = decode::<StoredInstance>(value);
                loaded.instances.extend(instance.and_then(|it| instance_of(&it, &loaded.versions)));
            }
            "deployment" => {
                let deployment = decode::<StoredDeployment>(value);
                loaded
                    .deployments
                    .extend(deployment.and_then(|it| deployment_of(&it, &loaded.versions)));
            }
            "secret" => {
                let path = key.split_once(':').map_or("", |(_, path)| path);
                loaded.secrets.insert(path.into(), value.as_slice().into());
            }
            "reservation" => {
                let reservation = decode::<StoredReservation>(value);
                loaded.reservations.extend(reservation.and_then(StoredReservation::read));
            }
            "failure" => {
                let failure = decode::<setback::StoredFailure>(value).and_then(|it| it.read());
                loaded.failures.extend(failure);
            }
            "resets" => {
                let resets = decode::<setback::StoredResets>(value).and_then(|it| it.read());
                loaded.resets.extend(resets);
            }
            "group" => {
                let group = decode::<past::StoredGroup>(value).and_then(|it| it.read());
                let group = group.map(|group| (group.id.clone(), Arc::new(group)));
                loaded.tree.groups.extend(group);
            }
            "past" => {
                let past = decode::<past::StoredPast>(value).and_then(past::StoredPast::read);
                loaded.history.extend(past.map(|past| (past.version, Arc::new(past))));
            }
            _ => {}
        }
    }
    loaded
}

fn decode<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

fn find(versions: &Versions, id: &AppId, version: u64) -> Option<Arc<App>> {
    versions.get(id)?.get(&Timestamp(version)).cloned()
}

fn instance_of(stored: &StoredInstance, versions: &Versions) -> Option<Instance> {
    let app = find(versions, &AppId::parse(&stored.app).ok()?, stored.version)?;
    let condition = Condition::ALL.into_iter().find(|it| it.name() == stored.condition)?;
    let task = match &stored.task {
        Some(task) => Some(task_of(task, app.health_checks.len())?),
        None => None,
    };
    Some(Instance {
        id: InstanceId::parse(&stored.id)?,
        goal: Goal::ALL.into_iter().find(|goal| goal.name() == stored.goal)?,
        condition,
        app,
        incarnation: stored.incarnation,
        since: Timestamp(stored.since),
        changed_at: Timestamp(stored.changed_at.max(stored.since)),
        task,
        reservation: stored.reservation.as_deref().map(Arc::from),
        backoff: stored.backoff.as_ref().map(StoredBackoff::read),
    })
}

fn task_of(stored: &StoredTask, checks: usize) -> Option<Task> {
    let text = |text: &String| Arc::from(text.as_str());
    let containers: Option<_> = stored.containers.iter().map(container_of).collect();
    Some(Task {
        containers: containers?,
        id: TaskId::new(stored.id.as_str()).ok()?,
        place: stored.place.read()?,
        ports: stored.ports.clone(),
        volumes: stored.volumes.iter().map(StoredVolume::read).collect(),
        staged_at: Timestamp(stored.staged_at),
        started_at: stored.started_at.map(Timestamp),
        unreachable_at: stored.unreachable_at.map(Timestamp),
        addresses: stored.addresses.iter().map(text).collect(),
        health: Health {
            ends_task: stored.ends_task,
            ..Health::kept(stored.healthy, &stored.failing, checks)
        },
        check: None,
        is_ready: stored.ready,
        last_response: None,
    })
}

fn container_of(stored: &StoredContainer) -> Option<Container> {
    Some(Container {
        name: stored.name.as_str().into(),
        task: TaskId::new(stored.task.as_str()).ok()?,
        state: TaskState::ALL.iter().copied().find(|it| it.name() == stored.state)?,
        changed_at: Timestamp(stored.changed_at),
        is_healthy: stored.healthy,
        message: stored.message.as_deref().map(Arc::from),
        is_broken: stored.is_broken,
        has_failed: stored.has_failed,
    })
}

fn deployment_of(stored: &StoredDeployment, versions: &Versions) -> Option<Deployment> {
    let mut originals = BTreeMap::new();
    for (id, version) in &stored.originals {
        let id = AppId::parse(id).ok()?;
        let app = version.and_then(|version| find(versions, &id, version));
        originals.insert(id, app);
    }
    let mut steps = Vec::new();
    for actions in &stored.steps {
        let actions: Option<_> = actions.iter().map(action_of).collect();
        steps.push(Step::of(actions?));
    }
    Some(Deployment {
        id: DeploymentId::new(&stored.id),
        version: Timestamp(stored.version),
        plan: Plan {
            steps,
            pods: stored.pods.iter().filter_map(|id| AppId::parse(id).ok()).collect(),
        },
        originals,
        step: stored.step,
        is_return: stored.is_return,
        is_paused: stored.is_paused,
        stage: stored.stage,
    })
}

fn action_of(stored: &StoredAction) -> Option<Action> {
    let id = |text: &String| AppId::parse(text).ok();
    Some(match stored {
        StoredAction::Start { app } => Action::Start { app: id(app)? },
        StoredAction::Stop { app } => Action::Stop { app: id(app)? },
        StoredAction::Restart { app } => Action::Restart { app: id(app)? },
        StoredAction::Scale { app, to, victims } => {
            let victims: BTreeSet<_> =
                victims.iter().filter_map(|id| InstanceId::parse(id)).collect();
            Action::Scale { app: id(app)?, to: *to, victims }
        }
        StoredAction::Move { app, who } => Action::Move {
            app: id(app)?,
            who: who.iter().filter_map(|id| InstanceId::parse(id)).collect(),
        },
    })
}
