//! Open offers.

use super::timers::Due;
use super::{Books, Turn};
use crate::note::Note;
use crate::view::ViewChange;
use allocator::{Allocation, Decline};
use model::event::SchedulerEvent;
use model::ids::{AgentId, FrameworkId, OfferId};
use model::offer::Offer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the allocator is told of a decline.
pub(crate) fn declined(offer: &OfferId, refuse_for: Duration) -> Decline {
    let offer = offer.number().expect("offers are numbered as they are made");
    Decline { refuse_for, offer }
}

impl Books {
    /// Makes offers of what the allocator gives, one event for each framework.
    pub(crate) fn make_offers(&mut self, allocations: Vec<Allocation>, turn: &mut Turn<'_>) {
        let mut by_framework: BTreeMap<FrameworkId, Vec<Offer>> = BTreeMap::new();
        for allocation in allocations {
            let offer = self.make_offer(allocation, turn);
            by_framework.entry(offer.framework.clone()).or_default().push(offer);
        }
        for (framework, offers) in by_framework {
            turn.note(Note::OffersSent { framework: framework.clone(), count: offers.len() });
            self.tell(&framework, SchedulerEvent::Offers(offers), turn);
        }
    }

    fn make_offer(&mut self, allocation: Allocation, turn: &mut Turn<'_>) -> Offer {
        let Allocation { framework, role, agent, resources } = allocation;
        let id = OfferId::numbered(&self.reign, self.offers_made);
        self.offers_made += 1;
        let known = self.agents.get_mut(&agent).expect("the allocator has connected agents only");
        known.offered.add(&resources);
        known.offers.insert(id.clone());
        let owner = self.frameworks.get_mut(&framework);
        let owner = owner.expect("the allocator has connected frameworks only");
        owner.offers.insert(id.clone());
        owner.counts.offers_sent += 1;
        let offer = Offer {
            id: id.clone(),
            hostname: known.description.hostname.clone(),
            executors: known.executors_of(&framework),
            agent_info: known.description.info.clone(),
            agent_address: known.description.address.clone(),
            unavailability: known.unavailability,
            framework,
            role,
            agent,
            resources,
        };
        self.unpublished.agent(&offer.agent);
        let shared = Arc::new(offer.clone());
        turn.view(ViewChange::PutOffer(shared.clone()));
        self.offers.insert(id.clone(), shared);
        if let Some(timeout) = self.config.offer_timeout {
            self.timers.set(Due::OfferTimeout(id), turn.now.time + timeout);
        }
        offer
    }

    /// Closes an offer. What it held stays given: whoever calls uses it or gives it back.
    pub(crate) fn take_offer(&mut self, id: &OfferId, turn: &mut Turn<'_>) -> Option<Arc<Offer>> {
        let offer = self.offers.remove(id)?;
        if let Some(agent) = self.agents.get_mut(&offer.agent) {
            agent.offered.subtract(&offer.resources);
            agent.offers.remove(id);
        }
        if let Some(framework) = self.frameworks.get_mut(&offer.framework) {
            framework.offers.remove(id);
        }
        self.timers.cancel(&Due::OfferTimeout(id.clone()));
        self.unpublished.agent(&offer.agent);
        turn.view(ViewChange::RemoveOffer(id.clone()));
        Some(offer)
    }

    /// Closes an offer and gives back what it held, declined for `refuse_for` if there is one.
    pub(crate) fn return_offer(
        &mut self,
        id: &OfferId,
        refuse_for: Option<Duration>,
        turn: &mut Turn<'_>,
    ) {
        if let Some(offer) = self.take_offer(id, turn) {
            let Offer { framework, role, agent, resources, .. } = &*offer;
            let now = turn.now.time;
            let decline = refuse_for.map(|refuse_for| declined(id, refuse_for));
            self.allocator.give_back(framework, role, agent, resources, decline, now);
        }
    }

    /// Takes an offer back and tells its framework.
    pub(crate) fn rescind(&mut self, id: &OfferId, turn: &mut Turn<'_>) {
        self.rescind_for(id, None, turn);
    }

    /// Takes an offer back and tells its framework, which is not offered it again for a while.
    pub(crate) fn rescind_for(
        &mut self,
        id: &OfferId,
        refuse_for: Option<Duration>,
        turn: &mut Turn<'_>,
    ) {
        let Some(offer) = self.offers.get(id) else { return };
        let framework = offer.framework.clone();
        if let Some(framework) = self.frameworks.get_mut(&framework) {
            framework.counts.offers_rescinded += 1;
        }
        self.tell(&framework, SchedulerEvent::Rescind(id.clone()), turn);
        turn.note(Note::OfferRescinded(id.clone()));
        self.return_offer(id, refuse_for, turn);
    }

    /// Takes all offers of an agent back.
    pub(crate) fn rescind_offers_on(&mut self, agent: &AgentId, turn: &mut Turn<'_>) {
        let offers = self.agents.get(agent).map(|agent| agent.offers.clone());
        for id in offers.unwrap_or_default() {
            self.rescind(&id, turn);
        }
    }

    /// Drops all offers of a framework without telling it.
    pub(crate) fn discard_offers_of(&mut self, framework: &FrameworkId, turn: &mut Turn<'_>) {
        let offers = self.frameworks.get(framework).map(|framework| framework.offers.clone());
        for id in offers.unwrap_or_default() {
            self.return_offer(&id, None, turn);
        }
    }
}
