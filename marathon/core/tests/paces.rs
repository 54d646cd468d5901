//! Flags that hold Marathon back, or have it look again: what each one changes.

mod world;

use marathon_core::io::Config;
use model::step::{Core, Time};
use model::task::TaskState;
use serde_json::json;
use std::time::Duration;
use world::{World, config, sleeper};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn no_more_is_launched_on_one_offer_than_may() {
    let decline_for = secs(7);
    let limits = Config { instances_per_offer_max: 2, decline_for, ..config(7) };
    let mut world = World::with(1, limits);
    world.create(sleeper("/web", 5));
    world.rest();
    // What is left of a full offer comes back at once, for those who still wait.
    let of_offers = [(2, Duration::ZERO), (2, Duration::ZERO), (1, decline_for)];
    assert_eq!((world.running("/web"), &world.asked.accepted[..]), (5, &of_offers[..]));
}

#[test]
fn an_offer_that_is_not_used_is_refused_for_as_long_as_is_said() {
    for decline_for in [secs(7), secs(120)] {
        let mut world = World::with(2, Config { decline_for, ..config(7) });
        let mut large = sleeper("/large", 1);
        large["cpus"] = 100.into();
        world.create(large);
        world.rest();
        assert_eq!(world.asked.refused_for.iter().copied().collect::<Vec<_>>(), [decline_for]);
    }
}

#[test]
fn offers_are_asked_for_no_more_often_than_may_be() {
    let mut world = World::with(1, Config { revive_interval: secs(10), ..config(7) });
    world.create(sleeper("/first", 1));
    world.pass(0.0);
    assert_eq!((world.running("/first"), world.revives), (1, 1));
    assert!(world.is_suppressed, "nobody waits");
    world.create(sleeper("/second", 1));
    world.pass(9.0);
    assert_eq!((world.running("/second"), world.revives), (0, 1));
    world.pass(1.0);
    assert_eq!((world.running("/second"), world.revives), (1, 2));
}

#[test]
fn a_task_that_does_not_get_to_run_in_time_is_launched_anew() {
    let mut world = World::with(1, Config { launch_timeout: secs(45), ..config(7) });
    world.is_starting = false;
    world.create(sleeper("/web", 1));
    world.rest();
    let first = world.tasks_of("/web");
    world.report(&first[0], TaskState::Staging, None);
    world.pass(44.0);
    assert_eq!(world.tasks_of("/web"), first, "it has time yet");
    // It is looked at every ten seconds.
    world.is_starting = true;
    world.tasks.get_mut(&first[0]).expect("it is there").state = TaskState::Starting;
    world.pass(10.0);
    assert_eq!(world.tasks_of("/web"), [world::instance_of(&first[0]).task(2)]);
    assert_eq!(world.running("/web"), 1);
}

#[test]
fn a_launch_that_nobody_hears_of_in_time_is_made_anew() {
    let mut world = World::with(1, Config { launch_confirm_timeout: secs(25), ..config(7) });
    world.is_starting = false;
    world.asked.is_silent = true;
    world.create(sleeper("/web", 1));
    world.rest();
    let first = world.tasks_of("/web");
    world.pass(24.0);
    assert_eq!(world.tasks_of("/web"), first, "it may yet be heard of");
    world.pass(10.0);
    assert_eq!(world.tasks_of("/web"), [world::instance_of(&first[0]).task(2)]);
}

#[test]
fn a_reservation_that_nobody_hears_of_is_asked_about_in_time() {
    // Other launches are asked about after fifteen seconds.
    for (reservation_timeout, asked_at) in [(secs(3), 3), (secs(8), 8), (secs(20), 15)] {
        let role = "data".into();
        let mut world = World::with(1, Config { role, reservation_timeout, ..config(7) });
        world.is_starting = false;
        let mut body = sleeper("/db", 1);
        body["container"] = json!({"type": "MESOS", "volumes": [
            {"containerPath": "d", "persistent": {"size": 10}}]});
        world.create(body);
        world.rest();
        assert_eq!(world.asked.accepted.len(), 1);
        world.asked.reconciled.clear();
        world.pass(16.0);
        assert_eq!(
            world.asked.reconciled.first(),
            Some(&(secs(asked_at), 1)),
            "{reservation_timeout:?}"
        );
    }
}

#[test]
fn all_tasks_are_asked_about_as_often_as_is_said() {
    let limits = Config { reconcile_delay: secs(5), reconcile_interval: secs(40), ..config(7) };
    let mut world = World::with(1, limits);
    world.create(sleeper("/web", 2));
    world.pass(30.0);
    // A task that the master has lost without a word.
    let task = world.tasks_of("/web")[0].clone();
    world.tasks.remove(&task);
    world.pass(14.0);
    assert_eq!(world.tasks.len(), 1, "nobody has asked yet");
    world.pass(2.0);
    assert_eq!((world.tasks.len(), world.running("/web")), (2, 2));
    world.pass(80.0);
    let all = world.asked.reconciled.iter().filter(|(_, tasks)| *tasks == 0);
    let at: Vec<_> = all.map(|(at, _)| at.as_secs()).collect();
    assert_eq!(at, [5, 45, 85, 125]);
}

/// It finds nothing to do: apps are looked at with everything that happens to them. So the looking itself is
/// what can be seen.
#[test]
fn all_apps_are_looked_at_after_a_while_and_then_again_and_again() {
    let limits = Config {
        scale_delay: secs(7),
        scale_interval: secs(40),
        reconcile_interval: secs(100_000),
        ..config(7)
    };
    let mut world = World::with(0, limits);
    world.rest();
    for (at, wait) in [(7, 7.0), (47, 40.0), (87, 40.0)] {
        assert_eq!(world.marathon.next_deadline(), Some(Time(secs(at))));
        world.pass(wait);
    }
}
