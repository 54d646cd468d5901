//! The allocator alone, with frameworks that answer: how soon all have what they want, and who waits.
//!
//! Time is virtual and frameworks answer after a fixed while, so all that is told in virtual time is the
//! same in each run; what the allocator costs is not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use allocator::{Allocation, Allocator, Decline, Settings};
use anyhow::Context;
use model::ids::{AgentId, FrameworkId};
use model::resources::Resources;
use model::rng::Rng;
use model::role::Role;
use model::step::Time;

use crate::allocator_workloads::{in_role, parse};
use crate::report::{Report, progress};

/// How long a framework takes to answer an offer.
const ANSWER: Duration = Duration::from_millis(50);

/// For how long frameworks decline what they do not want, as clients do that say nothing of it.
const DECLINED_FOR: Duration = Duration::from_secs(5);

/// Takes both stories `runs` times.
pub(crate) fn measure(runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let command = format!("cargo xtask bench allocator --runs {runs}");
    let title = "MultiFramework: 554 frameworks of three kinds place 19,500 tasks on 80 agents";
    let section = report.section(title, command.clone());
    for run in 1..=runs {
        progress(&format!("MultiFramework, run {run} of {runs}"));
        let mut story = ManyKinds::new()?;
        story.play()?;
        for (kind, placed_at) in KINDS.iter().zip(&story.placed_at) {
            let at = placed_at.context("all is placed")?;
            section.add(&format!("{}: all placed after", kind.name), "s", at.0.as_secs_f64());
        }
        for (after, percent) in &story.utilisation {
            let name = format!("of what is wanted in the end, in use after {after:?}");
            section.add(&name, "%", *percent);
        }
        section.add("passes of the allocator", "ms", story.cluster.spent.as_secs_f64() * 1e3);
    }
    let title =
        "Starvation: one takes all it gets, 20 decline everything, one sits on it; 200 agents";
    let section = report.section(title, command);
    for run in 1..=runs {
        progress(&format!("starvation, run {run} of {runs}"));
        for (steps_back, how) in [(true, "decliners step back"), (false, "they do not")] {
            let mut story = Starvation::new(steps_back)?;
            for minute in [1, 2, 5, 10] {
                let idle = story.idle_until(Time(Duration::from_secs(60 * minute)))?;
                let name = format!("{how}: idle while wanted, up to minute {minute}");
                section.add(&name, "%", idle);
            }
        }
    }
    Ok(())
}

/// An allocator, what is to happen, and the time it is told.
struct Cluster {
    allocator: Allocator,
    now: Time,
    events: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    /// What passes have taken, on the wall.
    spent: Duration,
}

/// What a framework does.
enum Event {
    /// It answers an offer.
    Answers(Allocation),
    /// A task of its ends, which has used all of this.
    Ends(Allocation),
}

/// What is next.
enum Next {
    Offers(Vec<Allocation>),
    Event(Event),
}

impl Cluster {
    fn new(decliners_step_back: bool) -> Self {
        let settings = Settings { decliners_step_back, ..Settings::default() };
        Self {
            allocator: Allocator::new(settings, Time::ZERO),
            now: Time::ZERO,
            events: BTreeMap::new(),
            scheduled: 0,
            spent: Duration::ZERO,
        }
    }

    fn schedule(&mut self, wait: Duration, event: Event) {
        self.events.insert((self.now + wait, self.scheduled), event);
        self.scheduled += 1;
    }

    /// What comes next, if anything does before `end`; time goes on to it, or to the end.
    fn next(&mut self, end: Time) -> Option<Next> {
        let event = self.events.first_key_value().map(|(&(at, _), _)| at);
        let pass = self.allocator.next_run().map(|at| at.max(self.now));
        let next = event.into_iter().chain(pass).min().filter(|at| *at < end);
        self.now = next.unwrap_or(end);
        if next? == event.unwrap_or(end)
            && let Some((_, event)) = self.events.pop_first()
        {
            return Some(Next::Event(event));
        }
        let begun = Instant::now();
        let offers = self.allocator.allocate(self.now);
        self.spent += begun.elapsed();
        Some(Next::Offers(offers))
    }

    fn give_back(&mut self, offer: &Allocation, what: &Resources, refuse_for: Option<Duration>) {
        let Allocation { framework, role, agent, .. } = offer;
        let decline = refuse_for.map(|refuse_for| Decline { refuse_for, offer: 0 });
        self.allocator.give_back(framework, role, agent, what, decline, self.now);
    }
}

/// Frameworks of one kind.
struct Kind {
    name: &'static str,
    frameworks: u64,
    has_own_roles: bool,
    /// Tasks that each wants to run.
    tasks: u64,
    needs: &'static str,
    tasks_per_offer_max: u64,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "4 frameworks x 4,000 tasks of 0.07 cpus",
        frameworks: 4,
        has_own_roles: true,
        tasks: 4_000,
        needs: "cpus:0.07;mem:400",
        tasks_per_offer_max: 100,
    },
    Kind {
        name: "500 frameworks in one role x 5 tasks of 0.1 cpus",
        frameworks: 500,
        has_own_roles: false,
        tasks: 5,
        needs: "cpus:0.1;mem:4096",
        tasks_per_offer_max: 1,
    },
    Kind {
        name: "50 frameworks x 20 tasks of 1 cpu",
        frameworks: 50,
        has_own_roles: true,
        tasks: 20,
        needs: "cpus:1;mem:1024",
        tasks_per_offer_max: 5,
    },
];

/// When the share of what runs is looked at.
const LOOKED_AT: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(5)];

/// Frameworks of many kinds that all begin at once.
struct ManyKinds {
    cluster: Cluster,
    /// The kind of each framework, and what it has yet to place.
    wanted: BTreeMap<FrameworkId, (usize, u64)>,
    /// What one task of each kind needs.
    needs: Vec<Resources>,
    /// When the last task of each kind was placed.
    placed_at: Vec<Option<Time>>,
    utilisation: Vec<(Duration, f64)>,
}

impl ManyKinds {
    fn new() -> anyhow::Result<Self> {
        let mut cluster = Cluster::new(true);
        let mut wanted = BTreeMap::new();
        for (number, kind) in KINDS.iter().enumerate() {
            for n in 0..kind.frameworks {
                let name = format!("kind{number}-{n:04}");
                let role = if kind.has_own_roles { name.clone() } else { format!("kind{number}") };
                let id = FrameworkId::new(name)?;
                cluster.allocator.put_framework(&id, &in_role(Role::new(role)?), Time::ZERO);
                wanted.insert(id, (number, kind.tasks));
            }
        }
        for n in 0..80 {
            let id = AgentId::new(format!("S{n}"))?;
            let total = parse("cpus:64;mem:499712")?;
            cluster.allocator.put_agent(&id, total, [], Time::ZERO);
        }
        let needs = KINDS.iter().map(|kind| parse(kind.needs)).collect::<Result<_, _>>()?;
        let placed_at = vec![None; KINDS.len()];
        Ok(Self { cluster, wanted, needs, placed_at, utilisation: Vec::new() })
    }

    /// Until all is placed.
    fn play(&mut self) -> anyhow::Result<()> {
        let all: u64 = KINDS.iter().map(|kind| in_milli(kind, kind.tasks * kind.frameworks)).sum();
        let mut in_use = 0;
        let mut looks = LOOKED_AT.into_iter().peekable();
        while self.wanted.values().any(|(_, left)| *left > 0) {
            let end = looks.peek().map_or(Duration::from_secs(3_600), |at| *at);
            let Some(next) = self.cluster.next(Time(end)) else {
                let after = looks.next().context("not all is placed within an hour")?;
                self.utilisation.push((after, percent(in_use, all)));
                continue;
            };
            match next {
                Next::Offers(offers) => {
                    for offer in offers {
                        self.cluster.schedule(ANSWER, Event::Answers(offer));
                    }
                }
                Next::Event(Event::Answers(offer)) => in_use += self.answer(&offer)?,
                Next::Event(Event::Ends(_)) => anyhow::bail!("no task ends here"),
            }
        }
        // It was placed before some of the looks.
        self.utilisation.extend(looks.map(|after| (after, percent(in_use, all))));
        Ok(())
    }

    /// Places what fits and declines the rest; says how many thousandths of a core are used by it.
    fn answer(&mut self, offer: &Allocation) -> anyhow::Result<u64> {
        let (kind, left) = self.wanted.get_mut(&offer.framework).context("nobody's offer")?;
        let (number, mut rest) = (*kind, offer.resources.clone());
        let mut placed = 0;
        while placed < KINDS[number].tasks_per_offer_max.min(*left)
            && rest.take(&self.needs[number]).is_ok()
        {
            placed += 1;
        }
        *left -= placed;
        let is_done = *left == 0;
        if placed > 0 {
            self.cluster.allocator.used(&offer.framework, &offer.role, &offer.agent);
        }
        if is_done {
            self.cluster.allocator.suppress(&offer.framework, &[].into());
            let mut others = self.wanted.values().filter(|(kind, _)| *kind == number);
            if others.all(|(_, left)| *left == 0) {
                self.placed_at[number].get_or_insert(self.cluster.now);
            }
        }
        self.cluster.give_back(offer, &rest, Some(DECLINED_FOR));
        Ok(in_milli(&KINDS[number], placed))
    }
}

/// Thousandths of a core that so many tasks take.
fn in_milli(kind: &Kind, tasks: u64) -> u64 {
    let needs = parse(kind.needs).expect("written above");
    tasks * u64::try_from(needs.scalar("cpus").0).expect("more than none")
}

#[expect(clippy::cast_precision_loss, reason = "nothing here comes near 2^53")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

const STARVED_AGENTS: u64 = 200;

/// How the greedy one fares among those that want nothing.
struct Starvation {
    cluster: Cluster,
    greedy: FrameworkId,
    holder: FrameworkId,
    rng: Rng,
    busy: u64,
    /// Agents times microseconds that were idle.
    idle: u64,
}

impl Starvation {
    fn new(decliners_step_back: bool) -> anyhow::Result<Self> {
        let mut cluster = Cluster::new(decliners_step_back);
        let picky = (0..20).map(|n| format!("picky{n}"));
        for name in picky.chain(["greedy".to_owned(), "holder".to_owned()]) {
            let id = FrameworkId::new(name.as_str())?;
            cluster.allocator.put_framework(&id, &in_role(Role::new(name)?), Time::ZERO);
        }
        for n in 0..STARVED_AGENTS {
            let small = format!("picky{}", n % 20);
            let has = parse("cpus:1;mem:1024")?;
            let used = (FrameworkId::new(small.as_str())?, Role::new(small)?, has);
            // The picky ones have something, if little.
            let used = (n < 20).then_some(used);
            let (id, total) = (AgentId::new(format!("S{n}"))?, parse("cpus:4;mem:4096")?);
            cluster.allocator.put_agent(&id, total, used, Time::ZERO);
        }
        let (greedy, holder) = (FrameworkId::new("greedy")?, FrameworkId::new("holder")?);
        Ok(Self { cluster, greedy, holder, rng: Rng::new(3), busy: 0, idle: 0 })
    }

    /// Goes on to `end`; says which share of the cluster was idle from the beginning to it.
    fn idle_until(&mut self, end: Time) -> anyhow::Result<f64> {
        loop {
            let before = self.cluster.now;
            let next = self.cluster.next(end);
            let passed = u64::try_from(self.cluster.now.since(before).as_micros())?;
            self.idle += passed * (STARVED_AGENTS - self.busy);
            match next {
                None => break,
                Some(Next::Offers(offers)) => {
                    for offer in offers {
                        let holds = offer.framework == self.holder;
                        let wait = if holds { Duration::from_secs(60) } else { ANSWER };
                        self.cluster.schedule(wait, Event::Answers(offer));
                    }
                }
                Some(Next::Event(Event::Answers(offer))) if offer.framework == self.greedy => {
                    self.cluster.allocator.used(&offer.framework, &offer.role, &offer.agent);
                    self.busy += 1;
                    let runs_for =
                        Duration::from_secs(10) + self.rng.up_to(Duration::from_secs(50));
                    self.cluster.schedule(runs_for, Event::Ends(offer));
                }
                Some(Next::Event(Event::Answers(offer))) => {
                    self.cluster.give_back(&offer, &offer.resources, Some(DECLINED_FOR));
                }
                Some(Next::Event(Event::Ends(offer))) => {
                    self.busy -= 1;
                    self.cluster.give_back(&offer, &offer.resources, None);
                }
            }
        }
        let all = u64::try_from(end.0.as_micros())? * STARVED_AGENTS;
        Ok(percent(self.idle, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What part of the cluster was idle in ten minutes, and in the later five of them, in percent.
    fn idle(decliners_step_back: bool) -> [f64; 2] {
        let mut story = Starvation::new(decliners_step_back).expect("well formed");
        let mut until = |secs| story.idle_until(Time(Duration::from_secs(secs))).expect("few");
        let (half, all) = (until(300), until(600));
        [all, 2.0 * all - half]
    }

    #[test]
    fn one_that_takes_everything_is_not_starved_by_those_that_decline() {
        let [all, late] = idle(true);
        assert!(all < 7.0 && late < 1.5, "{all} {late}");
        let [all, late] = idle(false);
        assert!(all > 30.0 && late > 30.0, "{all} {late}");
    }
}
