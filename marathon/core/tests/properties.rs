//! Laws that hold whatever users, tasks, agents and crashes do.

mod world;

use marathon_core::io::{Command, Config, KillHow, PutApp};
use marathon_core::rollout;
use marathon_core::view::Embed;
use model::task::TaskState;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use world::{PUT, World, app, config, sleeper};

/// One thing that somebody does or that befalls somebody.
#[derive(Clone, Debug)]
enum Act {
    Create { app: u8, instances: u32, checked: bool },
    Scale { app: u8, instances: u32, force: bool },
    Change { app: u8, minimum: u8, over: u8, force: bool },
    Pace { app: u8, labels: usize, force: bool },
    Hold { is_paused: bool },
    Restart { app: u8, force: bool },
    Delete { app: u8 },
    Cancel { force: bool },
    Kill { nth: usize, scale: bool, wipe: bool },
    Fail { nth: usize },
    Judge { nth: usize, healthy: bool },
    Serve { turns: usize },
    Pass { tenths: u32 },
    Crash,
    LoseAgent { agent: usize },
    FindAgent { agent: usize },
}

/// Ways an app can want to be deployed.
const LABELS: [&[(&str, &str)]; 7] = [
    &[],
    &[("AGORA_DEPLOYMENT_PROGRESS_SECONDS", "3"), ("AGORA_DEPLOYMENT_ROLLBACK", "true")],
    &[("AGORA_DEPLOYMENT_PROGRESS_SECONDS", "5"), ("AGORA_DEPLOYMENT_BATCH", "1")],
    &[("AGORA_DEPLOYMENT_MAX_FAILURES", "0"), ("AGORA_DEPLOYMENT_ROLLBACK", "true")],
    &[("AGORA_DEPLOYMENT_CANARY", "1,2"), ("AGORA_DEPLOYMENT_BATCH", "2")],
    &[("AGORA_DRAIN_SECONDS", "4"), ("AGORA_DEPLOYMENT_BATCH", "2")],
    &[("AGORA_HEALTH_REPLACE_FIRST", "true"), ("AGORA_DEPLOYMENT_MAX_FAILURES", "1")],
];

fn acts(with_loss: bool) -> impl Strategy<Value = Vec<Act>> {
    let which = 0_u8..3;
    let steady = prop_oneof![
        4 => (which.clone(), 0_u32..6, prop::bool::weighted(0.2))
            .prop_map(|(app, instances, checked)| Act::Create { app, instances, checked }),
        3 => (which.clone(), 0_u32..6, any::<bool>())
            .prop_map(|(app, instances, force)| Act::Scale { app, instances, force }),
        3 => (which.clone(), 0_u8..=4, 0_u8..=4, any::<bool>())
            .prop_map(|(app, minimum, over, force)| Act::Change { app, minimum, over, force }),
        2 => (which.clone(), 0..LABELS.len(), any::<bool>())
            .prop_map(|(app, labels, force)| Act::Pace { app, labels, force }),
        2 => any::<bool>().prop_map(|is_paused| Act::Hold { is_paused }),
        1 => (which.clone(), any::<bool>()).prop_map(|(app, force)| Act::Restart { app, force }),
        1 => which.prop_map(|app| Act::Delete { app }),
        1 => any::<bool>().prop_map(|force| Act::Cancel { force }),
        2 => (0_usize..9, any::<bool>(), any::<bool>())
            .prop_map(|(nth, scale, wipe)| Act::Kill { nth, scale, wipe }),
        3 => (0_usize..9).prop_map(|nth| Act::Fail { nth }),
        3 => (0_usize..9, any::<bool>()).prop_map(|(nth, healthy)| Act::Judge { nth, healthy }),
        6 => (1_usize..12).prop_map(|turns| Act::Serve { turns }),
        4 => (1_u32..40).prop_map(|tenths| Act::Pass { tenths }),
        2 => Just(Act::Crash),
    ];
    let loss = prop_oneof![
        (0_usize..2).prop_map(|agent| Act::LoseAgent { agent }),
        (0_usize..2).prop_map(|agent| Act::FindAgent { agent }),
    ];
    let one = if with_loss { prop_oneof![6 => steady, 1 => loss].boxed() } else { steady.boxed() };
    prop::collection::vec(one, 1..40)
}

fn name(which: u8) -> String {
    format!("/group/app{which}")
}

fn nth(world: &World, nth: usize) -> Option<model::ids::TaskId> {
    world.tasks.keys().nth(nth % world.tasks.len().max(1)).cloned()
}

fn set_agent(world: &mut World, agent: usize, is_up: bool) {
    if world.agents[agent].is_up == is_up {
        return;
    }
    world.agents[agent].is_up = is_up;
    let there: Vec<_> = world
        .tasks
        .iter()
        .filter(|(_, it)| it.agent == agent)
        .map(|(id, it)| (id.clone(), if is_up { it.state } else { TaskState::Unreachable }))
        .collect();
    for (task, state) in there {
        world.report_of(&task, Some(agent), state, None);
    }
}

fn play(world: &mut World, act: &Act) {
    match *act {
        Act::Create { app, instances, checked } => {
            let mut body = sleeper(&name(app), instances);
            if app == 1 || app == 2 && checked {
                body["container"] = json!({"type": "MESOS", "volumes": [
                    {"containerPath": "data", "mode": "RW", "persistent": {"size": 10}}]});
            }
            if checked {
                body["healthChecks"] =
                    json!([{"protocol": "COMMAND", "command": {"value": "true"}}]);
            }
            if app == 2 {
                body["unreachableStrategy"] =
                    json!({"inactiveAfterSeconds": 5, "expungeAfterSeconds": 50});
            }
            let _ = world.ask(Command::CreateApp { body, force: false });
        }
        Act::Scale { app: which, instances, force } => {
            let body = json!({"instances": instances});
            let id = app(&name(which));
            let _ = world.ask(Command::PutApp {
                id,
                body,
                how: PutApp { create: false, force, ..PUT },
            });
        }
        Act::Change { app: which, minimum, over, force } => {
            let body = json!({
                "cmd": format!("sleep {}", world.launched.len() + 1),
                "upgradeStrategy": {
                    "minimumHealthCapacity": f64::from(minimum) / 4.0,
                    // Of instances with volumes there cannot be more.
                    "maximumOverCapacity": if which == 1 { 0.0 } else { f64::from(over) / 4.0 },
                },
            });
            let id = app(&name(which));
            let _ = world.ask(Command::PutApp {
                id,
                body,
                how: PutApp { create: false, force, ..PUT },
            });
        }
        Act::Pace { app: which, labels, force } => {
            let labels: BTreeMap<_, _> = LABELS[labels].iter().copied().collect();
            let body = json!({"cmd": format!("sleep {}", world.numbers), "labels": labels});
            let id = app(&name(which));
            let how = PutApp { create: false, force, ..PUT };
            let _ = world.ask(Command::PutApp { id, body, how });
        }
        Act::Hold { is_paused } => hold_all(world, is_paused),
        Act::Restart { app: which, force } => {
            let _ = world.ask(Command::RestartApp { id: app(&name(which)), force });
        }
        Act::Delete { app: which } => {
            let _ = world.ask(Command::DeleteApp { id: app(&name(which)), force: true });
        }
        Act::Cancel { force } => {
            if let Some(id) = world.view.deployments.keys().next().map(ToString::to_string) {
                let _ = world.ask(Command::CancelDeployment { id, force });
            }
        }
        Act::Kill { nth: n, scale, wipe } => {
            if let Some(task) = nth(world, n) {
                let how = KillHow { scale, wipe, force: false };
                let _ =
                    world.ask(Command::KillTasks { body: json!({"ids": [task.as_str()]}), how });
            }
        }
        Act::Fail { nth: n } => {
            let task = nth(world, n);
            if let Some(task) = task.filter(|it| world.agents[world.tasks[it].agent].is_up) {
                world.report(&task, TaskState::Failed, None);
            }
        }
        Act::Judge { nth: n, healthy } => {
            let task = nth(world, n);
            let runs = |it: &model::ids::TaskId| {
                let task = &world.tasks[it];
                task.state == TaskState::Running && world.agents[task.agent].is_up
            };
            if let Some(task) = task.filter(runs) {
                world.report(&task, TaskState::Running, Some(healthy));
            }
        }
        Act::Serve { turns } => {
            for _ in 0..turns {
                let _ = world.serve() || world.work() || world.offer();
            }
        }
        Act::Pass { tenths } => world.pass(f64::from(tenths) / 10.0),
        Act::Crash => world.crash(),
        Act::LoseAgent { agent } => set_agent(world, agent, false),
        Act::FindAgent { agent } => set_agent(world, agent, true),
    }
}

fn hold_all(world: &mut World, is_paused: bool) {
    let ids: Vec<_> = world.view.deployments.keys().map(ToString::to_string).collect();
    for id in ids {
        let _ = world.ask(Command::HoldDeployment { id, is_paused });
    }
}

/// Heals everything, and gives what waits the time to be done.
fn heal(world: &mut World) {
    for agent in 0..world.agents.len() {
        set_agent(world, agent, true);
    }
    // A launch that never came is waited for five minutes, and what it was to reserve ten more.
    for _ in 0..60 {
        hold_all(world, false);
        world.pass(20.0);
        let unjudged: Vec<_> = world
            .tasks
            .iter()
            .filter(|(_, it)| it.state == TaskState::Running)
            .map(|(id, _)| id.clone())
            .collect();
        for task in unjudged {
            if world.tasks.contains_key(&task) {
                world.report(&task, TaskState::Running, Some(true));
            }
        }
    }
}

fn check_converged(world: &World) {
    assert_eq!(world.view.deployments(), Vec::<serde_json::Value>::new());
    let mut wanted = 0;
    for (id, app) in &world.view.tree.apps {
        assert_eq!(world.running(id.as_str()), app.instances as usize, "{id}");
        assert_eq!(world.instances(id.as_str()).len(), app.instances as usize, "{id}");
        let current = world.instances(id.as_str());
        assert!(
            current
                .iter()
                .all(|it| it.task.as_ref().is_some_and(|it| world.tasks.contains_key(&it.id)))
        );
        wanted += app.instances as usize;
    }
    assert_eq!(world.tasks.len(), wanted, "nothing runs that nobody wants");
    assert!(world.view.queue.is_empty());
    // What is reserved belongs to an app that is there, and each volume to one task at most.
    for id in world.reserved.keys() {
        let kept = world.store.get(&format!("reservation:{id}"));
        let kept: serde_json::Value =
            serde_json::from_slice(kept.expect("it is known")).expect("JSON");
        assert_eq!(kept["state"], "Made", "{kept}");
        let of = kept["app"].as_str().expect("of an app");
        assert!(world.view.tree.apps.contains_key(&app(of)), "{kept}");
    }
    let kept = world.store.keys().filter(|key| key.starts_with("reservation:"));
    assert_eq!(kept.count(), world.reserved.len(), "nothing is remembered that is not there");
}

/// What everybody can see, without what is not kept: details of health.
fn visible(world: &World) -> (Vec<serde_json::Value>, Vec<serde_json::Value>) {
    let mut tasks: Vec<_> = world.view.tasks(&[]).collect();
    for task in &mut tasks {
        if let Some(all) = task.get_mut("healthCheckResults") {
            *all = all[0]["alive"].clone();
        }
    }
    let ids = world.view.tree.apps.keys();
    let apps = ids.filter_map(|id| world.shown(id.as_str(), Embed::LIST));
    (apps.collect(), tasks)
}

proptest! {
    #[test]
    fn whatever_happens_every_app_gets_what_it_wants(acts in acts(true)) {
        let mut world = World::with(2, Config { role: "web".into(), ..config(7) });
        for act in acts {
            play(&mut world, &act);
            prop_assert_eq!(world.marathon.audit(), Vec::<&str>::new(), "after {:?}", act);
        }
        heal(&mut world);
        check_converged(&world);
        let before = visible(&world);
        let launched = world.launched.len();
        world.crash();
        world.pass(30.0);
        prop_assert_eq!(visible(&world), before, "a crash at rest changes nothing");
        prop_assert_eq!(world.launched.len(), launched);
    }

    #[test]
    fn an_upgrade_never_exceeds_its_capacity(acts in acts(false)) {
        let mut world = World::with(2, Config { role: "web".into(), ..config(7) });
        for act in acts {
            let known = world.launched.len();
            play(&mut world, &act);
            if world.launched.len() == known {
                continue;
            }
            for (id, app) in &world.view.tree.apps {
                let alive = world.tasks.values().filter(|it| it.launch.app.id == *id && !it.is_killed);
                // A launch that was on its way when the app was scaled down may still arrive.
                let (_, most) = rollout::capacity(app);
                let counted = alive.filter(|it| {
                    let all = world.instances(id.as_str());
                    let instance = all.iter().find(|i| i.id == it.launch.instance);
                    instance.is_some_and(|i| i.is_counted())
                });
                let counted = counted.count();
                prop_assert!(counted <= most, "{}: {} of {}", id, counted, most);
            }
        }
        heal(&mut world);
        check_converged(&world);
    }
}
