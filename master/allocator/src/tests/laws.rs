//! What holds whatever happens.

mod cluster;
mod fresh;
mod steps;

use super::*;
use crate::sorter::Roles;
use crate::{Allocation, Quota, Sorter};
use cluster::{Cluster, consumed};
use model::amount::Milli;
use model::rng::Rng;
use model::rules::Weight;
use proptest::prelude::*;
use std::collections::BTreeMap;
use steps::{Step, settings, steps};

/// How many CPUs of its quota a role consumes.
fn cpus(allocator: &Allocator, of: &str) -> Milli {
    consumed(allocator, of, "cpus")
}

proptest! {
    // So many clusters as PROPTEST_CASES says, 256 if it says nothing.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost(settings in settings(), steps in steps()) {
        let mut cluster = Cluster::new(settings);
        for step in &steps {
            cluster.play(step);
            cluster.check()?;
        }
    }

    #[test]
    fn looking_only_where_something_changed_misses_nothing(settings in settings(), steps in steps()) {
        // An interval without end: there is no full pass, so only changes lead to offers.
        let settings = Settings { interval: Duration::from_secs(1 << 40), ..settings };
        let mut cluster = Cluster::new(settings);
        for step in steps {
            // A decline for no time holds until the next full pass, which never comes here.
            let step = if let Step::GiveBack(n, keep, Some(0)) = step {
                Step::GiveBack(n, keep, Some(1))
            } else {
                step
            };
            cluster.play(&step);
        }
        cluster.play(&Step::Wait(1_000));
        let (mut allocator, now) = (cluster.allocator, cluster.now);
        // What is shared is offered once in a pass, and again in the next one that looks at its agent.
        let has_shared = |agent: &AgentId| !cluster.totals[agent].shared().is_empty();
        allocator.touch_all(now);
        let now = now + Duration::from_millis(20);
        // Filters may end in between, so what the full pass finds must be what they kept away.
        let ended = allocator.filters_end.first().is_some_and(|&(until, ..)| until <= now);
        let mut found = allocator.allocate(now);
        found.retain(|one| !has_shared(&one.agent));
        prop_assert!(ended || found.is_empty(), "{found:?}");
    }

    #[test]
    fn ranks_that_are_kept_are_what_ranking_anew_gives(settings in settings(), steps in steps()) {
        let mut cluster = Cluster::new(settings);
        for step in &steps {
            cluster.play(step);
            let roles = &mut cluster.allocator.roles;
            roles.refresh();
            let rng = || Rng::new(0);
            let order = |roles: &Roles| roles.walk(rng()).collect::<Vec<_>>();
            let kept = (order(roles), roles.ranked_shares());
            roles.rank_anew();
            prop_assert_eq!(kept, (order(roles), roles.ranked_shares()));
        }
    }

    #[test]
    fn lots_lose_and_double_nothing(settings in settings(), steps in steps()) {
        let settings = Settings {
            role_sorter: Sorter::Random,
            framework_sorter: Sorter::Random,
            ..settings
        };
        let mut cluster = Cluster::new(settings);
        for step in &steps {
            cluster.play(step);
            cluster.check()?;
            let roles = &mut cluster.allocator.roles;
            roles.refresh();
            let mut walked: Vec<_> = roles.walk(Rng::new(1)).collect();
            let count = walked.len();
            walked.sort_unstable();
            walked.dedup();
            prop_assert_eq!(walked.len(), count, "each pair comes once");
        }
    }

    #[test]
    fn shares_converge_to_weights(
        weights in prop::collection::vec(1_u8..10, 4),
        agents in 40_u32..200,
        returned in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut allocator = allocator();
        // Two roles at the top, two below one of them: what is due is a product.
        let roles = ["x", "y", "y/a", "y/b"];
        let weight = |n: usize| f64::from(weights[n]);
        for (n, of) in roles.into_iter().enumerate() {
            let weight = Weight::from_f64(weight(n)).expect("positive");
            allocator.set_weight(role(of), weight, Time::ZERO);
        }
        for of in ["x", "y/a", "y/b"] {
            allocator.put_framework(&framework(of.rsplit('/').next().expect("a part")), &wish(&[of]), Time::ZERO);
        }
        for n in 0..agents {
            add_agent(&mut allocator, &format!("a{n}"), "cpus:1;mem:64", Time::ZERO);
        }
        let mut given = allocator.allocate(at(20));
        // Whatever is given back is handed out so that shares are right again.
        for index in returned {
            let Allocation { framework, role, agent, resources } = given.swap_remove(index.index(given.len()));
            allocator.give_back(&framework, &role, &agent, &resources, None, at(30));
        }
        given.extend(allocator.allocate(at(50)));
        prop_assert_eq!(given.len(), usize::try_from(agents).expect("few"));
        let count = |of: &str| {
            let its = given.iter().filter(|it| it.role.as_str() == of || it.role.is_below(&role(of)));
            f64::from(u32::try_from(its.count()).expect("few"))
        };
        for ((one, n), (other, m)) in [(("x", 0), ("y", 1)), (("y/a", 2), ("y/b", 3))] {
            // Nobody is ahead by more than the one that was handed out last.
            let apart = (count(one) / weight(n) - count(other) / weight(m)).abs();
            let least = 1.0 / weight(n).min(weight(m));
            prop_assert!(apart <= least + 1e-6, "{one} {} {other} {}", count(one), count(other));
        }
    }

    #[test]
    fn no_filter_outlives_its_time(settings in settings(), steps in steps()) {
        let mut cluster = Cluster::new(settings);
        for step in &steps {
            cluster.play(step);
        }
        let (mut allocator, now) = (cluster.allocator, cluster.now);
        allocator.allocate(now + Duration::from_secs(10));
        prop_assert!(allocator.filters_end.is_empty());
        for at in allocator.frameworks.indices() {
            prop_assert!(allocator.frameworks.get(at).filtered_on.is_empty());
        }
        for at in allocator.agents.indices() {
            prop_assert!(allocator.agents.get(at).filters.is_empty());
        }
    }

    #[test]
    fn guarantees_are_met_when_they_can_be(
        agents in prop::collection::vec((1_u8..9, 0_u8..3), 1..12),
        guarantees in prop::collection::vec(0_u8..20, 2),
        wanting in 0_u8..8,
    ) {
        let mut allocator = allocator();
        let all: u32 = agents.iter().map(|&(cpus, _)| u32::from(cpus)).sum();
        let mut left = all;
        let mut promised = Vec::new();
        for (of, units) in ["x", "y"].into_iter().zip(guarantees) {
            let units = u32::from(units).min(left);
            left -= units;
            let amount = [("cpus".into(), Milli::units(units.into()))].into();
            let quota = Quota::new(amount, BTreeMap::new()).expect("a guarantee");
            allocator.set_quota(role(of), Some(quota), Time::ZERO).expect("a top-level role");
            promised.push((of, Milli::units(units.into())));
        }
        // Others come first and take what they can.
        for n in 0..wanting {
            allocator.put_framework(&framework(&format!("f{n}")), &wish(&["z"]), Time::ZERO);
        }
        for (n, &(cpus, first)) in agents.iter().enumerate() {
            let now = at(u64::try_from(n).expect("few") * 100);
            add_agent(&mut allocator, &format!("a{n}"), &format!("cpus:{cpus};mem:64"), now);
            if first == 0 {
                allocator.allocate(now + Duration::from_millis(20));
            }
        }
        allocator.put_framework(&framework("fx"), &wish(&["x"]), at(2_000));
        allocator.put_framework(&framework("fy"), &wish(&["y/b"]), at(2_000));
        allocator.allocate(at(2_020));
        for (of, promised) in promised {
            let has = cpus(&allocator, of);
            // What others took while there were fewer agents was spare then, so it is spare still.
            prop_assert!(has >= promised, "{of} has {has} of {promised}");
        }
    }

    #[test]
    fn limits_are_reached_and_never_passed(
        agents in prop::collection::vec((1_u8..9, 0_u8..3), 1..12),
        limits in prop::collection::vec(1_u8..30, 2),
        returned in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..3), 0..20),
    ) {
        let mut allocator = allocator();
        let limits: Vec<Milli> = limits.into_iter().map(|units| Milli::units(units.into())).collect();
        for (of, limit) in ["x", "y"].into_iter().zip(&limits) {
            let quota = Quota::new(BTreeMap::new(), [("cpus".into(), *limit)].into()).expect("a limit");
            allocator.set_quota(role(of), Some(quota), Time::ZERO).expect("a top-level role");
        }
        // The limit of a role is that of all below it together.
        for (name, of) in [("f", "x"), ("g", "x/a"), ("h", "y/b")] {
            allocator.put_framework(&framework(name), &wish(&[of]), Time::ZERO);
        }
        let mut all = Milli::default();
        for (n, &(cpus, kind)) in agents.iter().enumerate() {
            // What is reserved counts as soon as it is there, and less than the least limit is.
            let extra = if kind == 0 && n == 0 { ";cpus(x):0.5" } else { "" };
            let total = format!("cpus:{cpus};mem:640{extra}");
            add_agent(&mut allocator, &format!("a{n}"), &total, Time::ZERO);
            all += some(&total).scalar("cpus");
        }
        let check = |allocator: &Allocator| -> Result<(), TestCaseError> {
            let has = ["x", "y"].map(|of| cpus(allocator, of));
            for (has, limit) in has.iter().zip(&limits) {
                prop_assert!(has <= limit, "{has} of {limit}");
            }
            let sum = limits[0] + limits[1];
            prop_assert_eq!(has[0] + has[1], all.min(sum));
            Ok(())
        };
        let mut given = allocator.allocate(at(20));
        check(&allocator)?;
        let mut now = at(20);
        for (index, refuse_for) in returned {
            let Allocation { framework, role, agent, resources } = given.swap_remove(index.index(given.len()));
            let wait = Duration::from_millis(u64::from(refuse_for) * 30);
            let decline = (refuse_for > 0).then(|| declined(wait));
            allocator.give_back(&framework, &role, &agent, &resources, decline, now);
            now = now + Duration::from_millis(100);
            // Once for what changed, and once more for filters that ended since.
            for _ in 0..2 {
                now = now + Duration::from_millis(20);
                given.extend(allocator.allocate(now));
            }
            check(&allocator)?;
        }
    }
}
