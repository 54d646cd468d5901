//! Rules that hold for apps and for containers of pods alike.

use super::reader::Reader;
use crate::app::pod::Needs;
use model::amount::Milli;
use serde_json::Value;
use std::collections::BTreeMap;

/// `resourceLimits`: of CPUs and memory, each at least what is asked for, or `unlimited`.
pub(super) fn resource_limits(reader: &Reader<'_>, needs: Needs) {
    let Some(limits) = reader.object("resourceLimits") else { return };
    for (name, least) in [("cpus", needs.cpus), ("mem", needs.mem)] {
        let is_enough = match limits.get(name) {
            None => true,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("unlimited"),
            Some(Value::Number(limit)) => {
                let limit = limit.as_f64().and_then(Milli::from_f64);
                limit.is_some_and(|limit| limit >= least)
            }
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                limits.malformed(name, "error.expected.jsnumber");
                continue;
            }
        };
        if !is_enough {
            limits.wrong(
                name,
                format!("must be 'unlimited', or {least} (what is asked for) or more"),
            );
        }
    }
}

/// `linuxInfo`: one way of filtering system calls, and shared memory of its own only with a size.
pub(super) fn linux_info(reader: &Reader<'_>) {
    let Some(info) = reader.object("linuxInfo") else { return };
    if let Some(seccomp) = info.object("seccomp") {
        let has_profile = seccomp.text("profileName").is_some();
        let is_unconfined = seccomp.flag("unconfined").unwrap_or(false);
        if has_profile == is_unconfined {
            let error = "must have either a profileName or unconfined=true";
            info.wrong("seccomp", error);
        }
    }
    if let Some(ipc) = info.object("ipcInfo") {
        let mode = ipc.required_text("mode");
        if !matches!(&*mode, "PRIVATE" | "SHARE_PARENT") {
            ipc.wrong("mode", "must be one of PRIVATE, SHARE_PARENT");
        }
        if ipc.whole("shmSize").is_some() && mode != "PRIVATE" {
            ipc.wrong("shmSize", "may only be given with mode PRIVATE");
        }
    }
}

/// Names of secrets in variables, each with where it stands.
pub(super) fn secrets_of_env(env: &BTreeMap<String, Value>, at: &str) -> Vec<(String, String)> {
    let names = env.iter().filter_map(|(name, value)| {
        Some((format!("{at}/{name}"), value.get("secret")?.as_str()?.to_owned()))
    });
    names.collect()
}

/// `secrets`: each says where its value is kept, and `used` are all in it.
pub(super) fn secrets(reader: &Reader<'_>, used: &[(String, String)]) {
    let secrets = reader.object("secrets");
    for (name, _) in secrets.iter().flat_map(Reader::members) {
        if let Some(secret) = secrets.as_ref().and_then(|it| it.object(name)) {
            secret.required_text("source");
        }
    }
    for (at, name) in used {
        if secrets.as_ref().is_none_or(|it| it.get(name).is_none()) {
            reader.wrong(at, format!("references an undefined secret named '{name}'"));
        }
    }
}

/// The longest a path or an address may be.
const TEXT_BYTES_MAX: usize = 1024;

/// What is brought into a sandbox: from somewhere, to somewhere.
pub(super) fn artifacts(reader: &Reader<'_>, name: &str) {
    for artifact in reader.objects(name) {
        artifact.full_text("destPath");
        for name in ["uri", "destPath"] {
            not_long(&artifact, name);
        }
    }
}

/// A text is not longer than paths and addresses may be.
pub(super) fn not_long(reader: &Reader<'_>, name: &str) {
    let text = reader.get(name).and_then(Value::as_str).unwrap_or_default();
    if text.len() > TEXT_BYTES_MAX {
        reader.wrong(name, format!("must not be longer than {TEXT_BYTES_MAX}"));
    }
}

/// How often a check is made, and how long it may take.
pub(super) fn times(check: &Reader<'_>) {
    for name in ["intervalSeconds", "timeoutSeconds", "delaySeconds"] {
        check.whole(name);
    }
}

/// What is asked for by HTTP, and how.
pub(super) fn http(probe: &Reader<'_>) {
    probe.full_text("path");
    not_long(probe, "path");
    let scheme = probe.text("scheme");
    if scheme.is_some_and(|scheme| !matches!(&*scheme, "HTTP" | "HTTPS")) {
        probe.wrong("scheme", "must be one of HTTP, HTTPS");
    }
}

/// Whether a port may be named so: names become parts of those of DNS and of variables.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}
