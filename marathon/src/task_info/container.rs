//! What a task runs in.

use bytes::Bytes;
use marathon_core::app::{App, Docker, Engine, NetworkMode, PortMapping};
use marathon_core::io::Launch;
use proto::mesos::v1::container_info::{DockerInfo, MesosInfo, docker_info};
use proto::mesos::v1::network_info;
use proto::mesos::v1::{
    ContainerInfo, Image, NetworkInfo, Parameter, Parameters, TtyInfo, Volume, container_info,
    image, volume,
};
use serde_json::Value;

use super::{Opened, Scene, labels, secret, secret_volume};

/// The container of what is launched, absent for a plain command on the host's network.
pub(super) fn container(
    launch: &Launch,
    secrets: &Opened,
    scene: &Scene<'_>,
) -> Option<ContainerInfo> {
    let (app, ports) = (&*launch.app, &*launch.ports);
    let networks = networks(app, ports, scene.bridge);
    let tty = app.extra.get("tty").and_then(Value::as_bool).unwrap_or(false);
    let tty_info = tty.then(TtyInfo::default);
    let Some(container) = &app.container else {
        if networks.is_empty() && tty_info.is_none() {
            return None;
        }
        return Some(ContainerInfo {
            r#type: container_info::Type::Mesos.into(),
            network_infos: networks,
            tty_info,
            ..ContainerInfo::default()
        });
    };
    let mut wire = ContainerInfo {
        volumes: container.volumes.iter().filter_map(|it| volume(it, secrets)).collect(),
        tty_info,
        ..ContainerInfo::default()
    };
    match (container.engine, &container.docker) {
        (Engine::Docker, Some(docker)) => {
            wire.set_type(container_info::Type::Docker);
            wire.docker = Some(docker_info(launch, docker));
            if app.networks.iter().any(|network| network.mode == NetworkMode::Container) {
                wire.network_infos = networks;
            }
        }
        (_, docker) => {
            wire.set_type(container_info::Type::Mesos);
            let image = |docker: &Docker| {
                let name = docker.pull_config.as_ref().and_then(|it| it.get("secret")?.as_str());
                let config = name.and_then(|name| secrets.get(name));
                docker_image(&docker.image, docker.force_pull, config)
            };
            wire.mesos = docker.as_ref().map(|docker| MesosInfo { image: Some(image(docker)) });
            wire.network_infos = networks;
        }
    }
    wire.linux_info = linux_info(container.linux_info.as_ref());
    Some(wire)
}

/// An image by its name.
pub(super) fn docker_image(name: &str, force_pull: bool, config: Option<&Bytes>) -> Image {
    let config = config.map(secret);
    Image {
        r#type: image::Type::Docker.into(),
        docker: Some(image::Docker { name: name.to_owned(), config, ..image::Docker::default() }),
        cached: Some(!force_pull),
        ..Image::default()
    }
}

fn docker_info(launch: &Launch, docker: &Docker) -> DockerInfo {
    let (app, ports) = (&*launch.app, &*launch.ports);
    let mode = app.networks.first().map_or(NetworkMode::Host, |network| network.mode);
    let network = match mode {
        NetworkMode::Host => docker_info::Network::Host,
        NetworkMode::Bridge => docker_info::Network::Bridge,
        NetworkMode::Container => docker_info::Network::User,
    };
    let parameters = docker.parameters.iter();
    let parameters =
        parameters.map(|(key, value)| Parameter { key: key.clone(), value: value.clone() });
    // So that tools that look at containers know whose they are.
    let value = format!("MESOS_TASK_ID={}", launch.task);
    let named = Parameter { key: "label".to_owned(), value };
    let parameters = parameters.chain([named]);
    let mut info = DockerInfo {
        image: docker.image.clone(),
        privileged: Some(docker.privileged),
        force_pull_image: Some(docker.force_pull),
        parameters: parameters.collect(),
        port_mappings: mappings(app, ports)
            .flat_map(|(mapping, host_port, container_port)| {
                mapping.protocol.split(',').map(move |protocol| docker_info::PortMapping {
                    host_port: host_port.into(),
                    container_port: container_port.into(),
                    protocol: Some(protocol.to_owned()),
                })
            })
            .collect(),
        ..DockerInfo::default()
    };
    info.set_network(network);
    info
}

/// Mappings that have a port outside, with that port and the one inside.
fn mappings<'a>(
    app: &'a App,
    ports: &'a [u16],
) -> impl Iterator<Item = (&'a PortMapping, u16, u16)> {
    let exposed = app.port_mappings().iter().filter(|mapping| mapping.host_port.is_some());
    exposed.zip(ports.iter().copied()).map(|(mapping, host)| {
        let inside = if mapping.container_port == 0 { host } else { mapping.container_port };
        (mapping, host, inside)
    })
}

fn networks(app: &App, ports: &[u16], bridge: &str) -> Vec<NetworkInfo> {
    let joined = app.networks.iter().filter(|network| network.mode != NetworkMode::Host);
    joined
        .map(|network| {
            let on_this = |mapping: &PortMapping| match &network.name {
                Some(name) => {
                    mapping.network_names.is_empty() || mapping.network_names.contains(name)
                }
                None => true,
            };
            let port_mappings = mappings(app, ports)
                .filter(|(mapping, ..)| on_this(mapping))
                .flat_map(|(mapping, host_port, container_port)| {
                    mapping.protocol.split(',').map(move |protocol| network_info::PortMapping {
                        host_port: host_port.into(),
                        container_port: container_port.into(),
                        protocol: Some(protocol.to_owned()),
                    })
                });
            let name = network.name.clone().unwrap_or_else(|| bridge.to_owned());
            let pairs = network.labels.iter();
            NetworkInfo {
                name: Some(name),
                labels: labels(pairs.map(|(key, value)| (key.as_str(), value.as_str()))),
                port_mappings: port_mappings.collect(),
                // An empty address asks for one.
                ip_addresses: vec![network_info::IpAddress::default()],
                ..NetworkInfo::default()
            }
        })
        .collect()
}

/// A volume as given: of the host, of a volume driver, or of a secret. Persistent ones are part of
/// the resources.
fn volume(given: &Value, secrets: &Opened) -> Option<Volume> {
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    if given.get("persistent").is_some() {
        return None;
    }
    if let Some(name) = text("secret") {
        return Some(secret_volume(&text("containerPath")?, secrets.get(&name)?));
    }
    let mode = match text("mode").as_deref() {
        Some("RO") => volume::Mode::Ro,
        _ => volume::Mode::Rw,
    };
    let mut wire = Volume {
        container_path: text("containerPath")?,
        host_path: text("hostPath"),
        ..Volume::default()
    };
    wire.set_mode(mode);
    if let Some(external) = given.get("external") {
        let text = |name: &str| external.get(name).and_then(Value::as_str).map(str::to_owned);
        let driver = text("provider").zip(text("name"))?;
        let options = external.get("options").and_then(Value::as_object);
        let parameter = options.into_iter().flatten().filter_map(|(key, value)| {
            let (_, key) = key.split_once('/').unwrap_or(("", key));
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (key != "driver").then(|| Parameter { key: key.to_owned(), value })
        });
        let named = options.into_iter().flatten().find(|(key, _)| key.ends_with("/driver"));
        let named = named.and_then(|(_, value)| value.as_str()).map(str::to_owned);
        wire.host_path = None;
        wire.source = Some(volume::Source {
            r#type: Some(volume::source::Type::DockerVolume.into()),
            docker_volume: Some(volume::source::DockerVolume {
                driver: named.or(Some(driver.0)),
                name: driver.1,
                driver_options: Some(Parameters { parameter: parameter.collect() }),
            }),
            ..volume::Source::default()
        });
    }
    Some(wire)
}

/// `linuxInfo` of an app, a pod or a container of one.
pub(super) fn linux_info(given: Option<&Value>) -> Option<proto::mesos::v1::LinuxInfo> {
    use proto::mesos::v1::{LinuxInfo, SeccompInfo, linux_info};
    let given = given?;
    let seccomp = given.get("seccomp").map(|seccomp| SeccompInfo {
        profile_name: seccomp.get("profileName").and_then(Value::as_str).map(str::to_owned),
        unconfined: seccomp.get("unconfined").and_then(Value::as_bool),
    });
    let ipc = given.get("ipcInfo");
    let mode = ipc.and_then(|ipc| ipc.get("mode")).and_then(Value::as_str);
    let mode = match mode {
        Some("PRIVATE") => Some(linux_info::IpcMode::Private),
        Some("SHARE_PARENT") => Some(linux_info::IpcMode::ShareParent),
        _ => None,
    };
    let size = ipc.and_then(|ipc| ipc.get("shmSize")).and_then(Value::as_u64);
    Some(LinuxInfo {
        seccomp,
        ipc_mode: mode.map(Into::into),
        shm_size: size.and_then(|size| u32::try_from(size).ok()),
        ..LinuxInfo::default()
    })
}
