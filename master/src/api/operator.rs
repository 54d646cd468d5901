//! The operator API: `POST /api/v1`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use master_core::Input;
use model::ids::{AgentId, FrameworkId};
use proto::mesos::v1;
use proto::mesos::v1::master::call::Type;
use proto::mesos::v1::master::response::{self, Type as Answer};
use proto::mesos::v1::master::{Call, Response};
use transport::http::{Encoding, Refused, accepted, answer, read_call};

use super::{Api, metrics, operator_events, v0};
use crate::facts::Facts;

/// Answers one call.
pub(super) async fn call(State(api): State<Api>, request: Request) -> HttpResponse {
    answered(api, request).await.unwrap_or_else(IntoResponse::into_response)
}

/// The checks, in the order that clients know, and then the answer.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "calls of the wire that are not named are questions"
)]
async fn answered(api: Api, request: Request) -> Result<HttpResponse, Refused> {
    let (parts, _, call) = read_call::<Call>(request, "Call").await?;
    let kind = validated(&call).map_err(|detail| {
        Refused::bad_request(format!("Failed to validate master::Call: {detail}"))
    })?;
    let encoding = accepted(&parts.headers)?;
    match kind {
        Type::Subscribe => Ok(operator_events::subscribe(&api, encoding, &parts.extensions).await),
        Type::Teardown => {
            let id = call.teardown.unwrap_or_default().framework_id.value;
            teardown(&api, &id).await
        }
        Type::MarkAgentGone => {
            let id = call.mark_agent_gone.unwrap_or_default().agent_id.value;
            mark_agent_gone(&api, &id).await
        }
        kind => Ok(read(api, encoding, kind).await),
    }
}

/// Ends a framework.
pub(super) async fn teardown(api: &Api, id: &str) -> Result<HttpResponse, Refused> {
    let unknown = |_| Refused::bad_request("No framework found with specified ID");
    let framework = FrameworkId::new(id).map_err(unknown)?;
    api.driver.call(|request| Input::TeardownFramework { request, framework }).await?;
    Ok(StatusCode::OK.into_response())
}

async fn mark_agent_gone(api: &Api, id: &str) -> Result<HttpResponse, Refused> {
    let unknown = |_| Refused::new(StatusCode::NOT_FOUND, "Agent not found");
    let agent = AgentId::new(id).map_err(unknown)?;
    api.driver.call(|request| Input::MarkAgentGone { request, agent }).await?;
    Ok(StatusCode::OK.into_response())
}

fn not_implemented(kind: Type) -> Refused {
    let text = format!("This master does not carry out {}", kind.as_str_name());
    Refused::new(StatusCode::NOT_IMPLEMENTED, text)
}

fn validated(call: &Call) -> Result<Type, String> {
    // A type that this master has never heard of reads as none.
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok());
    let Some(kind) = kind else {
        return Err("Expecting 'type' to be present".to_owned());
    };
    let lacks = [
        (Type::GetMetrics, call.get_metrics.is_none(), "get_metrics"),
        (Type::Teardown, call.teardown.is_none(), "teardown"),
        (Type::MarkAgentGone, call.mark_agent_gone.is_none(), "mark_agent_gone"),
    ];
    match lacks.iter().find(|(of, lacks, _)| *of == kind && *lacks) {
        Some((_, _, name)) => Err(format!("Expecting '{name}' to be present")),
        None => Ok(kind),
    }
}

/// Makes and encodes the answer to a question, on a thread where it holds up nobody.
async fn read(api: Api, encoding: Encoding, kind: Type) -> HttpResponse {
    let work = move || match response(&api, kind) {
        Ok(response) => answer(encoding, &response),
        Err(refused) => refused.into_response(),
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "calls of the wire that are not named are refused"
)]
fn response(api: &Api, kind: Type) -> Result<Response, Refused> {
    let mut response = Response::default();
    let answer = match kind {
        Type::GetHealth => {
            response.get_health = Some(response::GetHealth { healthy: true });
            Answer::GetHealth
        }
        Type::GetVersion => {
            let version_info = Facts::version_info();
            response.get_version = Some(response::GetVersion { version_info });
            Answer::GetVersion
        }
        Type::GetFlags => {
            let flag = |(name, value): (&String, &String)| v1::Flag {
                name: name.clone(),
                value: Some(value.clone()),
            };
            let flags = api.facts.flags.iter().map(flag).collect();
            response.get_flags = Some(response::GetFlags { flags });
            Answer::GetFlags
        }
        Type::GetMetrics => {
            let metric = |(name, value)| v1::Metric { name, value: Some(value) };
            let metrics = metrics::snapshot(api).into_iter().map(metric).collect();
            response.get_metrics = Some(response::GetMetrics { metrics });
            Answer::GetMetrics
        }
        Type::GetMaster => {
            response.get_master = Some(response::GetMaster {
                master_info: Some(api.master_info()),
                start_time: Some(api.facts.started_at.as_secs_f64()),
                elected_time: api.elected_at().map(model::step::Timestamp::as_secs_f64),
            });
            Answer::GetMaster
        }
        Type::GetState => {
            response.get_state = Some(api.view.state().get_state());
            Answer::GetState
        }
        Type::GetAgents => {
            response.get_agents = Some(api.view.state().get_agents());
            Answer::GetAgents
        }
        Type::GetFrameworks => {
            response.get_frameworks = Some(api.view.state().get_frameworks());
            Answer::GetFrameworks
        }
        Type::GetTasks => {
            response.get_tasks = Some(api.view.state().get_tasks());
            Answer::GetTasks
        }
        Type::GetExecutors => {
            response.get_executors = Some(api.view.state().get_executors());
            Answer::GetExecutors
        }
        Type::GetOperations => {
            response.get_operations = Some(response::GetOperations::default());
            Answer::GetOperations
        }
        Type::GetRoles => {
            let roles = v0::role_messages(api, &api.view.state());
            response.get_roles = Some(response::GetRoles { roles });
            Answer::GetRoles
        }
        Type::GetWeights => {
            let weight = |(role, weight): (&String, &f64)| v1::WeightInfo {
                role: Some(role.clone()),
                weight: *weight,
            };
            let weight_infos = api.facts.weights.iter().map(weight).collect();
            response.get_weights = Some(response::GetWeights { weight_infos });
            Answer::GetWeights
        }
        other => return Err(not_implemented(other)),
    };
    response.r#type = Some(answer as i32);
    Ok(response)
}
