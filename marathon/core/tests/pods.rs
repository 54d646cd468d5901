//! Pods: several containers that come and go together.

mod world;

use marathon_core::instance::Condition;
use marathon_core::io::{Answer, Command, PutGroup, Refusal};
use marathon_core::view::Embed;
use model::ids::TaskId;
use model::task::TaskState;
use serde_json::{Value, json};
use world::{World, app};

/// A server with a side car that probes it.
fn web(instances: u32) -> Value {
    json!({
        "id": "/web",
        "scaling": {"kind": "fixed", "instances": instances},
        "containers": [
            {"name": "server", "exec": {"command": {"shell": "serve"}},
             "resources": {"cpus": 0.5, "mem": 64},
             "endpoints": [{"name": "http", "hostPort": 0}, {"name": "admin", "hostPort": 0}]},
            {"name": "side", "exec": {"command": {"argv": ["probe", "-v"]}},
             "resources": {"cpus": 0.1, "mem": 32, "disk": 5}},
        ],
        "scheduling": {"backoff": {"backoff": 2, "backoffFactor": 1}},
    })
}

fn create(world: &mut World, body: Value) -> Result<Answer, Refusal> {
    world.ask(Command::CreatePod { body, force: false })
}

fn put(world: &mut World, body: Value) -> Result<Answer, Refusal> {
    world.ask(Command::PutPod { id: app("/web"), body, force: false })
}

/// What is done to a description.
type Change = fn(&mut Value);

/// The tasks of one instance: server and side car.
fn pair(world: &World) -> [TaskId; 2] {
    let task = world.instances("/web")[0].task.clone().expect("it is launched");
    let ids: Vec<_> = task.containers.iter().map(|it| it.task.clone()).collect();
    ids.try_into().expect("two containers")
}

fn errors(refusal: &Refusal) -> String {
    assert_eq!(refusal.status, 422, "{}", refusal.body);
    let details = refusal.body["details"].as_array().expect("details");
    let lines = details.iter().map(|it| format!("{} {}", it["path"], it["errors"][0]));
    lines.collect::<Vec<_>>().join("\n").replace('"', "")
}

#[test]
fn a_pod_is_created_runs_and_is_deleted() {
    let mut world = World::new(2);
    world.rest();
    world.kinds();
    let answer = create(&mut world, web(2)).expect("created");
    assert_eq!((answer.status, answer.location.as_deref()), (201, Some("/v2/pods/web")));
    let shown = answer.body.expect("the pod");
    assert_eq!(shown["executorResources"], json!({"cpus": 0.1, "mem": 32, "disk": 10}));
    let [deployment] = &world.view.deployments()[..] else { panic!("one deployment") };
    assert_eq!(
        (&deployment["affectedApps"], &deployment["affectedPods"]),
        (&json!([]), &json!(["/web"]))
    );
    let start = json!({"actions": [{"action": "StartPod", "pod": "/web"}]});
    assert_eq!(deployment["steps"][0], start);
    assert_eq!(world.view.queue(world.now().wall, false)["queue"][0]["pod"]["id"], "/web");
    world.rest();
    assert_eq!(world.running("/web"), 2);
    assert_eq!(world.tasks.len(), 4, "a task for each container");
    assert!(world.kinds().contains(&"pod_created_event".to_owned()));

    let status = world.view.pod_status(&app("/web")).expect("it is there");
    assert_eq!(status["status"], "STABLE");
    let instance = &status["instances"][0];
    assert_eq!(instance["status"], "STABLE");
    assert_eq!(instance["containers"][0]["status"], "TASK_RUNNING");
    let ports: Vec<u64> = (0..2)
        .map(|n| {
            instance["containers"][0]["endpoints"][n]["allocatedHostPort"].as_u64().expect("given")
        })
        .collect();
    assert_ne!(ports[0], ports[1]);
    assert!(
        world.view.tasks(&[]).next().is_none(),
        "tasks of pods are not listed among those of apps"
    );
    assert!(world.shown("/web", Embed::default()).is_none(), "nor is it an app");

    let answer = world.ask(Command::DeletePod { id: app("/web"), force: false }).expect("deleted");
    assert_eq!((answer.status, answer.body), (202, None));
    world.rest();
    assert!(world.tasks.is_empty() && world.instances("/web").is_empty());
    assert!(world.kinds().contains(&"pod_deleted_event".to_owned()));
    assert_eq!(world.view.terminations.get(&app("/web")), None);
    let gone = world.ask(Command::DeletePod { id: app("/web"), force: false }).expect_err("gone");
    assert_eq!((gone.status, &gone.body["message"]), (404, &json!("Pod '/web' does not exist")));
}

#[test]
fn an_instance_runs_when_all_its_containers_do() {
    let mut world = World::new(1);
    world.is_starting = false;
    create(&mut world, web(1)).expect("created");
    world.rest();
    let [server, side] = pair(&world);
    assert!(server.as_str().ends_with(".server.1") && side.as_str().ends_with(".side.1"));
    world.report(&server, TaskState::Running, None);
    assert_eq!(world.instances("/web")[0].condition, Condition::Staging);
    assert_eq!(
        world.view.pod_status(&app("/web")).expect("there")["instances"][0]["status"],
        "STAGING"
    );
    world.report(&side, TaskState::Starting, None);
    assert_eq!(world.instances("/web")[0].condition, Condition::Starting);
    world.report(&side, TaskState::Running, None);
    assert_eq!(world.instances("/web")[0].condition, Condition::Running);
    assert_eq!(world.view.deployments(), Vec::<Value>::new(), "so the deployment is done");
    // What does its work and ends well leaves the others be.
    world.report(&side, TaskState::Finished, None);
    world.rest();
    assert_eq!((world.running("/web"), world.tasks.len()), (1, 1));
}

#[test]
fn a_container_that_fails_takes_the_others_with_it_and_the_pod_waits() {
    let mut world = World::new(1);
    create(&mut world, web(1)).expect("created");
    world.rest();
    let [server, side] = pair(&world);
    world.report(&side, TaskState::Failed, None);
    assert_eq!(world.instances("/web")[0].condition, Condition::Killing);
    world.rest();
    assert!(world.tasks.is_empty(), "{server} was ended too");
    let ended = &world.view.terminations[&app("/web")][0];
    let ends: Vec<_> = ended.containers.iter().map(|it| it.state).collect();
    assert_eq!(ends, [TaskState::Killed, TaskState::Failed]);
    let status = world.view.pod_status(&app("/web")).expect("there");
    assert_eq!(status["status"], "DEGRADED");
    assert_eq!(status["terminationHistory"][0]["containers"][1]["lastKnownState"], "TASK_FAILED");
    world.pass(1.9);
    assert!(world.tasks.is_empty(), "it waits for two seconds");
    world.pass(0.2);
    assert_eq!(world.running("/web"), 1);
    assert!(pair(&world)[0].as_str().ends_with(".server.2"), "the same instance, its second tasks");
}

#[test]
fn a_kill_that_was_asked_for_costs_no_wait() {
    let mut world = World::new(1);
    create(&mut world, web(2)).expect("created");
    world.rest();
    let ids: Vec<_> = world.instances("/web").iter().map(|it| it.id.to_string()).collect();
    let kill = |instances: &[&str], is_single| Command::KillPodInstances {
        id: app("/web"),
        instances: instances.iter().map(|it| (*it).to_owned()).collect(),
        is_single,
        wipe: false,
    };
    let answer = world.ask(kill(&[&ids[0]], true)).expect("killed");
    let body = answer.body.expect("the instance");
    assert_eq!(
        (&body["instanceId"], &body["state"]["condition"]),
        (&json!(ids[0]), &json!("Killing"))
    );
    world.rest();
    assert_eq!(world.running("/web"), 2, "at once");
    let answer = world.ask(kill(&[&ids[0], &ids[1], "nobody"], false)).expect("killed");
    assert_eq!(answer.body.expect("instances").as_array().map(Vec::len), Some(2));
    world.rest();
    assert_eq!(world.running("/web"), 2);
    assert_eq!(world.ask(kill(&["nobody"], true)).expect_err("unknown").status, 404);
}

#[test]
fn health_is_what_all_checked_containers_say() {
    let mut world = World::new(1);
    let mut body = web(1);
    for container in 0..2 {
        body["containers"][container]["healthCheck"] =
            json!({"exec": {"command": {"shell": "true"}}});
    }
    create(&mut world, body).expect("created");
    world.rest();
    let [server, side] = pair(&world);
    let healthy = |world: &World| {
        world.instances("/web")[0].task.as_ref().expect("it runs").health.is_healthy
    };
    world.report(&server, TaskState::Running, Some(true));
    assert_eq!(healthy(&world), None, "the other one has said nothing yet");
    world.report(&side, TaskState::Running, Some(true));
    assert_eq!(healthy(&world), Some(true));
    assert_eq!(world.view.deployments(), Vec::<Value>::new());
    world.report(&server, TaskState::Running, Some(false));
    assert_eq!(healthy(&world), Some(false));
    let status = world.view.pod_status(&app("/web")).expect("there");
    assert_eq!(status["instances"][0]["status"], "DEGRADED");
    let condition = &status["instances"][0]["containers"][0]["conditions"][0];
    assert_eq!((&condition["name"], &condition["value"]), (&json!("healthy"), &json!("false")));
}

#[test]
fn an_upgrade_never_has_fewer_than_it_may_and_scaling_restarts_nothing() {
    let mut world = World::new(4);
    let mut body = web(4);
    body["scheduling"]["upgrade"] = json!({"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0});
    create(&mut world, body.clone()).expect("created");
    world.rest();
    let before = world.launched.len();
    body["scaling"]["instances"] = 5.into();
    body["labels"] = json!({"tier": "front"});
    put(&mut world, body.clone()).expect("scaled");
    world.rest();
    assert_eq!(world.launched.len(), before + 2, "one more instance, and no other touched");
    world.most.clear();
    body["containers"][1]["exec"]["command"]["argv"] = json!(["probe", "-q"]);
    put(&mut world, body).expect("changed");
    let action = &world.view.deployments()[0]["currentActions"][0];
    assert_eq!((&action["action"], &action["pod"]), (&json!("RestartPod"), &json!("/web")));
    world.pass(60.0);
    assert_eq!((world.running("/web"), world.launched.len()), (5, before + 12));
    assert!(world.most["/web"] <= 10, "{:?}", world.most);
    assert_eq!(world.view.pod_versions(&app("/web")).expect("versions").len(), 3);
}

#[test]
fn a_successor_takes_up_pods_as_they_are() {
    let mut world = World::new(1);
    create(&mut world, web(2)).expect("created");
    world.rest();
    let (pod, tasks) = (world.view.pod(&app("/web")), world.tasks.len());
    world.report(&pair(&world)[1], TaskState::Finished, None);
    world.crash();
    world.rest();
    assert_eq!(world.view.pod(&app("/web")), pod);
    assert_eq!((world.running("/web"), world.tasks.len()), (2, tasks - 1));
    assert_eq!(world.launched.len(), tasks, "nothing is launched twice");
}

#[test]
fn pods_lie_in_groups_beside_apps() {
    let mut world = World::new(1);
    let put = |world: &mut World, body: Value| {
        let how = PutGroup::default();
        world.ask(Command::PutGroup { id: app("/shop"), body, how })
    };
    let mut pod = web(1);
    pod["id"] = "side".into();
    let mut shop = json!({"id": "/shop", "apps": [world::sleeper("web", 1)], "pods": [pod]});
    put(&mut world, shop.clone()).expect("made");
    world.rest();
    assert_eq!((world.running("/shop/side"), world.running("/shop/web")), (1, 1));
    // Who does not speak of pods means none of them to go; who does means just those.
    shop.as_object_mut().expect("an object").remove("pods");
    put(&mut world, shop.clone()).expect("changed");
    world.rest();
    assert_eq!(world.running("/shop/side"), 1);
    shop["pods"] = json!([]);
    put(&mut world, shop).expect("changed");
    world.rest();
    assert_eq!((world.running("/shop/side"), world.running("/shop/web")), (0, 1));
}

#[test]
fn names_are_of_one_thing_only() {
    let mut world = World::new(1);
    create(&mut world, web(1)).expect("created");
    let mut sleeper = world::sleeper("/web", 1);
    let refusal = world.ask(Command::CreateApp { body: sleeper.clone(), force: false });
    assert_eq!(refusal.expect_err("a pod has it").status, 409);
    assert_eq!(world.put("/web", json!({"instances": 2})).expect_err("no app").status, 409);
    assert_eq!(create(&mut world, web(1)).expect_err("it is there").status, 409);
    sleeper["id"] = "/web/below".into();
    let refusal = world.ask(Command::CreateApp { body: sleeper, force: false });
    assert_eq!(refusal.expect_err("a pod is no group").status, 409);
    let mut other = web(1);
    other["id"] = "/other".into();
    assert_eq!(put(&mut world, other).expect_err("another id").status, 400);
}

#[test]
fn what_cannot_be_is_refused_by_path() {
    let mut world = World::new(1);
    let mut refused = |change: &dyn Fn(&mut Value)| {
        let mut body = web(1);
        change(&mut body);
        errors(&create(&mut world, body).expect_err("refused"))
    };
    let cases: [(Change, &str); 14] = [
        (|it| it["containers"] = json!([]), "/containers must not be empty"),
        (
            |it| it["containers"][1]["name"] = "server".into(),
            "/containers container names must be unique",
        ),
        (|it| it["containers"][0]["name"] = "Web".into(), "/containers(0)/name must fully match"),
        (
            |it| it["containers"][0]["endpoints"][1]["name"] = "http".into(),
            "/containers endpoint names must be unique within a pod",
        ),
        (
            |it| it["containers"][0]["endpoints"][0]["containerPort"] = 80.into(),
            "/containers(0)/endpoints(0)/containerPort is not allowed when using host-mode networking",
        ),
        (
            |it| it["networks"] = json!([{"mode": "container", "name": "net"}]),
            "/containers(0)/endpoints(0)/containerPort is required when using container-mode networking",
        ),
        (
            |it| it["containers"][0]["healthCheck"] = json!({"tcp": {"endpoint": "none"}}),
            "/containers(0)/healthCheck must refer to an endpoint of this container",
        ),
        (
            |it| it["containers"][0]["healthCheck"] = json!({}),
            "/containers(0)/healthCheck must have exactly one of http, tcp, exec",
        ),
        (
            |it| it["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "p"}]),
            "/containers(0)/volumeMounts(0)/name there is no volume 'v' in this pod",
        ),
        (
            |it| it["containers"][0]["resources"] = json!({"cpus": 0, "mem": 1}),
            "/containers(0)/resources/cpus got 0, expected more than 0",
        ),
        (
            |it| it["containers"][0]["resourceLimits"] = json!({"cpus": 0.1}),
            "/containers(0)/resourceLimits/cpus must be 'unlimited', or 0.5",
        ),
        (
            |it| it["environment"] = json!({"A": {"secret": "s"}}),
            "/environment/A references an undefined secret named 's'",
        ),
        (
            |it| {
                it["scheduling"]["placement"] =
                    json!({"constraints": [{"fieldName": "hostname", "operator": "NEAR"}]});
            },
            "/scheduling/placement/constraints(0) operator must be one of",
        ),
        (
            |it| it["executorResources"] = json!({"cpus": 0.01}),
            "/executorResources/cpus got 0.01, expected 0.1 or more",
        ),
    ];
    for (change, wanted) in cases {
        let found = refused(&change);
        assert!(found.contains(wanted), "{found}\nand not: {wanted}");
    }
}

#[test]
fn every_field_is_kept_as_it_was_given() {
    let mut world = World::new(1);
    let body = json!({
        "id": "/web",
        "labels": {"a": "b"},
        "user": "nobody",
        "environment": {"A": "1", "S": {"secret": "s"}},
        "secrets": {"s": {"source": "/shop/key"}},
        "containers": [{
            "name": "c",
            "exec": {"command": {"argv": ["x"]}, "overrideEntrypoint": true},
            "resources": {"cpus": 0.1, "mem": 32, "disk": 1, "gpus": 0},
            "resourceLimits": {"cpus": "unlimited", "mem": 64},
            "endpoints": [{"name": "e", "containerPort": 80, "hostPort": 0, "protocol": ["tcp", "udp"],
                           "labels": {"VIP_0": "x:1"}, "networkNames": ["net"]}],
            "linuxInfo": {"ipcInfo": {"mode": "PRIVATE", "shmSize": 16}},
            "image": {"kind": "DOCKER", "id": "img", "forcePull": true, "pullConfig": {"secret": "s"},
                      "labels": {"l": "m"}},
            "environment": {"B": "2"},
            "user": "root",
            "healthCheck": {"http": {"endpoint": "e", "path": "/h", "scheme": "HTTPS"},
                            "gracePeriodSeconds": 1, "intervalSeconds": 2, "timeoutSeconds": 3,
                            "delaySeconds": 4, "maxConsecutiveFailures": 5},
            "volumeMounts": [{"name": "tmp", "mountPath": "t", "readOnly": true},
                             {"name": "host", "mountPath": "h"}, {"name": "key", "mountPath": "k"}],
            "artifacts": [{"uri": "http://x/y", "extract": false, "executable": true, "cache": true,
                           "destPath": "z"}],
            "labels": {"c": "d"},
            "lifecycle": {"killGracePeriodSeconds": 1.5},
            "tty": true,
        }],
        "volumes": [{"name": "tmp"}, {"name": "host", "host": "/etc"}, {"name": "key", "secret": "s"}],
        "networks": [{"mode": "container", "name": "net", "labels": {"n": "o"}}],
        "scaling": {"kind": "fixed", "instances": 0},
        "scheduling": {
            "backoff": {"backoff": 1.5, "backoffFactor": 1.2, "maxLaunchDelay": 60},
            "upgrade": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.25},
            "placement": {"constraints": [{"fieldName": "hostname", "operator": "LIKE", "value": "h.*"}],
                          "acceptedResourceRoles": ["*"]},
            "killSelection": "OLDEST_FIRST",
            "unreachableStrategy": {"inactiveAfterSeconds": 1, "expungeAfterSeconds": 2},
        },
        "executorResources": {"cpus": 0.2, "mem": 64, "disk": 20},
        "linuxInfo": {"seccomp": {"unconfined": true}},
        "legacySharedCgroups": false,
    });
    create(&mut world, body.clone()).expect("created");
    world.crash();
    let mut shown = world.view.pod(&app("/web")).expect("it is there");
    shown.as_object_mut().expect("an object").remove("version");
    assert_eq!(shown, body);
}
