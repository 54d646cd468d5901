//! Marathon itself: apps, instances, deployments, offers and status reports brought together.
//!
//! [`Marathon::step`] only dispatches; each input is handled in a file of its own. After each,
//! `settle` lets every app that was touched come closer to what it is to have.

mod advance;
mod agents;
mod ailing;
mod asks;
mod audit;
mod books;
mod change;
mod containers;
mod due;
mod groups;
mod history;
mod kills;
mod lead;
mod maintenance;
mod offers;
mod pods;
mod readiness;
mod rebalance;
mod reservations;
mod residence;
mod roles;
mod search;
mod secrets;
mod settle;
mod updates;
#[cfg(test)]
mod work;

use crate::app::parse::Defaults;
use crate::event::Happening;
use crate::fleet::Fleet;
use crate::group::{Tree, Versions};
use crate::ids::{AppId, DeploymentId, InstanceId};
use crate::instance::Instance;
use crate::instances::{self, Instances};
use crate::io::{Config, Input, Output};
use crate::launch_queue::LaunchQueue;
use crate::outbox::Outbox;
use crate::planner::{Deployment, Progress};
use crate::service_ports::ServicePorts;
use model::ids::{AgentId, FrameworkId};
use model::rng::Rng;
use model::step::{Core, Now, Time, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The deciding half of Marathon.
#[derive(Debug)]
pub struct Marathon {
    config: Config,
    defaults: Defaults,
    /// Ids of instances and deployments.
    ids: Rng,
    /// Choices among free ports.
    ports: Rng,
    outbox: Outbox,
    /// Everything known while leading; empty otherwise.
    books: Books,
    is_leading: bool,
}

/// What is known while leading.
#[derive(Debug, Default)]
struct Books {
    framework: Option<FrameworkId>,
    is_connected: bool,
    /// What is wanted.
    tree: Tree,
    versions: Versions,
    /// Deployments by the version they made: those that run and the latest that are over.
    history: history::Remembered,
    instances: BTreeMap<AppId, Instances>,
    /// Of which app each instance is.
    owners: BTreeMap<InstanceId, AppId>,
    deployments: BTreeMap<DeploymentId, UnderWay>,
    /// Which deployment each app is part of.
    locks: BTreeMap<AppId, DeploymentId>,
    /// Which service ports the apps have.
    service_ports: ServicePorts,
    /// The roles that something is in.
    role_counts: roles::RoleCounts,
    /// Roles that the master knows of, or is told of.
    roles: BTreeSet<Arc<str>>,
    /// Agents that are to be away.
    away: BTreeMap<AgentId, maintenance::Away>,
    tokens: offers::Tokens,
    /// Values that only the shell can open, by where they are kept.
    secrets: secrets::Secrets,
    reservations: reservations::Reservations,
    queue: LaunchQueue,
    /// How often the delays of each app were reset, where they were.
    resets: BTreeMap<AppId, u64>,
    /// Apps of which the last failure is kept.
    failed: BTreeSet<AppId>,
    fleet: Fleet,
    /// Apps with an instance on every agent that fits.
    followers: BTreeSet<AppId>,
    /// Apps that are spread over what agents there are.
    spread: BTreeSet<AppId>,
    agents_asked: agents::Asked,
    timers: BTreeSet<(Time, Due)>,
    /// Instances that are to end, of which it is told but which are not asked yet. Not stored: a new
    /// leader asks at once.
    draining: BTreeSet<InstanceId>,
    /// Apps with a timer to be looked at again.
    looked_at_later: BTreeSet<AppId>,
    /// Apps to look at before the turn ends.
    touched: BTreeSet<AppId>,
    /// Apps whose queue entry is to be shown anew before the turn ends.
    queue_shown: BTreeSet<AppId>,
    /// The latest version given out: versions are unique, and later ones are greater.
    last_version: Timestamp,
    asking: Asking,
}

/// Whether the master is asked for offers.
#[derive(Debug, Default)]
struct Asking {
    is_suppressed: bool,
    /// Whether something became due that refused offers could be right for.
    is_revive_wanted: bool,
    /// Since when offers come on this subscription.
    since: Option<Time>,
    last_revive: Option<Time>,
}

/// A deployment, and who its present step waits for.
#[derive(Debug)]
struct UnderWay {
    deployment: Arc<Deployment>,
    waits_for: BTreeSet<AppId>,
    progress: Arc<Progress>,
}

impl UnderWay {
    fn new(deployment: Deployment) -> Self {
        let deployment = Arc::new(deployment);
        Self { deployment, waits_for: BTreeSet::new(), progress: Arc::default() }
    }
}

/// What can fall due. A timer says when to look, not what will be found: if things have moved on, it
/// does nothing.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Due {
    /// The backoff of an instance is over.
    Launch(InstanceId),
    /// A task should have got further by now; its number.
    Start(InstanceId, u64),
    /// A kill should have ended by now; the number of its task.
    Kill(InstanceId, u64),
    /// An unreachable instance is to be replaced or forgotten.
    Unreachable(InstanceId),
    /// A deployment should have got on.
    Progress(DeploymentId),
    /// An app is to be looked at again.
    Look(AppId),
    /// An instance is to be asked whether it is ready; the number of its task.
    Probe(InstanceId, u64),
    /// The master is to be asked for its agents.
    Agents,
    /// Everything is to be reconciled.
    Reconcile,
    /// Offers may be asked for again.
    Revive,
    /// Launches are allowed again.
    Tokens,
    /// Every app is to be looked at.
    Check,
    /// An agent is about to be away.
    Away(AgentId),
    /// The agent of a reservation should be back by now.
    Reservation(Arc<str>),
    /// Offers are no longer needed only to give things back.
    Collect,
}

impl Marathon {
    /// One that does not lead yet.
    pub fn new(config: Config) -> Self {
        let defaults =
            Defaults { role: config.role.clone(), network: config.default_network.clone() };
        let mut seed = Rng::new(config.seed);
        let ids = Rng::new(seed.next_u64());
        let ports = Rng::new(seed.next_u64());
        Self {
            config,
            defaults,
            ids,
            ports,
            outbox: Outbox::default(),
            books: Books::default(),
            is_leading: false,
        }
    }

    fn instance(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        let app = self.books.owners.get(id)?;
        self.books.instances.get(app)?.get(id)
    }

    fn instances_of(&self, app: &AppId) -> &Instances {
        self.books.instances.get(app).unwrap_or(&instances::NONE)
    }

    fn wake_at(&mut self, at: Time, due: Due) {
        self.books.timers.insert((at, due));
    }
}

impl Core for Marathon {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Lead { stored } => lead::lead(self, &stored, now, out),
            Input::Depose => lead::depose(self, out),
            Input::Subscribed { framework, master, region } => {
                self.books.fleet.settle(region);
                lead::subscribed(self, framework, master, now);
            }
            Input::Disconnected => lead::disconnected(self, now),
            Input::Offers(offers) => offers::offers(self, offers, now),
            Input::InverseOffers(offers) => maintenance::asked(self, offers, now),
            Input::RescindInverse(offer) => maintenance::rescinded(self, &offer),
            Input::Update(update) => updates::update(self, &update, now),
            // Unanswered offers are not kept.
            Input::Rescind(_) => {}
            Input::AgentLost(agent) => offers::agent_lost(self, &agent, now),
            Input::Message { executor, agent, message } => {
                let (executor, agent) = (executor.as_str().into(), agent.as_str().into());
                self.tell(Happening::FrameworkMessage { executor, agent, message }, now);
            }
            Input::Committed { write } => self.outbox.committed(write, out),
            Input::CommitFailed { write } => lead::commit_failed(self, write, out),
            Input::Agents(all) => agents::heard(self, all),
            Input::Probed { task, status, response } => {
                readiness::probed(self, &task, status, response, now);
            }
            Input::Ask(ask) => asks::ask(self, ask, now),
        }
        settle::settle(self, now);
        self.outbox.flush(out);
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Output>) {
        due::due(self, now);
        settle::settle(self, now);
        self.outbox.flush(out);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.books.timers.first().map(|(at, _)| *at)
    }
}
