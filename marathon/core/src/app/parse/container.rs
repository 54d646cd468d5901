//! Reading `container`.

use super::reader::Reader;
use crate::app::{Container, Docker, Engine, Network, NetworkMode, PortMapping};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;

/// The container; one is made up where the network needs one to map ports for.
pub(super) fn container(reader: &Reader<'_>, networks: &[Network]) -> Option<Container> {
    let is_host = networks.iter().any(|network| network.mode == NetworkMode::Host);
    let is_bridge = networks.iter().any(|network| network.mode == NetworkMode::Bridge);
    let Some(given) = reader.object("container") else {
        if is_host {
            return None;
        }
        return Some(Container {
            engine: Engine::Mesos,
            docker: None,
            volumes: Vec::new(),
            port_mappings: vec![default_mapping(is_bridge)],
            linux_info: None,
        });
    };
    let engine = match given.text("type").as_deref() {
        None | Some("DOCKER") => Engine::Docker,
        Some("MESOS") => Engine::Mesos,
        Some(_) => {
            given.wrong("type", "must be one of MESOS, DOCKER");
            Engine::Docker
        }
    };
    let docker = given.object("docker").map(|docker| self::docker(&docker, engine));
    if engine == Engine::Docker && docker.is_none() {
        given.wrong("docker", "not defined");
    }
    let mappings = given.objects("portMappings");
    if is_host && !mappings.is_empty() {
        given.wrong("portMappings", "portMappings are not allowed with host-networking");
    }
    let port_mappings = if is_host {
        Vec::new()
    } else if given.get("portMappings").is_none() {
        vec![default_mapping(is_bridge)]
    } else {
        mappings.iter().map(|entry| mapping(entry, is_bridge)).collect()
    };
    Some(Container {
        engine,
        docker,
        volumes: given.objects("volumes").iter().map(volume).collect(),
        port_mappings,
        linux_info: given.get("linuxInfo").cloned(),
    })
}

fn docker(reader: &Reader<'_>, engine: Engine) -> Docker {
    if reader.get("credential").is_some() {
        reader.wrong("credential", "credentials aren't supported this way");
    }
    let parameters = reader.objects("parameters");
    if engine == Engine::Mesos && !parameters.is_empty() {
        reader.wrong("parameters", "not allowed with the Mesos containerizer");
    }
    Docker {
        image: reader.required_text("image"),
        force_pull: reader.flag("forcePullImage").unwrap_or(false),
        privileged: reader.flag("privileged").unwrap_or(false),
        parameters: parameters
            .iter()
            .map(|entry| (entry.required_text("key"), entry.text("value").unwrap_or_default()))
            .collect(),
        pull_config: reader.get("pullConfig").cloned(),
    }
}

/// A volume is kept as given, once its kind and path are known to be right.
fn volume(reader: &Reader<'_>) -> Value {
    reader.required_text("containerPath");
    let kinds = ["hostPath", "persistent", "external", "secret"];
    if !kinds.iter().any(|kind| reader.get(kind).is_some()) {
        reader.wrong("", "must have one of hostPath, persistent, external, secret");
    }
    if reader.get("persistent").is_some() {
        persistent(reader);
    }
    if reader.get("hostPath").is_some() {
        reader.required_text("hostPath");
    }
    let mode = reader.text("mode").unwrap_or_else(|| "RW".to_owned());
    if !matches!(&*mode, "RW" | "RO") {
        reader.wrong("mode", "must be one of RO, RW");
    }
    let mut kept: serde_json::Map<String, Value> =
        reader.members().map(|(name, value)| (name.clone(), value.clone())).collect();
    kept.insert("mode".to_owned(), mode.into());
    Value::Object(kept)
}

/// What must hold of a volume that outlives tasks.
fn persistent(volume: &Reader<'_>) {
    let path = volume.text("containerPath").unwrap_or_default();
    if path.contains('/') || matches!(&*path, "." | "..") {
        let error =
            "must be a name in the sandbox of the task, without '/', and neither '.' nor '..'";
        volume.wrong("containerPath", error);
    }
    if volume.text("mode").as_deref() == Some("RO") {
        volume.wrong("mode", "must be RW for a persistent volume");
    }
    if let Some(given) = volume.object("persistent") {
        disk(&given);
    }
}

/// What must hold of the disk of a volume that outlives tasks.
pub(super) fn disk(given: &Reader<'_>) {
    let kind = given.text("type").unwrap_or_else(|| "root".to_owned());
    if !matches!(&*kind, "root" | "path" | "mount") {
        given.wrong("type", "must be one of root, path, mount");
    }
    let size = given.whole("size");
    match size {
        None => given.wrong("size", "error.path.missing"),
        Some(0) => given.wrong("size", "must be greater than 0 (MiB)"),
        Some(_) => {}
    }
    if let Some(max) = given.whole("maxSize") {
        if kind != "mount" {
            given.wrong("maxSize", "may only be given with type mount");
        } else if size.is_some_and(|size| max <= size) {
            given.wrong("maxSize", "must be greater than size");
        }
    }
    if given.get("profileName").is_some() {
        let error = "there are no storage plug-ins here whose profiles could be named";
        given.wrong("profileName", error);
    }
    let rules = given.list("constraints");
    if kind == "root" && !rules.is_empty() {
        given.wrong("constraints", "not allowed with type root");
    }
    for (index, rule) in rules.iter().enumerate() {
        let text = |at| rule.get(at).and_then(Value::as_str);
        let is_rule = text(0) == Some("path")
            && matches!(text(1), Some("LIKE" | "UNLIKE"))
            && text(2).is_some_and(|pattern| Regex::new(pattern).is_ok());
        if !is_rule {
            let error = "must be [\"path\", \"LIKE\" or \"UNLIKE\", a regular expression]";
            given.wrong(&format!("constraints({index})"), error);
        }
    }
}

/// Whether the app has a volume that outlives its tasks.
pub(super) fn is_resident(reader: &Reader<'_>) -> bool {
    has_volume(reader, "persistent")
}

/// Whether the app has a volume of this kind.
pub(super) fn has_volume(reader: &Reader<'_>, kind: &str) -> bool {
    let container = reader.get("container").and_then(|container| container.get("volumes"));
    let mut volumes = container.and_then(Value::as_array).into_iter().flatten();
    volumes.any(|volume| volume.get(kind).is_some())
}

fn default_mapping(is_bridge: bool) -> PortMapping {
    PortMapping {
        container_port: 0,
        host_port: is_bridge.then_some(0),
        service_port: 0,
        protocol: "tcp".to_owned(),
        name: Some("default".to_owned()),
        labels: BTreeMap::new(),
        network_names: Vec::new(),
    }
}

fn mapping(reader: &Reader<'_>, is_bridge: bool) -> PortMapping {
    PortMapping {
        container_port: reader.port("containerPort").unwrap_or(0),
        host_port: reader.port("hostPort").or_else(|| is_bridge.then_some(0)),
        service_port: reader.port("servicePort").unwrap_or(0),
        protocol: reader.protocol("protocol"),
        name: reader.text("name"),
        labels: reader.labels("labels"),
        network_names: reader.texts("networkNames"),
    }
}
