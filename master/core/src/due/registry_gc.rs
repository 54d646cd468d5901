//! Former agents may have been remembered for long enough.

use crate::state::timers::Due;
use crate::state::{Books, Turn};
use model::registry::Record;
use std::time::Duration;

/// How many are forgotten by one record, so that no record of the log grows large. The next follow
/// when this one is agreed on.
const FORGOTTEN_AT_ONCE_MAX: usize = 1_000;

/// How often there is a look at most, whatever the configuration says.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Has those forgotten that are over age or too many.
pub(crate) fn apply(books: &mut Books, turn: &mut Turn<'_>) {
    let config = &books.config;
    let next = turn.now.time + config.registry_gc_interval.max(INTERVAL_MIN);
    let (age_max, count_max) = (config.registry_agent_age_max, config.registry_agent_count_max);
    let now = turn.now.wall;
    let over = books.members.forgettable(now, age_max, count_max, FORGOTTEN_AT_ONCE_MAX);
    books.timers.set(Due::RegistryGc, next);
    if !over.is_empty() {
        turn.propose(vec![Record::ForgetAgents(over)]);
    }
}
