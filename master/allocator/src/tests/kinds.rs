//! Resources that are not just free or taken: shared, revocable, refined.

use super::*;
use crate::{MinAllocatable, Why};
use model::resources::{Key, Kind, Reservation};

/// `text` with its kind changed.
fn with(text: &str, change: impl Fn(&mut Kind)) -> Resources {
    let all = some(text);
    let changed = all.iter().map(|(key, value)| {
        let mut kind = (*key.kind).clone();
        change(&mut kind);
        (Key { kind: kind.into(), ..key.clone() }, value.clone())
    });
    changed.collect()
}

fn shared(text: &str) -> Resources {
    with(text, |kind| kind.is_shared = true)
}

/// One to which anything is worth an offer.
fn generous() -> Allocator {
    let settings = Settings { min_allocatable: MinAllocatable::none(), ..Settings::default() };
    Allocator::new(settings, Time::ZERO)
}

fn sharing(of: &str) -> FrameworkWish {
    let mut wish = wish(&[of]);
    wish.capabilities.shared_resources = true;
    wish
}

#[test]
fn what_is_shared_is_offered_once_in_a_pass_to_those_who_share() {
    let mut allocator = generous();
    allocator.put_framework(&framework("f"), &sharing("x/a"), at(0));
    allocator.put_framework(&framework("g"), &sharing("x/b"), at(0));
    allocator.put_framework(&framework("h"), &wish(&["x/c"]), at(0));
    let total = some("cpus:1").plus(&shared("disk(x):100"));
    allocator.put_agent(&agent("a"), total, [], at(0));
    // In the first pass it goes to whoever is first, and is not there for the others.
    assert_eq!(run(&mut allocator, at(20)), ["f x/a a cpus:1; disk(x):100"]);
    assert_eq!(allocator.free(&agent("a")), Some(&shared("disk(x):100")));
    // In the next it is there again.
    assert_eq!(run(&mut allocator, at(1_000)), ["g x/b a disk(x):100"]);
    let why = allocator.why_not(&framework("h"), &role("x/c"), &agent("a"), at(2_000));
    assert_eq!(why, Some(Why::NothingForRole), "it is not looked at twice");
    // Giving one copy back leaves the others' alone.
    let disk = shared("disk(x):100");
    let mut back = |who: &str, of: &str| {
        allocator.give_back(
            &framework(who),
            &role(of),
            &agent("a"),
            &disk,
            Some(declined(Duration::MAX / 4)),
            at(1_100),
        );
        allocator.free(&agent("a")).cloned()
    };
    assert_eq!(back("g", "x/b"), Some(disk.clone()));
    assert_eq!(back("f", "x/a"), Some(disk.clone()));
}

#[test]
fn copies_of_what_is_shared_count_as_one() {
    let mut allocator = generous();
    allocator.put_framework(&framework("f"), &sharing("x"), at(0));
    allocator.put_framework(&framework("g"), &wish(&["y"]), at(0));
    let disk = shared("disk(x):100");
    let used = std::iter::repeat_n((framework("f"), role("x"), disk.clone()), 3);
    allocator.put_agent(&agent("a"), disk.clone(), used, at(0));
    let used = [(framework("g"), role("y"), some("disk:150"))];
    allocator.put_agent(&agent("b"), some("disk:150"), used, at(0));
    // So that no more copies of it are offered.
    allocator.deactivate_agent(&agent("a"));
    // Of 250 in all f has 100, however often, and g 150.
    add_agent(&mut allocator, "c", "cpus:1", at(0));
    assert!(run(&mut allocator, at(20)).contains(&"f x c cpus:1".to_owned()));
    allocator.remove_agent(&agent("c"));
    // With two of three copies gone it is still one: f has 100, and g 50.
    let back = disk.plus(&disk);
    allocator.give_back(&framework("f"), &role("x"), &agent("a"), &back, None, at(30));
    allocator.give_back(&framework("g"), &role("y"), &agent("b"), &some("disk:100"), None, at(30));
    assert!(run(&mut allocator, at(50)).contains(&"g y b disk:100".to_owned()));
    // With the last one gone it is none.
    allocator.give_back(&framework("f"), &role("x"), &agent("a"), &disk, None, at(60));
    allocator.give_back(&framework("g"), &role("y"), &agent("b"), &some("disk:100"), None, at(60));
    assert!(run(&mut allocator, at(80)).contains(&"f x b disk:100".to_owned()));
}

#[test]
fn only_those_who_can_give_it_up_get_what_is_revocable() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    add_agent(&mut allocator, "a", "cpus:1", at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f * a cpus:1"]);
    let revocable = with("cpus:10", |kind| kind.is_revocable = true);
    allocator.set_total(&agent("a"), &some("cpus:1").plus(&revocable), at(30));
    assert_eq!(run(&mut allocator, at(50)).len(), 0);
    let why = allocator.why_not(&framework("f"), &role("*"), &agent("a"), at(50));
    assert_eq!(why, Some(Why::NotUnderstood));
    let mut can = wish(&["*"]);
    can.capabilities.revocable_resources = true;
    allocator.put_framework(&framework("f"), &can, at(60));
    assert_eq!(run(&mut allocator, at(80)), ["f * a cpus:10"]);
    // It is taken away while in use; what is given stays given, and nothing is free.
    allocator.set_total(&agent("a"), &some("cpus:1"), at(90));
    assert_eq!(allocator.free(&agent("a")), Some(&Resources::none()));
    allocator.give_back(&framework("f"), &role("*"), &agent("a"), &revocable, None, at(100));
    assert_eq!(run(&mut allocator, at(120)).len(), 0, "what is gone is not free");
}

#[test]
fn refined_reservations_are_for_those_who_know_of_them() {
    let mut allocator = allocator();
    let mut can = wish(&["x/a"]);
    allocator.put_framework(&framework("f"), &can, at(0));
    let refined = with("cpus(x):2", |kind| {
        let below =
            Reservation { role: role("x/a"), is_dynamic: true, ..kind.reservations[0].clone() };
        kind.reservations.push(below);
    });
    allocator.put_agent(&agent("a"), some("cpus(x):1").plus(&refined), [], at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f x/a a cpus(x):1"]);
    can.capabilities.reservation_refinement = true;
    allocator.put_framework(&framework("f"), &can, at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f x/a a cpus(x/a):2"]);
}

#[test]
fn ephemeral_ports_are_never_offered() {
    let mut allocator = generous();
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    let ports = "ephemeral_ports:[32768-57344];ephemeral_ports(x):[1-2]";
    add_agent(&mut allocator, "a", &format!("cpus:1;ports:[1-5];{ports}"), at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f x a cpus:1; ports:[1-5]"]);
    // They alone are nothing to offer.
    assert_eq!(run(&mut allocator, at(2_000)).len(), 0);
    let why = allocator.why_not(&framework("f"), &role("x"), &agent("a"), at(2_000));
    assert_eq!(why, Some(Why::InOffers));
    // Not with what comes back either, be it all that was given.
    let back = some("cpus:1;ports:[1-5]");
    allocator.give_back(&framework("f"), &role("x"), &agent("a"), &back, None, at(2_100));
    assert_eq!(run(&mut allocator, at(2_120)), ["f x a cpus:1; ports:[1-5]"]);
}
