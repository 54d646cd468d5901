//! What has fallen due: one file for each.

pub(crate) mod agent_removal;
pub(crate) mod agent_return;
pub(crate) mod failover;
pub(crate) mod heartbeat;
pub(crate) mod inverse_offers;
pub(crate) mod offer_timeout;
pub(crate) mod orphan_operation;
pub(crate) mod ping;
pub(crate) mod recovery;
pub(crate) mod registry_gc;

use crate::state::timers::Due;
use crate::state::{Books, Turn};

/// Does one thing that is due.
pub(crate) fn apply(books: &mut Books, due: &Due, turn: &mut Turn<'_>) {
    match due {
        Due::Heartbeat(framework) => heartbeat::apply(books, framework, turn),
        Due::Failover(framework) => failover::apply(books, framework, turn),
        Due::OfferTimeout(offer) => offer_timeout::apply(books, offer, turn),
        Due::InverseOffers => inverse_offers::apply(books, turn),
        Due::Ping(agent) => ping::apply(books, agent, turn),
        Due::AgentReturn(agent) => agent_return::apply(books, agent, turn),
        Due::AgentRemoval => agent_removal::apply(books, turn),
        Due::Recovery => recovery::apply(books, turn),
        Due::RegistryGc => registry_gc::apply(books, turn),
        Due::OrphanOperation(operation) => orphan_operation::apply(books, *operation, turn),
    }
}
