//! `/offer_constraints_debug`: which agents are kept from frameworks by their own offer constraints.

use axum::Router;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::any;
use master_core::view::{AskedOf, FrameworkView};
use model::ids::AgentId;
use serde_json::{Map, Value, json};
use transport::http::Parameters;

use super::Api;
use super::viewer::Reader;

/// Endpoints that only the leading master answers.
pub(super) fn of_leader() -> Router<Api> {
    Router::new().route("/offer_constraints_debug", any(debug))
}

async fn debug(
    State(api): State<Api>,
    asked: Reader,
    Query(parameters): Query<Parameters>,
) -> Response {
    let (from, viewer) = (api.clone(), asked.viewer.clone());
    let work = move || {
        let picture = from.view.picture();
        // Once for each agent, not once more for each framework.
        let agents: Vec<(AgentId, AskedOf)> =
            picture.agents().map(|agent| (agent.id.clone(), agent.asked())).collect();
        let seen = picture.frameworks();
        let seen = seen.filter(|framework| viewer.sees_frameworks_of(&framework.framework.user));
        let frameworks: Map<String, Value> =
            seen.map(|framework| (framework.id.to_string(), of(framework, &agents))).collect();
        transport::http::whole(&json!({"frameworks": frameworks}), &parameters)
    };
    asked.answer(&api, work).await
}

fn of(framework: &FrameworkView, agents: &[(AgentId, AskedOf)]) -> Value {
    let excluded = framework.framework.roles.iter().map(|role| {
        let out = agents.iter().filter(|(_, agent)| framework.filter.excludes(role, agent));
        let ids = out.map(|(id, _)| Value::String(id.to_string())).collect();
        (role.to_string(), Value::Array(ids))
    });
    let suppressed = framework.suppressed.iter().map(|role| json!(role.as_str()));
    json!({
        "suppressed_roles": suppressed.collect::<Vec<_>>(),
        "excluded_by_attribute_constraints": excluded.collect::<Map<_, _>>(),
    })
}
