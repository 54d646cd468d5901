//! Reading `healthChecks` and `readinessChecks`.

use super::reader::Reader;
use crate::app::{HealthCheck, HealthProtocol};
use serde_json::{Value, json};
use std::time::Duration;

/// The health checks, with what the kind of each demands. They are a set: what is said twice is made once.
pub(super) fn checks(reader: &Reader<'_>) -> Vec<HealthCheck> {
    let mut all = Vec::new();
    for check in reader.objects("healthChecks").iter().map(check) {
        if !all.contains(&check) {
            all.push(check);
        }
    }
    all
}

fn check(reader: &Reader<'_>) -> HealthCheck {
    let protocol = reader.text("protocol").unwrap_or_else(|| "HTTP".to_owned());
    let known = HealthProtocol::ALL.into_iter().find(|known| known.name() == protocol);
    if known.is_none() {
        let known = HealthProtocol::ALL.map(HealthProtocol::name).join(", ");
        reader.wrong("protocol", format!("must be one of {known}"));
    }
    let protocol = known.unwrap_or(HealthProtocol::Http);
    let command = reader.object("command").map(|command| command.required_text("value"));
    let is_command = protocol == HealthProtocol::Command;
    if is_command != command.is_some() {
        let error = if is_command {
            "COMMAND health checks need a command"
        } else {
            "may only be given for protocol COMMAND"
        };
        reader.wrong("command", error);
    }
    let port = reader.port("port");
    let index = reader.port("portIndex").map(usize::from);
    if port.is_some() && index.is_some() {
        reader.wrong("port", "must not be given together with portIndex");
    }
    let seconds = |name, default| Duration::from_secs(reader.whole(name).unwrap_or(default));
    let ip_protocol = reader.text("ipProtocol").unwrap_or_else(|| "IPv4".to_owned());
    if !matches!(&*ip_protocol, "IPv4" | "IPv6") {
        reader.wrong("ipProtocol", "must be one of IPv4, IPv6");
    }
    HealthCheck {
        protocol,
        path: reader.text("path"),
        port_index: if is_command || port.is_some() { None } else { Some(index.unwrap_or(0)) },
        port,
        command,
        grace_period: seconds("gracePeriodSeconds", 300),
        interval: seconds("intervalSeconds", 60),
        timeout: seconds("timeoutSeconds", 20),
        delay: seconds("delaySeconds", HealthCheck::DELAY.as_secs()),
        max_consecutive_failures: reader.count("maxConsecutiveFailures").unwrap_or(3),
        ignore_http_1xx: reader.flag("ignoreHttp1xx"),
        ip_protocol,
    }
}

/// A readiness check with its defaults filled in.
pub(super) fn readiness_check(reader: &Reader<'_>) -> Value {
    let text = |name, default: &str| reader.text(name).unwrap_or_else(|| default.to_owned());
    let interval = reader.whole("intervalSeconds").unwrap_or(30);
    let timeout = reader.whole("timeoutSeconds").unwrap_or(10);
    if timeout >= interval {
        reader.wrong("timeoutSeconds", "must be less than intervalSeconds");
    }
    let protocol = text("protocol", "HTTP");
    if !matches!(&*protocol, "HTTP" | "HTTPS") {
        reader.wrong("protocol", "must be one of HTTP, HTTPS");
    }
    let codes = match reader.list("httpStatusCodesForReady") {
        [] => vec![json!(200)],
        given => given.to_vec(),
    };
    json!({
        "name": text("name", "readinessCheck"),
        "protocol": protocol,
        "path": text("path", "/"),
        "portName": text("portName", "http-api"),
        "intervalSeconds": interval,
        "timeoutSeconds": timeout,
        "httpStatusCodesForReady": codes,
        "preserveLastResponse": reader.flag("preserveLastResponse").unwrap_or(false),
    })
}
