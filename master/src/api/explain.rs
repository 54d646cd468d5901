//! `/agora/v1/explain`: why things are as they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use master_core::explain::{Explanation, Kept, OfRole, Reason, Unknown};
use model::amount::Milli;
use model::ids::{AgentId, FrameworkId};
use serde_json::{Value, json};
use transport::http::Refused;

use super::Api;
use super::viewer::Viewer;

/// Endpoints that only the leading master answers.
pub(super) fn of_leader() -> Router<Api> {
    Router::new().route("/agora/v1/explain/framework/{id}", get(framework))
}

async fn framework(
    State(api): State<Api>,
    viewer: Viewer,
    Path(id): Path<String>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Result<Response, Refused> {
    let unknown = || {
        let why = format!("Framework '{id}' is not known, or is over; /frameworks lists them");
        Refused::new(StatusCode::NOT_FOUND, why)
    };
    let id = FrameworkId::new(id.as_str()).map_err(|_| unknown())?;
    // One that may not be seen is not known.
    if !viewer.sees_framework_of(&api, &id) {
        return Err(unknown());
    }
    let agent = parameters.get("agent");
    let no_agent = || {
        let agent = agent.map(String::as_str).unwrap_or_default();
        let why = format!("Agent '{agent}' is not known, or is out of contact; /slaves lists them");
        Refused::new(StatusCode::NOT_FOUND, why)
    };
    let agent = agent.map(|agent| AgentId::new(agent.as_str())).transpose();
    let agent = agent.map_err(|_| no_agent())?;
    let told = api.driver.explain(id, agent).await?.map_err(|who| match who {
        Unknown::Framework => unknown(),
        Unknown::Agent => no_agent(),
    })?;
    let body = serde_json::to_vec(&rendered(&told)).expect("values can be written");
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, transport::http::ascii(body)).into_response())
}

/// The decline that keeps an agent from a framework, if one does.
fn declined(kept: &Kept) -> Option<Value> {
    let filter = kept.filter.as_ref()?;
    Some(json!({
        "agent_id": kept.agent.as_str(),
        "offer_id": filter.offer.as_str(),
        "ends_in_seconds": filter.ends_in.as_secs_f64(),
    }))
}

fn rendered(told: &Explanation) -> Value {
    let reason = |reason: &Reason| {
        json!({
            "reason": reason.why,
            "agents": reason.count,
            "agent_ids": reason.agents.iter().map(|kept| kept.agent.as_str()).collect::<Vec<_>>(),
            "ends_in_seconds": reason.ends_in.map(|(first, _)| first.as_secs_f64()),
            "last_ends_in_seconds": reason.ends_in.map(|(_, last)| last.as_secs_f64()),
            "declined": reason.agents.iter().filter_map(declined).collect::<Vec<_>>(),
        })
    };
    let amounts = |amounts: &BTreeMap<Arc<str>, Milli>| -> Value {
        let one = |(name, amount): (&Arc<str>, &Milli)| (name.to_string(), amount.as_f64());
        json!(amounts.iter().map(one).collect::<BTreeMap<_, _>>())
    };
    let role = |of: &OfRole| {
        json!({
            "role": of.role.as_str(),
            "quota": {
                "guarantee": amounts(&of.quota.guarantees),
                "limit": amounts(&of.quota.limits),
                "consumed": amounts(&of.consumed),
            },
            "kept_for_other_roles": amounts(&of.kept_for_others),
            "steps_back_for_seconds": of.steps_back_for.map(|left| left.as_secs_f64()),
            "agents_offered_next": of.about_to_be_offered,
            "not_offered": of.reasons.iter().map(reason).collect::<Vec<_>>(),
        })
    };
    json!({
        "framework_id": told.framework.as_str(),
        "open_offers": told.offers,
        "roles": told.roles.iter().map(role).collect::<Vec<_>>(),
    })
}
