//! What users ask for.

use super::change::{self, Started, Wish};
use super::{Marathon, advance, groups, pods, rebalance, secrets, settle};
use crate::app::parse::{self, Update};
use crate::app::{App, render};
use crate::clock;
use crate::event::Happening;
use crate::history::Outcome;
use crate::ids::{AppId, DeploymentId, InstanceId};
use crate::instance::{Condition, Goal, Instance};
use crate::io::{Answer, Ask, Command, KillHow, Output, PutApp, Refusal};
use crate::outbox::not_leading;
use model::ids::TaskId;
use model::step::Now;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) type Reply = Result<Answer, Refusal>;

/// Does what is asked, or says why not.
pub(super) fn ask(marathon: &mut Marathon, ask: Ask, now: Now) {
    let request = ask.request;
    let answer = if marathon.is_leading { answer(marathon, ask, now) } else { Err(not_leading()) };
    marathon.outbox.push(Output::Answer { request, answer });
}

fn answer(marathon: &mut Marathon, ask: Ask, now: Now) -> Reply {
    let who = (ask.client, ask.uri);
    match ask.command {
        Command::CreateApp { body, force } => create_app(marathon, &who, &body, force, now),
        Command::PutApp { id, body, how } => put_app(marathon, &who, &id, &body, how, now),
        Command::PutApps { body, partial, create, force } => {
            put_apps(marathon, &who, &body, (partial, create, force), now)
        }
        Command::PutSecret { path, sealed } => secrets::put(marathon, &path, &sealed),
        Command::DeleteSecret { path, force } => secrets::delete(marathon, &path, force),
        Command::CreatePod { body, force } => pods::create(marathon, &who, &body, force, now),
        Command::PutPod { id, body, force } => pods::update(marathon, &who, &id, &body, force, now),
        Command::DeletePod { id, force } => pods::delete(marathon, &who, &id, force, now),
        Command::KillPodInstances { id, instances, is_single, wipe } => {
            pods::kill(marathon, &id, &instances, (is_single, wipe), now)
        }
        Command::DeleteApp { id, force } => {
            if marathon.books.tree.app(&id).is_none() {
                return Err(no_app(&id));
            }
            let wish = Wish { force, ..Wish::of_one(&id, None) };
            change::deploy(marathon, &wish, now).map(|started| result(&started))
        }
        Command::PutGroup { id, body, how } => groups::put(marathon, &id, &body, how, now),
        Command::PatchGroup { id, body } => groups::patch(marathon, &id, &body, now),
        Command::DeleteGroup { id, force } => groups::delete(marathon, &id, force, now),
        Command::RestartApp { id, force } => {
            let app = marathon.books.tree.app(&id).ok_or_else(|| no_app(&id))?;
            let wish = Wish::of_one(&id, Some((**app).clone()));
            let wish = Wish { restarts: BTreeSet::from([id]), force, ..wish };
            change::deploy(marathon, &wish, now).map(|started| result(&started))
        }
        Command::RebalanceApp { id, force } => rebalance::rebalance(marathon, &id, force, now),
        Command::KillTasks { body, how } => kill_tasks(marathon, &body, how, now),
        Command::KillAppTasks { id, host, how } => {
            if marathon.books.tree.app(&id).is_none() {
                return Err(no_app(&id));
            }
            let host = host.filter(|host| host != "*");
            let on_host = |it: &&Arc<Instance>| {
                let task = it.task.as_ref();
                task.is_some_and(|it| host.as_deref().is_none_or(|host| *it.place.host == *host))
            };
            let victims = marathon.instances_of(&id).values().filter(on_host).cloned().collect();
            kill(marathon, victims, how, now)
        }
        Command::KillTask { id, task, how } => kill_task(marathon, &id, &task, how, now),
        Command::CancelDeployment { id, force } => cancel(marathon, &id, force, now),
        Command::HoldDeployment { id, is_paused } => advance::hold(marathon, &id, is_paused, now),
        Command::ResetDelay { id } => {
            if !marathon.reset_delays(&id) {
                return Err(refusal(404, format!("Application {id} not found in tasks queue.")));
            }
            marathon.books.asking.is_revive_wanted = true;
            marathon.books.queue_shown.insert(id);
            Ok(Answer { status: 204, body: None, deployment: None, location: None })
        }
    }
}

pub(super) type Who = (Arc<str>, Arc<str>);

fn create_app(marathon: &mut Marathon, who: &Who, body: &Value, force: bool, now: Now) -> Reply {
    let update = Update::read(body, "").map_err(|invalid| invalid.refusal())?;
    let missing = || parse::Invalid::one("/id", "error.path.missing").refusal();
    let id = update.id().ok_or_else(missing)?.map_err(|invalid| invalid.refusal())?;
    if marathon.books.tree.app(&id).is_some() {
        let why = refusal(409, format!("An app with id [{id}] already exists."));
        return Err(conflict(marathon, &id.parent(), why, now));
    }
    let app = wanted(marathon, &id, &update, (false, true), "");
    let app = app.map_err(|why| conflict(marathon, &id.parent(), why, now))?;
    created(marathon, who, app, force, now)
}

fn put_app(
    marathon: &mut Marathon,
    who: &Who,
    id: &AppId,
    body: &Value,
    how: PutApp,
    now: Now,
) -> Reply {
    let mut update = Update::read(body, "").map_err(|invalid| invalid.refusal())?;
    if how.null_removes {
        update.remove_nulls_of(body);
    }
    let is_new = marathon.books.tree.app(id).is_none();
    let mut app = wanted(marathon, id, &update, (how.partial, how.create), "");
    if !how.dry_run {
        app = app.map_err(|why| conflict(marathon, &id.parent(), why, now));
    }
    let app = app?;
    if is_new && !how.dry_run {
        return created(marathon, who, app, how.force, now);
    }
    // What only tells the steps is in nobody's way.
    let wish = Wish { force: how.force || how.dry_run, ..Wish::of_one(id, Some(app)) };
    if how.dry_run {
        let body = Some(groups::told(&change::prepare(marathon, &wish, now)?, true));
        return Ok(Answer { status: 200, body, deployment: None, location: None });
    }
    let started = change::deploy(marathon, &wish, now)?;
    tell_post(marathon, who, id, now);
    Ok(result(&started))
}

fn created(marathon: &mut Marathon, who: &Who, app: App, force: bool, now: Now) -> Reply {
    let id = app.id.clone();
    let wish = Wish { force, ..Wish::of_one(&id, Some(app)) };
    let started = change::deploy(marathon, &wish, now)?;
    tell_post(marathon, who, &id, now);
    let app = marathon.books.tree.apps.get(&id).expect("it was just taken in");
    let mut body = render::app(app);
    body["tasks"] = json!([]);
    for count in ["tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy"] {
        body[count] = 0.into();
    }
    body["deployments"] = render::deployment_ids([&started.id].into_iter());
    Ok(Answer {
        status: 201,
        body: Some(body),
        deployment: Some(started.id.to_string()),
        location: Some(format!("/v2/apps{id}")),
    })
}

/// Tells of a refusal that comes of what is there, not of what was asked, and hands it on.
fn conflict(marathon: &mut Marathon, group: &AppId, why: Refusal, now: Now) -> Refusal {
    if why.status == 409 { change::refused(marathon, group, why, now) } else { why }
}

/// What an update makes of the app `id`. `at` is where it stands in the request.
fn wanted(
    marathon: &Marathon,
    id: &AppId,
    update: &Update,
    (partial, create): (bool, bool),
    at: &str,
) -> Result<App, Refusal> {
    let refused = |invalid: parse::Invalid| invalid.under(at).refusal();
    let old = marathon.books.tree.app(id);
    if let Some(version) = update.rollback() {
        let version = version.map_err(refused)?;
        let old = old.ok_or_else(|| no_app(id))?;
        let stored = marathon.books.versions.get(id).and_then(|all| all.get(&version));
        let stored = stored.filter(|app| !app.is_pod());
        let no_version = || {
            let version = clock::format(version);
            refusal(404, format!("App '{id}' does not have the version {version}"))
        };
        let stored = stored.ok_or_else(no_version)?;
        let info = old.version_info;
        return Ok(App { version_info: info, ..(**stored).clone() });
    }
    let defaults = &marathon.defaults;
    let parsed = match old {
        Some(old) if partial => parse::merged(old, update, defaults),
        Some(_) => parse::whole(id, update, defaults),
        None if create => {
            if let Err(bad) = AppId::parse_app(id.as_str()) {
                return Err(refused(parse::Invalid::one("/id", bad.to_string())));
            }
            if let Some(clash) = clash(marathon, id) {
                return Err(refusal(409, clash));
            }
            parse::whole(id, update, defaults)
        }
        None => return Err(no_app(id)),
    };
    parsed.map_err(refused)
}

/// Why `id` cannot be the id of something new: groups, apps and pods share their names.
pub(super) fn clash(marathon: &Marathon, id: &AppId) -> Option<String> {
    let tree = &marathon.books.tree;
    if let Some(there) = tree.apps.get(id) {
        let kind = if there.is_pod() { "A pod" } else { "An app" };
        return Some(format!("{kind} with id [{id}] already exists."));
    }
    if tree.has_group(id) {
        return Some(format!("A group with id [{id}] already exists."));
    }
    let group = id.ancestors().find(|group| tree.apps.contains_key(group))?;
    Some(format!("An app or pod with id [{group}] already exists, so it is no group."))
}

fn put_apps(
    marathon: &mut Marathon,
    who: &Who,
    body: &Value,
    (partial, create, force): (bool, bool, bool),
    now: Now,
) -> Reply {
    let Value::Array(items) = body else {
        let body = json!({"message": "Invalid JSON",
                          "details": [{"path": "/", "errors": ["error.expected.jsarray"]}]});
        return Err(Refusal { status: 400, body });
    };
    let mut apps = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("/({index})");
        let refused = |invalid: parse::Invalid| invalid.under(&path).refusal();
        let update = Update::read(item, &path).map_err(refused)?;
        let missing = || refused(parse::Invalid::one("/id", "error.path.missing"));
        let id = update.id().ok_or_else(missing)?.map_err(refused)?;
        let app = wanted(marathon, &id, &update, (partial, create), &path);
        let app = app.map_err(|why| conflict(marathon, &AppId::root(), why, now))?;
        apps.insert(id, Some(app));
    }
    let ids: Vec<AppId> = apps.keys().cloned().collect();
    let started = change::deploy(marathon, &Wish { apps, force, ..Wish::default() }, now)?;
    for id in &ids {
        tell_post(marathon, who, id, now);
    }
    Ok(result(&started))
}

fn kill_tasks(marathon: &mut Marathon, body: &Value, how: KillHow, now: Now) -> Reply {
    let ids = body.get("ids").and_then(Value::as_array);
    let ids: Option<Vec<&str>> = ids.and_then(|ids| ids.iter().map(Value::as_str).collect());
    let Some(ids) = ids else {
        let body = json!({"message": "Invalid JSON",
                          "details": [{"path": "/ids", "errors": ["error.expected.jsarray"]}]});
        return Err(Refusal { status: 400, body });
    };
    let mut victims = Vec::new();
    for id in ids {
        victims.extend(named(marathon, id)?);
    }
    kill(marathon, victims, how, now)
}

fn kill_task(marathon: &mut Marathon, app: &AppId, task: &str, how: KillHow, now: Now) -> Reply {
    if marathon.books.tree.app(app).is_none() {
        return Err(no_app(app));
    }
    let victim = named(marathon, task)?.filter(|it| it.app.id == *app);
    let victim = victim.ok_or_else(|| refusal(404, format!("Task '{task}' does not exist")))?;
    let mut answer = kill(marathon, vec![victim], how, now)?;
    // One task was asked for, so one is answered.
    let tasks = answer.body.as_mut().and_then(|body| body.get_mut("tasks")).map(Value::take);
    if let Some(Value::Array(mut tasks)) = tasks {
        answer.body = Some(json!({"task": tasks.pop()}));
    }
    Ok(answer)
}

/// The instance that `text` names, by its id or by that of its present task.
fn named(marathon: &Marathon, text: &str) -> Result<Option<Arc<Instance>>, Refusal> {
    let id = InstanceId::parse(text).or_else(|| InstanceId::of_task(text));
    let id = id.ok_or_else(|| {
        let message = format!(
            "Invalid task id '{text}'. Expected <app>.instance-<uuid>, or that with ._app.<number>."
        );
        refusal(400, message)
    })?;
    let is_it = |it: &&Arc<Instance>| {
        let task = it.task.as_ref();
        text == it.id.as_str()
            || task.is_some_and(|task| TaskId::new(text).is_ok_and(|id| task.is(&id)))
    };
    Ok(marathon.instance(&id).filter(is_it).cloned())
}

fn kill(marathon: &mut Marathon, victims: Vec<Arc<Instance>>, how: KillHow, now: Now) -> Reply {
    if how.scale && how.wipe {
        return Err(refusal(400, "You cannot use scale and wipe at the same time."));
    }
    if how.scale {
        return scale_down(marathon, &victims, how.force, now);
    }
    let role = marathon.config.role.clone();
    let tasks: Vec<_> = victims.iter().filter_map(|it| render::task(it, &role, false)).collect();
    for victim in victims {
        let is_lost =
            matches!(victim.condition, Condition::Unreachable | Condition::UnreachableInactive);
        if how.wipe {
            marathon.give_up_place(&victim, now);
        }
        if how.wipe || is_lost {
            marathon.decommission(&victim.id, now);
        } else if victim.task.is_some() {
            marathon.kill(&victim, victim.goal, now);
        }
    }
    let body = Some(json!({"tasks": tasks}));
    Ok(Answer { status: 200, body, deployment: None, location: None })
}

fn scale_down(marathon: &mut Marathon, victims: &[Arc<Instance>], force: bool, now: Now) -> Reply {
    let mut by_app: BTreeMap<AppId, BTreeSet<InstanceId>> = BTreeMap::new();
    for victim in victims.iter().filter(|it| it.goal == Goal::Running) {
        by_app.entry(victim.app.id.clone()).or_default().insert(victim.id.clone());
    }
    let mut apps = BTreeMap::new();
    for (id, victims) in &by_app {
        if let Some(app) = marathon.books.tree.apps.get(id) {
            let fewer = u32::try_from(victims.len()).unwrap_or(u32::MAX);
            let instances = app.instances.saturating_sub(fewer);
            apps.insert(id.clone(), Some(App { instances, ..(**app).clone() }));
        }
    }
    let wish = Wish { apps, victims: by_app, force, ..Wish::default() };
    change::deploy(marathon, &wish, now).map(|started| result(&started))
}

fn cancel(marathon: &mut Marathon, id: &str, force: bool, now: Now) -> Reply {
    let key = DeploymentId::new(id);
    let under_way = marathon.books.deployments.get(&key);
    let no_plan = || refusal(404, format!("DeploymentPlan {id} does not exist"));
    let deployment = under_way.ok_or_else(no_plan)?.deployment.clone();
    if force {
        settle::end_deployment(marathon, &key, Outcome::Cancelled, None, now);
        return Ok(Answer { status: 202, body: None, deployment: None, location: None });
    }
    change::take_back(marathon, &deployment, Outcome::Reverted, None, now)
        .map(|started| result(&started))
}

fn tell_post(marathon: &mut Marathon, (client, uri): &Who, id: &AppId, now: Now) {
    if let Some(app) = marathon.books.tree.apps.get(id).cloned() {
        let what = Happening::ApiPost { client: client.clone(), uri: uri.clone(), app };
        marathon.tell(what, now);
    }
}

pub(super) fn result(started: &Started) -> Answer {
    Answer {
        status: 200,
        body: Some(render::result(&started.id, started.version)),
        deployment: Some(started.id.to_string()),
        location: None,
    }
}

pub(super) fn no_app(id: &AppId) -> Refusal {
    refusal(404, format!("App '{id}' does not exist"))
}

pub(super) fn refusal(status: u16, message: impl Into<String>) -> Refusal {
    Refusal { status, body: json!({"message": message.into()}) }
}
