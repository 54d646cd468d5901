//! Reading pods: from clients and from the store.

mod container;
mod rules;

pub(super) use container::required_command;

use super::{
    Defaults, Invalid, KEPT_OF_PODS, constraints_of, networks, shape, time, unreachable_strategy,
    version_info,
};
use super::{kill_selection, part};
use crate::app::parse::reader::{Errors, Reader};
use crate::app::pod::{Needs, Pod, PodVolume, VolumeSource};
use crate::app::{App, Millionths, NetworkMode, UnreachableStrategy, UpgradeStrategy};
use crate::ids::AppId;
use model::amount::Milli;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the sandbox of an executor has anyway. A persistent volume is there by its name.
const IN_EVERY_SANDBOX: [&str; 3] = ["containers", "stderr", "stdout"];

/// The id in the body of a pod; absent when there is none.
pub fn pod_id(body: &Value) -> Option<Result<AppId, Invalid>> {
    match body.get("id")? {
        Value::String(text) => {
            Some(AppId::parse_app(text).map_err(|bad| Invalid::one("/id", bad.to_string())))
        }
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(Err(Invalid::wrong_type("/id", "error.expected.jsstring")))
        }
    }
}

/// A new or wholly replaced pod.
pub fn whole_pod(id: &AppId, body: &Value, defaults: &Defaults) -> Result<App, Invalid> {
    let Value::Object(mut fields) = super::without_nulls(body.clone()) else {
        return Err(Invalid::wrong_type("", "error.expected.jsobject"));
    };
    // What only the server says.
    fields.remove("version");
    fields.remove("versionInfo");
    pod(id, &fields, defaults)
}

fn pod(id: &AppId, fields: &Map<String, Value>, defaults: &Defaults) -> Result<App, Invalid> {
    let errors = Errors::default();
    let reader = Reader::new(fields, &shape::POD, &errors);
    let app = read(id, &reader, defaults);
    rules::check(&app, &reader, defaults);
    errors.found().or(app)
}

/// A pod as it stands there, not judged as a whole.
pub(super) fn read(id: &AppId, reader: &Reader<'_>, defaults: &Defaults) -> App {
    let networks = networks(reader, defaults);
    let is_host = networks.iter().any(|network| network.mode == NetworkMode::Host);
    let containers = reader.objects("containers");
    let pod = Pod {
        containers: containers.iter().map(|it| container::container(it, is_host)).collect(),
        volumes: reader.objects("volumes").iter().map(volume).collect(),
        executor: executor(reader),
        linux_info: reader.get("linuxInfo").cloned(),
        legacy_shared_cgroups: reader.flag("legacySharedCgroups"),
    };
    let needs = pod.needs();
    let is_persistent = |it: &PodVolume| matches!(it.source, VolumeSource::Persistent(_));
    let is_resident = pod.volumes.iter().any(is_persistent);
    let (healthy_min, over_max) = if is_resident { (500_000, 0) } else { (1_000_000, 1_000_000) };
    let scheduling = reader.object("scheduling");
    let backoff = scheduling.as_ref().and_then(|it| it.object("backoff"));
    let upgrade = scheduling.as_ref().and_then(|it| it.object("upgrade"));
    let placement = scheduling.as_ref().and_then(|it| it.object("placement"));
    let delay = |name, default| {
        let given = backoff.as_ref().and_then(|it| seconds(it, name));
        given.unwrap_or(Duration::from_secs(default))
    };
    App {
        id: id.clone(),
        cmd: None,
        args: Vec::new(),
        user: reader.text("user"),
        env: container::env(reader),
        instances: instances(reader),
        cpus: needs.cpus,
        mem: needs.mem,
        disk: needs.disk,
        gpus: needs.gpus,
        executor: String::new(),
        executor_needs: None,
        constraints: placement.as_ref().map(constraints).unwrap_or_default(),
        fetch: Vec::new(),
        container: None,
        networks,
        port_definitions: Vec::new(),
        require_ports: false,
        backoff: delay("backoff", 1),
        backoff_factor: backoff
            .as_ref()
            .and_then(|it| it.millionths("backoffFactor", 0, u64::MAX))
            .unwrap_or(Millionths(1_150_000)),
        max_launch_delay: delay("maxLaunchDelay", 300),
        health_checks: Vec::new(),
        readiness_checks: Vec::new(),
        dependencies: Vec::new(),
        labels: reader.labels("labels"),
        upgrade_strategy: UpgradeStrategy {
            minimum_health_capacity: part(upgrade.as_ref(), "minimumHealthCapacity", healthy_min),
            maximum_over_capacity: part(upgrade.as_ref(), "maximumOverCapacity", over_max),
        },
        kill_selection: scheduling.as_ref().map(kill_selection).unwrap_or_default(),
        unreachable_strategy: match &scheduling {
            Some(given) => unreachable_strategy(given, is_resident),
            None if is_resident => UnreachableStrategy::Disabled,
            None => UnreachableStrategy::default(),
        },
        kill_grace: None,
        accepted_resource_roles: placement
            .as_ref()
            .map(|it| it.texts("acceptedResourceRoles"))
            .unwrap_or_default(),
        role: reader.text("role"),
        extra: KEPT_OF_PODS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), reader.get(name)?.clone())))
            .collect(),
        version: time(reader, "version"),
        version_info: version_info(reader),
        pod: Some(Box::new(pod)),
    }
}

/// Seconds that may have a fraction, kept to milliseconds.
fn seconds(reader: &Reader<'_>, name: &str) -> Option<Duration> {
    let millis = u64::try_from(reader.amount(name)?.0).ok()?;
    Some(Duration::from_millis(millis))
}

fn instances(reader: &Reader<'_>) -> u32 {
    let Some(scaling) = reader.object("scaling") else { return 1 };
    if scaling.text("kind").is_some_and(|kind| kind != "fixed") {
        scaling.wrong("kind", "must be fixed");
    }
    scaling.count("instances").unwrap_or(1)
}

/// Constraints of pods are objects.
fn constraints(placement: &Reader<'_>) -> Vec<crate::app::Constraint> {
    let mut lists = Vec::new();
    for entry in placement.objects("constraints") {
        let mut parts = vec![entry.required_text("fieldName"), entry.required_text("operator")];
        parts.extend(entry.text("value"));
        lists.push(parts);
    }
    constraints_of(placement, lists)
}

fn executor(reader: &Reader<'_>) -> Needs {
    match reader.object("executorResources") {
        Some(given) => executor_needs(&given),
        None => Needs::EXECUTOR,
    }
}

/// What is said of an executor; each part is no less than what an executor needs to run at all.
pub(super) fn executor_needs(given: &Reader<'_>) -> Needs {
    let at_least = |name, least: Milli| {
        let amount = given.amount(name).unwrap_or(least);
        if amount < least {
            given.wrong(name, format!("got {amount}, expected {least} or more"));
        }
        amount
    };
    let Needs { cpus, mem, disk, .. } = Needs::EXECUTOR;
    Needs {
        cpus: at_least("cpus", cpus),
        mem: at_least("mem", mem),
        disk: at_least("disk", disk),
        gpus: 0,
    }
}

fn volume(reader: &Reader<'_>) -> PodVolume {
    let text = |name: &str| reader.get(name).map(|_| reader.required_text(name));
    let (host, secret, persistent) = (text("host"), text("secret"), reader.object("persistent"));
    let is_more = [host.is_some(), secret.is_some(), persistent.is_some()];
    if is_more.iter().filter(|it| **it).count() > 1 {
        reader.wrong("", "must be one of ephemeral, host, persistent, secret");
    }
    let name = container::name(reader, "name");
    if let Some(given) = &persistent {
        super::container::disk(given);
        if IN_EVERY_SANDBOX.contains(&&*name) {
            let error = format!("'{name}' is something else in every sandbox; choose another name");
            reader.wrong("name", error);
        }
    }
    let source = match (host, secret, reader.get("persistent")) {
        (Some(path), ..) => VolumeSource::Host(path),
        (None, Some(name), _) => VolumeSource::Secret(name),
        (None, None, Some(given)) => VolumeSource::Persistent(given.clone()),
        (None, None, None) => VolumeSource::Ephemeral,
    };
    PodVolume { name, source }
}

/// Variables, for the environment of pods and their containers.
pub(super) type Variables = BTreeMap<String, Value>;
