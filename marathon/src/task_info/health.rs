//! Health checks. Every kind runs at the agent, those too that Marathon used to run itself.

use marathon_core::app::{App, HealthCheck, HealthProtocol};
use marathon_core::pace::replaces_first;
use proto::mesos::v1::network_info::Protocol;
use proto::mesos::v1::{self, CommandInfo, health_check};
use std::time::Duration;

/// When a check that Marathon used to run itself is made first, unless it is made more often.
const FIRST_WITHIN: Duration = Duration::from_secs(5);

/// The health checks of a task: the first with the others in it, for which Apache Mesos has no place.
pub(super) fn health_checks(app: &App, ports: &[u16]) -> Option<v1::HealthCheck> {
    let mut all = app.health_checks.iter().filter_map(|check| health_check(app, check, ports));
    let first = all.next()?;
    Some(v1::HealthCheck { additional_checks: all.collect(), ..first })
}

fn health_check(app: &App, check: &HealthCheck, ports: &[u16]) -> Option<v1::HealthCheck> {
    let mut wire = v1::HealthCheck {
        delay_seconds: Some(delay(check).as_secs_f64()),
        interval_seconds: Some(check.interval.as_secs_f64()),
        timeout_seconds: Some(check.timeout.as_secs_f64()),
        grace_period_seconds: Some(check.grace_period.as_secs_f64()),
        // Where Marathon replaces before it ends, the agent only reports.
        consecutive_failures: Some(if replaces_first(app) { u32::MAX } else { failures(check) }),
        ..v1::HealthCheck::default()
    };
    let protocol = if check.ip_protocol == "IPv6" { Protocol::IPv6 } else { Protocol::IPv4 };
    match check.protocol {
        HealthProtocol::Command => {
            wire.set_type(health_check::Type::Command);
            wire.command = Some(CommandInfo {
                shell: Some(true),
                value: Some(check.command.clone()?),
                ..CommandInfo::default()
            });
        }
        HealthProtocol::Tcp | HealthProtocol::MesosTcp => {
            wire.set_type(health_check::Type::Tcp);
            wire.tcp = Some(health_check::TcpCheckInfo {
                protocol: Some(protocol.into()),
                port: port(app, check, ports)?.into(),
            });
        }
        HealthProtocol::Http
        | HealthProtocol::MesosHttp
        | HealthProtocol::Https
        | HealthProtocol::MesosHttps => {
            let is_https =
                matches!(check.protocol, HealthProtocol::Https | HealthProtocol::MesosHttps);
            wire.set_type(health_check::Type::Http);
            wire.http = Some(health_check::HttpCheckInfo {
                protocol: Some(protocol.into()),
                scheme: Some(if is_https { "https" } else { "http" }.to_owned()),
                port: port(app, check, ports)?.into(),
                path: Some(check.path.clone().unwrap_or_else(|| "/".to_owned())),
                statuses: Vec::new(),
                ignore_informational: check.ignore_http_1xx,
            });
        }
    }
    Some(wire)
}

/// How long the first probe is waited with. Marathon's own kinds knew no delay. Of one that was read and
/// written back the default cannot be told from nothing, so it counts as nothing.
fn delay(check: &HealthCheck) -> Duration {
    if check.was_made_by_marathon() && check.delay == HealthCheck::DELAY {
        check.interval.min(FIRST_WITHIN)
    } else {
        check.delay
    }
}

/// How many failures in a row are too many.
fn failures(check: &HealthCheck) -> u32 {
    if check.never_ends() { u32::MAX } else { check.max_consecutive_failures }
}

/// The port to probe, from where the task is: the one inside of a network of its own.
fn port(app: &App, check: &HealthCheck, ports: &[u16]) -> Option<u16> {
    check.port.or_else(|| port_at(app, check.port_index.unwrap_or(0), ports))
}

/// The number of the `index`th port, from where the task is.
pub(super) fn port_at(app: &App, index: usize, ports: &[u16]) -> Option<u16> {
    if app.is_host_networked() {
        return ports.get(index).copied();
    }
    let mappings = app.port_mappings();
    let mapping = mappings.get(index)?;
    if mapping.container_port != 0 {
        return Some(mapping.container_port);
    }
    // The same as outside: its place among those that have a port outside.
    mapping.host_port?;
    let before = mappings[..index].iter().filter(|mapping| mapping.host_port.is_some()).count();
    ports.get(before).copied()
}
