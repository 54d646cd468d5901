use super::*;
use model::amount::Milli;
use proptest::prelude::*;

const fn at(millis: u64) -> Time {
    Time(Duration::from_millis(millis))
}

fn role(text: &str) -> Role {
    Role::new(text).expect("a role")
}

fn framework(name: &str) -> FrameworkId {
    FrameworkId::new(name).expect("an id")
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).expect("an id")
}

fn some(text: &str) -> Resources {
    Resources::parse(text, &Role::any()).expect("well formed")
}

fn wish(roles: &[&str]) -> FrameworkWish {
    FrameworkWish { roles: roles.iter().map(|text| role(text)).collect(), ..Default::default() }
}

fn allocator() -> Allocator {
    Allocator::new(Settings::default(), Time::ZERO)
}

fn add_agent(allocator: &mut Allocator, name: &str, total: &str, now: Time) {
    allocator.put_agent(&agent(name), some(total), [], now);
}

/// `framework role agent resources` of each allocation, sorted.
fn run(allocator: &mut Allocator, now: Time) -> Vec<String> {
    let mut lines: Vec<_> = allocator
        .allocate(now)
        .into_iter()
        .map(|got| format!("{} {} {} {}", got.framework, got.role, got.agent, got.resources))
        .collect();
    lines.sort();
    lines
}

fn give_back(allocator: &mut Allocator, who: &str, what: &str, refuse_for: Option<u64>, now: Time) {
    let refuse_for = refuse_for.map(Duration::from_secs);
    allocator.give_back(&framework(who), &role("*"), &agent("a"), &some(what), refuse_for, now);
}

#[test]
fn what_is_new_is_offered_when_the_batching_window_ends() {
    let mut allocator = allocator();
    assert_eq!(allocator.next_run(), None);
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    assert_eq!(allocator.next_run(), None, "there is nothing to offer");
    add_agent(&mut allocator, "a", "cpus:2;mem:64;ports:[1-5]", at(5));
    assert_eq!(allocator.next_run(), Some(at(20)));
    assert_eq!(run(&mut allocator, at(19)).len(), 0);
    assert_eq!(run(&mut allocator, at(20)), ["f * a cpus:2; mem:64; ports:[1-5]"]);
    assert_eq!(allocator.next_run(), Some(at(1_000)), "then comes the full pass");
    give_back(&mut allocator, "f", "cpus:1", None, at(100));
    assert_eq!(run(&mut allocator, at(120)), ["f * a cpus:1"]);
}

#[test]
fn a_declined_offer_goes_to_another_and_comes_back_when_its_filter_ends() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2;mem:64", at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f * a cpus:2; mem:64"]);
    give_back(&mut allocator, "f", "cpus:2;mem:64", Some(5), at(100));
    assert_eq!(run(&mut allocator, at(120)).len(), 0);
    let why = allocator.why_not(&framework("f"), &role("*"), &agent("a"), at(120));
    assert_eq!(why, Some(Why::Filtered(at(5_100))));
    allocator.put_framework(&framework("g"), &wish(&["*"]), at(200));
    assert_eq!(run(&mut allocator, at(220)), ["g * a cpus:2; mem:64"]);
    give_back(&mut allocator, "g", "cpus:2;mem:64", Some(60), at(300));
    assert_eq!(run(&mut allocator, at(1_100)).len(), 0);
    assert_eq!(run(&mut allocator, at(5_099)).len(), 0);
    assert_eq!(run(&mut allocator, at(5_100)), ["f * a cpus:2; mem:64"]);
}

#[test]
fn more_than_was_declined_passes_the_filter() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2;mem:64", at(0));
    run(&mut allocator, at(20));
    give_back(&mut allocator, "f", "cpus:1", Some(60), at(100));
    assert_eq!(run(&mut allocator, at(120)).len(), 0);
    give_back(&mut allocator, "f", "cpus:1", None, at(200));
    assert_eq!(run(&mut allocator, at(220)), ["f * a cpus:2"]);
}

#[test]
fn a_decline_for_no_time_holds_until_the_next_full_pass() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    run(&mut allocator, at(20));
    give_back(&mut allocator, "f", "cpus:2", Some(0), at(100));
    assert_eq!(run(&mut allocator, at(120)).len(), 0);
    assert_eq!(run(&mut allocator, at(1_100)), ["f * a cpus:2"]);
}

#[test]
fn suppressed_roles_get_nothing_until_revived() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["x", "y"]), at(0));
    allocator.suppress(&framework("f"), &BTreeSet::new());
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    assert_eq!(run(&mut allocator, at(20)).len(), 0);
    let why = |allocator: &Allocator, of: &str| {
        allocator.why_not(&framework("f"), &role(of), &agent("a"), at(20))
    };
    assert_eq!(why(&allocator, "x"), Some(Why::Suppressed));
    assert_eq!(why(&allocator, "z"), Some(Why::NotInRole));
    allocator.revive(&framework("f"), &[role("y")].into(), at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f y a cpus:2"]);
}

#[test]
fn reservations_go_to_their_role_and_those_below_only() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["eng/web"]), at(0));
    allocator.put_framework(&framework("g"), &wish(&["ops"]), at(0));
    add_agent(&mut allocator, "a", "cpus(eng):2;mem(ops):64", at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f eng/web a cpus(eng):2", "g ops a mem(ops):64"]);
}

#[test]
fn agents_with_gpus_are_kept_for_those_who_can_use_them() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2;gpus:1", at(0));
    assert_eq!(run(&mut allocator, at(20)).len(), 0);
    let why = allocator.why_not(&framework("f"), &role("*"), &agent("a"), at(20));
    assert_eq!(why, Some(Why::GpuAgent));
    let mut can = wish(&["*"]);
    can.capabilities.gpu_resources = true;
    allocator.put_framework(&framework("f"), &can, at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f * a cpus:2; gpus:1"]);
}

/// How many of `agents` equal agents each framework has after all are handed out.
fn divide(weights: &[(&str, f64)], frameworks: &[(&str, &str)], agents: usize) -> Vec<usize> {
    let weights = weights
        .iter()
        .map(|&(name, weight)| (role(name), Weight::from_f64(weight).expect("positive")));
    let settings = Settings { weights: weights.collect(), ..Settings::default() };
    let mut allocator = Allocator::new(settings, Time::ZERO);
    for (name, role) in frameworks {
        allocator.put_framework(&framework(name), &wish(&[role]), at(0));
    }
    for n in 0..agents {
        add_agent(&mut allocator, &format!("a{n}"), "cpus:2;mem:64", at(0));
    }
    let got = allocator.allocate(at(20));
    let of = |name: &str| got.iter().filter(|got| got.framework == framework(name)).count();
    frameworks.iter().map(|(name, _)| of(name)).collect()
}

#[test]
fn roles_share_by_weight_at_every_level_and_frameworks_evenly() {
    assert_eq!(divide(&[], &[("f", "x"), ("g", "x"), ("h", "y")], 40), [10, 10, 20]);
    assert_eq!(divide(&[("x", 3.0)], &[("f", "x"), ("h", "y")], 40), [30, 10]);
    assert_eq!(
        divide(&[("x/b", 2.0)], &[("f", "x/a"), ("g", "x/b"), ("h", "y")], 60),
        [10, 20, 30]
    );
    // A role with frameworks of its own stands beside its children.
    assert_eq!(divide(&[], &[("f", "x"), ("g", "x/a"), ("h", "y")], 40), [10, 10, 20]);
}

#[test]
fn dominant_shares_become_equal() {
    // The fair-sharing paper's example, in agents of one kind each: who takes memory only and who
    // takes cpus only do not wait for each other.
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    allocator.put_framework(&framework("g"), &wish(&["y"]), at(0));
    add_agent(&mut allocator, "a", "cpus:9", at(0));
    add_agent(&mut allocator, "b", "mem:9000", at(0));
    let got = run(&mut allocator, at(20));
    assert_eq!(got.len(), 2);
    assert_ne!(got[0].as_bytes()[0], got[1].as_bytes()[0], "{got:?}");
}

#[test]
fn a_very_deep_role_is_walked_without_falling() {
    let deep = vec!["r"; 5_000].join("/");
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&[&deep]), at(0));
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    assert_eq!(run(&mut allocator, at(20)).len(), 1);
    allocator.remove_framework(&framework("f"), at(30));
    assert_eq!(allocator.next_run(), None);
}

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
    Wait(u16),
}

fn a_step() -> impl Strategy<Value = Step> {
    let few = 0_u8..5;
    prop_oneof![
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

const ROLES: [&str; 4] = ["*", "x", "x/a", "y"];

fn roles_of(bits: u8) -> BTreeSet<Role> {
    let chosen = (0..4).filter(|bit| bits >> bit & 1 == 1);
    chosen.map(|bit: usize| role(ROLES[bit])).collect()
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
        Ok(())
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
        Step::Wait(millis) => {
            *now = *now + Duration::from_millis(u64::from(millis));
            books.given.extend(allocator.allocate(*now));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

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
        let settings = Settings { interval: Duration::from_secs(1 << 40), ..Settings::default() };
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
}

#[test]
fn shares_follow_what_is_given_and_given_back() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    allocator.put_framework(&framework("g"), &wish(&["y"]), at(0));
    let used = [(framework("f"), role("x"), Resources::scalars([("cpus", Milli::units(3))]))];
    allocator.put_agent(&agent("a"), some("cpus:4"), used, at(0));
    assert_eq!(run(&mut allocator, at(20)), ["g y a cpus:1"], "f has more");
    allocator.give_back(&framework("f"), &role("x"), &agent("a"), &some("cpus:3"), None, at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f x a cpus:3"], "f has nothing now");
}
