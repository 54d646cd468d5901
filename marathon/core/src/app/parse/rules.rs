//! What must hold between the fields of an app.

use super::Defaults;
use super::reader::Reader;
use crate::app::{App, Engine, HealthProtocol, NetworkMode, Operator, PortDefinition};
use regex::Regex;
use std::collections::BTreeSet;

/// Notes with `reader` what does not hold for `app`.
pub(super) fn check(app: &App, reader: &Reader<'_>, defaults: &Defaults) {
    command(app, reader);
    counts(app, reader);
    networks(app, reader);
    ports(app, reader);
    constraints(app, reader);
    health(app, reader);
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
    if reader.get("tty").is_some() && is_docker {
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
    if !app.is_host_networked() && !reader.list("portDefinitions").is_empty() {
        reader.wrong("portDefinitions", "portDefinitions are only allowed with host-networking");
    }
}

fn ports(app: &App, reader: &Reader<'_>) {
    // One number may be given twice: once for tcp and once for udp.
    let mut numbers = BTreeSet::new();
    let definitions = app.port_definitions.iter();
    let mut is_new = |it: &PortDefinition| {
        it.protocol.split(',').all(|protocol| numbers.insert((it.port, protocol.to_owned())))
    };
    if !definitions.clone().filter(|port| port.port != 0).all(&mut is_new) {
        reader.wrong("portDefinitions", "Ports must be unique");
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

pub(super) fn constraints(app: &App, reader: &Reader<'_>) {
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
    }
    if reader.list("readinessChecks").len() > 1 {
        reader.wrong("readinessChecks", "at most one readiness check is supported");
    }
}

/// The role it runs in.
pub(super) fn role(app: &App, reader: &Reader<'_>, _defaults: &Defaults) {
    if app.role.as_deref() == Some("") {
        reader.wrong("role", "must not be empty");
    }
}

/// The roles whose resources it may take.
pub(super) fn accepted_roles(app: &App, reader: &Reader<'_>, defaults: &Defaults) {
    if reader.get("acceptedResourceRoles").is_some() && app.accepted_resource_roles.is_empty() {
        reader.wrong("acceptedResourceRoles", "must not be empty");
    }
    let own = app.role.as_deref().unwrap_or(&defaults.role);
    for (index, role) in app.accepted_resource_roles.iter().enumerate() {
        if role != "*" && role != own {
            let error = format!("acceptedResourceRoles can only contain '*' and '{own}'");
            reader.wrong(&format!("acceptedResourceRoles({index})"), error);
        }
    }
}
