//! Bytes of an executor for its scheduler. May get lost.

use super::drop_message;
use crate::note::{Note, Relayed};
use crate::state::{Books, Turn};
use model::call::Message;
use model::event::SchedulerEvent;
use model::ids::{AgentId, FrameworkId};

/// Passes them on, if the framework is there.
pub(crate) fn apply(
    books: &mut Books,
    agent: &AgentId,
    framework: &FrameworkId,
    message: Message,
    turn: &mut Turn<'_>,
) {
    let owner = books.frameworks.get(framework);
    if owner.is_some_and(|owner| owner.connection().is_some()) {
        // Who it is from is what the link says, whatever the message does.
        let message = Message { agent: agent.clone(), ..message };
        let of = Some(framework.clone());
        turn.note(Note::Relayed { what: Relayed::ToScheduler, framework: of });
        books.tell(framework, SchedulerEvent::Message(message), turn);
    } else {
        let why = format!("a message for framework {framework}, which is not connected");
        drop_message(Some(agent), Some(Relayed::ToScheduler), why, turn);
    }
}
