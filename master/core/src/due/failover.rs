//! A framework has not come back in time: it is over.

use crate::state::timers::Due;
use crate::state::{Books, Turn};
use model::ids::FrameworkId;
use std::time::Duration;

/// How long masters may take to agree before it is looked at again.
const AGREEING: Duration = Duration::from_secs(1);

/// Ends the framework.
pub(crate) fn apply(books: &mut Books, framework: &FrameworkId, turn: &mut Turn<'_>) {
    let waiting = books.subscribing.get(framework);
    if waiting.is_some_and(|all| all.iter().any(|subscribing| !subscribing.is_gone)) {
        // It is back, as soon as the masters have agreed on how it describes itself now.
        books.timers.set(Due::Failover(framework.clone()), turn.now.time + AGREEING);
        return;
    }
    books.propose_end(framework, turn);
}
