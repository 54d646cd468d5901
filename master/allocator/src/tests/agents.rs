//! What agents are offered for what they are.

use super::*;
use crate::{AgentFacts, AttributeConstraint, MinAllocatable, OfferConstraints, Why};
use model::constraints::{Predicate, Selector};
use model::link::FaultDomain;
use model::resources::Attributes;
use std::sync::Arc;

fn facts(hostname: &str) -> AgentFacts {
    AgentFacts { hostname: hostname.into(), ..AgentFacts::default() }
}

fn why(allocator: &Allocator, who: &str, of: &str, on: &str, now: Time) -> Option<Why> {
    allocator.why_not(&framework(who), &role(of), &agent(on), now)
}

fn domain(region: &str) -> FaultDomain {
    FaultDomain { region: region.into(), zone: "z".into() }
}

#[test]
fn only_machines_on_the_whitelist_are_offered() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    for name in ["a", "b"] {
        add_agent(&mut allocator, name, "cpus:2", at(0));
        allocator.describe_agent(&agent(name), facts(&format!("{name}.example")), at(0));
    }
    let listed = |name: &str| Some([Arc::from(name)].into());
    allocator.set_whitelist(listed("b.example"), at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f * b cpus:2"]);
    assert_eq!(why(&allocator, "f", "*", "a", at(20)), Some(Why::NotWhitelisted));
    // An agent that comes back is still the one it was.
    add_agent(&mut allocator, "b", "cpus:3", at(30));
    add_agent(&mut allocator, "a", "cpus:3", at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f * b cpus:3"]);
    allocator.set_whitelist(None, at(60));
    assert_eq!(run(&mut allocator, at(80)), ["f * a cpus:3"]);
}

#[test]
fn agents_of_other_regions_are_for_those_who_know_of_regions() {
    let settings = Settings { domain: Some(domain("north")), ..Settings::default() };
    let mut allocator = Allocator::new(settings, Time::ZERO);
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    for (name, region) in [("a", Some("north")), ("b", Some("south")), ("c", None)] {
        add_agent(&mut allocator, name, "cpus:2", at(0));
        let facts = AgentFacts { domain: region.map(domain), ..AgentFacts::default() };
        allocator.describe_agent(&agent(name), facts, at(0));
    }
    assert_eq!(run(&mut allocator, at(20)), ["f * a cpus:2", "f * c cpus:2"]);
    assert_eq!(why(&allocator, "f", "*", "b", at(20)), Some(Why::OtherRegion));
    let mut can = wish(&["*"]);
    can.capabilities.region_aware = true;
    allocator.put_framework(&framework("f"), &can, at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f * b cpus:2"]);
}

#[test]
fn news_of_an_agent_ends_the_filters_on_it() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    run(&mut allocator, at(20));
    give_back(&mut allocator, "f", "cpus:2", Some(600), at(30));
    allocator.describe_agent(&agent("a"), AgentFacts::default(), at(40));
    assert_eq!(run(&mut allocator, at(60)).len(), 0, "that is no news");
    allocator.describe_agent(&agent("a"), facts("a.example"), at(70));
    assert_eq!(run(&mut allocator, at(90)), ["f * a cpus:2"]);
}

#[test]
fn what_was_declined_stays_so_when_the_agent_is_back_as_it_was() {
    let mut allocator = allocator();
    allocator.put_framework(&framework("f"), &wish(&["*"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    allocator.describe_agent(&agent("a"), facts("a.example"), at(0));
    run(&mut allocator, at(20));
    give_back(&mut allocator, "f", "cpus:2", Some(600), at(30));
    let back = |allocator: &mut Allocator, total: &str, name: &str, now: Time| {
        add_agent(allocator, "a", total, now);
        allocator.describe_agent(&agent("a"), facts(name), now);
    };
    back(&mut allocator, "cpus:2", "a.example", at(40));
    assert_eq!(run(&mut allocator, at(60)).len(), 0, "a broken link is no news");
    let until = why(&allocator, "f", "*", "a", at(60));
    assert!(matches!(until, Some(Why::Filtered { .. })), "{until:?}");
    // With more than was declined it is another offer, and under another name another agent.
    back(&mut allocator, "cpus:3", "a.example", at(70));
    assert_eq!(run(&mut allocator, at(90)), ["f * a cpus:3"]);
    give_back(&mut allocator, "f", "cpus:3", Some(600), at(100));
    back(&mut allocator, "cpus:3", "b.example", at(110));
    assert_eq!(run(&mut allocator, at(130)), ["f * a cpus:3"]);
    // It ends when it would have, and leaves nothing behind with an agent that is gone.
    give_back(&mut allocator, "f", "cpus:3", Some(600), at(140));
    back(&mut allocator, "cpus:3", "b.example", at(150));
    assert_eq!(run(&mut allocator, at(600_130)).len(), 0);
    assert_eq!(run(&mut allocator, at(600_140)), ["f * a cpus:3"]);
    give_back(&mut allocator, "f", "cpus:3", Some(600), at(600_150));
    allocator.remove_agent(&agent("a"));
    back(&mut allocator, "cpus:3", "b.example", at(600_160));
    assert_eq!(run(&mut allocator, at(600_180)), ["f * a cpus:3"]);
}

#[test]
fn a_framework_hears_only_of_agents_that_its_constraints_allow() {
    let mut allocator = allocator();
    let wanted = AttributeConstraint {
        selector: Selector::Attribute("rack".into()),
        predicate: Predicate::TextEquals("r1".into()),
    };
    let constraints = OfferConstraints::new(vec![vec![wanted]]).expect("well formed");
    let picky =
        FrameworkWish { constraints: [(role("x"), constraints)].into(), ..wish(&["x", "y"]) };
    allocator.put_framework(&framework("f"), &picky, at(0));
    allocator.suppress(&framework("f"), &[role("y")].into());
    for (name, attributes) in [("a", "rack:r1"), ("b", "rack:r2")] {
        add_agent(&mut allocator, name, "cpus:2", at(0));
        let attributes = Attributes::parse(attributes).expect("well formed");
        let facts = AgentFacts { attributes, ..AgentFacts::default() };
        allocator.describe_agent(&agent(name), facts, at(0));
    }
    assert_eq!(run(&mut allocator, at(20)), ["f x a cpus:2"]);
    assert_eq!(why(&allocator, "f", "x", "b", at(20)), Some(Why::OfferConstraints));
    allocator.revive(&framework("f"), &[role("y")].into(), at(30));
    assert_eq!(run(&mut allocator, at(50)), ["f y b cpus:2"], "its other role has none");
}

#[test]
fn a_framework_may_say_itself_what_is_worth_an_offer() {
    let mut allocator = allocator();
    let least = |text| MinAllocatable::parse(text).expect("well formed");
    let own = [(role("x"), MinAllocatable::none()), (role("y"), least("cpus:1"))];
    let choosy = FrameworkWish { min_allocatable: own.into(), ..wish(&["x", "y"]) };
    allocator.put_framework(&framework("f"), &choosy, at(0));
    allocator.suppress(&framework("f"), &[role("x")].into());
    add_agent(&mut allocator, "a", "cpus:0.5;mem:64", at(0));
    add_agent(&mut allocator, "b", "mem:1;ports:[1-5]", at(0));
    assert_eq!(run(&mut allocator, at(20)).len(), 0);
    assert_eq!(why(&allocator, "f", "y", "a", at(20)), Some(Why::TooLittle));
    allocator.revive(&framework("f"), &[].into(), at(30));
    let got = run(&mut allocator, at(50));
    assert_eq!(got, ["f x a cpus:0.5; mem:64", "f x b mem:1; ports:[1-5]"]);
    let amounts = [("cpus".into(), model::amount::Milli::units(1))].into();
    assert_eq!(MinAllocatable::any_of([amounts]), least("cpus:1"));
    assert_eq!(MinAllocatable::any_of([]), MinAllocatable::none());
}

#[test]
fn old_agents_are_spared_what_they_do_not_know() {
    let mut allocator = allocator();
    let mut many = wish(&["x"]);
    many.capabilities.multi_role = true;
    allocator.put_framework(&framework("f"), &many, at(0));
    allocator.put_framework(&framework("g"), &wish(&["x/a"]), at(0));
    add_agent(&mut allocator, "a", "cpus:2", at(0));
    add_agent(&mut allocator, "b", "cpus:3", at(0));
    let no_roles = AgentFacts { lacks_multi_role: true, ..AgentFacts::default() };
    let no_paths = AgentFacts { lacks_hierarchical_roles: true, ..AgentFacts::default() };
    allocator.describe_agent(&agent("a"), no_roles, at(0));
    allocator.describe_agent(&agent("b"), no_paths, at(0));
    assert_eq!(run(&mut allocator, at(20)), ["f x b cpus:3", "g x/a a cpus:2"]);
    allocator.deactivate_framework(&framework("g"));
    allocator.remove_framework(&framework("g"), at(30));
    run(&mut allocator, at(50));
    assert_eq!(why(&allocator, "f", "x", "a", at(50)), Some(Why::OldAgent));
}
