//! The variables a task sees.

use crate::app::App;
use crate::app::pod::{Pod, PodContainer};
use crate::app::render;
use crate::clock;
use crate::io::Launch;
use model::ids::TaskId;
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest label, name or value, that becomes a variable: longer ones are metadata, not settings.
const LABEL_BYTES_MAX: usize = 511;

/// Every variable of task `task` of `app` on `host` with `ports`. What the app sets itself wins.
///
/// Variables whose value is a secret are left out; resolving them is not decided here.
pub fn environment(
    app: &App,
    task: &TaskId,
    host: &str,
    ports: &[u16],
    is_role_enforced: bool,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        env.insert(name.to_owned(), value);
    };
    set("MESOS_TASK_ID", task.to_string());
    set("MARATHON_APP_ID", app.id.to_string());
    set("MARATHON_APP_VERSION", clock::format(app.version));
    set("MARATHON_APP_RESOURCE_CPUS", as_double(&render::amount(app.cpus)));
    set("MARATHON_APP_RESOURCE_MEM", as_double(&render::amount(app.mem)));
    set("MARATHON_APP_RESOURCE_DISK", as_double(&render::amount(app.disk)));
    set("MARATHON_APP_RESOURCE_GPUS", app.gpus.to_string());
    set("MARATHON_APP_ENFORCE_GROUP_ROLE", is_role_enforced.to_string());
    set("HOST", host.to_owned());
    let docker = app.container.as_ref().and_then(|container| container.docker.as_ref());
    if let Some(docker) = docker {
        set("MARATHON_APP_DOCKER_IMAGE", docker.image.clone());
    }
    env.extend(label_variables("APP", &app.labels));
    env.extend(port_variables(app, ports));
    for (name, value) in &app.env {
        if let Value::String(value) = value {
            env.insert(name.clone(), value.clone());
        }
    }
    env
}

/// Every variable of the task of one container of a pod. What the container sets itself wins, then
/// what the pod sets.
pub fn container_environment(
    launch: &Launch,
    pod: &Pod,
    container: &PodContainer,
    task: &TaskId,
) -> BTreeMap<String, String> {
    let app = &*launch.app;
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        env.insert(name.to_owned(), value);
    };
    set("MESOS_TASK_ID", task.to_string());
    set("MARATHON_APP_ID", app.id.to_string());
    set("MARATHON_APP_VERSION", clock::format(app.version));
    set("MARATHON_APP_ENFORCE_GROUP_ROLE", launch.is_role_enforced.to_string());
    set("MARATHON_CONTAINER_ID", container.name.clone());
    for (name, amount) in container.needs.named() {
        let value = render::amount(amount);
        let value = if name == "gpus" { value.to_string() } else { as_double(&value) };
        set(&format!("MARATHON_APP_RESOURCE_{}", name.to_uppercase()), value.clone());
        set(&format!("MARATHON_CONTAINER_RESOURCE_{}", name.to_uppercase()), value);
    }
    set("HOST", launch.host.to_string());
    if let Some(image) = &container.image {
        set("MARATHON_APP_DOCKER_IMAGE", image.id.clone());
    }
    env.extend(label_variables("APP", &app.labels));
    env.extend(label_variables("CONTAINER", &container.labels));
    // Every container can reach every endpoint: they share one network.
    for (_, endpoint, host) in pod.given_ports(&launch.ports) {
        if let Some(port) = host.or(endpoint.container_port) {
            env.insert(format!("ENDPOINT_{}", sanitised(&endpoint.name)), port.to_string());
        }
    }
    for (name, value) in app.env.iter().chain(&container.env) {
        // What is secret takes the place of what is not.
        env.remove(name);
        if let Some(value) = value.as_str() {
            env.insert(name.clone(), value.to_owned());
        }
    }
    env
}

fn as_double(number: &Value) -> String {
    if number.is_i64() { format!("{number}.0") } else { number.to_string() }
}

/// Labels of what is called so: an app, or a container of one.
fn label_variables(of: &str, labels: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let short = labels
        .iter()
        .filter(|(name, value)| name.len() <= LABEL_BYTES_MAX && value.len() <= LABEL_BYTES_MAX);
    let labels: Vec<_> = short.map(|(name, value)| (sanitised(name), value.clone())).collect();
    let names: Vec<_> = labels.iter().map(|(name, _)| name.as_str()).collect();
    let mut variables = vec![(format!("MARATHON_{of}_LABELS"), names.join(" "))];
    variables.extend(
        labels.iter().map(|(name, value)| (format!("MARATHON_{of}_LABEL_{name}"), value.clone())),
    );
    variables
}

/// One port of an app, as the variables are keyed by it.
struct Port<'a> {
    asked: u16,
    given: u16,
    name: Option<&'a str>,
}

fn port_variables(app: &App, ports: &[u16]) -> Vec<(String, String)> {
    let mut given = ports.iter().copied();
    let all: Vec<Port<'_>> = if app.is_host_networked() {
        app.port_definitions
            .iter()
            .zip(given)
            .map(|(port, given)| Port { asked: port.port, given, name: port.name.as_deref() })
            .collect()
    } else {
        let mapping = |port: &crate::app::PortMapping| {
            let host = port.host_port.and_then(|_| given.next());
            let asked = if port.container_port == 0 { host? } else { port.container_port };
            Some((asked, host.unwrap_or(asked)))
        };
        let numbers: Vec<_> = app.port_mappings().iter().map(mapping).collect();
        app.port_mappings()
            .iter()
            .zip(numbers)
            .filter_map(|(port, numbers)| {
                let (asked, given) = numbers?;
                Some(Port { asked, given, name: port.name.as_deref() })
            })
            .collect()
    };
    let mut variables = Vec::new();
    let Some(first) = all.first() else { return variables };
    variables.push(("PORT".to_owned(), first.given.to_string()));
    let list: Vec<_> = all.iter().map(|port| port.given.to_string()).collect();
    variables.push(("PORTS".to_owned(), list.join(",")));
    for (index, port) in all.iter().enumerate() {
        variables.push((format!("PORT{index}"), port.given.to_string()));
        if port.asked != 0 {
            variables.push((format!("PORT_{}", port.asked), port.given.to_string()));
        }
        if let Some(name) = port.name {
            variables.push((format!("PORT_{}", sanitised(name)), port.given.to_string()));
        }
    }
    variables
}

/// Upper case, with `_` for what a variable name cannot have.
fn sanitised(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(fit).collect()
}
