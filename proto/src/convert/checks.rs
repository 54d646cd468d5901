//! The parts of a task that nothing here needs to understand, but whose mistakes are told at launch
//! and not when it is too late.

use model::task::HEALTH_CHECKS_MAX;

use super::{Malformed, duration, task::within};
use crate::mesos::v1::environment::variable::Type as VariableType;
use crate::mesos::v1::{self, CheckInfo, CommandInfo, ContainerInfo, HealthCheck};
use crate::mesos::v1::{check_info, container_info, health_check, volume};

type Checked = Result<(), Malformed>;

fn refuse(text: impl Into<String>) -> Checked {
    Err(Malformed::new(text))
}

/// A length of time that may not be negative.
pub(super) fn non_negative(wire: Option<&v1::DurationInfo>, field: &str) -> Checked {
    match wire {
        Some(wire) if duration(wire).is_none() => refuse(format!("'{field}' must be non-negative")),
        Some(_) | None => Ok(()),
    }
}

fn seconds(value: Option<f64>, field: &str) -> Checked {
    match value {
        Some(secs) if secs.is_nan() || secs < 0.0 => {
            refuse(format!("Expecting '{field}' to be non-negative"))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn command(command: &CommandInfo) -> Checked {
    for variable in command.environment.iter().flat_map(|all| &all.variables) {
        let name = &variable.name;
        match variable.r#type() {
            VariableType::Value if variable.value.is_none() => {
                return refuse(format!(
                    "Environment variable '{name}' of type 'VALUE' must have a value set"
                ));
            }
            VariableType::Secret if variable.secret.is_none() => {
                return refuse(format!(
                    "Environment variable '{name}' of type 'SECRET' must have a secret set"
                ));
            }
            VariableType::Unknown => {
                return refuse(format!("Environment variable '{name}' has an unknown type"));
            }
            VariableType::Value | VariableType::Secret => {}
        }
    }
    Ok(())
}

/// A health check with those that are made besides.
pub(super) fn health_check(check: &HealthCheck) -> Checked {
    if check.additional_checks.len() >= HEALTH_CHECKS_MAX {
        return refuse(format!("A task may have at most {HEALTH_CHECKS_MAX} health checks"));
    }
    one_health_check(check)?;
    for (place, each) in check.additional_checks.iter().enumerate() {
        if !each.additional_checks.is_empty() {
            return refuse("'additional_checks' must not have any themselves");
        }
        within(&format!("'additional_checks' has at {place}"), one_health_check(each))?;
    }
    Ok(())
}

fn one_health_check(check: &HealthCheck) -> Checked {
    seconds(check.delay_seconds, "delay_seconds")?;
    seconds(check.interval_seconds, "interval_seconds")?;
    seconds(check.timeout_seconds, "timeout_seconds")?;
    seconds(check.grace_period_seconds, "grace_period_seconds")?;
    match check.r#type() {
        health_check::Type::Command => match &check.command {
            Some(it) => command(it),
            None => refuse("Expecting 'command' to be set for COMMAND health check"),
        },
        health_check::Type::Http => match &check.http {
            Some(http) => http_check(http),
            None => refuse("Expecting 'http' to be set for HTTP health check"),
        },
        health_check::Type::Tcp if check.tcp.is_none() => {
            refuse("Expecting 'tcp' to be set for TCP health check")
        }
        health_check::Type::Tcp => Ok(()),
        health_check::Type::Unknown => refuse("HealthCheck must specify 'type'"),
    }
}

fn http_check(http: &health_check::HttpCheckInfo) -> Checked {
    if let Some(scheme) = &http.scheme
        && scheme != "http"
        && scheme != "https"
    {
        return refuse(format!("Unsupported HTTP health check scheme: '{scheme}'"));
    }
    path(http.path.as_deref())
}

fn path(path: Option<&str>) -> Checked {
    match path {
        Some(path) if !path.starts_with('/') => {
            refuse(format!("The path '{path}' of HTTP health check must start with '/'"))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check(check: &CheckInfo) -> Checked {
    seconds(check.delay_seconds, "delay_seconds")?;
    seconds(check.interval_seconds, "interval_seconds")?;
    seconds(check.timeout_seconds, "timeout_seconds")?;
    match check.r#type() {
        check_info::Type::Command => match &check.command {
            Some(it) => command(&it.command),
            None => refuse("Expecting 'command' to be set for COMMAND check"),
        },
        check_info::Type::Http => match &check.http {
            Some(http) => path(http.path.as_deref()),
            None => refuse("Expecting 'http' to be set for HTTP check"),
        },
        check_info::Type::Tcp if check.tcp.is_none() => {
            refuse("Expecting 'tcp' to be set for TCP check")
        }
        check_info::Type::Tcp => Ok(()),
        check_info::Type::Unknown => refuse("CheckInfo must specify 'type'"),
    }
}

pub(super) fn container(container: &ContainerInfo) -> Checked {
    for volume in &container.volumes {
        let sources = [volume.host_path.is_some(), volume.image.is_some(), volume.source.is_some()];
        if sources.into_iter().filter(|is_set| *is_set).count() != 1 {
            return refuse(format!(
                "Expecting exactly one of 'host_path', 'image' and 'source' for volume '{}'",
                volume.container_path
            ));
        }
        if let Some(source) = &volume.source {
            volume_source(source)?;
        }
    }
    if container.r#type() != container_info::Type::Docker {
        return Ok(());
    }
    let Some(docker) = &container.docker else {
        return refuse("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo");
    };
    if docker.parameters.iter().any(|parameter| parameter.key == "name") {
        return refuse("Parameter in DockerInfo must not be 'name'");
    }
    Ok(())
}

fn volume_source(source: &volume::Source) -> Checked {
    use volume::source::Type;
    let (name, is_set) = match source.r#type() {
        Type::DockerVolume => ("docker_volume", source.docker_volume.is_some()),
        Type::HostPath => ("host_path", source.host_path.is_some()),
        Type::SandboxPath => ("sandbox_path", source.sandbox_path.is_some()),
        Type::Secret => ("secret", source.secret.is_some()),
        Type::CsiVolume => ("csi_volume", source.csi_volume.is_some()),
        Type::Unknown => return refuse("'source.type' of a volume is unknown"),
    };
    if is_set { Ok(()) } else { refuse(format!("'source.{name}' is not set for its volume")) }
}
