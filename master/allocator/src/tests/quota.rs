//! Guarantees and limits.

use super::*;
use crate::{Quota, Why};
use model::amount::Milli;
use std::collections::BTreeMap;
use std::sync::Arc;

fn amounts(text: &str) -> BTreeMap<Arc<str>, Milli> {
    some(text).scalar_totals()
}

fn set_quota(allocator: &mut Allocator, of: &str, guarantee: &str, limit: &str, now: Time) {
    let quota = Quota::new(amounts(guarantee), amounts(limit)).expect("a quota");
    allocator.set_quota(role(of), Some(quota), now).expect("a top-level role");
}

fn why(allocator: &Allocator, who: &str, of: &str, on: &str, now: Time) -> Option<Why> {
    allocator.why_not(&framework(who), &role(of), &agent(on), now)
}

#[test]
fn a_role_gets_up_to_its_limit_and_no_more() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "", "cpus:3;mem:96", at(0));
    allocator.put_framework(&framework("f"), &wish(&["x/a"]), at(0));
    add_agent(&mut allocator, "a", "cpus:4;mem:128;ports:[1-5]", at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f x/a a cpus:3; mem:96; ports:[1-5]"]);
    assert_eq!(why(&allocator, "f", "x/a", "a", at(20)), Some(Why::QuotaLimit));
    assert_eq!(allocator.consumed(&role("x")), amounts("cpus:3;mem:96"));
    set_quota(&mut allocator, "x", "", "cpus:3.5;mem:96", at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f x/a a cpus:0.5"]);
    allocator.set_quota(role("x"), None, at(60)).expect("a top-level role");
    assert_eq!(run(&mut allocator, at(80)), ["f x/a a cpus:0.5; mem:32"]);
    assert_eq!(allocator.consumed(&role("x")), amounts("cpus:4;mem:128"));
}

#[test]
fn a_guarantee_is_kept_free_for_a_role_that_is_not_there_yet() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "cpus:3;mem:96", "", at(0));
    allocator.put_framework(&framework("g"), &wish(&["y"]), at(0));
    for name in ["a", "b"] {
        add_agent(&mut allocator, name, "cpus:2;mem:64", at(0));
    }
    let got = run(&mut allocator, at(20));
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].ends_with("cpus:1; mem:32"), "{got:?}");
    let left = if got[0].contains(" a ") { "b" } else { "a" };
    let why = why(&allocator, "g", "y", left, at(20)).expect("nothing is offered");
    assert_eq!(why, Why::Headroom);
    let text = "what is free on the agent is kept for guarantees of other roles";
    assert_eq!(why.to_string(), text);
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(30));
    let got = run(&mut allocator, at(50));
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(got.iter().all(|got| got.starts_with("f x ")), "{got:?}");
}

#[test]
fn guarantees_come_before_fair_shares() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "cpus:6;mem:192", "", at(0));
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    allocator.put_framework(&framework("g"), &wish(&["y"]), at(0));
    for n in 0..4 {
        add_agent(&mut allocator, &format!("a{n}"), "cpus:2;mem:64", at(0));
    }
    let got = run(&mut allocator, at(20));
    assert_eq!(got.iter().filter(|got| got.starts_with("f x")).count(), 3, "{got:?}");
    assert_eq!(got.iter().filter(|got| got.starts_with("g y")).count(), 1, "{got:?}");
}

#[test]
fn reservations_count_as_consumed_whether_given_or_not() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "cpus:2", "cpus:2", at(0));
    allocator.put_framework(&framework("g"), &wish(&["y"]), at(0));
    add_agent(&mut allocator, "a", "cpus(x/a):2;cpus:2", at(0));
    assert_eq!(allocator.consumed(&role("x")), amounts("cpus:2"));
    // So nothing need be kept free for it, nor does it get more than is reserved.
    assert_eq!(run(&mut allocator, at(20)), ["g y a cpus:2"]);
    allocator.put_framework(&framework("f"), &wish(&["x/a"]), at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f x/a a cpus(x/a):2"]);
    give_back_of(&mut allocator, "g", "y", "cpus:2", at(60));
    allocator.suppress(&framework("g"), &[].into());
    assert_eq!(run(&mut allocator, at(80)).len(), 0);
    assert_eq!(why(&allocator, "f", "x/a", "a", at(80)), Some(Why::QuotaLimit));
    assert_eq!(allocator.consumed(&role("x")), amounts("cpus:2"));
    allocator.remove_agent(&agent("a"));
    assert_eq!(allocator.consumed(&role("x")), BTreeMap::new());
}

fn give_back_of(allocator: &mut Allocator, who: &str, of: &str, what: &str, now: Time) {
    allocator.give_back(&framework(who), &role(of), &agent("a"), &some(what), None, now);
}

#[test]
fn what_is_due_soon_is_not_asked_for_at_once() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "", "cpus:1;mem:64", at(0));
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2;mem:64", at(0));
    run(&mut allocator, at(20));
    // Quota is loosened while a change is being gathered: both wait for the end of the window.
    add_agent(&mut allocator, "b", "cpus:1;mem:32", at(30));
    set_quota(&mut allocator, "x", "", "cpus:2;mem:64", at(31));
    assert_eq!(allocator.next_run(), Some(at(50)));
    assert_eq!(run(&mut allocator, at(50)).len(), 1);
    assert_ne!(allocator.next_run(), Some(at(50)));
}

#[test]
fn what_is_freed_elsewhere_reaches_who_was_kept_waiting() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "", "cpus:2;mem:64", at(0));
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2;mem:64", at(0));
    assert_eq!(run(&mut allocator, at(20)).len(), 1);
    add_agent(&mut allocator, "b", "cpus:2;mem:64", at(30));
    assert_eq!(run(&mut allocator, at(50)).len(), 0);
    // Nothing changes on b, and it need not wait for the full pass.
    allocator.deactivate_agent(&agent("a"));
    give_back_of(&mut allocator, "f", "x", "cpus:1;mem:32", at(60));
    assert_eq!(run(&mut allocator, at(80)), ["f x b cpus:1; mem:32"]);
}

#[test]
fn a_role_is_given_what_it_needs_beside_its_guarantee() {
    // Guaranteed CPUs are of no use without memory.
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "cpus:2", "", at(0));
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    allocator.put_framework(&framework("g"), &wish(&["y"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2;mem:64", at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f x a cpus:2; mem:64"]);
}

#[test]
fn revocable_resources_are_not_what_quota_is_about() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "", "cpus:1", at(0));
    let mut can = wish(&["x"]);
    can.capabilities.revocable_resources = true;
    allocator.put_framework(&framework("f"), &can, at(0));
    let mut total = some("cpus:2");
    let revocable = some("cpus:8");
    for (key, value) in revocable.iter() {
        let mut kind = (*key.kind).clone();
        kind.is_revocable = true;
        total.insert(model::resources::Key { kind: kind.into(), ..key.clone() }, value.clone());
    }
    allocator.put_agent(&agent("a"), total, [], at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f x a cpus:1; cpus:8"]);
    assert_eq!(allocator.consumed(&role("x")), amounts("cpus:1"));
}

#[test]
fn what_is_no_quota_is_refused() {
    let mut allocator = allocator();
    let nested = allocator.set_quota(role("x/a"), Some(Quota::default()), at(0));
    let text = nested.expect_err("a role below another").to_string();
    assert_eq!(text, "quota is for top-level roles only, and 'x/a' is none");
    let above = Quota::new(amounts("cpus:2"), amounts("cpus:1")).expect_err("above").to_string();
    assert_eq!(above, "the guarantee of 2 cpus is above the limit of 1");
    let negative = [("cpus".into(), Milli(-1))].into();
    let negative = Quota::new(negative, BTreeMap::new()).expect_err("negative").to_string();
    assert_eq!(negative, "cpus must not be negative");
}

#[test]
fn what_an_agent_took_with_it_may_be_had_elsewhere_at_once() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "", "cpus:2;mem:64", at(0));
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2;mem:64", at(0));
    assert_eq!(run(&mut allocator, at(20)).len(), 1);
    add_agent(&mut allocator, "b", "cpus:2;mem:64", at(30));
    assert_eq!(run(&mut allocator, at(50)).len(), 0);
    allocator.remove_agent(&agent("a"));
    assert_eq!(allocator.next_run(), Some(at(50)), "at once");
    assert_eq!(run(&mut allocator, at(60)), ["f x b cpus:2; mem:64"]);
}

#[test]
fn what_is_found_in_use_and_meets_a_guarantee_is_not_kept_free_elsewhere() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "cpus:2", "cpus:4", at(0));
    allocator.put_framework(&framework("g"), &wish(&["other"]), at(0));
    let used = [(framework("g"), role("other"), some("cpus:1"))];
    allocator.put_agent(&agent("a"), some("cpus:1"), used, at(0));
    add_agent(&mut allocator, "b", "cpus:2", at(0));
    assert_eq!(run(&mut allocator, at(20)).len(), 0, "both of b are kept for x");
    // More than a has: nothing that was free is taken.
    allocator.book(&framework("f"), &role("x"), &agent("a"), &some("cpus:2"));
    assert_eq!(allocator.next_run(), Some(at(20)), "at once");
    assert_eq!(run(&mut allocator, at(50)), ["g other b cpus:2"]);
}

#[test]
fn guarantees_beyond_all_measure_stop_others_and_nothing_else() {
    let mut allocator = allocator();
    let all = || BTreeMap::from([(Arc::from("cpus"), Milli(i64::MAX))]);
    for of in ["x", "y", "z"] {
        let quota = Quota::new(all(), BTreeMap::new()).expect("a guarantee");
        allocator.set_quota(role(of), Some(quota), at(0)).expect("a top-level role");
    }
    allocator.put_framework(&framework("g"), &wish(&["other"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    assert_eq!(run(&mut allocator, at(20)).len(), 0);
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f x a cpus:2"]);
}

#[test]
fn only_where_quota_kept_something_back_is_looked_at_again() {
    let mut allocator = allocator();
    set_quota(&mut allocator, "x", "", "cpus:3", at(0));
    allocator.put_framework(&framework("f"), &wish(&["x"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2;mem:64", at(0));
    run(&mut allocator, at(20));
    let declined = some("cpus:2;mem:64");
    let decline = Some(super::declined(Duration::from_secs(60)));
    allocator.give_back(&framework("f"), &role("x"), &agent("a"), &declined, decline, at(30));
    assert_eq!(run(&mut allocator, at(50)).len(), 0);
    assert!(allocator.held_back.is_empty(), "the filter keeps it back, not the limit");
    add_agent(&mut allocator, "b", "cpus:4;mem:64", at(60));
    assert_eq!(run(&mut allocator, at(80)), ["f x b cpus:3; mem:64"]);
    assert_eq!(allocator.held_back.iter().count(), 1, "the limit keeps a CPU of b back");
}
