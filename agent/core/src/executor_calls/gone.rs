//! An executor's event stream is gone. It may come back; if its processes end, that is told apart.

use crate::agent::Agent;
use model::ids::ConnectionId;

pub(crate) fn apply(agent: &mut Agent, connection: ConnectionId) {
    let Some((framework, executor)) = agent.connections.remove(&connection) else { return };
    if let Some(it) = agent
        .frameworks
        .get_mut(&framework)
        .and_then(|framework| framework.executors.get_mut(&executor))
        && it.connection == Some(connection)
    {
        it.connection = None;
    }
}
