//! Moving instances to where their constraints want them.

mod world;

use marathon_core::io::{Command, Input, Refusal};
use marathon_core::view::Embed;
use model::resources::Attributes;
use model::task::TaskState;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::{World, app, sleeper};

const MACHINE: &str = "cpus:4;mem:4096;disk:1000;ports:[31000-31999]";

/// `/web` with four instances in two zones, and a third zone that came later and is known.
fn uneven(constraints: &Value) -> World {
    let mut world = World::new(0);
    for (n, zone) in ["a", "b"].into_iter().enumerate() {
        world.add_agent(&format!("host{n}"), MACHINE, &format!("zone:{zone}"));
    }
    let mut body = sleeper("/web", 4);
    body["constraints"] = constraints.clone();
    world.create(body);
    world.pass(1.0);
    world.add_agent("host2", MACHINE, "zone:c");
    meet(&mut world);
    world
}

/// Has every agent make an offer.
fn meet(world: &mut World) {
    world.numbers += 1;
    let id = format!("/probe{}", world.numbers);
    let mut body = sleeper(&id, 1);
    body["cpus"] = json!(100);
    world.create(body);
    world.pass(1.0);
    world.delete(&id);
    world.pass(1.0);
}

fn group_by() -> Value {
    json!([["zone", "GROUP_BY"]])
}

/// How many tasks of `/web` run on each agent.
fn spread(world: &World) -> Vec<usize> {
    let mut at = vec![0; world.agents.len()];
    for task in world.tasks.values().filter(|it| it.launch.app.id == app("/web")) {
        at[task.agent] += 1;
    }
    at
}

/// Asks for it, and tells the body of the answer.
fn rebalance(world: &mut World, id: &str, force: bool) -> Result<Value, Refusal> {
    let answer = world.ask(Command::RebalanceApp { id: app(id), force })?;
    assert_eq!(answer.status, 200);
    Ok(answer.body.expect("a body"))
}

fn refused(world: &mut World, id: &str) -> (u16, String) {
    let why = rebalance(world, id, false).expect_err("refused");
    (why.status, why.body["message"].as_str().expect("text").to_owned())
}

fn nothing(id: &str) -> Value {
    json!({"message": format!("Nothing of {id} needs to move")})
}

#[test]
fn one_moves_to_the_zone_that_came_and_nobody_is_missing_meanwhile() {
    let mut world = uneven(&group_by());
    let (before, version) = (world.tasks_of("/web"), world.app("/web").version);
    assert_eq!(spread(&world), [2, 2, 0]);
    world.is_starting = false;
    let answer = rebalance(&mut world, "/web", false).expect("begun");
    assert!(answer["version"].is_string(), "{answer}");
    world.pass(1.0);
    assert_eq!(spread(&world), [2, 2, 1], "nobody goes before another serves");
    // It is a deployment like others.
    let shown = world.view.explain_deployments(world.now().wall);
    let deployment = &shown["running"][0];
    assert_eq!(deployment["id"], answer["deploymentId"]);
    assert_eq!(deployment["currentActions"][0]["action"], "RestartApplication", "{deployment}");
    let why = deployment["waitsFor"][0]["why"].as_str().expect("text");
    assert_eq!(why, "/web has 4 of 4 as wanted: 1 to be moved, 1 accepted but not heard of yet");
    assert_eq!(refused(&mut world, "/web").0, 409);
    assert_eq!(world.put("/web", json!({"instances": 5})).expect_err("locked").status, 409);
    world.is_starting = true;
    world.pass(5.0);
    let mut at = spread(&world);
    at.sort_unstable();
    assert_eq!(at, [1, 1, 2]);
    let kept = world.tasks_of("/web").into_iter().filter(|it| before.contains(it));
    assert_eq!(kept.count(), 3);
    assert_eq!(world.most["/web"], 5);
    assert_eq!(world.app("/web").version, version);
    assert!(world.view.deployments().is_empty());
    let shown = world.view.explain_deployments(world.now().wall);
    assert_eq!(shown["history"][0]["id"], answer["deploymentId"]);
    assert_eq!(shown["history"][0]["outcome"], "succeeded");
    assert_eq!(rebalance(&mut world, "/web", false), Ok(nothing("/web")));
}

#[test]
fn where_no_more_may_be_one_goes_first() {
    let mut world = uneven(&group_by());
    let strategy = json!({"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0});
    // A canary is of a new definition, and there is none.
    let labels = json!({"AGORA_DEPLOYMENT_CANARY": "1"});
    world.put("/web", json!({"upgradeStrategy": strategy, "labels": labels})).expect("changed");
    world.pass(1.0);
    rebalance(&mut world, "/web", false).expect("begun");
    let shown = world.view.explain_deployments(world.now().wall);
    assert_eq!(shown["running"][0]["waitsForContinue"], json!([]));
    world.pass(5.0);
    assert_eq!((world.running("/web"), world.most["/web"], spread(&world)[2]), (4, 4, 1));
    assert!(world.view.deployments().is_empty());
}

#[test]
fn a_successor_moves_those_that_were_to_move_and_nobody_else() {
    for steps in 0..12 {
        let mut world = uneven(&group_by());
        let before = world.tasks_of("/web");
        rebalance(&mut world, "/web", false).expect("begun");
        for _ in 0..steps {
            let _ = world.serve() || world.work() || world.offer();
        }
        world.crash();
        assert!(world.marathon.audit().is_empty());
        world.pass(5.0);
        let kept = world.tasks_of("/web").into_iter().filter(|it| before.contains(it));
        assert_eq!((kept.count(), world.running("/web"), spread(&world)[2]), (3, 4, 1));
        assert!(world.view.deployments().is_empty(), "after {steps}");
    }
}

#[test]
fn it_can_be_held_and_taken_back() {
    for force in [false, true] {
        let mut world = uneven(&group_by());
        let before: BTreeSet<_> = world.tasks_of("/web").into_iter().collect();
        world.is_starting = false;
        let answer = rebalance(&mut world, "/web", false).expect("begun");
        let id = answer["deploymentId"].as_str().expect("text").to_owned();
        let hold = |is_paused| Command::HoldDeployment { id: id.clone(), is_paused };
        world.ask(hold(true)).expect("held");
        world.is_starting = true;
        world.pass(5.0);
        assert_eq!(world.running("/web"), 5, "the old one stays while it is held");
        world.ask(Command::CancelDeployment { id, force }).expect("cancelled");
        world.pass(5.0);
        assert_eq!(world.running("/web"), 4);
        assert!(world.view.deployments().is_empty());
        assert!(world.tasks_of("/web").iter().filter(|it| before.contains(it)).count() >= 3);
        assert!(world.marathon.audit().is_empty());
    }
}

#[test]
fn a_task_that_ends_by_itself_while_it_is_to_move_is_replaced_elsewhere() {
    let mut world = uneven(&group_by());
    let old = world.tasks_of("/web");
    world.is_starting = false;
    rebalance(&mut world, "/web", false).expect("begun");
    world.pass(1.0);
    for task in &old {
        world.report(task, TaskState::Failed, None);
    }
    world.is_starting = true;
    world.pass(60.0);
    assert_eq!(world.running("/web"), 4);
    assert_eq!(world.launched.len(), 4 + 1 + 3, "in the place of three, and one elsewhere");
    assert!(world.view.deployments().is_empty());
}

#[test]
fn who_is_where_it_may_not_be_any_more_moves() {
    let mut world = uneven(&json!([["zone", "UNLIKE", "c"], ["zone", "MAX_PER", "2"]]));
    assert_eq!(spread(&world), [2, 2, 0]);
    world.agents[0].attributes = Attributes::parse("zone:c").expect("one");
    world.agents[2].attributes = Attributes::parse("zone:d").expect("one");
    assert_eq!(rebalance(&mut world, "/web", false), Ok(nothing("/web")), "it is not known yet");
    meet(&mut world);
    rebalance(&mut world, "/web", false).expect("begun");
    world.pass(5.0);
    assert_eq!(spread(&world), [0, 2, 2]);
    assert!(world.view.deployments().is_empty());
}

#[test]
fn what_a_deployment_left_that_was_cut_short_goes_too() {
    let mut world = uneven(&group_by());
    world.is_starting = false;
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    world.is_starting = true;
    for _ in 0..12 {
        let _ = world.serve() || world.work() || world.offer();
    }
    rebalance(&mut world, "/web", true).expect("begun or nothing to do");
    world.pass(5.0);
    assert_eq!(world.running("/web"), 4);
    let present = world.app("/web");
    assert!(world.instances("/web").iter().all(|it| it.is_current(&present)));
    assert!(world.view.deployments().is_empty());
}

#[test]
fn some_apps_are_not_moved() {
    let mut world = uneven(&group_by());
    assert_eq!(refused(&mut world, "/none"), (404, "App '/none' does not exist".to_owned()));
    let mut body = sleeper("/daemon", 1);
    body["labels"] = json!({"AGORA_ONE_PER_AGENT": "true"});
    body["constraints"] = group_by();
    world.create(body);
    let mut body = sleeper("/db/one", 1);
    body["role"] = json!("db");
    body["container"] = json!({"type": "MESOS", "volumes": [
        {"containerPath": "data", "mode": "RW", "persistent": {"size": 10}}]});
    world.create(body);
    world.pass(5.0);
    assert_eq!(rebalance(&mut world, "/daemon", false), Ok(nothing("/daemon")));
    let (status, why) = refused(&mut world, "/db/one");
    assert_eq!(status, 422);
    assert!(why.starts_with("/db/one has persistent volumes"), "{why}");
    world.step(Input::Depose);
    assert!(rebalance(&mut world, "/web", false).is_err());
    assert!(world.shown("/web", Embed::LIST).is_none());
}
