//! Deployments that wait until new instances are ready.

mod world;

use marathon_core::io::{Command, Input, Response, UpdateView};
use marathon_core::view::Embed;
use model::ids::TaskId;
use model::step::Timestamp;
use model::task::{Source, Status, TaskState};
use serde_json::{Value, json};
use world::{START, World, sleeper};

fn checked() -> Value {
    let mut body = sleeper("/web", 2);
    body["portDefinitions"] = json!([{"port": 0, "name": "http-api"}]);
    body["readinessChecks"] = json!([{"path": "/ready", "intervalSeconds": 10,
                                      "timeoutSeconds": 5, "httpStatusCodesForReady": [200, 202]}]);
    body
}

fn probed(world: &mut World, task: &TaskId, status: Option<u16>) {
    world.step(Input::Probed { task: task.clone(), status, response: None });
    world.rest();
}

/// The app with all its tasks ready.
fn deployed() -> (World, Vec<TaskId>) {
    let mut world = World::new(1);
    world.create(checked());
    world.pass(1.0);
    let tasks = world.tasks_of("/web");
    for task in &tasks {
        probed(&mut world, task, Some(200));
    }
    (world, tasks)
}

#[test]
fn new_instances_count_once_they_are_ready() {
    let mut world = World::new(1);
    world.create(checked());
    world.pass(1.0);
    assert_eq!(world.running("/web"), 2);
    assert_eq!(world.view.deployments.len(), 1, "running is not ready");
    let tasks = world.tasks_of("/web");
    assert_eq!(world.probes.len(), 2, "each is asked at once");
    let port = world.tasks[&tasks[0]].launch.ports[0];
    let probe = world.probes.iter().find(|it| it.task == tasks[0]).expect("asked");
    assert_eq!(probe.url, format!("http://host0:{port}/ready"));
    assert_eq!(probe.timeout.as_secs(), 5);

    probed(&mut world, &tasks[0], Some(202));
    probed(&mut world, &tasks[1], Some(503));
    probed(&mut world, &tasks[1], None);
    let shown = world.shown("/web", Embed::LIST.and("readiness")).expect("there");
    let results = shown["readinessCheckResults"].as_array().expect("a list");
    let ready: Vec<_> = results.iter().map(|it| it["ready"].as_bool()).collect();
    assert_eq!(ready, [Some(true), Some(false)]);
    let deployment = &world.view.deployments()[0];
    assert_eq!(
        deployment["currentActions"][0]["readinessCheckResults"],
        shown["readinessCheckResults"]
    );
    let asked = world.probes.len();
    world.pass(10.0);
    assert_eq!(world.probes.len(), asked + 1, "who is ready is not asked again");
    probed(&mut world, &tasks[1], Some(200));
    assert!(world.view.deployments.is_empty());
    world.pass(60.0);
    assert_eq!(world.probes.len(), asked + 1);
}

#[test]
fn an_upgrade_keeps_the_old_ones_until_the_new_ones_are_ready() {
    let (mut world, old) = deployed();
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    world.pass(60.0);
    assert_eq!(world.tasks.len(), 4);
    assert!(old.iter().all(|task| world.tasks.contains_key(task)));
    // A new leader goes on asking, and lets no old one go for that.
    world.crash();
    let asked = world.probes.len();
    world.pass(1.0);
    assert_eq!(world.tasks.len(), 4);
    assert_eq!(world.probes.len(), asked + 2, "only the new ones are asked");
    let new: Vec<_> = world.tasks_of("/web").into_iter().filter(|it| !old.contains(it)).collect();
    probed(&mut world, &new[0], Some(200));
    assert_eq!(world.tasks.len(), 3, "one for one");
    // Who is ready is not asked again, by no leader.
    world.crash();
    let asked = world.probes.len();
    world.pass(1.0);
    assert_eq!((world.tasks.len(), world.probes.len()), (3, asked + 1));
    probed(&mut world, &new[1], Some(200));
    assert_eq!(world.tasks_of("/web"), new);
    assert!(world.view.deployments.is_empty());
}

#[test]
fn what_is_ready_is_so_for_a_successor_that_is_to_take_it_back() {
    let (mut world, old) = deployed();
    let id = world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed").deployment;
    world.pass(1.0);
    let all = world.tasks_of("/web");
    let ready = all.iter().find(|task| !old.contains(task)).expect("a new one");
    probed(&mut world, ready, Some(200));
    assert_eq!(world.tasks.len(), 3, "an old one went for it");
    world.crash();
    let id = id.expect("a deployment");
    world.is_starting = false;
    world.ask(Command::CancelDeployment { id, force: false }).expect("taken back");
    world.rest();
    assert!(world.tasks.contains_key(ready), "it serves until another one comes in its place");
    let running = world.tasks.values().filter(|it| it.state == TaskState::Running);
    assert_eq!(running.count(), 2, "the one that was not ready is gone");
}

#[test]
fn a_port_that_is_only_inside_is_asked_at_the_containers_address() {
    let mut world = World::new(1);
    let mut body = checked();
    body.as_object_mut().expect("an object").remove("portDefinitions");
    body["instances"] = 1.into();
    body["networks"] = json!([{"mode": "container", "name": "blue"}]);
    body["container"] = json!({"type": "MESOS", "portMappings": [
        {"name": "other", "hostPort": 0, "containerPort": 80},
        {"name": "http-api", "containerPort": 8080},
    ]});
    let nowhere = |body: &Value| {
        let mut body = body.clone();
        body["container"]["portMappings"][1]["containerPort"] = 0.into();
        body
    };
    let refusal = world.ask(Command::CreateApp { body: nowhere(&body), force: false });
    let refusal = refusal.expect_err("there is nothing to ask");
    assert_eq!(refusal.status, 422);
    assert_eq!(refusal.body["details"][0]["path"], "/readinessChecks(0)/portName");

    world.create(body);
    world.pass(1.0);
    let task = world.tasks_of("/web").remove(0);
    assert_eq!(world.probes[0].url, "http://10.0.0.1:8080/ready");

    let at = Timestamp(START + 2_000_000);
    let mut status = Status::new(task.clone(), TaskState::Running, Source::Executor, at);
    status.agent = Some(world.agents[0].id.clone());
    let update = UpdateView { addresses: vec!["fd00::7".into()], ..UpdateView::plain(status) };
    world.step(Input::Update(update));
    world.pass(10.0);
    assert_eq!(world.probes.last().expect("asked").url, "http://[fd00::7]:8080/ready");
    probed(&mut world, &task, Some(200));
    assert!(world.view.deployments.is_empty());
}

#[test]
fn the_last_answer_is_shown_where_that_is_wanted() {
    for keeps in [false, true] {
        let mut world = World::new(1);
        let mut body = checked();
        body["instances"] = 1.into();
        body["readinessChecks"][0]["preserveLastResponse"] = keeps.into();
        world.create(body);
        world.pass(1.0);
        let task = world.tasks_of("/web").remove(0);
        assert_eq!(world.probes[0].keeps_response, keeps);
        let mut answer = |status: u16, body: &str| {
            let (content_type, body) = ("text/plain".to_owned(), body.to_owned());
            let response = keeps.then(|| Response { status, content_type, body }.into());
            world.step(Input::Probed { task: task.clone(), status: Some(status), response });
            world.rest();
            let shown = world.shown("/web", Embed::LIST.and("readiness")).expect("there");
            shown["readinessCheckResults"][0].clone()
        };
        for (status, ready, body) in [(503, false, "warming up"), (200, true, "serving")] {
            let result = answer(status, body);
            assert_eq!(result["ready"], ready);
            let kept = json!({"status": status, "contentType": "text/plain", "body": body});
            assert_eq!(result.get("lastResponse"), Some(&kept).filter(|_| keeps));
        }
    }
}
