//! Frameworks that decline do not keep others waiting.

use super::*;
use crate::Allocation;
use model::rng::Rng;
use std::collections::BTreeMap;

const AGENTS: u32 = 200;
const RUN: Duration = Duration::from_secs(600);

/// How long a framework takes to answer.
const ANSWER: Duration = Duration::from_millis(50);

/// What will happen.
enum Event {
    Decline(Allocation),
    Accept(Allocation),
    TaskEnds(Allocation),
}

/// A cluster of one framework that takes all it gets, twenty that decline all of it, and one that
/// sits on it.
struct Cluster {
    allocator: Allocator,
    now: Time,
    events: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    rng: Rng,
    /// Agents that run a task.
    busy: u32,
    /// Agents times time that were idle.
    idle: Duration,
}

impl Cluster {
    fn new(decliners_step_back: bool) -> Self {
        let settings = Settings { decliners_step_back, ..Settings::default() };
        let mut allocator = Allocator::new(settings, Time::ZERO);
        let picky = (0..20).map(|n| format!("picky{n}"));
        for name in picky.chain(["greedy".to_owned(), "holder".to_owned()]) {
            allocator.put_framework(&framework(&name), &wish(&[&name]), Time::ZERO);
        }
        for n in 0..AGENTS {
            let total = some("cpus:4;mem:4096");
            // The picky ones have something, if little.
            let small = format!("picky{}", n % 20);
            let used = (n < 20).then(|| (framework(&small), role(&small), some("cpus:1;mem:1024")));
            allocator.put_agent(&agent(&format!("a{n}")), total, used, Time::ZERO);
        }
        Self {
            allocator,
            now: Time::ZERO,
            events: BTreeMap::new(),
            scheduled: 0,
            rng: Rng::new(3),
            busy: 0,
            idle: Duration::ZERO,
        }
    }

    fn schedule(&mut self, wait: Duration, event: Event) {
        self.events.insert((self.now + wait, self.scheduled), event);
        self.scheduled += 1;
    }

    /// What part of the cluster was idle in the last `window` of the run, in thousandths, though one
    /// framework wanted all of it.
    fn idle_while_wanted(mut self, window: Duration) -> u128 {
        let begin = Time(RUN.checked_sub(window).expect("within the run"));
        loop {
            let event = self.events.first_key_value().map(|(&(at, _), _)| at);
            let next = event.into_iter().chain(self.allocator.next_run()).min();
            let next = next.expect("there is always a next pass").max(self.now).min(Time(RUN));
            let counted = next.since(self.now.max(begin));
            self.idle += counted * (AGENTS - self.busy);
            self.now = next;
            if next == Time(RUN) {
                return self.idle.as_millis() * 1_000 / (window.as_millis() * u128::from(AGENTS));
            }
            while let Some(entry) = self.events.first_entry()
                && entry.key().0 <= next
            {
                let event = entry.remove();
                self.play(event);
            }
            for offer in self.allocator.allocate(next) {
                let name = offer.framework.as_str().to_owned();
                match &*name {
                    "greedy" => self.schedule(ANSWER, Event::Accept(offer)),
                    "holder" => self.schedule(Duration::from_secs(60), Event::Decline(offer)),
                    _ => self.schedule(ANSWER, Event::Decline(offer)),
                }
            }
        }
    }

    fn play(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Accept(offer) => {
                self.allocator.used(&offer.framework, &offer.role, &offer.agent);
                self.busy += 1;
                let wait = Duration::from_secs(10) + self.rng.up_to(Duration::from_secs(50));
                self.schedule(wait, Event::TaskEnds(offer));
            }
            Event::TaskEnds(Allocation { framework, role, agent, resources }) => {
                self.busy -= 1;
                self.allocator.give_back(&framework, &role, &agent, &resources, None, now);
            }
            Event::Decline(Allocation { framework, role, agent, resources }) => {
                let decline = Some(declined(Duration::from_secs(5)));
                self.allocator.give_back(&framework, &role, &agent, &resources, decline, now);
            }
        }
    }
}

#[test]
fn one_that_takes_everything_is_not_starved_by_those_that_decline() {
    let windows = [RUN, Duration::from_secs(300)];
    let [all, late] = windows.map(|window| Cluster::new(true).idle_while_wanted(window));
    let [all_without, late_without] =
        windows.map(|window| Cluster::new(false).idle_while_wanted(window));
    println!(
        "idle while wanted, thousandths: {all} of {all_without}, late {late} of {late_without}"
    );
    assert!(all_without > 300 && late_without > 300, "{all_without} {late_without}");
    assert!(all < 70 && late < 15, "{all} {late}");
}

fn declines(allocator: &mut Allocator, got: Vec<Allocation>, now: Time) {
    for Allocation { framework, role, agent, resources } in got {
        let decline = Some(declined(Duration::from_secs(1)));
        allocator.give_back(&framework, &role, &agent, &resources, decline, now);
    }
}

#[test]
fn who_declines_steps_back_and_who_uses_comes_forward() {
    let mut allocator = allocator();
    for (name, of) in [("f", "x"), ("g", "x"), ("h", "y")] {
        allocator.put_framework(&framework(name), &wish(&[of]), at(0));
    }
    let back = |allocator: &Allocator, who: &str, of: &str| {
        allocator.steps_back_until(&framework(who), &role(of))
    };
    for who in ["g", "h"] {
        allocator.suppress(&framework(who), &[].into());
    }
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    let got = allocator.allocate(at(20));
    assert_eq!(got.len(), 1);
    declines(&mut allocator, got, at(100));
    assert_eq!(back(&allocator, "f", "x"), Some(at(1_100)), "a second");
    // Nobody else wants it, so it is offered again as soon as its filter has ended.
    let got = allocator.allocate(at(1_100));
    assert_eq!(got.len(), 1);
    assert_eq!(back(&allocator, "f", "x"), Some(at(3_100)), "on trial: one offer, two seconds");
    allocator.used(&framework("f"), &role("x"), &agent("a"));
    assert_eq!(back(&allocator, "f", "x"), None);
}

#[test]
fn those_that_have_stepped_back_come_last_and_their_roles_too() {
    let mut allocator = allocator();
    for (name, of) in [("f", "x"), ("g", "y/a"), ("h", "z")] {
        allocator.put_framework(&framework(name), &wish(&[of]), at(0));
    }
    for name in ["a", "b", "c"] {
        add_agent(&mut allocator, name, "cpus:2", at(0));
    }
    let mut got = allocator.allocate(at(20));
    // h has something; f and g have nothing and come first, were it not for their declines.
    let keep = got.iter().position(|got| got.framework == framework("h")).expect("one each");
    got.remove(keep);
    declines(&mut allocator, got, at(30));
    let mut got = allocator.allocate(at(50));
    assert!(got.iter().all(|got| got.framework == framework("h")), "{got:?}");
    assert_eq!(got.len(), 2);
    // It held one of them for ten seconds, for which it stands back forty.
    let Allocation { framework: of, role, agent, resources } = got.remove(0);
    allocator.give_back(&of, &role, &agent, &resources, Some(declined(Duration::ZERO)), at(10_050));
    assert_eq!(allocator.steps_back_until(&of, &role), Some(at(50_050)));
    allocator.revive(&of, &[].into(), at(10_060));
    assert_eq!(allocator.steps_back_until(&of, &role), None);
}
