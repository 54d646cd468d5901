//! What can happen to Marathon and what it can ask for.
//!
//! Outputs are done in order, and what depends on stored state comes out only after the write was
//! confirmed: the shell may act on every output at once.

use crate::app::App;
use crate::event::Event;
use crate::ids::{AppId, InstanceId, WriteId};
use crate::instance::Place;
use crate::secret::Sealed;
use crate::view::Change;
use model::ids::{
    AgentId, ExecutorId, FrameworkId, OfferId, PersistenceId, RequestId, TaskId, UpdateId,
};
use model::offer::{InverseOffer, Offer};
use model::resources::{Attributes, Resources};
use model::role::Role;
use model::step::Timestamp;
use model::task::Status;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// One key of the framework store.
pub type Key = String;

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// This process leads from now on. `stored` is everything in the framework store.
    Lead {
        /// All keys with their values.
        stored: Vec<(Key, Vec<u8>)>,
    },
    /// This process no longer leads. All is forgotten; nothing more is asked for.
    Depose,
    /// The master has let us in, for the first time or again.
    Subscribed {
        /// Our id there.
        framework: FrameworkId,
        /// Where the master is, for the events.
        master: Arc<str>,
        /// The region it is in; absent if it has none.
        region: Option<Arc<str>>,
    },
    /// The connection to the master is gone. The shell tries again by itself.
    Disconnected,
    /// Offers came in.
    Offers(Vec<OfferView>),
    /// An offer was taken back.
    Rescind(OfferId),
    /// Agents are to be away, and we are asked to leave them.
    InverseOffers(Vec<InverseOffer>),
    /// An agent is not to be away any more.
    RescindInverse(OfferId),
    /// A status report came in.
    Update(UpdateView),
    /// An agent is gone. Its tasks are reported on one by one; this says that nothing is to go there.
    AgentLost(AgentId),
    /// An executor has sent something that only it knows the meaning of.
    Message {
        /// Which executor.
        executor: ExecutorId,
        /// Its agent.
        agent: AgentId,
        /// What it sent, in base64.
        message: Arc<str>,
    },
    /// A write is safe.
    Committed {
        /// Which.
        write: WriteId,
    },
    /// A write failed or may have failed: somebody else leads, or nobody. The core steps down.
    CommitFailed {
        /// Which.
        write: WriteId,
    },
    /// The master was asked for its agents.
    Agents(
        /// All that it has; absent if it does not answer.
        Option<Vec<AgentView>>,
    ),
    /// A task was asked whether it is ready.
    Probed {
        /// Which.
        task: TaskId,
        /// The HTTP status it answered with; absent if it did not.
        status: Option<u16>,
        /// The whole answer, if it was to be kept.
        response: Option<Arc<Response>>,
    },
    /// A user asks for something.
    Ask(Ask),
}

/// An offer with what constraints need of its opaque parts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OfferView {
    /// The offer.
    pub offer: Offer,
    /// Attributes of its agent.
    pub attributes: Attributes,
    /// Region of its agent, where it has one.
    pub region: Option<Arc<str>>,
    /// Zone of its agent, where it has one.
    pub zone: Option<Arc<str>>,
    /// What of it we have reserved, by the ids of the reservations. It is not among the resources of
    /// the offer itself.
    pub held: BTreeMap<Arc<str>, Resources>,
}

/// An agent that the master has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentView {
    /// Which, and where it is.
    pub place: Place,
    /// Whether it is offered: it is in contact, and no operator has it deactivated or drained.
    pub is_in_use: bool,
    /// All that it has.
    pub total: Resources,
    /// What of that somebody has.
    pub allocated: Resources,
}

/// A status report with what is needed of its opaque parts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpdateView {
    /// The report.
    pub status: Status,
    /// Addresses of the container.
    pub addresses: Vec<Arc<str>>,
    /// What the task's check says, in the shape that the API shows.
    pub check: Option<Value>,
    /// Those of several health checks that fail.
    pub failing: Vec<FailingCheck>,
}

impl UpdateView {
    /// A report that has nothing to say besides.
    pub fn plain(status: Status) -> Self {
        Self { status, addresses: Vec::new(), check: None, failing: Vec::new() }
    }
}

/// One of several health checks, which fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FailingCheck {
    /// Its place among those of the app.
    pub place: usize,
    /// How often in a row. Zero: it has never been well, nor failed.
    pub failures: u32,
}

/// A user's request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which one is answered.
    pub request: RequestId,
    /// Address of the client, for the events.
    pub client: Arc<str>,
    /// Path of the request, for the events.
    pub uri: Arc<str>,
    /// What is wanted.
    pub command: Command,
}

/// What a user can want changed. Bodies are any JSON; what is wrong with one is the answer.
#[derive(Clone, Debug)]
pub enum Command {
    /// `POST /v2/apps`.
    CreateApp {
        /// The app.
        body: Value,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
    /// `PUT` and `PATCH /v2/apps/{id}`.
    PutApp {
        /// Which.
        id: AppId,
        /// The fields, or the whole app.
        body: Value,
        /// How.
        how: PutApp,
    },
    /// `PUT` and `PATCH /v2/apps`: an array, one deployment.
    PutApps {
        /// The apps.
        body: Value,
        /// Whether absent fields keep their value.
        partial: bool,
        /// Whether missing apps are made (`PUT`) or refused (`PATCH`).
        create: bool,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
    /// `DELETE /v2/apps/{id}`.
    DeleteApp {
        /// Which.
        id: AppId,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
    /// `POST /v2/apps/{id}/restart`.
    RestartApp {
        /// Which.
        id: AppId,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
    /// `POST /agora/v1/apps/{id}/rebalance`.
    RebalanceApp {
        /// Which, an app or a pod.
        id: AppId,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
    /// `POST /v2/tasks/delete`.
    KillTasks {
        /// `{"ids": [...]}`: tasks or instances.
        body: Value,
        /// How.
        how: KillHow,
    },
    /// `DELETE /v2/apps/{id}/tasks`.
    KillAppTasks {
        /// Of which app.
        id: AppId,
        /// Only those on this host; absent or `*` means all.
        host: Option<String>,
        /// How.
        how: KillHow,
    },
    /// `DELETE /v2/apps/{id}/tasks/{task}`.
    KillTask {
        /// Of which app.
        id: AppId,
        /// The task or instance.
        task: String,
        /// How.
        how: KillHow,
    },
    /// `DELETE /v2/deployments/{id}`.
    CancelDeployment {
        /// Which.
        id: String,
        /// Whether it is only stopped (and not reverted).
        force: bool,
    },
    /// `POST /agora/v1/deployments/{id}/pause` and `.../continue`.
    HoldDeployment {
        /// Which.
        id: String,
        /// Whether it is held where it is, or goes on.
        is_paused: bool,
    },
    /// `DELETE /v2/queue/{id}/delay`.
    ResetDelay {
        /// Of which app.
        id: AppId,
    },
    /// `PUT /agora/v1/secrets/{path}`.
    PutSecret {
        /// Where it is kept.
        path: String,
        /// Its value, sealed.
        sealed: Vec<u8>,
    },
    /// `DELETE /agora/v1/secrets/{path}`.
    DeleteSecret {
        /// Which.
        path: String,
        /// Whether it goes even if it is used.
        force: bool,
    },
    /// `POST /v2/pods`.
    CreatePod {
        /// The pod.
        body: Value,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
    /// `PUT /v2/pods/{id}`.
    PutPod {
        /// Which.
        id: AppId,
        /// The whole pod.
        body: Value,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
    /// `DELETE /v2/pods/{id}`.
    DeletePod {
        /// Which.
        id: AppId,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
    /// `DELETE /v2/pods/{id}::instances` and `…::instances/{instance}`.
    KillPodInstances {
        /// Of which pod.
        id: AppId,
        /// Which instances.
        instances: Vec<String>,
        /// Whether one was named by the URL, and one is answered.
        is_single: bool,
        /// Whether they are forgotten with all they hold.
        wipe: bool,
    },
    /// `POST` and `PUT /v2/groups/{id}`.
    PutGroup {
        /// Which, by the URL; the root if there is none.
        id: AppId,
        /// A description, a version to go back to, or a factor to scale by.
        body: Value,
        /// How.
        how: PutGroup,
    },
    /// `PATCH /v2/groups/{id}`.
    PatchGroup {
        /// Which.
        id: AppId,
        /// `{"enforceRole": ...}`.
        body: Value,
    },
    /// `DELETE /v2/groups/{id}`: every app below it.
    DeleteGroup {
        /// Which; the root means everything.
        id: AppId,
        /// Whether deployments in the way are cancelled.
        force: bool,
    },
}

/// How an app is changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent wish of a client")]
pub struct PutApp {
    /// Whether absent fields keep their value.
    pub partial: bool,
    /// Whether a missing app is made (`PUT`) or refused (`PATCH`).
    pub create: bool,
    /// Whether deployments in the way are cancelled.
    pub force: bool,
    /// With `partial`: whether a field that is null goes back to its default, and is not just as good
    /// as absent.
    pub null_removes: bool,
    /// Whether it is only told what would be done.
    pub dry_run: bool,
}

/// How a group is changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent wish of a client")]
pub struct PutGroup {
    /// Whether the group must be new (`POST`).
    pub is_new: bool,
    /// Whether deployments in the way are cancelled.
    pub force: bool,
    /// Whether it is only told what would be done.
    pub dry_run: bool,
    /// With `dry_run`: whether the changes are told field by field too.
    pub diff: bool,
    /// Whether what is left out stays as it is.
    pub merge: bool,
}

/// How tasks are killed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KillHow {
    /// Whether the app is scaled down by as many.
    pub scale: bool,
    /// Whether the instance is forgotten with all it holds, and a new one made.
    pub wipe: bool,
    /// Whether deployments in the way are cancelled (with `scale`).
    pub force: bool,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Write to the framework store, all or nothing, and say when it is safe.
    Store {
        /// Which write is confirmed.
        write: WriteId,
        /// Keys with their new values; absent means the key goes.
        puts: Vec<(Key, Option<Vec<u8>>)>,
    },
    /// Stop leading: what is in memory no longer follows from the store. Comes with nothing after it.
    StepDown,
    /// Connect to the master, with this id if there is one.
    Subscribe {
        /// Our id of old.
        framework: Option<FrameworkId>,
        /// Every role to get offers in.
        roles: BTreeSet<Arc<str>>,
    },
    /// Get offers in these roles, and in no others.
    Roles {
        /// Every one.
        roles: BTreeSet<Arc<str>>,
        /// Whether none are wanted just now.
        is_suppressed: bool,
    },
    /// Leave agents that are to be away, by the time they are.
    AcceptInverse {
        /// The inverse offers.
        offers: Vec<OfferId>,
    },
    /// Launch on an offer, undo reservations in it, and give the rest of it back.
    Accept {
        /// The offer, unanswered so far.
        offer: OfferId,
        /// Its agent.
        agent: AgentId,
        /// The role it was made in.
        role: Role,
        /// What to undo.
        releases: Vec<Release>,
        /// What to launch.
        launches: Vec<Launch>,
        /// The filter on the rest.
        refuse_for: Duration,
    },
    /// Give offers back.
    Decline {
        /// Which.
        offers: Vec<OfferId>,
        /// The filter on them.
        refuse_for: Duration,
    },
    /// Ask for offers again, without filters.
    Revive,
    /// Ask for no more offers.
    Suppress,
    /// Ask which agents there are. If nobody answers, nothing is missed for long: it is asked again.
    AskAgents,
    /// End a task.
    Kill {
        /// Which.
        task: TaskId,
        /// Where it is, if known.
        agent: Option<AgentId>,
        /// How long it may take; absent means the executor's own.
        grace: Option<Duration>,
    },
    /// Tell the agent that a report was kept. Only reports with an id are acknowledged.
    Acknowledge {
        /// The agent that waits for it.
        agent: AgentId,
        /// The task reported on.
        task: TaskId,
        /// The report.
        uuid: UpdateId,
    },
    /// Ask the master about tasks; an empty list asks about all it knows.
    Reconcile(Vec<(TaskId, Option<AgentId>)>),
    /// Ask a task whether it is ready.
    Probe(Probe),
    /// Answer a user.
    Answer {
        /// Whom.
        request: RequestId,
        /// With what.
        answer: Result<Answer, Refusal>,
    },
    /// Tell whoever watches.
    Event(Event),
    /// Change what reads are answered from.
    View(Change),
}

/// One question to a task: a GET, of which the status counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Whom.
    pub task: TaskId,
    /// Where.
    pub url: String,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether the whole answer is wanted back.
    pub keeps_response: bool,
}

/// What a task answered when it was asked whether it is ready.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// As the answer says; empty if it does not.
    pub content_type: String,
    /// As text, with what is none replaced, and cut off where it is too long.
    pub body: String,
}

/// A reservation that is to be undone.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// Which.
    pub id: Arc<str>,
    /// All of it, volumes included: they go with all data.
    pub resources: Resources,
}

/// The reservation that a task is launched on.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Which.
    pub id: Arc<str>,
    /// Present if it is to be made first, of all that the launch takes and of the space for these volumes.
    pub new: Option<Vec<NewVolume>>,
}

/// A volume to make.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVolume {
    /// Where tasks see it.
    pub container_path: Arc<str>,
    /// What the agent is to know it by.
    pub id: PersistenceId,
    /// What it is made of, not reserved yet.
    pub space: Resources,
}

/// One task to launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The instance it is for.
    pub instance: InstanceId,
    /// Its id.
    pub task: TaskId,
    /// What it runs.
    pub app: Arc<App>,
    /// Host of the agent.
    pub host: Arc<str>,
    /// Host ports, in the order of [`App::wanted_ports`].
    pub ports: Vec<u16>,
    /// What it takes out of the offer, ports and executor included. Volumes that are yet to be made are
    /// not in it.
    pub resources: Resources,
    /// What it is launched on, if its app has volumes that outlive it.
    pub claim: Option<Claim>,
    /// What of that its executor takes; nothing where the executor is the agent's own.
    pub executor: Resources,
    /// Of a pod: the task of each container, in order, with what it takes.
    pub containers: Vec<(TaskId, Resources)>,
    /// Secrets it is launched with, by the names that the app has for them.
    pub secrets: BTreeMap<String, Sealed>,
    /// Whether its group has its role enforced.
    pub is_role_enforced: bool,
}

/// What a user's request led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// 200, 201, 202 or 204.
    pub status: u16,
    /// The body; absent for none.
    pub body: Option<Value>,
    /// For the header `Marathon-Deployment-Id`.
    pub deployment: Option<String>,
    /// For the header `Location`.
    pub location: Option<String>,
}

/// Why a user's request is not carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// `message` and, for some, `details` or `deployments`.
    pub body: Value,
}

impl Refusal {
    /// All of what it says, in one line.
    pub fn text(&self) -> String {
        let message = self.body["message"].as_str().unwrap_or_default();
        let details = self.body["details"].as_array().into_iter().flatten();
        let errors = details.filter_map(|detail| detail["errors"].as_array()).flatten();
        let errors: Vec<_> = errors.filter_map(Value::as_str).collect();
        if errors.is_empty() {
            return message.to_owned();
        }
        format!("{message}: {}", errors.join("; "))
    }
}

/// What Marathon is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// What instance and deployment ids are drawn from. Must differ from process to process.
    pub seed: u64,
    /// The role Marathon is in.
    pub role: Arc<str>,
    /// The network that container networks without a name mean.
    pub default_network: Option<Arc<str>>,
    /// Roles whose resources apps take that do not say; empty means their own and everybody's.
    pub accepted_roles: Vec<Arc<str>>,
    /// Whether agents with GPUs are kept for apps that want some, unless an app says otherwise.
    pub gpus_are_kept: bool,
    /// Whether the role of new top-level groups is enforced unless something else is said.
    pub enforces_new_groups: bool,
    /// Filter on offers that were not used.
    pub decline_for: Duration,
    /// Least time between two revives.
    pub revive_interval: Duration,
    /// How long nothing may be heard of an accepted launch.
    pub launch_confirm_timeout: Duration,
    /// How long nothing may be heard of a reservation before it is asked what became of it.
    pub reservation_timeout: Duration,
    /// How long a task may take from staging to running.
    pub launch_timeout: Duration,
    /// Time between meeting the master and reconciling everything.
    pub reconcile_delay: Duration,
    /// Time between two reconciliations of everything.
    pub reconcile_interval: Duration,
    /// Time between coming to lead and looking at every app anew.
    pub scale_delay: Duration,
    /// Time between two looks at every app.
    pub scale_interval: Duration,
    /// Time between two kills of one task.
    pub kill_retry: Duration,
    /// Deployments that may run at once: a limit of memory, and no brake on those who submit many.
    pub deployments_max: usize,
    /// Launches on one offer.
    pub instances_per_offer_max: usize,
    /// Launches in each [`Self::launch_token_interval`]; 0 sets no limit.
    pub launch_tokens: usize,
    /// How long launch tokens last.
    pub launch_token_interval: Duration,
    /// Service ports that are assigned, both ends included.
    pub service_ports: (u16, u16),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            role: "*".into(),
            default_network: None,
            accepted_roles: Vec::new(),
            gpus_are_kept: true,
            enforces_new_groups: false,
            decline_for: Duration::from_secs(120),
            revive_interval: Duration::from_millis(100),
            launch_confirm_timeout: Duration::from_secs(300),
            reservation_timeout: Duration::from_secs(20),
            launch_timeout: Duration::from_secs(300),
            reconcile_delay: Duration::ZERO,
            reconcile_interval: Duration::from_secs(600),
            scale_delay: Duration::from_secs(15),
            scale_interval: Duration::from_secs(300),
            kill_retry: Duration::from_secs(10),
            deployments_max: 10_000,
            instances_per_offer_max: 100,
            launch_tokens: 0,
            launch_token_interval: Duration::from_secs(30),
            service_ports: (10_000, 20_000),
        }
    }
}

/// A task that ended badly: what `lastTaskFailure` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFailure {
    /// Of which app.
    pub app: AppId,
    /// Its host.
    pub host: Arc<str>,
    /// What was said about it.
    pub message: Arc<str>,
    /// How it ended, by the name on the wire.
    pub state: &'static str,
    /// The task.
    pub task: TaskId,
    /// Its agent.
    pub agent: AgentId,
    /// When.
    pub at: Timestamp,
    /// The version of the app it was launched from.
    pub version: Timestamp,
}
