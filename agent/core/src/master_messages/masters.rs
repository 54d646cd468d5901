//! Where the masters are now, and how to come back to another one that leads.

use crate::agent::Agent;
use crate::output::Output;
use crate::record::Record;
use model::search::Masters;

/// Has the search for the leader go by it. Where they are outlives the agent: all may be others by the
/// time it is started again.
pub(crate) fn apply(agent: &mut Agent, masters: Masters, out: &mut Vec<Output>) {
    if agent.masters != masters.addresses {
        agent.masters.clone_from(&masters.addresses);
        out.push(Output::Append(Record::Masters(masters.addresses.clone())));
    }
    out.push(Output::Learn(masters));
}
