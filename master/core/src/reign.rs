//! A reign begins or ends here.

use crate::config::Config;
use crate::io::{CloseReason, Output, Refusal};
use crate::note::Note;
use crate::registry::{Registry, id_of};
use crate::state::agents::{Agent, Reach};
use crate::state::frameworks::Framework;
use crate::state::timers::Due;
use crate::state::{Books, Turn};
use crate::view::{AgentCondition, FrameworkCondition, ViewChange};
use model::ids::{Reign, RequestId, Term};
use model::registry::Record;
use std::collections::VecDeque;
use std::sync::Arc;

/// Lists all members at once, and gives them time to come back.
pub(crate) fn begin(
    config: &Config,
    term: Term,
    reign: Reign,
    registry: Registry,
    turn: &mut Turn<'_>,
) -> Books {
    let members = registry.members;
    turn.view(ViewChange::Clear);
    turn.note(Note::ReignBegan {
        term,
        agents: members.agents.len(),
        frameworks: members.frameworks.len(),
    });
    let rules = registry.rules;
    turn.view(ViewChange::SetRules(Arc::new(rules.clone())));
    let mut books = Books::new(config, term, reign, members.clone(), rules, turn.now);
    for (role, weight) in books.rules.weights.clone() {
        books.allocator.set_weight(role, weight, turn.now.time);
    }
    seed_weights(&books, turn);
    for (role, quota) in books.rules.quotas.clone() {
        books.set_quota(&role, &quota, turn);
    }
    for entry in members.agents.values() {
        let return_by = turn.now.time + config.agent_reregister_timeout;
        books.timers.set(Due::AgentReturn(entry.id.clone()), return_by);
        books.insert_agent(Agent::new(entry, Reach::Recovered));
    }
    books.begin_recovery(turn);
    books.timers.set(Due::RegistryGc, turn.now.time + config.registry_gc_interval);
    for away in members.unreachable.values() {
        let agent = Agent::new(&away.entry, Reach::Disconnected);
        let standing = books.rules.standing(&away.entry.id);
        let view = agent.view(AgentCondition::Unreachable(away.at), standing);
        turn.view(ViewChange::PutAgent(Arc::new(view)));
    }
    for entry in members.frameworks.values() {
        let id = id_of(entry).clone();
        let framework = Framework::new(id, entry.framework.clone(), entry.registered_at);
        // The beginning of the reign has marked those away that were not.
        let away_since = entry.away_since.unwrap_or(turn.now.wall);
        books.recover_framework(framework, away_since, turn);
    }
    let too_many = members.completed.len().saturating_sub(config.completed_frameworks_max);
    for (entry, at) in members.completed.iter().skip(too_many) {
        let id = id_of(entry).clone();
        let framework = Framework::new(id, entry.framework.clone(), entry.registered_at);
        let view = framework.view(FrameworkCondition::Completed(*at));
        books.show_completed(view, VecDeque::new(), turn);
    }
    books
}

/// Has the weights of the flags agreed on, if none were before. From then on operators set them at run
/// time, and a flag that somebody forgot must not undo that.
fn seed_weights(books: &Books, turn: &mut Turn<'_>) {
    let (given, agreed) = (&books.config.weights, &books.rules.weights);
    if given.is_empty() {
        return;
    }
    if agreed.is_empty() {
        turn.propose(vec![Record::SetWeights(given.clone().into_iter().collect())]);
    } else if given.iter().any(|(role, weight)| agreed.get(role) != Some(weight)) {
        turn.note(Note::WeightsIgnored);
    }
}

/// Lets everybody go, who will find the next leader.
pub(crate) fn end(books: Books, turn: &mut Turn<'_>) {
    let subscribing = books.subscribing.into_values().flatten();
    for one in subscribing.filter(|one| !one.is_gone) {
        turn.answer(one.request, Err(Refusal::NotLeading));
    }
    // Some of it the masters may have agreed on, or an agent may have done, without our knowing.
    let teardowns = books.frameworks.into_values().flat_map(|framework| framework.teardowns);
    let begun: Vec<RequestId> = teardowns
        .map(|(request, _)| request)
        .chain(books.gone_requests.into_values())
        .chain(books.agreeing.into_iter().map(|(_, request)| request))
        .chain(books.operations.into_values().filter_map(|operation| operation.request))
        .collect();
    for request in begun {
        let why = "The leading master has changed";
        turn.answer(request, Err(Refusal::Interrupted(why)));
    }
    for connection in books.streams.into_keys() {
        turn.out.push(Output::CloseScheduler { connection });
    }
    for connection in books.links.into_keys() {
        turn.close_agent(connection, CloseReason::NotLeading);
    }
    turn.view(ViewChange::Clear);
    turn.note(Note::ReignEnded);
}
