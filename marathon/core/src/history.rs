//! Deployments that were: what each changed, and how it ended.
//!
//! One record serves people who ask what happened and groups that go back to what they were.

use crate::clock;
use crate::group::Group;
use crate::ids::{AppId, DeploymentId};
use imbl::OrdMap;
use model::step::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// Deployments that are remembered. Groups can go back that far; each is a few hundred bytes and
/// the versions of apps it names.
pub const HISTORY_MAX: usize = 100;

/// What was said of groups, and what is said of them since.
pub type GroupChanges = OrdMap<AppId, (Option<Arc<Group>>, Option<Arc<Group>>)>;

/// What one deployment changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Past {
    /// The version it made: later ones are greater.
    pub version: Timestamp,
    /// The deployment.
    pub deployment: DeploymentId,
    /// Of each app the version it had and the one it got; absent means it was not there.
    pub apps: OrdMap<AppId, (Option<Timestamp>, Option<Timestamp>)>,
    /// Of each group what was said of it and what is said since.
    pub groups: GroupChanges,
    /// When it began.
    pub started_at: Timestamp,
    /// How it ended; absent while it runs.
    pub end: Option<End>,
}

/// How a deployment ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// With what.
    pub outcome: Outcome,
    /// Why, if it did not succeed.
    pub why: Option<Arc<str>>,
}

/// With what a deployment ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Everything is as it was to be.
    Succeeded,
    /// Somebody stopped it where it was.
    Cancelled,
    /// Another deployment was forced in its place.
    Overridden,
    /// Somebody had it taken back.
    Reverted,
    /// It did not get on, or too many tasks failed; it was stopped where it was.
    Failed,
    /// It did not get on, or too many tasks failed; it was taken back.
    RolledBack,
}

impl Outcome {
    /// Every one there is.
    pub const ALL: [Self; 6] = [
        Self::Succeeded,
        Self::Cancelled,
        Self::Overridden,
        Self::Reverted,
        Self::Failed,
        Self::RolledBack,
    ];

    /// Its name in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Overridden => "overridden",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
            Self::RolledBack => "rolled back",
        }
    }
}

impl Past {
    /// As `/agora/v1/deployments` shows one that is over.
    pub fn to_json(&self) -> Value {
        let version = |at: &Option<Timestamp>| at.map(clock::format);
        let apps = self.apps.iter().map(|(id, (before, after))| {
            json!({"id": id.as_str(), "from": version(before), "to": version(after)})
        });
        let mut out = json!({
            "id": self.deployment.as_str(),
            "version": clock::format(self.version),
            "startedAt": clock::format(self.started_at),
            "apps": apps.collect::<Vec<_>>(),
            "groups": self.groups.keys().map(AppId::as_str).collect::<Vec<_>>(),
        });
        if let Some(end) = &self.end {
            let took = end.at.since(self.started_at).as_millis();
            out["endedAt"] = clock::format(end.at).into();
            out["outcome"] = end.outcome.name().into();
            out["tookMillis"] = u64::try_from(took).unwrap_or(u64::MAX).into();
            if let Some(why) = &end.why {
                out["reason"] = (**why).into();
            }
        }
        out
    }
}
