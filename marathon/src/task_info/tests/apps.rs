//! Apps: networks, images and what is said of containers.

use serde_json::{Value, json};

use super::task;

fn labels(of: &Value) -> Vec<(&str, &str)> {
    let all = of["labels"]["labels"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter()
        .map(|it| (it["key"].as_str().expect("a key"), it["value"].as_str().expect("a value")))
        .collect()
}

#[test]
fn on_the_hosts_network_a_command_needs_no_container() {
    let body = json!({"id": "/web", "cmd": "serve", "networks": [{"mode": "host"}],
        "portDefinitions": [{"port": 10_080, "protocol": "udp,tcp", "name": "dns", "labels": {"VIP_0": "x:1"}}]});
    let task = task(&body);
    assert_eq!(task.get("container"), None);
    let ports = task["discovery"]["ports"]["ports"].as_array().expect("ports").clone();
    let told: Vec<_> = ports.iter().map(|it| (&it["number"], &it["protocol"])).collect();
    assert_eq!(told, [(&json!(31_001), &json!("udp")), (&json!(31_001), &json!("tcp"))]);
    assert_eq!(labels(&ports[0]), [("VIP_0", "x:1"), ("network-scope", "host")]);
}

#[test]
fn a_bridge_is_a_network_with_a_name_for_the_mesos_containerizer() {
    let body = json!({
        "id": "/web", "cmd": "serve", "networks": [{"mode": "container/bridge"}],
        "container": {"type": "MESOS", "portMappings": [
            {"containerPort": 80, "hostPort": 0, "protocol": "udp,tcp", "name": "http"},
            {"containerPort": 0, "name": "same"},
        ]},
    });
    let task = task(&body);
    let container = &task["container"];
    assert_eq!((&container["type"], container.get("docker")), (&json!("MESOS"), None));
    let network = &container["network_infos"][0];
    assert_eq!(network["name"], "mesos-bridge");
    assert_eq!(
        network["port_mappings"],
        json!([{"host_port": 31_001, "container_port": 80, "protocol": "udp"},
               {"host_port": 31_001, "container_port": 80, "protocol": "tcp"},
               {"host_port": 31_002, "container_port": 31_002, "protocol": "tcp"}])
    );
}

#[test]
fn container_networks_are_told_apart_and_have_a_default() {
    let body = json!({
        "id": "/web", "cmd": "serve",
        "networks": [{"mode": "container", "labels": {"l": "m"}}, {"mode": "container", "name": "blue"}],
        "container": {"type": "MESOS", "portMappings": [
            {"containerPort": 80, "hostPort": 0, "networkNames": ["blue"]},
            {"containerPort": 81, "name": "inner"},
        ]},
    });
    let task = task(&body);
    let networks = &task["container"]["network_infos"];
    assert_eq!(
        (&networks[0]["name"], &networks[1]["name"]),
        (&json!("default-net"), &json!("blue"))
    );
    assert_eq!(labels(&networks[0]), [("l", "m")]);
    assert_eq!(networks[0].get("port_mappings"), None);
    assert_eq!(networks[1]["port_mappings"][0]["host_port"], 31_001);
    let ports = task["discovery"]["ports"]["ports"].as_array().expect("ports").clone();
    assert_eq!(labels(&ports[0]), [("network-scope", "host")]);
    assert_eq!(
        labels(&ports[1]),
        [("network-scope", "container"), ("network-name", "default-net")]
    );
}

#[test]
fn a_docker_container_says_all_that_docker_is_told() {
    let body = json!({
        "id": "/web", "args": ["-v"], "networks": [{"mode": "container/bridge"}],
        "container": {
            "type": "DOCKER",
            "docker": {"image": "nginx:1", "privileged": true, "forcePullImage": true,
                       "parameters": [{"key": "hostname", "value": "a.b"}]},
            "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "udp,tcp"}],
            "volumes": [{"containerPath": "/etc/x", "hostPath": "/x", "mode": "RO"}],
        },
    });
    let task = task(&body);
    let docker = &task["container"]["docker"];
    assert_eq!((&docker["image"], &docker["network"]), (&json!("nginx:1"), &json!("BRIDGE")));
    assert_eq!((&docker["privileged"], &docker["force_pull_image"]), (&json!(true), &json!(true)));
    assert_eq!(docker["parameters"][0], json!({"key": "hostname", "value": "a.b"}));
    let label = docker["parameters"][1]["value"].as_str().expect("a label");
    assert!(label.starts_with("MESOS_TASK_ID=web.instance-"), "{label}");
    let protocols: Vec<_> =
        (0..2).map(|n| docker["port_mappings"][n]["protocol"].clone()).collect();
    assert_eq!(protocols, ["udp", "tcp"]);
    assert_eq!(
        task["container"]["volumes"],
        json!([{"container_path": "/etc/x", "host_path": "/x", "mode": "RO"}])
    );
    assert_eq!(task["command"].get("value"), None, "the words are for the image's entry point");
    assert_eq!(task["command"]["arguments"], json!(["-v"]));
}

#[test]
fn an_image_of_the_mesos_containerizer_keeps_its_limits_and_its_terminal() {
    let body = json!({
        "id": "/web", "cmd": "x", "tty": true, "cpus": 0.5, "mem": 64,
        "resourceLimits": {"cpus": "unlimited", "mem": 128},
        "container": {
            "type": "MESOS", "docker": {"image": "img"},
            "linuxInfo": {"seccomp": {"unconfined": true}, "ipcInfo": {"mode": "PRIVATE", "shmSize": 8}},
            "volumes": [{"containerPath": "data", "mode": "RW",
                         "external": {"name": "v", "provider": "dvdi", "options": {"dvdi/driver": "rexray", "dvdi/size": "2"}}}],
        },
    });
    let task = task(&body);
    let container = &task["container"];
    assert_eq!(container["mesos"]["image"]["docker"]["name"], "img");
    assert_eq!(container["mesos"]["image"]["cached"], true);
    assert_eq!(container["linux_info"]["seccomp"]["unconfined"], true);
    assert_eq!(container["linux_info"]["shm_size"], 8);
    assert_eq!(container["tty_info"], json!({}));
    let volume = &container["volumes"][0]["source"]["docker_volume"];
    assert_eq!((&volume["driver"], &volume["name"]), (&json!("rexray"), &json!("v")));
    assert_eq!(task["limits"]["mem"]["value"].as_f64(), Some(128.0));
    assert_eq!(task["limits"]["cpus"]["value"], "Infinity", "no limit at all");
}

#[test]
fn checks_are_the_agents_business() {
    let with = |check: Value| {
        let body = json!({"id": "/web", "cmd": "x", "check": check,
                          "portDefinitions": [{"port": 0}, {"port": 0, "name": "b"}]});
        task(&body)["check"].clone()
    };
    let http = with(json!({"http": {"portIndex": 1, "path": "/up"}, "intervalSeconds": 5}));
    assert_eq!(http["http"], json!({"port": 31_002, "path": "/up"}));
    assert_eq!((&http["type"], http["interval_seconds"].as_f64()), (&json!("HTTP"), Some(5.0)));
    assert_eq!(with(json!({"tcp": {"port": 99}}))["tcp"], json!({"port": 99}));
    let command = with(json!({"exec": {"command": {"argv": ["a", "b"]}}}));
    assert_eq!(command["command"]["command"]["arguments"], json!(["a", "b"]));
}

#[test]
fn a_custom_executor_takes_what_is_said_beside_the_task() {
    let body = json!({"id": "/web", "cmd": "x", "executor": "/opt/run", "cpus": 0.5,
                      "executorResources": {"cpus": 0.2, "mem": 48}});
    let task = task(&body);
    let cpus = |of: &Value| {
        let all = of["resources"].as_array().expect("resources");
        all.iter().find(|it| it["name"] == "cpus").and_then(|it| it["scalar"]["value"].as_f64())
    };
    assert_eq!((cpus(&task), cpus(&task["executor"])), (Some(0.5), Some(0.2)));
    assert_eq!(task.get("command"), None);
}

#[test]
fn secrets_are_variables_files_and_keys_of_registries() {
    let body = json!({
        "id": "/web", "cmd": "x", "secrets": {"key": {"source": "/shop/key"}},
        "env": {"PLAIN": "text", "KEY": {"secret": "key"}},
        "container": {"type": "MESOS", "docker": {"image": "i", "pullConfig": {"secret": "key"}},
                      "volumes": [{"containerPath": "etc/key", "secret": "key"}]},
    });
    let task = task(&body);
    let secret = json!({"type": "VALUE", "value": {"data": "dmFsdWU="}});
    let variables =
        task["command"]["environment"]["variables"].as_array().expect("variables").clone();
    let named = |name: &str| variables.iter().find(|it| it["name"] == name).expect("there").clone();
    assert_eq!(named("KEY"), json!({"name": "KEY", "type": "SECRET", "secret": secret}));
    assert_eq!(named("PLAIN")["value"], "text");
    let volume = &task["container"]["volumes"][0];
    assert_eq!((&volume["container_path"], &volume["mode"]), (&json!("etc/key"), &json!("RO")));
    assert_eq!(volume["source"], json!({"type": "SECRET", "secret": secret}));
    assert_eq!(task["container"]["mesos"]["image"]["docker"]["config"], secret);
}
