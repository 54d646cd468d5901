//! The operator API: `POST /api/v1`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response as HttpResponse};
use master_core::Input;
use master_core::view::InverseAnswer;
use model::acl::Action;
use model::ids::{AgentId, FrameworkId};
use model::link::ip_of;
use model::operator::OperatorCall;
use model::role::Role;
use model::rules::{Machine, Weight};
use proto::convert::operator::{self as convert, CallError};
use proto::mesos::v1;
use proto::mesos::v1::allocator::InverseOfferStatus;
use proto::mesos::v1::maintenance::ClusterStatus;
use proto::mesos::v1::maintenance::cluster_status::DrainingMachine;
use proto::mesos::v1::master::call::Type;
use proto::mesos::v1::master::response::{self, Type as Answer};
use proto::mesos::v1::master::{Call, Response};
use transport::auth::Principal;
use transport::http::{Encoding, Refused, accepted, answer, message_of, read_call};

use super::access::Caller;
use super::viewer::{Reader, Viewer};
use super::{Api, files, logging, metrics, operator_events, v0};
use crate::facts::Facts;

/// What one who may not see the plan of maintenance is not authorized to do.
pub(super) const SCHEDULE: &str = "see the maintenance schedule";
/// The same of what comes of it.
pub(super) const STATUS: &str = "see the maintenance status";

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
    // Looked at when the call is found to be whole: what it lacks is told first.
    let encoding = accepted(&parts.headers);
    let principal = Principal::name_of(&parts.extensions);
    let viewer = Viewer::new(&api, principal.clone());
    let caller = Caller(principal);
    match kind {
        Type::Subscribe => {
            Ok(operator_events::subscribe(&api, viewer, encoding?, &parts.extensions).await)
        }
        Type::SetLoggingLevel => {
            encoding?;
            viewer.check(Action::SetLogLevel, None, logging::WHAT)?;
            logging::set(&call.set_logging_level.unwrap_or_default())
        }
        Type::ListFiles => {
            let encoding = encoding?;
            files::check(&viewer)?;
            let list_files = files::list(&api, call.list_files.unwrap_or_default()).await?;
            let r#type = Some(Answer::ListFiles as i32);
            let list_files = Some(list_files);
            Ok(answer(encoding, &Response { r#type, list_files, ..Response::default() })
                .into_response())
        }
        Type::ReadFile => {
            let encoding = encoding?;
            files::check(&viewer)?;
            let read_file = files::part(&api, call.read_file.unwrap_or_default()).await?;
            let r#type = Some(Answer::ReadFile as i32);
            let read_file = Some(read_file);
            Ok(answer(encoding, &Response { r#type, read_file, ..Response::default() })
                .into_response())
        }
        Type::GetMetrics => {
            let encoding = encoding?;
            let timeout = call.get_metrics.and_then(|get| get.timeout);
            let timeout = timeout.map(|timeout| {
                let negative = "Invalid timeout: it must not be negative";
                proto::convert::duration(&timeout).ok_or_else(|| Refused::bad_request(negative))
            });
            Ok(read_metrics(api, viewer, encoding, timeout.transpose()?, parts.headers).await)
        }
        kind => {
            let change = convert::call_from_wire(call).map_err(|error| refused(kind, error))?;
            let encoding = encoding?;
            match change {
                Some(change) => operate(&api, caller, change).await,
                None => Ok(read(api, viewer, encoding, kind, parts.headers).await),
            }
        }
    }
}

/// Has a change carried out, and waits until the masters have agreed on it.
pub(super) async fn operate(
    api: &Api,
    Caller(principal): Caller,
    call: OperatorCall,
) -> Result<HttpResponse, Refused> {
    let _inside = api.standing.gate.enter()?;
    let done = api.driver.call(|request| Input::Operate { request, principal, call }).await?;
    let status = StatusCode::from_u16(done.status()).unwrap_or(StatusCode::OK);
    Ok(status.into_response())
}

/// Ends a framework.
pub(super) async fn teardown(api: &Api, caller: Caller, id: &str) -> Result<HttpResponse, Refused> {
    let unknown = |_| refused(Type::Teardown, CallError::UnknownFramework);
    let framework = FrameworkId::new(id).map_err(unknown)?;
    operate(api, caller, OperatorCall::TeardownFramework(framework)).await
}

/// What a call is told that cannot be carried out.
pub(super) fn refused(kind: Type, error: CallError) -> Refused {
    match error {
        CallError::Missing(name) => {
            Refused::bad_request(format!("Failed to validate master::Call: {}", expecting(name)))
        }
        CallError::UnknownFramework => Refused::bad_request("No framework found with specified ID"),
        CallError::UnknownAgent if kind == Type::MarkAgentGone => {
            Refused::new(StatusCode::NOT_FOUND, "Agent not found")
        }
        CallError::UnknownAgent => Refused::bad_request("Unknown agent"),
        CallError::Invalid(why) => Refused::bad_request(why),
    }
}

fn expecting(name: &str) -> String {
    format!("Expecting '{name}' to be present")
}

fn not_implemented(kind: Type) -> Refused {
    let text = format!("This master does not carry out {}", kind.as_str_name());
    Refused::new(StatusCode::NOT_IMPLEMENTED, text)
}

fn validated(call: &Call) -> Result<Type, String> {
    // A type that this master has never heard of reads as none.
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok());
    let Some(kind) = kind else {
        return Err(expecting("type"));
    };
    let lacks = [
        (Type::GetMetrics, call.get_metrics.is_none(), "get_metrics"),
        (Type::SetLoggingLevel, call.set_logging_level.is_none(), "set_logging_level"),
        (Type::ListFiles, call.list_files.is_none(), "list_files"),
        (Type::ReadFile, call.read_file.is_none(), "read_file"),
    ];
    match lacks.iter().find(|(of, lacks, _)| *of == kind && *lacks) {
        Some((_, _, name)) => Err(expecting(name)),
        None => Ok(kind),
    }
}

/// Makes and encodes the answer to a question.
async fn read(
    api: Api,
    viewer: Viewer,
    encoding: Encoding,
    kind: Type,
    headers: HeaderMap,
) -> HttpResponse {
    let (from, of) = (api.clone(), viewer.clone());
    let work = move || response(&from, &of, kind).map(|response| message_of(encoding, &response));
    if !is_large(kind) {
        return work().into_response();
    }
    let what = kind.as_str_name().to_owned();
    Reader::new(viewer, what, Some(encoding), headers).answer(&api, work).await
}

/// Makes and encodes the answer to GET_METRICS.
async fn read_metrics(
    api: Api,
    viewer: Viewer,
    encoding: Encoding,
    timeout: Option<Duration>,
    headers: HeaderMap,
) -> HttpResponse {
    let (from, figures) = (api.clone(), metrics::figures(&api, timeout).await);
    let work = move || {
        let metric = |(name, value)| v1::Metric { name, value: Some(value) };
        let all = metrics::samples(&from, figures.as_deref()).flat();
        let get_metrics =
            Some(response::GetMetrics { metrics: all.into_iter().map(metric).collect() });
        let r#type = Some(Answer::GetMetrics as i32);
        Ok(message_of(encoding, &Response { r#type, get_metrics, ..Response::default() }))
    };
    let what = format!("{} {timeout:?}", Type::GetMetrics.as_str_name());
    Reader::new(viewer, what, Some(encoding), headers).answer(&api, work).await
}

/// Whether an answer grows with the cluster.
fn is_large(kind: Type) -> bool {
    [
        Type::GetState,
        Type::GetAgents,
        Type::GetFrameworks,
        Type::GetTasks,
        Type::GetExecutors,
        Type::GetOperations,
        Type::GetRoles,
        Type::GetMaintenanceStatus,
    ]
    .contains(&kind)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "calls of the wire that are not named are refused"
)]
fn response(api: &Api, viewer: &Viewer, kind: Type) -> Result<Response, Refused> {
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
            viewer.check(Action::ViewFlags, None, v0::FLAGS)?;
            let flag = |(name, value): (&String, &String)| v1::Flag {
                name: name.clone(),
                value: Some(value.clone()),
            };
            let flags = api.facts.flags.iter().map(flag).collect();
            response.get_flags = Some(response::GetFlags { flags });
            Answer::GetFlags
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
            response.get_state = Some(viewer.seen(api.view.picture().state()).get_state());
            Answer::GetState
        }
        Type::GetAgents => {
            response.get_agents = Some(viewer.seen(api.view.picture().state()).get_agents());
            Answer::GetAgents
        }
        Type::GetFrameworks => {
            response.get_frameworks =
                Some(viewer.seen(api.view.picture().state()).get_frameworks());
            Answer::GetFrameworks
        }
        Type::GetTasks => {
            response.get_tasks = Some(viewer.seen(api.view.picture().state()).get_tasks());
            Answer::GetTasks
        }
        Type::GetExecutors => {
            response.get_executors = Some(viewer.seen(api.view.picture().state()).get_executors());
            Answer::GetExecutors
        }
        Type::GetOperations => {
            let seen = api.view.picture().operations(|role| viewer.sees_role(role));
            let operations = seen.iter().map(|one| v1::Operation::clone(one)).collect();
            response.get_operations = Some(response::GetOperations { operations });
            Answer::GetOperations
        }
        Type::GetRoles => {
            let roles = v0::role_messages(api, viewer, &api.view.picture().state());
            response.get_roles = Some(response::GetRoles { roles });
            Answer::GetRoles
        }
        Type::GetWeights => {
            response.get_weights =
                Some(response::GetWeights { weight_infos: weights(api, viewer) });
            Answer::GetWeights
        }
        Type::GetQuota => {
            let status = quota_status(api, viewer);
            response.get_quota = Some(response::GetQuota { status });
            Answer::GetQuota
        }
        Type::GetMaintenanceSchedule => {
            viewer.check(Action::GetMaintenanceSchedule, None, SCHEDULE)?;
            let schedule = convert::schedule_to_wire(&api.view.rules().schedule);
            response.get_maintenance_schedule = Some(response::GetMaintenanceSchedule { schedule });
            Answer::GetMaintenanceSchedule
        }
        Type::GetMaintenanceStatus => {
            viewer.check(Action::GetMaintenanceStatus, None, STATUS)?;
            let status = maintenance_status(api);
            response.get_maintenance_status = Some(response::GetMaintenanceStatus { status });
            Answer::GetMaintenanceStatus
        }
        Type::GetLoggingLevel => {
            let level = logging::level();
            response.get_logging_level = Some(response::GetLoggingLevel { level });
            Answer::GetLoggingLevel
        }
        other => return Err(not_implemented(other)),
    };
    response.r#type = Some(answer as i32);
    Ok(response)
}

/// The weights of roles that were set.
pub(super) fn weights(api: &Api, viewer: &Viewer) -> Vec<v1::WeightInfo> {
    let rules = api.view.rules();
    let seen = rules.weights.iter().filter(|(role, _)| viewer.sees_role(role.as_str()));
    let one = |(role, weight): (&Role, &Weight)| v1::WeightInfo {
        role: Some(role.to_string()),
        weight: weight.as_f64(),
    };
    seen.map(one).collect()
}

/// The quotas of roles that the viewer may know.
pub(super) fn quota_status(api: &Api, viewer: &Viewer) -> v1::quota::QuotaStatus {
    let mut quotas = api.view.rules().quotas.clone();
    quotas.retain(|role, _| viewer.may(Action::GetQuota, Some(role.as_str())));
    convert::quota_status(&quotas)
}

/// Which machines are to be away, what frameworks say to that, and which are away.
pub(super) fn maintenance_status(api: &Api) -> ClusterStatus {
    let picture = api.view.picture();
    let rules = picture.rules();
    let hosts: BTreeMap<&AgentId, (&str, &str)> =
        picture.hosts().map(|(id, name, address)| (id, (name, ip_of(address)))).collect();
    let is_on = |machine: &Machine, answer: &InverseAnswer| {
        hosts.get(&answer.agent).is_some_and(|(name, ip)| machine.is(name, ip))
    };
    let statuses = |machine: &Machine| {
        picture
            .inverse_answers()
            .iter()
            .filter(|answer| is_on(machine, answer))
            .map(answer_message)
            .collect()
    };
    let scheduled = rules.schedule.iter().flat_map(|window| &window.machines);
    let draining = scheduled.filter(|machine| !rules.machines_down.contains(machine));
    let draining = draining.map(|machine| DrainingMachine {
        id: convert::machine_to_wire(machine),
        statuses: statuses(machine),
    });
    ClusterStatus {
        draining_machines: draining.collect(),
        down_machines: rules.machines_down.iter().map(convert::machine_to_wire).collect(),
    }
}

fn answer_message(answer: &InverseAnswer) -> InverseOfferStatus {
    use proto::mesos::v1::allocator::inverse_offer_status::Status;
    let status = if answer.accepts { Status::Accept } else { Status::Decline };
    InverseOfferStatus {
        status: status.into(),
        framework_id: (&answer.framework).into(),
        timestamp: proto::convert::time_info(answer.at),
    }
}
