//! The JSON of pods.

use super::{Object, amount, artifact, kill_selection, list, network, part, unreachable_strategy};
use crate::app::pod::{
    Endpoint, Needs, Pod, PodCommand, PodContainer, PodHealthCheck, PodImage, PodVolume, Probe,
    VolumeMount, VolumeSource,
};
use crate::app::{App, Constraint};
use crate::clock;
use serde_json::{Value, json};
use std::time::Duration;

/// A pod as it was given, with its defaults filled in.
pub(super) fn pod(app: &App, pod: &Pod) -> Value {
    let mut out = Object::new();
    out.set("id", app.id.as_str());
    out.set_full("labels", json!(app.labels));
    out.set("version", clock::format(app.version));
    out.set_some("user", app.user.clone());
    out.set_full("environment", json!(app.env));
    out.set("containers", list(&pod.containers, container));
    for (name, value) in &app.extra {
        out.set(name, value.clone());
    }
    out.set_full("volumes", list(&pod.volumes, volume));
    out.set("networks", list(&app.networks, network));
    out.set("scaling", json!({"kind": "fixed", "instances": app.instances}));
    out.set("scheduling", scheduling(app));
    out.set("executorResources", needs(pod.executor, false));
    out.set_some("role", app.role.clone());
    out.set_some("linuxInfo", pod.linux_info.clone());
    out.set_some("legacySharedCgroups", pod.legacy_shared_cgroups);
    out.into()
}

fn scheduling(app: &App) -> Value {
    let mut placement = Object::new();
    placement.set_full("constraints", list(&app.constraints, constraint));
    placement.set_full("acceptedResourceRoles", app.accepted_resource_roles.clone().into());
    json!({
        "backoff": {
            "backoff": seconds(app.backoff),
            "backoffFactor": part(app.backoff_factor),
            "maxLaunchDelay": seconds(app.max_launch_delay),
        },
        "upgrade": {
            "minimumHealthCapacity": part(app.upgrade_strategy.minimum_health_capacity),
            "maximumOverCapacity": part(app.upgrade_strategy.maximum_over_capacity),
        },
        "placement": Value::from(placement),
        "killSelection": kill_selection(app.kill_selection),
        "unreachableStrategy": unreachable_strategy(app.unreachable_strategy),
    })
}

fn constraint(constraint: &Constraint) -> Value {
    let mut out = Object::new();
    out.set("fieldName", constraint.field.clone());
    out.set("operator", constraint.operator.name());
    out.set_some("value", constraint.value.clone());
    out.into()
}

/// Seconds, with a fraction where there is one.
fn seconds(duration: Duration) -> Value {
    if duration.subsec_millis() == 0 {
        duration.as_secs().into()
    } else {
        duration.as_secs_f64().into()
    }
}

/// What a container or the executor takes.
pub(super) fn needs(needs: Needs, with_gpus: bool) -> Value {
    let mut out = json!({
        "cpus": amount(needs.cpus),
        "mem": amount(needs.mem),
        "disk": amount(needs.disk),
    });
    if with_gpus {
        out["gpus"] = needs.gpus.into();
    }
    out
}

fn container(container: &PodContainer) -> Value {
    let mut out = Object::new();
    out.set("name", container.name.clone());
    out.set_some(
        "exec",
        container.exec.as_ref().map(|exec| {
            let mut out = Object::new();
            out.set("command", command(&exec.command));
            out.set_some("overrideEntrypoint", exec.override_entrypoint);
            Value::from(out)
        }),
    );
    out.set("resources", needs(container.needs, true));
    out.set_some("resourceLimits", container.resource_limits.clone());
    out.set_full("endpoints", list(&container.endpoints, endpoint));
    out.set_some("linuxInfo", container.linux_info.clone());
    out.set_some("image", container.image.as_ref().map(image));
    out.set_full("environment", json!(container.env));
    out.set_some("user", container.user.clone());
    out.set_some("healthCheck", container.health_check.as_ref().map(health_check));
    out.set_some("check", container.check.clone());
    out.set_full("volumeMounts", list(&container.mounts, mount));
    out.set_full("artifacts", list(&container.artifacts, artifact));
    out.set_full("labels", json!(container.labels));
    out.set_some(
        "lifecycle",
        container.kill_grace.map(|grace| json!({"killGracePeriodSeconds": seconds(grace)})),
    );
    out.set_some("tty", container.tty);
    out.into()
}

fn command(command: &PodCommand) -> Value {
    match command {
        PodCommand::Shell(text) => json!({"shell": text}),
        PodCommand::Argv(words) => json!({"argv": words}),
    }
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let mut out = Object::new();
    out.set("name", endpoint.name.clone());
    out.set_some("containerPort", endpoint.container_port);
    out.set_some("hostPort", endpoint.host_port);
    out.set_full("protocol", endpoint.protocol.clone().into());
    out.set_full("labels", json!(endpoint.labels));
    out.set_full("networkNames", endpoint.network_names.clone().into());
    out.into()
}

fn image(image: &PodImage) -> Value {
    let mut out = Object::new();
    out.set("kind", "DOCKER");
    out.set("id", image.id.clone());
    out.set_some("pullConfig", image.pull_secret.as_ref().map(|secret| json!({"secret": secret})));
    out.set_some("forcePull", image.force_pull);
    out.set_full("labels", json!(image.labels));
    out.into()
}

fn health_check(check: &PodHealthCheck) -> Value {
    let mut out = Object::new();
    match &check.probe {
        Probe::Http { endpoint, path, is_https } => {
            let mut http = Object::new();
            http.set("endpoint", endpoint.clone());
            http.set_some("path", path.clone());
            http.set("scheme", if *is_https { "HTTPS" } else { "HTTP" });
            out.set("http", Value::from(http));
        }
        Probe::Tcp { endpoint } => {
            out.set("tcp", json!({"endpoint": endpoint}));
        }
        Probe::Command(command) => {
            out.set("exec", json!({"command": self::command(command)}));
        }
    }
    out.set("gracePeriodSeconds", check.grace_period.as_secs());
    out.set("intervalSeconds", check.interval.as_secs());
    out.set("maxConsecutiveFailures", check.max_consecutive_failures);
    out.set("timeoutSeconds", check.timeout.as_secs());
    out.set("delaySeconds", check.delay.as_secs());
    out.into()
}

fn mount(mount: &VolumeMount) -> Value {
    let mut out = Object::new();
    out.set("name", mount.name.clone());
    out.set("mountPath", mount.path.clone());
    out.set_some("readOnly", mount.read_only);
    out.into()
}

fn volume(volume: &PodVolume) -> Value {
    let mut out = Object::new();
    out.set("name", volume.name.clone());
    match &volume.source {
        VolumeSource::Ephemeral => {}
        VolumeSource::Host(path) => {
            out.set("host", path.clone());
        }
        VolumeSource::Secret(name) => {
            out.set("secret", name.clone());
        }
        VolumeSource::Persistent(given) => {
            out.set("persistent", given.clone());
        }
    }
    out.into()
}
