//! What a task is made of: commands, containers and their volumes, limits.

use serde_json::{Value, json};

use super::Spoilt;

fn container(volumes: Value) -> Value {
    json!({"type": "MESOS", "volumes": volumes})
}

pub(super) fn docker(docker: Value) -> Value {
    json!({"type": "DOCKER", "docker": docker})
}

pub(super) fn environment(variable: Value) -> Value {
    json!({"value": "true", "environment": {"variables": [variable]}})
}

pub(super) fn of_commands_and_containers() -> Vec<Spoilt> {
    let from = |kind: &str| {
        let source = json!({"type": kind});
        container(json!([{"mode": "RW", "container_path": "v", "source": source}]))
    };
    vec![
        (
            "command",
            environment(json!({"name": "A", "type": "VALUE"})),
            "Task's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have a \
             value set",
        ),
        (
            "command",
            environment(json!({"name": "A", "type": "SECRET"})),
            "Task's `CommandInfo` is invalid: Environment variable 'A' of type 'SECRET' must have \
             a secret set",
        ),
        (
            "command",
            environment(json!({"name": "A", "type": "UNKNOWN", "value": "x"})),
            "Task's `CommandInfo` is invalid: Environment variable 'A' has an unknown type",
        ),
        (
            "container",
            container(json!([{"mode": "RW", "container_path": "v"}])),
            "Task's `ContainerInfo` is invalid: Expecting exactly one of 'host_path', 'image' and \
             'source' for volume 'v'",
        ),
        (
            "container",
            container(json!([{
                "mode": "RW", "container_path": "v", "host_path": "/v",
                "source": {"type": "SANDBOX_PATH", "sandbox_path": {"type": "SELF", "path": "v"}},
            }])),
            "Task's `ContainerInfo` is invalid: Expecting exactly one of 'host_path', 'image' and \
             'source' for volume 'v'",
        ),
        (
            "container",
            from("UNKNOWN"),
            "Task's `ContainerInfo` is invalid: 'source.type' of a volume is unknown",
        ),
        (
            "container",
            from("DOCKER_VOLUME"),
            "Task's `ContainerInfo` is invalid: 'source.docker_volume' is not set for its volume",
        ),
        (
            "container",
            from("HOST_PATH"),
            "Task's `ContainerInfo` is invalid: 'source.host_path' is not set for its volume",
        ),
        (
            "container",
            from("SANDBOX_PATH"),
            "Task's `ContainerInfo` is invalid: 'source.sandbox_path' is not set for its volume",
        ),
        (
            "container",
            from("SECRET"),
            "Task's `ContainerInfo` is invalid: 'source.secret' is not set for its volume",
        ),
        (
            "container",
            from("CSI_VOLUME"),
            "Task's `ContainerInfo` is invalid: 'source.csi_volume' is not set for its volume",
        ),
        (
            "container",
            json!({"type": "DOCKER"}),
            "Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed \
             ContainerInfo",
        ),
        (
            "container",
            docker(json!({"image": "i", "parameters": [{"key": "name", "value": "n"}]})),
            "Task's `ContainerInfo` is invalid: Parameter in DockerInfo must not be 'name'",
        ),
        ("limits", json!({"disk": {"value": 1.0}}), "Setting limits of 'disk' is not supported"),
        (
            "limits",
            json!({"mem": {"value": 1.0}}),
            "Task's limit of 'mem' (1) is less than its request (32)",
        ),
    ]
}
