//! Reading one container of a pod.

use super::{Variables, seconds};
use crate::app::parse::artifact;
use crate::app::parse::reader::Reader;
use crate::app::parse::shared;
use crate::app::pod::{
    Endpoint, Exec, Needs, PodCommand, PodContainer, PodHealthCheck, PodImage, Probe, VolumeMount,
};
use model::amount::Milli;
use std::time::Duration;

/// What names of containers, endpoints and volumes look like: they become parts of ids and of DNS names.
const NAME_RULE: &str = "must fully match regular expression '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$' and \
                         have at most 63 characters";

/// Names are parts of DNS names.
const NAME_BYTES_MAX: usize = 63;

/// A name that must be there.
pub(super) fn name(reader: &Reader<'_>, field: &str) -> String {
    let name = reader.required_text(field);
    if !name.is_empty() && !is_name(&name) {
        reader.wrong(field, NAME_RULE);
    }
    name
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && shared::is_name(text)
}

pub(super) fn container(reader: &Reader<'_>, is_host: bool) -> PodContainer {
    PodContainer {
        name: name(reader, "name"),
        exec: reader.object("exec").map(|exec| self::exec(&exec)),
        needs: needs(reader),
        resource_limits: reader.get("resourceLimits").cloned(),
        endpoints: reader.objects("endpoints").iter().map(|it| endpoint(it, is_host)).collect(),
        linux_info: reader.get("linuxInfo").cloned(),
        image: reader.object("image").map(|image| self::image(&image)),
        env: env(reader),
        user: reader.text("user"),
        health_check: reader.object("healthCheck").map(|check| health_check(&check)),
        check: reader.get("check").cloned(),
        mounts: reader.objects("volumeMounts").iter().map(mount).collect(),
        artifacts: reader.objects("artifacts").iter().map(artifact).collect(),
        labels: reader.labels("labels"),
        kill_grace: reader
            .object("lifecycle")
            .and_then(|lifecycle| seconds(&lifecycle, "killGracePeriodSeconds")),
        tty: reader.flag("tty"),
    }
}

fn needs(reader: &Reader<'_>) -> Needs {
    let Some(given) = reader.object("resources") else {
        reader.wrong("resources", "error.path.missing");
        return Needs::default();
    };
    let amount = |name, default| {
        let amount = given.amount(name).unwrap_or(default);
        if amount.is_nothing() {
            given.wrong(name, "got 0, expected more than 0");
        }
        amount
    };
    Needs {
        cpus: amount("cpus", Milli::units(1)),
        mem: amount("mem", Milli::units(128)),
        disk: given.amount("disk").unwrap_or_default(),
        gpus: given.count("gpus").unwrap_or(0),
    }
}

fn exec(reader: &Reader<'_>) -> Exec {
    let command = required_command(reader);
    Exec { command, override_entrypoint: reader.flag("overrideEntrypoint") }
}

/// The command that must be there.
pub(in crate::app::parse) fn required_command(reader: &Reader<'_>) -> PodCommand {
    if let Some(command) = reader.object("command") {
        return self::command(&command);
    }
    reader.wrong("command", "error.path.missing");
    PodCommand::Shell(String::new())
}

fn command(reader: &Reader<'_>) -> PodCommand {
    let argv = reader.texts("argv");
    match (reader.get("shell").is_some(), reader.get("argv").is_some()) {
        (true, false) => PodCommand::Shell(reader.required_text("shell")),
        (false, true) if !argv.is_empty() => PodCommand::Argv(argv),
        (false, true) => {
            reader.wrong("argv", "must not be empty");
            PodCommand::Argv(argv)
        }
        _ => {
            reader.wrong("", "must have either shell or argv");
            PodCommand::Shell(String::new())
        }
    }
}

fn endpoint(reader: &Reader<'_>, is_host: bool) -> Endpoint {
    let container_port = reader.port("containerPort");
    let host_port = reader.port("hostPort");
    if is_host {
        if container_port.is_some() {
            reader.wrong("containerPort", "is not allowed when using host-mode networking");
        }
        if host_port.is_none() {
            reader.wrong("hostPort", "is required when using host-mode networking");
        }
    } else if container_port.is_none_or(|port| port == 0) {
        reader.wrong("containerPort", "is required when using container-mode networking");
    }
    Endpoint {
        name: name(reader, "name"),
        container_port,
        host_port,
        protocol: protocol(reader),
        labels: reader.labels("labels"),
        network_names: reader.texts("networkNames"),
    }
}

fn protocol(reader: &Reader<'_>) -> Vec<String> {
    let given = reader.texts("protocol");
    let mut seen = std::collections::BTreeSet::new();
    for one in &given {
        if !matches!(&**one, "tcp" | "udp") {
            reader.wrong("protocol", "must be tcp, udp or both");
        } else if !seen.insert(one) {
            let error = "Duplicate protocols within the same endpoint are not allowed";
            reader.wrong("protocol", error);
        }
    }
    given
}

fn image(reader: &Reader<'_>) -> PodImage {
    if reader.required_text("kind") != "DOCKER" {
        reader.wrong("kind", "must be DOCKER");
    }
    PodImage {
        id: reader.required_text("id"),
        force_pull: reader.flag("forcePull"),
        pull_secret: reader.object("pullConfig").map(|config| config.required_text("secret")),
        labels: reader.labels("labels"),
    }
}

/// Variables of a pod or of a container. Unlike those of apps their names must be such that every
/// shell can read them.
pub(super) fn env(reader: &Reader<'_>) -> Variables {
    let Some(given) = reader.object("environment") else { return Variables::new() };
    for (name, _) in given.members() {
        let is_first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
        let fits = |b: u8| is_first(b) || b.is_ascii_digit();
        let is_good = name.bytes().next().is_some_and(is_first)
            && name.bytes().all(fits)
            && name.len() <= 255;
        if !is_good {
            given.wrong(name, "must fully match regular expression '^[a-zA-Z_][a-zA-Z0-9_]*$'");
        }
    }
    crate::app::parse::env(reader, "environment")
}

fn health_check(reader: &Reader<'_>) -> PodHealthCheck {
    let seconds = |name, default| Duration::from_secs(reader.whole(name).unwrap_or(default));
    PodHealthCheck {
        probe: probe(reader),
        grace_period: seconds("gracePeriodSeconds", 300),
        interval: seconds("intervalSeconds", 60),
        timeout: seconds("timeoutSeconds", 20),
        delay: seconds("delaySeconds", 15),
        max_consecutive_failures: reader.count("maxConsecutiveFailures").unwrap_or(3),
    }
}

/// The one of `http`, `tcp` and `exec` that a check has.
pub(super) fn probe(reader: &Reader<'_>) -> Probe {
    let kinds = ["http", "tcp", "exec"].map(|kind| reader.object(kind));
    if kinds.iter().flatten().count() != 1 {
        reader.wrong("", "must have exactly one of http, tcp, exec");
    }
    match kinds {
        [Some(http), ..] => {
            let scheme = http.text("scheme").unwrap_or_else(|| "HTTP".to_owned());
            if !matches!(&*scheme, "HTTP" | "HTTPS") {
                http.wrong("scheme", "must be one of HTTP, HTTPS");
            }
            Probe::Http {
                endpoint: http.required_text("endpoint"),
                path: http.text("path"),
                is_https: scheme == "HTTPS",
            }
        }
        [None, Some(tcp), _] => Probe::Tcp { endpoint: tcp.required_text("endpoint") },
        [None, None, Some(exec)] => Probe::Command(required_command(&exec)),
        [None, None, None] => Probe::Command(PodCommand::Shell(String::new())),
    }
}

fn mount(reader: &Reader<'_>) -> VolumeMount {
    VolumeMount {
        name: reader.required_text("name"),
        path: reader.required_text("mountPath"),
        read_only: reader.flag("readOnly"),
    }
}
