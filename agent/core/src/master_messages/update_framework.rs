//! A framework has changed its description, or is back after it was away.

use crate::agent::Agent;
use crate::output::{Change, Output};
use crate::record::Record;
use crate::state::id_of;
use crate::updates;
use model::framework::Framework;
use model::step::Now;

pub(crate) fn apply(agent: &mut Agent, framework: Framework, now: Now, out: &mut Vec<Output>) {
    // What was sent while it was away is lost, and would be repeated only minutes later.
    updates::resume_of(agent, &id_of(&framework), now, out);
    let Some(state) = agent.frameworks.get_mut(&id_of(&framework)) else { return };
    if state.framework == framework {
        return;
    }
    out.push(Output::Append(Record::Framework(framework.clone())));
    out.push(Output::View(Change::Framework(framework.clone())));
    state.framework = framework;
}
