//! A framework hears that its stream lives, whatever else it hears.

use crate::state::timers::Due;
use crate::state::{Books, Turn};
use model::event::SchedulerEvent;
use model::ids::FrameworkId;

/// Sends a heartbeat.
pub(crate) fn apply(books: &mut Books, framework: &FrameworkId, turn: &mut Turn<'_>) {
    books.tell(framework, SchedulerEvent::Heartbeat, turn);
    let next = turn.now.time + books.config.heartbeat_interval;
    books.timers.set(Due::Heartbeat(framework.clone()), next);
}
