//! A launch as the wire has it.

mod container;
mod health;
mod pod;

pub(crate) use pod::launch_group;

use marathon_core::app::{App, Artifact};
use marathon_core::clock;
use marathon_core::environment::environment;
use marathon_core::io::Launch;
use model::ids::AgentId;
use model::role::Role;
use proto::convert::duration_info;
use proto::convert::resources::{Form, to_wire};
use proto::mesos::v1::{
    CommandInfo, DiscoveryInfo, Environment, ExecutorId, ExecutorInfo, Label, Labels, Port, Ports,
    TaskInfo, command_info, discovery_info, environment, value,
};
use serde_json::Value;

/// The task of `launch` on `agent`, with resources that were offered to `role`.
pub(crate) fn task_info(launch: &Launch, agent: &AgentId, role: &Role) -> TaskInfo {
    let app = &*launch.app;
    let command = command(launch);
    let (command, executor) = match app.executor.as_str() {
        "" | "//cmd" => (Some(command), None),
        path => {
            let executor = executor(path.trim_start_matches("//"), launch, command, role);
            (None, Some(executor))
        }
    };
    TaskInfo {
        name: app.id.task_name(),
        task_id: (&launch.task).into(),
        agent_id: agent.into(),
        resources: to_wire(&launch.resources.minus(&launch.executor), Form::Stack, Some(role)),
        data: executor.as_ref().and_then(|_| data(app)),
        executor,
        command,
        container: container::container(app, &launch.ports),
        health_check: health::health_check(app, &launch.ports),
        kill_policy: kill_policy(app),
        labels: labels(app.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
        discovery: Some(discovery(launch)),
        limits: limits(app.extra.get("resourceLimits")),
        ..TaskInfo::default()
    }
}

fn command(launch: &Launch) -> CommandInfo {
    let app = &*launch.app;
    let env = environment(app, &launch.task, &launch.host, &launch.ports, launch.is_role_enforced);
    let variables = env.into_iter().map(|(name, value)| environment::Variable {
        name,
        value: Some(value),
        ..environment::Variable::default()
    });
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
fn executor(path: &str, launch: &Launch, command: CommandInfo, role: &Role) -> ExecutorInfo {
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
        resources: to_wire(&launch.executor, Form::Stack, Some(role)),
        ..ExecutorInfo::default()
    }
}

fn data(app: &App) -> Option<bytes::Bytes> {
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
    labels: &'a std::collections::BTreeMap<String, String>,
}

impl<'a> Described<'a> {
    fn new(
        name: Option<&'a String>,
        protocols: &'a str,
        labels: &'a std::collections::BTreeMap<String, String>,
    ) -> Self {
        Self { name, protocols, labels }
    }
}

/// One port; one for each protocol where there are two.
fn discovered<'a>(
    number: u16,
    name: Option<&'a String>,
    protocols: &'a str,
    own: &'a std::collections::BTreeMap<String, String>,
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
fn limits(given: Option<&Value>) -> std::collections::BTreeMap<String, value::Scalar> {
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
