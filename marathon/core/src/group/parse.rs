//! Reading descriptions of groups.

use super::{Group, Tree, below, within};
use crate::app::App;
use crate::app::parse::{self, Defaults, Invalid, Update};
use crate::clock;
use crate::ids::AppId;
use model::step::Timestamp;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Groups in groups. Nobody names deeper paths, and reading a body must not exhaust the stack.
const DEPTH_MAX: usize = 32;

/// Apps with this label stay when a description of their group leaves them out.
const KEEP_LABEL: &str = "AGORA_GROUP_KEEP";

/// What a change of a group asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// The stored version to go back to.
    Rollback(Timestamp),
    /// A factor for the instances of every app, in millionths.
    ScaleBy(u64),
    /// To be as described.
    Be(Description),
}

/// A group as a client wants it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// Apps and pods in it and below it.
    pub apps: BTreeMap<AppId, App>,
    /// It and all groups in it. Their versions mean nothing yet.
    pub groups: BTreeMap<AppId, Group>,
    /// Groups of which it is not said what pods they have: they keep those they have.
    silent_of_pods: BTreeSet<AppId>,
}

impl Description {
    /// What of `tree` at and below `id` is left out here, and so is to go: apps and groups.
    pub fn absent(&self, tree: &Tree, id: &AppId) -> (Vec<AppId>, Vec<AppId>) {
        let is_kept = |app: &App| {
            let is_labelled = app.labels.get(KEEP_LABEL).is_some_and(|it| it == "true");
            is_labelled || (app.is_pod() && self.silent_of_pods.contains(&app.id.parent()))
        };
        let apps = below(&tree.apps, id)
            .filter(|(app, old)| !self.apps.contains_key(*app) && !is_kept(old));
        let groups =
            within(&tree.groups, id).filter(|(group, _)| !self.groups.contains_key(*group));
        (apps.map(|(id, _)| id.clone()).collect(), groups.map(|(id, _)| id.clone()).collect())
    }
}

/// Reads what `body` asks of the group `id`. An app that is in `tree` already and of which no count is
/// given keeps the one it has: somebody, or something, may have scaled it since.
pub fn read(id: &AppId, body: &Value, tree: &Tree, defaults: &Defaults) -> Result<Asked, Invalid> {
    let Value::Object(fields) = parse::without_nulls(body.clone()) else {
        return Err(Invalid::wrong_type("", "error.expected.jsobject"));
    };
    for name in ["version", "scaleBy"] {
        let is_alone = fields.keys().all(|other| other == name || other == "id");
        let is_description =
            name == "version" && ["apps", "groups"].iter().any(|it| fields.contains_key(*it));
        if fields.contains_key(name) && !is_alone && !is_description {
            let error = format!("The '{name}' field may only be combined with the 'id' field.");
            return Err(Invalid::one(&format!("/{name}"), error));
        }
        if fields.contains_key(name) && is_alone {
            return standalone(name, &fields[name]);
        }
    }
    let mut reading =
        Reading { tree, defaults, found: Description::default(), wrong: Invalid::default() };
    reading.group(id, &fields, "", 0);
    if reading.wrong.is_empty() { Ok(Asked::Be(reading.found)) } else { Err(reading.wrong) }
}

fn standalone(name: &str, value: &Value) -> Result<Asked, Invalid> {
    if name == "version" {
        let version = value.as_str().and_then(clock::parse);
        let version = version.ok_or_else(|| Invalid::one("/version", "must be a date-time"))?;
        return Ok(Asked::Rollback(version));
    }
    if !value.is_number() {
        return Err(Invalid::wrong_type("/scaleBy", "error.expected.jsnumber"));
    }
    let factor = value.as_f64().and_then(|by| model::amount::Milli::from_f64(by * 1_000.0));
    let factor = factor.and_then(|by| u64::try_from(by.0).ok());
    factor.map(Asked::ScaleBy).ok_or_else(|| {
        Invalid::one("/scaleBy", format!("got {value}, expected a number that is 0 or more"))
    })
}

struct Reading<'a> {
    tree: &'a Tree,
    defaults: &'a Defaults,
    found: Description,
    wrong: Invalid,
}

impl Reading<'_> {
    fn group(&mut self, id: &AppId, fields: &Map<String, Value>, path: &str, depth: usize) {
        if depth > DEPTH_MAX {
            let error = format!("groups lie at most {DEPTH_MAX} deep");
            return self.wrong.absorb(Invalid::one(path, error));
        }
        let dependencies = self.dependencies(id, fields, path);
        let enforce_role = self.enforce_role(id, fields, path);
        for (index, item) in self.list(fields, "apps", path).iter().enumerate() {
            self.app(id, item, &format!("{path}/apps({index})"));
        }
        for (index, item) in self.list(fields, "groups", path).iter().enumerate() {
            let at = format!("{path}/groups({index})");
            let Value::Object(fields) = item else {
                self.wrong.absorb(Invalid::wrong_type(&at, "error.expected.jsobject"));
                continue;
            };
            if let Some(below) = self.child(id, fields.get("id"), &at) {
                self.group(&below, fields, &at, depth + 1);
            }
        }
        for (index, item) in self.list(fields, "pods", path).iter().enumerate() {
            self.pod(id, item, &format!("{path}/pods({index})"));
        }
        if !fields.contains_key("pods") {
            self.found.silent_of_pods.insert(id.clone());
        }
        let version = Timestamp::default();
        let group = Group { id: id.clone(), dependencies, enforce_role, version };
        if self.found.groups.insert(id.clone(), group).is_some() {
            self.wrong.absorb(Invalid::one(path, format!("Group {id} is described twice")));
        }
    }

    fn app(&mut self, group: &AppId, item: &Value, path: &str) {
        let id = self.child(group, item.get("id"), path);
        let update =
            Update::read(item, path).map_err(|invalid| self.wrong.absorb(invalid.under(path)));
        let (Some(id), Ok(mut update)) = (id, update) else { return };
        if let Err(bad) = AppId::parse_app(id.as_str()) {
            self.wrong.absorb(Invalid::one(&format!("{path}/id"), bad.to_string()));
            return;
        }
        if let Some(old) = self.tree.app(&id) {
            update.keep_instances(old.instances);
        }
        match parse::whole(&id, &update, self.defaults) {
            Err(invalid) => self.wrong.absorb(invalid.under(path)),
            Ok(app) => {
                if self.found.apps.insert(id.clone(), app).is_some() {
                    self.wrong.absorb(Invalid::one(path, format!("App {id} is described twice")));
                }
            }
        }
    }

    fn pod(&mut self, group: &AppId, item: &Value, path: &str) {
        // A client may write back what it read: there the pod is a part of how it is.
        let item = item.get("spec").unwrap_or(item);
        let Some(id) = self.child(group, item.get("id"), path) else { return };
        if let Err(bad) = AppId::parse_app(id.as_str()) {
            self.wrong.absorb(Invalid::one(&format!("{path}/id"), bad.to_string()));
            return;
        }
        match parse::whole_pod(&id, item, self.defaults) {
            Err(invalid) => self.wrong.absorb(invalid.under(path)),
            Ok(pod) => {
                if self.found.apps.insert(id.clone(), pod).is_some() {
                    self.wrong.absorb(Invalid::one(path, format!("{id} is described twice")));
                }
            }
        }
    }

    /// The id of something in `group`, given relative to it or in full.
    fn child(&mut self, group: &AppId, given: Option<&Value>, path: &str) -> Option<AppId> {
        let at = format!("{path}/id");
        let wrong = match given {
            None | Some(Value::Null) => Invalid::one(&at, "error.path.missing"),
            Some(Value::String(text)) => match AppId::parse_in(group, text) {
                Ok(id) if id.is_below(group) => return Some(id),
                Ok(_) => {
                    let error =
                        format!("Identifier is not child of '{group}'. Hence, it can not be here");
                    Invalid::one(&at, error)
                }
                Err(bad) => Invalid::one(&at, bad.to_string()),
            },
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Invalid::wrong_type(&at, "error.expected.jsstring")
            }
        };
        self.wrong.absorb(wrong);
        None
    }

    fn list<'a>(&mut self, fields: &'a Map<String, Value>, name: &str, path: &str) -> &'a [Value] {
        match fields.get(name) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_),
            ) => {
                let at = format!("{path}/{name}");
                self.wrong.absorb(Invalid::wrong_type(&at, "error.expected.jsarray"));
                &[]
            }
        }
    }

    fn dependencies(&mut self, id: &AppId, fields: &Map<String, Value>, path: &str) -> Vec<AppId> {
        let mut out = Vec::new();
        for (index, item) in self.list(fields, "dependencies", path).iter().enumerate() {
            let at = format!("{path}/dependencies({index})");
            match item.as_str().map(|text| AppId::parse_in(id, text)) {
                None => self.wrong.absorb(Invalid::wrong_type(&at, "error.expected.jsstring")),
                Some(Err(bad)) => self.wrong.absorb(Invalid::one(&at, bad.to_string())),
                Some(Ok(dependency)) if dependency == *id => {
                    self.wrong.absorb(Invalid::one(&at, "must not be the group itself"));
                }
                Some(Ok(dependency)) => out.push(dependency),
            }
        }
        out.sort();
        out.dedup();
        out
    }

    fn enforce_role(
        &mut self,
        id: &AppId,
        fields: &Map<String, Value>,
        path: &str,
    ) -> Option<bool> {
        let at = format!("{path}/enforceRole");
        match fields.get("enforceRole") {
            None => self.tree.groups.get(id).and_then(|group| group.enforce_role),
            Some(Value::Bool(flag)) => {
                if let Err(error) = may_enforce(id) {
                    self.wrong.absorb(Invalid::one(&at, error));
                }
                Some(*flag)
            }
            Some(
                Value::Null
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_),
            ) => {
                self.wrong.absorb(Invalid::wrong_type(&at, "error.expected.jsboolean"));
                None
            }
        }
    }
}

/// Whether the group `id` may say whether its role is enforced.
pub(crate) fn may_enforce(id: &AppId) -> Result<(), String> {
    if id.is_root() || !id.parent().is_root() {
        return Err("enforceRole may only be set for top-level groups".to_owned());
    }
    Ok(())
}
