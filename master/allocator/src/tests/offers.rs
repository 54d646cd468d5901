//! Who is offered what, and who is not.

use super::*;
use crate::Why;
use std::collections::BTreeSet;

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
    assert_eq!(why, Some(Why::Filtered { until: at(5_100), offer: 7 }));
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
