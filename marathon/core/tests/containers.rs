//! What may be said of networks, containers and checks, and what may not.

mod world;

use marathon_core::io::Command;
use serde_json::{Value, json};
use world::World;

/// What is wrong with an app that has these fields beside a command, or nothing.
fn wrong(fields: &Value) -> Option<String> {
    let mut world = World::new(1);
    let mut body = json!({"id": "/web", "cmd": "x", "cpus": 0.5, "mem": 64});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    let refusal = world.ask(Command::CreateApp { body, force: false }).err()?;
    assert_eq!(refusal.status, 422, "{}", refusal.body);
    let details = refusal.body["details"].as_array().expect("details").clone();
    let lines = details.iter().map(|it| format!("{} {}", it["path"], it["errors"][0]));
    Some(lines.collect::<Vec<_>>().join("\n").replace('"', ""))
}

fn container(fields: &Value) -> Value {
    json!({"container": fields})
}

#[test]
fn what_goes_together_is_taken() {
    for fields in [
        json!({"networks": [{"mode": "host"}]}),
        json!({"networks": [{"mode": "container/bridge"}]}),
        json!({"networks": [{"mode": "container", "name": "a_b"}, {"mode": "container", "name": "c"}]}),
        container(&json!({"type": "MESOS", "linuxInfo": {"seccomp": {"profileName": "p"}}})),
        container(
            &json!({"type": "MESOS", "linuxInfo": {"ipcInfo": {"mode": "PRIVATE", "shmSize": 8}}}),
        ),
        container(&json!({"type": "DOCKER", "docker": {"image": "i", "privileged": true}})),
        json!({"resourceLimits": {"cpus": 0.5, "mem": "unlimited"}}),
        json!({"check": {"exec": {"command": {"shell": "true"}}}}),
        json!({"env": {"A": {"secret": "s"}}, "secrets": {"s": {"source": "/k"}}}),
        json!({"labels": {"DCOS_MIGRATION_API_VERSION": "v1", "DCOS_MIGRATION_API_PATH": "/",
                          "DCOS_PACKAGE_FRAMEWORK_NAME": "f"}}),
    ] {
        assert_eq!(wrong(&fields), None, "{fields}");
    }
}

#[test]
fn what_contradicts_itself_is_refused_by_path() {
    let net = |name: &str| json!({"mode": "container", "name": name});
    let image = json!({"image": "i"});
    let cases = [
        (json!({"networks": [net("A")]}), "/networks(0)/name must fully match"),
        (json!({"networks": [net("a"), net("a")]}), "/networks must be one host network"),
        (
            json!({"networks": [net("a"), net("b")], "container": {"type": "DOCKER", "docker": image}}),
            "/networks a Docker container can join one container network only",
        ),
        (
            json!({"networks": [net("a"), net("b")],
                "container": {"type": "MESOS", "portMappings": [{"containerPort": 1, "hostPort": 0}]}}),
            "/container/portMappings(0)/networkNames with hostPort and several networks",
        ),
        (
            json!({"networks": [net("a")],
                "container": {"type": "MESOS", "portMappings": [{"containerPort": 1, "networkNames": ["b"]}]}}),
            "/container/portMappings(0)/networkNames must be names of networks that the app joins",
        ),
        (
            container(&json!({"type": "MESOS", "docker": {"image": "i", "privileged": true}})),
            "/container/docker/privileged only works with the Docker containerizer",
        ),
        (
            container(
                &json!({"type": "DOCKER", "docker": image, "linuxInfo": {"seccomp": {"unconfined": true}}}),
            ),
            "/container/linuxInfo only works with the Mesos containerizer",
        ),
        (
            container(
                &json!({"type": "MESOS", "linuxInfo": {"seccomp": {"profileName": "p", "unconfined": true}}}),
            ),
            "/container/linuxInfo/seccomp must have either a profileName or unconfined=true",
        ),
        (
            container(
                &json!({"type": "MESOS", "linuxInfo": {"ipcInfo": {"mode": "SHARE_PARENT", "shmSize": 8}}}),
            ),
            "/container/linuxInfo/ipcInfo/shmSize may only be given with mode PRIVATE",
        ),
        (
            container(
                &json!({"type": "MESOS", "docker": {"image": "i", "pullConfig": {"secret": "s"}}}),
            ),
            "/container/docker/pullConfig/secret references an undefined secret named 's'",
        ),
        (
            container(
                &json!({"type": "MESOS", "volumes": [{"containerPath": "p", "secret": "s"}]}),
            ),
            "/container/volumes(0)/secret references an undefined secret named 's'",
        ),
        (json!({"env": {"A": {"secret": "s"}}}), "/env/A references an undefined secret named 's'"),
        (json!({"secrets": {"s": {}}}), "/secrets/s/source error.path.missing"),
        (json!({"resourceLimits": {"mem": 63}}), "/resourceLimits/mem must be 'unlimited', or 64"),
        (json!({"check": {}}), "/check must have exactly one of http, tcp, exec"),
        (
            json!({"check": {"tcp": {"portIndex": 1}}}),
            "/check/tcp/portIndex must address one of the ports",
        ),
        (
            json!({"healthChecks": (1..=33).map(|every| {
                json!({"protocol": "MESOS_TCP", "intervalSeconds": every})
            }).collect::<Vec<_>>()}),
            "/healthChecks must have at most 32 checks",
        ),
        (
            json!({"healthChecks": [{"protocol": "MESOS_TCP", "ipProtocol": "IPv6"}]}),
            "/healthChecks(0)/ipProtocol IPv6 is only for",
        ),
        (
            json!({"readinessChecks": [{"portName": "none"}]}),
            "/readinessChecks(0)/portName must be one of the names of its ports: default",
        ),
        (
            json!({"labels": {"DCOS_MIGRATION_API_VERSION": "v2"}}),
            "/labels/DCOS_MIGRATION_API_VERSION must be v1",
        ),
    ];
    for (fields, wanted) in cases {
        let found = wrong(&fields).unwrap_or_else(|| panic!("{fields} is taken"));
        assert!(found.contains(wanted), "{found}\nand not: {wanted}");
    }
}

#[test]
fn what_was_valid_once_is_still_there_under_other_rules() {
    let mut world = World::new(1);
    world.create(world::sleeper("/web", 1));
    world.rest();
    let key = world.store.keys().find(|key| key.starts_with("version:")).expect("stored").clone();
    let stored = String::from_utf8(world.store[&key].clone()).expect("JSON");
    // As an earlier build may have taken it.
    let older = stored.replace(r#""name":"default""#, r#""name":"default","labels":{}"#);
    let older = older.replace(r#""id":"/web""#, r#""id":"/web","acceptedResourceRoles":["other"]"#);
    world.store.insert(key, older.into_bytes());
    world.crash();
    assert_eq!(world.app("/web").accepted_resource_roles, ["other"]);
    assert_eq!(world.instances("/web").len(), 1);
}
