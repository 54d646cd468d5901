//! What happens to apps, told from beginning to end.

mod world;

use marathon_core::instance::Condition;
use marathon_core::io::{Command, KillHow};
use marathon_core::view::Embed;
use model::task::TaskState;
use serde_json::{Value, json};
use world::{World, app, sleeper};

#[test]
fn an_app_is_created_runs_and_is_deleted() {
    let mut world = World::new(1);
    world.rest();
    assert!(world.is_suppressed, "nothing is wanted yet");
    world.kinds();

    let answer = world.create(sleeper("/web", 3));
    let body = answer.body.expect("the app");
    let deployment = answer.deployment.expect("a deployment");
    assert_eq!(answer.status, 201);
    assert_eq!(body["deployments"], json!([{"id": deployment}]));
    assert_eq!((&body["tasks"], &body["tasksRunning"]), (&json!([]), &json!(0)));
    assert_eq!(world.view.deployments()[0]["affectedApps"], json!(["/web"]));
    assert_eq!(world.view.deployments()[0]["totalSteps"], 2);

    world.rest();
    assert_eq!(world.running("/web"), 3);
    assert_eq!(world.view.deployments(), Vec::<Value>::new());
    assert!(world.is_suppressed, "all that was wanted is there");
    assert_eq!(
        world.kinds(),
        [
            "group_change_success",
            "deployment_info",
            "api_post_event",
            "deployment_step_success",
            "deployment_info",
            "deployment_step_success",
            "deployment_success",
        ]
    );
    let ports: std::collections::BTreeSet<u16> = world
        .instances("/web")
        .iter()
        .map(|it| it.task.as_ref().expect("a task").ports[0])
        .collect();
    assert_eq!(ports.len(), 3, "each has a port of its own");
    let shown = world.shown("/web", Embed::SINGLE).expect("it is there");
    assert_eq!(shown["tasksRunning"], 3);
    assert_eq!(shown["tasks"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        shown["tasks"][0]["ipAddresses"],
        json!([{"ipAddress": "10.0.0.1", "protocol": "IPv4"}])
    );

    world.delete("/web");
    assert!(world.shown("/web", Embed::LIST).is_none());
    world.rest();
    assert!(world.tasks.is_empty());
    assert!(world.instances("/web").is_empty());
    assert_eq!(
        world.kinds(),
        [
            "group_change_success",
            "deployment_info",
            "app_terminated_event",
            "deployment_step_success",
            "deployment_success",
        ]
    );
    let kinds = |world: &World| {
        let kinds = world.store.keys().map(|key| key.split(':').next().expect("a kind").to_owned());
        kinds.collect::<std::collections::BTreeSet<_>>()
    };
    let left = ["framework", "past", "version"].map(str::to_owned);
    assert_eq!(kinds(&world), left.into(), "only what its group can go back to stays in the store");
    for _ in 0..marathon_core::history::HISTORY_MAX {
        world.create(sleeper("/other", 1));
        world.delete("/other");
        world.rest();
    }
    assert!(!world.store.keys().any(|key| key.contains("/web")), "and that not for ever");
    assert_eq!(world.view.history.len(), marathon_core::history::HISTORY_MAX);
}

#[test]
fn a_killed_task_is_replaced_after_a_second() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 3));
    world.pass(30.0);
    let task = world.tasks_of("/web")[0].clone();
    world.report(&task, TaskState::Failed, None);
    world.pass(0.9);
    assert_eq!(world.running("/web"), 2);
    let queue = world.view.queue(world.now().wall, true);
    assert_eq!(queue["queue"][0]["count"], 1);
    assert_eq!(queue["queue"][0]["delay"], json!({"timeLeftSeconds": 1, "overdue": false}));
    world.pass(0.2);
    assert_eq!(world.running("/web"), 3);
    let next = world::instance_of(&task).task(2);
    assert!(world.tasks.contains_key(&next), "the same instance, its second task");
    let shown = world.shown("/web", Embed::SINGLE).expect("it is there");
    assert_eq!(shown["lastTaskFailure"]["taskId"], task.as_str());
    assert_eq!(shown["lastTaskFailure"]["state"], "TASK_FAILED");
    assert_eq!(world.view.queue(world.now().wall, true), json!({"queue": []}));
}

#[test]
fn who_keeps_failing_waits_longer_and_holds_nobody_up() {
    let mut world = World::new(1);
    world.create(json!({"id": "/web", "cmd": "x", "cpus": 0.1, "instances": 2,
                        "backoffSeconds": 2, "backoffFactor": 2, "maxLaunchDelaySeconds": 5}));
    world.rest();
    let bad = world::instance_of(&world.tasks_of("/web")[0]);
    for (number, delay) in [(1, 2.0), (2, 4.0), (3, 5.0), (4, 5.0)] {
        world.report(&bad.task(number), TaskState::Failed, None);
        world.pass(delay - 0.1);
        assert_eq!(world.running("/web"), 1, "before {delay}");
        world.pass(0.2);
        assert_eq!(world.running("/web"), 2, "after {delay}");
    }
    world.report(&bad.task(5), TaskState::Failed, None);
    let answer = world.ask(Command::ResetDelay { id: app("/web") }).expect("it waits");
    assert_eq!(answer.status, 204);
    world.pass(0.1);
    assert_eq!(world.running("/web"), 2);
    let refusal = world.ask(Command::ResetDelay { id: app("/web") }).expect_err("nothing waits");
    assert_eq!(refusal.status, 404);
    assert_eq!(refusal.body["message"], "Application /web not found in tasks queue.");
}

#[test]
fn scaling_starts_and_stops_no_more_than_it_must() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 3));
    world.pass(10.0);
    let old = world.tasks_of("/web");
    world.put("/web", json!({"instances": 5})).expect("scaled");
    world.pass(10.0);
    assert_eq!(world.running("/web"), 5);
    assert!(old.iter().all(|task| world.tasks.contains_key(task)));
    world.put("/web", json!({"instances": 1})).expect("scaled");
    world.pass(10.0);
    let left = world.tasks_of("/web");
    assert_eq!(left.len(), 1);
    assert!(old.contains(&left[0]), "the youngest go first");
    assert_eq!(world.launched.len(), 5);
    let info = world.app("/web").version_info;
    assert!(info.last_scaling_at > info.last_config_change_at);
}

#[test]
fn what_the_tasks_do_not_see_restarts_nothing() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 2));
    world.pass(1.0);
    let old = world.tasks_of("/web");
    let same = world.put("/web", json!({"instances": 2})).expect("no change");
    assert_eq!(same.status, 200);
    world.put("/web", json!({"labels": {"a": "b"}, "backoffSeconds": 5})).expect("changed");
    world.pass(1.0);
    assert_eq!(world.tasks_of("/web"), old);
    assert_eq!(world.app("/web").labels["a"], "b");
    assert_eq!(world.view.versions(&app("/web")).expect("it is there").len(), 2);
    // The next task of an instance is launched with what is new.
    world.report(&old[0], TaskState::Failed, None);
    world.pass(10.0);
    let next = world::instance_of(&old[0]).task(2);
    assert_eq!(world.tasks[&next].launch.app.labels["a"], "b");
}

#[test]
fn a_changed_health_check_restarts_those_whose_agents_run_it() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 2);
    let check = |path: &str| json!({"protocol": "HTTP", "path": path, "intervalSeconds": 10});
    body["healthChecks"] = json!([check("/a"), check("/b")]);
    world.create(body);
    world.rest();
    let old = world.tasks_of("/web");
    for task in &old {
        world.report(task, TaskState::Running, Some(true));
    }
    // Written out in full it is what it was.
    let mut first = check("/a");
    first["maxConsecutiveFailures"] = 3.into();
    world.put("/web", json!({"healthChecks": [first, check("/b")]})).expect("the same");
    world.pass(1.0);
    assert_eq!(world.tasks_of("/web"), old);
    world.put("/web", json!({"healthChecks": [first, check("/c")]})).expect("changed");
    world.pass(1.0);
    assert_eq!(world.tasks.len(), 4, "the new ones are not healthy yet");
}

#[test]
fn an_upgrade_stays_within_its_strategy() {
    for (minimum, over, floor, most) in
        [(1.0, 1.0, 4, 8), (0.5, 0.0, 2, 4), (1.0, 0.0, 4, 5), (0.0, 0.0, 0, 4), (0.5, 0.25, 2, 5)]
    {
        let mut world = World::new(1);
        let mut body = sleeper("/web", 4);
        body["upgradeStrategy"] =
            json!({"minimumHealthCapacity": minimum, "maximumOverCapacity": over});
        world.create(body);
        world.pass(1.0);
        let old = world.tasks_of("/web");
        world.most.clear();
        world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
        let mut least = 4;
        let mut turns = 0;
        while world.serve() || world.work() || world.offer() {
            least = least.min(world.running("/web"));
            turns += 1;
            assert!(turns < 1_000, "it gets stuck");
        }
        let case = format!("{minimum}/{over}");
        assert_eq!(world.running("/web"), 4, "{case}");
        assert!(old.iter().all(|task| !world.tasks.contains_key(task)), "{case}");
        assert!(world.most["/web"] <= most, "{case}: {:?} were there at once", world.most);
        assert!(least >= floor, "{case}: only {least} were running");
        assert!(world.view.deployments.is_empty(), "{case}");
        assert_eq!(world.launched.len(), 8, "{case}");
    }
}

#[test]
fn an_upgrade_waits_for_health_and_can_be_taken_back() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 2);
    body["healthChecks"] = json!([{"protocol": "MESOS_TCP"}]);
    let first = world.create(body);
    world.rest();
    assert_eq!(world.view.deployments().len(), 1, "running is not healthy");
    let old = world.tasks_of("/web");
    for task in &old {
        world.report(task, TaskState::Running, Some(true));
    }
    world.rest();
    assert!(world.view.deployments().is_empty());

    let second = world.put("/web", json!({"cmd": "sleep 2000"})).expect("changed");
    world.pass(60.0);
    assert_eq!(world.tasks.len(), 4, "no old one goes before a new one is healthy");
    let refusal = world.put("/web", json!({"instances": 7})).expect_err("locked");
    assert_eq!(refusal.status, 409);
    assert_eq!(refusal.body["deployments"], json!([{"id": second.deployment}]));
    let new = world.tasks_of("/web").into_iter().find(|it| !old.contains(it)).expect("a new one");
    world.report(&new, TaskState::Running, Some(true));
    world.rest();
    assert_eq!(world.tasks.len(), 3, "one for one");

    let id = second.deployment.expect("a deployment");
    let third =
        world.ask(Command::CancelDeployment { id: id.clone(), force: false }).expect("taken back");
    assert_eq!(third.status, 200);
    assert_ne!(third.deployment, first.deployment);
    world.rest();
    let back = world.tasks_of("/web");
    let lacking = back.iter().find(|task| !old.contains(task)).expect("one went before").clone();
    assert_eq!(back.len(), 3, "the last new one serves until the old one is made up for");
    assert_eq!(world.app("/web").cmd.as_deref(), Some("sleep 1000"));
    let missing: Vec<_> = back
        .iter()
        .filter(|it| world.tasks[*it].launch.app.cmd.as_deref() == Some("sleep 1000"))
        .collect();
    assert_eq!(missing.len(), 2, "{lacking}");
    for task in missing {
        world.report(task, TaskState::Running, Some(true));
    }
    world.rest();
    assert_eq!(world.tasks.len(), 2);
    assert!(world.view.deployments().is_empty());
    let gone =
        world.ask(Command::CancelDeployment { id: id.clone(), force: true }).expect_err("over");
    assert_eq!(gone.body["message"], format!("DeploymentPlan {id} does not exist"));
}

#[test]
fn force_puts_a_new_deployment_in_the_place_of_a_stuck_one() {
    let mut world = World::new(1);
    let mut body = sleeper("/web", 2);
    body["cpus"] = 100.into();
    world.create(body);
    world.pass(5.0);
    let queue = world.view.queue(world.now().wall, true);
    let entry = &queue["queue"][0];
    assert_eq!(entry["count"], 2);
    assert_eq!(entry["lastUnusedOffers"][0]["reason"], json!(["InsufficientCpus"]));
    let declined: Vec<_> = entry["processedOffersSummary"]["rejectSummaryLastOffers"]
        .as_array()
        .expect("a funnel")
        .iter()
        .filter(|step| step["declined"] == 1)
        .map(|step| step["reason"].as_str().expect("text"))
        .collect();
    assert_eq!(declined, ["InsufficientCpus"]);
    world.kinds();
    world.force("/web", json!({"cpus": 0.1}));
    world.rest();
    assert_eq!(world.running("/web"), 2);
    assert_eq!(world.kinds()[0], "deployment_failed");
    assert!(world.view.deployments().is_empty());
}

#[test]
fn dependencies_are_deployed_first() {
    let mut world = World::new(1);
    let mut web = sleeper("/prod/web", 1);
    web["dependencies"] = json!(["../prod/db"]);
    let body = json!([web, sleeper("/prod/db", 1)]);
    let how = |body| Command::PutApps { body, partial: true, create: true, force: false };
    world.is_starting = false;
    world.ask(how(body)).expect("both");
    world.rest();
    assert_eq!(world.tasks_of("/prod/web").len(), 0);
    assert_eq!(world.tasks_of("/prod/db").len(), 1);
    world.is_starting = true;
    world.rest();
    assert_eq!(world.running("/prod/web"), 1);
    let refusal =
        world.put("/prod/db", json!({"dependencies": ["/prod/web"]})).expect_err("a cycle");
    assert_eq!(refusal.status, 422);
    world.ask(Command::DeleteGroup { id: app("/prod"), force: false }).expect("deleted");
    world.rest();
    assert!(world.tasks.is_empty() && world.view.tree.apps.is_empty());
}

#[test]
fn killed_tasks_come_back_or_not_as_asked() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 3));
    world.rest();
    let tasks = world.tasks_of("/web");
    let kill = |task: &str, scale, wipe| Command::KillTask {
        id: app("/web"),
        task: task.to_owned(),
        how: KillHow { scale, wipe, force: false },
    };
    let answer = world.ask(kill(tasks[0].as_str(), false, false)).expect("killed");
    assert_eq!(answer.body.expect("a task")["task"]["id"], tasks[0].as_str());
    world.rest();
    assert_eq!(world.running("/web"), 3, "a kill that was asked for delays nothing");
    assert!(world.tasks.contains_key(&world::instance_of(&tasks[0]).task(2)));

    world.ask(kill(tasks[1].as_str(), true, false)).expect("scaled");
    world.rest();
    assert_eq!(world.running("/web"), 2);
    assert_eq!(world.app("/web").instances, 2);
    assert!(!world.tasks.contains_key(&tasks[1]));

    world.ask(kill(tasks[2].as_str(), false, true)).expect("wiped");
    world.rest();
    assert_eq!(world.running("/web"), 2);
    let wiped = world::instance_of(&tasks[2]);
    assert!(world.instances("/web").iter().all(|it| it.id != wiped), "another instance");

    let refusal = world.ask(kill(tasks[2].as_str(), false, false)).expect_err("it is gone");
    assert_eq!(
        (refusal.status, &refusal.body["message"]),
        (404, &json!(format!("Task '{}' does not exist", tasks[2])))
    );
    assert_eq!(world.ask(kill("x", false, false)).expect_err("no id").status, 400);
    assert_eq!(world.ask(kill(tasks[2].as_str(), true, true)).expect_err("both").status, 404);
    let both = Command::KillAppTasks {
        id: app("/web"),
        host: None,
        how: KillHow { scale: true, wipe: true, force: false },
    };
    assert_eq!(world.ask(both).expect_err("both").status, 400);
    let all = Command::KillAppTasks {
        id: app("/web"),
        host: Some("host0".to_owned()),
        how: KillHow { scale: true, ..KillHow::default() },
    };
    world.ask(all).expect("scaled");
    world.rest();
    assert_eq!((world.app("/web").instances, world.tasks.len()), (0, 0));
}

#[test]
fn an_unreachable_task_is_replaced_as_its_strategy_says() {
    let mut world = World::new(2);
    let lose = |world: &mut World, is_up: bool| {
        world.agents[0].is_up = is_up;
        let lost: Vec<_> = world
            .tasks
            .iter()
            .filter(|(_, it)| it.agent == 0)
            .map(|(id, it)| (id.clone(), it.state))
            .collect();
        for (task, state) in lost {
            let state = if is_up { state } else { TaskState::Unreachable };
            world.report_of(&task, Some(0), state, None);
        }
    };
    world.create(sleeper("/now", 1));
    let mut later = sleeper("/later", 1);
    later["unreachableStrategy"] = json!({"inactiveAfterSeconds": 60, "expungeAfterSeconds": 600});
    world.create(later);
    let mut never = sleeper("/never", 1);
    never["unreachableStrategy"] = json!("disabled");
    world.create(never);
    world.pass(1.0);
    assert!(world.tasks.values().all(|it| it.agent == 0));
    lose(&mut world, false);
    world.pass(0.5);
    let counts = |world: &World| ["/now", "/later", "/never"].map(|id| world.running(id));
    assert_eq!(counts(&world), [1, 0, 0]);
    world.pass(58.0);
    assert_eq!(counts(&world), [1, 0, 0]);
    world.pass(2.0);
    assert_eq!(counts(&world), [1, 1, 0]);
    assert_eq!(world.instances("/later").len(), 2);
    // The agent is back: what was given up for good is ended, of the rest there are enough.
    lose(&mut world, true);
    world.pass(1.0);
    assert_eq!(counts(&world), [1, 1, 1]);
    assert_eq!(world.tasks.len(), 3);
    assert!(
        world.tasks.values().filter(|it| it.launch.app.id == app("/now")).all(|it| it.agent == 1)
    );

    lose(&mut world, false);
    world.pass(601.0);
    assert_eq!(world.instances("/later").len(), 1, "forgotten in the end");
    assert_eq!(world.instances("/never").len(), 1);
    assert_eq!(world.instances("/never")[0].condition, Condition::Unreachable);
}

#[test]
fn constraints_spread_and_gather() {
    let place = |constraint: Value, instances: u32| {
        let mut world = World::new(4);
        let mut body = sleeper("/web", instances);
        body["constraints"] = json!([constraint]);
        world.create(body);
        world.pass(1.0);
        let mut at = [0; 4];
        for task in world.tasks.values() {
            at[task.agent] += 1;
        }
        at
    };
    assert_eq!(place(json!(["hostname", "UNIQUE"]), 6), [1, 1, 1, 1]);
    assert_eq!(place(json!(["rack", "UNIQUE"]), 6).iter().sum::<u32>(), 2);
    assert_eq!(place(json!(["hostname", "MAX_PER", "2"]), 6).iter().max(), Some(&2));
    assert_eq!(place(json!(["hostname", "cluster", "host2"]), 3), [0, 0, 3, 0]);
    assert_eq!(place(json!(["rack", "CLUSTER"]), 3).iter().filter(|n| **n > 0).count(), 1);
    assert_eq!(place(json!(["hostname", "LIKE", "host[13]"]), 3)[0], 0);
    assert_eq!(place(json!(["hostname", "UNLIKE", "host[013]"]), 3), [0, 0, 3, 0]);
    assert_eq!(place(json!(["level", "IS", "3"]), 2), [0, 0, 0, 2]);
    assert_eq!(place(json!(["hostname", "GROUP_BY", "4"]), 8), [2, 2, 2, 2]);
    let racks = place(json!(["rack", "GROUP_BY", "2"]), 6);
    assert_eq!(racks[0] + racks[2], 3);
    assert_eq!(place(json!(["nothing", "UNIQUE"]), 2), [0, 0, 0, 0]);
}

#[test]
fn fixed_ports_are_given_exactly_once_an_agent() {
    let mut world = World::new(2);
    let mut body = sleeper("/web", 3);
    body["portDefinitions"] = json!([{"port": 31500, "name": "http"}, {"port": 31501}]);
    body["requirePorts"] = true.into();
    world.create(body);
    world.pass(1.0);
    assert_eq!(world.running("/web"), 2);
    assert!(world.tasks.values().all(|it| it.launch.ports == [31500, 31501]));
    let queue = world.view.queue(world.now().wall, true);
    assert_eq!(queue["queue"][0]["lastUnusedOffers"][0]["reason"], json!(["InsufficientPorts"]));
}

#[test]
fn a_launch_nobody_hears_of_is_made_up_for() {
    let mut world = World::new(1);
    world.is_starting = false;
    world.create(sleeper("/web", 1));
    world.rest();
    let lost = world.tasks_of("/web")[0].clone();
    world.tasks.remove(&lost);
    world.is_starting = true;
    world.pass(20.0);
    assert_eq!(world.running("/web"), 1);
    assert_eq!(world.tasks_of("/web"), [world::instance_of(&lost).task(2)]);
    // One that hangs is ended in the end.
    let mut world = World::new(1);
    world.is_starting = false;
    world.create(sleeper("/web", 1));
    world.pass(290.0);
    assert_eq!(world.launched.len(), 1);
    world.pass(20.0);
    assert_eq!(world.launched.len(), 2);
}

#[test]
fn a_launch_takes_as_long_as_what_it_downloads_and_no_longer() {
    let mut world = World::new(1);
    world.is_starting = false;
    let mut body = sleeper("/web", 1);
    body["container"] = json!({"type": "MESOS", "docker": {"image": "large"}});
    world.create(body);
    world.rest();
    let task = world.tasks_of("/web")[0].clone();
    world.report(&task, TaskState::Staging, None);
    world.pass(3_000.0);
    assert_eq!(world.launched.len(), 1, "it is still being pulled");
    world.report(&task, TaskState::Starting, None);
    world.pass(290.0);
    assert_eq!(world.launched.len(), 1);
    world.pass(20.0);
    assert_eq!(world.launched.len(), 2, "it had all it needs, and did not run");
}

#[test]
fn a_kill_is_repeated_until_it_has_ended() {
    let mut world = World::new(1);
    world.create(sleeper("/web", 1));
    world.rest();
    world.is_killing = false;
    world.delete("/web");
    world.pass(25.0);
    assert_eq!(world.tasks.len(), 1);
    world.is_killing = true;
    world.pass(11.0);
    assert!(world.tasks.is_empty() && world.view.deployments().is_empty());
}
