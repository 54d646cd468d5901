//! Operators have decided something: what follows from it for offers and agents.

use crate::agent_messages::unregister;
use crate::state::{Books, Turn};
use model::ids::{AgentId, OfferId};
use model::link::ToAgent;
use model::role::Role;
use model::rules::{Quota, Standing, Weight};

/// Roles have other weights. What is offered was shared out by the old ones, so all of it is taken back if
/// anybody is in one of the roles.
pub(crate) fn weights(books: &mut Books, weights: &[(Role, Weight)], turn: &mut Turn<'_>) {
    let mut concerns_anybody = false;
    for (role, weight) in weights {
        books.allocator.set_weight(role.clone(), *weight, turn.now.time);
        let is_in = |of: &Role| of == role || of.is_below(role);
        let mut frameworks = books.frameworks.values();
        concerns_anybody |= frameworks.any(|it| it.description.roles.iter().any(is_in));
    }
    if concerns_anybody {
        let all: Vec<OfferId> = books.offers.keys().cloned().collect();
        rescind(books, all, turn);
    }
}

/// Roles have other quotas. Offers to roles with limits are taken back, and so are those to others when
/// something is guaranteed: the next ones are made by the new quotas.
pub(crate) fn quotas(books: &mut Books, quotas: &[(Role, Quota)], turn: &mut Turn<'_>) {
    for (role, quota) in quotas {
        books.set_quota(role, quota, turn);
    }
    let any_guarantee = quotas.iter().any(|(_, quota)| !quota.guarantees.is_empty());
    let is_of = |of: &Role| quotas.iter().any(|(role, _)| of == role || of.is_below(role));
    let offers = books.offers.iter().filter(|(_, offer)| any_guarantee || is_of(&offer.role));
    let offers = offers.map(|(id, _)| id.clone()).collect();
    rescind(books, offers, turn);
}

/// Operators have another word for an agent.
pub(crate) fn standing(books: &mut Books, id: &AgentId, turn: &mut Turn<'_>) {
    let standing = books.rules.standing(id);
    books.unpublished.agent(id);
    let Some(agent) = books.agents.get_mut(id) else { return };
    agent.is_settling = false;
    match standing {
        Standing::Active => {
            if agent.connection().is_some() && !agent.is_leaving {
                books.allocator.activate_agent(id, turn.now.time);
            }
        }
        Standing::Deactivated | Standing::Draining { .. } | Standing::Drained { .. } => {
            books.allocator.deactivate_agent(id);
            books.rescind_offers_on(id, turn);
        }
    }
    if let Standing::Draining { drain, .. } = standing {
        books.send(id, ToAgent::Drain(drain), turn);
    }
}

/// Maintenance is planned otherwise. Offers say when their agent will be away, so those of agents for
/// which that has changed are taken back.
pub(crate) fn schedule(books: &mut Books, turn: &mut Turn<'_>) {
    let changed: Vec<AgentId> = books
        .agents
        .values()
        .filter(|agent| books.unavailability_of(&agent.description) != agent.unavailability)
        .map(|agent| agent.id.clone())
        .collect();
    for id in changed {
        books.rescind_offers_on(&id, turn);
        let unavailability = books.unavailability_of(&books.agents[&id].description);
        let agent = books.agents.get_mut(&id).expect("it was just listed");
        agent.unavailability = unavailability;
        books.rescind_inverse_offers_on(&id, turn);
    }
    books.make_inverse_offers(turn);
}

/// Machines leave for maintenance, or may come back. The agents of those that leave are told to end.
pub(crate) fn machines(books: &mut Books, turn: &mut Turn<'_>) {
    let leaving: Vec<AgentId> = books
        .agents
        .values()
        .filter(|agent| {
            let (hostname, ip) = agent.host();
            books.rules.is_down(hostname, ip)
        })
        .map(|agent| agent.id.clone())
        .collect();
    for id in leaving {
        let why = "Operator initiated 'Machine DOWN'".to_owned();
        books.send(&id, ToAgent::Shutdown { why }, turn);
        unregister::apply(books, &id, turn);
    }
    schedule(books, turn);
}

fn rescind(books: &mut Books, offers: Vec<OfferId>, turn: &mut Turn<'_>) {
    for offer in offers {
        books.rescind(&offer, turn);
    }
}
