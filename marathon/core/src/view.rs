//! What reads are answered from: everything that was made visible, shared and never changed in place.

use crate::app::{App, render};
use crate::group::{self, Group, History, Tree, Versions};
use crate::history::Past;
use crate::ids::{AppId, DeploymentId, InstanceId};
use crate::instance::{Condition, Instance, Termination};
use crate::io::TaskFailure;
use crate::json_text::{self, ObjectText};
use crate::launch_queue::Entry;
use crate::planner::{Deployment, Progress};
use crate::rendered::Rendered;
use crate::reservation::Reservation;
use crate::{clock, queue_json};
use imbl::{OrdMap, OrdSet};
use model::ids::FrameworkId;
use model::step::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// One change of a [`View`].
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Everything goes: this process starts to lead, or no longer does.
    Clear {
        /// Whether it leads from now on.
        is_leading: bool,
    },
    /// Our id at the master is known.
    Framework(FrameworkId),
    /// An app is new, changed or gone.
    App(AppId, Option<Arc<Rendered<App>>>),
    /// What is said of a group is new, changed or gone.
    Group(AppId, Option<Arc<Group>>),
    /// A deployment that was, by the version it made, is new, has ended or is forgotten.
    Past(Timestamp, Option<Arc<Past>>),
    /// A stored version of an app is new or gone.
    Version(AppId, Timestamp, Option<Arc<App>>),
    /// An instance is new, changed or gone.
    Instance(AppId, InstanceId, Option<Arc<Rendered<Instance>>>),
    /// A deployment is new, one step on, or over.
    Deployment(DeploymentId, Option<Arc<Deployment>>),
    /// A deployment got on, or is over.
    Progress(DeploymentId, Option<Arc<Progress>>),
    /// What waits of an app has changed.
    Queue(AppId, Option<Arc<Entry>>),
    /// A task of an app has ended badly, or the app is gone.
    Failure(AppId, Option<Arc<TaskFailure>>),
    /// A secret is kept, or no more. Only where: values are in no view.
    Secret(Arc<str>, bool),
    /// What is reserved for instances of an app is new, changed or gone.
    Reservation(Arc<str>, Option<Arc<Reservation>>),
    /// An instance of a pod has ended; absent, the pod is gone.
    Ended(AppId, Option<Arc<Termination>>),
}

/// Ended instances of one pod that are shown: enough to see whether it fails always alike.
const TERMINATIONS_MAX: usize = 10;

/// What is visible. A copy shares all that does not change in either of the two afterwards.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Whether this process leads. If not, all else is empty.
    pub is_leading: bool,
    /// Marathon's own role, for apps that name none.
    pub role: Arc<str>,
    /// Our id at the master, once known.
    pub framework: Option<FrameworkId>,
    /// Every app and every described group.
    pub tree: Tree,
    /// The apps of the tree with their JSON.
    apps: OrdMap<AppId, Arc<Rendered<App>>>,
    /// Deployments by the version they made.
    pub history: History,
    /// Stored versions of every app.
    pub versions: Versions,
    /// Instances by app, also of apps that are gone.
    pub instances: OrdMap<AppId, OrdMap<InstanceId, Arc<Rendered<Instance>>>>,
    /// Running deployments.
    pub deployments: OrdMap<DeploymentId, Arc<Deployment>>,
    /// Which of them change each app.
    affecting: OrdMap<AppId, BTreeSet<DeploymentId>>,
    /// How each of them gets on.
    pub progress: OrdMap<DeploymentId, Arc<Progress>>,
    /// What waits to be launched.
    pub queue: OrdMap<AppId, Arc<Entry>>,
    /// The last failure of each app.
    pub failures: OrdMap<AppId, Arc<TaskFailure>>,
    /// What is reserved for instances, also what is to go.
    pub reservations: OrdMap<Arc<str>, Arc<Reservation>>,
    /// Where secrets are kept.
    pub secrets: OrdSet<Arc<str>>,
    /// The latest instances of each pod that ended, newest first.
    pub terminations: OrdMap<AppId, Vec<Arc<Termination>>>,
}

/// What is added to an app.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent wish of a client")]
pub struct Embed {
    /// `tasks`.
    pub tasks: bool,
    /// `tasksStaged` and its kin.
    pub counts: bool,
    /// `deployments`.
    pub deployments: bool,
    /// `readinessCheckResults`.
    pub readiness: bool,
    /// `lastTaskFailure`.
    pub last_task_failure: bool,
    /// `taskStats`.
    pub task_stats: bool,
    /// When it is asked, for how long tasks have lived.
    pub now: Timestamp,
}

impl Embed {
    /// What a list of apps always has.
    pub const LIST: Self = Self {
        tasks: false,
        counts: true,
        deployments: true,
        readiness: false,
        last_task_failure: false,
        task_stats: false,
        now: Timestamp(0),
    };

    /// What a single app always has.
    pub const SINGLE: Self = Self { tasks: true, last_task_failure: true, ..Self::LIST };

    /// Adds what an `embed` parameter asks for: bare or after `app.`, `apps.` or `group.apps.`. What is
    /// not known adds nothing.
    #[must_use]
    pub fn and(mut self, text: &str) -> Self {
        let prefixes = ["group.apps.", "apps.", "app."];
        let name = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        match name {
            "tasks" => (self.tasks, self.deployments) = (true, true),
            "counts" => self.counts = true,
            "deployments" => self.deployments = true,
            "readiness" => self.readiness = true,
            "lastTaskFailure" => self.last_task_failure = true,
            "taskStats" => self.task_stats = true,
            "failures" => {
                (self.tasks, self.deployments, self.last_task_failure) = (true, true, true);
            }
            _ => {}
        }
        self
    }
}

impl View {
    /// An empty one of a Marathon in `role`.
    pub fn new(role: Arc<str>) -> Self {
        Self { role, ..Self::default() }
    }

    /// Takes in one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Clear { is_leading } => {
                *self = Self { is_leading, ..Self::new(self.role.clone()) };
            }
            Change::Framework(id) => self.framework = Some(id),
            Change::App(id, app) => {
                let value = app.as_ref().map(|app| app.value().clone());
                put(&mut self.tree.apps, id.clone(), value);
                put(&mut self.apps, id, app);
            }
            Change::Group(id, group) => put(&mut self.tree.groups, id, group),
            Change::Past(version, past) => put(&mut self.history, version, past),
            Change::Version(id, version, app) => {
                put_below(&mut self.versions, id, version, app);
            }
            Change::Instance(app, id, instance) => {
                put_below(&mut self.instances, app, id, instance);
            }
            Change::Deployment(id, deployment) => self.put_deployment(id, deployment),
            Change::Progress(id, progress) => put(&mut self.progress, id, progress),
            Change::Queue(id, entry) => put(&mut self.queue, id, entry),
            Change::Reservation(id, kept) => put(&mut self.reservations, id, kept),
            Change::Failure(id, failure) => put(&mut self.failures, id, failure),
            Change::Secret(path, true) => {
                self.secrets.insert(path);
            }
            Change::Secret(path, false) => {
                self.secrets.remove(&path);
            }
            Change::Ended(id, None) => {
                self.terminations.remove(&id);
            }
            Change::Ended(id, Some(ended)) => {
                let of_pod = self.terminations.entry(id).or_default();
                of_pod.insert(0, ended);
                of_pod.truncate(TERMINATIONS_MAX);
            }
        }
    }

    fn put_deployment(&mut self, id: DeploymentId, deployment: Option<Arc<Deployment>>) {
        let old = self.deployments.get(&id).cloned();
        for app in old.iter().flat_map(|it| it.originals.keys()) {
            if let Some(ids) = self.affecting.get_mut(app) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.affecting.remove(app);
                }
            }
        }
        for app in deployment.iter().flat_map(|it| it.originals.keys()) {
            self.affecting.entry(app.clone()).or_default().insert(id.clone());
        }
        put(&mut self.deployments, id, deployment);
    }

    /// Running deployments that change `app`.
    pub(crate) fn deployments_of(&self, app: &AppId) -> impl Iterator<Item = &Arc<Deployment>> {
        let ids = self.affecting.get(app).into_iter().flatten();
        ids.filter_map(|id| self.deployments.get(id))
    }

    /// Instances of `app`.
    pub fn instances_of(&self, app: &AppId) -> impl Iterator<Item = &Arc<Instance>> {
        self.rendered_of(app).map(|instance| instance.value())
    }

    fn rendered_of(&self, app: &AppId) -> impl Iterator<Item = &Arc<Rendered<Instance>>> {
        self.instances.get(app).into_iter().flat_map(OrdMap::values)
    }

    /// The JSON of an app with what `embed` adds; absent when there is none of that id.
    pub fn app(&self, id: &AppId, embed: Embed) -> Option<String> {
        self.tree.app(id).map(|app| self.render(app, embed))
    }

    /// The JSON of `app`, one of the tree, with what `embed` adds.
    pub fn render(&self, app: &App, embed: Embed) -> String {
        let kept = self.apps.get(&app.id).expect("what is in the tree is in both tables");
        let mut out = ObjectText::of(kept.app());
        if embed.counts {
            let counts = self.counts(&app.id);
            out = out
                .with_value("tasksStaged", counts.staged)
                .with_value("tasksRunning", counts.running)
                .with_value("tasksHealthy", counts.healthy)
                .with_value("tasksUnhealthy", counts.unhealthy);
        }
        if embed.deployments {
            let affecting = self.affecting.get(&app.id).into_iter().flatten();
            let ids = render::deployment_ids(affecting);
            out = out.with_value("deployments", ids);
        }
        if embed.tasks {
            out = out.with("tasks", json_text::array(self.tasks_of(&app.id)));
        }
        if embed.readiness {
            out = out.with_value("readinessCheckResults", self.readiness(&app.id));
        }
        if embed.last_task_failure
            && let Some(failure) = self.failures.get(&app.id)
        {
            out = out.with_value("lastTaskFailure", render::failure(failure));
        }
        if embed.task_stats {
            out = out.with_value("taskStats", self.stats(app, embed.now));
        }
        out.end()
    }

    /// The JSON of the tasks of one app.
    pub fn tasks_of(&self, app: &AppId) -> impl Iterator<Item = &str> {
        self.rendered_of(app).filter_map(|instance| instance.task(&self.role))
    }

    /// Every task in one of `states` (empty means any), with its service ports.
    pub fn tasks(&self, states: &[TaskFilter]) -> impl Iterator<Item = Value> {
        let all = self.instances.values().flat_map(OrdMap::values).map(|it| it.value());
        all.filter(|it| states.is_empty() || states.iter().any(|state| state.takes(it.condition)))
            .filter_map(|instance| render::task(instance, &self.role, true))
    }

    /// Every running deployment.
    pub fn deployments(&self) -> Vec<Value> {
        self.deployments.values().map(|deployment| self.deployment(deployment)).collect()
    }

    /// A running deployment, with what is known of the readiness of its instances.
    pub(crate) fn deployment(&self, deployment: &Deployment) -> Value {
        let mut out = render::deployment(deployment);
        let actions = out["currentActions"].as_array_mut().into_iter().flatten();
        let step = deployment.plan.steps.get(deployment.step);
        for (shown, action) in actions.zip(step.iter().flat_map(|step| step.actions())) {
            shown["readinessCheckResults"] = self.readiness(action.app());
        }
        out
    }

    fn readiness(&self, app: &AppId) -> Value {
        render::readiness(self.instances_of(app).map(|instance| &**instance))
    }

    /// What waits to be launched, with the delays as of `now`.
    pub fn queue(&self, now: Timestamp, with_last_unused_offers: bool) -> Value {
        let entries = self.queue.values();
        let entries: Vec<_> =
            entries.map(|it| queue_json::entry(it, now, with_last_unused_offers)).collect();
        json!({"queue": entries})
    }

    /// Stored versions of an app, newest first; absent when there is no such app.
    pub fn versions(&self, app: &AppId) -> Option<Vec<String>> {
        self.tree.app(app)?;
        let versions = self.versions.get(app).into_iter().flat_map(OrdMap::keys);
        Some(versions.rev().map(|version| clock::format(*version)).collect())
    }

    /// One stored version of an app.
    pub fn version(&self, app: &AppId, version: Timestamp) -> Option<Value> {
        let app = self.versions.get(app)?.get(&version).filter(|app| !app.is_pod());
        app.map(|app| render::app(app))
    }

    /// A pod; absent when there is none of that id.
    pub fn pod(&self, id: &AppId) -> Option<Value> {
        self.tree.pod(id).map(|pod| render::app(pod))
    }

    /// Every pod.
    pub fn pods(&self) -> Vec<Value> {
        self.all_pods().map(|pod| render::app(pod)).collect()
    }

    /// How a pod and its instances are; absent when there is none of that id.
    pub fn pod_status(&self, id: &AppId) -> Option<Value> {
        self.tree.pod(id).map(|pod| self.status_of(pod))
    }

    /// How every pod is.
    pub fn pod_statuses(&self) -> Vec<Value> {
        self.all_pods().map(|pod| self.status_of(pod)).collect()
    }

    /// Stored versions of a pod, newest first; absent when there is no such pod.
    pub fn pod_versions(&self, id: &AppId) -> Option<Vec<String>> {
        self.tree.pod(id)?;
        let versions = self.versions.get(id)?.iter().filter(|(_, pod)| pod.is_pod());
        Some(versions.rev().map(|(version, _)| clock::format(*version)).collect())
    }

    /// One stored version of a pod.
    pub fn pod_version(&self, id: &AppId, version: Timestamp) -> Option<Value> {
        let pod = self.versions.get(id)?.get(&version).filter(|pod| pod.is_pod());
        pod.map(|pod| render::app(pod))
    }

    fn all_pods(&self) -> impl Iterator<Item = &Arc<App>> {
        self.tree.apps.values().filter(|app| app.is_pod())
    }

    /// How `pod` is; of what is no pod, nothing.
    pub fn status_of(&self, app: &App) -> Value {
        let Some(pod) = &app.pod else { return Value::Null };
        let ended = self.terminations.get(&app.id).map_or(&[][..], Vec::as_slice);
        render::status(app, pod, self.instances_of(&app.id), ended, &self.role)
    }

    /// Every service port with the apps that have it, for those who give out numbers.
    pub fn service_ports(&self) -> Value {
        let mut ports: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for (id, app) in &self.tree.apps {
            for port in app.service_ports() {
                ports.entry(port).or_default().push(id.as_str());
            }
        }
        let ports = ports.into_iter().map(|(port, apps)| json!({"port": port, "apps": apps}));
        json!({"servicePorts": ports.collect::<Vec<_>>()})
    }

    /// Versions at which something at or below a group changed, oldest first.
    pub fn group_versions(&self, id: &AppId) -> BTreeSet<Timestamp> {
        group::versions(&self.tree, &self.history, id)
    }

    /// A group as it was at one of its versions.
    pub fn group_at(&self, id: &AppId, version: Timestamp) -> Option<String> {
        self.group_versions(id).contains(&version).then(|| {
            let tree = self.tree.clone().at(version, &self.history, &self.versions);
            group::render_past(&tree, id, version)
        })
    }

    /// How many tasks of `app` are in which state.
    fn counts(&self, app: &AppId) -> Counts {
        Counts::of(self.instances_of(app).map(|instance| &**instance))
    }

    fn stats(&self, app: &App, now: Timestamp) -> Value {
        let all: Vec<&Instance> = self.instances_of(&app.id).map(|it| &**it).collect();
        let info = app.version_info;
        let started_after = |it: &&Instance| {
            it.task.as_ref().is_some_and(|task| task.staged_at > info.last_scaling_at)
        };
        let members = [
            ("startedAfterLastScaling", all.iter().copied().filter(started_after).collect()),
            ("withLatestConfig", all.iter().copied().filter(|it| it.is_current(app)).collect()),
            ("withOutdatedConfig", all.iter().copied().filter(|it| !it.is_current(app)).collect()),
            ("totalSummary", all.clone()),
        ];
        let mut out = json!({});
        for (name, some) in members {
            let some: Vec<&Instance> = some;
            if some.iter().any(|it| it.task.is_some()) {
                let counts = Counts::of(some.iter().copied());
                out[name] = json!({"stats": {"counts": {
                    "staged": counts.staged,
                    "running": counts.running,
                    "healthy": counts.healthy,
                    "unhealthy": counts.unhealthy,
                }}});
                if let Some(life_time) = life_time(&some, now) {
                    out[name]["stats"]["lifeTime"] = life_time;
                }
            }
        }
        out
    }
}

/// How long those of `instances` have run that run; absent when none does.
fn life_time(instances: &[&Instance], now: Timestamp) -> Option<Value> {
    let started = instances.iter().filter_map(|it| it.task.as_ref()?.started_at);
    let mut lived: Vec<Duration> = started.map(|at| now.since(at)).collect();
    lived.sort_unstable();
    let middle = [lived.len().saturating_sub(1) / 2, lived.len() / 2];
    let [low, high] = middle.map(|at| lived.get(at));
    let median = (*low? + *high?) / 2;
    let average = lived.iter().sum::<Duration>() / u32::try_from(lived.len()).ok()?;
    Some(json!({
        "averageSeconds": average.as_secs_f64(),
        "medianSeconds": median.as_secs_f64(),
    }))
}

/// A value of the `status` parameter of `/v2/tasks`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TaskFilter {
    /// Tasks that run.
    Running,
    /// Tasks on their way to run.
    Staging,
}

impl TaskFilter {
    /// Reads a value; absent when it is unknown, and then to be ignored.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "running" => Some(Self::Running),
            "staging" => Some(Self::Staging),
            _ => None,
        }
    }

    fn takes(self, condition: Condition) -> bool {
        match self {
            Self::Running => condition == Condition::Running,
            Self::Staging => matches!(
                condition,
                Condition::Provisioned | Condition::Staging | Condition::Starting
            ),
        }
    }
}

#[derive(Default)]
struct Counts {
    staged: u32,
    running: u32,
    healthy: u32,
    unhealthy: u32,
}

impl Counts {
    fn of<'a>(instances: impl Iterator<Item = &'a Instance>) -> Self {
        let mut counts = Self::default();
        for instance in instances {
            match instance.condition {
                Condition::Provisioned | Condition::Staging | Condition::Starting => {
                    counts.staged += 1;
                }
                Condition::Running => {
                    counts.running += 1;
                    match instance.task.as_ref().and_then(|task| task.health.is_healthy) {
                        Some(true) => counts.healthy += 1,
                        Some(false) => counts.unhealthy += 1,
                        None => {}
                    }
                }
                Condition::Scheduled
                | Condition::Killing
                | Condition::Unreachable
                | Condition::UnreachableInactive => {}
            }
        }
        counts
    }
}

fn put<K: Ord + Clone, V: Clone>(table: &mut OrdMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => table.insert(key, value),
        None => table.remove(&key),
    };
}

fn put_below<A: Ord + Clone, K: Ord + Clone, V: Clone>(
    table: &mut OrdMap<A, OrdMap<K, V>>,
    above: A,
    key: K,
    value: Option<V>,
) {
    let Some(value) = value else {
        if let Some(below) = table.get_mut(&above) {
            below.remove(&key);
            if below.is_empty() {
                table.remove(&above);
            }
        }
        return;
    };
    table.entry(above).or_default().insert(key, value);
}
