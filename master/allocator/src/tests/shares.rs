//! Whose turn it is.

use super::*;
use crate::Sorter;
use model::amount::Milli;
use model::rules::Weight;

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

#[test]
fn shares_are_parts_of_what_is_left_when_an_agent_goes() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    allocator.put_framework(&framework("g"), &wish(&["y"]), at(0));
    let used = [
        (framework("f"), role("x"), some("cpus:4")),
        (framework("g"), role("y"), some("mem:1024")),
    ];
    allocator.put_agent(&agent("a"), some("cpus:5;mem:5120"), used, at(0));
    add_agent(&mut allocator, "b", "cpus:95", at(0));
    allocator.deactivate_agent(&agent("b"));
    let free = "cpus:1; mem:4096";
    assert_eq!(run(&mut allocator, at(20)), [format!("f x a {free}")], "4 % are behind 20 %");
    allocator.give_back(&framework("f"), &role("x"), &agent("a"), &some(free), None, at(30));
    allocator.remove_agent(&agent("b"));
    assert_eq!(run(&mut allocator, at(50)), [format!("g y a {free}")], "20 % are behind 80 %");
}

/// How many of 4,000 agents roles with these weights have after lots were drawn for all.
fn draw(weights: &[(&str, f64)], frameworks: &[(&str, &str)]) -> Vec<usize> {
    let settings = Settings {
        role_sorter: Sorter::Random,
        framework_sorter: Sorter::Random,
        seed: 7,
        ..Settings::default()
    };
    let mut allocator = Allocator::new(settings, Time::ZERO);
    for (name, role) in frameworks {
        allocator.put_framework(&framework(name), &wish(&[role]), at(0));
    }
    for (name, weight) in weights {
        let weight = Weight::from_f64(*weight).expect("positive");
        allocator.set_weight(role(name), weight, at(0));
    }
    for n in 0..4_000 {
        add_agent(&mut allocator, &format!("a{n}"), "cpus:2;mem:64", at(0));
    }
    let got = allocator.allocate(at(20));
    let of = |name: &str| got.iter().filter(|got| got.framework == framework(name)).count();
    frameworks.iter().map(|(name, _)| of(name)).collect()
}

fn is_near(got: &[usize], due: &[usize]) -> bool {
    got.iter().zip(due).all(|(got, due)| got.abs_diff(*due) < 150)
}

#[test]
fn lots_follow_weights_at_every_level() {
    let got = draw(&[("x", 3.0)], &[("f", "x"), ("g", "x"), ("h", "y")]);
    assert!(is_near(&got, &[1_500, 1_500, 1_000]), "{got:?}");
    // Of x, which nobody is in, the roles below have three quarters together.
    let got = draw(&[("x", 3.0), ("x/b", 2.0)], &[("f", "x/a"), ("g", "x/b"), ("h", "y")]);
    assert!(is_near(&got, &[1_000, 2_000, 1_000]), "{got:?}");
}

#[test]
fn lots_are_drawn_among_those_that_want_something() {
    let settings = Settings { role_sorter: Sorter::Random, ..Settings::default() };
    let mut allocator = Allocator::new(settings, Time::ZERO);
    for (name, role) in [("f", "x"), ("g", "y")] {
        allocator.put_framework(&framework(name), &wish(&[role]), at(0));
    }
    let heavy = Weight::from_f64(1e6).expect("positive");
    allocator.set_weight(role("y"), heavy, at(0));
    allocator.suppress(&framework("g"), &[].into());
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f x a cpus:2"]);
}

#[test]
fn a_weight_counts_from_when_it_is_set() {
    let mut allocator = allocator();
    // Of a role that nobody is in yet, and of one that nobody is in itself.
    let set = |allocator: &mut Allocator, of: &str, weight, now| {
        allocator.set_weight(role(of), Weight::from_f64(weight).expect("positive"), now);
    };
    set(&mut allocator, "x", 3.0, at(0));
    allocator.put_framework(&framework("f"), &wish(&["x/a/b"]), at(0));
    allocator.put_framework(&framework("h"), &wish(&["y"]), at(0));
    for n in 0..40 {
        add_agent(&mut allocator, &format!("a{n}"), "cpus:2;mem:64", at(0));
    }
    let count = |got: Vec<String>, who: &str| got.iter().filter(|it| it.starts_with(who)).count();
    assert_eq!(count(run(&mut allocator, at(20)), "f "), 30);
    set(&mut allocator, "x", 1.0, at(30));
    for n in 40..60 {
        add_agent(&mut allocator, &format!("a{n}"), "cpus:2;mem:64", at(30));
    }
    assert_eq!(count(run(&mut allocator, at(50)), "h "), 20, "until both have 30");
}
