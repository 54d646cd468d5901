//! Apps whose volumes outlive their tasks.

mod world;

use marathon_core::instance::Condition;
use marathon_core::io::{Command, Config, KillHow, PutApp, PutGroup};
use marathon_core::matcher::Reason;
use model::task::{Reason as Why, TaskState};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::{World, app, config, instance_of};

/// A Marathon with a role of its own.
fn world(agents: usize) -> World {
    World::with(agents, Config { role: "web".into(), ..config(7) })
}

fn resident(instances: u32) -> Value {
    json!({"id": "/db", "cmd": "serve", "cpus": 0.5, "mem": 64, "instances": instances,
           "container": {"type": "MESOS", "volumes": [
               {"containerPath": "data", "mode": "RW", "persistent": {"size": 100}}]}})
}

fn wipe(world: &mut World, id: &str) {
    let how = KillHow { wipe: true, ..KillHow::default() };
    world.ask(Command::KillAppTasks { id: app(id), host: None, how }).expect("killed");
}

fn wrong(world: &mut World, body: Value) -> Value {
    let refusal = world.ask(Command::CreateApp { body, force: false }).expect_err("refused");
    assert_eq!(refusal.status, 422, "{}", refusal.body);
    refusal.body["details"].clone()
}

#[test]
fn what_is_reserved_with_the_first_task_is_there_for_all_that_come_after() {
    let mut world = world(2);
    world.create(resident(2));
    world.pass(1.0);
    assert_eq!((world.running("/db"), world.reserved.len()), (2, 2));
    let reserved = world.reserved.clone();
    let volumes = |world: &World| -> BTreeSet<String> {
        let tasks = world.instances("/db");
        let tasks = tasks.iter().filter_map(|it| {
            let shown = marathon_core::app::render::task(it, "web", true)?;
            let volume = &shown["localVolumes"][0];
            assert_eq!(volume["runSpecId"], "/db", "{shown}");
            assert_eq!(volume["containerPath"], "data", "{shown}");
            let id = volume["persistenceId"].as_str()?.to_owned();
            assert_eq!(id, format!("db#data#{}", volume["uuid"].as_str()?));
            Some(id)
        });
        tasks.collect()
    };
    let before = volumes(&world);
    assert_eq!(before.len(), 2);

    // One that fails comes back to its own; so do those of a new definition, and after a crash.
    let task = world.tasks_of("/db").remove(0);
    world.report(&task, TaskState::Failed, None);
    world.pass(10.0);
    assert_eq!(world.running("/db"), 2);
    assert!(world.instances("/db").iter().any(|it| it.id == instance_of(&task)));
    world.put("/db", json!({"cmd": "serve better"})).expect("deployed");
    world.pass(60.0);
    assert!(world.instances("/db").iter().all(|it| it.app.cmd.as_deref() == Some("serve better")));
    world.crash();
    let task = world.tasks_of("/db").remove(0);
    world.report(&task, TaskState::Failed, None);
    world.pass(10.0);
    assert_eq!((world.running("/db"), &world.reserved), (2, &reserved));
    assert_eq!(volumes(&world), before);
}

#[test]
fn an_upgrade_ends_one_before_its_successor_takes_its_volume() {
    let mut world = world(1);
    world.create(resident(1));
    world.pass(1.0);
    world.put("/db", json!({"cmd": "other"})).expect("deployed");
    world.pass(60.0);
    assert_eq!((world.running("/db"), world.reserved.len()), (1, 1));
    assert_eq!(world.most["/db"], 1, "two would want one volume");
}

#[test]
fn volumes_outlive_a_scale_down_and_go_with_the_app() {
    let mut world = world(3);
    world.create(resident(3));
    world.pass(1.0);
    let reserved = world.reservations();
    world.put("/db", json!({"instances": 1})).expect("scaled");
    world.pass(60.0);
    assert_eq!((world.running("/db"), world.reservations()), (1, reserved.clone()));
    world.put("/db", json!({"instances": 3})).expect("scaled");
    world.pass(60.0);
    assert_eq!((world.running("/db"), world.reservations()), (3, reserved));
    world.delete("/db");
    world.pass(60.0);
    assert_eq!(world.reservations(), BTreeSet::new());
    assert!(world.store.keys().all(|key| !key.starts_with("reservation:")), "{:?}", world.store);
    world.pass(700.0);
    assert!(world.is_suppressed, "nothing is left to be collected");
}

#[test]
fn who_is_wiped_begins_anew() {
    let mut world = world(2);
    world.create(resident(1));
    world.pass(1.0);
    let before = world.reservations();
    wipe(&mut world, "/db");
    world.pass(60.0);
    let after = world.reservations();
    assert_eq!((world.running("/db"), after.len()), (1, 1));
    assert!(after.is_disjoint(&before), "{after:?}");
}

#[test]
fn what_is_ours_and_in_no_book_is_given_back() {
    let mut world = world(1);
    world.create(resident(1));
    world.pass(1.0);
    let (agent, resources) = world.reserved.values().next().expect("one").clone();
    // As after a store that was restored from an older copy.
    world.reserved.insert("strange".into(), (agent, resources));
    world.create(world::sleeper("/other", 1));
    world.offer_again();
    world.pass(1.0);
    assert!(!world.reserved.contains_key("strange"));
    assert_eq!((world.running("/db"), world.reserved.len()), (1, 1));
}

#[test]
fn a_launch_that_never_came_leaves_no_reservation_and_is_made_up_for() {
    let mut world = world(1);
    world.create(resident(1));
    // The offer is gone before it is accepted.
    world.offer();
    world.rescind_all();
    world.pass(60.0);
    assert_eq!((world.running("/db"), world.reserved.len()), (1, 1));
    world.pass(700.0);
    let kept = world.store.keys().filter(|key| key.starts_with("reservation:")).count();
    assert_eq!(kept, 1, "what never was is forgotten: {:?}", world.store.keys());
}

#[test]
fn a_launch_that_only_the_master_knows_of_proves_no_reservation() {
    let mut world = world(1);
    world.create(resident(1));
    world.offer();
    // The master has handed it on, says so when it is asked, and then hears that it never arrived.
    let task = world.instances("/db")[0].task.as_ref().expect("launched").id.clone();
    world.report_of(&task, Some(0), TaskState::Staging, Some(Why::Reconciliation));
    world.rescind_all();
    world.pass(60.0);
    assert_eq!((world.running("/db"), world.reserved.len()), (1, 1));
}

#[test]
fn who_waits_for_its_agent_says_so_and_waits_as_long_as_it_is_to() {
    for (strategy, waits) in [
        (json!("disabled"), true),
        (json!({"inactiveAfterSeconds": 60, "expungeAfterSeconds": 120}), false),
    ] {
        let mut world = world(2);
        let mut body = resident(1);
        body["unreachableStrategy"] = strategy;
        world.create(body);
        world.pass(1.0);
        let before = world.reservations();
        let task = world.tasks_of("/db").remove(0);
        let agent = world.tasks[&task].agent;
        world.agents[agent].is_up = false;
        world.report_of(&task, Some(agent), TaskState::Unreachable, None);
        let lost = world.agents[agent].id.clone();
        world.step(marathon_core::io::Input::AgentLost(lost));
        world.pass(200.0);
        world.offer_again();
        world.pass(1.0);
        let elsewhere = world.tasks.values().filter(|it| it.agent != agent).count();
        assert_eq!(elsewhere, usize::from(!waits));
        // It comes back; what nobody waits for any more is killed, and its volume goes.
        world.agents[agent].is_up = true;
        world.report_of(&task, Some(agent), TaskState::Running, None);
        world.offer_again();
        world.pass(60.0);
        world.offer_again();
        world.pass(60.0);
        assert_eq!((world.running("/db"), world.reserved.len()), (1, 1));
        assert_eq!(world.reservations() == before, waits);
    }
}

#[test]
fn an_operator_who_gives_an_agent_up_gives_its_volumes_up() {
    let mut world = world(2);
    world.create(resident(1));
    world.pass(1.0);
    let task = world.tasks_of("/db").remove(0);
    let agent = world.tasks.remove(&task).expect("it runs").agent;
    world.agents[agent].is_up = false;
    world.report_of(
        &task,
        Some(agent),
        TaskState::GoneByOperator,
        Some(Why::AgentRemovedByOperator),
    );
    world.offer_again();
    world.pass(10.0);
    assert_eq!(world.running("/db"), 1);
    assert!(world.tasks.values().all(|it| it.agent != agent));
}

#[test]
fn what_was_given_up_on_an_agent_that_is_away_goes_when_it_is_back() {
    let mut world = world(2);
    world.create(resident(1));
    world.pass(1.0);
    let task = world.tasks_of("/db").remove(0);
    let agent = world.tasks.remove(&task).expect("it runs").agent;
    world.agents[agent].is_up = false;
    let why = Some(Why::AgentRemovedByOperator);
    world.report_of(&task, Some(agent), TaskState::GoneByOperator, why);
    let lost = world.agents[agent].id.clone();
    world.step(marathon_core::io::Input::AgentLost(lost));
    world.pass(700.0);
    assert!(world.is_suppressed, "nobody waits for offers");
    assert_eq!(world.reserved.len(), 2);
    // Days are between: nothing else makes Marathon ask for offers.
    world.agents[agent].is_up = true;
    world.pass(3_700.0);
    assert_eq!((world.running("/db"), world.reserved.len()), (1, 1));
    assert_eq!(world.stored_reservations(), 1);
    world.pass(7_200.0);
    assert!(world.is_suppressed);
}

/// Takes the agent of the only task away: the task ends and is not yet started again.
fn lose_agent_of_waiting(world: &mut World) -> usize {
    let task = world.tasks_of("/db").remove(0);
    let agent = world.tasks[&task].agent;
    world.agents[agent].is_up = false;
    world.report(&task, TaskState::Failed, None);
    let lost = world.agents[agent].id.clone();
    world.step(marathon_core::io::Input::AgentLost(lost));
    world.pass(60.0);
    assert_eq!(world.instances("/db")[0].condition, Condition::Scheduled, "it waits for its data");
    agent
}

#[test]
fn who_waits_for_an_agent_that_is_gone_for_good_starts_anew() {
    let mut world = world(2);
    world.create(resident(1));
    world.pass(1.0);
    let agent = lose_agent_of_waiting(&mut world);
    world.pass(5_000.0);
    assert_eq!(world.running("/db"), 0, "nobody else has the data");
    // Nothing of ours runs there, so the master has nothing to tell; it is asked now and then.
    world.agents[agent].is_gone = true;
    world.pass(610.0);
    assert_eq!(world.running("/db"), 1);
    assert!(world.tasks.values().all(|it| it.agent != agent));
    assert_eq!(world.stored_reservations(), 1, "what is gone is remembered by nobody");
    assert!(
        !world.kinds().contains(&"unknown_instance_terminated_event".to_owned()),
        "a question is no end of a task"
    );
}

#[test]
fn who_waits_for_its_data_can_be_sent_on_without_it() {
    for is_kept_for_next in [false, true] {
        let mut world = world(2);
        world.create(resident(1));
        world.pass(1.0);
        if is_kept_for_next {
            world.put("/db", json!({"instances": 0})).expect("scaled");
            world.pass(10.0);
            world.agents.iter_mut().for_each(|agent| agent.is_up = false);
            let host = &world.view.reservations.values().next().expect("kept").place.host;
            let agent = world.agents.iter().position(|it| *it.host != **host).expect("another one");
            world.agents[agent].is_up = true;
            world.put("/db", json!({"instances": 1})).expect("scaled");
            world.pass(10.0);
        } else {
            lose_agent_of_waiting(&mut world);
        }
        let told = world.view.explain_app(&app("/db"), world.now().wall).expect("it is there");
        let kept = &told["reserved"][0];
        assert_eq!(kept["isUsed"], false, "{told}");
        assert_eq!(kept.get("instance").is_none(), is_kept_for_next, "{told}");
        assert!(kept["volumes"][0].as_str().is_some_and(|it| it.starts_with("db#data#")), "{told}");
        assert_eq!(world.running("/db"), 0);
        let waiting = world.instances("/db")[0].id.to_string();
        let how = KillHow { wipe: true, ..KillHow::default() };
        world.ask(Command::KillTask { id: app("/db"), task: waiting, how }).expect("wiped");
        world.pass(10.0);
        assert_eq!(world.running("/db"), 1);
    }
}

#[test]
fn what_is_in_no_book_is_looked_for_though_nobody_waits() {
    let mut world = world(1);
    world.create(resident(1));
    world.pass(200.0);
    let (agent, resources) = world.reserved.values().next().expect("one").clone();
    let strange = |world: &World| world.reserved.contains_key("strange");
    world.reserved.insert("strange".into(), (agent, resources.clone()));
    world.pass(60.0);
    assert!(world.is_suppressed && strange(&world), "all runs as it is to");
    world.pass(600.0);
    assert!(world.is_suppressed && !strange(&world), "it is looked for with each reconciliation");
    world.reserved.insert("strange".into(), (agent, resources));
    world.crash();
    world.pass(70.0);
    assert!(world.is_suppressed && !strange(&world), "and by each new leader");
    assert_eq!((world.running("/db"), world.reserved.len()), (1, 1));

    let mut everybodys = World::new(1);
    everybodys.pass(10.0);
    let before = everybodys.revives;
    everybodys.pass(7_300.0);
    assert_eq!(everybodys.revives, before, "nothing can be reserved for everybody");
}

#[test]
fn whoever_has_no_room_for_its_volumes_is_told() {
    let mut world = world(1);
    let mut body = resident(1);
    body["container"]["volumes"][0]["persistent"]["size"] = json!(2_000);
    world.create(body);
    world.pass(1.0);
    assert_eq!(world.running("/db"), 0);
    let queue = world.view.queue.get(&app("/db")).expect("it waits");
    assert!(queue.offers.reasons.contains_key(&Reason::InsufficientDisk), "{queue:?}");
}

#[test]
fn hosts_are_unlike_also_while_nobody_runs_there() {
    let mut world = world(2);
    let mut body = resident(1);
    body["constraints"] = json!([["hostname", "UNIQUE"]]);
    world.create(body);
    world.pass(1.0);
    world.is_starting = false;
    let task = world.tasks_of("/db").remove(0);
    let agent = world.tasks[&task].agent;
    world.report(&task, TaskState::Failed, None);
    world.put("/db", json!({"instances": 2})).expect("scaled");
    world.is_starting = true;
    world.pass(20.0);
    assert_eq!(world.running("/db"), 2);
    assert_eq!(world.tasks.values().filter(|it| it.agent == agent).count(), 1);
}

#[test]
fn what_is_reserved_for_an_app_cannot_be_changed_whatever_is_forced() {
    let mut world = world(1);
    let mut body = resident(1);
    body["id"] = "/web/db".into();
    world.create(body.clone());
    world.pass(1.0);
    let reserved = world.reserved.clone();
    let first = world.app("/web/db").version;
    let larger = json!([{"containerPath": "data", "mode": "RW", "persistent": {"size": 101}}]);
    let needs = "cpus, mem, disk and gpus cannot be changed with persistent volumes: they are reserved \
                 with these";
    for (change, path, error) in [
        (json!({"cpus": 1}), "/", needs),
        (json!({"cpus": 0.1}), "/", needs),
        (json!({"mem": 65}), "/", needs),
        (json!({"disk": 1}), "/", needs),
        (json!({"gpus": 1}), "/", needs),
        (json!({"portDefinitions": []}), "/portDefinitions", "host ports cannot be changed"),
        (json!({"role": "web"}), "/role", "the role cannot be changed"),
        (
            json!({"container": {"type": "MESOS", "volumes": larger}}),
            "/container/volumes",
            "persistent volumes cannot be changed",
        ),
        (json!({"container": null}), "/container/volumes", "persistent volumes cannot be changed"),
    ] {
        for force in [false, true] {
            let how = PutApp { null_removes: true, force, ..world::PUT };
            let command = Command::PutApp { id: app("/web/db"), body: change.clone(), how };
            let refusal = world.ask(command).expect_err("refused");
            assert_eq!(refusal.status, 422, "{change} {}", refusal.body);
            let detail = &refusal.body["details"][0];
            assert_eq!(detail["path"], path, "{change} {detail}");
            let text = detail["errors"][0].as_str().expect("a text");
            assert!(text.starts_with(error), "{change}: {text}");
        }
    }
    // Nor by way of its group. What is not reserved can.
    let mut wider = body.clone();
    wider["mem"] = 128.into();
    let group = json!({"id": "/web", "apps": [wider]});
    let command = Command::PutGroup { id: app("/web"), body: group, how: PutGroup::default() };
    assert_eq!(world.ask(command).expect_err("refused").status, 422);
    assert_eq!((world.app("/web/db").version, &world.reserved), (first, &reserved));
    let change = json!({"cmd": "serve better", "env": {"A": "b"}, "labels": {"c": "d"}});
    world.put("/web/db", change).expect("changed");
    world.pass(60.0);
    assert_eq!((world.running("/web/db"), &world.reserved), (1, &reserved));
}

#[test]
fn what_cannot_be_is_refused_with_what_is_wrong() {
    let mut world = world(1);
    let volume = |over: Value| {
        let mut volume = json!({"containerPath": "data", "mode": "RW", "persistent": {"size": 1}});
        for (name, value) in over.as_object().expect("fields") {
            volume[name] = value.clone();
        }
        let mut body = resident(1);
        body["container"]["volumes"] = json!([volume]);
        body
    };
    let persistent = |fields: Value| volume(json!({ "persistent": fields }));
    for (body, path) in [
        (volume(json!({"containerPath": "a/b"})), "containerPath"),
        (volume(json!({"containerPath": ".."})), "containerPath"),
        (volume(json!({"mode": "RO"})), "mode"),
        (persistent(json!({})), "size"),
        (persistent(json!({"size": 0})), "size"),
        (persistent(json!({"size": 1, "type": "tape"})), "type"),
        (persistent(json!({"size": 1, "maxSize": 2})), "maxSize"),
        (persistent(json!({"size": 2, "type": "mount", "maxSize": 2})), "maxSize"),
        (persistent(json!({"size": 1, "profileName": "fast"})), "profileName"),
        (persistent(json!({"size": 1, "constraints": [["path", "LIKE", "x"]]})), "constraints"),
        (
            persistent(json!({"size": 1, "type": "path", "constraints": [["path", "IS", "x"]]})),
            "constraints(0)",
        ),
    ] {
        let details = wrong(&mut world, body);
        let paths = details.as_array().into_iter().flatten().map(|it| &it["path"]);
        let mut paths = paths.filter_map(Value::as_str);
        assert!(paths.any(|at| at.ends_with(path)), "{path}: {details}");
    }
    let mut body = resident(1);
    body["upgradeStrategy"] = json!({"maximumOverCapacity": 0.5});
    assert_eq!(wrong(&mut world, body)[0]["path"], "/upgradeStrategy/maximumOverCapacity");

    let mut everybody = World::new(1);
    let details = wrong(&mut everybody, resident(1));
    assert_eq!(details[0]["path"], "/role", "{details}");
}
