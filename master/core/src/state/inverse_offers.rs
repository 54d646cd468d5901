//! Inverse offers: frameworks are asked to leave an agent that is to be away. What they answer is shown to
//! operators and binds nobody.

use super::timers::Due;
use super::{Books, Turn};
use model::event::SchedulerEvent;
use model::ids::{AgentId, FrameworkId, OfferId};
use model::offer::InverseOffer;
use model::role::Role;
use model::step::{Time, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a framework has answered when it was asked to leave an agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Answered {
    pub(crate) accepts: bool,
    pub(crate) at: Timestamp,
    /// Until when it is not asked again.
    pub(crate) until: Time,
}

impl Books {
    /// Asks those who have something on an agent that is to be away, unless they were asked and have not
    /// answered, or have answered not long ago.
    pub(crate) fn make_inverse_offers(&mut self, turn: &mut Turn<'_>) {
        let mut asked: BTreeMap<FrameworkId, Vec<InverseOffer>> = BTreeMap::new();
        let away = self.agents.values().filter_map(|it| Some((it, it.unavailability?)));
        let away: Vec<_> = away
            .filter(|(agent, _)| agent.connection().is_some())
            .map(|(agent, unavailability)| {
                let used = agent.used.keys().map(|(framework, _)| framework.clone());
                let offered = agent.offers.iter().filter_map(|id| self.offers.get(id));
                let offered = offered.map(|offer| offer.framework.clone());
                let here: BTreeSet<FrameworkId> = used.chain(offered).collect();
                (agent.id.clone(), unavailability, here)
            })
            .collect();
        for (agent, unavailability, frameworks) in away {
            for framework in frameworks {
                let pair = (agent.clone(), framework.clone());
                let is_connected =
                    self.frameworks.get(&framework).is_some_and(|it| it.connection().is_some());
                let waits = self.inverse_offers_by_pair.contains_key(&pair);
                let answered = self.inverse_answers.get(&pair);
                if waits || !is_connected || answered.is_some_and(|it| it.until > turn.now.time) {
                    continue;
                }
                let id = OfferId::numbered(&self.reign, self.offers_made);
                self.offers_made += 1;
                let known = &self.agents[&agent].description;
                let offer = InverseOffer {
                    id: id.clone(),
                    framework: framework.clone(),
                    agent: agent.clone(),
                    hostname: known.hostname.clone(),
                    agent_address: known.address.clone(),
                    unavailability,
                };
                self.inverse_offers_by_pair.insert(pair, id.clone());
                self.unpublished.inverse_offer(&id);
                self.inverse_offers.insert(id, offer.clone());
                asked.entry(framework).or_default().push(offer);
            }
        }
        for (framework, offers) in asked {
            self.tell(&framework, SchedulerEvent::InverseOffers(offers), turn);
        }
        self.time_inverse_offers(turn);
    }

    /// Takes an inverse offer out: it is answered, or what it is about has changed.
    pub(crate) fn take_inverse_offer(&mut self, id: &OfferId) -> Option<InverseOffer> {
        let offer = self.inverse_offers.remove(id)?;
        self.unpublished.inverse_offer(id);
        self.inverse_offers_by_pair.remove(&(offer.agent.clone(), offer.framework.clone()));
        Some(offer)
    }

    /// Keeps what a framework has answered.
    pub(crate) fn answer_inverse_offer(
        &mut self,
        id: &OfferId,
        accepts: bool,
        refuse_for: Duration,
        turn: &Turn<'_>,
    ) {
        let Some(offer) = self.take_inverse_offer(id) else { return };
        // As with offers that are declined for no time: else it would be asked and answer without end.
        let wait = if refuse_for.is_zero() { self.config.allocation_interval } else { refuse_for };
        let until = turn.now.time + wait;
        let answered = Answered { accepts, at: turn.now.wall, until };
        self.inverse_answers.insert((offer.agent, offer.framework), answered);
        self.unpublished.inverse_answers();
        self.time_inverse_offers(turn);
    }

    /// Sees to it that whoever has answered is asked again when the first answer has aged.
    fn time_inverse_offers(&mut self, turn: &Turn<'_>) {
        let ends = self.inverse_answers.values().map(|answered| answered.until);
        if let Some(first) = ends.filter(|until| *until > turn.now.time).min() {
            self.timers.set(Due::InverseOffers, first);
        }
    }

    /// Asks a framework again to leave the agents on which it has something for these roles, or, if none
    /// is named, for any. What it has answered stays until it answers anew.
    pub(crate) fn end_inverse_filters(
        &mut self,
        framework: &FrameworkId,
        roles: &BTreeSet<Role>,
        turn: &Turn<'_>,
    ) {
        for ((agent, of), answered) in &mut self.inverse_answers {
            let is_meant = |role: &Role| roles.is_empty() || roles.contains(role);
            let has_some = || {
                let Some(agent) = self.agents.get(agent) else { return false };
                let offers = agent.offers.iter().filter_map(|id| self.offers.get(id));
                let offers = offers.map(|offer| (&offer.framework, &offer.role));
                let mut all = agent.used.keys().map(|(of, role)| (of, role)).chain(offers);
                all.any(|(of, role)| of == framework && is_meant(role))
            };
            if of == framework && has_some() {
                answered.until = answered.until.min(turn.now.time);
                self.timers.set(Due::InverseOffers, turn.now.time);
            }
        }
    }

    /// Forgets answers, so that it is asked again.
    pub(crate) fn forget_inverse_answers(
        &mut self,
        mut which: impl FnMut(&AgentId, &FrameworkId) -> bool,
    ) {
        let before = self.inverse_answers.len();
        self.inverse_answers.retain(|(agent, framework), _| !which(agent, framework));
        if self.inverse_answers.len() != before {
            self.unpublished.inverse_answers();
        }
    }

    /// Takes back what asked frameworks to leave an agent: it is to be away at another time, or not any
    /// more, or is gone. Whether they are told so is the caller's to say.
    pub(crate) fn rescind_inverse_offers_on(&mut self, agent: &AgentId, turn: &mut Turn<'_>) {
        self.forget_inverse_answers(|of, _| of == agent);
        let open: Vec<OfferId> = self
            .inverse_offers_by_pair
            .iter()
            .filter(|((of, _), _)| of == agent)
            .map(|(_, id)| id.clone())
            .collect();
        for id in open {
            if let Some(offer) = self.take_inverse_offer(&id) {
                self.tell(&offer.framework, SchedulerEvent::RescindInverseOffer(id), turn);
            }
        }
    }

    /// Forgets what a framework was asked and has answered: it is gone, or begins anew.
    pub(crate) fn forget_inverse_offers_of(&mut self, framework: &FrameworkId) {
        self.forget_inverse_answers(|_, of| of == framework);
        let open = self.inverse_offers.values().filter(|offer| offer.framework == *framework);
        let open: Vec<OfferId> = open.map(|offer| offer.id.clone()).collect();
        for id in open {
            self.take_inverse_offer(&id);
        }
    }
}
