//! Agents of an earlier version, which are not asked for what they cannot do.

mod world;

use master_core::Refusal;
use model::amount::Milli;
use model::call::Operation;
use model::capability::AgentCapability;
use model::framework::Capabilities;
use model::ids::AgentId;
use model::operation::Conversion;
use model::operator::OperatorCall;
use model::rules::Drain;
use model::task::{Needs, TaskSpec};
use std::time::Duration;
use world::operations::{accept, convert, parse, reserve, reserved, volume, watched};
use world::{World, task};

/// What is asked of an agent.
type Ask<'a> = Box<dyn Fn(AgentId) -> OperatorCall + 'a>;

#[test]
fn an_agent_is_not_asked_for_what_it_cannot_do() {
    use AgentCapability::{OperationFeedback, ResourceProvider, TaskResourceLimits};
    for capability in [TaskResourceLimits, ResourceProvider, OperationFeedback] {
        let mut world = World::new();
        world.agent_without("a", capability);
        let aware = Capabilities { partition_aware: true, ..Capabilities::default() };
        world.framework_in("f", "web", aware);
        world.settle();
        world.heard("f");
        let agent = world.id("a");
        let needs = Needs { limits: true, ..Needs::default() };
        let limited = TaskSpec { needs, ..task("t", &agent) };
        accept(&mut world, vec![Operation::Launch(vec![Ok(limited)])]);
        let update = world.frameworks["f"].updates.last();
        let refused = update.and_then(|status| status.message.clone());
        if capability == TaskResourceLimits {
            let why = format!(
                "Agent {agent} cannot keep a task within limits: it has not the capability \
                 TASK_RESOURCE_LIMITS"
            );
            assert_eq!(refused.as_deref(), Some(&*why));
            continue;
        }
        assert_eq!(refused, None);
        world.settle();
        world.told("a");
        let some = reserve(&reserved(&parse("cpus:1"), "web"));
        accept(&mut world, vec![watched("op", some.clone())]);
        let name = capability.name();
        let why = format!(
            "op OPERATION_ERROR: Invalid RESERVE operation: Agent {agent} cannot carry out an \
             operation with an id: it has not the capability {name}"
        );
        let heard = world.heard("f");
        assert!(heard.contains(&why), "{heard:?}");
        // What was given back for nothing is offered again after a while.
        world.pass(Duration::from_secs(2));
        accept(&mut world, vec![convert(some)]);
        assert_eq!(world.told("a"), ["apply RESERVE"], "nobody waits to hear of this one");
    }
}

#[test]
fn an_agent_is_drained_and_resizes_and_reserves_only_if_it_can() {
    use AgentCapability::{Draining, HierarchicalRole, ReservationRefinement, ResizeVolume};
    let nested = reserve(&reserved(&parse("cpus:1"), "web/shop"));
    let refined = reserve(&reserved(&reserved(&parse("cpus:1"), "web"), "web/shop"));
    let space = reserved(&parse("disk:1"), "web");
    let (volume, addition) = (volume(&space, "v"), space.clone());
    let grow = Conversion::Grow { volume: volume.clone(), addition };
    let shrink = Conversion::Shrink { volume, subtract: Milli(1) };
    let convert = |conversion: &Conversion| {
        let conversion = conversion.clone();
        move |agent: AgentId| OperatorCall::Convert { agent, conversion: conversion.clone() }
    };
    let drain = Drain { grace_max: None, marks_gone: false };
    let cases: [(AgentCapability, Ask<'_>); 5] = [
        (Draining, Box::new(|agent| OperatorCall::DrainAgent { agent, drain })),
        (HierarchicalRole, Box::new(convert(&nested))),
        (ReservationRefinement, Box::new(convert(&refined))),
        (ResizeVolume, Box::new(convert(&grow))),
        (ResizeVolume, Box::new(convert(&shrink))),
    ];
    for (capability, ask) in cases {
        let mut world = World::new();
        world.agent_without("a", capability);
        world.agent("b");
        let lacks = format!("it has not the capability {}", capability.name());
        let [old, new] = ["a", "b"].map(|name| world.operate(ask(world.id(name))));
        let Some(Err(Refusal::Invalid(why))) = old else { panic!("{old:?}") };
        assert!(why.contains(&lacks), "{why}");
        let other = format!("{new:?}");
        assert!(!other.contains("capability"), "another one can: {other}");
    }
}

#[test]
fn an_agent_is_offered_only_to_those_it_knows_what_to_do_with() {
    use AgentCapability::{HierarchicalRole, MultiRole};
    let many = Capabilities { multi_role: true, ..Capabilities::default() };
    for (capability, role, capabilities) in
        [(MultiRole, "web", many), (HierarchicalRole, "web/shop", Capabilities::default())]
    {
        let mut world = World::new();
        world.agent_without("old", capability);
        world.agent("new");
        world.framework_in("f", role, capabilities);
        world.settle();
        let offers = world.frameworks["f"].offers.values();
        let offered: Vec<_> = offers.map(|offer| offer.agent.clone()).collect();
        assert_eq!(offered, [world.id("new")], "{capability:?}");
    }
}
