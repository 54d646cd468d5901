//! What must hold between the fields of a pod.

use super::container::probe;
use crate::app::parse::reader::Reader;
use crate::app::parse::{Defaults, rules, shared};
use crate::app::pod::{Pod, PodContainer};
use crate::app::{App, NetworkMode};
use crate::ids::ID_BYTES_MAX;
use std::collections::BTreeSet;

/// Containers of one pod. The master takes as many tasks in one group, and an agent starts them one
/// after another.
const CONTAINERS_MAX: usize = 100;

/// Notes with `reader` what does not hold for `app`, which is a pod.
pub(super) fn check(app: &App, reader: &Reader<'_>, defaults: &Defaults) {
    let Some(pod) = app.pod.as_deref() else { return };
    if pod.containers.is_empty() {
        reader.wrong("containers", "must not be empty");
    }
    if pod.containers.len() > CONTAINERS_MAX {
        reader.wrong("containers", format!("must be at most {CONTAINERS_MAX}"));
    }
    names(pod, reader);
    ports(pod, reader);
    let containers = reader.objects("containers");
    for (container, reader) in pod.containers.iter().zip(&containers) {
        self::container(app, pod, container, reader);
    }
    shared::linux_info(reader);
    rules::networks(app, reader);
    if let Some(placement) = reader.object("scheduling").and_then(|it| it.object("placement")) {
        rules::constraints(app, &placement);
        rules::accepted_roles(app, &placement, defaults);
    }
    rules::role(app, reader, defaults);
    rules::labels(app, reader);
    rules::resident(app, reader, "scheduling/upgrade", "volumes");
    shared::secrets(reader, &secret_names(app, pod));
}

fn names(pod: &Pod, reader: &Reader<'_>) {
    let distinct = |names: Vec<&str>, field: &str, error: &str| {
        let all: BTreeSet<_> = names.iter().collect();
        if all.len() < names.len() {
            reader.wrong(field, error);
        }
    };
    let containers = pod.containers.iter().map(|it| it.name.as_str()).collect();
    distinct(containers, "containers", "container names must be unique");
    let endpoints = pod.endpoints().map(|(_, it)| it.name.as_str()).collect();
    distinct(endpoints, "containers", "endpoint names must be unique within a pod");
    let volumes = pod.volumes.iter().map(|it| it.name.as_str()).collect();
    distinct(volumes, "volumes", "volume names must be unique");
}

fn ports(pod: &Pod, reader: &Reader<'_>) {
    let distinct = |ports: Vec<u16>, error: &str| {
        let all: BTreeSet<_> = ports.iter().collect();
        if all.len() < ports.len() {
            reader.wrong("containers", error);
        }
    };
    let inside = pod.endpoints().filter_map(|(_, it)| it.container_port).collect();
    distinct(inside, "container ports must be unique within a pod");
    let outside = pod.endpoints().filter_map(|(_, it)| it.host_port.filter(|port| *port != 0));
    distinct(outside.collect(), "host ports must be unique within a pod");
}

fn container(app: &App, pod: &Pod, container: &PodContainer, reader: &Reader<'_>) {
    let has_endpoint = |name: &str| container.endpoints.iter().any(|it| it.name == name);
    for name in ["healthCheck", "check"] {
        if let Some(check) = reader.object(name) {
            shared::times(&check);
            check.object("http").iter().for_each(shared::http);
        }
    }
    shared::artifacts(reader, "artifacts");
    if let Some(image) = reader.object("image") {
        shared::not_long(&image, "id");
    }
    for mount in reader.objects("volumeMounts") {
        shared::not_long(&mount, "mountPath");
    }
    let check = container.health_check.as_ref();
    if let Some(endpoint) = check.and_then(|it| it.probe.endpoint())
        && !has_endpoint(endpoint)
    {
        reader.wrong("healthCheck", "must refer to an endpoint of this container");
    }
    if let Some(check) = reader.object("check")
        && let Some(endpoint) = probe(&check).endpoint()
        && !has_endpoint(endpoint)
    {
        reader.wrong("check", "must refer to an endpoint of this container");
    }
    // Both are in the ids of its tasks.
    if app.id.as_str().len() + container.name.len() > ID_BYTES_MAX {
        let error = format!("must, with the id of the pod, not be longer than {ID_BYTES_MAX}");
        reader.wrong("name", error);
    }
    for (index, mount) in container.mounts.iter().enumerate() {
        if !pod.volumes.iter().any(|volume| volume.name == mount.name) {
            let error = format!("there is no volume '{}' in this pod", mount.name);
            reader.wrong(&format!("volumeMounts({index})/name"), error);
        }
    }
    let overrides = container.exec.as_ref().and_then(|exec| exec.override_entrypoint);
    if overrides == Some(true) && container.image.is_none() {
        reader.wrong("exec/overrideEntrypoint", "needs an image with an entry point to override");
    }
    endpoint_networks(app, container, reader);
    shared::resource_limits(reader, container.needs);
    shared::linux_info(reader);
}

/// On which network a port is published must be clear.
fn endpoint_networks(app: &App, container: &PodContainer, reader: &Reader<'_>) {
    let named: Vec<_> = app
        .networks
        .iter()
        .filter(|network| network.mode == NetworkMode::Container)
        .filter_map(|network| network.name.as_ref())
        .collect();
    for (index, endpoint) in container.endpoints.iter().enumerate() {
        let at = format!("endpoints({index})/networkNames");
        if endpoint.network_names.iter().any(|name| !named.contains(&name)) {
            reader.wrong(&at, "must be names of networks of this pod");
        }
        let is_ambiguous = named.len() > 1 && endpoint.host_port.is_some();
        if is_ambiguous && endpoint.network_names.len() != 1 {
            reader.wrong(&at, "with hostPort and several networks, exactly one must be named");
        }
    }
}

/// Every secret that the pod refers to, with where.
fn secret_names(app: &App, pod: &Pod) -> Vec<(String, String)> {
    let mut names = shared::secrets_of_env(&app.env, "environment");
    for (index, volume) in pod.volumes.iter().enumerate() {
        if let crate::app::pod::VolumeSource::Secret(name) = &volume.source {
            names.push((format!("volumes({index})/secret"), name.clone()));
        }
    }
    for (index, container) in pod.containers.iter().enumerate() {
        let at = format!("containers({index})");
        names.extend(shared::secrets_of_env(&container.env, &format!("{at}/environment")));
        let image = container.image.as_ref();
        if let Some(name) = image.and_then(|image| image.pull_secret.as_ref()) {
            names.push((format!("{at}/image/pullConfig/secret"), name.clone()));
        }
    }
    names
}
