//! A framework has changed its description.

use crate::agent::Agent;
use crate::output::{Change, Output};
use crate::record::Record;
use crate::state::id_of;
use model::framework::Framework;

pub(crate) fn apply(agent: &mut Agent, framework: Framework, out: &mut Vec<Output>) {
    let Some(state) = agent.frameworks.get_mut(&id_of(&framework)) else { return };
    if state.framework == framework {
        return;
    }
    out.push(Output::Append(Record::Framework(framework.clone())));
    out.push(Output::View(Change::Framework(framework.clone())));
    state.framework = framework;
}
