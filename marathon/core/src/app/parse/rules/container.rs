//! What must hold between the fields of a container.

use crate::app::parse::reader::Reader;
use crate::app::parse::shared;
use crate::app::{App, Engine, NetworkMode};
use serde_json::Value;
use std::collections::BTreeSet;

/// Notes with `reader` what does not hold for the container of `app`.
pub(super) fn check(app: &App, reader: &Reader<'_>) {
    let (Some(container), Some(given)) = (&app.container, reader.object("container")) else {
        return;
    };
    let is_docker = container.engine == Engine::Docker;
    shared::linux_info(&given);
    if is_docker && container.linux_info.is_some() {
        given.wrong("linuxInfo", "only works with the Mesos containerizer");
    }
    if let (Some(docker), Some(given)) = (&container.docker, given.object("docker")) {
        if docker.privileged && !is_docker {
            given.wrong("privileged", "only works with the Docker containerizer");
        }
        if docker.pull_config.is_some() && is_docker {
            given.wrong("pullConfig", "only works with the Mesos containerizer");
        }
        if let Some(config) = given.object("pullConfig") {
            config.required_text("secret");
        }
    }
    let joined = app.networks.iter().filter(|network| network.mode == NetworkMode::Container);
    if is_docker && joined.count() > 1 {
        reader.wrong("networks", "a Docker container can join one container network only");
    }
    mappings(app, &given);
    volumes(app, &given);
}

/// On which network a port is published must be clear.
fn mappings(app: &App, given: &Reader<'_>) {
    let names: BTreeSet<_> = app.networks.iter().filter_map(|it| it.name.as_ref()).collect();
    for (index, mapping) in app.port_mappings().iter().enumerate() {
        let at = format!("portMappings({index})/networkNames");
        if mapping.network_names.iter().any(|name| !names.contains(name)) {
            given.wrong(&at, "must be names of networks that the app joins");
        }
        let is_ambiguous = names.len() > 1 && mapping.host_port.is_some();
        if is_ambiguous && mapping.network_names.len() != 1 {
            given.wrong(&at, "with hostPort and several networks, exactly one must be named");
        }
    }
}

fn volumes(app: &App, given: &Reader<'_>) {
    let mut names = BTreeSet::new();
    for (index, volume) in given.objects("volumes").iter().enumerate() {
        let Some(external) = volume.object("external") else { continue };
        let name = external.required_text("name");
        if !names.insert(name) {
            let error = "names of external volumes must be unique in a container";
            given.wrong(&format!("volumes({index})/external/name"), error);
        }
        external.required_text("provider");
        let is_shared = external.get("shared").and_then(Value::as_bool).unwrap_or(false);
        if app.instances > 1 && !is_shared {
            let error = "an external volume that is not shared goes with at most 1 instance";
            volume.wrong("external", error);
        }
    }
}
