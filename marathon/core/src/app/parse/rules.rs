//! What must hold between the fields of an app.

mod container;

use super::pod::required_command;
use super::reader::Reader;
use super::{Defaults, shared};
use crate::app::{
    App, Constraint, Engine, HealthCheck, HealthProtocol, NetworkMode, Operator, PortDefinition,
    PortMapping,
};
use crate::fleet::{GPU_BEHAVIOR, GPU_BEHAVIORS, ONE_PER_AGENT, is_one_per_agent};
use crate::pace;
use model::ids::PersistenceId;
use model::task::HEALTH_CHECKS_MAX;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;

/// Names of networks are as long as one word of a DNS name may be.
const NETWORK_BYTES_MAX: usize = 63;

/// Notes with `reader` what does not hold for `app`.
pub(super) fn check(app: &App, reader: &Reader<'_>, defaults: &Defaults) {
    command(app, reader);
    counts(app, reader);
    networks(app, reader);
    ports(app, reader);
    constraints(app, reader);
    health(app, reader);
    readiness(app, reader);
    container::check(app, reader);
    shared::resource_limits(reader, app.needs());
    if let Some(check) = reader.object("check") {
        one_probe(app, &check);
    }
    shared::secrets(reader, &secret_names(app));
    shared::artifacts(reader, "fetch");
    labels(app, reader);
    migration(app, reader);
    resident(app, reader, "upgradeStrategy", "container/volumes");
    role(app, reader, defaults);
    accepted_roles(app, reader, defaults);
}

fn command(app: &App, reader: &Reader<'_>) {
    let both = app.cmd.is_some() && !app.args.is_empty();
    let neither = app.cmd.is_none() && app.args.is_empty() && app.container.is_none();
    if both || neither {
        let error =
            "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.";
        reader.wrong("", error);
    }
    if app.cmd.as_deref().is_some_and(str::is_empty) {
        reader.wrong("cmd", "must not be empty");
    }
    if !is_executor(&app.executor) {
        let error = "must be '//cmd', or a path without empty segments";
        reader.wrong("executor", error);
    }
}

/// Nothing and `//cmd` are the built-in one.
fn is_executor(text: &str) -> bool {
    let path = text.strip_prefix('/').unwrap_or(text);
    matches!(text, "" | "//cmd") || path.split('/').all(|segment| !segment.is_empty())
}

fn counts(app: &App, reader: &Reader<'_>) {
    if app.is_single_instance() && app.instances > 1 {
        let error = format!("got {}, expected 1 or less for a single-instance app", app.instances);
        reader.wrong("instances", error);
    }
    let strategy = app.upgrade_strategy;
    let wants_more = strategy.maximum_over_capacity.0 > 0 || strategy.minimum_health_capacity.0 > 0;
    if app.is_single_instance() && wants_more {
        reader.wrong("upgradeStrategy", "must be 0 and 0 for a single-instance app");
    }
    let is_docker = app.container.as_ref().is_some_and(|it| it.engine == Engine::Docker);
    if app.gpus > 0 && is_docker {
        reader.wrong("gpus", "GPU resources only work with the Mesos containerizer");
    }
    if reader.flag("tty").is_some() && is_docker {
        reader.wrong("tty", "not allowed for a Docker container");
    }
}

pub(super) fn networks(app: &App, reader: &Reader<'_>) {
    let modes: Vec<_> = app.networks.iter().map(|network| network.mode).collect();
    let names: BTreeSet<_> = app.networks.iter().map(|network| &network.name).collect();
    let is_alone = modes.len() == 1;
    let are_containers = modes.iter().all(|mode| *mode == NetworkMode::Container);
    let are_distinct = are_containers && names.len() == modes.len();
    if !(is_alone || are_distinct) {
        let error = "must be one host network, one bridge network, or container networks with \
                     different names";
        reader.wrong("networks", error);
    }
    for (index, network) in app.networks.iter().enumerate() {
        if network.name.as_deref().is_some_and(|name| !is_network_name(name)) {
            let error = "must fully match regular expression '^[a-z0-9]([-a-z0-9_]*[a-z0-9])?$' and \
                         have at most 63 characters";
            reader.wrong(&format!("networks({index})/name"), error);
        }
    }
}

fn is_network_name(name: &str) -> bool {
    let is_end = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [name.bytes().next(), name.bytes().last()];
    name.len() <= NETWORK_BYTES_MAX
        && ends.iter().all(|end| end.is_some_and(is_end))
        && name.bytes().all(|b| is_end(b) || b == b'-' || b == b'_')
}

fn ports(app: &App, reader: &Reader<'_>) {
    if !app.is_host_networked() && !reader.list("portDefinitions").is_empty() {
        reader.wrong("portDefinitions", "portDefinitions are only allowed with host-networking");
    }
    // One number may be given twice: once for tcp and once for udp.
    let mut numbers = BTreeSet::new();
    let definitions = app.port_definitions.iter();
    let mut is_new = |it: &PortDefinition| {
        it.protocol.split(',').all(|protocol| numbers.insert((it.port, protocol.to_owned())))
    };
    if !definitions.clone().filter(|port| port.port != 0).all(&mut is_new) {
        reader.wrong("portDefinitions", "Ports must be unique");
    }
    let is_named = |name: Option<&String>, at: String| {
        if name.is_some_and(|name| !shared::is_name(name)) {
            let error = "must fully match regular expression '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'";
            reader.wrong(&at, error);
        }
    };
    for (index, port) in app.port_definitions.iter().enumerate() {
        is_named(port.name.as_ref(), format!("portDefinitions({index})/name"));
    }
    for (index, port) in app.port_mappings().iter().enumerate() {
        is_named(port.name.as_ref(), format!("container/portMappings({index})/name"));
    }
    let names = |names: Vec<&str>, field| {
        let distinct: BTreeSet<_> = names.iter().collect();
        if distinct.len() < names.len() {
            reader.wrong(field, "Port names must be unique.");
        }
    };
    names(definitions.filter_map(|port| port.name.as_deref()).collect(), "portDefinitions");
    let mappings = app.port_mappings().iter();
    names(mappings.filter_map(|it| it.name.as_deref()).collect(), "container/portMappings");
}

/// No item of the list `name` is there twice.
fn distinct<T: Ord>(reader: &Reader<'_>, name: &str, items: Vec<T>) {
    let count = items.len();
    if items.into_iter().collect::<BTreeSet<_>>().len() < count {
        reader.wrong(name, "items must be unique");
    }
}

pub(super) fn constraints(app: &App, reader: &Reader<'_>) {
    let parts = |it: &Constraint| (it.field.clone(), it.operator.name(), it.value.clone());
    distinct(reader, "constraints", app.constraints.iter().map(parts).collect());
    for (index, constraint) in app.constraints.iter().enumerate() {
        let wrong = |error: String| reader.wrong(&format!("constraints({index})"), error);
        let value = constraint.value.as_deref();
        let is_count = value.is_some_and(|value| value.parse::<u32>().is_ok_and(|n| n > 0));
        match constraint.operator {
            Operator::Unique if value.is_some_and(|value| !value.is_empty()) => {
                wrong("Value specified but not used".to_owned());
            }
            Operator::GroupBy if value.is_some() && !is_count => {
                wrong("Value was specified but is not a number".to_owned());
            }
            Operator::MaxPer if !is_count => {
                wrong("Value was not specified or is not a number".to_owned());
            }
            Operator::Like | Operator::Unlike => match value.map(Regex::new) {
                None => wrong("A regular expression value must be provided".to_owned()),
                Some(Err(_)) => {
                    let value = value.unwrap_or_default();
                    wrong(format!("'{value}' is not a valid regular expression"));
                }
                Some(Ok(_)) => {}
            },
            Operator::Is => {
                let fits = |b: u8| b.is_ascii_alphanumeric() || b"_/.-".contains(&b);
                if !value.unwrap_or_default().bytes().all(fits) {
                    wrong("Value must match text value [a-zA-Z0-9_/.-]*".to_owned());
                }
            }
            Operator::Unique | Operator::Cluster | Operator::GroupBy | Operator::MaxPer => {}
        }
    }
}

fn health(app: &App, reader: &Reader<'_>) {
    let ports = if app.is_host_networked() {
        app.port_definitions.len()
    } else {
        app.port_mappings().len()
    };
    for (index, check) in app.health_checks.iter().enumerate() {
        let needs_port = check.protocol != HealthProtocol::Command;
        if needs_port && check.port_index.is_some_and(|index| index >= ports) {
            let error = "Health check port indices must address an element of the ports array or \
                         container port mappings.";
            reader.wrong(&format!("healthChecks({index})"), error);
        }
        let mapping = check.port_index.filter(|_| needs_port && !app.is_host_networked());
        let mapping = mapping.and_then(|index| app.port_mappings().get(index));
        if mapping.is_some_and(|it| it.container_port == 0 && it.host_port.is_none()) {
            let error = "nobody knows the port: give its mapping a containerPort or a hostPort";
            reader.wrong(&format!("healthChecks({index})"), error);
        }
    }
    let is_mesos = |it: &&HealthCheck| {
        matches!(
            it.protocol,
            HealthProtocol::MesosHttp | HealthProtocol::MesosHttps | HealthProtocol::MesosTcp
        )
    };
    if app.health_checks.len() > HEALTH_CHECKS_MAX {
        let error = format!("must have at most {HEALTH_CHECKS_MAX} checks");
        reader.wrong("healthChecks", error);
    }
    let is_docker = app.container.as_ref().is_some_and(|it| it.engine == Engine::Docker);
    for (index, check) in app.health_checks.iter().enumerate() {
        if check.ip_protocol == "IPv6" && !(is_docker && is_mesos(&check)) {
            let error =
                "IPv6 is only for MESOS_HTTP, MESOS_HTTPS and MESOS_TCP in a Docker container";
            reader.wrong(&format!("healthChecks({index})/ipProtocol"), error);
        }
    }
}

fn readiness(app: &App, reader: &Reader<'_>) {
    if reader.list("readinessChecks").len() > 1 {
        reader.wrong("readinessChecks", "at most one readiness check is supported");
    }
    for check in reader.objects("readinessChecks") {
        check.full_text("name");
        check.full_text("path");
        shared::not_long(&check, "path");
        if check.whole("timeoutSeconds") == Some(0) {
            check.wrong("timeoutSeconds", "got 0, expected 1 or more");
        }
        let codes = check.list("httpStatusCodesForReady");
        if check.get("httpStatusCodesForReady").is_some() && codes.is_empty() {
            check.wrong("httpStatusCodesForReady", "must not be empty");
        }
        let numbers = codes.iter().filter_map(Value::as_u64).collect();
        distinct(&check, "httpStatusCodesForReady", numbers);
        for (index, code) in codes.iter().enumerate().filter(|(_, code)| !code.is_u64()) {
            let at = format!("httpStatusCodesForReady({index})");
            check.malformed(
                &at,
                if code.is_number() { "error.expected.int" } else { "error.expected.jsnumber" },
            );
        }
    }
    let definitions = app.port_definitions.iter().filter_map(|port| port.name.as_deref());
    let mappings = app.port_mappings().iter().filter_map(|port| port.name.as_deref());
    let names: BTreeSet<&str> = definitions.chain(mappings).collect();
    for (index, check) in app.readiness_checks.iter().enumerate() {
        let wanted = check.get("portName").and_then(Value::as_str).unwrap_or_default();
        if !names.contains(wanted) {
            let known: Vec<_> = names.iter().copied().collect();
            let error = format!("must be one of the names of its ports: {}", known.join(", "));
            reader.wrong(&format!("readinessChecks({index})/portName"), error);
        }
        let is_nowhere = |it: &PortMapping| {
            it.name.as_deref() == Some(wanted) && it.host_port.is_none() && it.container_port == 0
        };
        if app.port_mappings().iter().any(is_nowhere) {
            let error = "this port has neither a hostPort nor a containerPort to be asked at";
            reader.wrong(&format!("readinessChecks({index})/portName"), error);
        }
    }
}

/// A check is one probe, of a port that there is.
fn one_probe(app: &App, check: &Reader<'_>) {
    let kinds = ["http", "tcp", "exec"].map(|kind| check.object(kind));
    if kinds.iter().flatten().count() != 1 {
        check.wrong("", "must have exactly one of http, tcp, exec");
    }
    let ports = if app.is_host_networked() {
        app.port_definitions.len()
    } else {
        app.port_mappings().len()
    };
    for probe in kinds.iter().take(2).flatten() {
        let index = probe.port("portIndex").map_or(0, usize::from);
        if probe.port("port").is_none() && index >= ports {
            probe.wrong("portIndex", "must address one of the ports of the app");
        }
    }
    kinds[0].iter().for_each(shared::http);
    if let Some(exec) = &kinds[2] {
        required_command(exec);
    }
    shared::times(check);
}

/// Every secret that the app refers to, with where.
fn secret_names(app: &App) -> Vec<(String, String)> {
    let mut names = shared::secrets_of_env(&app.env, "env");
    let container = app.container.as_ref();
    for (index, volume) in container.iter().flat_map(|it| &it.volumes).enumerate() {
        if let Some(name) = volume.get("secret").and_then(Value::as_str) {
            names.push((format!("container/volumes({index})/secret"), name.to_owned()));
        }
    }
    let config = container.and_then(|it| it.docker.as_ref()?.pull_config.as_ref());
    if let Some(name) = config.and_then(|config| config.get("secret")?.as_str()) {
        names.push(("container/docker/pullConfig/secret".to_owned(), name.to_owned()));
    }
    names
}

/// Labels by which it is said how it is deployed, and where.
pub(super) fn labels(app: &App, reader: &Reader<'_>) {
    for (label, error) in pace::check(&app.labels) {
        reader.wrong(&format!("labels/{label}"), error);
    }
    let behavior = app.labels.get(GPU_BEHAVIOR);
    if let Some(text) = behavior.filter(|text| !GPU_BEHAVIORS.contains(&text.as_str())) {
        let error = format!("got '{text}', expected one of: {}", GPU_BEHAVIORS.join(", "));
        reader.wrong(&format!("labels/{GPU_BEHAVIOR}"), error);
    }
}

/// Labels by which a package of DC/OS says how it is migrated go together.
fn migration(app: &App, reader: &Reader<'_>) {
    let Some(version) = app.labels.get("DCOS_MIGRATION_API_VERSION") else { return };
    if version != "v1" {
        reader.wrong("labels/DCOS_MIGRATION_API_VERSION", "must be v1");
    }
    for needed in ["DCOS_PACKAGE_FRAMEWORK_NAME", "DCOS_MIGRATION_API_PATH"] {
        if !app.labels.contains_key(needed) {
            let error = "must be set together with DCOS_MIGRATION_API_VERSION";
            reader.wrong(&format!("labels/{needed}"), error);
        }
    }
}

/// What must hold of an app or a pod whose volumes outlive its tasks, with where its upgrade strategy and its
/// volumes are. That it needs a role of its own is checked when that of its group is known.
pub(super) fn resident(app: &App, reader: &Reader<'_>, strategy: &str, volumes: &str) {
    if !app.is_resident() {
        return;
    }
    if app.upgrade_strategy.maximum_over_capacity.0 > 0 {
        let error = "must be 0 with persistent volumes";
        reader.wrong(&format!("{strategy}/maximumOverCapacity"), error);
    }
    if is_one_per_agent(app) {
        let error = "not possible with persistent volumes";
        reader.wrong(&format!("labels/{ONE_PER_AGENT}"), error);
    }
    let mut paths = BTreeSet::new();
    for volume in app.persistent_volumes() {
        let path = &volume.container_path;
        // As long as what the agent will know it by.
        let id = format!("{}#{path}#{}", app.id.safe(), "u".repeat(36));
        if let Err(bad) = PersistenceId::new(id) {
            reader.wrong(volumes, format!("the id and '{path}' together: {bad}"));
        }
        if !paths.insert(path.clone()) && !app.is_pod() {
            reader.wrong(volumes, format!("containerPath '{path}' is there twice"));
        }
    }
}

/// The role it runs in.
pub(super) fn role(app: &App, reader: &Reader<'_>, defaults: &Defaults) {
    let top = app.id.top();
    let top = top.as_ref().map(|top| top.as_str().trim_start_matches('/'));
    match app.role.as_deref() {
        None => {}
        Some("") => reader.wrong("role", "must not be empty"),
        Some(role) if role == &*defaults.role || Some(role) == top => {}
        Some(role) => {
            let known: BTreeSet<_> = [Some(&*defaults.role), top].into_iter().flatten().collect();
            let known: Vec<_> = known.iter().map(|role| format!("'{role}'")).collect();
            let error = format!("got '{role}', expected one of: {}", known.join(", "));
            reader.wrong("role", error);
        }
    }
}

/// The roles whose resources it may take.
pub(super) fn accepted_roles(app: &App, reader: &Reader<'_>, defaults: &Defaults) {
    if reader.get("acceptedResourceRoles").is_some() && app.accepted_resource_roles.is_empty() {
        reader.wrong("acceptedResourceRoles", "must not be empty");
    }
    distinct(reader, "acceptedResourceRoles", app.accepted_resource_roles.iter().collect());
    let own = app.role.as_deref().unwrap_or(&defaults.role);
    // Without a role it may yet get that of its group.
    let top = app.id.top().filter(|_| app.role.is_none());
    let is_top =
        |role: &str| top.as_ref().is_some_and(|it| it.as_str().trim_start_matches('/') == role);
    for (index, role) in app.accepted_resource_roles.iter().enumerate() {
        if role != "*" && role != own && !is_top(role) {
            let error = format!("acceptedResourceRoles can only contain '*' and '{own}'");
            reader.wrong(&format!("acceptedResourceRoles({index})"), error);
        }
    }
}
