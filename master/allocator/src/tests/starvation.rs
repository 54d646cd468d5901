//! Frameworks that decline do not keep others waiting. What comes of it in a whole cluster is a story of
//! the benchmarks, in `bench/src/allocator_stories.rs`, and has its test there.

use super::*;
use crate::Allocation;

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
