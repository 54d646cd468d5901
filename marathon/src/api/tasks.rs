//! `/v2/tasks`.

use std::fmt::Write;

use axum::http::{Method, StatusCode};
use marathon_core::app::{Network, NetworkMode};
use marathon_core::ids::AppId;
use marathon_core::instance::Condition;
use marathon_core::io::{Command, KillHow};
use marathon_core::view::{TaskFilter, View};
use serde_json::json as object;
use transport::http::accepts;

use super::Call;
use super::reply::{self, Refused, Reply, refuse};

pub(super) async fn route(call: &Call<'_>, rest: &[&str]) -> Reply {
    match rest {
        [] => {
            call.only(&[Method::GET])?;
            // JSON wins wherever the client takes it.
            if !accepts(&call.parts.headers, "application/json")
                && accepts(&call.parts.headers, "text/plain")
            {
                let networks: Vec<_> =
                    call.query.all("containerNetworks").flat_map(|it| it.split(',')).collect();
                return reply::text(table(&call.view, &networks));
            }
            let status = call.query.all("status").chain(call.query.all("status[]"));
            let wanted: Vec<_> = status.filter_map(TaskFilter::parse).collect();
            let page = call.page()?;
            call.read(move |view| {
                let tasks: Vec<_> = page.of(view.tasks(&wanted)).collect();
                object!({"tasks": tasks}).to_string()
            })
            .await
        }
        ["delete"] => {
            call.only(&[Method::POST])?;
            let how = kill_how(call)?;
            call.ask(Command::KillTasks { body: call.json()?, how }).await
        }
        _ => refuse(StatusCode::NOT_FOUND, "URI not found"),
    }
}

/// How the parameters want tasks killed.
pub(super) fn kill_how(call: &Call<'_>) -> Result<KillHow, Refused> {
    let flag = |name| call.query.flag(name, false);
    let how = KillHow { scale: flag("scale"), wipe: flag("wipe"), force: flag("force") };
    if how.scale && how.wipe {
        let message = "You cannot use scale and wipe at the same time.";
        return Err(reply::error(StatusCode::BAD_REQUEST, message));
    }
    Ok(how)
}

/// There is no such task.
pub(super) fn no_task(task: &str) -> Refused {
    reply::error(StatusCode::NOT_FOUND, &format!("Task '{task}' does not exist"))
}

/// Whether `text` is a task or an instance of `app`.
pub(super) fn is_known(view: &View, app: &AppId, text: &str) -> bool {
    view.instances_of(app).any(|instance| {
        let task = instance.task.as_ref();
        instance.id.as_str() == text || task.is_some_and(|task| task.id.as_str() == text)
    })
}

/// One line for each app and service port: id, port, and where it runs. Scripts for load balancers
/// read it. On container networks only the ports inside can be reached, on the addresses of the
/// containers; they are told for the `networks` that are asked for.
fn table(view: &View, networks: &[&str]) -> String {
    let mut lines = String::new();
    for app in view.tree.apps.values().filter(|app| !app.is_pod()) {
        let running = || {
            let running = view.instances_of(&app.id);
            let running = running.filter(|instance| instance.condition == Condition::Running);
            running.filter_map(|instance| instance.task.as_ref())
        };
        let ports = app.service_ports();
        if ports.is_empty() {
            let _ = write!(lines, "{}\t ", app.id.safe());
            for task in running() {
                let _ = write!(lines, "\t{}", task.place.host);
            }
            lines.push('\n');
        }
        let is_shown = |network: &Network| {
            let name = network.name.as_deref().unwrap_or_default();
            network.mode == NetworkMode::Container
                && networks.iter().any(|wanted| *wanted == "*" || *wanted == name)
        };
        if app.networks.iter().any(is_shown) {
            for mapping in app.port_mappings() {
                let _ = write!(lines, "{}\t{}", app.id.safe(), mapping.service_port);
                for address in running().filter_map(|task| task.addresses.first()) {
                    let _ = write!(lines, "\t{address}:{}", mapping.container_port);
                }
                lines.push('\n');
            }
            continue;
        }
        for (index, port) in ports.iter().enumerate() {
            let _ = write!(lines, "{}\t{port}", app.id.safe());
            for task in running() {
                if let Some(given) = task.ports.get(index) {
                    let _ = write!(lines, "\t{}:{given}", task.place.host);
                }
            }
            lines.push('\n');
        }
    }
    lines
}
