//! The numbers that are told of the allocator.

use super::*;
use crate::Quota;
use crate::figures::{OfKind, OfQuota, ROLES_TOLD_MAX};
use model::amount::Milli;
use model::rules::Weight;

#[test]
fn figures_say_who_has_what_and_what_keeps_it_away() {
    let mut allocator = allocator();
    let quota = Quota::new(some("cpus:1").scalar_totals(), some("cpus:8").scalar_totals());
    let quota = quota.expect("a quota");
    allocator.set_quota(role("x"), Some(quota), at(0)).expect("a top-level role");
    allocator.set_weight(role("x"), Weight::from_f64(2.0).expect("positive"), at(0));
    allocator.put_framework(&framework("f"), &wish(&["x/a"]), at(5));
    add_agent(&mut allocator, "a", "cpus:4;mem:128", at(10));
    add_agent(&mut allocator, "b", "cpus:12;mem:128", at(15));
    assert_eq!(allocator.take_run(), None);
    assert_eq!(run(&mut allocator, at(25)).len(), 2);
    // The framework has waited longest: since the first of what happened.
    assert_eq!(allocator.take_run(), Some(at(25).since(at(0))));
    assert_eq!(allocator.take_run(), None);
    let (who, wait) = (framework("f"), Some(Duration::from_secs(60)));
    let what = some("cpus:4;mem:128");
    allocator.give_back(&who, &role("x/a"), &agent("b"), &what, wait.map(declined), at(30));

    let figures = allocator.figures();
    let kind = |total, given| OfKind { total: Milli::units(total), given: Milli::units(given) };
    assert_eq!(figures.resources["cpus"], kind(16, 4));
    assert_eq!(figures.resources["mem"], kind(256, 128));
    let of: Vec<_> =
        figures.roles.iter().map(|of| (of.role.as_str(), of.dominant_share, of.filters)).collect();
    // Half of the memory, over a weight of two, and over the one that `x/a` has.
    assert_eq!(of, [("x", 0.25, 0), ("x/a", 0.5, 1)]);
    let given = some("cpus:4;mem:128").scalar_totals();
    let quota = OfQuota {
        role: role("x"),
        guarantees: some("cpus:1").scalar_totals(),
        limits: some("cpus:8").scalar_totals(),
        given: given.clone(),
        consumed: given,
    };
    assert_eq!(figures.quotas, [quota]);

    allocator.remove_framework(&framework("f"), at(40));
    let figures = allocator.figures();
    assert_eq!(figures.roles, []);
    assert_eq!(figures.resources["cpus"], kind(16, 0));
}

#[test]
fn of_so_many_roles_numbers_are_told_and_no_more() {
    let mut allocator = allocator();
    let names: Vec<String> = (0..=ROLES_TOLD_MAX).map(|n| format!("r{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    allocator.put_framework(&framework("f"), &wish(&names), at(0));
    assert_eq!(allocator.figures().roles.len(), ROLES_TOLD_MAX);
    assert_eq!(allocator.suppressed(&framework("f")).count(), names.len());
}
