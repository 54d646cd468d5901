//! Where instances go.

mod world;

use marathon_core::app::parse;
use marathon_core::fleet::Fleet;
use marathon_core::io::{Config, Input, OfferView};
use marathon_core::matcher;
use marathon_core::spread::Spread;
use model::ids::{AgentId, FrameworkId, OfferId};
use model::offer::Offer;
use model::payload::Payload;
use model::resources::{Attributes, Resources};
use model::rng::Rng;
use model::role::Role;
use model::task::TaskState;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::{World, app, sleeper};

const MACHINE: &str = "cpus:4;mem:4096;disk:1000;ports:[31000-31999]";

/// How many tasks of `id` run on each agent.
fn spread(world: &World, id: &str) -> Vec<usize> {
    let mut at = vec![0; world.agents.len()];
    for task in world.tasks.values().filter(|it| it.launch.app.id == app(id)) {
        at[task.agent] += 1;
    }
    at
}

/// Machines in these zones, and nothing else.
fn zones(zones: &[&str]) -> World {
    let mut world = World::new(0);
    for (n, zone) in zones.iter().enumerate() {
        world.add_agent(&format!("host{n}"), MACHINE, &format!("zone:{zone}"));
    }
    world
}

fn constrained(id: &str, instances: u32, constraints: Value) -> Value {
    let mut body = sleeper(id, instances);
    body["constraints"] = constraints;
    body
}

#[test]
fn group_by_spreads_over_the_zones_there_are_whatever_number_is_given() {
    for constraint in [json!(["zone", "GROUP_BY"]), json!(["zone", "GROUP_BY", "5"])] {
        let mut world = zones(&["a", "a", "a", "b", "c"]);
        world.create(constrained("/web", 6, json!([constraint])));
        world.pass(1.0);
        let at = spread(&world, "/web");
        assert_eq!((at[0] + at[1] + at[2], at[3], at[4]), (2, 2, 2), "{constraint}");
    }
}

#[test]
fn agents_that_are_full_are_spread_over_too() {
    let mut world = zones(&["a", "b", "c"]);
    world.agents[1].is_full = true;
    world.agents[2].total = Resources::parse("ports:[1-9]", &Role::any()).expect("resources");
    world.pass(60.0);
    world.create(constrained("/web", 4, json!([["zone", "GROUP_BY"], ["zone", "UNLIKE", "c"]])));
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [1, 0, 0], "the other is to go to zone b");
    world.agents[1].is_full = false;
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [2, 2, 0]);

    // What never made an offer and is gone is missed by nobody.
    world.add_agent("host3", MACHINE, "zone:d");
    world.agents[3].is_full = true;
    world.pass(31.0);
    world.put("/web", json!({"instances": 8})).expect("scaled");
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [2, 2, 0, 0], "zone d has fewer");
    world.agents[3].is_up = false;
    world.pass(31.0);
    assert_eq!(spread(&world, "/web"), [4, 4, 0, 0]);
}

#[test]
fn agents_that_are_kept_for_others_are_not_spread_over() {
    let mut world = zones(&["a", "b"]);
    // What another role has reserved is not waited for, whatever else of no use is left there.
    let kept = "cpus(other):4;mem(other):4096;ports:[31000-31999]";
    world.agents[1].total = Resources::parse(kept, &Role::any()).expect("resources");
    world.agents[1].is_full = true;
    world.pass(60.0);
    world.create(constrained("/web", 3, json!([["zone", "GROUP_BY"]])));
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [3, 0]);
}

#[test]
fn agents_that_are_out_of_use_are_not_waited_for_though_they_were_met() {
    let mut world = zones(&["a", "b"]);
    world.create(constrained("/web", 4, json!([["zone", "GROUP_BY"]])));
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [2, 2]);
    // Drained, for instance: it makes no offers, and the master has not lost it.
    world.agents[1].is_deactivated = true;
    world.put("/web", json!({"instances": 6})).expect("scaled");
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [3, 2], "nobody has said so yet");
    world.pass(31.0);
    assert_eq!(spread(&world, "/web"), [4, 2]);
    world.agents[1].is_deactivated = false;
    world.put("/web", json!({"instances": 9})).expect("scaled");
    world.pass(31.0);
    let at = spread(&world, "/web");
    assert_eq!((at[0] + at[1], at[0].abs_diff(at[1])), (9, 1), "it is filled first");
}

#[test]
fn who_is_spread_does_not_wait_for_a_master_that_does_not_tell() {
    let mut world = zones(&["a", "b"]);
    world.tells_agents = None;
    world.pass(60.0);
    world.create(constrained("/web", 2, json!([["zone", "GROUP_BY"]])));
    world.pass(4.0);
    assert_eq!(spread(&world, "/web"), [0, 0]);
    world.pass(2.0);
    assert_eq!(spread(&world, "/web"), [1, 1]);
    world.tells_agents = Some(false);
    world.pass(60.0);
    world.create(constrained("/other", 2, json!([["zone", "GROUP_BY"]])));
    world.pass(0.5);
    assert_eq!(spread(&world, "/other"), [1, 1], "it has said that it does not");
}

#[test]
fn a_group_that_went_before_it_was_used_holds_nobody_up() {
    let mut world = zones(&["a", "b"]);
    world.add_agent("host2", "cpus:0.01;mem:4096", "zone:c");
    world.create(constrained("/web", 4, json!([["zone", "GROUP_BY"]])));
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [1, 1, 0], "zone c has no room");
    world.agents[2].is_up = false;
    let agent = world.agents[2].id.clone();
    world.step(Input::AgentLost(agent));
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [2, 2, 0]);
}

#[test]
fn who_is_spread_stays_spread_with_fewer() {
    let mut world = zones(&["a", "b", "c"]);
    world.create(constrained("/web", 12, json!([["zone", "GROUP_BY"]])));
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [4, 4, 4]);
    for (instances, expected) in [(9, 3), (6, 2), (3, 1)] {
        world.put("/web", json!({"instances": instances})).expect("scaled");
        world.pass(1.0);
        assert_eq!(spread(&world, "/web"), [expected; 3]);
    }
}

#[test]
fn a_number_is_what_it_is_however_it_is_written() {
    let mut world = World::new(0);
    for (host, attributes) in [("host0", "level:2.5"), ("host1", "level:2"), ("host2", "level:x")] {
        world.add_agent(host, MACHINE, attributes);
    }
    for (id, value, expected) in
        [("/a", "2.50", [1, 0, 0]), ("/b", "2.0", [0, 1, 0]), ("/c", "x", [0, 0, 1])]
    {
        world.create(constrained(id, 1, json!([["level", "IS", value]])));
        world.pass(1.0);
        assert_eq!(spread(&world, id), expected, "{value}");
    }
}

#[test]
fn an_app_with_gpus_goes_where_they_are() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 1);
    body["gpus"] = json!(1);
    world.create(body);
    world.pass(1.0);
    assert_eq!(world.tasks.len(), 0);
    world.add_agent("gpus", &format!("gpus:1;{MACHINE}"), "");
    world.offer_again();
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [0, 1]);
}

#[test]
fn agents_with_gpus_are_for_those_who_want_some_and_hold_nobody_else_up() {
    let mut world = zones(&["a", "b"]);
    world.add_agent("host2", &format!("gpus:2;{MACHINE}"), "zone:c");
    let spread_over = json!([["zone", "GROUP_BY"]]);
    let mut wants = constrained("/wants", 2, spread_over.clone());
    wants["gpus"] = json!(1);
    world.create(wants);
    world.create(constrained("/plain", 4, spread_over.clone()));
    world.pass(1.0);
    assert_eq!(spread(&world, "/wants"), [0, 0, 2]);
    assert_eq!(spread(&world, "/plain"), [2, 2, 0]);
    // Its GPUs are in use, and it is known to have them all the same, also to the next leader.
    world.crash();
    world.lead();
    world.create(constrained("/later", 2, spread_over.clone()));
    let mut anywhere = constrained("/anywhere", 3, spread_over.clone());
    anywhere["labels"] = json!({"GPU_SCHEDULING_BEHAVIOR": "unrestricted"});
    world.create(anywhere);
    world.pass(1.0);
    assert_eq!(spread(&world, "/later"), [1, 1, 0]);
    assert_eq!(spread(&world, "/anywhere"), [1, 1, 1]);
    // One on every agent is on those that it may go to.
    let mut daemon = sleeper("/daemon", 1);
    daemon["labels"] = json!({"AGORA_ONE_PER_AGENT": "true"});
    world.create(daemon);
    world.pass(1.0);
    assert_eq!(spread(&world, "/daemon"), [1, 1, 0]);
}

#[test]
fn agents_with_gpus_can_be_for_everybody() {
    let mut world = World::with(0, Config { gpus_are_kept: false, ..world::config(1) });
    world.add_agent("host0", &format!("gpus:2;{MACHINE}"), "");
    world.create(sleeper("/plain", 1));
    let mut keen = sleeper("/keen", 1);
    keen["labels"] = json!({"GPU_SCHEDULING_BEHAVIOR": "restricted"});
    world.create(keen);
    world.pass(1.0);
    assert_eq!((spread(&world, "/plain"), spread(&world, "/keen")), (vec![1], vec![0]));
    // Offers that it refused are asked for again, though nothing is to be started anew.
    let labels = json!({"labels": {"GPU_SCHEDULING_BEHAVIOR": "unrestricted"}});
    world.force("/keen", labels);
    world.pass(1.0);
    assert_eq!(spread(&world, "/keen"), [1]);
}

#[test]
fn group_by_counts_only_zones_that_the_other_constraints_allow() {
    let mut world = zones(&["a", "b", "c"]);
    let constraints = json!([["zone", "GROUP_BY"], ["zone", "UNLIKE", "c"]]);
    world.create(constrained("/web", 4, constraints));
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [2, 2, 0]);
}

#[test]
fn a_zone_that_comes_later_is_filled_first_and_one_that_went_is_not_waited_for() {
    let mut world = zones(&["a", "b"]);
    world.create(constrained("/web", 4, json!([["zone", "GROUP_BY"]])));
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [2, 2]);
    world.add_agent("host2", MACHINE, "zone:c");
    world.put("/web", json!({"instances": 6})).expect("scaled");
    world.pass(1.0);
    assert_eq!(spread(&world, "/web"), [2, 2, 2]);
    // Zone c goes, with its tasks.
    world.agents[2].is_up = false;
    let lost: Vec<_> =
        world.tasks.iter().filter(|(_, it)| it.agent == 2).map(|(id, _)| id.clone()).collect();
    for task in lost {
        world.report_of(&task, Some(2), TaskState::GoneByOperator, None);
        world.tasks.remove(&task);
    }
    let agent = world.agents[2].id.clone();
    world.step(Input::AgentLost(agent));
    world.pass(5.0);
    assert_eq!(spread(&world, "/web"), [3, 3, 0]);
}

#[test]
fn an_app_with_one_instance_an_agent_follows_the_agents() {
    let mut world = zones(&["a", "b"]);
    let mut body = constrained("/agent", 1, json!([["zone", "UNLIKE", "x"]]));
    body["labels"] = json!({"AGORA_ONE_PER_AGENT": "true"});
    world.create(body);
    world.pass(1.0);
    assert_eq!(spread(&world, "/agent"), [1, 1]);
    assert!(world.view.deployments.is_empty(), "as many as there are is all that is wanted");
    assert!(!world.is_suppressed, "new agents are met by their offers");
    world.add_agent("host2", MACHINE, "zone:c");
    world.add_agent("host3", MACHINE, "zone:x");
    world.pass(1.0);
    assert_eq!(spread(&world, "/agent"), [1, 1, 1, 0]);
    let told = world.view.explain_app(&app("/agent"), world.now().wall).expect("it is there");
    assert_eq!(told["why"], "/agent has 3, one on each agent that fits: nothing is under way");
    world.put("/agent", json!({"cmd": "sleep 2000"})).expect("changed");
    world.pass(1.0);
    assert_eq!(spread(&world, "/agent"), [1, 1, 1, 0], "replaced where they are");
    assert!(world.tasks.values().all(|it| it.launch.app.cmd.as_deref() == Some("sleep 2000")));

    world.agents[1].is_up = false;
    let (task, _) = world.tasks.iter().find(|(_, it)| it.agent == 1).expect("one");
    let task = task.clone();
    world.report_of(&task, Some(1), TaskState::GoneByOperator, None);
    world.tasks.remove(&task);
    let agent = world.agents[1].id.clone();
    world.step(Input::AgentLost(agent));
    world.pass(5.0);
    assert_eq!(world.instances("/agent").len(), 2, "nothing waits for an agent that is gone");
    world.put("/agent", json!({"instances": 0})).expect("scaled");
    world.pass(1.0);
    assert!(world.tasks.is_empty(), "none is none");
}

#[test]
fn tcp_and_udp_share_a_number() {
    let mut world = World::new(1);
    let mut body = sleeper("/dns", 2);
    body["portDefinitions"] =
        json!([{"port": 31053, "protocol": "tcp"}, {"port": 31053, "protocol": "udp"}]);
    body["requirePorts"] = true.into();
    world.create(body);
    world.pass(1.0);
    assert_eq!(world.running("/dns"), 1, "once an agent");
    let launch = &world.tasks.values().next().expect("one").launch;
    assert_eq!(launch.ports, [31053, 31053]);
    assert_eq!(launch.resources.ranges("ports").count(), 1);
}

#[test]
fn reserved_resources_are_taken_only_by_who_accepts_their_role() {
    let web = Role::new("web").expect("a role");
    let fits = |owner: &Role, roles: Value| {
        let mut body = sleeper("/web", 1);
        if !roles.is_null() {
            body["acceptedResourceRoles"] = roles;
        }
        let update = parse::Update::read(&body, "").expect("an object");
        let defaults = parse::Defaults { role: "web".into(), network: None };
        let app = parse::whole(&app("/web"), &update, &defaults).expect("valid");
        let offer = OfferView {
            held: std::collections::BTreeMap::new(),
            offer: Offer {
                id: OfferId::new("O1").expect("an id"),
                framework: FrameworkId::new("F-0000").expect("an id"),
                role: web.clone(),
                agent: AgentId::new("S1").expect("an id"),
                hostname: "host1".into(),
                resources: Resources::parse(MACHINE, owner).expect("resources"),
                executors: BTreeSet::new(),
                agent_info: Payload::default(),
                agent_address: "".into(),
                unavailability: None,
            },
            attributes: Attributes::parse("").expect("none"),
            region: None,
            zone: None,
        };
        let free = offer.offer.resources.clone();
        let (fleet, mut rng) = (Fleet::default(), Rng::new(1));
        let roles = matcher::Roles { own: "web", accepted: &[] };
        let others = matcher::Others { spread: &Spread::NONE, is_one_here: false };
        matcher::matches(&app, roles, &offer, &free, others, &fleet, &mut rng).map(|_| ())
    };
    let any = Role::any();
    let cases = [Value::Null, json!(["*"]), json!(["web"]), json!(["*", "web"])];
    let reserved = cases.clone().map(|roles| fits(&web, roles).is_ok());
    assert_eq!(reserved, [true, false, true, true]);
    let unreserved = cases.map(|roles| fits(&any, roles).is_ok());
    assert_eq!(unreserved, [true, true, false, true]);
    let why = fits(&web, json!(["*"])).expect_err("not accepted");
    assert_eq!(why.reason(), matcher::Reason::UnfulfilledRole);
}

#[test]
fn apps_stay_in_the_region_of_the_master_unless_they_speak_of_regions() {
    let mut world = World::new(0);
    for region in ["east", "west"] {
        world.add_agent(region, MACHINE, "");
        world.agents.last_mut().expect("one").region = Some(region.into());
    }
    world.step(Input::Subscribed {
        framework: FrameworkId::new("F-0000").expect("an id"),
        master: "master:5050".into(),
        region: Some("east".into()),
    });
    for (id, constraints, expected) in [
        ("/home", json!([]), [4, 0]),
        ("/far", json!([["@region", "IS", "west"]]), [0, 4]),
        ("/both", json!([["@region", "GROUP_BY"]]), [2, 2]),
        ("/zoned", json!([["@zone", "UNLIKE", "none"], ["hostname", "GROUP_BY"]]), [2, 2]),
        ("/spread", json!([["hostname", "GROUP_BY"]]), [4, 0]),
    ] {
        world.create(constrained(id, 4, constraints));
        world.pass(1.0);
        assert_eq!(spread(&world, id), expected, "{id}");
    }
    world.create(constrained("/never", 1, json!([["hostname", "IS", "west"]])));
    world.pass(1.0);
    let told = world.view.explain_app(&app("/never"), world.now().wall).expect("it is there");
    let why: BTreeSet<&str> = told["waiting"]["agents"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it["why"].as_str())
        .collect();
    let home = "in region 'west', and without a constraint on @region or @zone apps stay in 'east'";
    assert!(why.contains(home), "{why:?}");
}

#[test]
fn of_many_agents_those_are_told_of_that_came_closest_to_fitting_and_the_latest() {
    let mut world = World::new(0);
    for n in 0..150 {
        let fits = n >= 130;
        let zone = if fits { "zone:b" } else { "zone:a" };
        world.add_agent(&format!("host{n}"), "cpus:0.01;mem:4096", zone);
    }
    world.create(constrained("/web", 1, json!([["zone", "IS", "b"]])));
    world.pass(1.0);
    let told = |world: &World| {
        let offers = &world.view.queue.get(&app("/web")).expect("it waits").offers;
        let count =
            |reason| offers.last_unused.values().filter(|it| it.why.reason() == reason).count();
        (count(matcher::Reason::UnfulfilledConstraint), count(matcher::Reason::InsufficientCpus))
    };
    let has = |world: &World, agent: usize| {
        let offers = &world.view.queue.get(&app("/web")).expect("it waits").offers;
        offers.last_unused.contains_key(&world.agents[agent].id)
    };
    assert_eq!(told(&world), (80, 20));
    // Who comes later takes the place of the oldest of those that tell least.
    for (host, zone) in [("late0", "zone:a"), ("late1", "zone:b")] {
        world.add_agent(host, "cpus:0.01;mem:4096", zone);
        world.pass(1.0);
        assert!(has(&world, world.agents.len() - 1), "{host}");
    }
    assert_eq!(told(&world), (79, 21));
    // Who tells less than all that are told of is not.
    for n in 0..100 {
        world.add_agent(&format!("more{n}"), "cpus:0.01;mem:4096", "zone:b");
    }
    world.pass(1.0);
    assert_eq!(told(&world), (0, 100));
    world.add_agent("last", "cpus:0.01;mem:4096", "zone:a");
    world.offer_again();
    assert_eq!(told(&world), (0, 100));
}
