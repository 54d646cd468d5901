//! `/help`: the endpoints there are.

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};
use transport::firewall::Firewall;
use transport::http::{Parameters, Refused, rendered};
use transport::paths::normal;

use super::Api;

/// What a master answers over HTTP. Each may also be called with `/master` in front.
const ENDPOINTS: [(&str, &str); 34] = [
    ("/agora/v1/explain/framework", "Why a framework, named behind it, has no other offers"),
    ("/api/v1", "The operator API"),
    ("/api/v1/scheduler", "The scheduler API"),
    ("/create-volumes", "Makes persistent volumes of what is reserved on an agent"),
    ("/destroy-volumes", "Removes persistent volumes and what is in them"),
    ("/files/browse", "Files of a directory"),
    ("/files/debug", "The files that can be read"),
    ("/files/download", "A file"),
    ("/files/read", "A part of a file"),
    ("/flags", "What this master was started with"),
    ("/frameworks", "Frameworks, with what they run"),
    ("/health", "200 if this master runs"),
    ("/help", "These texts; ?format=json has them for programs"),
    ("/logging/toggle", "Logs more or less for a while"),
    ("/machine/down", "Takes machines away for maintenance"),
    ("/machine/up", "Brings machines back"),
    ("/maintenance/schedule", "When machines are to be away"),
    ("/maintenance/status", "Which machines are to be away, or are, and what frameworks say to it"),
    ("/metrics", "Metrics for Prometheus"),
    ("/metrics/snapshot", "Metrics by their names in Mesos"),
    ("/offer_constraints_debug", "Agents that offer constraints keep from frameworks"),
    ("/quota", "Guarantees and limits of roles"),
    ("/redirect", "Leads to the leading master"),
    ("/reserve", "Reserves resources of an agent"),
    ("/roles", "Roles, with their weights, quotas and what they have"),
    ("/slaves", "Agents, with their resources in full"),
    ("/state", "All there is"),
    ("/state-summary", "Agents and frameworks, with numbers of tasks"),
    ("/system/stats.json", "The load and the memory of the machine"),
    ("/tasks", "Tasks, by when they were heard of"),
    ("/teardown", "Ends a framework"),
    ("/unreserve", "Gives reservations up"),
    ("/version", "What this program is"),
    ("/weights", "Weights of roles"),
];

/// Endpoints that every master answers for itself.
pub(super) fn of_any() -> Router<Api> {
    Router::new().route("/help", any(help)).route("/help/{*endpoint}", any(help))
}

/// Says so if rules shut what is not there: whoever wrote them meant something else.
pub(crate) fn warn_of_strange_paths(firewall: &Firewall) {
    for path in firewall.paths() {
        let endpoint = normal(path, "master");
        if ENDPOINTS.iter().all(|(known, _)| *known != endpoint) {
            tracing::warn!(
                path,
                "--firewall_rules shuts what is no endpoint; /help has those there are"
            );
        }
    }
}

async fn help(
    endpoint: Option<Path<String>>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Refused> {
    // Behind the process's name, or without it, or that name alone.
    let wanted = endpoint.map(|Path(path)| normal(&path, "master")).filter(|path| path != "/");
    let is_wanted = |(path, _): &&(&str, &str)| wanted.as_ref().is_none_or(|wanted| wanted == path);
    let found: Vec<_> = ENDPOINTS.iter().filter(is_wanted).collect();
    if let (true, Some(wanted)) = (found.is_empty(), wanted) {
        let text = format!("There is no endpoint {wanted}; /help has those there are");
        return Err(Refused::new(StatusCode::NOT_FOUND, text));
    }
    if parameters.get("format").is_some_and(|format| format == "json") {
        let endpoints = found.iter().map(|(path, text)| json!({"name": path, "text": text}));
        let endpoints: Value = endpoints.collect();
        let processes = json!([{"id": "master", "endpoints": endpoints}]);
        return Ok(rendered(&json!({"processes": processes}), &parameters));
    }
    let lines = found.iter().map(|(path, text)| format!("{path:30} {text}\n"));
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, lines.collect::<String>()).into_response())
}
