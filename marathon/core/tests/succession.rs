//! What Marathon keeps when its leader goes: its state, its tasks, and nothing half done.

mod world;

use marathon_core::Marathon;
use marathon_core::io::{Command, Config, Input, Output};
use marathon_core::view::Embed;
use model::ids::TaskId;
use model::step::Core;
use model::task::TaskState;
use serde_json::json;
use std::collections::BTreeMap;
use world::{World, app, sleeper};

/// An app whose instances wait for 2 s after their first failure, and twice as long after each one more.
fn failing(instances: u32) -> serde_json::Value {
    json!({"id": "/web", "cmd": "x", "cpus": 0.1, "mem": 32, "instances": instances,
           "backoffSeconds": 2, "backoffFactor": 2, "maxLaunchDelaySeconds": 60})
}

/// What of the store has another value than in `before`, or is new or gone.
fn changed(world: &World, before: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let keys = world.store.keys().chain(before.keys().filter(|it| !world.store.contains_key(*it)));
    keys.filter(|key| world.store.get(*key) != before.get(*key)).cloned().collect()
}

#[test]
fn a_successor_holds_back_what_has_failed_for_what_is_left_of_its_delay() {
    let mut world = World::new(1);
    world.create(failing(2));
    world.rest();
    let bad = world::instance_of(&world.tasks_of("/web")[0]);
    world.report(&bad.task(1), TaskState::Failed, None);
    world.pass(2.1);
    world.report(&bad.task(2), TaskState::Failed, None);
    world.pass(1.0);
    let queue = world.view.queue(world.now().wall, false);
    assert_eq!(queue["queue"][0]["delay"]["timeLeftSeconds"], 3, "{queue}");
    world.crash();
    assert_eq!(
        world.view.queue(world.now().wall, false)["queue"][0]["delay"],
        queue["queue"][0]["delay"]
    );
    world.pass(2.9);
    assert_eq!(world.running("/web"), 1, "before its 4 s are over");
    world.pass(0.2);
    assert_eq!(world.running("/web"), 2);
    // The next failure builds on those that the leader before has seen.
    world.crash();
    world.rest();
    world.report(&bad.task(3), TaskState::Failed, None);
    world.pass(7.9);
    assert_eq!(world.running("/web"), 1);
    world.pass(0.2);
    assert_eq!(world.running("/web"), 2);
}

#[test]
fn a_reset_of_all_delays_is_one_small_record_and_holds_for_successors() {
    let mut world = World::new(1);
    world.create(failing(20));
    world.rest();
    for task in world.tasks_of("/web") {
        world.report(&task, TaskState::Failed, None);
    }
    world.rest();
    assert_eq!(world.running("/web"), 0);
    world.agents[0].is_up = false;
    let before = world.store.clone();
    world.ask(Command::ResetDelay { id: app("/web") }).expect("they wait");
    assert_eq!(changed(&world, &before), ["resets:/web"]);
    assert!(world.store["resets:/web"].len() < 100);
    world.crash();
    world.agents[0].is_up = true;
    world.rest();
    assert_eq!(world.running("/web"), 20, "at once");
    // What fails after it waits again, also with the next leader.
    let bad = world::instance_of(&world.tasks_of("/web")[0]);
    world.report(&bad.task(2), TaskState::Failed, None);
    world.crash();
    world.pass(1.9);
    assert_eq!(world.running("/web"), 19, "as after a first failure");
    world.pass(0.2);
    assert_eq!(world.running("/web"), 20);
}

#[test]
fn a_failure_costs_two_small_records_however_many_instances_there_are() {
    let mut world = World::new(1);
    world.create(failing(20));
    world.rest();
    let (before, bad) = (world.store.clone(), world.tasks_of("/web").remove(0));
    world.report(&bad, TaskState::Failed, None);
    let instance = format!("instance:{}", world::instance_of(&bad));
    assert_eq!(changed(&world, &before), ["failure:/web", &*instance]);
    // An executor may say whatever it likes; a record that masters refuse would cost the lead.
    let bad = world.tasks_of("/web").remove(0);
    world.report_saying(&bad, TaskState::Failed, &"é".repeat(2 << 20));
    assert!(world.store["failure:/web"].len() < 32 << 10);
}

#[test]
fn a_successor_shows_the_last_failure_until_its_app_is_gone() {
    let mut world = World::new(1);
    world.create(failing(1));
    world.rest();
    let bad = world.tasks_of("/web").remove(0);
    world.report(&bad, TaskState::Failed, None);
    let failure = |world: &World| {
        world.shown("/web", Embed::SINGLE).expect("it is there")["lastTaskFailure"].clone()
    };
    let shown = failure(&world);
    assert_eq!(shown["taskId"], bad.as_str());
    world.pass(10.0);
    world.crash();
    assert_eq!(failure(&world), shown);
    world.report(&world::instance_of(&bad).task(2), TaskState::Failed, None);
    world.ask(Command::ResetDelay { id: app("/web") }).expect("it waits");
    world.delete("/web");
    world.rest();
    let kept = |world: &World| -> Vec<String> {
        let kinds = world.store.keys().filter_map(|key| key.split(':').next());
        let mut kinds: Vec<_> = kinds.map(str::to_owned).collect();
        kinds.dedup();
        kinds
    };
    assert_eq!(kept(&world), ["framework", "past", "version"], "what groups may go back to");
    // A new app of that name starts without them, and what a half-made write has left behind goes.
    world.create(failing(1));
    world.rest();
    assert!(failure(&world).is_null());
    world.store.insert(
        "failure:/old".to_owned(),
        br#"{"form":1,"app":"/old","host":"h",
        "message":"","state":"TASK_FAILED","task":"t","agent":"S0","at":1,"version":1}"#
            .to_vec(),
    );
    world.store.insert("resets:/old".to_owned(), br#"{"form":1,"app":"/old","resets":1}"#.to_vec());
    world.crash();
    assert!(!world.store.keys().any(|key| key.ends_with("/old")));
}

#[test]
fn a_successor_takes_up_what_was_under_way() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 4));
    world.rest();
    let old = world.tasks_of("/web");
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    for _ in 0..9 {
        assert!(world.serve() || world.work() || world.offer());
    }
    world.crash();
    assert_eq!(world.view.deployments().len(), 1, "the deployment is still there");
    world.rest();
    assert_eq!(world.running("/web"), 4);
    assert!(old.iter().all(|task| !world.tasks.contains_key(task)));
    assert_eq!(world.launched.len(), 8, "nothing was launched twice");
    assert!(world.view.deployments().is_empty());
    // And at rest a crash changes nothing.
    world.crash();
    world.pass(1.0);
    assert_eq!(world.launched.len(), 8);
    assert_eq!(world.shown("/web", Embed::LIST).expect("there")["tasksRunning"], 4);
}

#[test]
fn a_successor_goes_on_where_a_deployment_stood() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 4));
    while world.tasks.len() < 4 {
        assert!(world.serve() || world.work() || world.offer());
    }
    assert_eq!(world.view.deployments().len(), 1, "it is not done yet");
    let started: Vec<_> = world.tasks.keys().cloned().collect();
    world.crash();
    world.rest();
    assert_eq!(world.running("/web"), 4);
    assert_eq!(world.launched.len(), 4, "what was started is what was wanted");
    assert!(started.iter().all(|task| world.tasks.contains_key(task)));
}

#[test]
fn the_framework_id_is_kept_before_a_master_hears_of_it() {
    let mut marathon = Marathon::new(Config::default());
    let now = World::new(0).now();
    let mut out = Vec::new();
    marathon.step(Input::Lead { stored: Vec::new() }, now, &mut out);
    let is_subscribe = |output: &Output| matches!(output, Output::Subscribe { .. });
    assert!(!out.iter().any(is_subscribe), "{out:?}");
    let Some(Output::Store { write, puts }) = out.pop() else { panic!("{out:?}") };
    let kept = puts.iter().find(|(key, _)| key == "framework").and_then(|(_, it)| it.clone());
    let kept = String::from_utf8(kept.expect("it is written")).expect("JSON");
    out.clear();
    marathon.step(Input::Committed { write }, now, &mut out);
    let Some(Output::Subscribe { framework: Some(id), .. }) =
        out.iter().find(|it| is_subscribe(it))
    else {
        panic!("{out:?}")
    };
    assert!(kept.contains(id.as_str()), "{kept}");
}

#[test]
fn tasks_that_nobody_wants_are_ended() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 2));
    world.rest();
    // The store is lost, the cluster is not.
    world.store.clear();
    world.crash();
    world.rest();
    assert!(world.tasks.is_empty());
}

#[test]
fn nothing_is_shown_or_done_before_it_is_stored() {
    let mut world = World::new(0);
    world.rest();
    let now = world.now();
    let mut out = Vec::new();
    let ask = |n| {
        Input::Ask(marathon_core::io::Ask {
            request: model::ids::RequestId(n),
            client: "c".into(),
            uri: "u".into(),
            command: Command::CreateApp { body: sleeper(&format!("/a{n}"), 1), force: false },
        })
    };
    world.marathon.step(ask(1), now, &mut out);
    world.marathon.step(ask(2), now, &mut out);
    let [Output::Store { write, puts }] = &out[..] else { panic!("{out:?}") };
    let keys: Vec<_> = puts.iter().map(|(key, _)| key.split(':').next().expect("a kind")).collect();
    assert_eq!(
        keys,
        ["app", "deployment", "instance", "past", "version"],
        "the second waits for the next write"
    );
    let write = *write;
    out.clear();
    world.marathon.step(Input::Committed { write }, now, &mut out);
    let answers: Vec<_> = out.iter().filter(|it| matches!(it, Output::Answer { .. })).collect();
    assert_eq!(answers.len(), 1);
    assert!(matches!(out.last(), Some(Output::Store { .. })));
    let Some(Output::Store { write, .. }) = out.pop() else { unreachable!() };
    out.clear();
    world.marathon.step(Input::CommitFailed { write }, now, &mut out);
    let refused =
        matches!(&out[0], Output::Answer { answer: Err(refusal), .. } if refusal.status == 503);
    assert!(refused, "{out:?}");
    assert_eq!(out.last(), Some(&Output::StepDown));
    assert_eq!(world.marathon.next_deadline(), None);
}

/// A checked app of one instance that is healthy and waits long after a failure; its task.
fn checked(world: &mut World, labels: serde_json::Value) -> TaskId {
    let mut body = sleeper("/web", 1);
    body["healthChecks"] =
        json!([{"protocol": "MESOS_TCP", "intervalSeconds": 10, "maxConsecutiveFailures": 3}]);
    body["backoffSeconds"] = 30.into();
    body["labels"] = labels;
    world.create(body);
    world.rest();
    let task = world.tasks_of("/web").remove(0);
    world.report(&task, TaskState::Running, Some(true));
    world.rest();
    task
}

#[test]
fn an_end_for_ill_health_is_no_end_that_was_asked_for_to_a_successor_either() {
    let mut world = World::new(1);
    let task = checked(&mut world, json!({}));
    world.report(&task, TaskState::Running, Some(false));
    world.is_killing = false;
    world.report(&task, TaskState::Killing, Some(false));
    world.crash();
    world.rest();
    world.events.clear();
    world.report(&task, TaskState::Killed, None);
    let told = |it: &serde_json::Value| it["eventType"] == "unhealthy_instance_kill_event";
    assert_eq!(world.events.iter().filter(|it| told(it)).count(), 1);
    world.pass(29.0);
    assert_eq!(world.running("/web"), 0, "it counts as a failure");
    world.pass(2.0);
    assert_eq!(world.running("/web"), 1);
}

#[test]
fn a_successor_replaces_an_unhealthy_instance_when_its_time_has_come() {
    let mut world = World::new(1);
    let task = checked(&mut world, json!({"AGORA_HEALTH_REPLACE_FIRST": "true"}));
    world.report(&task, TaskState::Running, Some(false));
    world.pass(15.0);
    world.crash();
    world.pass(4.0);
    assert_eq!(world.tasks.len(), 1, "it may fail three times, ten seconds apart");
    world.pass(2.0);
    assert_eq!(world.tasks.len(), 2, "its agent has said what it has to say");
}
