//! A framework is over, and with it all it runs.

use crate::io::Output;
use crate::note::Note;
use crate::state::timers::Due;
use crate::state::{Books, Turn};
use crate::view::FrameworkCondition;
use model::ids::FrameworkId;
use model::link::ToAgent;
use model::step::Timestamp;
use model::task::{Reason, TaskState};
use std::sync::Arc;

/// Takes the framework out of the books and shows it among those that are over.
pub(crate) fn apply(books: &mut Books, id: &FrameworkId, at: Timestamp, turn: &mut Turn<'_>) {
    if !books.frameworks.contains_key(id) {
        return;
    }
    books.discard_offers_of(id, turn);
    books.forget_inverse_offers_of(id);
    shut_down_on_agents(books, id, turn);
    end_tasks(books, id, turn);
    books.orphan_operations_of(id, turn);
    books.allocator.remove_framework(id, turn.now.time);
    books.timers.cancel(&Due::Heartbeat(id.clone()));
    books.timers.cancel(&Due::Failover(id.clone()));
    let framework = books.frameworks.remove(id).expect("it was just there");
    if let Some(connection) = framework.connection() {
        books.streams.remove(&connection);
        turn.out.push(Output::CloseScheduler { connection });
    }
    let view = framework.view(FrameworkCondition::Completed(at));
    turn.note(Note::FrameworkRemoved(Arc::new(view.clone())));
    books.show_completed(view, framework.completed, turn);
    for (request, done) in framework.teardowns {
        turn.answer(request, Ok(done));
    }
}

/// Tells agents that run something of it, and frees what it used there.
fn shut_down_on_agents(books: &mut Books, id: &FrameworkId, turn: &mut Turn<'_>) {
    let on: Vec<_> = books
        .agents
        .values()
        .filter(|agent| {
            agent.tasks.iter().any(|(owner, _)| owner == id)
                || agent.executors.keys().any(|(owner, _)| owner == id)
        })
        .map(|agent| agent.id.clone())
        .collect();
    for agent in on {
        books.send(&agent, ToAgent::ShutdownFramework(id.clone()), turn);
        for executor in books.agents[&agent].executors_of(id) {
            books.end_executor(&agent, id, &executor, turn);
        }
    }
}

/// Its tasks count as killed. Nobody is there to be told.
fn end_tasks(books: &mut Books, id: &FrameworkId, turn: &mut Turn<'_>) {
    let tasks: Vec<_> = books.frameworks[id].tasks.keys().cloned().collect();
    for name in tasks {
        let had_ended = books.frameworks[id].tasks[&name].state.is_terminal();
        if !had_ended {
            books.set_state(id, &name, TaskState::Killed, turn);
        }
        let Some(mut task) = books.take_task(id, &name) else { continue };
        if !had_ended {
            let mut status = task.report(TaskState::Killed, turn);
            status.reason = Some(Reason::FrameworkRemoved);
            status.message = Some("The framework is over".into());
            task.keep(status.clone());
            turn.note(Note::TaskUpdated { framework: id.clone(), status, latest: task.state });
        }
        books.complete_task(id, &task, turn);
    }
    let owner = books.frameworks.get_mut(id).expect("the caller has looked it up");
    for task in std::mem::take(&mut owner.unreachable).into_values() {
        books.complete_task(id, &task, turn);
    }
}
