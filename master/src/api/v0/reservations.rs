//! `/reserve`, `/unreserve`, `/create-volumes` and `/destroy-volumes`: forms with the agent's id and an array
//! of resources in JSON.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use model::operation::Conversion;
use proto::convert::operator::of_agent;
use proto::convert::{Malformed, operation};
use proto::mesos::v1::master::call::Type;
use proto::mesos::v1::{AgentId, Resource};
use transport::http::Refused;

use super::super::access::Caller;
use super::super::{Api, operator};
use super::changes::list;
use super::form::Form;

/// Endpoints that only the leading master answers.
pub(super) fn of_leader() -> Router<Api> {
    Router::new()
        .route("/reserve", post(reserve))
        .route("/unreserve", post(unreserve))
        .route("/create-volumes", post(create_volumes))
        .route("/destroy-volumes", post(destroy_volumes))
}

async fn reserve(State(api): State<Api>, caller: Caller, form: Form) -> Result<Response, Refused> {
    let agent = agent(&form)?;
    let source = form.get("source").map(resources).transpose()?.unwrap_or_default();
    let reserved = resources(form.wanted("resources")?)?;
    change(&api, caller, Type::ReserveResources, &agent, operation::reserve(&source, &reserved))
        .await
}

async fn unreserve(
    State(api): State<Api>,
    caller: Caller,
    form: Form,
) -> Result<Response, Refused> {
    let agent = agent(&form)?;
    let reserved = resources(form.wanted("resources")?)?;
    change(&api, caller, Type::UnreserveResources, &agent, operation::unreserve(&reserved)).await
}

async fn create_volumes(
    State(api): State<Api>,
    caller: Caller,
    form: Form,
) -> Result<Response, Refused> {
    let agent = agent(&form)?;
    let volumes = resources(form.wanted("volumes")?)?;
    change(&api, caller, Type::CreateVolumes, &agent, operation::create(&volumes)).await
}

async fn destroy_volumes(
    State(api): State<Api>,
    caller: Caller,
    form: Form,
) -> Result<Response, Refused> {
    let agent = agent(&form)?;
    let volumes = resources(form.wanted("volumes")?)?;
    change(&api, caller, Type::DestroyVolumes, &agent, operation::destroy(&volumes)).await
}

async fn change(
    api: &Api,
    caller: Caller,
    kind: Type,
    agent: &AgentId,
    conversion: Result<Conversion, Malformed>,
) -> Result<Response, Refused> {
    let call = of_agent(agent, conversion).map_err(|error| operator::refused(kind, error))?;
    operator::operate(api, caller, call).await
}

fn agent(form: &Form) -> Result<AgentId, Refused> {
    Ok(AgentId { value: form.wanted("slaveId")?.to_owned() })
}

fn resources(text: &str) -> Result<Vec<Resource>, Refused> {
    list(&Bytes::copy_from_slice(text.as_bytes()))
}
