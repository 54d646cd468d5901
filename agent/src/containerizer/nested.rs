//! Containers in other containers: what they share with those, and that none outlives the one it is in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::ids::ContainerId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::error::Elapsed;

use super::spec::{Networks, plan};
use super::supervise::{first_process, remove_record};
use super::{
    Class, Containerizer, Entry, Inner, LaunchError, LaunchSpec, Stage, Table, cni, read_plan,
};
use crate::images::Start;
use crate::launcher::{Files, Identity, Joined, Plan};

/// Containers in one outermost container, those that are over and not yet removed included. A task
/// group has a few; looks at them come and go. Each has a directory, and mostly a process of the agent.
const INSIDE_MAX: usize = 1_024;

/// Sessions in one outermost container that are over and of which it is remembered how. Whoever wants
/// to know asks at once, and not everybody removes what is over.
const SESSIONS_ENDED_MAX: usize = 64;

/// How long somebody who is led from a container's launch waits for its end. It is a matter of
/// milliseconds.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// What looks into a container must not take from its environment: it is for the executor alone.
const HIDDEN: [&str; 2] = ["MESOS_EXECUTOR_AUTHENTICATION_TOKEN", Start::VARIABLE];

/// Why a container cannot be in the one that it is to be in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoPlace {
    /// That one does not run, or not any more.
    #[error("container {parent} does not run")]
    NoParent {
        /// Which one.
        parent: ContainerId,
    },
    /// There are too many.
    #[error(
        "there are {INSIDE_MAX} containers in container {root}; remove those that are over, or launch fewer"
    )]
    Full {
        /// The outermost one.
        root: ContainerId,
    },
}

/// Why a container got no signal.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KillError {
    /// There is none, or it is over.
    #[error("Container {0} cannot be found")]
    Unknown(ContainerId),
    /// The kernel has no such signal.
    #[error("there is no signal {0}")]
    NoSignal(i32),
    /// It does not run yet.
    #[error("container {0} is still being launched; try again, or send signal 9")]
    NotYet(ContainerId),
}

/// Whether there may be such a container: the one around it runs and has room.
pub(super) fn admit(table: &Table, container: &ContainerId) -> Result<(), NoPlace> {
    let Some(parent) = container.parent() else { return Ok(()) };
    let runs = |entry: &Arc<Entry>| *entry.stage.borrow() == Stage::Running;
    if !table.live.get(&parent).is_some_and(runs) {
        return Err(NoPlace::NoParent { parent });
    }
    let root = container.root();
    let all = table.live.keys().chain(table.ended.keys());
    if all.filter(|it| it.is_inside(&root)).count() >= INSIDE_MAX {
        return Err(NoPlace::Full { root });
    }
    Ok(())
}

/// Whether a container counts against the limits of the one that it is in, and against no others.
pub(super) fn shares_limits(spec: &LaunchSpec) -> bool {
    spec.container.parent().is_some()
        && (spec.kind.class == Class::Debug || !spec.wanted.has_own_limits)
}

/// What the launcher is told before isolators have their say, with what follows from where the
/// container is.
pub(super) fn place(inner: &Inner, spec: LaunchSpec) -> Result<Plan, LaunchError> {
    let own = spec.container.to_string();
    let (io, class, shares_limits) = (spec.kind.io, spec.kind.class, shares_limits(&spec));
    let Some(parent) = spec.container.parent() else {
        return Ok(Plan { cgroups_of: own, io, ..plan(spec)? });
    };
    let files = inner.files(parent.as_str());
    let found = read_plan(&files).zip(first_process(&files));
    let (outer, process) = found.ok_or(NoPlace::NoParent { parent })?;
    // Others may not enter namespaces; and then there are none.
    let network = nix::unistd::geteuid().is_root();
    let joined = Joined {
        process,
        network,
        mount: false,
        pid: false,
        ipc: false,
        uts: false,
        shared_memory: false,
    };
    if class == Class::Debug {
        return Ok(Plan { io, ..beside(&outer, joined, spec)? });
    }
    let is_own_network = spec.wanted.networks != Networks::Host;
    let mut plan = plan(spec)?;
    if !is_own_network {
        // With the network go the files that tell of it, and nothing else that the other one was given.
        let of_network =
            outer.shown.into_iter().filter(|it| cni::is_of_network(&it.container_path));
        plan.shown.extend(of_network);
    }
    let joined = Joined { network: network && !is_own_network, ..joined };
    Ok(Plan {
        identity: plan.identity.clone().or(outer.identity),
        known_as: plan.known_as.clone().or(outer.known_as),
        sandbox_around: Some(outer.sandbox),
        cgroups_of: if shares_limits { outer.cgroups_of } else { own },
        joined: Some(joined),
        io,
        ..plan
    })
}

/// A plan for something that runs as if it were in the container of plan `outer`.
fn beside(outer: &Plan, joined: Joined, mut spec: LaunchSpec) -> Result<Plan, LaunchError> {
    spec.environment = environment(&outer.environment, spec.environment);
    let plan = plan(spec)?;
    let further = outer.joined;
    let has = |own: bool, joined: fn(&Joined) -> bool| own || further.as_ref().is_some_and(joined);
    let namespaces = &outer.namespaces;
    Ok(Plan {
        identity: plan.identity.clone().or_else(|| outer.identity.clone()),
        known_as: plan.known_as.clone().or_else(|| outer.known_as.clone()),
        workdir: Some(outer.workdir.as_deref().unwrap_or(outer.sandbox_inside()).to_owned()),
        joined: Some(Joined {
            mount: has(namespaces.mount, |it| it.mount),
            pid: has(namespaces.pid, |it| it.pid),
            ipc: has(namespaces.ipc, |it| it.ipc),
            uts: has(namespaces.uts, |it| it.uts),
            ..joined
        }),
        capabilities_bounding: outer.capabilities_bounding,
        capabilities_effective: outer.capabilities_effective,
        no_new_privileges: outer.no_new_privileges,
        seccomp: outer.seccomp.clone(),
        rlimits: outer.rlimits.clone(),
        oom_score_adj: outer.oom_score_adj,
        cgroups_of: outer.cgroups_of.clone(),
        ..plan
    })
}

/// What somebody in a container sees of its environment, with what is `added`.
fn environment(theirs: &[(String, String)], added: Vec<(String, String)>) -> Vec<(String, String)> {
    // The built-in executor is told this way what its task is to have from the image.
    let image = theirs.iter().find(|(name, _)| name == Start::VARIABLE);
    let image = image.and_then(|(_, text)| Start::from_variable(text)).unwrap_or_default();
    let theirs = theirs.iter().filter(|(name, _)| !HIDDEN.contains(&name.as_str())).cloned();
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in theirs.chain(image.env).chain(added) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

/// Remembers that a session is over, and gives the oldest one if there are too many.
pub(super) fn session_over(table: &mut Table, session: &ContainerId) -> Option<ContainerId> {
    table.sessions_ended.push_back(session.clone());
    let root = session.root();
    let mut all = table.sessions_ended.iter().filter(|it| it.is_inside(&root));
    let oldest = all.next()?.clone();
    if all.count() < SESSIONS_ENDED_MAX {
        return None;
    }
    table.drop_ended(&oldest);
    Some(oldest)
}

impl Table {
    /// Drops what is known of a container that is over.
    pub(super) fn drop_ended(&mut self, container: &ContainerId) {
        self.ended.remove(container);
        self.ended_order.retain(|ended| ended != container);
        self.sessions_ended.retain(|ended| ended != container);
    }
}

/// Lets nobody more into a container, and ends those that are in it, the innermost first.
pub(super) async fn end_inside(inner: &Inner, container: &ContainerId, entry: &Entry) {
    let ends: Vec<_> = {
        let table = inner.containers.lock();
        entry.stage.send_replace(Stage::Ending);
        let inside = table.live.iter().filter(|(it, _)| it.parent().as_ref() == Some(container));
        inside
            .map(|(_, inside)| {
                inside.destroy.cancel();
                inside.termination.subscribe()
            })
            .collect()
    };
    for mut end in ends {
        // An error means that it is over as well.
        let _ = end.wait_for(Option::is_some).await;
    }
}

/// Drops the records of all that was in a container. Blocks.
pub(super) fn forget_inside(inner: &Inner, container: &ContainerId) {
    let mut table = inner.containers.lock();
    // The table knows all of them. To look through the records instead costs as much as there are
    // containers on this machine, at the end of each.
    let mut inside = Vec::new();
    table.ended.retain(|ended, _| {
        let is_inside = ended.is_inside(container);
        if is_inside {
            inside.push(ended.clone());
        }
        !is_inside
    });
    table.sessions_ended.retain(|ended| !ended.is_inside(container));
    drop(table);
    for ended in inside {
        remove_record(&inner.files(ended.as_str()));
    }
}

/// A container as those in it see it.
#[derive(Clone, Debug)]
pub struct Outer {
    /// Its sandbox.
    pub sandbox: PathBuf,
    /// Whom its command runs as. Absent: as the agent.
    pub identity: Option<Identity>,
}

impl Containerizer {
    /// A container that others are to be launched in, if it runs.
    pub fn outer(&self, container: &ContainerId) -> Option<Outer> {
        if !self.runs(container) {
            return None;
        }
        let plan = read_plan(&self.inner.files(container.as_str()))?;
        Some(Outer { sandbox: plan.sandbox, identity: plan.identity })
    }

    /// What rules call the user that a container runs as, or ran as until it is forgotten. Absent: it is
    /// not known here.
    pub fn known_as(&self, container: &ContainerId) -> Option<String> {
        read_plan(&self.inner.files(container.as_str()))?.known_as
    }

    /// Waits while a container is being started that has been heard of already, so that its launch is
    /// all but over. Whether it runs then; an error: it does not get on.
    pub(crate) async fn opened(&self, container: &ContainerId) -> Result<bool, Elapsed> {
        let entry = self.inner.containers.lock().live.get(container).cloned();
        let Some(entry) = entry else { return Ok(false) };
        let mut stage = entry.stage.subscribe();
        let started = stage.wait_for(|stage| *stage != Stage::Starting);
        let stage = tokio::time::timeout(OPENED_WITHIN, started).await?;
        Ok(stage.is_ok_and(|stage| *stage == Stage::Running))
    }

    /// Whether a container runs: its launch is over, and its end has not begun.
    pub(crate) fn is_open(&self, container: &ContainerId) -> bool {
        let table = self.inner.containers.lock();
        table.live.get(container).is_some_and(|entry| *entry.stage.borrow() == Stage::Running)
    }

    /// Whether a container is not over.
    pub fn runs(&self, container: &ContainerId) -> bool {
        self.inner.containers.lock().live.contains_key(container)
    }

    /// Whether a container has been launched and is not yet forgotten; more exact than
    /// [`Containerizer::has_record`].
    pub fn knows(&self, container: &ContainerId) -> bool {
        let table = self.inner.containers.lock();
        table.live.contains_key(container) || table.ended.contains_key(container)
    }

    /// The containers that are not over and are in another one, or nobody's executors.
    pub fn not_of_executors(&self) -> Vec<ContainerId> {
        let live: Vec<_> = self.inner.containers.lock().live.keys().cloned().collect();
        live.into_iter().filter(|it| it.parent().is_some() || self.is_standalone(it)).collect()
    }

    /// The containers that are in this one and in no other in it, and not over.
    pub(super) fn directly_in(&self, container: &ContainerId) -> Vec<ContainerId> {
        let table = self.inner.containers.lock();
        let inside = table.live.keys().filter(|it| it.parent().as_ref() == Some(container));
        inside.cloned().collect()
    }

    /// Whether a container is in no other and was launched for no executor.
    pub fn is_standalone(&self, container: &ContainerId) -> bool {
        container.parent().is_none() && self.inner.files(container.as_str()).standalone().exists()
    }

    /// Has a container destroyed, and does not wait for it.
    pub fn destroy_soon(&self, container: &ContainerId) {
        if let Some(entry) = self.inner.containers.lock().live.get(container) {
            entry.destroy.cancel();
        }
    }

    /// The first process of a container, as the agent numbers it.
    pub fn pid(&self, container: &ContainerId) -> Option<i32> {
        first_process(&self.inner.files(container.as_str())).map(|process| process.pid)
    }

    /// Sends a signal to a container: the command gets it, SIGTERM all processes. One that is being started
    /// gets it when it runs. SIGKILL destroys the container; that it is over is then to be waited for.
    pub async fn signal(&self, container: &ContainerId, signal: i32) -> Result<(), KillError> {
        let signal = Signal::try_from(signal).map_err(|_| KillError::NoSignal(signal))?;
        let entry = self.inner.containers.lock().live.get(container).cloned();
        let entry = entry.ok_or_else(|| KillError::Unknown(container.clone()))?;
        if signal == Signal::SIGKILL {
            entry.destroy.cancel();
            return Ok(());
        }
        match self.opened(container).await {
            Ok(true) => {}
            // Its end has begun, and nothing is left to be told.
            Ok(false) => return Ok(()),
            Err(_) => return Err(KillError::NotYet(container.clone())),
        }
        let container = container.clone();
        self.blocking(move |inner| inner.signal(container.as_str(), signal)).await;
        Ok(())
    }
}

impl Inner {
    /// Sends `signal` to a container that runs. One that ends meanwhile has no need of it. Blocks.
    fn signal(&self, container: &str, signal: Signal) {
        let files = self.files(container);
        let Some((first, plan)) = first_process(&files).zip(read_plan(&files)) else { return };
        let command = if plan.has_init() { command_below(first.pid) } else { Some(first.pid) };
        let mut pids: Vec<i32> = command.into_iter().collect();
        if signal == Signal::SIGTERM {
            let members = self.isolators.iter().find_map(|it| it.processes(container));
            let members =
                members.unwrap_or_else(|| crate::executor::process::descendants(first.pid));
            // An init is the agent's own and only waits.
            let init = plan.has_init().then_some(first.pid);
            pids.extend(
                members.into_iter().filter(|pid| Some(*pid) != init && Some(*pid) != command),
            );
        }
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// The command of a container whose first process is an init: the first that it started, which makes
/// it the second in there.
fn command_below(init: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
    let is_second = |pid: &i32| {
        let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
        let status = status.unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        numbers.is_some_and(|numbers| numbers.split_ascii_whitespace().next_back() == Some("2"))
    };
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).find(is_second)
}

/// What is to become of a container that is found after a restart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It is taken back.
    Keep,
    /// It is destroyed, and its record with it.
    Destroy,
}

/// Whether a container could be of interest to anybody: it is an executor's, or it had begun, is in one
/// that runs if in any, and there is more to it than somebody's connection.
pub(super) fn fate(files: &Files, is_executor: bool, parent_runs: bool) -> Fate {
    if is_executor {
        return Fate::Keep;
    }
    let is_session = read_plan(files).and_then(|plan| plan.io).is_some_and(|io| io.is_session);
    if parent_runs && files.pid().exists() && !is_session { Fate::Keep } else { Fate::Destroy }
}
