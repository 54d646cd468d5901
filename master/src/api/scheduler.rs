//! The scheduler API over HTTP: `POST /api/v1/scheduler`.

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use master_core::StreamClaim;
use proto::convert::scheduler::SchedulerCall;
use proto::mesos::v1::scheduler::Call;
use proto::mesos::v1::scheduler::call::Type;
use tokio_util::sync::CancellationToken;
use transport::auth::Principal;
use transport::http::{Encoding, Refused, accepted, read_call};
use transport::records::{QueueLimits, Records, records};

use super::Api;
use super::scheduler_stream::{self, Subscription};

const STREAM_ID: HeaderName = HeaderName::from_static("mesos-stream-id");

/// Answers one call.
pub(super) async fn call(State(api): State<Api>, request: Request) -> Response {
    match answered(&api, request).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

async fn answered(api: &Api, request: Request) -> Result<Response, Refused> {
    let (parts, _, call) = read_call::<Call>(request, "Call").await?;
    let principal = Principal::name_of(&parts.extensions);
    let stream_id = parts.headers.get(STREAM_ID);
    // The only other call whose answer might be more than a status.
    let reconciles_operations = call.r#type() == Type::ReconcileOperations;
    let call = scheduler_stream::understood(api, call)?;
    if reconciles_operations {
        accepted(&parts.headers)?;
    }
    let counts_as = scheduler_stream::counts_as(api, &call, principal.as_ref());
    api.turns.of_framework(counts_as.as_ref()).await?;
    let subscribe = match call {
        SchedulerCall::Subscribe(subscribe) => Ok(subscribe),
        SchedulerCall::SubscribeRefused { why, principal } => Err((why, principal)),
        SchedulerCall::Call(framework, call) => {
            let claim = stream_id.map_or(StreamClaim::Missing, |id| {
                StreamClaim::Given(String::from_utf8_lossy(id.as_bytes()).into())
            });
            let called = scheduler_stream::call(api, framework, call, claim, principal)?;
            let done = called.answer().await?;
            let status = StatusCode::from_u16(done.status()).unwrap_or(StatusCode::ACCEPTED);
            return Ok(status.into_response());
        }
    };
    if stream_id.is_some() {
        return Err(Refused::bad_request(
            "Subscribe calls should not include the 'Mesos-Stream-Id' header",
        ));
    }
    let encoding = accepted(&parts.headers)?;
    let stream = match subscribe {
        Ok(subscribe) => scheduler_stream::subscribe(api, *subscribe, principal).await?,
        Err((why, stated)) => {
            scheduler_stream::error_only(why, stated.as_ref(), principal.as_ref())?
        }
    };
    Ok(streaming(api, stream, encoding, &parts.extensions))
}

/// The answer to SUBSCRIBE: events, as long as the subscription lasts.
fn streaming(
    api: &Api,
    stream: Subscription,
    encoding: Encoding,
    extensions: &Extensions,
) -> Response {
    let (records, body) = records("scheduler", QueueLimits::default(), extensions);
    let id = stream.subscribed.stream.to_string();
    tokio::spawn(feed(api.clone(), stream, encoding, records));
    let headers = [(header::CONTENT_TYPE, encoding.mime().to_owned()), (STREAM_ID, id)];
    (headers, body).into_response()
}

/// Encodes events for one framework, until there are no more or nobody reads them.
async fn feed(api: Api, stream: Subscription, encoding: Encoding, records: Records) {
    let Subscription { mut subscribed, capabilities } = stream;
    let stop: CancellationToken = api.stop.clone();
    loop {
        let event = tokio::select! {
            event = subscribed.events.next() => event,
            () = records.closed() => break,
            () = stop.cancelled() => return,
        };
        // The core has ended the subscription; it need not be told.
        let Some(event) = event else { return };
        let message = scheduler_stream::message(&api, &event, capabilities);
        if records.send(&encoding.encode(&message)).is_err() {
            break;
        }
    }
    api.driver.close_scheduler(subscribed.connection).await;
}
