//! RECONCILE: a framework asks for the truth about some tasks, or about all that are live.

use crate::state::agents::Reach;
use crate::state::tasks::Task;
use crate::state::{Books, Turn};
use model::call::ReconcileTask;
use model::ids::FrameworkId;
use model::task::{Reason, Source, Status, TaskState};

/// Answers each question by an update, or not at all while the truth may still come in.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    tasks: &[ReconcileTask],
    turn: &mut Turn<'_>,
) {
    let known = &books.frameworks[framework].tasks;
    let answers: Vec<Status> = if tasks.is_empty() {
        let untold = untold(books, framework).map(|task| before_contact_was_lost(task, turn));
        known.values().map(|task| latest(task, turn)).chain(untold).collect()
    } else {
        tasks.iter().filter_map(|task| answer(books, framework, task, turn)).collect()
    };
    for status in answers {
        books.tell_update(framework, status, turn);
    }
}

fn answer(
    books: &Books,
    framework: &FrameworkId,
    question: &ReconcileTask,
    turn: &Turn<'_>,
) -> Option<Status> {
    let owner = &books.frameworks[framework];
    if let Some(task) = owner.tasks.get(&question.task) {
        return Some(latest(task, turn));
    }
    if let Some(task) = owner.unreachable.get(&question.task)
        && books.removals.is_untold(&task.agent, framework)
    {
        return Some(before_contact_was_lost(task, turn));
    }
    // A task that went out of contact is where it was, also if the framework does not say where.
    let unreachable = owner.unreachable.get(&question.task).map(|task| &task.agent);
    let agent = question.agent.as_ref().or(unreachable);
    let is_recovered = |reach| reach == Reach::Recovered;
    let (state, what, unreachable_at) = match agent {
        // An agent that is still to come back may bring the task.
        None if books.agents.values().any(|agent| is_recovered(agent.reach)) => return None,
        None => (TaskState::Unknown, "unknown", None),
        Some(agent) => match books.agents.get(agent) {
            Some(agent) if is_recovered(agent.reach) => return None,
            Some(_) => (TaskState::Gone, "unknown to the agent", None),
            None => {
                if let Some(away) = books.members.unreachable.get(agent) {
                    (TaskState::Unreachable, "unreachable", Some(away.at))
                } else if books.members.gone.contains_key(agent) {
                    (TaskState::GoneByOperator, "gone", None)
                } else {
                    (TaskState::Unknown, "unknown", None)
                }
            }
        },
    };
    let mut status = Status::new(question.task.clone(), state, Source::Master, turn.now.wall);
    status.agent = agent.cloned();
    status.reason = Some(Reason::Reconciliation);
    status.message = Some(format!("Reconciliation: Task is {what}").into());
    status.unreachable_at = unreachable_at;
    Some(status)
}

/// Tasks that are out of contact, and which the framework is not to take for lost yet.
fn untold<'a>(books: &'a Books, framework: &'a FrameworkId) -> impl Iterator<Item = &'a Task> + 'a {
    let tasks = books.frameworks[framework].unreachable.values();
    let any = books.removals.has_untold(framework);
    tasks.filter(move |task| any && books.removals.is_untold(&task.agent, framework))
}

/// The last state of a task that is out of contact, from when it was not.
fn before_contact_was_lost(task: &Task, turn: &Turn<'_>) -> Status {
    let before = task.statuses.iter().rfind(|status| status.state != TaskState::Unreachable);
    let mut status = task.report(before.map_or(TaskState::Staging, |status| status.state), turn);
    status.reason = Some(Reason::Reconciliation);
    status.message = Some("Reconciliation: Latest task state".into());
    if let Some(before) = before {
        status.healthy = before.healthy;
        status.rest = before.rest.clone();
    }
    status
}

/// The state the framework was last told of, else the latest known: what comes after it is still to
/// be reported in its turn.
fn latest(task: &Task, turn: &Turn<'_>) -> Status {
    let state = task.reported.map_or(task.state, |(state, _)| state);
    let mut status = task.report(state, turn);
    status.reason = Some(Reason::Reconciliation);
    status.message = Some("Reconciliation: Latest task state".into());
    if let Some(last) = task.statuses.last() {
        status.healthy = last.healthy;
        status.rest = last.rest.clone();
    }
    status
}
