//! Deployments as data: what steps lead from one set of apps to another.

use crate::app::App;
use crate::ids::{AppId, DeploymentId, InstanceId};
use model::step::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A change under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The version of every app it changes.
    pub version: Timestamp,
    /// What it does.
    pub plan: Plan,
    /// What each app was before; absent means it did not exist.
    pub originals: BTreeMap<AppId, Option<Arc<App>>>,
    /// The step under way, from 0.
    pub step: usize,
}

impl Deployment {
    /// The apps it locks.
    pub fn affected(&self) -> impl Iterator<Item = &AppId> {
        self.originals.keys()
    }

    /// What is under way for `app` now, if anything.
    pub fn current_action(&self, app: &AppId) -> Option<&Action> {
        self.plan.steps.get(self.step)?.actions.iter().find(|action| action.app() == app)
    }

    /// Whether something is still to come for `app` after the step under way.
    pub fn is_to_come(&self, app: &AppId) -> bool {
        let later = self.plan.steps.iter().skip(self.step + 1);
        later.flat_map(|step| &step.actions).any(|action| action.app() == app)
    }
}

/// All that a deployment does: steps one after another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Never with an empty one among them.
    pub steps: Vec<Step>,
}

/// Actions that may run together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Step {
    /// At most one for each app.
    pub actions: Vec<Action>,
}

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// A new app is taken in, with no instances yet.
    Start {
        /// Which.
        app: AppId,
    },
    /// All instances go.
    Stop {
        /// Of which app.
        app: AppId,
    },
    /// As many instances as wanted run.
    Scale {
        /// Of which app.
        app: AppId,
        /// How many.
        to: u32,
        /// Who goes first.
        victims: BTreeSet<InstanceId>,
    },
    /// Every instance is replaced by one of the new definition.
    Restart {
        /// Of which app.
        app: AppId,
    },
}

impl Action {
    /// The app it is about.
    pub fn app(&self) -> &AppId {
        match self {
            Self::Start { app }
            | Self::Stop { app }
            | Self::Scale { app, .. }
            | Self::Restart { app } => app,
        }
    }

    /// Its name in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "StartApplication",
            Self::Stop { .. } => "StopApplication",
            Self::Scale { .. } => "ScaleApplication",
            Self::Restart { .. } => "RestartApplication",
        }
    }
}
