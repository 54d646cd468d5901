//! Rules as they are written down: the JSON form of Mesos's `ACLs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{Acls, Action, Entity, Rule};

/// Why rules mean nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadAcls {
    /// There is no such action.
    #[error("'{0}' is no action; there are {known}", known = known())]
    Action(String),
    /// A rule lacks a part.
    #[error("rule {number} of '{action}' has no '{part}'")]
    Part {
        /// The action.
        action: String,
        /// Which of its rules, from 1.
        number: usize,
        /// What is missing.
        part: &'static str,
    },
    /// A rule has a part that does not belong there.
    #[error("rule {number} of '{action}' has '{part}', and is to have 'principals' and '{object}'")]
    Foreign {
        /// The action.
        action: String,
        /// Which of its rules, from 1.
        number: usize,
        /// What it has.
        part: String,
        /// What it should have.
        object: &'static str,
    },
    /// A part is of a type that is none.
    #[error("rule {number} of '{action}': the type '{kind}' is none of ANY, NONE and SOME")]
    Type {
        /// The action.
        action: String,
        /// Which of its rules, from 1.
        number: usize,
        /// What it says.
        kind: String,
    },
}

fn known() -> String {
    Action::ALL.map(|(_, name, _)| name).join(", ")
}

#[derive(Deserialize)]
struct File {
    permissive: Option<bool>,
    #[serde(flatten)]
    rules: BTreeMap<String, Vec<BTreeMap<String, Written>>>,
}

#[derive(Deserialize)]
struct Written {
    r#type: Option<String>,
    #[serde(default)]
    values: Vec<Arc<str>>,
}

impl<'de> Deserialize<'de> for Acls {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = File::deserialize(deserializer)?;
        read(file).map_err(serde::de::Error::custom)
    }
}

fn read(file: File) -> Result<Acls, BadAcls> {
    let mut rules = BTreeMap::new();
    for (name, written) in file.rules {
        let known = Action::ALL.iter().find(|(_, known, _)| *known == name);
        let Some((action, _, object)) = known else { return Err(BadAcls::Action(name)) };
        let numbered = written.into_iter().zip(1..);
        let of_action = numbered.map(|(parts, number)| rule(&name, number, object, parts));
        rules.insert(*action, of_action.collect::<Result<Vec<_>, _>>()?);
    }
    // In Mesos the rules of the older name are for both calls. Who has only those means both.
    if let Some(of_both) = rules.get(&Action::UpdateQuota).cloned() {
        rules.entry(Action::UpdateQuotaConfig).or_insert(of_both);
    }
    Ok(Acls { permissive: file.permissive.unwrap_or(true), rules })
}

fn rule(
    action: &str,
    number: usize,
    object: &'static str,
    mut parts: BTreeMap<String, Written>,
) -> Result<Rule, BadAcls> {
    let mut take = |part: &'static str| {
        let written = parts.remove(part);
        let missing = || BadAcls::Part { action: action.to_owned(), number, part };
        entity(written.ok_or_else(missing)?).map_err(|kind| BadAcls::Type {
            action: action.to_owned(),
            number,
            kind,
        })
    };
    let rule = Rule { principals: take("principals")?, objects: take(object)? };
    match parts.into_keys().next() {
        Some(part) => Err(BadAcls::Foreign { action: action.to_owned(), number, part, object }),
        None => Ok(rule),
    }
}

fn entity(written: Written) -> Result<Entity, String> {
    match written.r#type.as_deref() {
        Some("ANY") => Ok(Entity::Any),
        Some("NONE") => Ok(Entity::None),
        None | Some("SOME") => Ok(Entity::Some(written.values.into_iter().collect())),
        Some(kind) => Err(kind.to_owned()),
    }
}
