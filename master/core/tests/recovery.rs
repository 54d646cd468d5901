//! What a new leader does before it knows everything.

mod world;

use master_core::{Config, Input};
use model::amount::Milli;
use model::framework::Capabilities;
use model::ids::FrameworkId;
use model::operator::OperatorCall;
use model::role::Role;
use model::rules::{Quota, Weight};
use std::collections::BTreeMap;
use std::time::Duration;
use world::World;

const AGENTS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Agents that answer no ping are in contact all the same.
fn patient() -> Config {
    let agent_ping_timeout = Duration::from_secs(86_400);
    Config { agent_ping_timeout, ..Config::default() }
}

/// Five agents, and a role that uses all of its two cores on one of them, whose name is returned.
fn full_role(config: Config) -> (World, &'static str) {
    let mut world = World::with(config);
    for agent in AGENTS {
        world.agent(agent);
    }
    let limits = BTreeMap::from([("cpus".into(), Milli::units(2))]);
    let quotas = vec![(role("dev"), Quota { limits, ..Quota::default() })];
    assert!(world.operate(OperatorCall::UpdateQuota { quotas, force: false }).is_some());
    world.framework_in("dev", "dev", Capabilities::default());
    world.settle();
    let offers = world.frameworks["dev"].offers.values();
    let of_cores = offers.clone().find(|offer| offer.resources.scalar("cpus") > Milli::ZERO);
    let holder = of_cores.expect("an offer of cores").agent.clone();
    let holder = AGENTS.into_iter().find(|agent| world.id(agent) == holder).expect("it is there");
    world.launch("dev", holder, &["t1", "t2"]);
    world.heard("dev");
    (world, holder)
}

fn role(name: &str) -> Role {
    Role::new(name).expect("a role")
}

/// How much of cores a framework holds in offers.
fn cores_offered(world: &World, framework: &str) -> Milli {
    let offers = world.frameworks[framework].offers.values();
    offers.map(|offer| offer.resources.scalar("cpus")).fold(Milli::ZERO, |sum, more| sum + more)
}

#[test]
fn roles_with_quota_wait_until_most_agents_are_back_and_others_do_not() {
    let (mut world, holder) = full_role(patient());
    world.lead();
    world.resubscribe("dev");
    world.framework_in("any", "*", Capabilities::default());
    let others: Vec<_> = AGENTS.into_iter().filter(|agent| *agent != holder).collect();
    for agent in &others[..3] {
        world.reconnect(agent);
    }
    world.pass(Duration::from_secs(60));
    assert_eq!(world.heard("dev"), ["subscribed"], "it may have all it may have");
    assert_eq!(cores_offered(&world, "any"), Milli::units(12), "nobody else waits");
    let dev = world.frameworks["dev"].id.clone();
    let told = world.explain(&dev, None).expect("it is there");
    let why = "the role has quota, and too few agents are back since the leader changed";
    assert!(told.roles[0].reasons.iter().any(|reason| reason.why == why), "{told:?}");

    world.reconnect(holder);
    world.settle();
    let told = world.explain(&dev, None).expect("it is there");
    assert!(told.roles[0].reasons.iter().all(|reason| reason.why != why), "{told:?}");
    assert_eq!(cores_offered(&world, "dev"), Milli::ZERO, "it has two, and may have no more");
    assert_eq!(told.roles[0].consumed.get("cpus"), Some(&Milli::units(2)));
}

#[test]
fn roles_with_quota_wait_only_so_long_for_agents_that_stay_away() {
    let (mut world, holder) = full_role(patient());
    world.lead();
    world.resubscribe("dev");
    let other = AGENTS.into_iter().find(|agent| *agent != holder).expect("there are five");
    world.reconnect(other);
    world.pass(Duration::from_secs(599));
    assert_eq!(world.heard("dev"), ["subscribed"]);
    world.pass(Duration::from_secs(2));
    assert_eq!(cores_offered(&world, "dev"), Milli::units(2), "what is known has to do");
}

#[test]
fn agents_that_left_are_not_waited_for() {
    let (mut world, holder) = full_role(patient());
    world.lead();
    world.resubscribe("dev");
    let others: Vec<_> = AGENTS.into_iter().filter(|agent| *agent != holder).collect();
    world.reconnect(holder);
    world.operate(OperatorCall::MarkAgentGone(world.id(others[0])));
    world.operate(OperatorCall::MarkAgentGone(world.id(others[1])));
    world.settle();
    let is_offered =
        |world: &mut World| world.heard("dev").iter().any(|heard| heard.starts_with("offer of"));
    assert!(!is_offered(&mut world));
    world.operate(OperatorCall::MarkAgentGone(world.id(others[2])));
    world.settle();
    assert!(is_offered(&mut world), "four of five are settled");
}

#[test]
fn a_leader_gives_up_rather_than_write_off_too_many_agents() {
    for (back, gives_up) in [(2, true), (3, false)] {
        let recovery_agent_removal_limit = Milli(400);
        let mut world = World::with(Config { recovery_agent_removal_limit, ..patient() });
        for agent in AGENTS {
            world.agent(agent);
        }
        world.lead();
        for agent in &AGENTS[..back] {
            world.reconnect(agent);
        }
        world.pass(Duration::from_secs(599));
        assert_eq!(world.given_up, None);
        world.pass(Duration::from_secs(2));
        let away = world.registry.members.unreachable.len();
        assert_eq!((world.given_up.is_some(), away), (gives_up, if gives_up { 0 } else { 2 }));
        if let Some(why) = world.given_up {
            assert!(why.starts_with("3 of 5 agents have not come back"), "{why}");
        }
    }
}

#[test]
fn weights_of_flags_are_for_a_cluster_that_has_none() {
    let weight = |weight: f64| Weight::from_f64(weight).expect("above zero");
    let weights = BTreeMap::from([(role("web"), weight(2.0)), (role("dev"), weight(0.5))]);
    let mut world = World::with(Config { weights: weights.clone(), ..Config::default() });
    assert_eq!(world.rules.weights, weights);
    assert_eq!(world.registry.rules.weights, weights, "the masters have agreed on them");
    world.operate(OperatorCall::UpdateWeights(vec![(role("web"), weight(3.0))]));
    world.lead();
    assert_eq!(world.rules.weights[&role("web")], weight(3.0), "what was set later stays");
    assert_eq!(world.rules.weights.len(), 2);
}

/// A framework that had a stream and lost it, in a cluster where those away have 10 minutes at least.
fn left_alone() -> (World, FrameworkId) {
    let mut world = World::new();
    world.framework("f");
    let framework = &world.frameworks["f"];
    let (id, connection) = (framework.id.clone(), framework.connection);
    world.step(Input::SchedulerGone { connection });
    (world, id)
}

#[test]
fn a_framework_that_stays_away_ends_in_its_time_however_often_leaders_change() {
    let (mut world, id) = left_alone();
    world.pass(Duration::from_secs(50));
    world.lead();
    world.pass(Duration::from_secs(400));
    world.lead();
    world.pass(Duration::from_secs(149));
    assert!(world.registry.members.frameworks.contains_key(&id));
    world.pass(Duration::from_secs(2));
    assert!(world.registry.members.is_completed(&id));
}

#[test]
fn a_framework_that_lost_its_stream_with_the_leader_is_away_since_then() {
    let mut world = World::new();
    world.framework("f");
    let id = world.frameworks["f"].id.clone();
    world.pass(Duration::from_secs(5_000));
    world.lead();
    world.pass(Duration::from_secs(590));
    world.lead();
    // It has had its time, but not a moment to find the third leader.
    world.pass(Duration::from_secs(14));
    assert!(world.registry.members.frameworks.contains_key(&id));
    world.pass(Duration::from_secs(2));
    assert!(world.registry.members.is_completed(&id));
}

#[test]
fn the_time_of_a_framework_that_came_back_begins_anew() {
    let (mut world, id) = left_alone();
    world.pass(Duration::from_secs(50));
    world.lead();
    world.resubscribe("f");
    world.settle();
    assert_eq!(world.registry.members.frameworks[&id].away_since, None);
    world.pass(Duration::from_secs(5_000));
    world.lead();
    world.pass(Duration::from_secs(590));
    assert!(world.registry.members.frameworks.contains_key(&id));
}

#[test]
fn a_framework_that_is_back_before_its_absence_is_agreed_on_is_not_away() {
    let mut world = World::new();
    world.framework("f");
    let framework = &world.frameworks["f"];
    let (id, connection) = (framework.id.clone(), framework.connection);
    world.agrees = false;
    world.step(Input::SchedulerGone { connection });
    world.resubscribe("f");
    world.agree();
    world.settle();
    assert!(world.heard("f").contains(&"subscribed".to_owned()));
    assert_eq!(world.registry.members.frameworks[&id].away_since, None);
}
