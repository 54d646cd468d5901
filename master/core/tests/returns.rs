//! What those are told who will have to find the next leader.

mod world;

use master_core::Input;
use model::ids::AgentId;
use model::registry::{AgentEntry, Record};
use world::World;

fn set_masters(world: &mut World, names: &[&str]) {
    world.step(Input::SetMasters(names.iter().map(|&name| name.into()).collect()));
}

/// Agents are admitted that have never been seen here.
fn grow(world: &mut World, count: u32) {
    let (id, view) = world.agent_views.first_key_value().expect("one is there as a pattern");
    let (id, description) = (id.clone(), (*view.description).clone());
    for number in 0..count {
        let id = AgentId::new(format!("{id}-{number}")).expect("an id");
        let at = world.moment().wall;
        let entry = AgentEntry { id, description: description.clone(), registered_at: at };
        world.registry.apply(&Record::PutAgent(entry.clone()));
        world.step(Input::Applied(Record::PutAgent(entry)));
    }
}

#[test]
fn all_are_told_where_the_masters_are_and_when_that_changes() {
    let mut world = World::new();
    set_masters(&mut world, &["m1", "m2", "m3"]);
    world.agent("a");
    assert_eq!(world.told("a"), ["registered", "masters m1 m2 m3 within 0ns"]);
    assert_eq!(world.told_frameworks, ["masters m1 m2 m3 within 0ns"]);
    set_masters(&mut world, &["m1", "m2", "m3"]);
    assert!(world.told("a").is_empty(), "nothing has changed");
    set_masters(&mut world, &["m2", "m3", "m4"]);
    assert_eq!(world.told("a"), ["masters m2 m3 m4 within 0ns"]);
    assert_eq!(world.told_frameworks.last().expect("told"), "masters m2 m3 m4 within 0ns");
    world.step(Input::Depose);
    set_masters(&mut world, &["m4"]);
    world.lead_again();
    world.reconnect("a");
    assert_eq!(world.told("a").last().expect("told"), "masters m4 within 0ns");
}

#[test]
fn the_time_to_come_back_grows_with_the_agents_also_for_those_that_were_there_before() {
    let mut world = World::new();
    set_masters(&mut world, &["m1"]);
    world.agent("a");
    world.told("a");
    grow(&mut world, 1_000);
    let told = world.told("a");
    assert_eq!(told.last().expect("told"), "masters m1 within 204.8ms");
    assert!(told.len() < 5, "not for each agent: {told:?}");
    world.lead();
    set_masters(&mut world, &["m1"]);
    world.reconnect("a");
    assert_eq!(world.told("a").last().expect("told"), "masters m1 within 204.8ms");
    let alone = "masters m1 within 0ns";
    assert_eq!(world.told_frameworks.last().expect("told"), alone, "there are no frameworks");
}
