//! The endpoints from before the v1 API that change something: weights, quota, maintenance,
//! logging.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use model::acl::Action;
use model::operator::OperatorCall;
use model::role::Role;
use model::units::parse_duration;
use proto::convert::operator as convert;
use proto::mesos::v1::maintenance::Schedule;
use proto::mesos::v1::master::call::Type;
use proto::mesos::v1::quota::QuotaRequest;
use proto::mesos::v1::{MachineId, WeightInfo};
use proto::schema::Described;
use serde_json::json;
use transport::http::Refused;

use super::super::access::Caller;
use super::super::viewer::{Reader, Viewer};
use super::super::{Api, logging, operator};
use super::form::Whole;
use super::render::mapped;
use super::{Parameters, answered};

/// Endpoints that only the leading master answers.
pub(super) fn of_leader() -> Router<Api> {
    Router::new()
        .route("/weights", get(weights).put(update_weights))
        .route("/quota", get(quota).post(set_quota))
        .route("/quota/{*role}", delete(remove_quota))
        .route("/maintenance/schedule", get(schedule).post(update_schedule))
        .route("/maintenance/status", get(maintenance_status))
        .route("/machine/down", post(machine_down))
        .route("/machine/up", post(machine_up))
}

/// Endpoints that every master answers for itself.
pub(super) fn of_any() -> Router<Api> {
    Router::new().route("/logging/toggle", any(toggle_logging))
}

async fn weights(State(api): State<Api>, viewer: Viewer, parameters: Parameters) -> Response {
    let one = |info: &WeightInfo| json!({"role": info.role(), "weight": info.weight});
    answered(&operator::weights(&api, &viewer).iter().map(one).collect(), &parameters)
}

async fn update_weights(
    State(api): State<Api>,
    caller: Caller,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    let infos: Vec<WeightInfo> = list(&body)?;
    let weights = convert::weights(&infos);
    let weights = weights.map_err(|error| operator::refused(Type::UpdateWeights, error))?;
    operator::operate(&api, caller, OperatorCall::UpdateWeights(weights)).await
}

async fn quota(State(api): State<Api>, viewer: Viewer, parameters: Parameters) -> Response {
    answered(&mapped(&operator::quota_status(&api, &viewer)), &parameters)
}

async fn set_quota(
    State(api): State<Api>,
    caller: Caller,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    let call = convert::quota_request(&read::<QuotaRequest>(&body)?);
    let call = call.map_err(|error| operator::refused(Type::SetQuota, error))?;
    operator::operate(&api, caller, call).await
}

async fn remove_quota(
    State(api): State<Api>,
    caller: Caller,
    Path(role): Path<String>,
) -> Result<Response, Refused> {
    let role = Role::new(role).map_err(|bad| Refused::bad_request(bad.to_string()))?;
    operator::operate(&api, caller, OperatorCall::RemoveQuota(role)).await
}

async fn schedule(State(api): State<Api>, viewer: Viewer, parameters: Parameters) -> Response {
    let may = viewer.check(Action::GetMaintenanceSchedule, None, operator::SCHEDULE);
    if let Err(refused) = may {
        return refused.into_response();
    }
    answered(&mapped(&convert::schedule_to_wire(&api.view.rules().schedule)), &parameters)
}

async fn update_schedule(
    State(api): State<Api>,
    caller: Caller,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    let schedule: Schedule = read(&body)?;
    let windows = convert::schedule_from_wire(&schedule);
    let windows =
        windows.map_err(|error| operator::refused(Type::UpdateMaintenanceSchedule, error))?;
    operator::operate(&api, caller, OperatorCall::UpdateSchedule(windows)).await
}

async fn maintenance_status(
    State(api): State<Api>,
    reader: Reader,
    Query(parameters): Parameters,
) -> Response {
    let may = reader.viewer.check(Action::GetMaintenanceStatus, None, operator::STATUS);
    if let Err(refused) = may {
        return refused.into_response();
    }
    let from = api.clone();
    let work =
        move || transport::http::whole(&mapped(&operator::maintenance_status(&from)), &parameters);
    reader.answer(&api, work).await
}

async fn machine_down(
    State(api): State<Api>,
    caller: Caller,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    let machines = convert::machines_from_wire(&list::<MachineId>(&body)?);
    let machines = machines.map_err(|error| operator::refused(Type::StartMaintenance, error))?;
    operator::operate(&api, caller, OperatorCall::StartMaintenance(machines)).await
}

async fn machine_up(
    State(api): State<Api>,
    caller: Caller,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    let machines = convert::machines_from_wire(&list::<MachineId>(&body)?);
    let machines = machines.map_err(|error| operator::refused(Type::StopMaintenance, error))?;
    operator::operate(&api, caller, OperatorCall::StopMaintenance(machines)).await
}

/// Reads a body as one message, whatever its content type says: tools of old send none.
fn read<M: Described>(body: &[u8]) -> Result<M, Refused> {
    proto::json::from_slice(body).map_err(|error| {
        Refused::bad_request(format!("Failed to convert request body JSON into protobuf: {error}"))
    })
}

/// Reads a body as an array of messages.
pub(super) fn list<M: Described>(body: &[u8]) -> Result<Vec<M>, Refused> {
    let values: Vec<Box<serde_json::value::RawValue>> =
        serde_json::from_slice(body).map_err(|error| {
            Refused::bad_request(format!("Failed to parse request body as JSON array: {error}"))
        })?;
    values.iter().map(|value| read(value.get().as_bytes())).collect()
}

async fn toggle_logging(
    method: Method,
    viewer: Viewer,
    Query(parameters): Query<HashMap<String, String>>,
) -> Result<Response, Refused> {
    viewer.check(Action::GetEndpoint, Some("/logging/toggle"), logging::WHAT)?;
    let (level, duration) = (parameters.get("level"), parameters.get("duration"));
    if level.is_none() && duration.is_none() {
        return Ok((StatusCode::OK, format!("{}\n", logging::level())).into_response());
    }
    if method != Method::POST && method != Method::GET {
        return transport::http::post_only(&method).map(|()| StatusCode::OK.into_response());
    }
    let expecting = |what: &str| Refused::bad_request(format!("Expecting '{what}' in query"));
    let level = level.ok_or_else(|| expecting("level=value"))?;
    let duration = duration.ok_or_else(|| expecting("duration=value"))?;
    let level = level.parse().map_err(|_| Refused::bad_request("Invalid level: not a number"))?;
    let duration: Duration =
        parse_duration(duration).map_err(|error| Refused::bad_request(error.to_string()))?;
    logging::set_for(level, duration)
}
