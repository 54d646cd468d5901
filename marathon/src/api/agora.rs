//! `/agora/v1`: what Marathon does not have. Clients of Marathon never meet it.

use axum::http::{Method, StatusCode};
use marathon_core::io::Command;

use super::Call;
use super::path::{app_id, no_app};
use super::reply::{self, Refused, Reply, json, refuse};
use crate::clock;

pub(super) async fn route(call: &Call<'_>, rest: &[&str]) -> Reply {
    match rest {
        ["deployments"] => {
            call.only(&[Method::GET])?;
            json(StatusCode::OK, &call.view.explain_deployments(clock::wall()))
        }
        ["deployments", id] => {
            call.only(&[Method::GET])?;
            let told = call.view.explain_deployment(id, clock::wall());
            json(StatusCode::OK, &told.ok_or_else(|| no_deployment(id))?)
        }
        ["deployments", id, "pause" | "continue"] => {
            call.only(&[Method::POST])?;
            let is_paused = rest.last() == Some(&"pause");
            call.ask(Command::HoldDeployment { id: (*id).to_owned(), is_paused }).await
        }
        ["apps", id @ .., "rebalance"] if !id.is_empty() => {
            call.only(&[Method::POST])?;
            let id = app_id(id)?;
            if !call.view.tree.apps.contains_key(&id) {
                return Err(no_app(id.as_str()));
            }
            let force = call.query.flag("force", false);
            call.ask(Command::RebalanceApp { id, force }).await
        }
        ["service-ports"] => {
            call.only(&[Method::GET])?;
            json(StatusCode::OK, &call.view.service_ports())
        }
        ["explain", "app", id @ ..] if !id.is_empty() => {
            call.only(&[Method::GET])?;
            let id = app_id(id)?;
            let told = call.view.explain_app(&id, clock::wall());
            let mut told = told.ok_or_else(|| no_app(id.as_str()))?;
            if let Some(entry) = call.view.queue.get(&id) {
                told["master"] = call.held_back(&call.why_no_offers().await, entry);
            }
            json(StatusCode::OK, &told)
        }
        _ => refuse(StatusCode::NOT_FOUND, "URI not found"),
    }
}

fn no_deployment(id: &str) -> Refused {
    let message = format!("Deployment {id} does not exist, or is forgotten");
    reply::error(StatusCode::NOT_FOUND, &message)
}
