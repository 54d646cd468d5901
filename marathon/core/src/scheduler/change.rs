//! Changing apps: what is asked for becomes a deployment.

use super::{Marathon, advance, ailing, settle};
use crate::app::{App, NetworkMode, VersionInfo, parse};
use crate::event::Happening;
use crate::group::{Group, Tree};
use crate::history::{GroupChanges, Outcome, Past};
use crate::ids::{AppId, DeploymentId, InstanceId};
use crate::io::Refusal;
use crate::planner::{self, Changes, Deployment, Plan};
use crate::reservation;
use crate::stored;
use model::step::{Now, Timestamp};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Changes that go together.
#[derive(Default)]
pub(super) struct Wish {
    /// The group that is to change, for the events; absent means the root.
    pub(super) group: Option<AppId>,
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
    /// What each group is to be; absent means that nothing is said of it.
    pub(super) groups: BTreeMap<AppId, Option<Group>>,
    /// With what deployments in the way end; absent means that they are overridden.
    pub(super) ends: Option<Outcome>,
}

impl Wish {
    /// One app is to be this, or to go.
    pub(super) fn of_one(id: &AppId, app: Option<App>) -> Self {
        let apps = BTreeMap::from([(id.clone(), app)]);
        Self { group: Some(id.parent()), apps, ..Self::default() }
    }
}

/// A deployment that was started.
pub(super) struct Started {
    pub(super) id: DeploymentId,
    pub(super) version: Timestamp,
}

/// A deployment that can be started.
pub(super) struct Prepared {
    pub(super) version: Timestamp,
    pub(super) changes: Changes,
    pub(super) groups: GroupChanges,
    pub(super) plan: Plan,
    pub(super) in_the_way: BTreeSet<DeploymentId>,
    pub(super) is_return: bool,
}

/// Starts the deployment that fulfils `wish`. On a refusal nothing has changed, and that is told.
pub(super) fn deploy(marathon: &mut Marathon, wish: &Wish, now: Now) -> Result<Started, Refusal> {
    let group = wish.group.clone().unwrap_or_else(AppId::root);
    let prepared = prepare(marathon, wish, now);
    let prepared = prepared.map_err(|why| refused(marathon, &group, why, now))?;
    Ok(carry_out(marathon, prepared, group, wish.ends.unwrap_or(Outcome::Overridden), now))
}

/// Tells that a change of `group` was understood and cannot be. `why` it cannot, for whoever asked.
pub(super) fn refused(marathon: &mut Marathon, group: &AppId, why: Refusal, now: Now) -> Refusal {
    let version = next_version(marathon, now);
    let (group, reason) = (group.clone(), why.text().into());
    marathon.tell(Happening::GroupChangeFailed { group, version, reason }, now);
    why
}

/// Finds out what `wish` leads to, without changing anything, or why it cannot be.
pub(super) fn prepare(marathon: &Marathon, wish: &Wish, now: Now) -> Result<Prepared, Refusal> {
    let version = next_version(marathon, now);
    let groups = group_changes(marathon, &new_groups(marathon, wish), version);
    let changes = changes(marathon, wish, &groups, version);
    let in_the_way = in_the_way(marathon, changes.keys(), wish.force)?;
    let mut tree = marathon.books.tree.clone();
    for (id, (_, new)) in &changes {
        match new {
            Some(new) => tree.apps.insert(id.clone(), new.clone()),
            None => tree.apps.remove(id),
        };
    }
    for (id, (_, new)) in &groups {
        match new {
            Some(new) => tree.groups.insert(id.clone(), new.clone()),
            None => tree.groups.remove(id),
        };
    }
    check(&tree, &changes, &groups, &marathon.config.role)?;
    let outdated = |id: &AppId| {
        let config = |app: &Arc<App>| app.version_info.last_config_change_at;
        let present = marathon.books.tree.apps.get(id).map(config);
        present.is_some_and(|config| marathon.instances_of(id).outdated(config).counted() > 0)
    };
    let is_cut_short = |id: &AppId| marathon.books.locks.contains_key(id);
    let plan = planner::plan(&changes, &groups, &tree, outdated, is_cut_short, &wish.victims);
    let plan = plan.map_err(|cycle| parse::Invalid::one("/", cycle.to_string()).refusal())?;
    let is_return = wish.is_return;
    Ok(Prepared { version, changes, groups, plan, in_the_way, is_return })
}

/// The deployments that a change of `apps` ends, which it may if it is forced; or why there can be no other one.
pub(super) fn in_the_way<'a>(
    marathon: &Marathon,
    apps: impl Iterator<Item = &'a AppId>,
    force: bool,
) -> Result<BTreeSet<DeploymentId>, Refusal> {
    let in_the_way: BTreeSet<DeploymentId> =
        apps.filter_map(|app| marathon.books.locks.get(app)).cloned().collect();
    if !in_the_way.is_empty() && !force {
        return Err(locked(&in_the_way));
    }
    let running = marathon.books.deployments.len() - in_the_way.len();
    if running >= marathon.config.deployments_max {
        let message = format!(
            "{running} deployments are running, which is as many as may: try again when one is done"
        );
        return Err(Refusal { status: 403, body: json!({"message": message}) });
    }
    Ok(in_the_way)
}

/// Does what was prepared. Deployments in the way end with `ends`.
pub(super) fn carry_out(
    marathon: &mut Marathon,
    prepared: Prepared,
    group: AppId,
    ends: Outcome,
    now: Now,
) -> Started {
    let Prepared { version, changes, groups, plan, in_the_way, is_return } = prepared;
    for id in &in_the_way {
        settle::end_deployment(marathon, id, ends, None, now);
    }
    marathon.books.last_version = version;
    let id = DeploymentId::draw(&mut marathon.ids);
    if !changes.is_empty() || !groups.is_empty() {
        let at = |app: &Option<Arc<App>>| app.as_ref().map(|app| app.version);
        let apps = changes.iter().map(|(id, (old, new))| (id.clone(), (at(old), at(new))));
        marathon.note_start(Past {
            version,
            deployment: id.clone(),
            apps: apps.collect(),
            groups: groups.clone(),
            started_at: now.wall,
            end: None,
        });
    }
    let originals = changes.iter().map(|(id, (old, _))| (id.clone(), old.clone())).collect();
    for (id, (_, new)) in groups {
        match new {
            Some(new) => marathon.put_group(new),
            None => marathon.remove_group(&id),
        }
    }
    // An app of which only instances move stays as it is.
    for (id, (old, new)) in changes.into_iter().filter(|(_, (old, new))| old != new) {
        tell_checks(marathon, &id, old.as_deref(), new.as_deref(), now);
        match new {
            Some(new) => {
                marathon.put_app(new);
                ailing::look_later_at_all(marathon, &id, now);
                // What was refused for those who wait may be right for them now.
                let has_waiting = marathon.books.queue.first_of(&id).is_some();
                marathon.books.asking.is_revive_wanted |= has_waiting;
            }
            None => marathon.remove_app(&id),
        }
    }
    marathon.tell(Happening::GroupChangeSuccess { group, version }, now);
    let deployment = Deployment {
        id: id.clone(),
        version,
        plan,
        originals,
        step: 0,
        is_return,
        is_paused: false,
        stage: 0,
    };
    start(marathon, deployment, now);
    Started { id, version }
}

/// Tells which health checks an app has no more, and which it has from now on.
fn tell_checks(
    marathon: &mut Marathon,
    id: &AppId,
    old: Option<&App>,
    new: Option<&App>,
    now: Now,
) {
    let checks = |app: Option<&App>| app.map(|app| app.health_checks.clone()).unwrap_or_default();
    let (before, after) = (checks(old), checks(new));
    for _ in before.iter().filter(|check| !after.contains(check)) {
        marathon.tell(Happening::HealthCheckRemoved { app: id.clone() }, now);
    }
    let version = new.map(|app| app.version).unwrap_or_default();
    for check in after.into_iter().filter(|check| !before.contains(check)) {
        let what = Happening::HealthCheckAdded { app: id.clone(), version, check };
        marathon.tell(what, now);
    }
}

/// What `wish` says of groups, and what is said of new ones because that is the rule.
fn new_groups(marathon: &Marathon, wish: &Wish) -> BTreeMap<AppId, Option<Group>> {
    let mut groups = wish.groups.clone();
    if !marathon.config.enforces_new_groups || wish.is_return {
        return groups;
    }
    let tree = &marathon.books.tree;
    let of_apps = wish.apps.iter().filter(|(_, app)| app.is_some()).filter_map(|(id, _)| id.top());
    let described = wish.groups.keys().filter(|id| id.parent().is_root() && !id.is_root()).cloned();
    let tops: BTreeSet<AppId> = of_apps.chain(described).collect();
    for top in tops.into_iter().filter(|top| !tree.has_group(top)) {
        let plain = Group {
            id: top.clone(),
            dependencies: Vec::new(),
            enforce_role: None,
            version: Timestamp::default(),
        };
        if let Some(group) = groups.entry(top).or_insert(Some(plain)) {
            group.enforce_role = group.enforce_role.or(Some(true));
        }
    }
    groups
}

/// What really changes of groups.
fn group_changes(
    marathon: &Marathon,
    wanted: &BTreeMap<AppId, Option<Group>>,
    version: Timestamp,
) -> GroupChanges {
    let mut changes = GroupChanges::new();
    for (id, wanted) in wanted {
        let old = marathon.books.tree.groups.get(id);
        let new = wanted.as_ref().map(|wanted| {
            let is_same = |old: &&Arc<Group>| {
                old.dependencies == wanted.dependencies && old.enforce_role == wanted.enforce_role
            };
            let kept = old.filter(is_same).cloned();
            kept.unwrap_or_else(|| Arc::new(Group { version, ..wanted.clone() }))
        });
        if old != new.as_ref() {
            changes.insert(id.clone(), (old.cloned(), new));
        }
    }
    changes
}

/// What must hold in a tree where these apps and groups have changed.
fn check(
    tree: &Tree,
    changes: &Changes,
    groups: &GroupChanges,
    own_role: &str,
) -> Result<(), Refusal> {
    let clash = |id: &AppId| {
        let text = "Groups and Applications may not have the same identifier";
        parse::Invalid::one("/", format!("{text}: {id}")).refusal()
    };
    let apps = changes.iter().filter_map(|(id, (old, new))| Some((id, old, new.as_ref()?)));
    for (id, old, new) in apps {
        if old.is_none() && tree.has_group(id) {
            return Err(clash(id));
        }
        let is_same = old.as_ref().is_some_and(|old| old.role == new.role);
        if let (Some(group), Some(role), false) = (tree.enforced(id), &new.role, is_same)
            && role != group.as_str().trim_start_matches('/')
        {
            let error =
                format!("the role of apps in {group} is enforced, so {id} cannot have '{role}'");
            return Err(parse::Invalid::one("/role", error).refusal());
        }
        if let Some((path, error)) = old.as_ref().and_then(|old| reservation::fixed(old, new)) {
            return Err(parse::Invalid::one(path, error).refusal());
        }
        one_user(tree, old.as_deref(), new)?;
        let role = new.role.as_deref().unwrap_or(own_role);
        if new.is_resident() && role == "*" {
            let top = id.top();
            let of_group = match top.as_ref().map(|top| top.as_str().trim_start_matches('/')) {
                Some(group) => format!("that of its group, '{group}'"),
                None => "one, for which it must be in a group of that name".to_owned(),
            };
            let error = format!(
                "persistent volumes need a role other than '*': give {id} {of_group}, or start \
                 Marathon with --mesos_role"
            );
            return Err(parse::Invalid::one("/role", error).refusal());
        }
        if let Some(other) = new.accepted_resource_roles.iter().find(|it| *it != "*" && *it != role)
        {
            let error = format!(
                "acceptedResourceRoles can only contain '*' and '{role}', so {id} cannot have '{other}'"
            );
            return Err(parse::Invalid::one("/acceptedResourceRoles", error).refusal());
        }
    }
    let new_apps = changes.iter().filter(|(_, (old, new))| old.is_none() && new.is_some());
    let new_groups = groups.iter().filter(|(_, (old, new))| old.is_none() && new.is_some());
    let named = new_apps.map(|(id, _)| id).chain(new_groups.clone().map(|(id, _)| id));
    if let Some(app) = named.flat_map(AppId::ancestors).find(|it| tree.apps.contains_key(it)) {
        return Err(clash(&app));
    }
    match new_groups.map(|(id, _)| id).find(|id| tree.apps.contains_key(*id)) {
        Some(id) => Err(clash(id)),
        None => Ok(()),
    }
}

/// A volume that nobody may share has one app. Those that had it in common before may keep it.
fn one_user(tree: &Tree, old: Option<&App>, new: &App) -> Result<(), Refusal> {
    for (index, name) in new.unshared_volumes() {
        let uses = |app: &App| app.unshared_volumes().any(|(_, other)| other == name);
        if old.is_some_and(uses) {
            continue;
        }
        if let Some((other, _)) = tree.apps.iter().find(|(id, app)| **id != new.id && uses(app)) {
            let path = format!("/container/volumes({index})/external/name");
            let error = format!("the volume '{name}' is that of {other}, and is not shared");
            return Err(parse::Invalid::one(&path, error).refusal());
        }
    }
    Ok(())
}

/// Starts the deployment that takes back what `deployment` changed, which ends with `outcome`.
///
/// Only what it touched goes back; what others changed meanwhile stays.
pub(super) fn take_back(
    marathon: &mut Marathon,
    deployment: &Deployment,
    outcome: Outcome,
    why: Option<Arc<str>>,
    now: Now,
) -> Result<Started, Refusal> {
    let originals = deployment.originals.iter();
    let apps = originals.map(|(id, app)| (id.clone(), app.as_ref().map(|app| (**app).clone())));
    let past = marathon.books.history.get(deployment.version);
    let groups = past.iter().flat_map(|past| &past.groups);
    let groups = groups.map(|(id, (old, _))| (id.clone(), old.as_ref().map(|old| (**old).clone())));
    let wish = Wish {
        apps: apps.collect(),
        groups: groups.collect(),
        force: true,
        is_return: true,
        ..Wish::default()
    };
    let group = AppId::root();
    let prepared = prepare(marathon, &wish, now);
    let prepared = prepared.map_err(|why| refused(marathon, &group, why, now))?;
    // If there was nothing to take back, it has not been in its own way.
    settle::end_deployment(marathon, &deployment.id, outcome, why, now);
    Ok(carry_out(marathon, prepared, group, outcome, now))
}

fn start(marathon: &mut Marathon, deployment: Deployment, now: Now) {
    let id = deployment.id.clone();
    // Without steps it is over as soon as it is told, and nobody has to remember it.
    if !deployment.plan.steps.is_empty() {
        let encoded = stored::deployment(&deployment);
        marathon.outbox.put(stored::deployment_key(&id), Some(encoded));
    }
    marathon.books.touched.extend(deployment.originals.keys().cloned());
    marathon.take_up(deployment);
    advance::watch(marathon, &id, now);
    settle::begin_step(marathon, &id, now);
}

pub(super) fn next_version(marathon: &Marathon, now: Now) -> Timestamp {
    // Whole milliseconds: that is what the API shows and is asked for.
    let wall = Timestamp(now.wall.0 / 1_000 * 1_000);
    wall.max(Timestamp(marathon.books.last_version.0 + 1_000))
}

/// The role of a new app in a group that has its role enforced.
fn enforced_role(marathon: &Marathon, groups: &GroupChanges, id: &AppId) -> Option<String> {
    let top = id.top()?;
    let group = match groups.get(&top) {
        Some((_, new)) => new.as_ref(),
        None => marathon.books.tree.groups.get(&top),
    };
    let enforces = group.is_some_and(|group| group.enforce_role == Some(true));
    enforces.then(|| top.as_str().trim_start_matches('/').to_owned())
}

/// What really changes, with roles, versions and service ports filled in.
fn changes(marathon: &Marathon, wish: &Wish, groups: &GroupChanges, version: Timestamp) -> Changes {
    let mut changes = Changes::new();
    // Numbers that this very change names or gives out.
    let named = wish.apps.values().flatten().flat_map(App::service_ports);
    let mut given: BTreeSet<u16> = named.collect();
    let mut free = marathon.books.service_ports.free();
    for (id, wanted) in &wish.apps {
        let old = marathon.books.tree.apps.get(id);
        let Some(wanted) = wanted else {
            if let Some(old) = old {
                changes.insert(id.clone(), (Some(old.clone()), None));
            }
            continue;
        };
        let mut new = wanted.clone();
        if old.is_none() && new.role.is_none() && !wish.is_return {
            new.role = enforced_role(marathon, groups, id);
        }
        if needs_ports(&new) {
            assign_ports(&mut new, old.map(|old| &**old), &mut free, &mut given);
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

/// Gives every service port that is 0 a number: the one it had, or the next `free` one that is not `given` yet.
fn assign_ports(
    app: &mut App,
    old: Option<&App>,
    free: &mut impl Iterator<Item = u16>,
    given: &mut BTreeSet<u16>,
) {
    let had = old.map(App::service_ports).unwrap_or_default();
    let own: BTreeSet<u16> = app.service_ports().into_iter().collect();
    let mut assign = |index: usize| {
        let kept = had.get(index).copied().filter(|port| *port != 0 && !own.contains(port));
        let port = kept.or_else(|| free.find(|port| !given.contains(port)));
        given.extend(port);
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
