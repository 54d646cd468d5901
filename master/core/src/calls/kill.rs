//! KILL: a task is to end.

use super::{drop_call, reconcile};
use crate::state::{Books, Turn};
use model::call::{Kill, ReconcileTask};
use model::ids::FrameworkId;
use model::link::ToAgent;

/// Passes the kill on. An agent that is away gets it when it comes back.
pub(crate) fn apply(books: &mut Books, framework: &FrameworkId, call: Kill, turn: &mut Turn<'_>) {
    let Kill { task, agent, grace } = call;
    let known = books.frameworks[framework].tasks.get(&task);
    let Some(known) = known else {
        reconcile::apply(books, framework, &[ReconcileTask { task, agent }], turn);
        return;
    };
    if agent.is_some_and(|agent| agent != known.agent) {
        let why = format!("task '{task}' is on agent '{}'", known.agent);
        drop_call(framework, "KILL", why, turn);
        return;
    }
    let at = known.agent.clone();
    if !known.state.is_terminal()
        && let Some(agent) = books.agents.get_mut(&at)
    {
        agent.kills.insert((framework.clone(), task.clone()), grace);
    }
    books.send(&at, ToAgent::Kill { framework: framework.clone(), task, grace }, turn);
}
