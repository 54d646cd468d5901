//! What has gone wrong, as it is kept: delays after failures, and the last failure of each app.
//!
//! A delay stands in the record of its instance, which a failure changes anyhow. What makes all delays of an app
//! void is one small record of the app, however many instances wait.

use super::{FORM, Key, encode};
use crate::backoff::Backoff;
use crate::ids::AppId;
use crate::io::TaskFailure;
use model::ids::{AgentId, TaskId};
use model::step::Timestamp;
use model::task::TaskState;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(crate) fn failure_key(id: &AppId) -> Key {
    format!("failure:{id}")
}

pub(crate) fn resets_key(id: &AppId) -> Key {
    format!("resets:{id}")
}

#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredBackoff {
    delay_micros: u64,
    until: u64,
    #[serde(default)]
    resets: u64,
}

impl StoredBackoff {
    pub(super) fn of(backoff: &Backoff) -> Self {
        Self {
            delay_micros: u64::try_from(backoff.delay.as_micros()).unwrap_or(u64::MAX),
            until: backoff.until.0,
            resets: backoff.resets,
        }
    }

    pub(super) fn read(&self) -> Backoff {
        let delay = Duration::from_micros(self.delay_micros);
        Backoff { delay, until: Timestamp(self.until), resets: self.resets }
    }
}

/// How often the delays of an app were reset.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredResets {
    form: u32,
    app: String,
    resets: u64,
}

pub(crate) fn resets(app: &AppId, resets: u64) -> Vec<u8> {
    encode(&StoredResets { form: FORM, app: app.to_string(), resets })
}

impl StoredResets {
    pub(super) fn read(&self) -> Option<(AppId, u64)> {
        Some((AppId::parse(&self.app).ok()?, self.resets))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredFailure {
    form: u32,
    app: String,
    host: String,
    message: String,
    state: String,
    task: String,
    agent: String,
    at: u64,
    version: u64,
}

pub(crate) fn failure(failure: &TaskFailure) -> Vec<u8> {
    encode(&StoredFailure {
        form: FORM,
        app: failure.app.to_string(),
        host: failure.host.to_string(),
        message: failure.message.to_string(),
        state: failure.state.to_owned(),
        task: failure.task.to_string(),
        agent: failure.agent.to_string(),
        at: failure.at.0,
        version: failure.version.0,
    })
}

impl StoredFailure {
    pub(super) fn read(&self) -> Option<TaskFailure> {
        Some(TaskFailure {
            app: AppId::parse(&self.app).ok()?,
            host: self.host.as_str().into(),
            message: self.message.as_str().into(),
            state: TaskState::ALL.iter().find(|it| it.name() == self.state)?.name(),
            task: TaskId::new(self.task.as_str()).ok()?,
            agent: AgentId::new(self.agent.as_str()).ok()?,
            at: Timestamp(self.at),
            version: Timestamp(self.version),
        })
    }
}
