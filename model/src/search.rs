//! The search for the leading master: whom to ask next, and how long to wait before that.
//!
//! All who lose a leader lose it at the same moment. What keeps them from coming to the next one at the
//! same moment is here: each draws its own time within a spread that the master has told, which grows
//! with how many they are.

use crate::rng::Rng;
use std::sync::Arc;
use std::time::Duration;

/// How many times in a row somebody who was asked may name another without a wait. Masters that send us
/// round in circles are electing; a cluster has at most seven.
const REDIRECTS_MAX: u32 = 10;

/// How long everybody waits at least who has lost the leader, or half of that: whoever lets us in and closes
/// at once must not be asked without a pause.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the masters are, and how those who have lost the leader come back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Masters {
    /// Those that have a vote, `host:port` each.
    pub addresses: Vec<Arc<str>>,
    /// The time over which all who lose the leader spread their return; zero where they are few.
    pub spread: Duration,
}

/// A search that begins anew whenever the leader is lost.
#[derive(Clone, Debug)]
pub struct Search {
    /// What people have said: a fallback once a master has said better.
    given: Vec<Arc<str>>,
    /// All there are to ask, in the order to ask them in.
    all: Vec<Arc<str>>,
    /// Index of the one to ask next.
    next: usize,
    /// Who leads, in the words of the last one asked.
    hint: Option<Arc<str>>,
    spread: Duration,
    backoff_first: Duration,
    backoff_max: Duration,
    /// Failures in a row.
    failures: u32,
    redirects: u32,
    rng: Rng,
}

impl Search {
    /// A search among `given`, `host:port` each. When all have failed it waits about `backoff_first`,
    /// then twice as long, up to `backoff_max`.
    pub fn new(
        given: Vec<Arc<str>>,
        backoff_first: Duration,
        backoff_max: Duration,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            all: from_anywhere(&given, &mut rng),
            given,
            next: 0,
            hint: None,
            spread: Duration::ZERO,
            backoff_first,
            backoff_max: backoff_max.max(backoff_first),
            failures: 0,
            redirects: 0,
            rng,
        }
    }

    /// Takes in what was known before a restart: it is asked after what people say now.
    pub fn remember(&mut self, addresses: &[Arc<str>]) {
        self.all = joined(&self.all, addresses);
    }

    /// Takes in what a leading master says: it is asked before what people have said.
    pub fn learn(&mut self, masters: &Masters) {
        self.spread = masters.spread;
        if !masters.addresses.is_empty() {
            let first = from_anywhere(&masters.addresses, &mut self.rng);
            self.all = joined(&first, &self.given);
            self.next = 0;
        }
    }

    /// Whom to ask now; absent only if nobody was ever named.
    pub fn ask(&mut self) -> Option<Arc<str>> {
        if let Some(leader) = self.hint.take() {
            return Some(leader);
        }
        let address = self.all.get(self.next % self.all.len().max(1))?.clone();
        self.next += 1;
        Some(address)
    }

    /// Somebody leads: all failures are forgotten.
    pub fn found(&mut self) {
        self.failures = 0;
        self.redirects = 0;
    }

    /// The leader is lost. How long to wait before anybody is asked.
    pub fn lost(&mut self) -> Duration {
        self.found();
        PAUSE / 2 + self.rng.up_to(PAUSE / 2) + self.turn()
    }

    /// When within the spread it is this one's turn to come back.
    pub fn turn(&mut self) -> Duration {
        self.rng.up_to(self.spread)
    }

    /// Whoever was asked names another. How long to wait before that one is asked.
    pub fn redirected(&mut self, leader: Arc<str>) -> Duration {
        if self.redirects == REDIRECTS_MAX {
            return self.failed();
        }
        self.redirects += 1;
        self.hint = Some(leader);
        Duration::ZERO
    }

    /// Whoever was asked does not lead and does not know who does, or does not answer. How long to wait
    /// before the next is asked: not at all until all were.
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.redirects = 0;
        let count = u32::try_from(self.all.len().max(1)).unwrap_or(u32::MAX);
        if !self.failures.is_multiple_of(count) {
            return Duration::ZERO;
        }
        let doubled = (self.failures / count - 1).min(20);
        let size = self.backoff_first.saturating_mul(1 << doubled).min(self.backoff_max);
        // A leader may be elected at any moment, and must not find all of them about to ask.
        let size = size.max(self.spread);
        size / 2 + self.rng.up_to(size / 2)
    }
}

/// The same in a round that begins anywhere, so that not all ask the same one first.
fn from_anywhere(addresses: &[Arc<str>], rng: &mut Rng) -> Vec<Arc<str>> {
    let mut round = addresses.to_vec();
    round.rotate_left(usize::try_from(rng.below(addresses.len() as u64)).expect("below a length"));
    round
}

/// `first`, and of `then` what is not among them.
fn joined(first: &[Arc<str>], then: &[Arc<str>]) -> Vec<Arc<str>> {
    let rest = then.iter().filter(|one| !first.contains(one));
    first.iter().chain(rest).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    fn addresses(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn search(given: &[&str], seed: u64) -> Search {
        Search::new(addresses(given), FIRST, MAX, seed)
    }

    fn told(names: &[&str], spread_secs: u64) -> Masters {
        Masters { addresses: addresses(names), spread: Duration::from_secs(spread_secs) }
    }

    /// Who is asked until there is a wait, and how long that is.
    fn round(search: &mut Search) -> (Vec<String>, Duration) {
        let mut asked = Vec::new();
        loop {
            asked.push(search.ask().expect("somebody").to_string());
            let wait = search.failed();
            if !wait.is_zero() {
                return (asked, wait);
            }
        }
    }

    #[test]
    fn all_are_asked_before_a_wait_and_waits_grow_to_their_limit() {
        let mut search = search(&["a", "b", "c"], 1);
        let mut size = FIRST;
        for _ in 0..30 {
            let (mut asked, wait) = round(&mut search);
            asked.sort();
            assert_eq!(asked, ["a", "b", "c"]);
            assert!(wait >= size / 2 && wait <= size, "{wait:?} of {size:?}");
            size = (size * 2).min(MAX);
        }
        search.found();
        assert!(round(&mut search).1 <= FIRST);
    }

    #[test]
    fn a_few_who_lose_the_leader_look_for_the_next_after_a_short_pause() {
        for seed in 0..100 {
            let mut search = search(&["a", "b", "c"], seed);
            search.learn(&told(&["a", "b", "c"], 0));
            let wait = search.lost();
            assert!(wait >= PAUSE / 2 && wait <= PAUSE, "{wait:?}");
        }
    }

    #[test]
    fn many_who_lose_the_leader_spread_evenly_over_the_time_they_were_told() {
        let mut tenths = [0; 10];
        for seed in 0..10_000 {
            let mut search = search(&["a"], seed);
            search.learn(&told(&["a"], 20));
            let wait = search.turn();
            assert!(wait < Duration::from_secs(20), "{wait:?}");
            tenths[usize::try_from(wait.as_secs() / 2).expect("small")] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1_100).contains(count)), "{tenths:?}");
    }

    #[test]
    fn many_who_find_no_leader_stay_spread_until_there_is_one() {
        // The leader is elected ten seconds after the last one was lost; most have asked before.
        let elected = Duration::from_secs(10);
        let mut tenths = [0; 10];
        for seed in 0..10_000 {
            let mut search = search(&["a", "b"], seed);
            search.learn(&told(&["a", "b"], 4));
            let mut at = search.lost();
            while at < elected {
                at += round(&mut search).1;
            }
            let late = at.saturating_sub(elected);
            assert!(late <= Duration::from_secs(5), "{late:?}");
            tenths[usize::try_from(late.as_millis() / 501).expect("small")] += 1;
        }
        // Within any half second at most about twice as many as if they came evenly over the spread.
        assert!(tenths.iter().all(|count| *count < 2_600), "{tenths:?}");
    }

    #[test]
    fn what_a_master_says_comes_before_what_people_have_said() {
        for seed in 0..20 {
            let mut search = search(&["a", "b", "c"], seed);
            search.learn(&told(&["c", "d", "e"], 0));
            let (asked, _) = round(&mut search);
            let mut first = asked[..3].to_vec();
            first.sort();
            assert_eq!(first, ["c", "d", "e"]);
            assert_eq!(asked[3..], ["a", "b"]);
        }
    }

    #[test]
    fn what_was_known_before_a_restart_comes_after_what_people_say_now() {
        for seed in 0..20 {
            let mut search = search(&["a", "b"], seed);
            search.remember(&addresses(&["b", "z"]));
            let (asked, _) = round(&mut search);
            assert_eq!(asked[2..], ["z"]);
        }
    }

    #[test]
    fn who_is_named_is_asked_at_once_but_not_for_ever() {
        let mut search = search(&["a"], 1);
        search.ask();
        let mut followed = 0;
        while search.redirected("b".into()).is_zero() {
            assert_eq!(search.ask().as_deref(), Some("b"));
            followed += 1;
            assert!(followed < 100, "it must pause at some time");
        }
        assert_eq!((followed, search.ask().as_deref()), (10, Some("a")));
    }

    #[test]
    fn without_anybody_to_ask_there_is_nothing_to_do() {
        assert_eq!(search(&[], 1).ask(), None);
    }
}
