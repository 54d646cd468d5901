//! Readiness: while an app is deployed, its new instances count only once they say they are ready.
//!
//! Each is asked from when it runs until it is ready, and then never again. Outside of deployments nobody is
//! asked. A new leader goes on with those that were not ready.

use super::{Due, Marathon};
use crate::app::App;
use crate::ids::InstanceId;
use crate::instance::{Condition, Instance};
use crate::io::{Output, Probe, Response};
use model::ids::TaskId;
use model::step::Now;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Begins to ask `instance`, if it has just come to run in a deployment that wants to know.
pub(super) fn begin(marathon: &mut Marathon, instance: &mut Instance, now: Now) {
    let is_deployed = marathon.books.locks.contains_key(&instance.app.id);
    let present = marathon.books.tree.apps.get(&instance.app.id);
    let is_new = present.is_some_and(|app| instance.is_current(app));
    if instance.condition != Condition::Running || !is_deployed || !is_new {
        return;
    }
    if instance.app.readiness_checks.is_empty() {
        return;
    }
    let Some(task) = instance.task.as_mut().filter(|task| task.is_ready.is_none()) else { return };
    task.is_ready = Some(false);
    marathon.wake_at(now.time, Due::Probe(instance.id.clone(), instance.incarnation));
}

/// Asks on what was not ready when the leader before was last heard of, be it of an older definition that is taken
/// back; and what the leader before has not asked at all.
pub(super) fn begin_all(marathon: &mut Marathon, now: Now) {
    for instance in marathon.all_instances(|it| it.condition == Condition::Running) {
        if instance.task.as_ref().is_some_and(|task| task.is_ready == Some(false)) {
            marathon.wake_at(now.time, Due::Probe(instance.id.clone(), instance.incarnation));
            continue;
        }
        let mut changed = (*instance).clone();
        begin(marathon, &mut changed, now);
        if changed != *instance {
            marathon.put_instance(changed, now);
        }
    }
}

/// An instance is to be asked whether it is ready.
pub(super) fn due(marathon: &mut Marathon, id: &InstanceId, incarnation: u64, now: Now) {
    let Some(instance) = marathon.instance(id).cloned() else { return };
    let task = instance.task.as_ref().filter(|_| instance.incarnation == incarnation);
    let Some(task) = task.filter(|task| task.is_ready == Some(false)) else { return };
    if instance.condition != Condition::Running {
        return;
    }
    if !marathon.books.locks.contains_key(&instance.app.id) {
        // The deployment is over; nobody wants to know any more.
        forget(marathon, &instance, now);
        return;
    }
    let Some(check) = instance.app.readiness_checks.first() else { return };
    let seconds = |name: &str| check.get(name).and_then(Value::as_u64).map(Duration::from_secs);
    if let Some(url) = url(&instance, check) {
        let timeout = seconds("timeoutSeconds").unwrap_or(Duration::from_secs(10));
        let keeps_response = check.get("preserveLastResponse") == Some(&Value::Bool(true));
        let task = task.id.clone();
        marathon.outbox.push(Output::Probe(Probe { task, url, timeout, keeps_response }));
    }
    let interval = seconds("intervalSeconds").unwrap_or(Duration::from_secs(30));
    marathon.wake_at(now.time + interval, Due::Probe(id.clone(), incarnation));
}

/// Where `instance` is asked; absent if it has no such port, or no address yet.
fn url(instance: &Instance, check: &Value) -> Option<String> {
    let text = |name: &str| check.get(name).and_then(Value::as_str);
    let task = instance.task.as_ref()?;
    let name = text("portName")?;
    let (host, port) = if let Some(port) = inner_port(&instance.app, name) {
        (in_url(task.addresses.first()?), port)
    } else {
        let port = *task.ports.get(port_index(&instance.app, name)?)?;
        (task.place.host.to_string(), port)
    };
    let scheme = if text("protocol") == Some("HTTPS") { "https" } else { "http" };
    Some(format!("{scheme}://{host}:{port}{}", text("path").unwrap_or("/")))
}

/// The port of this name, if it is only at the container's own address.
fn inner_port(app: &App, name: &str) -> Option<u16> {
    let mapping = app.port_mappings().iter().find(|it| it.name.as_deref() == Some(name))?;
    let is_inner = mapping.host_port.is_none() && mapping.container_port != 0;
    is_inner.then_some(mapping.container_port)
}

/// An address as it stands in a URL.
fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Which of the host ports of `app` has this name.
fn port_index(app: &App, name: &str) -> Option<usize> {
    if app.is_host_networked() {
        return app.port_definitions.iter().position(|it| it.name.as_deref() == Some(name));
    }
    let exposed = app.port_mappings().iter().filter(|mapping| mapping.host_port.is_some());
    exposed.into_iter().position(|mapping| mapping.name.as_deref() == Some(name))
}

/// A task was asked and answered with this status, or not at all.
pub(super) fn probed(
    marathon: &mut Marathon,
    task: &TaskId,
    status: Option<u16>,
    response: Option<Arc<Response>>,
    now: Now,
) {
    let instance =
        InstanceId::of_task(task.as_str()).and_then(|id| marathon.instance(&id).cloned());
    let is_it = |it: &Arc<Instance>| {
        it.task.as_ref().is_some_and(|it| it.id == *task && it.is_ready == Some(false))
    };
    let (Some(instance), Some(status)) = (instance.filter(is_it), status) else { return };
    let check = instance.app.readiness_checks.first();
    let good = check.and_then(|check| check.get("httpStatusCodesForReady")?.as_array());
    let is_good =
        good.is_some_and(|good| good.iter().any(|code| code.as_u64() == Some(u64::from(status))));
    let mut changed = (*instance).clone();
    if let Some(task) = changed.task.as_mut() {
        task.is_ready = Some(is_good);
        task.last_response = response;
    }
    if changed != *instance {
        marathon.put_instance(changed, now);
    }
}

/// `instance` is asked no more.
fn forget(marathon: &mut Marathon, instance: &Instance, now: Now) {
    let mut changed = instance.clone();
    if let Some(task) = changed.task.as_mut() {
        task.is_ready = None;
        task.last_response = None;
    }
    marathon.put_instance(changed, now);
}
