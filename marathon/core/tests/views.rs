//! What is shown of many apps, and how many may change at once.

mod world;

use marathon_core::io::{Command, Config};
use marathon_core::view::Embed;
use serde_json::json;
use world::{World, sleeper};

#[test]
fn no_more_deployments_run_than_may() {
    let mut world = World::with(0, Config { deployments_max: 2, ..world::config(7) });
    world.create(sleeper("/a", 1));
    world.create(sleeper("/b", 1));
    let create = |body| Command::CreateApp { body, force: false };
    let refusal = world.ask(create(sleeper("/c", 1))).expect_err("two run");
    assert_eq!(refusal.status, 403);
    let message = refusal.body["message"].as_str().expect("a message");
    assert!(message.starts_with("2 deployments are running"), "{message}");
    assert!(world.shown("/c", Embed::LIST).is_none());

    // One that is over, or is taken over, makes room.
    world.force("/b", json!({"cmd": "sleep 2"}));
    assert_eq!(world.view.deployments().len(), 2);
    let of_b = world.shown("/b", Embed::LIST).expect("it is there")["deployments"].clone();
    assert_eq!(
        of_b.as_array().map(Vec::len),
        Some(1),
        "the one that was overridden is no more told"
    );
    let id = of_b[0]["id"].as_str().expect("an id").to_owned();
    world.ask(Command::CancelDeployment { id, force: true }).expect("cancelled");
    world.ask(create(sleeper("/c", 1))).expect("there is room");
}

#[test]
fn what_is_shown_follows_every_change() {
    let mut world = World::new(2);
    world.create(sleeper("/web", 2));
    world.create(sleeper("/db", 1));
    let state = |world: &World, id| {
        let shown = world.shown(id, Embed::SINGLE.and("counts")).expect("it is there");
        (
            shown["instances"].clone(),
            shown["tasks"].as_array().map(Vec::len),
            shown["tasksRunning"].clone(),
        )
    };
    assert_eq!(state(&world, "/web"), (json!(2), Some(0), json!(0)), "and it is written out once");
    world.rest();
    assert_eq!(state(&world, "/web"), (json!(2), Some(2), json!(2)));
    world.put("/web", json!({"instances": 1})).expect("scaled");
    assert_eq!(state(&world, "/web").0, 1);
    world.rest();
    assert_eq!(state(&world, "/web"), (json!(1), Some(1), json!(1)));
    let task = world.tasks_of("/web")[0].clone();
    let shown = world.shown("/web", Embed::SINGLE).expect("it is there");
    assert_eq!(shown["tasks"][0]["id"], task.as_str());
    assert_eq!(shown["tasks"][0]["state"], "TASK_RUNNING");
    assert_eq!(state(&world, "/db"), (json!(1), Some(1), json!(1)));
}
