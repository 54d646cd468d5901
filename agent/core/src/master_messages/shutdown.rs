//! End all you run and go away.

use crate::agent::Agent;
use crate::executors;
use crate::output::Output;
use model::step::Now;

pub(crate) fn apply(agent: &mut Agent, why: String, now: Now, out: &mut Vec<Output>) {
    executors::end_all(agent, why, now, out);
}
