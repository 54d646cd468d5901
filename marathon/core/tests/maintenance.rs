//! Agents that are to be away, and limits on how fast it is launched.

mod world;

use marathon_core::io::{Config, Input};
use marathon_core::matcher::Reason;
use model::ids::{FrameworkId, OfferId};
use model::offer::InverseOffer;
use model::rules::Unavailability;
use serde_json::json;
use std::time::Duration;
use world::{START, World, app, config, sleeper};

/// Away from `start` on, in seconds from now, for `secs`.
fn away(world: &World, start: u64, secs: i64) -> Unavailability {
    let now_ns = (START + u64::try_from(world.time.as_micros()).expect("short")) * 1_000;
    Unavailability {
        start_ns: i64::try_from(now_ns + start * 1_000_000_000).expect("near"),
        duration_ns: Some(secs * 1_000_000_000),
    }
}

/// The master tells of it, as it does: by offers and by an inverse offer.
fn plan(world: &mut World, agent: usize, when: Unavailability) {
    world.agents[agent].away = Some(when);
    let offer = InverseOffer {
        id: OfferId::new(format!("I{agent}")).expect("an id"),
        framework: FrameworkId::new("F-0000").expect("an id"),
        agent: world.agents[agent].id.clone(),
        hostname: world.agents[agent].host.as_str().into(),
        agent_address: "".into(),
        unavailability: when,
    };
    world.step(Input::InverseOffers(vec![offer]));
}

fn on(world: &World, agent: usize) -> usize {
    world.tasks.values().filter(|task| task.agent == agent).count()
}

#[test]
fn an_agent_is_left_before_it_is_away_with_nobody_missing() {
    let mut world = World::new(2);
    world.create(json!({"id": "/web", "cmd": "x", "cpus": 0.1, "mem": 32, "instances": 6,
                        "constraints": [["hostname", "MAX_PER", "6"]]}));
    world.rest();
    world.pass(5.0);
    let agent = usize::from(on(&world, 0) == 0);
    let when = away(&world, 3_600, 600);
    plan(&mut world, agent, when);
    assert_eq!(world.accepted_inverse.len(), 1);
    world.pass(2_900.0);
    assert!(on(&world, agent) > 0, "not for the sake of a plan for later");
    world.is_starting = false;
    world.pass(200.0);
    assert_eq!(world.running("/web"), 6, "nobody goes before another has come");
    world.is_starting = true;
    world.pass(60.0);
    assert_eq!((world.running("/web"), on(&world, agent)), (6, 0));
    let shown = world.shown("/web", marathon_core::view::Embed::SINGLE).expect("there");
    assert_eq!(shown.get("lastTaskFailure"), None, "it counts as no failure");
    let kinds = world.kinds();
    assert!(!kinds.contains(&"unhealthy_instance_kill_event".to_owned()), "{kinds:?}");
    // Nothing goes there until it is over.
    world.put("/web", json!({"instances": 40})).expect("scaled");
    world.pass(10.0);
    assert_eq!(on(&world, agent), 0);
    let queue = world.view.queue.get(&app("/web")).expect("some wait");
    assert!(queue.offers.reasons.contains_key(&Reason::AgentMaintenance));
    world.agents[agent].away = None;
    world.pass(900.0);
    world.offer_again();
    assert!(on(&world, agent) > 0);
}

#[test]
fn a_plan_that_was_dropped_moves_nobody() {
    let mut world = World::new(2);
    world.create(sleeper("/web", 4));
    world.rest();
    let before = world.launched.len();
    let when = away(&world, 3_600, 600);
    for agent in 0..2 {
        plan(&mut world, agent, when);
        world.agents[agent].away = None;
        world.step(Input::RescindInverse(OfferId::new(format!("I{agent}")).expect("an id")));
    }
    world.pass(4_000.0);
    assert_eq!((world.launched.len(), world.running("/web")), (before, 4));
}

#[test]
fn an_app_of_one_instance_only_goes_and_comes_again_elsewhere() {
    let mut world = World::new(2);
    let mut body = sleeper("/one", 1);
    body["labels"] = json!({"MARATHON_SINGLE_INSTANCE_APP": "true"});
    world.create(body);
    world.rest();
    let agent = usize::from(on(&world, 0) == 0);
    let when = away(&world, 60, 600);
    plan(&mut world, agent, when);
    world.pass(5.0);
    assert_eq!((on(&world, agent), world.running("/one")), (0, 1));
    assert_eq!(world.most["/one"], 1);
}

#[test]
fn launches_can_be_rationed() {
    let launch_token_interval = Duration::from_secs(10);
    let limits = Config { launch_tokens: 3, launch_token_interval, ..config(7) };
    let mut world = World::with(1, limits);
    world.create(sleeper("/web", 8));
    for (secs, running) in [(1.0, 3), (8.0, 3), (2.0, 6), (10.0, 8)] {
        world.pass(secs);
        assert_eq!(world.running("/web"), running);
    }
}

#[test]
fn every_app_is_looked_at_again_and_again() {
    let mut world =
        World::with(1, Config { reconcile_delay: Duration::from_secs(30), ..config(7) });
    world.create(sleeper("/web", 2));
    world.pass(20.0);
    // A task that the master has lost without a word.
    let task = world.tasks_of("/web")[0].clone();
    world.tasks.remove(&task);
    world.pass(9.0);
    assert_eq!(world.tasks.len(), 1, "nobody has asked yet");
    world.pass(5.0);
    assert_eq!(world.tasks.len(), 2, "reconciled after its delay");
    world.pass(1_000.0);
    assert_eq!(world.running("/web"), 2);
}
