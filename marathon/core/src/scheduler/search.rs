//! Looking for what the books do not tell: reservations that are in none, and agents that never come back.
//!
//! Offers are asked for in the first place for those who wait to be launched. So what is reserved for nobody, which
//! only offers show, would not be found while all runs as it is to; nor would it be heard that an agent is gone where
//! nothing of ours runs.

use super::{Due, Marathon};
use crate::instance::Condition;
use model::ids::{AgentId, TaskId};
use model::step::Now;
use model::task::{Reason, Status, TaskState};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long offers are asked for so that reservations in no book are found, with each reconciliation. All agents that
/// are there are offered within seconds; after another master came to lead they come back first.
const SEARCH_FOR: Duration = Duration::from_secs(60);

/// Asks for offers for a while.
pub(super) fn search(marathon: &mut Marathon, now: Now) {
    // Nothing can be reserved for everybody.
    if marathon.roles().iter().all(|role| &**role == "*") {
        return;
    }
    let until = now.time + SEARCH_FOR;
    marathon.books.reservations.searches_until = until;
    marathon.books.asking.is_revive_wanted = true;
    marathon.wake_at(until, Due::Revive);
}

/// A question about each agent that holds something for nobody who runs: the master tells if it is gone. `only`
/// asks about that agent alone.
pub(super) fn questions(
    marathon: &Marathon,
    only: Option<&AgentId>,
) -> Vec<(TaskId, Option<AgentId>)> {
    let mut asked: BTreeMap<AgentId, TaskId> = BTreeMap::new();
    for reservation in marathon.books.reservations.values().filter(|it| it.is_live()) {
        let agent = &reservation.place.agent;
        let mut holders = marathon.instances_of(&reservation.app).holders(&reservation.id);
        let runs = holders.any(|it| it.condition != Condition::Scheduled);
        if runs || only.is_some_and(|only| only != agent) || asked.contains_key(agent) {
            continue;
        }
        // It is named like its first task, which nobody else is.
        if let Ok(task) = TaskId::new(&*reservation.id) {
            asked.insert(agent.clone(), task);
        }
    }
    asked.into_iter().map(|(agent, task)| (task, Some(agent))).collect()
}

/// Whether `status`, of a task that nobody has, is the answer to such a question. A task that lives is none: it is
/// one of ours of old.
pub(super) fn is_answer(marathon: &Marathon, status: &Status) -> bool {
    let is_over = match status.state {
        TaskState::Gone
        | TaskState::GoneByOperator
        | TaskState::Lost
        | TaskState::Unknown
        | TaskState::Unreachable => true,
        TaskState::Staging
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed
        | TaskState::Error
        | TaskState::Dropped => false,
    };
    let is_asked = status.reason == Some(Reason::Reconciliation);
    is_over && is_asked && marathon.books.reservations.get(status.task.as_str()).is_some()
}
