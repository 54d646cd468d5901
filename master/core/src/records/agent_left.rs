//! An agent is not among the agents any more: out of contact, gone or removed.

use crate::io::{CloseReason, Done};
use crate::note::{Note, Removal};
use crate::state::agents::{Agent, Reach};
use crate::state::frameworks::Framework;
use crate::state::{Books, Turn};
use crate::view::{AgentCondition, ViewChange};
use model::event::SchedulerEvent;
use model::ids::{AgentId, FrameworkId, TaskId};
use model::link::ToAgent;
use model::operation::OperationState;
use model::rules::Standing;
use model::step::Timestamp;
use model::task::{Reason, Status, TaskState};
use std::sync::Arc;

/// How an agent left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Left {
    /// Out of contact, since when. It may come back.
    Unreachable(Timestamp),
    /// Declared dead by an operator.
    Gone,
    /// By itself, or pushed out by its successor at the same address.
    Removed,
}

impl Left {
    /// Whether the framework hears of it when it happens. "Out of contact" is all the same to one that
    /// does not know it, and such a one hears it in its turn: see [`crate::state::removals`].
    fn is_told_at_once(self, framework: &Framework) -> bool {
        match self {
            Self::Unreachable(_) => framework.is_partition_aware(),
            Self::Gone | Self::Removed => true,
        }
    }

    fn task_state(self) -> TaskState {
        match self {
            Self::Unreachable(_) => TaskState::Unreachable,
            Self::Gone => TaskState::GoneByOperator,
            Self::Removed => TaskState::Lost,
        }
    }

    /// An operation on an agent that will not come back is over, however it left.
    fn operation_state(self) -> OperationState {
        match self {
            Self::Unreachable(_) => OperationState::Unreachable,
            Self::Gone | Self::Removed => OperationState::GoneByOperator,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Unreachable(_) => "The agent is out of contact",
            Self::Gone => "The agent was marked gone",
            Self::Removed => "The agent was removed",
        }
    }

    fn explain(self, status: &mut Status) {
        let reason = match self {
            Self::Unreachable(_) | Self::Removed => Reason::AgentRemoved,
            Self::Gone => Reason::AgentRemovedByOperator,
        };
        status.reason = Some(reason);
        status.message = Some(self.message().into());
        if let Self::Unreachable(at) = self {
            status.unreachable_at = Some(at);
        }
    }
}

/// Takes the agent out of the books, and tells everybody who has something there.
pub(crate) fn apply(books: &mut Books, id: &AgentId, left: Left, turn: &mut Turn<'_>) {
    if let Some(request) = books.gone_requests.remove(id) {
        turn.answer(request, Ok(Done::Ok));
    }
    if left == Left::Gone {
        end_unreachable(books, id, left, turn);
    }
    for framework in books.removals.cancel(id).into_iter().flatten() {
        let event = SchedulerEvent::Failure { agent: id.clone(), executor: None };
        books.tell(&framework, event, turn);
    }
    if !books.agents.contains_key(id) {
        // It was out of contact before, or was never let in.
        match left {
            Left::Gone | Left::Removed => turn.view(ViewChange::RemoveAgent(id.clone())),
            Left::Unreachable(_) => {}
        }
        return;
    }
    books.rescind_offers_on(id, turn);
    let tasks: Vec<_> = books.agents[id].tasks.iter().cloned().collect();
    for (framework, task) in tasks {
        match left {
            Left::Unreachable(_) => lose_contact(books, &framework, &task, left, turn),
            Left::Gone | Left::Removed => {
                let explain = |status: &mut Status| left.explain(status);
                books.end_task(&framework, &task, left.task_state(), turn, explain);
            }
        }
    }
    books.end_operations_on(id, left.operation_state(), left.message(), turn);
    let executors: Vec<_> = books.agents[id].executors.keys().cloned().collect();
    for (framework, executor) in executors {
        books.remove_executor(id, &framework, &executor, turn);
    }
    let mut agent = books.remove_agent(id).expect("it was just there");
    agent.used.clear();
    close(books, &agent, left, turn);
    let standing = books.rules.standing(id);
    show(&agent, left, standing, turn);
    books.rescind_inverse_offers_on(id, turn);
    let (at_once, later): (Vec<&Framework>, Vec<&Framework>) =
        books.frameworks.values().partition(|framework| left.is_told_at_once(framework));
    let ids = |all: Vec<&Framework>| all.into_iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    let (at_once, later) = (ids(at_once), ids(later));
    for framework in at_once {
        let event = SchedulerEvent::Failure { agent: id.clone(), executor: None };
        books.tell(&framework, event, turn);
    }
    if let Left::Unreachable(_) = left {
        let untold = later.into_iter().collect();
        books.schedule_removal(id.clone(), left, untold, turn);
    }
}

/// Tells a framework that its tasks on an agent out of contact are so, which it takes for lost.
pub(crate) fn tell_lost(
    books: &mut Books,
    framework: &FrameworkId,
    agent: &AgentId,
    left: Left,
    turn: &mut Turn<'_>,
) {
    let Some(owner) = books.frameworks.get(framework) else { return };
    let on_it = owner.unreachable.values();
    let on_it = on_it.filter(|task| task.agent == *agent && task.state == TaskState::Unreachable);
    let lost: Vec<_> = on_it
        .map(|task| {
            let mut status = task.report(task.state, turn);
            left.explain(&mut status);
            status
        })
        .collect();
    for status in lost {
        books.tell_update(framework, status, turn);
    }
}

/// Moves a task to those out of contact. One that had ended keeps its end.
fn lose_contact(
    books: &mut Books,
    framework: &FrameworkId,
    id: &TaskId,
    left: Left,
    turn: &mut Turn<'_>,
) {
    let Some(mut task) = books.take_task(framework, id) else { return };
    if !task.state.is_terminal() {
        task.state = TaskState::Unreachable;
        let mut status = task.report(task.state, turn);
        left.explain(&mut status);
        task.keep(status.clone());
        turn.note(Note::TaskUpdated {
            framework: framework.clone(),
            status: status.clone(),
            latest: task.state,
        });
        if books.frameworks.get(framework).is_some_and(|owner| left.is_told_at_once(owner)) {
            books.tell_update(framework, status, turn);
        }
    }
    books.insert_unreachable(framework, task, turn);
}

/// Ends the tasks that went out of contact with an agent that is now declared dead.
fn end_unreachable(books: &mut Books, id: &AgentId, left: Left, turn: &mut Turn<'_>) {
    let ended = books.take_unreachable_on(id);
    for (framework, mut task) in ended {
        if !task.state.is_terminal() {
            task.state = left.task_state();
            let mut status = task.report(task.state, turn);
            left.explain(&mut status);
            task.keep(status.clone());
            turn.note(Note::TaskUpdated {
                framework: framework.clone(),
                status: status.clone(),
                latest: task.state,
            });
            books.tell_update(&framework, status, turn);
        }
        books.complete_task(&framework, &task, turn);
    }
}

fn close(books: &mut Books, agent: &Agent, left: Left, turn: &mut Turn<'_>) {
    let Some(connection) = agent.connection() else { return };
    books.links.remove(&connection);
    match left {
        Left::Unreachable(_) => turn.close_agent(connection, CloseReason::Unreachable),
        Left::Gone => {
            let why = "The agent was marked gone by an operator".to_owned();
            turn.tell_agent(connection, ToAgent::Shutdown { why });
            turn.close_agent(connection, CloseReason::Removed);
        }
        Left::Removed => turn.close_agent(connection, CloseReason::Removed),
    }
}

fn show(agent: &Agent, left: Left, standing: Standing, turn: &mut Turn<'_>) {
    match left {
        Left::Unreachable(at) => {
            let view = agent.view(AgentCondition::Unreachable(at), standing);
            turn.view(ViewChange::PutAgent(Arc::new(view)));
            let was_here = agent.reach != Reach::Recovered;
            turn.note(Note::AgentUnreachable { agent: agent.id.clone(), was_here });
        }
        Left::Gone | Left::Removed => {
            turn.view(ViewChange::RemoveAgent(agent.id.clone()));
            let decided = (left == Left::Gone).then_some(Removal::Decided);
            let (agent, why) = (agent.id.clone(), decided.or(agent.removal));
            turn.note(Note::AgentRemoved { agent, why });
        }
    }
}
