//! Changing apps: what is asked for becomes a deployment.

use super::{Marathon, UnderWay, settle};
use crate::app::{App, NetworkMode, VersionInfo};
use crate::event::Happening;
use crate::ids::{AppId, DeploymentId, InstanceId};
use crate::io::Refusal;
use crate::planner::{self, Changes, Deployment};
use crate::stored;
use model::step::{Now, Timestamp};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Changes that go together.
#[derive(Default)]
pub(super) struct Wish {
    /// What each app is to be; absent means that it goes.
    pub(super) apps: BTreeMap<AppId, Option<App>>,
    /// Apps whose instances are replaced even if nothing changed.
    pub(super) restarts: BTreeSet<AppId>,
    /// Who goes first where an app is scaled down.
    pub(super) victims: BTreeMap<AppId, BTreeSet<InstanceId>>,
    /// Whether deployments in the way are cancelled.
    pub(super) force: bool,
    /// Whether the apps are former definitions, whose instances that are still there are right again.
    pub(super) is_return: bool,
}

/// A deployment that was started.
pub(super) struct Started {
    pub(super) id: DeploymentId,
    pub(super) version: Timestamp,
}

/// Starts the deployment that fulfils `wish`. On a refusal nothing has changed.
pub(super) fn deploy(marathon: &mut Marathon, wish: &Wish, now: Now) -> Result<Started, Refusal> {
    let version = next_version(marathon, now);
    let changes = changes(marathon, wish, version);
    let in_the_way: BTreeSet<DeploymentId> =
        changes.keys().filter_map(|app| marathon.books.locks.get(app)).cloned().collect();
    if !in_the_way.is_empty() && !wish.force {
        return Err(locked(&in_the_way));
    }
    let running = marathon.books.deployments.len() - in_the_way.len();
    if running >= marathon.config.deployments_max {
        let message = format!(
            "{running} deployments are running, which is as many as may: try again when one is done"
        );
        return Err(Refusal { status: 403, body: json!({"message": message}) });
    }
    let mut apps = marathon.books.apps.clone();
    for (id, (_, new)) in &changes {
        match new {
            Some(new) => apps.insert(id.clone(), new.clone()),
            None => apps.remove(id),
        };
    }
    let outdated = |id: &AppId| {
        let present = marathon.books.apps.get(id);
        let all = marathon.instances_of(id);
        present.is_some_and(|app| all.iter().any(|it| it.is_counted() && !it.is_current(app)))
    };
    let plan =
        planner::plan(&changes, &apps, outdated, &wish.victims).map_err(|cycle| Refusal {
            status: 422,
            body: json!({"message": "Object is not valid",
                     "details": [{"path": "/", "errors": [cycle.to_string()]}]}),
        })?;
    for id in &in_the_way {
        cancel(marathon, id, now);
    }
    marathon.books.last_version = version;
    let id = DeploymentId::draw(&mut marathon.ids);
    let originals = changes.iter().map(|(id, (old, _))| (id.clone(), old.clone())).collect();
    for (id, (_, new)) in changes {
        match new {
            Some(new) => marathon.put_app(new),
            None => marathon.remove_app(&id),
        }
    }
    let group = AppId::root();
    marathon.tell(Happening::GroupChangeSuccess { group, version }, now);
    start(marathon, Deployment { id: id.clone(), version, plan, originals, step: 0 }, now);
    Ok(Started { id, version })
}

fn start(marathon: &mut Marathon, deployment: Deployment, now: Now) {
    let id = deployment.id.clone();
    // Without steps it is over as soon as it is told, and nobody has to remember it.
    if !deployment.plan.steps.is_empty() {
        let encoded = stored::deployment(&deployment);
        marathon.outbox.put(stored::deployment_key(&id), Some(encoded));
    }
    for app in deployment.originals.keys() {
        marathon.books.locks.insert(app.clone(), id.clone());
        marathon.books.touched.insert(app.clone());
    }
    let under_way = UnderWay { deployment: Arc::new(deployment), waits_for: BTreeSet::new() };
    marathon.books.deployments.insert(id.clone(), under_way);
    settle::begin_step(marathon, &id, now);
}

/// Stops a deployment where it is.
pub(super) fn cancel(marathon: &mut Marathon, id: &DeploymentId, now: Now) {
    let Some(under_way) = marathon.books.deployments.get(id) else { return };
    let deployment = under_way.deployment.clone();
    let what = Happening::DeploymentFailed {
        id: id.clone(),
        version: deployment.version,
        plan: deployment.plan.clone(),
    };
    settle::end_deployment(marathon, id, what, now);
}

fn next_version(marathon: &Marathon, now: Now) -> Timestamp {
    // Whole milliseconds: that is what the API shows and is asked for.
    let wall = Timestamp(now.wall.0 / 1_000 * 1_000);
    wall.max(Timestamp(marathon.books.last_version.0 + 1_000))
}

/// What really changes, with versions and service ports filled in.
fn changes(marathon: &Marathon, wish: &Wish, version: Timestamp) -> Changes {
    let mut changes = Changes::new();
    let mut taken: Option<BTreeSet<u16>> = None;
    for (id, wanted) in &wish.apps {
        let old = marathon.books.apps.get(id);
        let Some(wanted) = wanted else {
            if let Some(old) = old {
                changes.insert(id.clone(), (Some(old.clone()), None));
            }
            continue;
        };
        let mut new = wanted.clone();
        if needs_ports(&new) {
            let taken = taken.get_or_insert_with(|| service_ports(marathon));
            assign_ports(&mut new, old.map(|old| &**old), taken, marathon.config.service_ports);
        }
        let is_restart = wish.restarts.contains(id);
        if let Some(old) = old {
            new.version = old.version;
            if !wish.is_return {
                new.version_info = old.version_info;
            }
            if new == **old && !is_restart {
                continue;
            }
        }
        let is_scaled = old.is_none_or(|old| old.instances != new.instances);
        let is_changed = is_restart || old.is_none_or(|old| !new.launches_like(old));
        let before = new.version_info;
        new.version = version;
        new.version_info = VersionInfo {
            last_scaling_at: if is_scaled { version } else { before.last_scaling_at },
            last_config_change_at: if is_changed && !wish.is_return {
                version
            } else {
                before.last_config_change_at
            },
        };
        changes.insert(id.clone(), (old.cloned(), Some(Arc::new(new))));
    }
    changes
}

fn needs_ports(app: &App) -> bool {
    app.service_ports().contains(&0)
}

fn service_ports(marathon: &Marathon) -> BTreeSet<u16> {
    marathon.books.apps.values().flat_map(|app| app.service_ports()).collect()
}

/// Gives every service port that is 0 a number: the one it had, or one that no app has.
fn assign_ports(
    app: &mut App,
    old: Option<&App>,
    taken: &mut BTreeSet<u16>,
    (first, last): (u16, u16),
) {
    let had = old.map(App::service_ports).unwrap_or_default();
    let own: BTreeSet<u16> = app.service_ports().into_iter().collect();
    let mut next = first..=last;
    let mut assign = |index: usize| {
        let kept = had.get(index).copied().filter(|port| *port != 0 && !own.contains(port));
        let port = kept.or_else(|| next.find(|port| !taken.contains(port) && !own.contains(port)));
        taken.extend(port);
        port.unwrap_or(0)
    };
    let is_host = app.networks.iter().any(|network| network.mode == NetworkMode::Host);
    if is_host {
        for (index, port) in app.port_definitions.iter_mut().enumerate() {
            if port.port == 0 {
                port.port = assign(index);
            }
        }
    } else if let Some(container) = &mut app.container {
        for (index, port) in container.port_mappings.iter_mut().enumerate() {
            if port.service_port == 0 {
                port.service_port = assign(index);
            }
        }
    }
}

fn locked(by: &BTreeSet<DeploymentId>) -> Refusal {
    let message = "App is locked by one or more deployments. Override with the option \
                   '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'.";
    let ids: Vec<_> = by.iter().map(|id| json!({"id": id.as_str()})).collect();
    Refusal { status: 409, body: json!({"message": message, "deployments": ids}) }
}
