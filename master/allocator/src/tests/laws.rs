//! What holds whatever happens.

use super::*;
use crate::{AgentFacts, Allocation, Quota, Sorter};
use model::amount::Milli;
use model::link::FaultDomain;
use model::operation::Conversion;
use model::payload::Payload;
use model::resources::Reservation;
use model::rng::Rng;
use model::rules::Weight;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Something that happens to the allocator under test.
#[derive(Clone, Debug)]
enum Step {
    PutAgent(u8, u8, u8),
    RemoveAgent(u8),
    DeactivateAgent(u8),
    PutFramework(u8, u8, bool),
    DeactivateFramework(u8),
    RemoveFramework(u8),
    /// Gives one open offer back, part of it kept, with a filter or not.
    GiveBack(u8, u8, Option<u8>),
    Suppress(u8, u8),
    Revive(u8, u8),
    /// Guarantee and limit of one role in CPUs; no quota if there is neither.
    SetQuota(u8, u8, Option<u8>),
    SetWeight(u8, u8),
    /// One agent says in which region it is.
    Describe(u8, bool),
    /// Agents of which regions may be offered; all if absent.
    Whitelist(Option<bool>),
    /// An agent has so many CPUs now.
    SetTotal(u8, u8),
    /// One open offer is used.
    Use(u8),
    /// Half a CPU of what somebody was given is reserved, or what was reserved of it is not any more.
    ConvertGiven(u8, bool),
    /// The same of what is free on an agent.
    ConvertFree(u8, bool),
    Wait(u16),
}

fn a_step() -> impl Strategy<Value = Step> {
    let few = 0_u8..5;
    let quota = (1_u8..4, 0_u8..5, prop::option::of(0_u8..6));
    prop_oneof![
        1 => (0_u8..4, 1_u8..9).prop_map(|(role, weight)| Step::SetWeight(role, weight)),
        1 => (few.clone(), any::<bool>()).prop_map(|(a, north)| Step::Describe(a, north)),
        1 => prop::option::of(any::<bool>()).prop_map(Step::Whitelist),
        1 => (few.clone(), 1_u8..5).prop_map(|(a, cpus)| Step::SetTotal(a, cpus)),
        1 => any::<u8>().prop_map(Step::Use),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(n, back)| Step::ConvertGiven(n, back)),
        2 => (few.clone(), any::<bool>()).prop_map(|(a, back)| Step::ConvertFree(a, back)),
        1 => quota.prop_map(|(role, least, extra)| Step::SetQuota(role, least, extra)),
        3 => (few.clone(), 1_u8..5, 0_u8..3).prop_map(|(a, cpus, kind)| Step::PutAgent(a, cpus, kind)),
        1 => few.clone().prop_map(Step::RemoveAgent),
        1 => few.clone().prop_map(Step::DeactivateAgent),
        3 => (few.clone(), 1_u8..16, any::<bool>()).prop_map(|(f, roles, can)| Step::PutFramework(f, roles, can)),
        1 => few.clone().prop_map(Step::DeactivateFramework),
        1 => few.clone().prop_map(Step::RemoveFramework),
        6 => (any::<u8>(), 0_u8..3, prop::option::of(0_u8..4)).prop_map(|(n, keep, filter)| Step::GiveBack(n, keep, filter)),
        1 => (few.clone(), 0_u8..16).prop_map(|(f, roles)| Step::Suppress(f, roles)),
        1 => (few, 0_u8..16).prop_map(|(f, roles)| Step::Revive(f, roles)),
        6 => (0_u16..1_500).prop_map(Step::Wait),
    ]
}

const TOPS: [&str; 3] = ["*", "x", "y"];

/// How many CPUs of its quota a role consumes.
fn cpus(allocator: &Allocator, of: &str) -> Milli {
    allocator.consumed(&role(of)).get("cpus").copied().unwrap_or_default()
}

const ROLES: [&str; 4] = ["*", "x", "x/a", "y"];

fn roles_of(bits: u8) -> BTreeSet<Role> {
    let chosen = (0..4).filter(|bit| bits >> bit & 1 == 1);
    chosen.map(|bit: usize| role(ROLES[bit])).collect()
}

fn region(north: bool) -> Arc<str> {
    if north { "north".into() } else { "south".into() }
}

/// The books of whoever uses the allocator, kept apart from its own.
#[derive(Default)]
struct Books {
    totals: BTreeMap<AgentId, Resources>,
    given: Vec<Allocation>,
}

impl Books {
    fn check(&self, allocator: &Allocator) -> Result<(), TestCaseError> {
        for (agent, total) in &self.totals {
            let mut free = total.clone();
            for given in self.given.iter().filter(|given| given.agent == *agent) {
                // Taking fails if two hold the same port or the same part of a core.
                let taken = free.take(&given.resources);
                prop_assert!(taken.is_ok(), "{agent} is overcommitted: {taken:?}");
            }
            prop_assert_eq!(allocator.free(agent), Some(&free));
        }
        check_quota(allocator)?;
        check_figures(allocator)
    }
}

/// What is kept count of step by step is what counting anew finds.
fn check_quota(allocator: &Allocator) -> Result<(), TestCaseError> {
    let (headroom, unmet) = allocator.quotas.books();
    prop_assert!(unmet.iter().all(|&difference| difference == 0), "{unmet:?}");
    if !allocator.quotas.is_empty() {
        let mut anew = allocator.count_all_headroom();
        anew.subtract(headroom);
        prop_assert!(anew.iter().all(|(_, difference)| difference == 0), "{anew:?}");
    }
    for of in TOPS.map(role) {
        let Some(consumed) = allocator.quotas.consumed(&of) else { continue };
        let mut anew = allocator.count_role(&of);
        anew.subtract(consumed);
        prop_assert!(anew.iter().all(|(_, difference)| difference == 0), "{of}: {anew:?}");
    }
    Ok(())
}

/// So are the numbers that are told.
fn check_figures(allocator: &Allocator) -> Result<(), TestCaseError> {
    let figures = allocator.figures();
    let filters: usize = figures.roles.iter().map(|of| of.filters).sum();
    prop_assert_eq!(filters, allocator.filters_end.len());
    for (kind, of) in &figures.resources {
        let (mut total, mut given) = (Milli::ZERO, Milli::ZERO);
        for at in allocator.agents.indices() {
            let agent = allocator.agents.get(at);
            total += agent.total.scalar(kind);
            for one in agent.given.values() {
                given += one.what.scalar(kind);
            }
        }
        prop_assert_eq!((of.total, of.given), (total, given), "{}", kind);
    }
    Ok(())
}

/// Half a CPU is reserved for a role below `x`, or not any more.
fn conversion(back: bool) -> Conversion {
    let resources = some("cpus:0.5").with_kinds(|kind| {
        kind.reservations.push(Reservation {
            is_dynamic: true,
            role: role("x/a"),
            principal: None,
            labels: Payload::default(),
        });
    });
    if back {
        Conversion::Unreserve(resources)
    } else {
        Conversion::Reserve { source: Resources::none(), resources }
    }
}

fn play(step: &Step, allocator: &mut Allocator, books: &mut Books, now: &mut Time) {
    let framework_n = |n: u8| framework(&format!("f{n}"));
    let agent_n = |n: u8| agent(&format!("a{n}"));
    match *step {
        Step::PutAgent(n, cpus, kind) => {
            let id = agent_n(n);
            let extra = ["", ";cpus(x):1;ports:[1-9]", ";gpus:1;mem(x/a):64"][usize::from(kind)];
            let total = some(&format!("cpus:{cpus};mem:{}{extra}", u32::from(cpus) * 64));
            books.given.retain(|given| given.agent != id);
            allocator.put_agent(&id, total.clone(), [], *now);
            books.totals.insert(id, total);
        }
        Step::RemoveAgent(n) => {
            let id = agent_n(n);
            allocator.remove_agent(&id);
            books.totals.remove(&id);
            books.given.retain(|given| given.agent != id);
        }
        Step::DeactivateAgent(n) => allocator.deactivate_agent(&agent_n(n)),
        Step::PutFramework(n, roles, can) => {
            let mut wish = FrameworkWish { roles: roles_of(roles), ..Default::default() };
            wish.capabilities.gpu_resources = can;
            wish.capabilities.region_aware = can;
            allocator.put_framework(&framework_n(n), &wish, *now);
        }
        Step::DeactivateFramework(n) => allocator.deactivate_framework(&framework_n(n)),
        Step::RemoveFramework(n) => {
            allocator.remove_framework(&framework_n(n), *now);
            books.given.retain(|given| given.framework != framework_n(n));
        }
        Step::GiveBack(n, keep, filter) => {
            if books.given.is_empty() {
                return;
            }
            let at = usize::from(n) % books.given.len();
            let given = &mut books.given[at];
            let kept = [some(""), some("cpus:0.5"), some("ports:[2-3]")][usize::from(keep)].clone();
            let back = given.resources.minus(&kept);
            given.resources.subtract(&back);
            let (framework, role, agent) =
                (given.framework.clone(), given.role.clone(), given.agent.clone());
            let filter = filter.map(|secs| Duration::from_secs(u64::from(secs)));
            allocator.give_back(&framework, &role, &agent, &back, filter, *now);
        }
        Step::Suppress(n, roles) => allocator.suppress(&framework_n(n), &roles_of(roles)),
        Step::Revive(n, roles) => allocator.revive(&framework_n(n), &roles_of(roles), *now),
        Step::SetQuota(n, guarantee, extra) => {
            let of = role(["*", "x", "y"][usize::from(n % 3)]);
            let amount = |units: u8| [("cpus".into(), Milli::units(units.into()))].into();
            let limits = extra.map(|extra| amount(guarantee + extra)).unwrap_or_default();
            let quota = (guarantee > 0 || extra.is_some())
                .then(|| Quota::new(amount(guarantee), limits).expect("at least the guarantee"));
            allocator.set_quota(of, quota, *now).expect("a top-level role");
        }
        Step::SetWeight(n, weight) => {
            let weight = Weight::from_f64(weight.into()).expect("positive");
            allocator.set_weight(role(ROLES[usize::from(n)]), weight, *now);
        }
        Step::Describe(n, north) => {
            let hostname = region(north);
            let domain = Some(FaultDomain { region: hostname.clone(), zone: "z".into() });
            let facts = AgentFacts { hostname, domain, ..AgentFacts::default() };
            allocator.describe_agent(&agent_n(n), facts, *now);
        }
        Step::Whitelist(north) => {
            allocator.set_whitelist(north.map(|north| [region(north)].into()), *now);
        }
        Step::SetTotal(n, cpus) => {
            let (id, total) = (agent_n(n), some(&format!("cpus:{cpus};mem:256")));
            // What runs there may be more than there is: only growing keeps the books simple.
            if let Some(before) = books.totals.get_mut(&id) {
                before.add(&total);
                allocator.set_total(&id, before, *now);
            }
        }
        Step::ConvertGiven(n, back) => convert_given(n, back, allocator, books),
        Step::ConvertFree(n, back) => convert_free(&agent_n(n), back, allocator, books, *now),
        Step::Use(n) => {
            if let Some(given) = books.given.get(usize::from(n)) {
                allocator.used(&given.framework, &given.role, &given.agent);
            }
        }
        Step::Wait(millis) => {
            *now = *now + Duration::from_millis(u64::from(millis));
            allocate(allocator, books, *now);
        }
    }
}

/// Half a CPU of what was given becomes reserved, or is so no more.
fn convert_given(n: u8, back: bool, allocator: &mut Allocator, books: &mut Books) {
    if books.given.is_empty() {
        return;
    }
    let at = usize::from(n) % books.given.len();
    let Allocation { framework, role, agent, resources } = &mut books.given[at];
    let half = conversion(back);
    if !resources.contains(&half.consumed()) {
        return;
    }
    let (consumed, converted) = (half.consumed(), half.converted());
    allocator.convert_given(framework, role, agent, &consumed, &converted);
    half.apply(resources).expect("it is there");
    half.apply(books.totals.get_mut(agent).expect("it is there")).expect("it is there");
}

/// The same of what is free.
fn convert_free(id: &AgentId, back: bool, allocator: &mut Allocator, books: &mut Books, now: Time) {
    let half = conversion(back);
    let (consumed, converted) = (half.consumed(), half.converted());
    let is_free = allocator.free(id).is_some_and(|free| free.contains(&consumed));
    assert_eq!(allocator.convert_free(id, &consumed, &converted, now), is_free);
    if is_free {
        half.apply(books.totals.get_mut(id).expect("it is there")).expect("it is free");
    }
}

/// Gives what is to be given, to no role more than its limit.
fn allocate(allocator: &mut Allocator, books: &mut Books, now: Time) {
    let consumed = |allocator: &Allocator| TOPS.map(|of| cpus(allocator, of));
    let before = consumed(allocator);
    books.given.extend(allocator.allocate(now));
    for (of, (before, after)) in TOPS.iter().zip(before.into_iter().zip(consumed(allocator))) {
        let quota = allocator.quota(&role(of));
        let limit = quota.and_then(|quota| quota.limits().get("cpus").copied());
        let limit = limit.unwrap_or(Milli(i64::MAX));
        assert!(after <= limit.max(before), "{of} has {after} cpus of {limit}");
    }
}

proptest! {
    // So many clusters as PROPTEST_CASES says, 256 if it says nothing.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost(steps in prop::collection::vec(a_step(), 1..60)) {
        let (mut allocator, mut books, mut now) = (allocator(), Books::default(), Time::ZERO);
        for step in steps {
            play(&step, &mut allocator, &mut books, &mut now);
            books.check(&allocator)?;
        }
    }

    #[test]
    fn looking_only_where_something_changed_misses_nothing(steps in prop::collection::vec(a_step(), 1..60)) {
        // An interval without end: there is no full pass, so only changes lead to offers.
        let settings = Settings {
            interval: Duration::from_secs(1 << 40),
            domain: Some(FaultDomain { region: "north".into(), zone: "z".into() }),
            ..Settings::default()
        };
        let mut allocator = Allocator::new(settings, Time::ZERO);
        let (mut books, mut now) = (Books::default(), Time::ZERO);
        for step in steps {
            // A decline for no time holds until the next full pass, which never comes here.
            let step = if let Step::GiveBack(n, keep, Some(0)) = step {
                Step::GiveBack(n, keep, Some(1))
            } else {
                step
            };
            play(&step, &mut allocator, &mut books, &mut now);
        }
        now = now + Duration::from_secs(1);
        allocator.allocate(now);
        allocator.touch_all(now);
        now = now + Duration::from_millis(20);
        // Filters may end in between, so what the full pass finds must be what they kept away.
        let ended = allocator.filters_end.first().is_some_and(|&(until, ..)| until <= now);
        let found = allocator.allocate(now);
        prop_assert!(ended || found.is_empty(), "{found:?}");
    }

    #[test]
    fn ranks_that_are_kept_are_what_ranking_anew_gives(steps in prop::collection::vec(a_step(), 1..60)) {
        let (mut allocator, mut books, mut now) = (allocator(), Books::default(), Time::ZERO);
        for step in steps {
            play(&step, &mut allocator, &mut books, &mut now);
            allocator.roles.refresh();
            let rng = || Rng::new(0);
            let kept: Vec<_> = allocator.roles.walk(rng()).collect();
            allocator.roles.rank_anew();
            let anew: Vec<_> = allocator.roles.walk(rng()).collect();
            prop_assert_eq!(kept, anew);
        }
    }

    #[test]
    fn lots_lose_and_double_nothing(steps in prop::collection::vec(a_step(), 1..60)) {
        let settings = Settings {
            role_sorter: Sorter::Random,
            framework_sorter: Sorter::Random,
            ..Settings::default()
        };
        let (mut books, mut now) = (Books::default(), Time::ZERO);
        let mut allocator = Allocator::new(settings, Time::ZERO);
        for step in steps {
            play(&step, &mut allocator, &mut books, &mut now);
            books.check(&allocator)?;
            allocator.roles.refresh();
            let mut walked: Vec<_> = allocator.roles.walk(Rng::new(1)).collect();
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
    fn no_filter_outlives_its_time(steps in prop::collection::vec(a_step(), 1..60)) {
        let (mut allocator, mut books, mut now) = (allocator(), Books::default(), Time::ZERO);
        for step in steps {
            play(&step, &mut allocator, &mut books, &mut now);
        }
        now = now + Duration::from_secs(10);
        allocator.allocate(now);
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
            let refuse_for = (refuse_for > 0).then(|| Duration::from_millis(u64::from(refuse_for) * 30));
            allocator.give_back(&framework, &role, &agent, &resources, refuse_for, now);
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
