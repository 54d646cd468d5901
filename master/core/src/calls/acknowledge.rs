//! ACKNOWLEDGE: a framework has kept an update. The agent may send the next, and a task whose end is
//! acknowledged is over.

use super::drop_call;
use crate::note::{Note, Relayed};
use crate::state::{Books, Turn};
use model::call::Acknowledge;
use model::ids::FrameworkId;
use model::link::ToAgent;

/// Passes it on. If the agent is away it is dropped: the agent will send the update again.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    call: &Acknowledge,
    turn: &mut Turn<'_>,
) {
    let Acknowledge { agent, task, uuid } = call;
    let message =
        ToAgent::Acknowledge { framework: framework.clone(), task: task.clone(), uuid: *uuid };
    if !books.send(agent, message, turn) {
        let why = format!("agent '{agent}' is not connected");
        drop_call(framework, "ACKNOWLEDGE", why, turn);
        return;
    }
    let of = Some(framework.clone());
    turn.note(Note::Relayed { what: Relayed::Acknowledgement, framework: of });
    let known = books.frameworks[framework].tasks.get(task);
    let is_end = known.is_some_and(|known| {
        known.agent == *agent
            && known.reported.is_some_and(|(state, of)| of == *uuid && state.is_terminal())
    });
    if is_end && let Some(known) = books.take_task(framework, task) {
        books.complete_task(framework, &known, turn);
    }
}
