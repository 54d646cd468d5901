//! What those are told who will have to find the next leader: where the masters are, and over which time
//! they are to come back, so that their number is not the next leader's trouble.

use super::agents::Agent;
use super::{Books, Turn};
use crate::io::Output;
use model::ids::ConnectionId;
use model::link::ToAgent;
use model::search::Masters;
use std::sync::Arc;
use std::time::Duration;

/// How many agents, and as many frameworks, are to come back in a second. A new leader on two busy cores
/// takes in some two thousand agents with ten tasks each in a second, a better one more; what comes much
/// faster only waits there.
const RETURNS_PER_SECOND: u32 = 5_000;

/// A shorter spread is none: so few are taken in at once.
const SPREAD_MIN: Duration = Duration::from_millis(100);

/// Which part of the time that agents have to come back the spread may take: the rest is for those that
/// need several tries.
const SPREAD_PART_MAX: u32 = 10;

/// All that they are told.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    /// The masters that have a vote, `host:port` each.
    addresses: Vec<Arc<str>>,
    agents: Crowd,
    frameworks: Crowd,
}

impl Returns {
    /// As one kind of them is told it.
    fn told(&self, crowd: &Crowd) -> Masters {
        Masters { addresses: self.addresses.clone(), spread: crowd.spread }
    }
}

/// One kind of those who will come back.
#[derive(Debug, Default)]
struct Crowd {
    /// How many they were taken to be.
    told_for: usize,
    /// Over which time they are to come back.
    spread: Duration,
}

impl Crowd {
    /// Takes in how many there are; says whether that changes what they are told. It changes when they
    /// have doubled, or are a fourth: whoever comes or goes alone is not worth telling all others.
    fn count(&mut self, count: usize, spread_max: Duration) -> bool {
        if count > self.told_for || count < self.told_for / 4 {
            self.told_for = count.next_power_of_two();
        }
        let spread = spread(self.told_for, spread_max);
        std::mem::replace(&mut self.spread, spread) != spread
    }
}

/// Over which time so many are to come back.
fn spread(count: usize, max: Duration) -> Duration {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let spread = Duration::from_secs(1) * count / RETURNS_PER_SECOND;
    if spread < SPREAD_MIN { Duration::ZERO } else { spread.min(max) }
}

impl Books {
    /// Has everybody know that these masters have a vote now.
    pub(crate) fn set_masters(&mut self, masters: &[Arc<str>], turn: &mut Turn<'_>) {
        if self.returns.addresses == masters {
            return;
        }
        self.returns.addresses = masters.to_vec();
        self.tell_agents_masters(turn);
        self.tell_frameworks_masters(turn);
    }

    /// Has everybody know when they have become so many, or so few, that they are to come back in another
    /// time.
    pub(crate) fn settle_returns(&mut self, turn: &mut Turn<'_>) {
        let spread_max = self.config.agent_reregister_timeout / SPREAD_PART_MAX;
        if self.returns.agents.count(self.members.agents.len(), spread_max) {
            self.tell_agents_masters(turn);
        }
        if self.returns.frameworks.count(self.members.frameworks.len(), spread_max) {
            self.tell_frameworks_masters(turn);
        }
    }

    /// Tells one agent that was just let in.
    pub(crate) fn tell_masters(&self, connection: ConnectionId, turn: &mut Turn<'_>) {
        let masters = self.returns.told(&self.returns.agents);
        if masters != Masters::default() {
            turn.tell_agent(connection, ToAgent::Masters(masters));
        }
    }

    fn tell_agents_masters(&self, turn: &mut Turn<'_>) {
        for connection in self.agents.values().filter_map(Agent::connection) {
            self.tell_masters(connection, turn);
        }
    }

    fn tell_frameworks_masters(&self, turn: &mut Turn<'_>) {
        turn.out.push(Output::Masters(self.returns.told(&self.returns.frameworks)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn the_time_to_come_back_grows_with_the_number_up_to_its_limit() {
        assert_eq!(spread(0, MAX), Duration::ZERO);
        assert_eq!(spread(499, MAX), Duration::ZERO);
        assert_eq!(spread(1_000, MAX), Duration::from_millis(200));
        assert_eq!(spread(10_000, MAX), Duration::from_secs(2));
        assert_eq!(spread(100_000, MAX), Duration::from_secs(20));
        assert_eq!(spread(1_000_000, MAX), MAX);
        assert_eq!(spread(usize::MAX, MAX), MAX);
    }

    #[test]
    fn all_are_told_anew_when_they_have_doubled_and_not_for_each() {
        let mut crowd = Crowd::default();
        let changes = (1..=16_384).filter(|count| crowd.count(*count, MAX)).count();
        assert_eq!(changes, 6, "at 257, 513, and so on to 8193");
        assert_eq!(crowd.spread, Duration::from_micros(3_276_800));
        assert!(!crowd.count(4_096, MAX));
        assert!(crowd.count(4_095, MAX));
        assert_eq!(crowd.spread, Duration::from_micros(819_200));
    }
}
