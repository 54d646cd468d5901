//! Checks: probes whose results are only shown.

use marathon_core::app::App;
use proto::mesos::v1::{CheckInfo, CommandInfo, check_info};
use serde_json::Value;

use super::health::port_at;

/// The check of an app: its ports are named by number or by their place.
pub(super) fn of_app(given: &Value, app: &App, ports: &[u16]) -> Option<CheckInfo> {
    let number = |probe: Option<&Value>| {
        let whole = |name: &str| u16::try_from(probe?.get(name)?.as_u64()?).ok();
        whole("port").or_else(|| port_at(app, usize::from(whole("portIndex").unwrap_or(0)), ports))
    };
    check(given, &number)
}

/// A check; `port` says which one a probe is of.
pub(super) fn check(
    given: &Value,
    port: &dyn Fn(Option<&Value>) -> Option<u16>,
) -> Option<CheckInfo> {
    let seconds =
        |name: &str, default: f64| Some(given.get(name).and_then(Value::as_f64).unwrap_or(default));
    let mut wire = CheckInfo {
        delay_seconds: seconds("delaySeconds", 15.0),
        interval_seconds: seconds("intervalSeconds", 60.0),
        timeout_seconds: seconds("timeoutSeconds", 20.0),
        ..CheckInfo::default()
    };
    if let Some(http) = given.get("http") {
        wire.set_type(check_info::Type::Http);
        let path = http.get("path").and_then(Value::as_str).map(str::to_owned);
        wire.http = Some(check_info::Http { port: port(Some(http))?.into(), path });
    } else if let Some(tcp) = given.get("tcp") {
        wire.set_type(check_info::Type::Tcp);
        wire.tcp = Some(check_info::Tcp { port: port(Some(tcp))?.into() });
    } else {
        wire.set_type(check_info::Type::Command);
        let command = command(given.pointer("/exec/command")?)?;
        wire.command = Some(check_info::Command { command });
    }
    Some(wire)
}

fn command(given: &Value) -> Option<CommandInfo> {
    if let Some(shell) = given.get("shell").and_then(Value::as_str) {
        let value = Some(shell.to_owned());
        return Some(CommandInfo { shell: Some(true), value, ..CommandInfo::default() });
    }
    let words: Option<Vec<String>> =
        given.get("argv")?.as_array()?.iter().map(|it| it.as_str().map(str::to_owned)).collect();
    let arguments = words?;
    let value = arguments.first().cloned();
    Some(CommandInfo { shell: Some(false), value, arguments, ..CommandInfo::default() })
}
