//! Pods whose volumes outlive their tasks.

mod world;

use marathon_core::io::{Command, Config};
use model::amount::Milli;
use model::ids::TaskId;
use model::task::{Reason as Why, TaskState};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::{World, app, config, instance_of};

/// A Marathon with a role of its own.
fn world(agents: usize) -> World {
    World::with(agents, Config { role: "web".into(), ..config(7) })
}

/// A pod whose containers share a volume that outlives them.
fn resident_pod(instances: u32) -> Value {
    json!({
        "id": "/store", "scaling": {"kind": "fixed", "instances": instances},
        "volumes": [{"name": "data", "persistent": {"size": 100}}, {"name": "tmp"}],
        "containers": [
            {"name": "server", "exec": {"command": {"shell": "serve"}},
             "resources": {"cpus": 0.5, "mem": 64}, "endpoints": [{"name": "http", "hostPort": 0}],
             "volumeMounts": [{"name": "data", "mountPath": "data"}]},
            {"name": "backup", "exec": {"command": {"shell": "copy"}},
             "resources": {"cpus": 0.1, "mem": 32},
             "volumeMounts": [{"name": "data", "mountPath": "/in", "readOnly": true}]},
        ],
        "scheduling": {"backoff": {"backoff": 1}},
    })
}

/// What is done to a description.
type Change<'a> = &'a dyn Fn(&mut Value);

fn create_pod(world: &mut World, body: Value) {
    world.ask(Command::CreatePod { body, force: false }).expect("created");
    world.pass(1.0);
}

fn put_pod(world: &mut World, body: Value) {
    world.ask(Command::PutPod { id: app("/store"), body, force: false }).expect("deployed");
    world.pass(60.0);
}

/// The tasks of one instance of the pod: server and backup.
fn containers(world: &World) -> [TaskId; 2] {
    let task = world.instances("/store")[0].task.clone().expect("it is launched");
    let ids: Vec<_> = task.containers.iter().map(|it| it.task.clone()).collect();
    ids.try_into().expect("two containers")
}

#[test]
fn containers_of_a_pod_share_what_outlives_them() {
    let mut world = world(2);
    create_pod(&mut world, resident_pod(2));
    assert_eq!((world.running("/store"), world.reserved.len()), (2, 2));
    let reserved = world.reserved.clone();
    let volumes = |world: &World| -> BTreeSet<String> {
        let status = world.view.pod_status(&app("/store")).expect("it is there");
        let instances = status["instances"].as_array().expect("instances").clone();
        let ids = instances.iter().map(|it| {
            let volume = &it["localVolumes"][0];
            assert_eq!(volume["containerPath"], "data", "{it}");
            let id = volume["persistenceId"].as_str().expect("an id").to_owned();
            assert_eq!(id, format!("store#data#{}", volume["uuid"].as_str().expect("a uuid")));
            id
        });
        ids.collect()
    };
    let before = volumes(&world);
    assert_eq!(before.len(), 2);

    // One that fails comes back to its own; so do those of a new definition, and after a crash.
    let [_, backup] = containers(&world);
    world.report(&backup, TaskState::Failed, None);
    world.pass(10.0);
    assert_eq!(world.running("/store"), 2);
    let mut body = resident_pod(2);
    body["containers"][0]["exec"]["command"]["shell"] = "serve better".into();
    put_pod(&mut world, body.clone());
    let latest = world.app("/store").version;
    assert!(world.instances("/store").iter().all(|it| it.app.version == latest));
    assert_eq!(world.most["/store"], 4, "two would want one volume");
    world.crash();
    let [server, _] = containers(&world);
    world.report(&server, TaskState::Failed, None);
    world.pass(10.0);
    assert_eq!((world.running("/store"), &world.reserved), (2, &reserved));
    assert_eq!(volumes(&world), before);
    let mut shown = world.view.pod(&app("/store")).expect("it is there");
    assert_eq!(shown["volumes"].take(), body["volumes"]);
    assert_eq!(
        (&shown["scheduling"]["upgrade"], &shown["scheduling"]["unreachableStrategy"]),
        (&json!({"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0}), &json!("disabled"))
    );

    // They wait while fewer are wanted, and go with the pod.
    for instances in [1, 2] {
        body["scaling"]["instances"] = instances.into();
        put_pod(&mut world, body.clone());
        assert_eq!(world.running("/store"), instances);
        assert_eq!(world.reserved, reserved);
    }
    world.ask(Command::DeletePod { id: app("/store"), force: false }).expect("deleted");
    world.pass(60.0);
    assert_eq!((world.reservations(), world.stored_reservations()), (BTreeSet::new(), 0));
    world.pass(700.0);
    assert!(world.is_suppressed, "nothing is left to be collected");
}

#[test]
fn what_a_pod_leaves_in_parts_is_given_back_to_the_last() {
    let mut world = world(1);
    create_pod(&mut world, resident_pod(1));
    let before = world.reservations();
    let [server, backup] = containers(&world);
    world.is_killing = false;
    let kill = Command::KillPodInstances {
        id: app("/store"),
        instances: vec![instance_of(&server).to_string()],
        is_single: true,
        wipe: true,
    };
    world.ask(kill).expect("killed");
    world.report(&server, TaskState::Killed, None);
    world.pass(1.0);
    let left = |world: &World| before.iter().find_map(|id| world.reserved.get(id)).cloned();
    let (_, rest) = left(&world).expect("the other one runs on it");
    assert_eq!(rest.scalar("cpus"), Milli(200), "what the first had is given back: {rest}");
    world.report(&backup, TaskState::Killed, None);
    world.pass(5.0);
    assert_eq!(left(&world), None);
    assert_eq!((world.running("/store"), world.reserved.len()), (1, 1));
    assert_eq!(world.stored_reservations(), 1);
}

#[test]
fn a_pod_on_an_agent_that_is_given_up_begins_anew_whatever_ended_first() {
    let mut world = world(2);
    create_pod(&mut world, resident_pod(1));
    let [server, backup] = containers(&world);
    world.is_killing = false;
    world.report(&server, TaskState::Failed, None);
    let agent = world.tasks.remove(&backup).expect("it runs").agent;
    world.agents[agent].is_up = false;
    let why = Some(Why::AgentRemovedByOperator);
    world.report_of(&backup, Some(agent), TaskState::GoneByOperator, why);
    world.pass(10.0);
    assert_eq!(world.running("/store"), 1);
    assert!(world.tasks.values().all(|it| it.agent != agent));
}

#[test]
fn what_cannot_be_of_a_pod_with_volumes_is_refused() {
    let mut world = world(1);
    let mut refused = |change: Change<'_>| {
        let mut body = resident_pod(1);
        change(&mut body);
        let refusal = world.ask(Command::CreatePod { body, force: false }).expect_err("refused");
        assert_eq!(refusal.status, 422, "{}", refusal.body);
        refusal.body["details"][0]["path"].as_str().expect("a path").to_owned()
    };
    let cases: [(Change<'_>, &str); 6] = [
        (&|it| it["volumes"][0]["persistent"] = json!({}), "/volumes(0)/persistent/size"),
        (&|it| it["volumes"][0]["host"] = "/data".into(), "/volumes(0)"),
        (
            &|it| {
                it["volumes"][0]["name"] = "stdout".into();
                it["containers"][0]["volumeMounts"] = json!([]);
                it["containers"][1]["volumeMounts"] = json!([]);
            },
            "/volumes(0)/name",
        ),
        (
            &|it| it["scheduling"]["upgrade"] = json!({"maximumOverCapacity": 0.5}),
            "/scheduling/upgrade/maximumOverCapacity",
        ),
        (
            &|it| it["labels"] = json!({"AGORA_ONE_PER_AGENT": "true"}),
            "/labels/AGORA_ONE_PER_AGENT",
        ),
        (
            &|it| it["volumes"][0]["persistent"]["profileName"] = "fast".into(),
            "/volumes(0)/persistent/profileName",
        ),
    ];
    for (change, path) in cases {
        assert_eq!(refused(change), path);
    }

    create_pod(&mut world, resident_pod(1));
    let mut fixed = |path: &str, change: Change<'_>| {
        let mut body = resident_pod(1);
        change(&mut body);
        let put = Command::PutPod { id: app("/store"), body, force: true };
        let refusal = world.ask(put).expect_err("refused");
        assert_eq!(refusal.status, 422, "{}", refusal.body);
        assert_eq!(refusal.body["details"][0]["path"], path, "{}", refusal.body);
    };
    fixed("/containers", &|it| it["containers"][0]["resources"]["mem"] = 65.into());
    fixed("/containers", &|it| it["executorResources"] = json!({"cpus": 0.2}));
    fixed("/containers", &|it| it["containers"][0]["endpoints"] = json!([]));
    fixed("/volumes", &|it| it["volumes"][0]["persistent"]["size"] = 101.into());
    // What its containers take together is reserved, not what each does.
    let mut body = resident_pod(1);
    for (n, cpus) in [0.4, 0.2].into_iter().enumerate() {
        body["containers"][n]["resources"]["cpus"] = cpus.into();
    }
    put_pod(&mut world, body);
    assert_eq!((world.running("/store"), world.reserved.len()), (1, 1));

    let mut everybody = World::new(1);
    let body = resident_pod(1);
    let refusal = everybody.ask(Command::CreatePod { body, force: false }).expect_err("refused");
    assert_eq!(refusal.body["details"][0]["path"], "/role", "{}", refusal.body);
}
