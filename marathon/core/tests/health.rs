//! Instances that are unhealthy or out of contact.

mod world;

use marathon_core::instance::Condition;
use marathon_core::io::{Command, FailingCheck, Input, KillHow};
use marathon_core::view::Embed;
use model::ids::{FrameworkId, TaskId};
use model::task::TaskState;
use serde_json::{Value, json};
use world::{World, instance_of, sleeper};

/// Three checked instances, all healthy, that are replaced before they go.
fn replaced_first(at_once: &str) -> (World, Vec<TaskId>) {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 3);
    body["labels"] =
        json!({"AGORA_HEALTH_REPLACE_FIRST": "true", "AGORA_HEALTH_REPLACE_AT_ONCE": at_once});
    body["healthChecks"] =
        json!([{"protocol": "MESOS_TCP", "intervalSeconds": 10, "maxConsecutiveFailures": 3}]);
    world.create(body);
    world.rest();
    let tasks = world.tasks_of("/web");
    for task in &tasks {
        world.report(task, TaskState::Running, Some(true));
    }
    world.rest();
    assert!(world.view.deployments.is_empty());
    (world, tasks)
}

fn new_ones(world: &World, old: &[TaskId]) -> Vec<TaskId> {
    world.tasks_of("/web").into_iter().filter(|task| !old.contains(task)).collect()
}

#[test]
fn an_unhealthy_instance_goes_only_when_its_replacement_serves() {
    let (mut world, old) = replaced_first("1");
    world.report(&old[0], TaskState::Running, Some(false));
    world.pass(19.0);
    assert_eq!(world.tasks.len(), 3, "it may fail three times, ten seconds apart");
    world.pass(2.0);
    assert_eq!(world.tasks.len(), 4, "a replacement comes first");
    let new = new_ones(&world, &old);
    world.pass(30.0);
    assert!(world.tasks.contains_key(&old[0]), "which is not healthy yet");
    world.kinds();
    world.report(&new[0], TaskState::Running, Some(true));
    world.rest();
    assert!(!world.tasks.contains_key(&old[0]));
    assert_eq!(world.tasks.len(), 3);
    assert!(world.kinds().contains(&"unhealthy_instance_kill_event".to_owned()));
}

#[test]
fn checks_that_come_fail_and_go_are_told() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 1);
    body["healthChecks"] = json!([{"protocol": "COMMAND", "command": {"value": "true"}}]);
    world.create(body);
    world.rest();
    let of = |world: &mut World, kind: &str| -> Vec<Value> {
        let all = std::mem::take(&mut world.events);
        all.into_iter().filter(|event| event["eventType"] == kind).collect()
    };
    let added = of(&mut world, "add_health_check_event");
    assert_eq!((added.len(), &added[0]["appId"]), (1, &json!("/web")));
    assert_eq!(added[0]["healthCheck"]["command"]["value"], "true");
    assert_eq!(added[0]["version"], world.shown("/web", Embed::LIST).expect("there")["version"]);

    let task = world.tasks_of("/web").remove(0);
    world.report(&task, TaskState::Running, Some(true));
    world.report(&task, TaskState::Running, Some(false));
    let failed = of(&mut world, "failed_health_check_event");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["taskId"], instance_of(&task).to_string());
    assert_eq!(failed[0]["healthCheck"], added[0]["healthCheck"]);

    world.put("/web", json!({"instances": 2})).expect("scaled");
    assert!(world.kinds().iter().all(|kind| !kind.ends_with("_health_check_event")));
    world.put("/web", json!({"healthChecks": []})).expect_err("it is being scaled");
    world.force("/web", json!({"healthChecks": []}));
    assert_eq!(of(&mut world, "remove_health_check_event").len(), 1);
}

#[test]
fn of_several_checks_each_is_shown_told_and_has_its_own_patience() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 1);
    body["labels"] = json!({"AGORA_HEALTH_REPLACE_FIRST": "true"});
    let check = |path: &str, interval: u64, failures: u64| {
        json!({"protocol": "HTTP", "path": path, "intervalSeconds": interval,
            "maxConsecutiveFailures": failures})
    };
    body["healthChecks"] = json!([check("/a", 100, 9), check("/b", 10, 3), check("/c", 50, 1)]);
    world.create(body);
    world.rest();
    let task = world.tasks_of("/web").remove(0);
    world.report(&task, TaskState::Running, Some(true));
    world.rest();
    let alive = |world: &World| -> Vec<Value> {
        let app = world.shown("/web", Embed { tasks: true, ..Embed::LIST }).expect("there");
        let results = app["tasks"][0]["healthCheckResults"].as_array().cloned().expect("a list");
        results.into_iter().map(|result| result["alive"].clone()).collect()
    };
    assert_eq!(alive(&world), [true, true, true]);
    world.events.clear();
    world.failing = vec![FailingCheck { place: 1, failures: 1 }];
    world.report(&task, TaskState::Running, Some(false));
    assert_eq!(alive(&world), [true, false, true]);
    let failed = |world: &World| -> Vec<Value> {
        let all = world.events.iter();
        let all = all.filter(|event| event["eventType"] == "failed_health_check_event");
        all.map(|event| event["healthCheck"]["path"].clone()).collect()
    };
    assert_eq!(failed(&world), ["/b"]);
    world.pass(19.0);
    assert_eq!(world.tasks.len(), 1, "it may fail three times, ten seconds apart");
    world.pass(2.0);
    assert_eq!(world.tasks.len(), 2, "a replacement comes");
}

#[test]
fn patience_without_end_ends_nobody() {
    for check in [
        json!({"protocol": "MESOS_TCP", "intervalSeconds": 10_000_000_000_u64,
               "maxConsecutiveFailures": i32::MAX}),
        json!({"protocol": "TCP", "intervalSeconds": 1, "maxConsecutiveFailures": 0}),
    ] {
        let mut world = World::new(1);
        let mut body = sleeper("/web", 1);
        body["labels"] = json!({"AGORA_HEALTH_REPLACE_FIRST": "true"});
        body["healthChecks"] = json!([check]);
        world.create(body);
        world.rest();
        let task = world.tasks_of("/web").remove(0);
        world.report(&task, TaskState::Running, Some(true));
        world.report(&task, TaskState::Running, Some(false));
        world.pass(1000.0);
        assert_eq!(world.tasks_of("/web"), [task], "{check}");
    }
}

#[test]
fn an_agent_that_ends_an_unhealthy_task_says_so_first_and_it_counts_as_a_failure() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 1);
    body["healthChecks"] = json!([{"protocol": "COMMAND", "command": {"value": "true"}}]);
    body["backoffSeconds"] = 10.into();
    world.create(body);
    world.rest();
    let task = world.tasks_of("/web").remove(0);
    world.report(&task, TaskState::Running, Some(true));
    world.rest();
    world.events.clear();
    world.report(&task, TaskState::Killing, Some(false));
    world.report(&task, TaskState::Killed, Some(false));
    let told = |it: &&Value| it["eventType"] == "unhealthy_instance_kill_event";
    let told: Vec<_> = world.events.iter().filter(told).collect();
    assert_eq!((told.len(), &told[0]["taskId"]), (1, &json!(task.as_str())));
    world.pass(9.0);
    assert_eq!(world.tasks.len(), 0, "the next one waits");
    world.pass(2.0);
    assert_eq!(world.tasks.len(), 1);

    // What was asked for is no failure, however ill the task was.
    let task = world.tasks_of("/web").remove(0);
    world.report(&task, TaskState::Running, Some(false));
    world.events.clear();
    world.is_killing = false;
    let body = json!({"ids": [task.as_str()]});
    world.ask(Command::KillTasks { body, how: KillHow::default() }).expect("asked");
    world.rest();
    world.report(&task, TaskState::Killing, Some(false));
    world.report(&task, TaskState::Killed, Some(false));
    assert!(!world.kinds().contains(&"unhealthy_instance_kill_event".to_owned()));
    world.rest();
    assert_eq!(world.tasks.len(), 1, "it is made up for at once");
}

#[test]
fn no_more_are_replaced_at_once_than_may_be() {
    for (at_once, first) in [("1", 1), ("2", 2)] {
        let (mut world, old) = replaced_first(at_once);
        for task in &old {
            world.report(task, TaskState::Running, Some(false));
        }
        world.pass(60.0);
        assert_eq!(world.tasks.len(), 3 + first, "{at_once}: an overload must not end them all");
        for _ in 0..3 {
            for task in new_ones(&world, &old) {
                if world.tasks.contains_key(&task) {
                    world.report(&task, TaskState::Running, Some(true));
                    world.pass(1.0);
                }
            }
        }
        assert_eq!(world.tasks.len(), 3, "{at_once}");
        assert!(old.iter().all(|task| !world.tasks.contains_key(task)), "{at_once}");
    }
}

#[test]
fn an_instance_that_recovers_stays_and_its_replacement_goes() {
    let (mut world, old) = replaced_first("1");
    world.report(&old[0], TaskState::Running, Some(false));
    world.pass(21.0);
    assert_eq!(world.tasks.len(), 4);
    world.report(&old[0], TaskState::Running, Some(true));
    world.rest();
    assert_eq!(world.tasks_of("/web"), old);
}

#[test]
fn how_many_failures_are_too_many_changes_in_place_where_marathon_counts_them() {
    let (mut world, old) = replaced_first("1");
    let put = |world: &mut World, failures: u32| {
        let check = json!({"protocol": "MESOS_TCP", "intervalSeconds": 10,
                           "maxConsecutiveFailures": failures});
        world.put("/web", json!({"healthChecks": [check]})).expect("changed");
        world.rest();
    };
    put(&mut world, 5);
    assert_eq!(world.tasks_of("/web"), old, "no agent was told of it");
    world.report(&old[0], TaskState::Running, Some(false));
    world.pass(39.0);
    assert_eq!(world.tasks.len(), 3);
    world.pass(2.0);
    assert_eq!(world.tasks.len(), 4);
    world.report(&old[0], TaskState::Running, Some(true));
    world.rest();
    assert_eq!(world.tasks_of("/web"), old);
    // It counts for those too that fail already.
    world.report(&old[1], TaskState::Running, Some(false));
    world.pass(5.0);
    put(&mut world, 2);
    world.pass(4.0);
    assert_eq!(world.tasks.len(), 3);
    world.pass(2.0);
    assert_eq!(world.tasks.len(), 4);
}

#[test]
fn what_becomes_of_lost_instances_is_what_the_app_says_now() {
    let mut world = World::new(2);
    let mut body = sleeper("/web", 1);
    body["unreachableStrategy"] = json!("disabled");
    world.create(body);
    world.rest();
    let old = world.tasks_of("/web");
    let strategy = json!({"inactiveAfterSeconds": 7, "expungeAfterSeconds": 20});
    world.put("/web", json!({"unreachableStrategy": strategy})).expect("changed");
    world.rest();
    assert_eq!(world.tasks_of("/web"), old, "nothing is restarted for it");
    let agent = world.tasks[&old[0]].agent;
    world.agents[agent].is_up = false;
    world.report_of(&old[0], Some(agent), TaskState::Unreachable, None);
    world.pass(6.9);
    assert_eq!(world.running("/web"), 0);
    world.pass(0.2);
    assert_eq!(world.running("/web"), 1, "on the second, not at the next look");
    let inactive = |world: &World| {
        let all = world.instances("/web");
        all.iter().filter(|it| it.condition == Condition::UnreachableInactive).count()
    };
    assert_eq!(inactive(&world), 1);
    world.pass(12.7);
    assert_eq!(inactive(&world), 1);
    world.pass(0.3);
    assert_eq!(inactive(&world), 0, "forgotten on time");
}

#[test]
fn whoever_balances_load_is_told_once_and_at_once_that_a_task_is_to_end() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 2));
    world.rest();
    let task = world.tasks_of("/web").remove(0);
    world.events.clear();
    world.is_killing = false;
    let body = json!({"ids": [task.as_str()]});
    world.ask(Command::KillTasks { body, how: KillHow::default() }).expect("asked");
    let told = |world: &World| -> Vec<Value> {
        let all = world.events.iter().filter(|it| it["eventType"] == "status_update_event");
        all.map(|it| it["taskStatus"].clone()).collect()
    };
    assert_eq!(told(&world), ["TASK_KILLING"], "its agent has not heard of it yet");
    world.rest();
    world.report(&task, TaskState::Killing, None);
    world.report(&task, TaskState::Killed, None);
    assert_eq!(told(&world), ["TASK_KILLING", "TASK_KILLED"]);
}

#[test]
fn a_serving_instance_is_told_of_before_it_is_asked_to_end() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 2);
    body["labels"] = json!({"AGORA_DRAIN_SECONDS": "30"});
    world.create(body);
    world.rest();
    let old = world.tasks_of("/web");
    world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    world.events.clear();
    world.pass(5.0);
    assert_eq!(world.tasks.len(), 4, "the old ones go on for a while");
    let id = world::app("/web");
    let shown = world.view.tasks_of(&id);
    let shown: Vec<_> = shown.map(world::parsed).collect();
    let killing: Vec<_> = shown.iter().filter(|it| it["state"] == "TASK_KILLING").collect();
    assert_eq!(killing.len(), 2, "but everybody sees that they are to go");
    let told = |it: &&Value| {
        it["eventType"] == "status_update_event" && it["taskStatus"] == "TASK_KILLING"
    };
    assert_eq!(world.events.iter().filter(told).count(), 2);
    // Meeting the master anew does not cut it short.
    world.step(Input::Disconnected);
    world.step(Input::Subscribed {
        framework: FrameworkId::new("F-0000").expect("an id"),
        master: "master:5050".into(),
        region: None,
    });
    world.pass(24.0);
    assert_eq!(world.tasks.len(), 4);
    world.pass(2.0);
    assert!(old.iter().all(|task| !world.tasks.contains_key(task)));
    assert_eq!(world.running("/web"), 2);
    assert!(world.view.deployments.is_empty());
    // One that ends by itself meanwhile is made up for, and the next one has its own time.
    let all = world.tasks_of("/web");
    let how = KillHow::default();
    let kill = |task: &TaskId| Command::KillTasks { body: json!({"ids": [task.as_str()]}), how };
    world.ask(kill(&all[0])).expect("asked");
    world.report(&all[0], TaskState::Finished, None);
    world.rest();
    let next = instance_of(&all[0]).task(2);
    world.ask(kill(&next)).expect("asked");
    world.pass(29.0);
    assert!(world.tasks.contains_key(&next));
    world.pass(2.0);
    assert!(!world.tasks.contains_key(&next) && world.running("/web") == 2);
    // A new leader asks at once.
    world.delete("/web");
    world.pass(5.0);
    assert_eq!(world.tasks.len(), 2, "the labels of an app that goes count too");
    world.crash();
    world.rest();
    assert!(world.tasks.is_empty());
}
