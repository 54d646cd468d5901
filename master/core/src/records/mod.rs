//! What the masters have agreed on, or not: one file for each kind of record that a leader acts on.

pub(crate) mod agent_left;
pub(crate) mod complete_framework;
mod forget_agents;
pub(crate) mod put_agent;
mod rules;

use crate::calls::subscribe;
use crate::io::{CloseReason, Done, Refusal};
use crate::state::timers::Due;
use crate::state::{Books, Turn};
use crate::view::ViewChange;
use agent_left::Left;
use model::ids::AgentId;
use model::registry::Record;
use std::sync::Arc;

/// A record is applied.
pub(crate) fn applied(books: &mut Books, record: &Record, turn: &mut Turn<'_>) {
    let changes_rules = books.rules.apply(record, &books.members);
    let mut forgotten = Vec::new();
    let is_void = !books.members.apply(record, &mut forgotten);
    if books.rules.forget(forgotten.iter()) || changes_rules {
        turn.view(ViewChange::SetRules(Arc::new(books.rules.clone())));
    }
    for agent in forgotten {
        books.forget_ended_on(&agent);
        turn.view(ViewChange::RemoveAgent(agent));
    }
    match record {
        Record::PutAgent(entry) => put_agent::apply(books, &entry.id, is_void, turn),
        Record::PutFramework(entry) => {
            if let Some(id) = &entry.framework.id {
                subscribe::applied(books, id, is_void, turn);
            }
        }
        Record::MarkUnreachable { agent, at } => {
            agent_left::apply(books, agent, Left::Unreachable(*at), turn);
        }
        Record::MarkGone { agent, .. } => agent_left::apply(books, agent, Left::Gone, turn),
        Record::RemoveAgent { agent, .. } => agent_left::apply(books, agent, Left::Removed, turn),
        Record::ForgetAgents(agents) => forget_agents::apply(books, agents, turn),
        Record::CompleteFramework { framework, at } => {
            complete_framework::apply(books, framework, *at, turn);
        }
        Record::SetWeights(weights) => rules::weights(books, weights, turn),
        Record::SetQuotas(quotas) => rules::quotas(books, quotas, turn),
        Record::SetStanding { agent, .. } => rules::standing(books, agent, turn),
        Record::SetSchedule(_) => rules::schedule(books, turn),
        Record::SetMachines { .. } => rules::machines(books, turn),
        // The timer runs; the next leader is to know of it.
        Record::MarkFrameworkAway { .. }
        // The driver answers whoever asked for these.
        | Record::BeginReign(_)
        | Record::StoreCommit(_)
        | Record::LeaseAcquire(_)
        | Record::LeaseRelease { .. } => {}
    }
    let result = if let Record::SetStanding { agent, .. } = record
        && !books.members.remember(agent)
    {
        Err(Refusal::Conflict("Agent has left the cluster meanwhile".to_owned()))
    } else {
        Ok(Done::Ok)
    };
    books.answer_operator(record, result, turn);
}

/// A proposal is lost. Whoever waits for it is told to try again, and what fell due falls due again.
pub(crate) fn failed(books: &mut Books, record: &Record, turn: &mut Turn<'_>) {
    let again_at = turn.now.time + books.config.agent_ping_timeout;
    match record {
        Record::PutAgent(entry) => {
            if let Some(admission) = put_agent::take_waiting(books, &entry.id)
                && books.links.remove(&admission.connection).is_some()
            {
                turn.close_agent(admission.connection, CloseReason::NotAgreed);
            }
        }
        Record::PutFramework(entry) => {
            if let Some(id) = &entry.framework.id {
                subscribe::failed(books, id, turn);
            }
        }
        Record::MarkUnreachable { agent, .. }
        | Record::MarkGone { agent, .. }
        | Record::RemoveAgent { agent, .. } => stay(books, agent, turn),
        Record::CompleteFramework { framework, .. } => {
            if let Some(known) = books.frameworks.get_mut(framework) {
                known.is_ending = false;
                for (request, _) in std::mem::take(&mut known.teardowns) {
                    turn.answer(request, Err(Refusal::NotAgreed));
                }
                if known.connection().is_none() {
                    books.timers.set(Due::Failover(framework.clone()), again_at);
                }
            }
        }
        Record::SetStanding { agent, .. } => {
            if let Some(known) = books.agents.get_mut(agent) {
                known.is_settling = false;
            }
        }
        // They are looked at again in their time.
        Record::ForgetAgents(_)
        | Record::SetWeights(_)
        | Record::SetQuotas(_)
        | Record::SetSchedule(_)
        | Record::SetMachines { .. }
        | Record::BeginReign(_)
        // The next leader counts from its own beginning.
        | Record::MarkFrameworkAway { .. }
        | Record::StoreCommit(_)
        | Record::LeaseAcquire(_)
        | Record::LeaseRelease { .. } => {}
    }
    books.answer_operator(record, Err(Refusal::NotAgreed), turn);
}

/// An agent that was to leave does not, for now.
fn stay(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    if let Some(request) = books.gone_requests.remove(id) {
        turn.answer(request, Err(Refusal::NotAgreed));
    }
    let Some(agent) = books.agents.get_mut(id) else { return };
    agent.is_leaving = false;
    if agent.connection().is_some() && books.rules.standing(id).is_active() {
        books.allocator.activate_agent(id, turn.now.time);
    }
    // Whichever way it came to leaving, its silence is counted from here.
    books.timers.set(Due::Ping(id.clone()), turn.now.time + books.config.agent_ping_timeout);
}
