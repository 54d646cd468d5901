//! MESSAGE: bytes for an executor. May get lost.

use super::drop_call;
use crate::note::{Note, Relayed};
use crate::state::{Books, Turn};
use model::call::Message;
use model::ids::FrameworkId;
use model::link::ToAgent;

/// Passes it on, if the agent is there.
pub(crate) fn apply(
    books: &mut Books,
    framework: &FrameworkId,
    call: Message,
    turn: &mut Turn<'_>,
) {
    let agent = call.agent.clone();
    let message = ToAgent::Message { framework: framework.clone(), message: call };
    if books.send(&agent, message, turn) {
        let of = Some(framework.clone());
        turn.note(Note::Relayed { what: Relayed::ToExecutor, framework: of });
    } else {
        drop_call(framework, "MESSAGE", format!("agent '{agent}' is not connected"), turn);
    }
}
