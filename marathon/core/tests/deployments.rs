//! Deployments that do not get stuck: deadlines, failures, stops, and ways round what cannot be.

mod world;

use marathon_core::history::Outcome;
use marathon_core::io::{Answer, Command, Refusal};
use model::task::TaskState;
use serde_json::{Value, json};
use world::{World, app, sleeper};

/// An app with labels that say how it is deployed.
fn labelled(id: &str, instances: u32, labels: Value) -> Value {
    let mut body = sleeper(id, instances);
    body["labels"] = labels;
    body
}

/// An app that wants this port on each agent.
fn on_port(port: u16, instances: u32) -> Value {
    let mut body = sleeper("/web", instances);
    body["portDefinitions"] = json!([{"port": port}]);
    body["requirePorts"] = true.into();
    body
}

fn outcomes(world: &World) -> Vec<Option<Outcome>> {
    let ends = world.view.history.values().map(|past| past.end.as_ref().map(|end| end.outcome));
    ends.collect()
}

fn last_reason(world: &World) -> String {
    let past = world.view.history.values().rev().find_map(|past| past.end.as_ref()?.why.clone());
    past.expect("a reason").to_string()
}

fn hold(world: &mut World, id: &str, is_paused: bool) -> Result<Answer, Refusal> {
    world.ask(Command::HoldDeployment { id: id.to_owned(), is_paused })
}

fn of_version(world: &World, id: &str, cmd: &str) -> usize {
    let tasks = world.tasks.values().filter(|it| it.launch.app.id.as_str() == id);
    tasks.filter(|it| it.launch.app.cmd.as_deref() == Some(cmd)).count()
}

#[test]
fn a_deployment_without_progress_fails_with_its_reason_and_frees_the_app() {
    let mut world = World::new(2);
    let mut body = labelled("/web", 2, json!({"AGORA_DEPLOYMENT_PROGRESS_SECONDS": "60"}));
    body["cpus"] = 100.into();
    world.create(body);
    world.kinds();
    world.pass(59.0);
    assert_eq!(world.view.deployments.len(), 1);
    world.pass(2.0);
    assert!(world.view.deployments.is_empty());
    assert_eq!(outcomes(&world), [Some(Outcome::Failed)]);
    assert_eq!(
        last_reason(&world),
        "no progress for 60 s: /web has 0 of 2 as wanted: \
         2 waiting for an offer that fits (InsufficientCpus on 2 agents)"
    );
    let failed = world.events.iter().find(|it| it["eventType"] == "deployment_failed");
    assert_eq!(failed.expect("it is told")["reason"], last_reason(&world).as_str());
    world.put("/web", json!({"cpus": 0.1})).expect("it is not locked");
    world.rest();
    assert_eq!(world.running("/web"), 2);
}

#[test]
fn progress_moves_the_deadline_and_a_new_leader_gives_it_anew() {
    let mut world = World::new(1);
    world.is_starting = false;
    world.create(labelled("/web", 2, json!({"AGORA_DEPLOYMENT_PROGRESS_SECONDS": "60"})));
    world.pass(50.0);
    let tasks = world.tasks_of("/web");
    world.report(&tasks[0], TaskState::Running, None);
    world.pass(50.0);
    assert_eq!(world.view.deployments.len(), 1, "one got to run 50 s ago");
    world.crash();
    world.pass(50.0);
    assert_eq!(world.view.deployments.len(), 1, "the new leader looks for 60 s first");
    world.pass(11.0);
    assert!(world.view.deployments.is_empty());
}

#[test]
fn a_failed_upgrade_is_taken_back_if_that_is_wanted() {
    let mut world = World::new(1);
    let labels =
        json!({"AGORA_DEPLOYMENT_PROGRESS_SECONDS": "30", "AGORA_DEPLOYMENT_ROLLBACK": "true"});
    world.create(labelled("/web", 2, labels));
    world.rest();
    let old = world.tasks_of("/web");
    world.put("/web", json!({"cmd": "sleep 2000", "cpus": 100})).expect("changed");
    world.pass(31.0);
    assert_eq!(world.app("/web").cmd.as_deref(), Some("sleep 1000"));
    assert_eq!(world.tasks_of("/web"), old, "the old ones never went");
    assert!(world.view.deployments.is_empty());
    assert_eq!(
        outcomes(&world),
        [Some(Outcome::Succeeded), Some(Outcome::RolledBack), Some(Outcome::Succeeded)]
    );
}

#[test]
fn taking_back_is_not_taken_back_in_turn() {
    let mut world = World::new(1);
    let labels =
        json!({"AGORA_DEPLOYMENT_PROGRESS_SECONDS": "30", "AGORA_DEPLOYMENT_ROLLBACK": "true"});
    let mut body = labelled("/web", 1, labels);
    body["upgradeStrategy"] = json!({"minimumHealthCapacity": 0, "maximumOverCapacity": 0});
    world.create(body);
    world.rest();
    world.is_starting = false;
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    world.pass(100.0);
    assert!(world.view.deployments.is_empty());
    assert_eq!(
        outcomes(&world),
        [Some(Outcome::Succeeded), Some(Outcome::RolledBack), Some(Outcome::Failed)]
    );
    assert_eq!(world.app("/web").cmd.as_deref(), Some("sleep 1000"));
}

#[test]
fn too_many_failing_tasks_end_a_deployment() {
    let mut world = World::new(1);
    let labels = json!({"AGORA_DEPLOYMENT_MAX_FAILURES": "2", "AGORA_DEPLOYMENT_ROLLBACK": "true"});
    world.create(labelled("/web", 1, labels));
    world.rest();
    let old = world.tasks_of("/web");
    world.is_starting = false;
    world.put("/web", json!({"cmd": "exit 1"})).expect("changed");
    for failures in 1..=3 {
        assert_eq!(world.view.deployments.len(), 1, "after {}", failures - 1);
        world.pass(5.0);
        let new =
            world.tasks_of("/web").into_iter().find(|it| !old.contains(it)).expect("a new one");
        world.report(&new, TaskState::Failed, None);
    }
    world.rest();
    assert!(world.view.deployments.is_empty());
    assert_eq!(world.app("/web").cmd.as_deref(), Some("sleep 1000"));
    assert_eq!(world.tasks_of("/web"), old);
    assert_eq!(last_reason(&world), "3 new tasks of /web failed, the last one with: -");
    let failed = world.events.iter().find(|it| it["eventType"] == "deployment_step_failure");
    let failed = failed.expect("it is told");
    assert_eq!(failed["currentStep"]["actions"][0]["app"], "/web");
    assert_eq!(failed["plan"]["steps"][0], failed["currentStep"]);
}

#[test]
fn a_paused_deployment_stays_as_it_is_until_it_may_go_on() {
    let mut world = World::new(1);
    let mut body = labelled("/web", 4, json!({"AGORA_DEPLOYMENT_PROGRESS_SECONDS": "30"}));
    body["upgradeStrategy"] = json!({"minimumHealthCapacity": 0.75, "maximumOverCapacity": 0});
    world.create(body);
    world.rest();
    let id = world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed").deployment;
    let id = id.expect("a deployment");
    assert_eq!(hold(&mut world, &id, true).expect("held").status, 200);
    world.pass(100.0);
    assert_eq!(world.view.deployments.len(), 1, "who holds it takes the time");
    let count = |world: &World| of_version(world, "/web", "sleep 2000");
    assert!(count(&world) <= 1, "what was under way came to its end, nothing more began");
    // A task that dies meanwhile is made up for, by what it was.
    let old = world.tasks.iter().find(|(_, it)| it.launch.app.cmd.as_deref() == Some("sleep 1000"));
    let old = old.expect("an old one").0.clone();
    world.report(&old, TaskState::Failed, None);
    world.pass(5.0);
    assert_eq!(of_version(&world, "/web", "sleep 1000"), 3);
    world.crash();
    world.pass(50.0);
    assert!(count(&world) <= 1, "a new leader holds it too");
    hold(&mut world, &id, false).expect("goes on");
    world.pass(5.0);
    assert_eq!((count(&world), world.tasks.len()), (4, 4));
    assert!(world.view.deployments.is_empty());
    assert_eq!(hold(&mut world, &id, true).expect_err("over").status, 404);
}

#[test]
fn a_canary_stops_where_it_is_to_and_keeps_the_rest_as_it_was() {
    let mut world = World::new(1);
    let labels =
        json!({"AGORA_DEPLOYMENT_CANARY": "1,3", "AGORA_DEPLOYMENT_PROGRESS_SECONDS": "30"});
    let mut body = labelled("/web", 5, labels);
    body["upgradeStrategy"] = json!({"minimumHealthCapacity": 0, "maximumOverCapacity": 0});
    world.create(body);
    world.rest();
    let id = world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed").deployment;
    let id = id.expect("a deployment");
    let counts =
        |world: &World| ["sleep 2000", "sleep 1000"].map(|cmd| of_version(world, "/web", cmd));
    world.pass(100.0);
    assert_eq!(counts(&world), [1, 4]);
    let told = world.view.explain_deployment(&id, world.now().wall).expect("it runs");
    assert_eq!(told["waitsForContinue"], json!(["/web"]));
    // Who dies at a stop comes back as it was.
    let old = world.tasks.iter().find(|(_, it)| it.launch.app.cmd.as_deref() == Some("sleep 1000"));
    let old = old.expect("an old one").0.clone();
    world.report(&old, TaskState::Failed, None);
    world.pass(5.0);
    assert_eq!(counts(&world), [1, 4]);
    hold(&mut world, &id, false).expect("goes on");
    world.pass(100.0);
    assert_eq!(counts(&world), [3, 2]);
    hold(&mut world, &id, false).expect("goes on");
    world.pass(5.0);
    assert_eq!(counts(&world), [5, 0]);
    assert!(world.view.deployments.is_empty());
}

#[test]
fn what_a_canary_began_is_taken_back_without_a_stop() {
    let mut world = World::new(1);
    world.create(labelled("/web", 4, json!({"AGORA_DEPLOYMENT_CANARY": "1,2"})));
    world.rest();
    let id = world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed").deployment;
    let id = id.expect("a deployment");
    world.pass(5.0);
    assert_eq!(of_version(&world, "/web", "sleep 2000"), 1);
    world.ask(Command::CancelDeployment { id, force: false }).expect("taken back");
    world.pass(5.0);
    assert_eq!(of_version(&world, "/web", "sleep 1000"), 4);
    assert!(world.view.deployments.is_empty(), "{:?}", world.view.deployments());
}

#[test]
fn a_batch_limits_how_many_are_replaced_at_a_time() {
    for (minimum, over) in [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)] {
        let mut world = World::new(2);
        let mut body = labelled("/web", 6, json!({"AGORA_DEPLOYMENT_BATCH": "2"}));
        body["upgradeStrategy"] =
            json!({"minimumHealthCapacity": minimum, "maximumOverCapacity": over});
        world.create(body);
        world.rest();
        world.most.clear();
        world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
        let mut least = 6;
        while world.serve() || world.work() || world.offer() {
            least = least.min(world.running("/web"));
        }
        assert_eq!(of_version(&world, "/web", "sleep 2000"), 6);
        assert!(least >= 4, "only {least} were running");
        assert!(world.most["/web"] <= 8, "{:?}", world.most);
    }
}

#[test]
fn an_upgrade_with_fixed_ports_and_no_agent_to_spare_goes_one_by_one() {
    let mut world = World::new(3);
    let mut body = on_port(31500, 3);
    body["constraints"] = json!([["hostname", "UNIQUE"]]);
    world.create(body);
    world.rest();
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    world.pass(4.0);
    assert_eq!(of_version(&world, "/web", "sleep 1000"), 3, "there may be an agent to spare");
    let id = world.view.deployments.keys().next().expect("it runs").to_string();
    let mut least = 3;
    for _ in 0..40 {
        world.pass(0.5);
        least = least.min(world.running("/web"));
        if world.view.deployments.is_empty() {
            break;
        }
    }
    assert_eq!(of_version(&world, "/web", "sleep 2000"), 3);
    assert!(least >= 2, "only {least} were running");
    let told = world.view.explain_deployment(&id, world.now().wall).expect("it is remembered");
    assert_eq!(told["outcome"], "succeeded");
}

#[test]
fn a_leader_that_knows_all_agents_sees_at_once_that_fixed_ports_leave_no_room() {
    for (agents, is_seen) in [(3, true), (4, false)] {
        let mut world = World::new(agents);
        let body = on_port(31500, 3);
        world.create(body);
        world.pass(10.0);
        world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
        let id = world.view.deployments.keys().next().expect("it runs").to_string();
        let told = world.view.explain_deployment(&id, world.now().wall).expect("it runs");
        let expected = if is_seen { json!(["/web"]) } else { json!([]) };
        assert_eq!(told["killsFirst"], expected, "{told}");
        world.pass(1.0);
        assert_eq!(of_version(&world, "/web", "sleep 2000"), 3);
    }
}

#[test]
fn an_upgrade_with_fixed_ports_and_a_spare_agent_takes_nobody_away_first() {
    let mut world = World::new(4);
    let body = on_port(31500, 3);
    world.create(body);
    world.rest();
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    let mut least = 3;
    while world.serve() || world.work() || world.offer() {
        least = least.min(world.running("/web"));
    }
    assert_eq!((least, of_version(&world, "/web", "sleep 2000")), (3, 3));
}

#[test]
fn who_has_failed_is_held_back_and_it_is_told_so() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 2);
    body["backoffSeconds"] = 30.into();
    world.create(body);
    world.rest();
    let task = world.tasks_of("/web")[0].clone();
    world.report(&task, TaskState::Failed, None);
    let told = world.view.explain_app(&app("/web"), world.now().wall).expect("it is there");
    let why = "/web has 1 of 2 as wanted: 1 held back for a while after failures";
    assert_eq!(told["why"], why, "{told}");
    world.pass(29.0);
    let told = world.view.explain_app(&app("/web"), world.now().wall).expect("it is there");
    assert_eq!(told["why"], why, "{told}");
    world.pass(2.0);
    assert_eq!(world.running("/web"), 2);
}

#[test]
fn an_agent_that_is_too_small_does_not_hold_up_an_upgrade_with_fixed_ports() {
    let mut world = World::new(1);
    world.add_agent("small", "cpus:0.01;mem:4096;ports:[31500-31500]", "");
    let body = on_port(31500, 1);
    world.create(body);
    world.pass(10.0);
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    world.pass(30.0);
    assert_eq!(of_version(&world, "/web", "sleep 1000"), 1, "it may come to have enough");
    world.pass(60.0);
    assert_eq!(of_version(&world, "/web", "sleep 2000"), 1);
    assert!(world.view.deployments.is_empty());
}

#[test]
fn a_resource_shortage_alone_takes_nobody_away() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 2);
    body["cpus"] = 2.into();
    world.create(body);
    world.rest();
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    world.pass(300.0);
    assert_eq!(world.running("/web"), 2, "the strategy wants both to stay");
    assert_eq!(of_version(&world, "/web", "sleep 1000"), 2);
}

#[test]
fn deployments_that_are_over_are_told_with_outcome_and_duration() {
    let mut world = World::new(1);
    let first = world.create(sleeper("/web", 2)).deployment.expect("one");
    world.pass(1.0);
    let mut body = sleeper("/web", 2);
    body["cpus"] = 100.into();
    let second = world.put("/web", body).expect("changed").deployment.expect("one");
    world.pass(30.0);
    world.force("/web", json!({"cpus": 0.2}));
    world.rest();
    world.crash();
    let told = world.view.explain_deployments(world.now().wall);
    assert_eq!(told["running"], json!([]));
    let history = told["history"].as_array().expect("a list");
    let brief: Vec<_> = history.iter().map(|it| (&it["outcome"], &it["tookMillis"])).collect();
    assert_eq!(
        brief,
        [
            (&json!("succeeded"), &json!(0)),
            (&json!("overridden"), &json!(30_000)),
            (&json!("succeeded"), &json!(0)),
        ]
    );
    assert_eq!((&history[1]["id"], &history[2]["id"]), (&json!(second), &json!(first)));
    assert_eq!(history[2]["apps"][0]["from"], Value::Null);
    assert_eq!(history[1]["apps"][0]["from"], history[2]["apps"][0]["to"]);
}

#[test]
fn what_an_app_waits_for_is_told_for_each_agent_and_instance() {
    let mut world = World::new(2);
    let mut body = sleeper("/web", 2);
    body["constraints"] = json!([["hostname", "CLUSTER", "host1"]]);
    body["cpus"] = 3.into();
    world.create(body);
    world.pass(1.0);
    let told = world.view.explain_app(&app("/web"), world.now().wall).expect("it is there");
    assert_eq!(told["instances"], 2);
    let agents: Vec<_> = told["waiting"]["agents"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (it["hostname"].as_str(), it["why"].as_str()))
        .collect();
    assert_eq!(
        agents,
        [
            (Some("host0"), Some("constraint hostname:CLUSTER:host1 does not hold for 'host0'")),
            (Some("host1"), Some("3 cpus wanted, 1 left")),
        ]
    );
    assert_eq!(told["deployments"][0]["waitsFor"][0]["app"], "/web");
    let running = world.tasks_of("/web")[0].clone();
    world.report(&running, TaskState::Failed, None);
    let told = world.view.explain_app(&app("/web"), world.now().wall).expect("it is there");
    let due: Vec<_> = told["all"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it.get("nextAttemptAt"))
        .collect();
    assert_eq!(due.len(), 1, "only who failed has to wait");
    assert_eq!(told["lastTaskFailure"]["taskId"], running.as_str());
    assert_eq!(world.view.explain_app(&app("/none"), world.now().wall), None);
}

#[test]
fn labels_that_mean_nothing_are_refused() {
    let mut world = World::new(1);
    let body = labelled("/web", 1, json!({"AGORA_DEPLOYMENT_BATCH": "0"}));
    let refusal = world.ask(Command::CreateApp { body, force: false }).expect_err("no batch");
    assert_eq!(refusal.status, 422);
    assert_eq!(refusal.body["details"][0]["path"], "/labels/AGORA_DEPLOYMENT_BATCH");
}

#[test]
fn what_takes_the_place_of_a_stuck_deployment_waits_for_its_instances_too() {
    let labels = |value: &str| json!({"labels": {"note": value}});
    let mut world = World::new(1);
    let mut large = sleeper("/web", 2);
    large["cpus"] = 100.into();
    large["upgradeStrategy"] = json!({"minimumHealthCapacity": 0});
    world.create(large);
    world.pass(5.0);
    let forced = world.force("/web", labels("a")).deployment.expect("one");
    world.pass(5.0);
    let running: Vec<_> = world.view.deployments.keys().map(ToString::to_string).collect();
    assert_eq!(
        (running, world.running("/web")),
        (vec![forced], 0),
        "it waits as the first one did"
    );
    assert_eq!(outcomes(&world), [Some(Outcome::Overridden), None]);
    world.add_agent("large", "cpus:300;mem:4096;disk:1000;ports:[31000-31999]", "");
    world.pass(5.0);
    assert_eq!((world.running("/web"), world.view.deployments.len()), (2, 0));
    let old = world.tasks_of("/web");
    world.put("/web", labels("b")).expect("changed");
    world.rest();
    assert_eq!((world.tasks_of("/web"), world.view.deployments.len()), (old, 0), "nothing to do");

    // Nor is an upgrade over because all old ones are gone.
    world.put("/web", json!({"cpus": 1_000})).expect("changed");
    world.pass(5.0);
    assert_eq!(world.tasks_of("/web"), []);
    world.force("/web", labels("c"));
    world.pass(5.0);
    assert_eq!(world.view.deployments.len(), 1);
    world.force("/web", json!({"cpus": 1}));
    world.pass(5.0);
    assert_eq!((world.running("/web"), world.view.deployments.len()), (2, 0));
}
