//! A launch as the wire has it.

mod check;
mod container;
mod health;
mod pod;

pub(crate) use pod::launch_group;

use crate::driver::reservations::Reserver;
use bytes::Bytes;
use marathon_core::app::{App, Artifact};
use marathon_core::clock;
use marathon_core::environment::environment;
use marathon_core::io::Launch;
use model::ids::AgentId;
use proto::convert::duration_info;
use proto::mesos::v1::{
    CommandInfo, DiscoveryInfo, Environment, ExecutorId, ExecutorInfo, Label, Labels, Port, Ports,
    Secret, TaskInfo, Volume, command_info, discovery_info, environment, secret, value, volume,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Values of secrets, by the names that an app has for them.
pub(crate) type Opened = BTreeMap<String, Bytes>;

/// A variable with the value of a secret, which is shown nowhere.
fn secret_variable(name: &str, value: &Bytes) -> environment::Variable {
    environment::Variable {
        name: name.to_owned(),
        r#type: Some(environment::variable::Type::Secret.into()),
        value: None,
        secret: Some(secret(value)),
    }
}

/// A secret by its value.
fn secret(value: &Bytes) -> Secret {
    Secret {
        r#type: Some(secret::Type::Value.into()),
        value: Some(secret::Value { data: value.clone() }),
        ..Secret::default()
    }
}

/// A volume that is a file with the value of a secret.
fn secret_volume(path: &str, value: &Bytes) -> Volume {
    let mut volume = Volume {
        container_path: path.to_owned(),
        source: Some(volume::Source {
            r#type: Some(volume::source::Type::Secret.into()),
            secret: Some(secret(value)),
            ..volume::Source::default()
        }),
        ..Volume::default()
    };
    volume.set_mode(volume::Mode::Ro);
    volume
}

/// Variables whose values are secrets.
fn secret_variables<'a>(
    env: impl Iterator<Item = (&'a String, &'a Value)>,
    secrets: &Opened,
) -> Vec<environment::Variable> {
    let named = env.filter_map(|(name, value)| Some((name, value.get("secret")?.as_str()?)));
    named.filter_map(|(name, of)| Some(secret_variable(name, secrets.get(of)?))).collect()
}

/// What all launches on one offer have in common.
pub(crate) struct Scene<'a> {
    /// Who we are, in which role, for what is reserved.
    pub(crate) reserver: Reserver<'a>,
    /// Where they go.
    pub(crate) agent: &'a AgentId,
    /// The network that bridges mean.
    pub(crate) bridge: &'a str,
}

/// The task of `launch`.
pub(crate) fn task_info(launch: &Launch, secrets: &Opened, scene: &Scene<'_>) -> TaskInfo {
    let (app, reserver) = (&*launch.app, &scene.reserver);
    let mut resources = reserver.resources_of(launch, &launch.resources.minus(&launch.executor));
    resources.extend(reserver.volumes_of(launch));
    let command = command(launch, secrets);
    let (command, executor) = match app.executor.as_str() {
        "" | "//cmd" => (Some(command), None),
        path => {
            let executor = executor(path.trim_start_matches("//"), launch, command, reserver);
            (None, Some(executor.into()))
        }
    };
    let check = app.extra.get("check");
    TaskInfo {
        name: app.id.task_name(),
        task_id: (&launch.task).into(),
        agent_id: scene.agent.into(),
        resources,
        data: executor.as_ref().and_then(|_| data(app)),
        executor,
        command,
        container: container::container(launch, secrets, scene).map(Box::new),
        health_check: health::health_checks(app, &launch.ports).map(Box::new),
        check: check.and_then(|it| check::of_app(it, app, &launch.ports)).map(Box::new),
        kill_policy: kill_policy(app),
        labels: labels(app.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
        discovery: Some(discovery(launch).into()),
        limits: limits(app.extra.get("resourceLimits")),
        ..TaskInfo::default()
    }
}

fn command(launch: &Launch, secrets: &Opened) -> CommandInfo {
    let app = &*launch.app;
    let env = environment(app, &launch.task, &launch.host, &launch.ports, launch.is_role_enforced);
    let variables = env.into_iter().map(|(name, value)| environment::Variable {
        name,
        value: Some(value),
        ..environment::Variable::default()
    });
    let variables = variables.chain(secret_variables(app.env.iter(), secrets));
    let mut command = CommandInfo {
        environment: Some(Environment { variables: variables.collect() }),
        uris: app.fetch.iter().map(uri).collect(),
        user: app.user.clone(),
        ..CommandInfo::default()
    };
    if let Some(cmd) = &app.cmd {
        command.shell = Some(true);
        command.value = Some(cmd.clone());
    } else {
        command.shell = Some(false);
        command.arguments.clone_from(&app.args);
        // An image has an entry point of its own; without one the first word is the program.
        let has_image = app.container.as_ref().is_some_and(|container| container.docker.is_some());
        if !has_image {
            command.value = app.args.first().cloned();
        }
    }
    command
}

fn uri(artifact: &Artifact) -> command_info::Uri {
    command_info::Uri {
        value: artifact.uri.clone(),
        executable: Some(artifact.executable),
        extract: Some(artifact.extract),
        cache: Some(artifact.cache),
        output_file: artifact.dest_path.clone(),
    }
}

/// A custom executor, which finds the app's command in the task's data.
fn executor(
    path: &str,
    launch: &Launch,
    command: CommandInfo,
    reserver: &Reserver<'_>,
) -> ExecutorInfo {
    let (app, task) = (&*launch.app, &launch.task);
    let run = format!("chmod ug+rx '{path}' && exec '{path}' {}", app.cmd.as_deref().unwrap_or(""));
    ExecutorInfo {
        executor_id: ExecutorId { value: format!("marathon-{task}") },
        command: Some(CommandInfo {
            shell: Some(true),
            value: Some(run),
            arguments: Vec::new(),
            ..command
        }),
        name: Some(app.id.task_name()),
        resources: reserver.resources_of(launch, &launch.executor),
        ..ExecutorInfo::default()
    }
}

fn data(app: &App) -> Option<Bytes> {
    app.cmd.as_ref().map(|cmd| cmd.clone().into())
}

fn kill_policy(app: &App) -> Option<proto::mesos::v1::KillPolicy> {
    app.kill_grace
        .map(|grace| proto::mesos::v1::KillPolicy { grace_period: Some(duration_info(grace)) })
}

pub(super) fn labels<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Labels> {
    let labels: Vec<_> = pairs
        .map(|(key, value)| Label { key: key.to_owned(), value: Some(value.to_owned()) })
        .collect();
    (!labels.is_empty()).then_some(Labels { labels })
}

/// What service discovery learns: the name and every port that can be reached, with where.
fn discovery(launch: &Launch) -> DiscoveryInfo {
    let app = &*launch.app;
    let mut ports = Vec::new();
    if app.is_host_networked() {
        for (definition, number) in app.port_definitions.iter().zip(&launch.ports) {
            let Described { name, protocols, labels } =
                Described::new(definition.name.as_ref(), &definition.protocol, &definition.labels);
            let scope = vec![("network-scope", "host")];
            ports.extend(discovered(*number, name, protocols, labels, &scope));
        }
    } else {
        let mut given = launch.ports.iter();
        for mapping in app.port_mappings() {
            let host = mapping.host_port.and_then(|_| given.next().copied());
            let Described { name, protocols, labels } =
                Described::new(mapping.name.as_ref(), &mapping.protocol, &mapping.labels);
            let network = app.networks.iter().find_map(|network| network.name.as_deref());
            let number = match host {
                Some(host) => host,
                None if mapping.container_port == 0 => continue,
                None => mapping.container_port,
            };
            let mut scope =
                vec![("network-scope", if host.is_some() { "host" } else { "container" })];
            if host.is_none() {
                scope.extend(network.map(|name| ("network-name", name)));
            }
            ports.extend(discovered(number, name, protocols, labels, &scope));
        }
    }
    DiscoveryInfo {
        visibility: discovery_info::Visibility::Framework.into(),
        name: Some(app.id.task_name()),
        version: Some(clock::format(app.version)),
        ports: (!ports.is_empty()).then_some(Ports { ports }),
        ..DiscoveryInfo::default()
    }
}

/// What a port says of itself.
struct Described<'a> {
    name: Option<&'a String>,
    protocols: &'a str,
    labels: &'a BTreeMap<String, String>,
}

impl<'a> Described<'a> {
    fn new(
        name: Option<&'a String>,
        protocols: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> Self {
        Self { name, protocols, labels }
    }
}

/// One port; one for each protocol where there are two.
fn discovered<'a>(
    number: u16,
    name: Option<&'a String>,
    protocols: &'a str,
    own: &'a BTreeMap<String, String>,
    scope: &'a [(&str, &str)],
) -> impl Iterator<Item = Port> {
    protocols.split(',').map(move |protocol| Port {
        number: number.into(),
        name: name.cloned(),
        protocol: Some(protocol.to_owned()),
        labels: labels(
            own.iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .chain(scope.iter().copied()),
        ),
        ..Port::default()
    })
}

/// `resourceLimits`: a number, or `unlimited`.
fn limits(given: Option<&Value>) -> BTreeMap<String, value::Scalar> {
    let limits = given.and_then(Value::as_object);
    limits
        .into_iter()
        .flatten()
        .filter_map(|(name, limit)| {
            let is_unlimited =
                limit.as_str().is_some_and(|text| text.eq_ignore_ascii_case("unlimited"));
            let value = if is_unlimited { f64::INFINITY } else { limit.as_f64()? };
            Some((name.clone(), value::Scalar { value }))
        })
        .collect()
}

#[cfg(test)]
mod tests;
