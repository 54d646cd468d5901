//! What must hold between the fields of a container.

use crate::app::parse::reader::Reader;
use crate::app::parse::shared;
use crate::app::{App, Engine, NetworkMode};
use std::collections::BTreeSet;

/// The option that says which driver a volume of Docker is of.
const DRIVER: &str = "dvdi/driver";

/// How many may do what with a volume of a storage plug-in.
const ACCESS_MODES: &[&str] = &[
    "SINGLE_NODE_WRITER",
    "SINGLE_NODE_READER_ONLY",
    "MULTI_NODE_READER_ONLY",
    "MULTI_NODE_SINGLE_WRITER",
    "MULTI_NODE_MULTI_WRITER",
];

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
        for parameter in given.objects("parameters") {
            if parameter.get("value").is_none() {
                parameter.wrong("value", "error.path.missing");
            }
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
    let is_docker = app.container.as_ref().is_some_and(|it| it.engine == Engine::Docker);
    let mut names = BTreeSet::new();
    for (index, volume) in given.objects("volumes").iter().enumerate() {
        if volume.get("secret").is_some() {
            volume.required_text("secret");
        }
        let Some(external) = volume.object("external") else { continue };
        let name = external.required_text("name");
        if !names.insert(name) {
            let error = "names of external volumes must be unique in a container";
            given.wrong(&format!("volumes({index})/external/name"), error);
        }
        let is_shared = external.flag("shared").unwrap_or(false);
        if app.instances > 1 && !is_shared {
            let error = "an external volume that is not shared goes with at most 1 instance";
            volume.wrong("external", error);
        }
        if external.whole("size").is_some() && is_docker {
            external.wrong("size", "not allowed for a Docker container");
        }
        if matches!(volume.text("containerPath").as_deref(), Some("." | "..")) {
            volume.wrong("containerPath", "must be neither '.' nor '..'");
        }
        match &*external.required_text("provider") {
            "csi" => csi(&external),
            "dvdi" if !external.labels("options").contains_key(DRIVER) => {
                external.wrong("options", format!("must name the driver as '{DRIVER}'"));
            }
            _ => {}
        }
    }
}

/// How a volume of a storage plug-in is used.
fn csi(external: &Reader<'_>) {
    let Some(options) = external.object("options") else {
        return external.wrong("options", "error.path.missing");
    };
    options.required_text("pluginName");
    for labels in ["nodeStageSecret", "nodePublishSecret", "volumeContext"] {
        options.labels(labels);
    }
    let Some(capability) = options.object("capability") else {
        return options.wrong("capability", "error.path.missing");
    };
    for (name, known) in [("accessMode", ACCESS_MODES), ("accessType", &["block", "mount"])] {
        if !known.contains(&&*capability.required_text(name)) {
            capability.wrong(name, format!("must be one of {}", known.join(", ")));
        }
    }
    capability.text("fsType");
    capability.texts("mountFlags");
}
