//! Pods as the wire has them: a group of tasks on one default executor.

use marathon_core::app::NetworkMode;
use marathon_core::app::pod::{
    PodCommand, PodContainer, PodHealthCheck, PodImage, PodVolume, Probe, VolumeMount, VolumeSource,
};
use marathon_core::environment::container_environment;
use marathon_core::io::Launch;
use marathon_core::pace::replaces_first;
use marathon_core::{app::pod::Pod, clock};
use model::ids::TaskId;
use model::resources::Resources;
use proto::convert::duration_info;
use proto::mesos::v1::container_info::MesosInfo;
use proto::mesos::v1::offer::Operation;
use proto::mesos::v1::{
    self, CommandInfo, ContainerInfo, DiscoveryInfo, Environment, ExecutorId, ExecutorInfo, Image,
    KillPolicy, NetworkInfo, Ports, TaskInfo, TtyInfo, Volume, container_info, discovery_info,
    environment, executor_info, health_check, network_info, volume,
};

use super::container::linux_info;
use super::{
    Opened, Scene, check, discovered, labels, limits, secret_variables, secret_volume, uri,
};

/// The operation that launches all containers of `launch`, or none.
pub(crate) fn launch_group(
    launch: &Launch,
    pod: &Pod,
    secrets: &Opened,
    scene: &Scene<'_>,
) -> Operation {
    let executor = executor(launch, pod, scene);
    let tasks = pod.containers.iter().zip(&launch.containers);
    let tasks = tasks.map(|(container, (task, resources))| {
        task_info(launch, pod, container, (task, resources), (secrets, scene))
    });
    framework_sdk::calls::launch_group(executor, tasks.collect())
}

/// The executor that all containers share, with the networks they share.
fn executor(launch: &Launch, pod: &Pod, scene: &Scene<'_>) -> ExecutorInfo {
    let app = &*launch.app;
    let networks = networks(launch, pod, scene.bridge);
    let linux_info = linux_info(pod.linux_info.as_ref());
    let has_container = !networks.is_empty() || linux_info.is_some();
    let container = has_container.then(|| {
        Box::new(ContainerInfo {
            r#type: container_info::Type::Mesos.into(),
            network_infos: networks,
            linux_info,
            ..ContainerInfo::default()
        })
    });
    let pairs = app.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    // The executor of the tasks before may still be on its way out.
    let number = launch.task.as_str().rsplit('.').next().unwrap_or_default();
    let mut resources = scene.reserver.resources_of(launch, &launch.executor);
    resources.extend(scene.reserver.volumes_of(launch));
    ExecutorInfo {
        r#type: Some(executor_info::Type::Default.into()),
        executor_id: ExecutorId { value: format!("instance-{}.{number}", launch.instance) },
        framework_id: scene.reserver.framework.map(Into::into),
        container,
        resources,
        labels: labels(pairs),
        ..ExecutorInfo::default()
    }
}

fn task_info(
    launch: &Launch,
    pod: &Pod,
    container: &PodContainer,
    (task, resources): (&TaskId, &Resources),
    (secrets, scene): (&Opened, &Scene<'_>),
) -> TaskInfo {
    let app = &*launch.app;
    let own = app.labels.iter().filter(|(key, _)| !container.labels.contains_key(*key));
    let pairs = own.chain(&container.labels);
    let check = container.check.as_ref().and_then(|it| {
        check::check(it, &|name| inner_port(launch, pod, name?.get("endpoint")?.as_str()?))
    });
    TaskInfo {
        name: container.name.clone(),
        task_id: task.into(),
        agent_id: scene.agent.into(),
        resources: scene.reserver.resources_of(launch, resources),
        command: Some(command(launch, pod, container, (task, secrets))),
        container: self::container(pod, container, secrets).map(Box::new),
        health_check: health_check(launch, pod, container).map(Box::new),
        check: check.map(Box::new),
        kill_policy: container
            .kill_grace
            .map(|grace| KillPolicy { grace_period: Some(duration_info(grace)) }),
        labels: labels(pairs.map(|(key, value)| (key.as_str(), value.as_str()))),
        discovery: Some(discovery(launch, pod, container).into()),
        limits: limits(container.resource_limits.as_ref()),
        ..TaskInfo::default()
    }
}

fn command(
    launch: &Launch,
    pod: &Pod,
    container: &PodContainer,
    (task, secrets): (&TaskId, &Opened),
) -> CommandInfo {
    let variables = container_environment(launch, pod, container, task);
    let variables = variables.into_iter().map(|(name, value)| environment::Variable {
        name,
        value: Some(value),
        ..environment::Variable::default()
    });
    // What the container sets wins over what the pod sets.
    let own = |name: &String| container.env.contains_key(name);
    let env = launch.app.env.iter().filter(|(name, _)| !own(name)).chain(&container.env);
    let variables = variables.chain(secret_variables(env, secrets));
    let mut command = match container.exec.as_ref().map(|exec| &exec.command) {
        Some(command) => plain_command(command),
        // The image says what runs.
        None => CommandInfo { shell: Some(false), ..CommandInfo::default() },
    };
    let overrides = container.exec.as_ref().and_then(|exec| exec.override_entrypoint);
    if container.image.is_some() && overrides != Some(true) && command.shell == Some(false) {
        // Without a value the words are arguments of the image's entry point.
        command.value = None;
    }
    command.environment = Some(Environment { variables: variables.collect() });
    command.uris = container.artifacts.iter().map(uri).collect();
    command.user = container.user.clone().or_else(|| launch.app.user.clone());
    command
}

fn plain_command(command: &PodCommand) -> CommandInfo {
    match command {
        PodCommand::Shell(text) => {
            CommandInfo { shell: Some(true), value: Some(text.clone()), ..CommandInfo::default() }
        }
        PodCommand::Argv(words) => CommandInfo {
            shell: Some(false),
            value: words.first().cloned(),
            arguments: words.clone(),
            ..CommandInfo::default()
        },
    }
}

fn container(pod: &Pod, container: &PodContainer, secrets: &Opened) -> Option<ContainerInfo> {
    let find = |mount: &VolumeMount| pod.volumes.iter().find(|volume| volume.name == mount.name);
    let volumes = container.mounts.iter();
    let volumes: Vec<_> =
        volumes.filter_map(|mount| volume(find(mount)?, mount, secrets)).collect();
    let linux_info = linux_info(container.linux_info.as_ref());
    let tty_info = (container.tty == Some(true)).then(TtyInfo::default);
    let image = container.image.as_ref().map(|it| image(it, secrets));
    if volumes.is_empty() && linux_info.is_none() && tty_info.is_none() && image.is_none() {
        return None;
    }
    Some(ContainerInfo {
        r#type: container_info::Type::Mesos.into(),
        mesos: image.map(|image| MesosInfo { image: Some(image) }),
        volumes,
        linux_info,
        tty_info,
        ..ContainerInfo::default()
    })
}

fn image(given: &PodImage, secrets: &Opened) -> Image {
    let config = given.pull_secret.as_ref().and_then(|name| secrets.get(name));
    super::container::docker_image(&given.id, given.force_pull.unwrap_or(false), config)
}

fn volume(volume: &PodVolume, mount: &VolumeMount, secrets: &Opened) -> Option<Volume> {
    let mode = if mount.read_only == Some(true) { volume::Mode::Ro } else { volume::Mode::Rw };
    let mut wire = Volume { container_path: mount.path.clone(), ..Volume::default() };
    wire.set_mode(mode);
    match &volume.source {
        VolumeSource::Host(path) => wire.host_path = Some(path.clone()),
        // A directory in the sandbox of the executor, which all containers can reach. What outlives them
        // is among the resources of the executor, and there by its name.
        VolumeSource::Ephemeral | VolumeSource::Persistent(_) => {
            let path = volume::source::SandboxPath {
                r#type: Some(volume::source::sandbox_path::Type::Parent.into()),
                path: volume.name.clone(),
            };
            wire.source = Some(volume::Source {
                r#type: Some(volume::source::Type::SandboxPath.into()),
                sandbox_path: Some(path),
                ..volume::Source::default()
            });
        }
        VolumeSource::Secret(name) => {
            return Some(secret_volume(&mount.path, secrets.get(name)?));
        }
    }
    Some(wire)
}

/// The networks of the pod, each with the ports that are published on it.
fn networks(launch: &Launch, pod: &Pod, bridge: &str) -> Vec<NetworkInfo> {
    let (app, ports) = (&*launch.app, &*launch.ports);
    let joined = app.networks.iter().filter(|network| network.mode != NetworkMode::Host);
    joined
        .map(|network| {
            let is_on = |names: &[String]| match &network.name {
                Some(name) => names.is_empty() || names.contains(name),
                None => true,
            };
            let published = pod.given_ports(ports).filter(|(_, it, _)| is_on(&it.network_names));
            let mappings = published.flat_map(|(_, endpoint, host)| {
                let numbers = host.zip(endpoint.container_port);
                let protocols = protocols(&endpoint.protocol).into_iter();
                protocols.filter_map(move |protocol| {
                    let (host_port, container_port) = numbers?;
                    Some(network_info::PortMapping {
                        host_port: host_port.into(),
                        container_port: container_port.into(),
                        protocol: Some(protocol),
                    })
                })
            });
            let pairs = network.labels.iter();
            NetworkInfo {
                name: Some(network.name.clone().unwrap_or_else(|| bridge.to_owned())),
                labels: labels(pairs.map(|(key, value)| (key.as_str(), value.as_str()))),
                port_mappings: mappings.collect(),
                ip_addresses: vec![network_info::IpAddress::default()],
                ..NetworkInfo::default()
            }
        })
        .collect()
}

/// The protocols of an endpoint: tcp, if none is said.
fn protocols(given: &[String]) -> Vec<String> {
    if given.is_empty() { vec!["tcp".to_owned()] } else { given.to_vec() }
}

fn discovery(launch: &Launch, pod: &Pod, container: &PodContainer) -> DiscoveryInfo {
    let app = &*launch.app;
    let of_this = pod.given_ports(&launch.ports).filter(|(owner, ..)| owner.name == container.name);
    let mut ports = Vec::new();
    for (_, endpoint, host) in of_this {
        let Some(number) = host.or(endpoint.container_port) else { continue };
        let mut scope = vec![("network-scope", if host.is_some() { "host" } else { "container" })];
        if host.is_none() {
            let network = app.networks.iter().find_map(|network| network.name.as_deref());
            scope.extend(network.map(|name| ("network-name", name)));
        }
        let protocols = protocols(&endpoint.protocol).join(",");
        let name = Some(&endpoint.name);
        ports.extend(discovered(number, name, &protocols, &endpoint.labels, &scope));
    }
    DiscoveryInfo {
        visibility: discovery_info::Visibility::Framework.into(),
        name: Some(app.id.task_name()),
        version: Some(clock::format(app.version)),
        ports: (!ports.is_empty()).then_some(Ports { ports }),
        ..DiscoveryInfo::default()
    }
}

/// The port to probe an endpoint by. The executor probes from inside the pod's network: there a port has
/// its own number.
fn inner_port(launch: &Launch, pod: &Pod, name: &str) -> Option<u16> {
    let mut all = pod.given_ports(&launch.ports);
    let found = all.find(|(_, endpoint, _)| endpoint.name == name);
    found.and_then(|(_, endpoint, host)| endpoint.container_port.or(host))
}

fn health_check(launch: &Launch, pod: &Pod, container: &PodContainer) -> Option<v1::HealthCheck> {
    let check: &PodHealthCheck = container.health_check.as_ref()?;
    let replaces = replaces_first(&launch.app);
    let mut wire = v1::HealthCheck {
        delay_seconds: Some(check.delay.as_secs_f64()),
        interval_seconds: Some(check.interval.as_secs_f64()),
        timeout_seconds: Some(check.timeout.as_secs_f64()),
        grace_period_seconds: Some(check.grace_period.as_secs_f64()),
        // Where Marathon replaces before it ends, the agent only reports.
        consecutive_failures: Some(if replaces {
            u32::MAX
        } else {
            check.max_consecutive_failures
        }),
        ..v1::HealthCheck::default()
    };
    let port = |name: &str| inner_port(launch, pod, name);
    match &check.probe {
        Probe::Command(command) => {
            wire.set_type(health_check::Type::Command);
            wire.command = Some(plain_command(command));
        }
        Probe::Tcp { endpoint } => {
            wire.set_type(health_check::Type::Tcp);
            wire.tcp = Some(health_check::TcpCheckInfo {
                port: port(endpoint)?.into(),
                ..health_check::TcpCheckInfo::default()
            });
        }
        Probe::Http { endpoint, path, is_https } => {
            wire.set_type(health_check::Type::Http);
            wire.http = Some(health_check::HttpCheckInfo {
                scheme: Some(if *is_https { "https" } else { "http" }.to_owned()),
                port: port(endpoint)?.into(),
                path: Some(path.clone().unwrap_or_else(|| "/".to_owned())),
                ..health_check::HttpCheckInfo::default()
            });
        }
    }
    Some(wire)
}
