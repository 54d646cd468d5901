//! `POST /api/v1/executor`: what executors call.

use agent_core::Input;
use agent_core::input::Subscribe;
use agent_core::output::Refusal;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::ids::{ExecutorId, FrameworkId, TaskId};
use model::task::{Status, TaskState};
use proto::convert::executor::{Body as Wanted, CallError, call_from_wire};
use transport::http::{Encoding, Refused, accepted, read_call};
use transport::records::{QueueLimits, records};

use super::{Api, access};
use crate::handle::{NoAnswer, Sink};
use crate::wire::{self, Whereabouts};

/// Where it is called.
pub(crate) const PATH: &str = "/api/v1/executor";

/// Events that may wait for one executor. It is on this machine, so one this far behind hangs.
const QUEUE: QueueLimits = QueueLimits { records_max: 16_384, bytes_max: 64 << 20 };

/// Answers one call.
pub(super) async fn call(State(api): State<Api>, request: Request) -> Response {
    answer(&api, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(api: &Api, request: Request) -> Result<Response, Refused> {
    let (parts, _, call) = read_call(request, "Call").await?;
    let call = call_from_wire(call).map_err(|error| match error {
        CallError::NotImplemented(_) => {
            Refused::new(StatusCode::NOT_IMPLEMENTED, error.to_string())
        }
        CallError::Invalid(_) | CallError::UnknownFramework | CallError::UnknownExecutor => {
            Refused::bad_request(error.to_string())
        }
    })?;
    let (framework, executor) = (call.framework, call.executor);
    access::check_executor(api, &parts.extensions, &framework, &executor)?;
    let handle = &api.shared.handle;
    let answer = match call.body {
        Wanted::Heartbeat => return Ok(StatusCode::ACCEPTED.into_response()),
        Wanted::Subscribe { unacknowledged_tasks, unacknowledged_updates } => {
            let encoding = accepted(&parts.headers)?;
            let wanted = Subscription {
                framework,
                executor,
                tasks: unacknowledged_tasks,
                updates: unacknowledged_updates,
            };
            return subscribe(api, wanted, encoding, &parts.extensions).await;
        }
        Wanted::Update(status) => {
            let status = complete(api, &framework, &executor, status).await;
            handle.call(|request| Input::Update { request, framework, executor, status }).await
        }
        Wanted::Message(data) => {
            handle.call(|request| Input::Message { request, framework, executor, data }).await
        }
    };
    answer.map_err(unanswered)?.map_err(refused)?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// A SUBSCRIBE, understood.
struct Subscription {
    framework: FrameworkId,
    executor: ExecutorId,
    tasks: Vec<TaskId>,
    updates: Vec<Status>,
}

async fn subscribe(
    api: &Api,
    wanted: Subscription,
    encoding: Encoding,
    extensions: &axum::http::Extensions,
) -> Result<Response, Refused> {
    let handle = &api.shared.handle;
    let connection = handle.connection();
    let (records, body) = records("executor", QUEUE, extensions);
    handle.open(connection, Sink::Http(records.clone(), encoding));
    let Subscription { framework, executor, tasks, mut updates } = wanted;
    if let Some(found) = whereabouts(api, &framework, &executor).await {
        let told = updates.into_iter().map(|status| wire::with_container(status, &found));
        updates = told.collect();
    }
    let answer = handle.call(|request| {
        Input::Subscribe(Subscribe {
            request,
            connection,
            framework,
            executor,
            unacknowledged_updates: updates,
            unacknowledged_tasks: tasks,
        })
    });
    if let Err(refused) = answer.await.map_err(unanswered).and_then(|it| it.map_err(refused)) {
        handle.close(connection);
        return Err(refused);
    }
    let (handle, stop) = (handle.clone(), api.shared.stop.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = records.closed() => {}
            () = stop.cancelled() => records.end(),
        }
        handle.close(connection);
        handle.send(Input::ExecutorGone { connection }).await;
    });
    let kind = [(header::CONTENT_TYPE, encoding.mime())];
    Ok((StatusCode::OK, kind, Body::new(body)).into_response())
}

async fn whereabouts(
    api: &Api,
    framework: &FrameworkId,
    executor: &ExecutorId,
) -> Option<Whereabouts> {
    let container = {
        let mirror = api.shared.mirror.read();
        mirror.executor(framework, executor)?.container.clone()
    };
    let networks = super::networks(api, &container).await;
    Some(Whereabouts { container, networks })
}

/// Adds what the executor cannot know: where it is, and whether its task ended because of a limit.
async fn complete(
    api: &Api,
    framework: &FrameworkId,
    executor: &ExecutorId,
    mut status: Status,
) -> Status {
    let Some(found) = whereabouts(api, framework, executor).await else { return status };
    let has_failed = matches!(status.state, TaskState::Failed | TaskState::Killed);
    if has_failed
        && status.reason.is_none()
        && let Some(limitation) = api.shared.containers.limitation(found.container.clone()).await
    {
        status.state = TaskState::Failed;
        status.reason = Some(limitation.reason);
        status.message = Some(limitation.message);
        status.rest = limitation.rest;
    }
    wire::with_container(status, &found)
}

fn refused(refusal: Refusal) -> Refused {
    let status = match refusal {
        Refusal::Recovering => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::FrameworkUnknown | Refusal::ExecutorUnknown => StatusCode::BAD_REQUEST,
        Refusal::NotSubscribed => StatusCode::FORBIDDEN,
    };
    Refused::new(status, refusal.to_string())
}

fn unanswered(why: NoAnswer) -> Refused {
    let text = match why {
        NoAnswer::Busy => "The agent has too much to do; try again",
        NoAnswer::Stopping => "The agent is stopping",
    };
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, text)
}
