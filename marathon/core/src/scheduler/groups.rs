//! What users ask for of groups.

use super::Marathon;
use super::asks::{Reply, refusal, result};
use super::change::{self, Prepared, Wish};
use crate::app::parse::Invalid;
use crate::app::{App, Millionths, render};
use crate::group::{self, Asked, Description, Group, Tree, below, may_enforce, within};
use crate::ids::AppId;
use crate::io::{Answer, PutGroup, Refusal};
use model::step::{Now, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Makes a group, or changes one.
pub(super) fn put(
    marathon: &mut Marathon,
    url: &AppId,
    body: &Value,
    how: PutGroup,
    now: Now,
) -> Reply {
    let id = target(url, body, how.is_new).map_err(|invalid| invalid.refusal())?;
    if let Some(why) = conflict(&marathon.books.tree, &id, how.is_new) {
        let why = refusal(409, why);
        return Err(if how.dry_run { why } else { change::refused(marathon, &id, why, now) });
    }
    let tree = &marathon.books.tree;
    let asked = group::read(&id, body, tree, &marathon.defaults);
    let mut wish = match asked.map_err(|invalid| invalid.refusal())? {
        Asked::Rollback(version) => rollback(marathon, &id, version)?,
        Asked::ScaleBy(factor) => scale(marathon, &id, Millionths(factor))?,
        Asked::Be(description) => describe(marathon, &id, description, how.merge),
    };
    // What only tells the steps is in nobody's way.
    wish.force = how.force || how.dry_run;
    wish.group = Some(id.clone());
    if how.dry_run {
        let prepared = change::prepare(marathon, &wish, now)?;
        return Ok(answer(200, Some(told(&prepared, how.diff))));
    }
    let mut answer = change::deploy(marathon, &wish, now).map(|started| result(&started))?;
    if how.is_new {
        answer.status = 201;
        answer.location = Some(format!("/v2/groups{id}"));
    }
    Ok(answer)
}

/// Why there cannot be a group of this id, or not a new one.
fn conflict(tree: &Tree, id: &AppId, is_new: bool) -> Option<String> {
    if tree.apps.contains_key(id) {
        return Some(format!("An app with the path {id} already exists."));
    }
    let is_there = is_new && tree.has_group(id);
    is_there.then(|| format!("Group {id} is already created. Use PUT to change this group."))
}

/// Says whether the role of a group is enforced.
pub(super) fn patch(marathon: &mut Marathon, id: &AppId, body: &Value, now: Now) -> Reply {
    let tree = &marathon.books.tree;
    if !tree.has_group(id) {
        return Err(no_group(id));
    }
    let fields = body.as_object().filter(|fields| fields.len() == 1);
    let flag = fields.and_then(|fields| fields.get("enforceRole")?.as_bool());
    let flag = flag.ok_or_else(|| {
        Invalid::one("/", "must be an object with the boolean 'enforceRole' alone").refusal()
    })?;
    may_enforce(id).map_err(|error| Invalid::one("/enforceRole", error).refusal())?;
    let old = tree.groups.get(id);
    let new = Group {
        id: id.clone(),
        dependencies: old.map(|old| old.dependencies.clone()).unwrap_or_default(),
        enforce_role: Some(flag),
        version: Timestamp::default(),
    };
    let groups = [(id.clone(), Some(new))].into();
    change::deploy(marathon, &Wish { groups, group: Some(id.clone()), ..Wish::default() }, now)?;
    Ok(answer(200, None))
}

/// Deletes everything in a group.
pub(super) fn delete(marathon: &mut Marathon, id: &AppId, force: bool, now: Now) -> Reply {
    let tree = &marathon.books.tree;
    if !tree.has_group(id) {
        return Err(no_group(id));
    }
    let apps = below(&tree.apps, id).map(|(app, _)| (app.clone(), None)).collect();
    let groups = within(&tree.groups, id).map(|(group, _)| (group.clone(), None)).collect();
    let wish = Wish { apps, force, groups, group: Some(id.clone()), ..Wish::default() };
    change::deploy(marathon, &wish, now).map(|started| result(&started))
}

/// Which group is meant: the URL says it, and the body too if it names one in that.
fn target(url: &AppId, body: &Value, is_new: bool) -> Result<AppId, Invalid> {
    let given = match body.get("id") {
        None | Some(Value::Null) => return Ok(url.clone()),
        Some(Value::String(given)) => given,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(Invalid::wrong_type("/id", "error.expected.jsstring"));
        }
    };
    let id = AppId::parse_in(url, given).map_err(|bad| Invalid::one("/id", bad.to_string()))?;
    let is_absolute = given.starts_with('/');
    if id != *url && !id.is_below(url) {
        let error = format!("Identifier is not child of '{url}'. Hence, it can not be here");
        return Err(Invalid::one("/id", error));
    }
    // A client that writes what it read, to where it read it, may write the last name alone.
    let is_url = !is_new && !is_absolute && !url.is_root();
    Ok(if is_url { url.clone() } else { id })
}

fn rollback(marathon: &Marathon, id: &AppId, version: Timestamp) -> Result<Wish, Refusal> {
    let books = &marathon.books;
    if !books.tree.has_group(id) {
        return Err(no_group(id));
    }
    if !group::versions(&books.tree, books.history.all(), id).contains(&version) {
        let version = crate::clock::format(version);
        return Err(refusal(404, format!("Group '{id}' does not exist in version {version}")));
    }
    let then = books.tree.clone().at(version, books.history.all(), &books.versions);
    let mut wish = Wish::default();
    for app in below(&books.tree.apps, id).chain(below(&then.apps, id)).map(|(app, _)| app) {
        let present = books.tree.apps.get(app);
        let restored = then.apps.get(app).map(|then| App {
            version_info: present.map_or(then.version_info, |present| present.version_info),
            ..(**then).clone()
        });
        wish.apps.insert(app.clone(), restored);
    }
    for (group, _) in within(&books.tree.groups, id).chain(within(&then.groups, id)) {
        let then = then.groups.get(group).map(|group| (**group).clone());
        wish.groups.insert(group.clone(), then);
    }
    Ok(wish)
}

fn scale(marathon: &Marathon, id: &AppId, factor: Millionths) -> Result<Wish, Refusal> {
    let tree = &marathon.books.tree;
    if !tree.has_group(id) {
        return Err(no_group(id));
    }
    let scaled =
        |app: &Arc<App>| App { instances: factor.of_rounded_up(app.instances), ..(**app).clone() };
    let apps = below(&tree.apps, id).map(|(id, app)| (id.clone(), Some(scaled(app)))).collect();
    Ok(Wish { apps, ..Wish::default() })
}

fn describe(marathon: &Marathon, id: &AppId, description: Description, merge: bool) -> Wish {
    let mut wish = Wish::default();
    if !merge {
        let (apps, groups) = description.absent(&marathon.books.tree, id);
        wish.apps.extend(apps.into_iter().map(|id| (id, None)));
        wish.groups.extend(groups.into_iter().map(|id| (id, None)));
    }
    wish.apps.extend(description.apps.into_iter().map(|(id, app)| (id, Some(app))));
    wish.groups.extend(description.groups.into_iter().map(|(id, group)| (id, Some(group))));
    // Nothing is said of the root unless something is: it is there anyway.
    let root = AppId::root();
    let is_plain = |group: &Group| group.dependencies.is_empty() && group.enforce_role.is_none();
    if wish.groups.get(&root).is_some_and(|it| it.as_ref().is_some_and(is_plain)) {
        wish.groups.insert(root, None);
    }
    wish
}

/// What would be done.
pub(super) fn told(prepared: &Prepared, with_diff: bool) -> Value {
    let mut out = json!({"steps": render::steps(&prepared.plan)});
    if with_diff {
        let changes = prepared.changes.iter();
        out["changes"] =
            changes.map(|(id, (old, new))| diff(id, old.as_deref(), new.as_deref())).collect();
    }
    out
}

/// What changes of one app, field by field.
fn diff(id: &AppId, old: Option<&App>, new: Option<&App>) -> Value {
    let fields = |app: Option<&App>| match app.map(render::app) {
        Some(Value::Object(fields)) => fields,
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        )
        | None => Map::new(),
    };
    let (before, after) = (fields(old), fields(new));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changed = Map::new();
    for name in names {
        let is_ours = matches!(&**name, "version" | "versionInfo" | "id");
        if !is_ours && before.get(name) != after.get(name) {
            let value = json!({"from": before.get(name), "to": after.get(name)});
            changed.insert(name.clone(), value);
        }
    }
    let restarts = matches!((old, new), (Some(old), Some(new)) if !new.launches_like(old));
    let what = match (old, new) {
        (None, _) => "created",
        (_, None) => "deleted",
        (Some(_), Some(_)) if restarts => "restarted",
        (Some(_), Some(_)) => "changed in place",
    };
    let mut out = json!({"app": id.as_str(), "what": what});
    if old.is_some() && new.is_some() {
        out["fields"] = changed.into();
    }
    out
}

fn answer(status: u16, body: Option<Value>) -> Answer {
    Answer { status, body, deployment: None, location: None }
}

fn no_group(id: &AppId) -> Refusal {
    refusal(404, format!("Group '{id}' does not exist"))
}
