//! `/v2/tasks`.

use std::fmt::Write;

use axum::http::{Method, StatusCode};
use marathon_core::ids::AppId;
use marathon_core::instance::Condition;
use marathon_core::io::{Command, KillHow};
use marathon_core::view::{TaskFilter, View};
use serde_json::json as object;
use transport::http::accepts;

use super::Call;
use super::reply::{self, Refused, Reply, json, refuse};

pub(super) async fn route(call: &Call<'_>, rest: &[&str]) -> Reply {
    match rest {
        [] => {
            call.only(&[Method::GET])?;
            // JSON wins wherever the client takes it.
            if !accepts(&call.parts.headers, "application/json")
                && accepts(&call.parts.headers, "text/plain")
            {
                return reply::text(table(&call.view));
            }
            let status = call.query.all("status").chain(call.query.all("status[]"));
            let wanted: Vec<_> = status.filter_map(TaskFilter::parse).collect();
            json(StatusCode::OK, &object!({"tasks": call.view.tasks(&wanted)}))
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
/// read it.
fn table(view: &View) -> String {
    let mut lines = String::new();
    for app in view.apps.values() {
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
