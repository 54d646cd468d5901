//! Offers that are not answered yet, and agents that are not wanted for now.

use model::ids::{AgentId, OfferId};
use model::step::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// The offers a framework holds, each with whatever it keeps beside it.
///
/// An offer leaves by one way only: taken, rescinded, overdue, or lost with its agent or with the
/// subscription. So none is answered twice.
#[derive(Debug)]
pub struct Offers<O> {
    held: BTreeMap<OfferId, Held<O>>,
    unwanted: BTreeMap<AgentId, Time>,
    hold_for: Duration,
}

#[derive(Debug)]
struct Held<O> {
    agent: AgentId,
    until: Time,
    offer: O,
}

impl<O> Offers<O> {
    /// No offers yet. Those that come are held for `hold_for` at most.
    pub fn new(hold_for: Duration) -> Self {
        Self { held: BTreeMap::new(), unwanted: BTreeMap::new(), hold_for }
    }

    /// Takes in an offer. If its agent is unwanted it comes back, with for how long still: it is to
    /// be declined.
    pub fn add(
        &mut self,
        id: OfferId,
        agent: AgentId,
        offer: O,
        now: Time,
    ) -> Result<(), (O, Duration)> {
        if let Some(&until) = self.unwanted.get(&agent) {
            if until > now {
                return Err((offer, until.since(now)));
            }
            self.unwanted.remove(&agent);
        }
        self.held.insert(id, Held { agent, until: now + self.hold_for, offer });
        Ok(())
    }

    /// Takes an offer out, to answer it.
    pub fn take(&mut self, id: &OfferId) -> Option<O> {
        self.held.remove(id).map(|held| held.offer)
    }

    /// The master has taken it back.
    pub fn rescinded(&mut self, id: &OfferId) -> Option<O> {
        self.take(id)
    }

    /// The agent is lost, and its offers with it.
    pub fn agent_lost(&mut self, agent: &AgentId) {
        self.held.retain(|_, held| held.agent != *agent);
    }

    /// The subscription is lost, and all offers with it. What is unwanted stays so.
    pub fn disconnected(&mut self) {
        self.held.clear();
    }

    /// Wants no offers of `agent` until `until`.
    pub fn refuse(&mut self, agent: AgentId, until: Time) {
        self.unwanted.insert(agent, until);
    }

    /// Wants offers of all agents again.
    pub fn revive(&mut self) {
        self.unwanted.clear();
    }

    /// The offers that were held long enough. They are to be declined.
    pub fn overdue(&mut self, now: Time) -> Vec<(OfferId, O)> {
        self.held
            .extract_if(.., |_, held| held.until <= now)
            .map(|(id, held)| (id, held.offer))
            .collect()
    }

    /// When the next offer will have been held long enough.
    pub fn next_deadline(&self) -> Option<Time> {
        self.held.values().map(|held| held.until).min()
    }

    /// What is held, in order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (&OfferId, &AgentId, &O)> {
        self.held.iter().map(|(id, held)| (id, &held.agent, &held.offer))
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(30);

    fn offer(id: &str) -> OfferId {
        OfferId::new(id).expect("an id")
    }

    fn agent(id: &str) -> AgentId {
        AgentId::new(id).expect("an id")
    }

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    #[test]
    fn an_offer_is_answered_once() {
        let mut offers = Offers::new(HOLD);
        offers.add(offer("o1"), agent("a"), 1, at(0)).expect("wanted");
        offers.add(offer("o2"), agent("b"), 2, at(10)).expect("wanted");
        assert_eq!(offers.next_deadline(), Some(at(30)));
        assert_eq!(offers.overdue(at(30)), [(offer("o1"), 1)]);
        assert_eq!(offers.take(&offer("o1")), None);
        assert_eq!(offers.rescinded(&offer("o2")), Some(2));
        assert!(offers.is_empty());
    }

    #[test]
    fn offers_go_with_their_agent_and_with_the_subscription() {
        let mut offers = Offers::new(HOLD);
        for (id, of) in [("o1", "a"), ("o2", "b"), ("o3", "a")] {
            offers.add(offer(id), agent(of), (), at(0)).expect("wanted");
        }
        offers.agent_lost(&agent("a"));
        assert_eq!(offers.iter().map(|(id, ..)| id.to_string()).collect::<Vec<_>>(), ["o2"]);
        offers.disconnected();
        assert_eq!(offers.len(), 0);
    }

    #[test]
    fn unwanted_agents_are_declined_for_the_rest_of_their_time() {
        let mut offers = Offers::new(HOLD);
        offers.refuse(agent("a"), at(60));
        let declined = offers.add(offer("o1"), agent("a"), (), at(20));
        assert_eq!(declined, Err(((), Duration::from_secs(40))));
        assert_eq!(offers.add(offer("o2"), agent("a"), (), at(60)), Ok(()));
        offers.refuse(agent("b"), at(100));
        offers.revive();
        assert_eq!(offers.add(offer("o3"), agent("b"), (), at(61)), Ok(()));
    }
}
