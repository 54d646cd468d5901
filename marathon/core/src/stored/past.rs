//! Groups and deployments that were, as they are kept.

use super::{FORM, Key, encode};
use crate::group::Group;
use crate::history::{End, Outcome, Past};
use crate::ids::{AppId, DeploymentId};
use imbl::OrdMap;
use model::step::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn group_key(id: &AppId) -> Key {
    format!("group:{id}")
}

pub(crate) fn past_key(version: Timestamp) -> Key {
    format!("past:{}", version.0)
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredGroup {
    form: u32,
    id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforce_role: Option<bool>,
    version: u64,
}

impl StoredGroup {
    fn of(group: &Group) -> Self {
        Self {
            form: FORM,
            id: group.id.to_string(),
            dependencies: group.dependencies.iter().map(ToString::to_string).collect(),
            enforce_role: group.enforce_role,
            version: group.version.0,
        }
    }

    pub(super) fn read(&self) -> Option<Group> {
        let dependencies = self.dependencies.iter().map(|id| AppId::parse(id).ok());
        Some(Group {
            id: AppId::parse(&self.id).ok()?,
            dependencies: dependencies.collect::<Option<_>>()?,
            enforce_role: self.enforce_role,
            version: Timestamp(self.version),
        })
    }
}

pub(crate) fn group(group: &Group) -> Vec<u8> {
    encode(&StoredGroup::of(group))
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredPast {
    form: u32,
    version: u64,
    deployment: String,
    apps: BTreeMap<String, (Option<u64>, Option<u64>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<(String, Option<StoredGroup>, Option<StoredGroup>)>,
    started_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<StoredEnd>,
}

#[derive(Serialize, Deserialize)]
struct StoredEnd {
    at: u64,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

pub(crate) fn past(past: &Past) -> Vec<u8> {
    let number = |at: Option<Timestamp>| at.map(|at| at.0);
    let stored = |group: &Option<Arc<Group>>| group.as_ref().map(|it| StoredGroup::of(it));
    encode(&StoredPast {
        form: FORM,
        version: past.version.0,
        deployment: past.deployment.to_string(),
        apps: past
            .apps
            .iter()
            .map(|(id, (before, after))| (id.to_string(), (number(*before), number(*after))))
            .collect(),
        groups: past
            .groups
            .iter()
            .map(|(id, (before, after))| (id.to_string(), stored(before), stored(after)))
            .collect(),
        started_at: past.started_at.0,
        end: past.end.as_ref().map(|end| StoredEnd {
            at: end.at.0,
            outcome: end.outcome.name().to_owned(),
            why: end.why.as_deref().map(str::to_owned),
        }),
    })
}

impl StoredPast {
    pub(super) fn read(self) -> Option<Past> {
        let mut apps = OrdMap::new();
        for (id, (before, after)) in self.apps {
            apps.insert(AppId::parse(&id).ok()?, (before.map(Timestamp), after.map(Timestamp)));
        }
        let group = |stored: Option<StoredGroup>| stored.and_then(|it| it.read()).map(Arc::new);
        let mut groups = OrdMap::new();
        for (id, before, after) in self.groups {
            groups.insert(AppId::parse(&id).ok()?, (group(before), group(after)));
        }
        let end = match self.end {
            None => None,
            Some(end) => Some(End {
                at: Timestamp(end.at),
                outcome: Outcome::ALL.into_iter().find(|it| it.name() == end.outcome)?,
                why: end.why.map(Arc::from),
            }),
        };
        Some(Past {
            version: Timestamp(self.version),
            deployment: DeploymentId::new(&self.deployment),
            apps,
            groups,
            started_at: Timestamp(self.started_at),
            end,
        })
    }
}
