//! Pods: one group, on a default executor.

use marathon_core::io::{Claim, Launch, NewVolume};
use model::amount::Milli;
use model::ids::PersistenceId;
use model::resources::Resources;
use proto::mesos::v1::{TaskInfo, environment};
use serde_json::{Value, json};

use super::{json_of, launch, pod, secrets, with_scene};
use crate::task_info::launch_group;

/// The group of `body` as JSON: executor and tasks.
fn group(body: &Value) -> (Value, Vec<Value>) {
    let app = pod(body);
    let described = app.pod.clone().expect("a pod");
    let launch = launch(app);
    let operation = with_scene(|scene| launch_group(&launch, &described, &secrets(), scene));
    let group = operation.launch_group.expect("a group");
    let tasks = group.task_group.tasks.iter().map(shown).collect();
    (json_of(&group.executor), tasks)
}

/// A task as JSON, with its variables as an object.
fn shown(task: &TaskInfo) -> Value {
    let mut out = json_of(task);
    let command = task.command.as_ref().expect("a command");
    let variables = command.environment.as_ref().expect("variables").variables.iter();
    let text = |it: &environment::Variable| (it.name.clone(), json!(it.value));
    out["command"]["environment"] = variables.map(text).collect();
    out
}

fn of(resources: &Value, name: &str) -> Value {
    let all = resources.as_array().expect("resources");
    let found = all.iter().find(|it| it["name"] == name);
    found.map_or(Value::Null, |it| it["scalar"]["value"].clone())
}

#[test]
fn containers_share_an_executor_and_have_their_own_resources() {
    let body = json!({
        "id": "/shop/web", "labels": {"tier": "front", "x": "pod"}, "user": "nobody",
        "environment": {"A": "pod", "B": "pod"},
        "containers": [
            {"name": "server", "exec": {"command": {"shell": "serve $ENDPOINT_HTTP"}},
             "resources": {"cpus": 0.5, "mem": 64},
             "environment": {"B": "own"}, "labels": {"x": "own"},
             "endpoints": [{"name": "http", "hostPort": 0, "labels": {"VIP_0": "w:80"}}],
             "healthCheck": {"http": {"endpoint": "http", "path": "/up"}, "maxConsecutiveFailures": 2},
             "lifecycle": {"killGracePeriodSeconds": 2.5}},
            {"name": "side", "user": "root", "exec": {"command": {"argv": ["probe", "-v"]}},
             "resources": {"cpus": 0.1, "mem": 32, "disk": 5},
             "artifacts": [{"uri": "http://x/y.tgz"}]},
        ],
    });
    let (executor, tasks) = group(&body);
    assert_eq!(executor["type"], "DEFAULT");
    assert_eq!(executor["framework_id"]["value"], "F-0000");
    let id = executor["executor_id"]["value"].as_str().expect("an id");
    assert!(id.starts_with("instance-shop_web.instance-"), "{id}");
    assert_eq!(
        (of(&executor["resources"], "cpus"), of(&executor["resources"], "mem")),
        (json!(0.1), json!(32.0))
    );
    assert_eq!(executor.get("container"), None, "on the host's network it needs none");

    let [server, side] = &tasks[..] else { panic!("two tasks") };
    assert_eq!((&server["name"], &side["name"]), (&json!("server"), &json!("side")));
    assert_eq!(
        (of(&server["resources"], "cpus"), of(&side["resources"], "cpus")),
        (json!(0.5), json!(0.1))
    );
    assert_eq!(
        (of(&side["resources"], "disk"), of(&side["resources"], "ports")),
        (json!(5.0), Value::Null)
    );
    let env = &server["command"]["environment"];
    for (name, value) in [
        ("A", "pod"),
        ("B", "own"),
        ("ENDPOINT_HTTP", "31001"),
        ("HOST", "host1"),
        ("MARATHON_APP_ID", "/shop/web"),
        ("MARATHON_CONTAINER_ID", "server"),
        ("MARATHON_CONTAINER_RESOURCE_CPUS", "0.5"),
        ("MARATHON_APP_LABEL_TIER", "front"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    assert_eq!(side["command"]["environment"]["ENDPOINT_HTTP"], "31001", "all see all endpoints");
    assert_eq!(
        (&server["command"]["user"], &side["command"]["user"]),
        (&json!("nobody"), &json!("root"))
    );
    assert_eq!(side["command"]["value"], "probe");
    assert_eq!(side["command"]["arguments"], json!(["probe", "-v"]));
    assert_eq!(side["command"]["uris"][0]["extract"], true);
    let check = &server["health_check"];
    assert_eq!(
        (&check["type"], &check["http"]["port"], &check["http"]["path"]),
        (&json!("HTTP"), &json!(31_001), &json!("/up"))
    );
    assert_eq!(check["consecutive_failures"], 2);
    assert_eq!(server["kill_policy"]["grace_period"]["nanoseconds"], 2_500_000_000_u64);
    let labels = server["labels"]["labels"].as_array().expect("labels");
    assert!(labels.contains(&json!({"key": "x", "value": "own"})), "{labels:?}");
    assert!(labels.contains(&json!({"key": "tier", "value": "front"})), "{labels:?}");
    let port = &server["discovery"]["ports"]["ports"][0];
    assert_eq!((&port["number"], &port["name"]), (&json!(31_001), &json!("http")));
    assert_eq!(server["discovery"]["name"], "web.shop");
}

#[test]
fn a_network_of_its_own_belongs_to_the_executor() {
    let body = json!({
        "id": "/web", "networks": [{"mode": "container"}],
        "containers": [{
            "name": "c", "resources": {"cpus": 0.1, "mem": 32},
            "image": {"kind": "DOCKER", "id": "nginx:1", "forcePull": true},
            "endpoints": [{"name": "http", "containerPort": 80, "hostPort": 0, "protocol": ["tcp", "udp"]},
                          {"name": "inner", "containerPort": 81}],
            "healthCheck": {"tcp": {"endpoint": "http"}},
        }],
    });
    let (executor, tasks) = group(&body);
    let network = &executor["container"]["network_infos"][0];
    assert_eq!(network["name"], "default-net");
    assert_eq!(
        network["port_mappings"],
        json!([{"host_port": 31_001, "container_port": 80, "protocol": "tcp"},
               {"host_port": 31_001, "container_port": 80, "protocol": "udp"}])
    );
    let task = &tasks[0];
    assert_eq!(task["container"].get("network_infos"), None);
    assert_eq!(task["container"]["mesos"]["image"]["docker"]["name"], "nginx:1");
    assert_eq!(task["container"]["mesos"]["image"]["cached"], false);
    assert_eq!((&task["command"]["shell"], task["command"].get("value")), (&json!(false), None));
    assert_eq!(task["health_check"]["tcp"]["port"], 80, "probed from inside");
    let env = &task["command"]["environment"];
    assert_eq!((&env["ENDPOINT_HTTP"], &env["ENDPOINT_INNER"]), (&json!("31001"), &json!("81")));
    let ports = task["discovery"]["ports"]["ports"].as_array().expect("ports");
    assert_eq!(ports.len(), 3, "one for each protocol");
}

#[test]
fn volumes_are_shared_through_the_sandbox_or_the_host() {
    let body = json!({
        "id": "/web", "linuxInfo": {"ipcInfo": {"mode": "PRIVATE", "shmSize": 16}},
        "volumes": [{"name": "tmp"}, {"name": "etc", "host": "/etc"}],
        "containers": [{
            "name": "c", "resources": {"cpus": 0.1, "mem": 32}, "tty": true,
            "image": {"kind": "DOCKER", "id": "img"},
            "exec": {"command": {"argv": ["run", "it"]}},
            "resourceLimits": {"cpus": "unlimited", "mem": 64},
            "linuxInfo": {"seccomp": {"profileName": "strict"}},
            "volumeMounts": [{"name": "tmp", "mountPath": "data"},
                             {"name": "etc", "mountPath": "/conf", "readOnly": true}],
        }],
    });
    let (executor, tasks) = group(&body);
    let linux = &executor["container"]["linux_info"];
    assert_eq!((&linux["ipc_mode"], &linux["shm_size"]), (&json!("PRIVATE"), &json!(16)));
    let container = &tasks[0]["container"];
    assert_eq!(
        container["volumes"],
        json!([
            {"container_path": "data", "mode": "RW",
             "source": {"type": "SANDBOX_PATH", "sandbox_path": {"type": "PARENT", "path": "tmp"}}},
            {"container_path": "/conf", "mode": "RO", "host_path": "/etc"},
        ])
    );
    assert_eq!(container["linux_info"]["seccomp"]["profile_name"], "strict");
    assert_eq!(container["tty_info"], json!({}));
    assert_eq!(tasks[0]["limits"]["mem"]["value"], 64.0);
    // The words are arguments of the image's entry point, unless that is to be overridden.
    assert_eq!(tasks[0]["command"].get("value"), None);
    let mut body = body;
    body["containers"][0]["exec"]["overrideEntrypoint"] = true.into();
    assert_eq!(group(&body).1[0]["command"]["value"], "run");
}

#[test]
fn secrets_of_a_pod_are_the_containers_own() {
    let body = json!({
        "id": "/web", "secrets": {"key": {"source": "k"}}, "environment": {"A": {"secret": "key"}},
        "volumes": [{"name": "file", "secret": "key"}],
        "containers": [
            {"name": "a", "resources": {"cpus": 0.1, "mem": 32}, "exec": {"command": {"shell": "x"}},
             "environment": {"A": "plain"},
             "volumeMounts": [{"name": "file", "mountPath": "etc/key"}]},
            {"name": "b", "resources": {"cpus": 0.1, "mem": 32}, "exec": {"command": {"shell": "x"}}},
        ],
    });
    let app = pod(&body);
    let described = app.pod.clone().expect("a pod");
    let launch = launch(app);
    let group = with_scene(|scene| launch_group(&launch, &described, &secrets(), scene));
    let tasks = group.launch_group.expect("a group").task_group.tasks;
    let a = |task: &TaskInfo| {
        let env = task.command.as_ref().and_then(|it| it.environment.clone()).expect("variables");
        let all: Vec<_> = env.variables.into_iter().filter(|it| it.name == "A").collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    };
    assert_eq!(a(&tasks[0]).value.as_deref(), Some("plain"));
    assert_eq!(a(&tasks[1]).r#type(), environment::variable::Type::Secret);
    let volume = &json_of(&tasks[0])["container"]["volumes"][0];
    assert_eq!(
        (&volume["container_path"], &volume["source"]["type"]),
        (&json!("etc/key"), &json!("SECRET"))
    );
}

#[test]
fn what_outlives_a_pod_is_the_executors_and_seen_by_who_mounts_it() {
    let body = json!({
        "id": "/db", "volumes": [{"name": "data", "persistent": {"size": 64}}],
        "containers": [
            {"name": "a", "resources": {"cpus": 0.5, "mem": 32}, "exec": {"command": {"shell": "x"}},
             "volumeMounts": [{"name": "data", "mountPath": "there"}]},
            {"name": "b", "resources": {"cpus": 0.1, "mem": 32}, "exec": {"command": {"shell": "x"}},
             "volumeMounts": [{"name": "data", "mountPath": "/in", "readOnly": true}]},
        ],
    });
    let app = pod(&body);
    let described = app.pod.clone().expect("a pod");
    let space = Resources::scalars([("disk", Milli::units(64))]);
    let id = PersistenceId::new("db#data#1").expect("an id");
    let volume = NewVolume { container_path: "data".into(), id, space };
    let claim = Some(Claim { id: "r1".into(), new: Some(vec![volume]) });
    let launch = Launch { claim, ..launch(app) };
    let operation = with_scene(|scene| launch_group(&launch, &described, &secrets(), scene));
    let group = operation.launch_group.expect("a group");
    let executor = json_of(&group.executor);
    let of_executor = executor["resources"].as_array().expect("resources");
    let disks = of_executor.iter().filter_map(|it| it.get("disk"));
    let disks: Vec<_> = disks.map(|it| (&it["persistence"]["id"], &it["volume"])).collect();
    let at = json!({"container_path": "data", "mode": "RW"});
    assert_eq!(disks, [(&json!("db#data#1"), &at)]);
    let mounts = group.task_group.tasks.iter().map(|task| {
        let task = json_of(task);
        let all = task["resources"].as_array().expect("resources").iter().chain(of_executor);
        for resource in all {
            assert!(resource["reservations"][0].to_string().contains("r1"), "{resource}");
        }
        let volume = &task["container"]["volumes"][0];
        assert_eq!(volume["source"]["sandbox_path"], json!({"type": "PARENT", "path": "data"}));
        (volume["container_path"].clone(), volume["mode"].clone())
    });
    let mounts: Vec<_> = mounts.collect();
    assert_eq!(mounts, [(json!("there"), json!("RW")), (json!("/in"), json!("RO"))]);
}
