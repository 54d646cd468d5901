//! A task has a new state, by its agent's word.

use super::drop_message;
use crate::note::{Note, Relayed};
use crate::state::{Books, Turn};
use model::ids::{AgentId, FrameworkId};
use model::task::{Reason, Status, TaskState};

/// Takes the news in and passes the report on. A repeat changes nothing and is passed on: the framework
/// may not have got it the first time.
pub(crate) fn apply(
    books: &mut Books,
    agent: &AgentId,
    framework: &FrameworkId,
    mut status: Status,
    latest: TaskState,
    turn: &mut Turn<'_>,
) {
    let Some(owner) = books.frameworks.get_mut(framework) else {
        let why = format!("an update of task {}: framework {framework} is not known", status.task);
        drop_message(Some(agent), Some(Relayed::Update), why, turn);
        return;
    };
    // Where it comes from is what the link says, whatever the report does.
    status.agent = Some(agent.clone());
    let id = status.task.clone();
    let task = owner.tasks.get_mut(&id).filter(|task| task.agent == *agent);
    if let Some(task) = task {
        let is_repeat = match (task.reported, status.uuid) {
            (Some((_, before)), Some(uuid)) => before == uuid,
            (Some(_) | None, Some(_) | None) => false,
        };
        let state_changed = task.statuses.last().is_none_or(|last| last.state != status.state);
        if let Some(uuid) = status.uuid {
            task.reported = Some((status.state, uuid));
        }
        let next = if task.state.can_become(latest) { latest } else { task.state };
        if !is_repeat {
            task.keep(status.clone());
            if state_changed || is_check(&status) {
                turn.note(Note::TaskUpdated {
                    framework: framework.clone(),
                    status: status.clone(),
                    latest: next,
                });
            }
        }
        books.set_state(framework, &id, next, turn);
    }
    if books.frameworks[framework].connection().is_some() {
        let of = Some(framework.clone());
        turn.note(Note::Relayed { what: Relayed::Update, framework: of });
        books.tell_update(framework, status, turn);
    }
}

fn is_check(status: &Status) -> bool {
    matches!(
        status.reason,
        Some(Reason::TaskCheckStatusUpdated | Reason::TaskHealthCheckStatusUpdated)
    )
}
