//! What Marathon keeps when its leader goes: its state, its tasks, and nothing half done.

mod world;

use marathon_core::Marathon;
use marathon_core::io::{Command, Config, Input, Output};
use marathon_core::view::Embed;
use model::step::Core;
use serde_json::json;
use world::{World, sleeper};

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
